// postbus explain: what the host would do with an event, and why. Sends nothing.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "cli/command.h"
#include "cli/rehearsal.h"
#include "event/clock.h"
#include "host/log.h"
#include "host/plugin_set.h"
#include "host/rate_limiter.h"
#include "host/read_file.h"
#include "host/retry_policy.h"
#include "host/route.h"
#include "postbus/abi/outcome.h"
#include "queue/kafka/topics.h"

namespace postbus {
namespace {

struct ExplainOptions {
  ConfigOptions config;
  std::string event;
};

// "name       text"; further lines of one name stand below each other.
void Print(std::string_view name, const std::string& text) {
  std::printf("%-11.*s %s\n", static_cast<int>(name.size()), name.data(), text.c_str());
}

// "1h30m", in the units of the configuration.
std::string DurationText(int64_t ms) {
  std::string text;
  for (const auto& [name, size] :
       {std::pair<const char*, int64_t>{"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}}) {
    if (ms >= size) text += std::to_string(ms / size) + name;
    ms %= size;
  }
  return text.empty() ? "0s" : text;
}

std::string PluginText(const Config& config, const TransportConfig& transport) {
  const auto library = LoadPlugin(config, transport);
  if (!library.ok()) return "plugin " + transport.plugin + ", which does not load: see postbus validate";
  std::string text = "plugin " + std::string((*library)->id()) + " " + std::string((*library)->version());
  const postbus_transport* table = (*library)->transport();
  if (table != nullptr && (table->caps & POSTBUS_TRANSPORT_TEST_ONLY) != 0) text += ", for tests only";
  return text;
}

void PrintEvent(const std::string& json, const EmailEvent& event, const Config& config) {
  Print("event", (event.id.empty() ? "id: made when it is accepted" : "id " + event.id) +
                     (event.type.empty() ? "" : ", type " + event.type));
  Print("", std::to_string(json.size()) + " bytes; limits.max_event is " + std::to_string(config.limits.max_bytes));
  EventDecoder strict(config.limits);
  EmailEvent ignored;
  const bool accepted = EventDecoder::LooksLikeMessage(json) ? strict.DecodeMessage(json, Strictness::kApi, ignored)
                                                             : strict.Decode(json, Strictness::kApi, ignored);
  if (accepted) return;
  for (const Violation& violation : strict.violations()) {
    Print("", "the HTTP API would refuse it: " + violation.pointer + ": " + violation.detail);
  }
}

void PrintQueue(const EmailEvent& event, const Config& config) {
  const std::string priority(PriorityName(event.priority));
  if (config.queue.type == QueueConfig::Type::kSqlite) {
    return Print("queue", "sqlite " + config.queue.sqlite.path + ", priority " + priority);
  }
  const kafka::TopicNames names(config.queue.kafka);
  Print("queue", "kafka " + config.queue.kafka.brokers + ", topic " +
                     names.events[static_cast<size_t>(event.priority)] + " (priority " + priority + ")");
}

// Returns false where none would get the mail.
bool PrintMail(const std::string& json, const EmailEvent& event, int64_t now, const Config& config) {
  Print("recipients", std::to_string(event.to.size()) + " to, " + std::to_string(event.cc.size()) + " cc, " +
                          std::to_string(event.bcc.size()) + " bcc");
  // As the queue would hold it.
  std::string value;
  const std::string id = event.id.empty() ? NewEventId() : event.id;
  EncodeAccepted(json, event, {.id = id, .timestamp_unix_ms = now, .default_from = config.defaults_from}, value);
  const auto rehearsed = Rehearse(config, {.id = id,
                                           .priority = event.priority,
                                           .accepted_at_unix_ms = now,
                                           .value = value,
                                           .traceparent = {},
                                           .recipients = RecipientSet::All(event.recipient_count())});
  if (!rehearsed.ok()) Die(rehearsed.status());
  const std::string source = event.template_name.empty() ? "its own text" : "template " + event.template_name;
  for (const std::string& mail : rehearsed->mails) {
    Print("mail", source + ", " + std::to_string(mail.size()) + " bytes");
  }
  if (!rehearsed->refusal.ok()) Print("mail", std::string(rehearsed->refusal.message()));
  return !rehearsed->mails.empty();
}

void PrintRoute(const EmailEvent& event, const Config& config) {
  std::vector<uint32_t> order;
  const size_t chosen = Router(config).Choose(event, order);
  for (size_t i = 0; i <= chosen; ++i) {
    const RouteConfig& route = config.routes[i];
    const std::string condition = ConditionText(route.match);
    Print(i == 0 ? "route" : "", "routes." + std::to_string(i) + " (" + route.mark.ToString() + ") " +
                                     (i == chosen ? "takes it: " : "does not: ") +
                                     (condition.empty() ? "it takes every event" : condition));
  }
  if (!config.routes[chosen].weights.empty()) Print("", "of its split the first recipient decides which is first");
  for (size_t i = 0; i < order.size(); ++i) {
    const TransportConfig& transport = config.transports[order[i]];
    Print(i == 0 ? "transport" : "", transport.name + ": " + PluginText(config, transport) +
                                         (i == 0 ? "" : "; where those before it fail for every mail"));
  }
}

// "200 a second, 400 at once".
std::string RateText(double per_second, double burst) {
  char text[64];
  std::snprintf(text, sizeof text, "%.10g a second", per_second);
  std::string result = text;
  if (burst > 0) {
    std::snprintf(text, sizeof text, ", %.10g at once", burst);
    result += text;
  }
  return result;
}

// Of the transports it may go by, those that hold it back where mails come too fast.
void PrintLimits(const EmailEvent& event, const Config& config) {
  std::vector<uint32_t> order;
  Router(config).Choose(event, order);
  const char* name = "limits";
  const auto print = [&name](const std::string& text) { Print(std::exchange(name, ""), text); };
  for (const uint32_t index : order) {
    const TransportConfig& transport = config.transports[index];
    const RateLimitConfig& limit = transport.rate_limit;
    if (limit.per_second > 0) print(transport.name + ": " + RateText(limit.per_second, limit.burst));
    std::vector<std::string> told;
    for (size_t i = 0; i < event.recipient_count(); ++i) {
      const std::string domain(event.recipient(i).domain());
      const DomainRate* rate = RateOf(limit, domain);
      if (rate == nullptr || std::find(told.begin(), told.end(), domain) != told.end()) continue;
      told.push_back(domain);
      print(transport.name + ": to " + domain + " (per_domain." + rate->domain + ") " +
            RateText(rate->per_second, rate->burst));
    }
  }
  if (*name != '\0') print("none; where a provider says that mails come too fast, they slow down");
}

// What follows if the server puts it off each time.
void PrintRetries(const EmailEvent& event, int64_t now, const RetryConfig& retry) {
  int max_retries = retry.max_retries;
  if (event.max_retries == EmailEvent::kNever) max_retries = 0;
  if (event.max_retries >= 0) max_retries = std::min(event.max_retries, retry.max_retries_limit);
  Print("retries", std::to_string(max_retries) + ": " +
                       (event.max_retries == EmailEvent::kAbsent      ? "retry.max_retries"
                        : event.max_retries > retry.max_retries_limit ? "retry.max_retries_limit"
                                                                      : "the event's max_retries") +
                       "; if the server puts it off each time, it is tried");
  int64_t age_ms = 0;
  for (int spent = 0;; ++spent) {
    Print("", FormatRfc3339(now + age_ms) + (age_ms == 0 ? " (now)" : " (after " + DurationText(age_ms) + ")"));
    const Decision decision = Decide(retry, {.outcome = POSTBUS_TRANSIENT,
                                             .retry_after_ms = 0,
                                             .attempts_spent = spent,
                                             .max_retries = max_retries,
                                             .waits = 0,
                                             .age_ms = age_ms});
    if (decision.action != Decision::Action::kDefer) {
      Print("", "then it is a dead letter: " + std::string(decision.reason));
      break;
    }
    age_ms += decision.delay_ms;
  }
  Print("in doubt", retry.in_doubt == WhenInDoubt::kRetry
                        ? "if it may have been sent and no answer came, it goes again (retry.in_doubt)"
                        : "if it may have been sent and no answer came, it is a dead letter (retry.in_doubt)");
}

void Explain(const ExplainOptions& options) {
  const Config config = options.config.LoadOrExit();
  const std::string json = TextOrExit("EVENT", options.event == "-" ? "-" : "@" + options.event);
  const int64_t now = UnixTimeMs();
  EventDecoder decoder(config.limits);
  EmailEvent event;
  const bool valid = EventDecoder::LooksLikeMessage(json) ? decoder.DecodeMessage(json, Strictness::kQueue, event)
                                                          : decoder.Decode(json, Strictness::kQueue, event);
  if (!valid) {
    for (const Violation& violation : decoder.violations()) {
      const std::string where = violation.pointer.empty() ? "" : violation.pointer + ": ";
      PrintError(Status::Invalid("it would be a dead letter (invalid_event): " + where + violation.detail));
    }
    std::exit(kExitUsage);
  }
  PrintEvent(json, event, config);
  PrintQueue(event, config);
  const bool is_sent = PrintMail(json, event, now, config);
  PrintRoute(event, config);
  PrintLimits(event, config);
  PrintRetries(event, now, config.retry);
  if (is_sent) return;
  std::fflush(stdout);
  PrintError(Status::Invalid("it would be a dead letter: no recipient would get the mail"));
  std::exit(kExitUsage);
}

}  // namespace

void AddExplainCommand(CLI::App& program) {
  auto options = std::make_shared<ExplainOptions>();
  CLI::App* command = program.add_subcommand(
      "explain", "What the host would do with an event, and why: route, transports, limits, retries; sends nothing");
  options->config.AddTo(*command);
  command->add_option("EVENT", options->event, "File with an event, or a message of one, in JSON; - is standard input")
      ->required();
  AddExample(*command,
             "echo '{\"to\": \"ada@example.com\", \"subject\": \"Hello\", \"text\": \"Hi\"}' | "
             "postbus explain -c config/single-node.yaml -");
  command->callback([options] { Explain(*options); });
}

}  // namespace postbus
