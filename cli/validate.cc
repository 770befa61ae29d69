// postbus validate: everything a start checks, without starting.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "api/email_api.h"
#include "cli/command.h"
#include "host/log.h"
#include "host/plugin_set.h"

namespace postbus {
namespace {

// Instances made for checking get no mail.
class NoSink final : public TransportSink {
 public:
  void PermitSend(std::span<const uint64_t>, std::span<uint8_t> verdicts) override {
    for (uint8_t& verdict : verdicts) verdict = POSTBUS_ABORT;
  }
  void Complete(uint64_t, const postbus_result&) override {}
  void Writable() override {}
};

void Validate(const ConfigOptions& options) {
  const Config config = options.LoadOrExit();
  Log log(config.log);
  NoSink sink;
  if (Status status = CheckApiAddress(config); !status.ok()) Die(status);
  auto renderer = LoadRenderer(config, log.Named("renderer"));
  if (!renderer.ok()) Die(renderer.status());
  auto transports = LoadTransports(
      config, [&](size_t) -> TransportSink& { return sink; }, log.Named("transport"));
  if (!transports.ok()) Die(transports.status());
  std::printf("%s: valid; %zu templates, %zu transports\n", config.file.c_str(), (*renderer)->Templates().size(),
              transports->size());
}

}  // namespace

void AddValidateCommand(CLI::App& program) {
  auto options = std::make_shared<ConfigOptions>();
  CLI::App* command = program.add_subcommand(
      "validate", "Checks the configuration, loads its plugins and templates; connects to nothing");
  options->AddTo(*command);
  AddExample(*command, "postbus validate -c config/single-node.yaml");
  command->callback([options] { Validate(*options); });
}

}  // namespace postbus
