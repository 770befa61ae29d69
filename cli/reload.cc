#include "cli/reload.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <thread>
#include <utility>

#include "api/problem.h"
#include "event/clock.h"
#include "event/email_event.h"
#include "event/text.h"
#include "host/config_load.h"
#include "host/plugin_set.h"

namespace postbus {
namespace {

constexpr int64_t kCheckWithinMs = 30'000;
constexpr auto kPollInterval = std::chrono::milliseconds(5);
constexpr size_t kMaxCheckOutput = 64 * 1024;

bool IsSame(const ConfiguredOption& a, const ConfiguredOption& b) {
  return a.name == b.name && a.text == b.text && a.items == b.items;
}

// As far as the configuration tells.
bool IsSame(const TransportConfig& a, const TransportConfig& b) {
  return a.name == b.name && a.plugin == b.plugin && a.sha256 == b.sha256 &&
         std::equal(a.options.begin(), a.options.end(), b.options.begin(), b.options.end(),
                    [](const auto& one, const auto& other) { return IsSame(one, other); });
}

bool StopIsPending() {
  sigset_t pending;
  return sigpending(&pending) == 0 && (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1);
}

std::vector<std::string> Lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

// The lines a subcommand wrote by PrintError, without what plugins logged in between.
std::vector<std::string> ErrorLines(std::string_view output) {
  constexpr std::string_view kPrefix = "postbus: ";
  std::vector<std::string> errors;
  for (std::string& line : Lines(output)) {
    if (line.starts_with(kPrefix)) errors.push_back(line.substr(kPrefix.size()));
  }
  return errors;
}

// Runs this program with `arguments`; its standard error goes to `errors`. The wait status; -1 and the reason in
// `errors` where it did not run to its end.
int RunSelf(std::vector<std::string> arguments, std::string& errors) {
  const int output = memfd_create("postbus-check", MFD_CLOEXEC);
  if (output < 0) {
    errors = std::string("cannot make a file in memory: ") + std::strerror(errno);
    return -1;
  }
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);  // ours are blocked for sake of signalfd
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t child = -1;
  const int error = posix_spawn(&child, "/proc/self/exe", &actions, &attributes, argv.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    close(output);
    errors = std::string("cannot start the process that checks it: ") + std::strerror(error);
    return -1;
  }
  const int64_t until = BootTimeMs() + kCheckWithinMs;
  int status = 0;
  const char* given_up = nullptr;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (StopIsPending()) given_up = "this process was told to stop";
    if (BootTimeMs() > until) given_up = "the check did not end within 30 s; a plugin seems to hang";
    if (given_up != nullptr) {
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
      break;
    }
    std::this_thread::sleep_for(kPollInterval);
  }
  errors.resize(kMaxCheckOutput);
  const ssize_t size = pread(output, errors.data(), errors.size(), 0);
  close(output);
  errors.resize(static_cast<size_t>(std::max<ssize_t>(size, 0)));
  if (given_up == nullptr) return status;
  errors = given_up;
  return -1;
}

HttpResponse JsonAnswer(std::string body) {
  HttpResponse response;
  response.body = std::move(body);
  return response;
}

void AppendNames(const char* name, const std::vector<std::string>& texts, std::string& json) {
  json += std::string(",\"") + name + "\":[";
  for (const std::string& text : texts) {
    if (json.back() != '[') json += ',';
    AppendJsonString(text, json);
  }
  json += ']';
}

}  // namespace

struct Reloader::Change {
  bool needs_restart = false;
  std::vector<std::string> kept;     // names of transports
  std::vector<std::string> started;  // new ones, and others under an old name
  std::vector<std::string> ended;
  std::vector<std::string> warnings;

  // What `generation` has against `transports`, those of the one before.
  void Compare(const std::vector<std::shared_ptr<TransportInstance>>& before, const Generation& generation) {
    for (const auto& instance : generation.transports) {
      const bool is_kept = std::find(before.begin(), before.end(), instance) != before.end();
      (is_kept ? kept : started).push_back(instance->transport().name());
    }
    for (const auto& instance : before) {
      if (!generation.Has(instance.get())) ended.push_back(instance->transport().name());
    }
  }
};

Reloader::Reloader(const ConfigOptions& options, Config current, Reloadable reloadable, Metrics& metrics, Log& log)
    : options_(options), current_(std::move(current)), reloadable_(reloadable), metrics_(metrics), log_(log) {
  metrics_.SetGeneration(generation_);
  RemoveUnusedPluginCopies(PluginCopyDirectory(current_));
}

bool Reloader::Tend() {
  const bool more = reloadable_.worker != nullptr && reloadable_.worker->Tend();
  if (std::exchange(has_former_, more) && !more) RemoveUnusedPluginCopies(PluginCopyDirectory(current_));
  return more;
}

HttpResponse Reloader::Reload(std::string_view why) {
  const int64_t start = BootTimeMs();
  Change change;
  const Status status = Apply(change);
  metrics_.CountReload(status.ok());
  for (const std::string& warning : change.warnings) log_.Write(LogLevel::kWarning, "reload: " + warning);
  if (!status.ok()) {
    LogLine(log_, LogLevel::kError, "reload failed, nothing was changed").Add("why", why).Add("config", options_.file);
    for (const std::string& line : Lines(status.message())) log_.Write(LogLevel::kError, "reload: " + line);
    return change.needs_restart ? Problem(409, "restart_needed", status.message())
                                : Problem(422, "invalid_configuration", status.message());
  }
  ++generation_;
  metrics_.SetGeneration(generation_);
  LogLine(log_, LogLevel::kInfo, "reloaded")
      .Add("why", why)
      .Add("config", current_.file)
      .Add("generation", static_cast<int64_t>(generation_))
      .Add("kept", Joined(change.kept, ","))
      .Add("started", Joined(change.started, ","))
      .Add("ended", Joined(change.ended, ","))
      .Seconds("took", BootTimeMs() - start);
  std::string json = "{\"generation\":" + std::to_string(generation_);
  AppendNames("kept", change.kept, json);
  AppendNames("started", change.started, json);
  AppendNames("ended", change.ended, json);
  AppendNames("warnings", change.warnings, json);
  return JsonAnswer(json + "}\n");
}

Status Reloader::Apply(Change& change) {
  auto loaded = LoadConfig(options_.file, options_.overrides);
  if (!loaded.ok()) return loaded.TakeStatus();
  Config next = std::move(*loaded);
  next.copy_plugins = current_.copy_plugins;
  if (const std::string keys = KeysThatNeedRestart(current_, next); !keys.empty()) {
    change.needs_restart = true;
    return Status::Invalid(next.file + ": " + keys +
                           ": changed, and takes effect at a start only; restart postbus, or " +
                           "put the former value back to reload the rest");
  }

  // A plugin can end its process, or never come back, while it is loaded: then it shall be another one.
  std::vector<std::string> check = {"postbus", "validate", "-c", options_.file};
  for (const std::string& assignment : options_.overrides) check.push_back("--set=" + assignment);
  if (reloadable_.worker == nullptr) check.push_back("--api");
  for (const TransportConfig& transport : next.transports) {
    if (reloadable_.worker == nullptr) break;
    const auto is_same = [&](const TransportConfig& other) { return IsSame(transport, other); };
    if (std::none_of(current_.transports.begin(), current_.transports.end(), is_same)) {
      check.push_back("--probe=" + transport.name);
    }
  }
  std::string errors;
  const int status = RunSelf(std::move(check), errors);
  if (status == -1) return Status::Unavailable(next.file + ": " + errors);
  std::vector<std::string> lines = ErrorLines(errors);
  if (WIFSIGNALED(status)) {
    lines.push_back(next.file + ": a plugin ended the process that checked it (" + strsignal(WTERMSIG(status)) +
                    "); `postbus validate -c " + next.file + "` does the same");
    return Status::Invalid(Joined(lines, "\n"));
  }
  // A server that does not answer yet is no reason to stay with the former configuration: it may be the reason to
  // leave.
  const int code = WEXITSTATUS(status);
  if (code != kExitOk && code != kExitUnavailable) {
    if (lines.empty()) lines.push_back(next.file + ": the check of it ended with exit code " + std::to_string(code));
    return Status::Invalid(Joined(lines, "\n"));
  }
  change.warnings = std::move(lines);

  auto renderer = LoadRenderer(next, log_.Named("renderer"));
  if (!renderer.ok()) return renderer.TakeStatus();
  const std::shared_ptr<const Renderer> shared = std::move(*renderer);
  if (Worker* const worker = reloadable_.worker; worker != nullptr) {
    const std::vector<std::shared_ptr<TransportInstance>> before = worker->generation().transports;
    if (Status reloaded = worker->Reload(next, shared); !reloaded.ok()) return reloaded;
    change.Compare(before, worker->generation());
  }
  if (reloadable_.api != nullptr) reloadable_.api->Reload(next, shared);
  current_ = std::move(next);
  has_former_ = true;
  return {};
}

ReloadRequests::ReloadRequests() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

ReloadRequests::~ReloadRequests() { close(fd_); }

void ReloadRequests::Add(HttpReply reply) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(reply));
  }
  const uint64_t one = 1;
  [[maybe_unused]] const auto written = write(fd_, &one, sizeof one);
}

std::vector<HttpReply> ReloadRequests::Take() {
  uint64_t count = 0;
  [[maybe_unused]] const auto size = read(fd_, &count, sizeof count);
  const std::lock_guard lock(mutex_);
  return std::exchange(waiting_, {});
}

}  // namespace postbus
