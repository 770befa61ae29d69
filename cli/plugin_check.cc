#include "cli/plugin_check.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>

#include "host/plugin_library.h"

namespace postbus {
namespace {

using Clock = std::chrono::steady_clock;

// What a child does, in memory that it shares with its parent, so that it outlives it.
struct Progress {
  std::atomic<const char*> stage{nullptr};
  std::array<char, 64> input{};  // ends with NUL
};
Progress* progress = nullptr;

void ShareProgress() {
  if (progress == nullptr) {
    void* const page = ::mmap(nullptr, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return;
    progress = new (page) Progress;
  }
  progress->stage = nullptr;
  progress->input[0] = 0;
}

// ` in submit, with "900 KiB"`
std::string Where() {
  if (progress == nullptr) return {};
  const char* const stage = progress->stage;
  std::string where = stage == nullptr ? "" : std::string(" in ") + stage;
  if (progress->input[0] != 0) where += std::string(", with \"") + progress->input.data() + "\"";
  return where;
}

void WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    text.remove_prefix(static_cast<size_t>(written));
  }
}

// A finding on its way through a pipe: its kind, its sentence, and a mark that it is whole.
constexpr char kWhole = '\n';

std::string ToText(const Finding& finding) {
  return std::to_string(static_cast<int>(finding.kind)) + finding.sentence + kWhole;
}

Finding FromText(std::string_view text) {
  Finding finding;
  finding.kind = static_cast<Finding::Kind>(text.front() - '0');
  finding.sentence = text.substr(1, text.size() - 2);
  return finding;
}

[[noreturn]] void RunInThisProcess(const PluginCheck& check, const CheckSubject& subject, int to) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const rlimit no_core = {0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::dup2(STDERR_FILENO, STDOUT_FILENO);  // what a plugin prints is not among our findings
  // A plugin that calls exit ends us with its code at once: our own destructors would race with threads that go on.
  ::on_exit([](int status, void*) { ::_exit(status); }, nullptr);
  Finding finding;
  try {
    finding = check.run(subject);
  } catch (const std::exception& e) {
    finding = Finding("the check itself failed: " + std::string(e.what()));
  }
  std::replace(finding.sentence.begin(), finding.sentence.end(), '\n', ' ');
  WriteAll(to, ToText(finding));
  ::_exit(0);  // the plugin's destructors may be part of what is wrong
}

// Until its end or the limit. False: the limit.
bool ReadUntil(Clock::time_point limit, int from, std::string& text) {
  std::array<char, 4096> buffer{};
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(limit - Clock::now()).count();
    pollfd ready = {.fd = from, .events = POLLIN, .revents = 0};
    const int n = ::poll(&ready, 1, static_cast<int>(std::clamp<int64_t>(left, 0, 1'000'000)));
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) return false;
    const ssize_t got = ::read(from, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return true;
    text.append(buffer.data(), static_cast<size_t>(got));
    if (text.back() == kWhole) return true;
  }
}

// Goes with all that is in it.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string path = (std::filesystem::temp_directory_path() / "postbus-check-XXXXXX").string();
    if (::mkdtemp(path.data()) != nullptr) path_ = path;
  }
  ~ScratchDirectory() {
    std::error_code error;
    if (!path_.empty()) std::filesystem::remove_all(path_, error);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

std::string Death(int status) {
  if (WIFSIGNALED(status)) {
    const char* const name = ::sigabbrev_np(WTERMSIG(status));
    return "the plugin crashed" + Where() + " (SIG" + (name == nullptr ? "?" : name) +
           "); run it with --check and a debugger";
  }
  return "the plugin ended the process" + Where() + " (exit code " + std::to_string(WEXITSTATUS(status)) +
         "); the host lives on whatever happens to a mail";
}

Finding RunInChild(const PluginCheck& check, CheckSubject subject) {
  const ScratchDirectory scratch;
  subject.scratch = scratch.path();
  std::array<int, 2> ends{};
  ShareProgress();
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return Finding("cannot make a pipe: " + std::string(std::strerror(errno)));
  const pid_t child = ::fork();
  if (child < 0) {
    ::close(ends[0]);
    ::close(ends[1]);
    return Finding("cannot make a process: " + std::string(std::strerror(errno)));
  }
  if (child == 0) {
    ::close(ends[0]);
    RunInThisProcess(check, subject, ends[1]);
  }
  ::close(ends[1]);
  std::string text;
  const bool ended = ReadUntil(Clock::now() + subject.limit, ends[0], text);
  ::close(ends[0]);
  const bool whole = !text.empty() && text.back() == kWhole;
  if (!ended || whole) ::kill(child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (whole) return FromText(text);
  if (ended) return Finding(Death(status));
  return Finding("it did not end within " + std::to_string(subject.limit.count()) + " ms" + Where());
}

}  // namespace

void SetCheckStage(const char* stage) {
  if (progress != nullptr) progress->stage = stage;
}

void SetCheckInput(std::string_view name) {
  if (progress == nullptr) return;
  progress->input[name.copy(progress->input.data(), progress->input.size() - 1)] = 0;
}

Status RunPluginChecks(const CheckSubject& subject, std::string_view only,
                       const std::function<void(std::string_view, const Finding&)>& tell) {
  const auto is_wanted = [&](const PluginCheck& check) { return only.empty() || check.name == only; };
  bool known = only.empty();
  for (const PluginCheck& check : FileChecks()) {
    known = known || check.name == only;
    const Finding finding = RunInChild(check, subject);
    const bool ends_here = finding.kind == Finding::Kind::kFault && check.name == "loads";
    if (is_wanted(check) || ends_here) tell(check.name, finding);
    if (ends_here) return {};
  }
  // Loaded here, too, now that it is known to be harmless: its kind tells the other checks.
  const auto library = PluginLibrary::Load(subject.file);
  if (!library.ok()) return Status::Invalid(std::string(library.status().message()));
  for (const PluginCheck& check : (*library)->transport() != nullptr ? TransportChecks() : RendererChecks()) {
    if (!is_wanted(check)) continue;
    known = true;
    tell(check.name, RunInChild(check, subject));
  }
  if (!known) return Status::NotFound("there is no check \"" + std::string(only) + "\" for this kind of plugin");
  return {};
}

}  // namespace postbus
