#include "cli/check_rig.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <thread>

#include "event/clock.h"

namespace postbus {
namespace {

namespace fs = std::filesystem;

constexpr size_t kCallLimitMs = 2000;  // of what "never blocks"; a lot, for machines with other things to do
constexpr int64_t kHourMs = 3'600'000;
constexpr size_t kOfferedAtOnce = 16;
constexpr std::string_view kSecret = "planted-secret";

size_t CountEntries(const char* directory) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

size_t Bytes(const postbus_mail& mail) {
  size_t bytes = mail.raw.size + mail.parts->text.size + mail.parts->html.size;
  for (uint32_t i = 0; i < mail.parts->n_attachments; ++i) bytes += mail.parts->attachments[i]->base64.size;
  return bytes + (size_t{64} << 10);
}

bool IsNamed(const postbus_option& option, std::string_view name) { return PluginText(option.name) == name; }

}  // namespace

CheckRig::CheckRig(const CheckSubject& subject)
    : subject_(subject),
      host_(*new CheckHost),
      server_(*new CheckServer([&host = host_](std::string_view bytes) { host.OnWire(bytes); })) {}

std::optional<ConfiguredOption> CheckRig::StandIn(const postbus_option& option, bool ours) {
  ConfiguredOption made;
  made.name = PluginText(option.name);
  const bool required = (option.flags & POSTBUS_OPTION_REQUIRED) != 0;
  if (ours && IsNamed(option, "base_url")) {
    made.text = "http://127.0.0.1:" + std::to_string(server_.port());
  } else if (ours && IsNamed(option, "host")) {
    made.text = "127.0.0.1";
  } else if (ours && IsNamed(option, "port")) {
    made.text = std::to_string(server_.port());
  } else if (ours && IsNamed(option, "tls") && option.type == POSTBUS_OPTION_ENUM &&
             OptionTextProblem(option, "none").empty()) {
    made.text = "none";
  } else if (!required) {
    return std::nullopt;
  } else if (option.type == POSTBUS_OPTION_LIST) {
    made.is_list = true;
    made.items = {"check"};
  } else if (option.type == POSTBUS_OPTION_PATH) {
    const fs::path directory = subject_.scratch / made.name;
    fs::create_directories(directory);
    made.text = directory.string();
  } else if (option.type == POSTBUS_OPTION_ENUM) {
    made.text = OptionChoices(option).front();
  } else if (option.type == POSTBUS_OPTION_BOOLEAN) {
    made.text = "true";
  } else if (option.type == POSTBUS_OPTION_STRING) {
    made.text = (option.flags & POSTBUS_OPTION_SECRET) != 0 ? kSecret : "check";
  } else {
    made.text = std::to_string(std::max<int64_t>(option.minimum, 1));
    if (option.type == POSTBUS_OPTION_DURATION) made.text += "ms";
  }
  return made;
}

std::string CheckRig::Open() {
  SetCheckStage("loading it");
  auto library = PluginLibrary::Load(subject_.file);
  SetCheckStage(nullptr);
  if (!library.ok()) return std::string(library.status().message());
  library_ = std::move(*library);
  PluginConfig config;
  config.mark.file = "--option";
  config.base_dir = fs::current_path().string();
  bool ours = true;
  for (const auto& [name, text] : subject_.options) {
    ConfiguredOption given;
    given.name = name;
    given.text = text;
    given.name_mark.file = given.value_mark.file = "--option";
    config.options.push_back(std::move(given));
    ours = ours && name != "base_url" && name != "host" && name != "port";
  }
  for (const postbus_option* option : this->library().options()) {
    const auto given = std::find_if(config.options.begin(), config.options.end(),
                                    [&](const ConfiguredOption& one) { return IsNamed(*option, one.name); });
    if (given != config.options.end()) {
      if (option->type == POSTBUS_OPTION_LIST) {
        given->is_list = true;
        given->items = {given->text};
      }
      if ((option->flags & POSTBUS_OPTION_SECRET) != 0 && given->text.size() >= 4) host_.Plant(given->text);
    } else if (auto made = StandIn(*option, ours)) {
      config.options.push_back(std::move(*made));
    }
  }
  host_.Plant(std::string(kSecret));
  auto options = PluginOptions::Parse(this->library().options(), config, "options", this->library().id());
  if (!options.ok()) return std::string(options.status().message());
  options_ = std::move(*options);
  return {};
}

std::string CheckRig::Create(postbus_instance*& instance) {
  if (!options_) {
    if (std::string fault = Open(); !fault.empty()) return fault;
  }
  host_.SetOpen(true);
  CheckMemory& memory = *new CheckMemory(size_t{1} << 20);
  const postbus_options* const options = memory.Copy(options_->view());
  std::string written;
  StringSink sink(written, kMaxPluginText);
  const bool is_transport = library().transport() != nullptr;
  int32_t result = POSTBUS_ERROR;
  postbus_instance* made = nullptr;
  std::string fault = Guard("create", [&] {
    result = (is_transport ? library().transport()->create : library().renderer()->create)(host_.abi(), options, &made,
                                                                                           sink.abi());
  });
  memory.TakeAway();
  if (!fault.empty()) return fault;
  host_.CheckText("create's error", written);
  if (fault = host_.fault(); !fault.empty()) return fault;
  if (result != POSTBUS_OK) {
    return written.empty() ? "create failed and gave no reason; write a sentence into `error`"
                           : "create failed: " + OneLine(written) + "; give options by --option NAME=VALUE";
  }
  if (made == nullptr) return "create returned POSTBUS_OK and made no instance";
  instance = made;
  return {};
}

std::string CheckRig::Destroy(postbus_instance* instance) {
  const bool is_transport = library().transport() != nullptr;
  std::string fault = Guard(
      "destroy", [&] { (is_transport ? library().transport()->destroy : library().renderer()->destroy)(instance); });
  if (instance == instance_) host_.SetOpen(false);
  return fault.empty() ? host_.fault() : fault;
}

std::string CheckRig::Submit(std::vector<sdk::testing::FakeMail> mails, uint32_t& taken) {
  CheckMemory& list = *new CheckMemory((mails.size() + 1) * sizeof(void*));
  std::vector<const postbus_mail*> views;
  const uint32_t caps = library().transport()->caps;
  for (sdk::testing::FakeMail& mail : mails) {
    mail.deadline_ms = BootTimeMs() + std::min(mail.deadline_ms, kHourMs);
    postbus_mail view = mail.view();
    CheckMemory& memory = *new CheckMemory(Bytes(view));
    if ((caps & POSTBUS_TRANSPORT_WANTS_RAW) == 0) view.raw = {nullptr, 0};
    if ((caps & POSTBUS_TRANSPORT_WANTS_PARTS) == 0) view.parts = nullptr;
    views.push_back(memory.Copy(view));
    host_.Offer(view.token, view.n_recipients, &memory);
  }
  const int64_t begin_ms = BootTimeMs();
  const auto offered = static_cast<uint32_t>(mails.size());
  taken = 0;
  std::string fault = Guard("submit", [&] {
    taken = library().transport()->submit(instance_, list.Copy(views.data(), views.size()), offered);
  });
  const int64_t took_ms = BootTimeMs() - begin_ms;
  list.TakeAway();
  if (!fault.empty()) return fault;
  if (taken > offered) {
    return "submit says it took " + std::to_string(taken) + " mails of " + std::to_string(offered);
  }
  for (size_t i = taken; i < mails.size(); ++i) host_.NotTaken(mails[i].token);
  if (took_ms > static_cast<int64_t>(kCallLimitMs)) {
    return "submit took " + std::to_string(took_ms) + " ms; it never blocks: leave the work to a thread";
  }
  return host_.fault();
}

std::string CheckRig::SubmitAll(std::vector<sdk::testing::FakeMail> mails) {
  while (!mails.empty()) {
    const auto end = mails.begin() + static_cast<ptrdiff_t>(std::min(mails.size(), kOfferedAtOnce));
    const uint64_t writable_calls = host_.writable_calls();  // another thread may be told in our place
    uint32_t taken = 0;
    if (std::string fault = Submit({mails.begin(), end}, taken); !fault.empty()) return fault;
    const bool all = mails.begin() + taken == end;
    mails.erase(mails.begin(), mails.begin() + taken);
    if (!all && !host_.WaitUntilWritable(writable_calls, patience())) {
      return "having taken fewer mails than it was offered, it did not call writable within " +
             std::to_string(patience().count()) + " ms";
    }
    if (std::string fault = host_.fault(); !fault.empty()) return fault;
  }
  return {};
}

std::string CheckRig::WaitUntilCompleted() {
  const bool all = host_.WaitUntilCompleted(patience());
  if (std::string fault = host_.fault(); !fault.empty()) return fault;
  if (all) return {};
  return "of " + std::to_string(host_.taken()) + " mails that it took it completed " +
         std::to_string(host_.completed()) + " within " + std::to_string(patience().count()) + " ms";
}

std::string CheckRig::Cancel(std::vector<uint64_t> tokens) {
  const int64_t begin_ms = BootTimeMs();
  std::string fault = Guard(
      "cancel", [&] { library().transport()->cancel(instance_, tokens.data(), static_cast<uint32_t>(tokens.size())); });
  if (!fault.empty()) return fault;
  if (BootTimeMs() - begin_ms > static_cast<int64_t>(kCallLimitMs)) return "cancel never blocks, and it did";
  return host_.fault();
}

std::string CheckRig::Quiesce(std::chrono::milliseconds deadline) {
  const int64_t begin_ms = BootTimeMs();
  std::string fault = Guard("quiesce", [&] { library().transport()->quiesce(instance_, begin_ms + deadline.count()); });
  if (!fault.empty()) return fault;
  if (BootTimeMs() - begin_ms > static_cast<int64_t>(kCallLimitMs)) return "quiesce never blocks, and it did";
  return host_.fault();
}

std::string CheckRig::Probe(std::chrono::milliseconds deadline) {
  std::string report;
  StringSink sink(report, kMaxPluginText);
  int32_t result = POSTBUS_ERROR;
  const int64_t begin_ms = BootTimeMs();
  std::string fault = Guard(
      "probe", [&] { result = library().transport()->probe(instance_, begin_ms + deadline.count(), sink.abi()); });
  if (!fault.empty()) return fault;
  host_.CheckText("probe's report", report);
  if (BootTimeMs() - begin_ms > deadline.count() + patience().count() / 2) return "probe did not end at its deadline";
  if (result != POSTBUS_OK && report.empty()) return "probe failed and gave no reason; write a sentence into `report`";
  return host_.fault();
}

std::string CheckRig::WaitUntilNoneOutstanding(std::chrono::milliseconds limit) {
  uint32_t outstanding = 0;
  const int64_t end_ms = BootTimeMs() + limit.count();
  do {
    std::string fault = Guard("outstanding", [&] { outstanding = library().transport()->outstanding(instance_); });
    if (!fault.empty()) return fault;
    if (outstanding == 0) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  } while (BootTimeMs() < end_ms);
  if (std::string fault = host_.fault(); !fault.empty()) return fault;
  if (outstanding != 0) return "outstanding still says " + std::to_string(outstanding);
  if (host_.completed() < host_.taken()) {
    return "outstanding says 0 while " + std::to_string(host_.taken() - host_.completed()) +
           " mails are taken and not completed: the host would destroy it";
  }
  return {};
}

size_t CountThreads() { return CountEntries("/proc/self/task"); }
size_t CountFiles() { return CountEntries("/proc/self/fd"); }

bool ComesDownTo(size_t (*count)(), size_t most, std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (count() > most && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return count() <= most;
}

}  // namespace postbus
