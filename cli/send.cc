// postbus send: puts one mail into the queue from the command line.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <future>

#include "api/acceptor.h"
#include "cli/command.h"
#include "event/clock.h"
#include "host/log.h"
#include "queue/queue.h"

namespace postbus {
namespace {

struct SendOptions {
  ConfigOptions config;
  std::vector<std::string> to;
  std::string from;
  std::string subject;
  std::string template_name;
  std::string data = "{}";
  std::string priority = "normal";
  std::string id;
};

constexpr int64_t kPublishWithinMs = 30'000;

std::string MessageJson(const SendOptions& options) {
  std::string json = "{\"to\":[";
  for (const std::string& address : options.to) {
    if (json.back() != '[') json += ',';
    AppendJsonString(address, json);
  }
  json += ']';
  const auto add = [&json](std::string_view name, const std::string& value) {
    if (value.empty()) return;
    (json += ",\"").append(name) += "\":";
    AppendJsonString(value, json);
  };
  add("from", options.from);
  add("subject", options.subject);
  add("template", options.template_name);
  add("priority", options.priority);
  add("id", options.id);
  return json + ",\"data\":" + TextOrExit("--data", options.data) + "}";
}

void Send(const SendOptions& options) {
  const Config config = options.config.LoadOrExit();
  Acceptor acceptor(config.limits, config.defaults_from);
  const int64_t now = UnixTimeMs();
  if (!acceptor.Accept(MessageJson(options), now)) {
    for (const Violation& violation : acceptor.violations()) {
      PrintError(Status::Invalid("the mail is refused: " + violation.pointer + ": " + violation.detail));
    }
    std::exit(kExitUsage);
  }
  Log log(config.log);
  auto queue = OpenQueue(config.queue, Role::kProducer, log.Named("queue"));
  if (!queue.ok()) Die(queue.status());
  std::promise<Status> promise;
  auto published = promise.get_future();
  Status status = (*queue)->Publish(
      {.id = acceptor.id(),
       .priority = acceptor.event().priority,
       .accepted_at_unix_ms = now,
       .value = acceptor.value(),
       .traceparent = {}},
      [&promise](const Status& result) {
        promise.set_value(result.ok() ? Status() : Status(result.kind(), std::string(result.message())));
      });
  if (status.ok()) status = published.get();
  (*queue)->Stop(BootTimeMs() + kPublishWithinMs);
  if (!status.ok()) Die(status);
  std::printf("%s\n", acceptor.id().c_str());
}

}  // namespace

void AddSendCommand(CLI::App& program) {
  auto options = std::make_shared<SendOptions>();
  CLI::App* command = program.add_subcommand("send", "Puts one mail into the queue; prints its id once it is durable");
  options->config.AddTo(*command);
  command->add_option("--to", options->to, "Recipient; several make one mail visible to all")->required();
  command->add_option("--from", options->from, "Sender; default: defaults.from");
  command->add_option("--subject", options->subject, "Subject; default: the template's");
  command->add_option("--template", options->template_name, "Template")->required();
  command->add_option("--data", options->data, "Data for the template: a JSON object, @FILE, or - for standard input")
      ->capture_default_str();
  command->add_option("--priority", options->priority, "high, normal or low")->capture_default_str();
  command->add_option("--id", options->id, "Email id; default: a new one");
  AddExample(*command,
             "postbus send -c config/single-node.yaml --to ada@example.com --template welcome --data "
             "'{\"Name\": \"Ada\", \"Link\": \"https://example.com\"}'");
  command->callback([options] { Send(*options); });
}

}  // namespace postbus
