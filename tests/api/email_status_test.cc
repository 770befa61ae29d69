#include "api/email_status.h"

#include <gtest/gtest.h>

#include <vector>

namespace postbus {
namespace {

StatusRecord Record(Change change, std::vector<size_t> recipients, int attempt = 0) {
  StatusRecord record;
  record.id = "id-1";
  record.change = change;
  for (const size_t index : recipients) record.recipients.insert(index);
  record.at_unix_ms = 1'766'692'800'000;
  record.attempt = attempt;
  return record;
}

std::string Head(const std::vector<StatusRecord>& history) {
  std::string text;
  AppendEmailStatus("id-1", history, text);
  return text.substr(0, text.find(",\"history\""));
}

TEST(EmailStatus, OneRecipientFromQueuedToSent) {
  std::vector<StatusRecord> history = {Record(Change::kQueued, {0})};
  EXPECT_EQ(Head(history), R"({"id":"id-1","status":"pending","last_event":"queued","attempts":0)");
  history.push_back(Record(Change::kDeferred, {0}, 1));
  EXPECT_EQ(Head(history), R"({"id":"id-1","status":"pending","last_event":"deferred","attempts":1)");
  history.push_back(Record(Change::kSent, {0}, 2));
  EXPECT_EQ(Head(history), R"({"id":"id-1","status":"sent","last_event":"sent","attempts":2)");
}

TEST(EmailStatus, ScheduledIsPendingAndExpiredHasFailed) {
  std::vector<StatusRecord> history = {Record(Change::kQueued, {0, 1}), Record(Change::kScheduled, {0, 1})};
  EXPECT_EQ(Head(history), R"({"id":"id-1","status":"pending","last_event":"scheduled","attempts":0)");
  history.push_back(Record(Change::kSent, {0}, 1));
  EXPECT_EQ(Head(history), R"({"id":"id-1","status":"pending","last_event":"sent","attempts":1)");
  history.push_back(Record(Change::kExpired, {1}));
  EXPECT_EQ(Head(history), R"({"id":"id-1","status":"failed","last_event":"expired","attempts":1)");
}

TEST(EmailStatus, IsPendingWhileOneRecipientIs) {
  std::vector<StatusRecord> history = {Record(Change::kQueued, {0, 1, 2}), Record(Change::kSent, {0, 2}, 1)};
  EXPECT_NE(Head(history).find("\"pending\""), std::string::npos);
  history.push_back(Record(Change::kDeadLettered, {1}, 1));
  EXPECT_EQ(Head(history), R"({"id":"id-1","status":"failed","last_event":"dead_lettered","attempts":1)");
  history.push_back(Record(Change::kSent, {1}, 1));  // it was replayed
  EXPECT_NE(Head(history).find("\"sent\""), std::string::npos);
}

TEST(EmailStatus, ARecordWithoutRecipientsIsAboutAll) {
  EXPECT_NE(Head({Record(Change::kQueued, {0, 1}), Record(Change::kDeadLettered, {})}).find("\"failed\""),
            std::string::npos);
  EXPECT_NE(Head({Record(Change::kDeadLettered, {})}).find("\"failed\""), std::string::npos);
  EXPECT_NE(Head({Record(Change::kSent, {0})}).find("\"sent\""), std::string::npos) << "queued is not known any more";
}

TEST(EmailStatus, TellsWhatIsKnownOfAChangeAndNothingElse) {
  StatusRecord record = Record(Change::kDeferred, {0, 7}, 2);
  record.due_unix_ms = record.at_unix_ms + 30'500;
  record.transport = "primary";
  record.outcome = "transient";
  record.code = 451;
  record.enhanced = "4.2.1";
  record.text = "try \"later\"";
  record.provider_id = "4F2";
  record.replay = 1;
  std::string text;
  AppendEmailStatus("id-1", std::vector{Record(Change::kQueued, {}), record}, text);
  EXPECT_EQ(text.substr(text.find("\"history\"")),
            R"("history":[{"event":"queued","at":"2025-12-25T20:00:00.000Z"},)"
            R"({"event":"deferred","at":"2025-12-25T20:00:00.000Z","recipients":[0,7],"attempt":2,"replay":1,)"
            R"("due":"2025-12-25T20:00:30.500Z","transport":"primary","outcome":"transient","code":451,)"
            R"("enhanced":"4.2.1","text":"try \"later\"","provider_id":"4F2"}]})"
            "\n");
}

}  // namespace
}  // namespace postbus
