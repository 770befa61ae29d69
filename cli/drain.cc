// postbus drain: ends a running host as SIGTERM does, and waits for that.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <thread>

#include "cli/admin_client.h"
#include "cli/command.h"
#include "event/clock.h"

namespace postbus {
namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(20);
constexpr int64_t kSlackMs = 10'000;  // of a process that is late

struct DrainOptions {
  ConfigOptions config;
  bool leave = false;
};

void Drain(const DrainOptions& options) {
  const Config config = options.config.LoadOrExit();
  const auto answer = PostToAdmin(config.admin, "/-/drain", options.leave ? R"({"leave":true})" : "{}");
  if (!answer.ok()) Die(answer.status());
  std::fputs(answer->c_str(), stdout);
  std::fflush(stdout);
  const int64_t until = BootTimeMs() + config.host.drain_timeout_ms + kSlackMs;
  while (AdminListens(config.admin)) {
    if (BootTimeMs() > until)
      Die(Status::Unavailable("it still runs, later than host.drain_timeout; end it by SIGKILL"));
    std::this_thread::sleep_for(kLookEvery);
  }
  std::puts("it has ended");
}

}  // namespace

void AddDrainCommand(CLI::App& program) {
  const auto options = std::make_shared<DrainOptions>();
  CLI::App* command = program.add_subcommand(
      "drain", "Ends the running process as SIGTERM does: no new mails, what is under way is finished; waits for it");
  options->config.AddTo(*command);
  command->add_flag("--leave", options->leave,
                    "Kafka: it does not come back, so the other hosts take its partitions at once, not after 10 s");
  AddExample(*command, "postbus drain -c config/postbus.yaml --leave");
  command->callback([options] { Drain(*options); });
}

}  // namespace postbus
