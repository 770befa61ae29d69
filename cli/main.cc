// postbus: the program. Parses the command line and runs one subcommand.
#include <CLI/CLI.hpp>
#include <csignal>

#include "cli/command.h"
#include "host/plugin_options.h"

namespace {

// The subcommand the command line came to: "postbus topics check". At first the program itself.
const CLI::App& Deepest(const CLI::App& program, std::string& words) {
  const CLI::App* app = &program;
  words = program.get_name();
  while (!app->get_subcommands().empty()) {
    app = app->get_subcommands().front();
    words += " " + app->get_name();
  }
  return *app;
}

// In our own form, with the nearest subcommand where there is none of that name.
void PrintUsageError(const CLI::App& program, const CLI::ParseError& error) {
  std::string words;
  const CLI::App& app = Deepest(program, words);
  std::string message = error.what();
  if (const std::vector<std::string> rest = program.remaining(true); !rest.empty()) {
    message = "\"" + rest.front() + "\" is no command or option of " + words;
    std::vector<std::string> names;
    for (const CLI::App* command : app.get_subcommands(nullptr)) names.push_back(command->get_name());
    for (const CLI::Option* option : app.get_options()) names.push_back(option->get_name());
    const std::vector<std::string_view> known(names.begin(), names.end());
    if (const auto nearest = postbus::NearestName(rest.front(), known); !nearest.empty()) {
      message += "; did you mean \"" + std::string(nearest) + "\"?";
    }
  }
  postbus::PrintError(postbus::Status::Invalid(message + "; see " + words + " --help"));
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a peer that goes away is an error value
  CLI::App program("postbus puts mail on the bus: a plugin-based email worker", "postbus");
  program.set_version_flag("--version", "postbus " POSTBUS_VERSION);
  program.require_subcommand(1);
  program.get_formatter()->column_width(34);
  postbus::AddServeCommands(program);
  postbus::AddValidateCommand(program);
  postbus::AddSendCommand(program);
  postbus::AddStatusCommand(program);
  postbus::AddTopicsCommand(program);
  postbus::AddPluginsCommand(program);
  postbus::AddRenderCommand(program);
  postbus::AddExplainCommand(program);
  postbus::AddDlqCommand(program);
  postbus::AddPauseCommands(program);
  postbus::AddDrainCommand(program);
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return program.exit(error);  // --help, --version
    PrintUsageError(program, error);
    return postbus::kExitUsage;
  }
  return postbus::kExitOk;
}
