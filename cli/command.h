// cli/command.h - what the subcommands share. Each adds itself to the program and runs from its callback.
#pragma once

#include <string>
#include <vector>

#include "event/status.h"
#include "host/config.h"

namespace CLI {
class App;
}

namespace postbus {

// sysexits.h; a subcommand ends the program with one of these.
inline constexpr int kExitOk = 0;
inline constexpr int kExitUsage = 64;
inline constexpr int kExitUnavailable = 69;
inline constexpr int kExitConfig = 78;

// -c FILE and --set key=value, taken by every command that reads the configuration.
struct ConfigOptions {
  std::string file;
  std::vector<std::string> overrides;

  void AddTo(CLI::App& command);
  // Loads it; on failure prints the error and ends the program.
  Config LoadOrExit() const;
};

// Prints `postbus: …` on stderr, each line of the message by itself.
void PrintError(const Status& status);
// 78 where the configuration or the input must change, 69 where it may work later.
int ExitCodeOf(const Status& status);
// Both, then std::exit.
[[noreturn]] void Die(const Status& status);

void AddServeCommands(CLI::App& program);  // serve, host, api
void AddValidateCommand(CLI::App& program);
void AddSendCommand(CLI::App& program);
void AddTopicsCommand(CLI::App& program);

}  // namespace postbus
