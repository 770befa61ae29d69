// postbus status: what became of an email, or of those to an address.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "api/email_status.h"
#include "cli/command.h"
#include "cli/email_history.h"
#include "event/clock.h"
#include "host/log.h"
#include "host/recipient_hash.h"

namespace postbus {
namespace {

struct StatusOptions {
  ConfigOptions config;
  std::string id;
  std::string to;
  size_t limit = 20;
  std::string output = "text";
};

constexpr int64_t kReadTopicWithinMs = 60'000;
constexpr size_t kMaxLimit = 1000;

// As long as it is still being read.
Result<std::vector<std::string>> AskForIds(StatusHistory& history, uint64_t recipient, size_t limit) {
  const int64_t deadline = BootTimeMs() + kReadTopicWithinMs;
  while (true) {
    auto ids = history.IdsTo(recipient, limit);
    if (ids.ok() || ids.status().kind() != ErrorKind::kUnavailable || BootTimeMs() >= deadline) return ids;
    std::this_thread::sleep_for(kPollHistory);
  }
}

struct LastChange {
  std::string id;
  StatusRecord record;
};

// Of each of the ids, newest first.
std::vector<LastChange> LastChanges(StatusHistory& history, uint64_t recipient, const std::vector<std::string>& ids) {
  std::vector<LastChange> changes;
  for (const std::string& id : ids) {
    const auto records = history.Find(id);  // gone meanwhile: it has become too old
    const StatusRecord* last = records.ok() ? LastChangeOf(recipient, *records) : nullptr;
    if (last != nullptr) changes.push_back({id, *last});
  }
  std::stable_sort(changes.begin(), changes.end(),
                   [](const LastChange& a, const LastChange& b) { return a.record.at_unix_ms > b.record.at_unix_ms; });
  return changes;
}

std::string ListOf(const std::vector<LastChange>& changes) {
  if (changes.empty()) return "no email to this address is known\n";
  std::string text;
  for (const auto& [id, record] : changes) text += id + " " + ChangeLine(record) + "\n";
  return text;
}

std::string JsonOf(const std::vector<LastChange>& changes) {
  std::string json = "[";
  for (const auto& [id, record] : changes) {
    json += json.size() == 1 ? "{" : ",\n{";
    AddJsonMember("id", id, json);
    AddJsonMember("status", ChangeStatus(record.change), json);
    json += ",\"last\":";
    AppendChange(record, json);
    json += "}";
  }
  return json + "]\n";
}

Result<std::string> AboutRecipient(const StatusOptions& options, const Config& config, StatusHistory& history) {
  const auto mailbox = ParseMailbox(options.to);
  if (!mailbox.ok()) return Status::Invalid("--to: " + std::string(mailbox.status().message()));
  const uint64_t recipient = RecipientHasher(RecipientKey(config.queue)).Hash(mailbox->address);
  const auto ids = AskForIds(history, recipient, options.limit);
  if (!ids.ok()) return Status(ids.status().kind(), std::string(ids.status().message()));
  const auto changes = LastChanges(history, recipient, *ids);
  return options.output == "json" ? JsonOf(changes) : ListOf(changes);
}

Result<std::string> AboutEmail(const StatusOptions& options, StatusHistory& history) {
  const auto records = AskHistory(history, options.id, BootTimeMs() + kReadTopicWithinMs,
                                  [](std::span<const StatusRecord>) { return true; });
  // Whatever kept us from an answer may be another one later.
  if (!records.ok()) return Status::Unavailable(std::string(records.status().message()));
  std::string text;
  if (options.output == "json") {
    AppendEmailStatus(options.id, *records, text);
  } else {
    text = options.id + ": " + std::string(StatusOfAll(*records)) + "\n";
    for (const StatusRecord& record : *records) text += ChangeLine(record) + "\n";
  }
  return text;
}

int PrintStatus(const StatusOptions& options) {
  const Config config = options.config.LoadOrExit();
  Log log(config.log);
  auto history = OpenStatusHistory(config.queue, log.Named("status"));
  if (!history.ok()) Die(history.status());
  const auto text = options.to.empty() ? AboutEmail(options, **history) : AboutRecipient(options, config, **history);
  if (!text.ok()) {
    PrintError(text.status());
    return text.status().kind() == ErrorKind::kInvalid ? kExitUsage : kExitUnavailable;
  }
  std::fwrite(text->data(), 1, text->size(), stdout);
  return kExitOk;
}

}  // namespace

void AddStatusCommand(CLI::App& program) {
  auto options = std::make_shared<StatusOptions>();
  CLI::App* command = program.add_subcommand(
      "status", "What became of an email: each change, with the server's words; --to lists those to an address");
  options->config.AddTo(*command);
  CLI::Option* id =
      command->add_option("ID", options->id, "The email's id, as it was answered when the mail was accepted");
  CLI::Option* to = command->add_option("--to", options->to, "Instead: the last emails to this address, newest first")
                        ->type_name("ADDRESS")
                        ->excludes(id);
  command->add_option("--limit", options->limit, "At most so many of them")
      ->check(CLI::Range(size_t{1}, kMaxLimit))
      ->needs(to)
      ->capture_default_str();
  AddOutputOption(*command, options->output);
  AddExample(*command,
             "postbus status -c config/single-node.yaml $(postbus send -c config/single-node.yaml --to ada@example.com "
             "--subject Hello --text Hi)\n"
             "postbus status -c config/single-node.yaml --to ada@example.com");
  command->callback([options] {
    if (options->id.empty() && options->to.empty()) {
      throw CLI::ValidationError("of which email? Name its ID, or --to ADDRESS");
    }
    if (const int code = PrintStatus(*options); code != kExitOk) std::exit(code);
  });
}

}  // namespace postbus
