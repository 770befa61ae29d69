// postbus validate: everything a start checks, without starting.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "api/email_api.h"
#include "cli/command.h"
#include "cli/template_files.h"
#include "event/clock.h"
#include "host/json_schema.h"
#include "host/log.h"
#include "host/plugin_set.h"
#include "queue/kafka/topics.h"

namespace postbus {
namespace {

struct ValidateOptions {
  ConfigOptions config;
  bool connect = false;
  std::vector<std::string> probe;  // names of transports
  bool api = false;
  bool schema = false;
};

constexpr int64_t kConnectWithinMs = 15'000;

// Instances made for checking get no mail.
class NoSink final : public TransportSink {
 public:
  void PermitSend(std::span<const uint64_t>, std::span<uint8_t> verdicts) override {
    for (uint8_t& verdict : verdicts) verdict = POSTBUS_ABORT;
  }
  void Complete(uint64_t, const postbus_result&) override {}
  void Writable() override {}
};

// Tells what is wrong as it comes up, and remembers how to exit.
class Findings {
 public:
  void Add(const Status& status) {
    if (status.ok()) return;
    PrintError(status);
    exit_code_ = std::max(exit_code_, ExitCodeOf(status));  // 78 before 69
  }
  static void Warn(const std::string& sentence) { PrintError(Status::Invalid("warning: " + sentence)); }

  int exit_code() const { return exit_code_; }

 private:
  int exit_code_ = kExitOk;
};

// "1 transport", "2 transports"
std::string Count(size_t n, const std::string& what) { return std::to_string(n) + " " + what + (n == 1 ? "" : "s"); }

// In Kafka a mail that is put off for a delay topic's step waits in that topic alone; else it hops through several.
void CheckBackoff(const Config& config) {
  if (config.queue.type != QueueConfig::Type::kKafka) return;
  for (const int64_t wait_ms : config.retry.backoff_ms) {
    const auto is_it = [wait_ms](const kafka::DelayStep& step) { return step.ms == wait_ms; };
    if (std::any_of(kafka::kDelaySteps.begin(), kafka::kDelaySteps.end(), is_it)) continue;
    std::string steps;
    for (const kafka::DelayStep& step : kafka::kDelaySteps) steps += " " + std::string(step.name);
    Findings::Warn(config.file + ": retry.backoff: " + std::to_string(wait_ms) +
                   "ms is no step of the delay topics, so such a mail hops through several; they are" + steps);
  }
}

// Each template should make a mail of its own sample.
void CheckSamples(const Config& config, const Renderer& renderer) {
  const std::string directory = TemplateDirectory(config);
  RenderedMail mail;
  for (const std::string& name : renderer.Templates()) {
    const auto sample = SampleData(directory, name);
    if (!sample || renderer.Render(name, *sample, mail) == RenderOutcome::kOk) continue;
    Findings::Warn(directory + "/" + name + "/sample.json: " + mail.error);
  }
}

std::unique_ptr<Transport> Load(const Config& config, const TransportConfig& transport, TransportSink& sink, Log& log,
                                Findings& findings) {
  const auto parts = LoadTransportParts(config, transport);
  findings.Add(parts.status());
  if (!parts.ok()) return nullptr;
  auto made = MakeTransport(transport, *parts, sink, log.Named("transport"));
  findings.Add(made.status());
  return made.ok() ? std::move(*made) : nullptr;
}

Status ConnectQueue(const Config& config, Log& log) {
  if (config.queue.type == QueueConfig::Type::kKafka) {
    const auto report = kafka::CheckTopics(config.queue.kafka);
    if (!report.ok()) return Status(report.status().kind(), "queue: " + std::string(report.status().message()));
    for (const std::string& warning : report->warnings) Findings::Warn(warning);
    if (report->AsItShouldBe()) return {};
    return Status::NotFound("queue: the topics are not as they should be; `postbus topics check -c " + config.file +
                            "` names the differences");
  }
  auto queue = OpenQueue(config.queue, Role::kProducer, log.Named("queue"));
  if (!queue.ok()) return queue.TakeStatus();
  (*queue)->Stop(BootTimeMs() + kConnectWithinMs);
  return {};
}

void Tell(const std::string& what, const Status& status, Findings& findings) {
  findings.Add(status);
  if (status.ok()) std::printf("%s: ok\n", what.c_str());
}

void Probe(Transport& transport, Findings& findings) {
  const Status status = transport.Probe(BootTimeMs() + kConnectWithinMs);
  Tell("transport " + transport.name(),
       status.ok() ? Status() : Status(status.kind(), "transport " + std::string(status.message())), findings);
}

// Of what the plugins in the directories are and this postbus reads.
void PrintSchema(const ConfigOptions& options) {
  std::vector<NamedPlugin> plugins;
  for (const auto& file : PluginFiles(PluginDirectories(options.file.empty() ? Config() : options.LoadOrExit()))) {
    auto library = PluginLibrary::Load(file);
    if (!library.ok()) Die(library.status());
    plugins.push_back({.name = file.stem().string(), .library = std::move(*library)});
  }
  std::fputs(ConfigSchema(plugins).c_str(), stdout);
}

void Validate(const ValidateOptions& options) {
  if (options.schema) return PrintSchema(options.config);
  if (options.config.file.empty()) throw CLI::RequiredError("--config");
  const Config config = options.config.LoadOrExit();
  Log log(config.log);
  NoSink sink;
  Findings findings;
  findings.Add(CheckApiAddress(config));
  CheckBackoff(config);
  const auto renderer = LoadRenderer(config, log.Named("renderer"));
  findings.Add(renderer.status());
  if (renderer.ok()) CheckSamples(config, **renderer);
  std::vector<std::unique_ptr<Transport>> transports;
  for (const TransportConfig& transport : config.transports) {
    if (options.api) break;
    if (auto loaded = Load(config, transport, sink, log, findings)) transports.push_back(std::move(loaded));
  }
  if (findings.exit_code() == kExitOk) {
    std::printf("%s: valid; %s, %s\n", config.file.c_str(), Count((*renderer)->Templates().size(), "template").c_str(),
                Count(transports.size(), "transport").c_str());
    if (options.connect) Tell("queue", ConnectQueue(config, log), findings);
    for (const auto& transport : transports) {
      const bool is_named =
          std::find(options.probe.begin(), options.probe.end(), transport->name()) != options.probe.end();
      if (options.connect || is_named) Probe(*transport, findings);
    }
  }
  transports.clear();  // before the log: std::exit runs no destructors of ours
  if (findings.exit_code() != kExitOk) std::exit(findings.exit_code());
}

}  // namespace

void AddValidateCommand(CLI::App& program) {
  auto options = std::make_shared<ValidateOptions>();
  CLI::App* command =
      program.add_subcommand("validate", "Checks the configuration, loads its plugins and templates; sends nothing");
  options->config.AddTo(*command, false);
  command->add_flag("--connect", options->connect,
                    "Also asks the queue and each transport's server; exit 69 if one fails");
  command->add_option("--probe", options->probe, "Also asks this transport's server; may be given several times")
      ->type_name("NAME")
      ->allow_extra_args(false);
  command->add_flag("--api", options->api, "Checks only what `postbus api` needs: leaves the transports out");
  command->add_flag("--schema", options->schema,
                    "Prints the JSON Schema of the configuration, for editors; with -c its plugin directories, too");
  AddExample(*command, "postbus validate -c config/single-node.yaml");
  command->callback([options] { Validate(*options); });
}

}  // namespace postbus
