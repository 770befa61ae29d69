// postbus: the program. Parses the command line and runs one subcommand.
#include <CLI/CLI.hpp>
#include <csignal>

#include "cli/command.h"

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a peer that goes away is an error value
  CLI::App program("postbus puts mail on the bus: a plugin-based email worker", "postbus");
  program.set_version_flag("--version", "postbus " POSTBUS_VERSION);
  program.require_subcommand(1);
  program.get_formatter()->column_width(34);
  postbus::AddServeCommands(program);
  postbus::AddValidateCommand(program);
  postbus::AddSendCommand(program);
  postbus::AddTopicsCommand(program);
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return program.exit(error) == 0 ? postbus::kExitOk : postbus::kExitUsage;
  }
  return postbus::kExitOk;
}
