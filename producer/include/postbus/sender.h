// postbus/sender.h - what an API service sends mails with, whatever is behind it: Producer (into Kafka), a direct
// sender (no queue, postbus/direct.h) or RecordingProducer (tests). Nothing here blocks on a network.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "event/status.h"

namespace postbus {

inline constexpr std::string_view kPriorityHigh = "high";
inline constexpr std::string_view kPriorityNormal = "normal";
inline constexpr std::string_view kPriorityLow = "low";

// What a template is filled with: names and texts, `{{"Link", link}, {"Name", name}}`, or any JSON object.
class TemplateData {
 public:
  TemplateData() = default;
  TemplateData(std::initializer_list<std::pair<std::string_view, std::string_view>> fields);
  // A text that is no JSON object is refused when it is sent.
  static TemplateData FromJson(std::string_view object);

  const std::string& json() const { return json_; }

 private:
  std::string json_ = "{}";
};

// Thread-safe.
class Sender {
 public:
  // Told once of each mail that was taken, from a thread of the sender; must not throw, and should return soon.
  // Success: the mail is kept from now on (Producer: Kafka has it on all in-sync replicas; direct: the next hop
  // has it). kUncertain: that is not known; repeat with the same id. Any other error: it is not.
  using Done = std::function<void(const Status&)>;

  // A mail that passed the checks.
  struct Event {
    std::string id;
    std::string priority;
    int64_t accepted_at_unix_ms = 0;
    std::string json;  // the whole EmailEvent
  };

  virtual ~Sender();

  // Checks the mail by the rules of the HTTP API and takes it; returns its id at once. An error means that nothing was
  // taken and `done` is never called: kInvalid: what is wrong with the mail. kUnavailable: QUEUE_FULL, the local queue
  // has no room; try again in a while. An empty `from` is the host's defaults.from, an empty subject the template's.
  Result<std::string> SendEmail(std::string_view from, std::string_view to, std::string_view subject,
                                std::string_view template_name, const TemplateData& data, std::string_view priority,
                                Done done);
  // The same for a message with any of the HTTP API's fields, `{"to":…,"template":…}`, or a whole EmailEvent. Its "id",
  // if it has one, is kept.
  Result<std::string> SendMessage(std::string_view json, Done done);

  // The same with a future instead: of the id once the mail is kept, or of the reason why not.
  [[nodiscard]] std::future<Result<std::string>> SendEmail(std::string_view from, std::string_view to,
                                                           std::string_view subject, std::string_view template_name,
                                                           const TemplateData& data,
                                                           std::string_view priority = kPriorityNormal);
  [[nodiscard]] std::future<Result<std::string>> SendMessage(std::string_view json);

  // Waits until all that was taken has been told of; false: the time was over before. Do so before the end: what a
  // destructor still finds is told of as an error.
  virtual bool Flush(std::chrono::milliseconds within) = 0;

 protected:
  // As SendMessage; the checks are done.
  virtual Status Take(const Event& event, Done done) = 0;

 private:
  // `data`, where it is not null, must be the message's whole data.
  static Result<Event> Check(std::string_view json, const TemplateData* data);
  Result<std::string> TakeChecked(Result<Event> event, Done done);
  std::future<Result<std::string>> TakeWithFuture(Result<Event> event);
};

}  // namespace postbus
