// cli/command.h - what the subcommands share. Each adds itself to the program and runs from its callback.
#pragma once

#include <string>
#include <string_view>
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

  void AddTo(CLI::App& command, bool required = true);
  // Loads it; on failure prints the error and ends the program.
  Config LoadOrExit() const;
};

// What an option says: the content of FILE for `@FILE`, of standard input for `-`, else the text itself. On failure
// prints the error, which begins with `option`, and ends the program.
std::string TextOrExit(std::string_view option, const std::string& value);

// Prints `postbus: …` on stderr, each line of the message by itself.
void PrintError(const Status& status);
// 78 where the configuration or the input must change, 69 where it may work later.
int ExitCodeOf(const Status& status);
// Both, then std::exit.
[[noreturn]] void Die(const Status& status);

// What `command` prints under Example in its --help: whole command lines. A test runs each.
void AddExample(CLI::App& command, std::string lines);

// --output text|json (or others) into `output`, which has the default.
void AddOutputOption(CLI::App& command, std::string& output, std::vector<std::string> formats = {"text", "json"});

// Appends `,"name":"value"` to a JSON object that is being written, without the comma where it is its first member.
void AddJsonMember(std::string_view name, std::string_view value, std::string& json);

void AddServeCommands(CLI::App& program);  // serve, host, api
void AddValidateCommand(CLI::App& program);
void AddSendCommand(CLI::App& program);
void AddStatusCommand(CLI::App& program);
void AddTopicsCommand(CLI::App& program);
void AddPluginsCommand(CLI::App& program);
void AddRenderCommand(CLI::App& program);
void AddExplainCommand(CLI::App& program);
void AddDlqCommand(CLI::App& program);
void AddPauseCommands(CLI::App& program);  // pause, resume
void AddDrainCommand(CLI::App& program);

}  // namespace postbus
