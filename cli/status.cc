// postbus status: what became of an email.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

#include "api/email_status.h"
#include "cli/command.h"
#include "cli/email_history.h"
#include "event/clock.h"
#include "host/log.h"

namespace postbus {
namespace {

struct StatusOptions {
  ConfigOptions config;
  std::string id;
  std::string output = "text";
};

constexpr int64_t kReadTopicWithinMs = 60'000;

int PrintStatus(const StatusOptions& options) {
  const Config config = options.config.LoadOrExit();
  Log log(config.log);
  auto history = OpenStatusHistory(config.queue, log.Named("status"));
  if (!history.ok()) Die(history.status());
  const auto records = AskHistory(**history, options.id, BootTimeMs() + kReadTopicWithinMs,
                                  [](std::span<const StatusRecord>) { return true; });
  if (!records.ok()) {
    PrintError(records.status());
    return kExitUnavailable;
  }
  std::string text;
  if (options.output == "json") {
    AppendEmailStatus(options.id, *records, text);
  } else {
    text = options.id + ": " + std::string(StatusOfAll(*records)) + "\n";
    for (const StatusRecord& record : *records) text += ChangeLine(record) + "\n";
  }
  std::fwrite(text.data(), 1, text.size(), stdout);
  return kExitOk;
}

}  // namespace

void AddStatusCommand(CLI::App& program) {
  auto options = std::make_shared<StatusOptions>();
  CLI::App* command = program.add_subcommand("status", "What became of an email: each change, with the server's words");
  options->config.AddTo(*command);
  command->add_option("ID", options->id, "The email's id, as it was answered when the mail was accepted")->required();
  AddOutputOption(*command, options->output);
  AddExample(*command,
             "postbus status -c config/single-node.yaml $(postbus send -c config/single-node.yaml --to ada@example.com "
             "--subject Hello --text Hi)");
  command->callback([options] {
    if (const int code = PrintStatus(*options); code != kExitOk) std::exit(code);
  });
}

}  // namespace postbus
