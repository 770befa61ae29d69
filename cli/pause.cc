// postbus pause | resume: takes a transport out of use on a running host, and back.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

#include "cli/admin_client.h"
#include "cli/command.h"
#include "host/plugin_options.h"

namespace postbus {
namespace {

struct PauseOptions {
  ConfigOptions config;
  std::string transport;
  std::string duration;  // "" = until resumed
};

void Ask(const PauseOptions& options, const char* path) {
  if (!options.duration.empty() && !ParseDurationMs(options.duration)) {
    PrintError(Status::Invalid("--for takes a duration such as 30s, 10m or 5d"));
    std::exit(kExitUsage);
  }
  const Config config = options.config.LoadOrExit();
  std::string json = "{";
  AddJsonMember("transport", options.transport, json);
  if (!options.duration.empty()) AddJsonMember("for", options.duration, json);
  const auto answer = PostToAdmin(config.admin, path, json + "}");
  if (!answer.ok()) {
    PrintError(answer.status());
    std::exit(answer.status().kind() == ErrorKind::kUnavailable ? kExitUnavailable : kExitUsage);
  }
  std::fputs(answer->c_str(), stdout);
}

CLI::App* AddOne(CLI::App& program, const std::shared_ptr<PauseOptions>& options, const char* name,
                 const char* description) {
  CLI::App* command = program.add_subcommand(name, description);
  options->config.AddTo(*command);
  command->add_option("TRANSPORT", options->transport, "Its name in the configuration")->required();
  const std::string path = std::string("/-/") + name;
  command->callback([options, path] { Ask(*options, path.c_str()); });
  return command;
}

}  // namespace

void AddPauseCommands(CLI::App& program) {
  const auto pausing = std::make_shared<PauseOptions>();
  CLI::App* pause =
      AddOne(program, pausing, "pause",
             "Gives a transport of the running host no more mails; they go by the next of their route, or wait");
  pause
      ->add_option("--for", pausing->duration,
                   "Ends by itself after that; else it holds until resumed, restarts included")
      ->type_name("DURATION");
  AddExample(*pause, "postbus pause -c config/failover.yaml primary --for 1h");
  CLI::App* resume = AddOne(program, std::make_shared<PauseOptions>(), "resume", "Ends a pause of a transport");
  AddExample(*resume, "postbus resume -c config/failover.yaml primary");
}

}  // namespace postbus
