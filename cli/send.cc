// postbus send: puts one mail into the queue from the command line.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <future>

#include "api/acceptor.h"
#include "api/email_status.h"
#include "api/template_check.h"
#include "cli/command.h"
#include "cli/email_history.h"
#include "cli/rehearsal.h"
#include "event/clock.h"
#include "host/log.h"
#include "host/plugin_options.h"
#include "host/plugin_set.h"
#include "host/recipient_hash.h"
#include "queue/queue.h"

namespace postbus {
namespace {

struct SendOptions {
  ConfigOptions config;
  std::string message;  // instead of the fields that follow
  std::vector<std::string> to;
  std::vector<std::string> cc;
  std::vector<std::string> bcc;
  std::string from;
  std::string subject;
  std::string template_name;
  std::string data;
  std::string html;
  std::string text;
  std::string priority;
  std::string id;
  bool dry_run = false;
  bool wait = false;
  std::string within = "1m";
};

constexpr int64_t kPublishWithinMs = 30'000;

std::string MessageJson(const SendOptions& options) {
  if (!options.message.empty()) return TextOrExit("--message", options.message);
  std::string json = "{";
  const auto add_list = [&json](std::string_view name, const std::vector<std::string>& addresses) {
    if (addresses.empty()) return;
    if (json.back() != '{') json += ',';
    AppendJsonString(name, json);
    json += ":[";
    for (const std::string& address : addresses) {
      if (json.back() != '[') json += ',';
      AppendJsonString(address, json);
    }
    json += ']';
  };
  const auto add = [&json](std::string_view name, const std::string& value) {
    if (!value.empty()) AddJsonMember(name, value, json);
  };
  add_list("to", options.to);
  add_list("cc", options.cc);
  add_list("bcc", options.bcc);
  add("from", options.from);
  add("subject", options.subject);
  add("template", options.template_name);
  add("html", TextOrExit("--html", options.html));
  add("text", TextOrExit("--text", options.text));
  add("priority", options.priority);
  add("id", options.id);
  if (!options.data.empty()) {
    if (json.back() != '{') json += ',';
    json += "\"data\":" + TextOrExit("--data", options.data);
  }
  return json + "}";
}

[[noreturn]] void RefuseMail(const std::vector<Violation>& violations) {
  for (const Violation& violation : violations) {
    const std::string where = violation.pointer.empty() ? "" : violation.pointer + ": ";
    PrintError(Status::Invalid("the mail is refused: " + where + violation.detail));
  }
  std::exit(kExitUsage);
}

// As the HTTP API does: the mail's rules, then its template.
void AcceptOrExit(const std::string& json, int64_t now, const Config& config, Log& log, Acceptor& acceptor) {
  if (!acceptor.Accept(json, now)) RefuseMail(acceptor.violations());
  auto renderer = LoadRenderer(config, log.Named("renderer"));
  if (!renderer.ok()) Die(renderer.status());
  std::vector<Violation> violations;
  if (!TemplateCheck(std::move(*renderer)).Check(json, acceptor.event(), violations)) RefuseMail(violations);
}

void Publish(const NewEvent& event, const Config& config, Log& log) {
  auto queue = OpenQueue(config.queue, Role::kProducer, log.Named("queue"));
  if (!queue.ok()) Die(queue.status());
  std::promise<Status> promise;
  auto published = promise.get_future();
  Status status = (*queue)->Publish(event, [&promise](const Status& result) {
    promise.set_value(result.ok() ? Status() : Status(result.kind(), std::string(result.message())));
  });
  if (status.ok()) status = published.get();
  (*queue)->Stop(BootTimeMs() + kPublishWithinMs);
  if (!status.ok()) Die(status);
}

// Until each recipient's next hop has the mail, or all that is left are dead letters.
int AwaitEnd(const std::string& id, StatusHistory& history, const std::string& within) {
  const auto has_ended = [](std::span<const StatusRecord> records) {
    return !records.empty() && StatusOfAll(records) != "pending";
  };
  const auto records = AskHistory(history, id, BootTimeMs() + ParseDurationMs(within).value_or(0), has_ended);
  if (records.ok()) {
    for (const StatusRecord& record : *records) std::printf("%s\n", ChangeLine(record).c_str());
  }
  if (!records.ok() || !has_ended(*records)) {
    PrintError(Status::Unavailable("not sent within " + within + "; it stays in the queue"));
    return kExitUnavailable;
  }
  if (StatusOfAll(*records) == "sent") return kExitOk;
  const Change last = records->back().change;
  const bool is_taken_back = last == Change::kCancelled || last == Change::kExpired;
  PrintError(Status::Invalid("not sent: " +
                             (is_taken_back ? "it is " + std::string(ChangeName(last)) : "it is a dead letter")));
  return kExitUsage;
}

void PrintRehearsal(const NewEvent& event, const Config& config) {
  const auto rehearsed = Rehearse(config, event);
  if (!rehearsed.ok()) Die(rehearsed.status());
  for (const std::string& mail : rehearsed->mails) std::fwrite(mail.data(), 1, mail.size(), stdout);
  if (rehearsed->refusal.ok()) return;
  PrintError(Status::Invalid("it would be refused: " + std::string(rehearsed->refusal.message())));
  std::fflush(stdout);
  std::exit(kExitUsage);
}

void Send(const SendOptions& options) {
  const Config config = options.config.LoadOrExit();
  const std::string json = MessageJson(options);
  const int64_t now = UnixTimeMs();
  Log log(config.log);
  Acceptor acceptor(config.limits, config.defaults_from);
  AcceptOrExit(json, now, config, log, acceptor);
  const auto recipients = RecipientSet::All(acceptor.event().recipient_count());
  std::vector<uint64_t> hashes;
  RecipientHasher(RecipientKey(config.queue)).Hash(acceptor.event(), recipients, hashes);
  const NewEvent event = {.id = acceptor.id(),
                          .priority = acceptor.event().priority,
                          .accepted_at_unix_ms = now,
                          .value = acceptor.value(),
                          .traceparent = {},
                          .recipients = recipients,
                          .recipient_hashes = hashes};
  if (options.dry_run) return PrintRehearsal(event, config);
  std::unique_ptr<StatusHistory> history;  // before the mail is there: Kafka's begins with reading what was before
  if (options.wait) {
    auto opened = OpenStatusHistory(config.queue, log.Named("status"));
    if (!opened.ok()) Die(opened.status());
    history = std::move(*opened);
  }
  Publish(event, config, log);
  std::printf("%s\n", acceptor.id().c_str());
  std::fflush(stdout);
  if (history == nullptr) return;
  const int code = AwaitEnd(acceptor.id(), *history, options.within);
  history.reset();
  if (code != kExitOk) std::exit(code);
}

}  // namespace

void AddSendCommand(CLI::App& program) {
  auto options = std::make_shared<SendOptions>();
  CLI::App* command = program.add_subcommand("send", "Puts one mail into the queue; prints its id once it is durable");
  options->config.AddTo(*command);
  CLI::Option* message =
      command->add_option("--message", options->message,
                          "The mail as JSON, as POST /v1/emails takes it: text, @FILE, or - for standard input");
  const auto add = [&](const char* name, auto& value, const char* description) {
    return command->add_option(name, value, description)->excludes(message);
  };
  add("--to", options->to, "Recipient; several make one mail visible to all");
  add("--cc", options->cc, "Recipient of a copy");
  add("--bcc", options->bcc, "Recipient of a copy whom no other sees");
  add("--from", options->from, "Sender; default: defaults.from");
  add("--subject", options->subject, "Subject; default: the template's");
  add("--template", options->template_name, "Template");
  add("--data", options->data, "Data for the template: a JSON object, @FILE, or - for standard input");
  add("--html", options->html, "Instead of a template; @FILE, or - for standard input");
  add("--text", options->text, "Instead of a template, or beside --html");
  add("--priority", options->priority, "high, normal or low; default: normal");
  add("--id", options->id, "Email id; default: a new one");
  CLI::Option* dry_run =
      command->add_flag("--dry-run", options->dry_run, "Prints the mail as it would be sent and sends nothing");
  CLI::Option* wait =
      command
          ->add_flag("--wait", options->wait,
                     "Waits until a host has sent it; exit 64 if it is a dead letter, 69 if neither yet")
          ->excludes(dry_run);
  command->add_option("--within", options->within, "How long --wait waits")
      ->needs(wait)
      ->check([](const std::string& text) {
        return ParseDurationMs(text) ? std::string() : text + " is not a duration such as 30s or 1h";
      })
      ->capture_default_str();
  AddExample(*command,
             "postbus send -c config/single-node.yaml --to ada@example.com --template welcome --data "
             "'{\"Name\": \"Ada\", \"Link\": \"https://example.com\"}'\n"
             "postbus send -c config/single-node.yaml --to ada@example.com --subject Hello --text 'Good morning' "
             "--dry-run");
  command->callback([options] { Send(*options); });
}

}  // namespace postbus
