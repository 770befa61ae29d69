#include "api/email_status.h"

#include <algorithm>

#include "event/email_event.h"

namespace postbus {
namespace {

// Members after the first one; absent ones are left out.
class Members {
 public:
  explicit Members(std::string& out) : out_(out) {}

  void Text(std::string_view name, std::string_view text) {
    if (text.empty()) return;
    Name(name);
    AppendJsonString(text, out_);
  }
  void Number(std::string_view name, int64_t number) {
    if (number == 0) return;
    Name(name);
    out_ += std::to_string(number);
  }
  void Time(std::string_view name, int64_t unix_ms) {
    if (unix_ms != 0) Text(name, FormatRfc3339(unix_ms));
  }
  void Set(std::string_view name, RecipientSet set) {
    if (set.empty()) return;
    Name(name);
    for (size_t i = 0; i < 64; ++i) {
      if (set.contains(i)) out_.append(1, out_.back() == ':' ? '[' : ',').append(std::to_string(i));
    }
    out_ += ']';
  }

 private:
  void Name(std::string_view name) { out_.append(",\"").append(name).append("\":"); }

  std::string& out_;
};

}  // namespace

void AppendChange(const StatusRecord& record, std::string& out) {
  out.append("{\"event\":\"").append(ChangeName(record.change)).append("\"");
  Members members(out);
  members.Time("at", record.at_unix_ms);
  members.Set("recipients", record.recipients);
  members.Number("attempt", record.attempt);
  members.Number("replay", record.replay);
  members.Time("due", record.due_unix_ms);
  members.Text("transport", record.transport);
  members.Text("outcome", record.outcome);
  members.Number("code", record.code);
  members.Text("enhanced", record.enhanced);
  members.Text("text", record.text);
  members.Text("provider_id", record.provider_id);
  out += '}';
}

void AppendEmailStatus(std::string_view id, std::span<const StatusRecord> history, std::string& out) {
  int attempts = 0;
  for (const StatusRecord& record : history) attempts = std::max(attempts, record.attempt);
  out += "{\"id\":";
  AppendJsonString(id, out);
  out.append(",\"status\":\"").append(StatusOfAll(history));
  out.append("\",\"last_event\":\"").append(ChangeName(history.back().change));
  out.append("\",\"attempts\":").append(std::to_string(attempts)).append(",\"history\":[");
  for (const StatusRecord& record : history) {
    if (out.back() == '}') out += ',';
    AppendChange(record, out);
  }
  out += "]}\n";
}

}  // namespace postbus
