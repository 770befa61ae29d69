#include "plugins/ses-stub/transport.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "plugins/ses-stub/verdict.h"

namespace postbus::ses_stub {
namespace {

constexpr int64_t kThreads = 4;  // requests at the same time

std::string Reason(int error) { return std::generic_category().message(error); }

int64_t UnixNowMs() {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count();
}

AccountSettings SettingsOf(const sdk::Options& options) {
  using State = AccountSettings::State;
  const std::string state = options.Enum("account");
  AccountSettings settings;
  settings.state = state == "suspended"        ? State::kSuspended
                   : state == "sending_paused" ? State::kSendingPaused
                                               : State::kActive;
  settings.max_message_bytes = options.Size("max_message_size");
  settings.max_send_rate = options.Integer("max_send_rate");
  settings.max_24_hour_send = options.Integer("max_24_hour_send");
  settings.verified_identities = options.List("verified_identities");
  return settings;
}

std::vector<std::string_view> Recipients(const postbus_mail& mail) {
  std::vector<std::string_view> recipients;
  for (uint32_t i = 0; i < mail.n_recipients; ++i) recipients.push_back(sdk::View(mail.recipients[i]));
  return recipients;
}

// Text from the host is UTF-8 already.
void AppendJson(std::string_view text, std::string& out) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 0xF];
    } else {
      out += c;
    }
  }
  out += '"';
}

int WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return 0;
}

}  // namespace

std::string RequestLine(const postbus_mail& mail, const Answer& answer, int64_t now_unix_ms) {
  const std::vector<std::string_view> recipients = Recipients(mail);
  std::string line = "{\"at\":" + std::to_string(now_unix_ms);
  const auto add = [&line](std::string_view name, std::string_view value) {
    ((line += ",\"") += name) += "\":";
    AppendJson(value, line);
  };
  add("event_id", sdk::View(mail.event_id));
  line += ",\"attempt\":" + std::to_string(mail.attempt) + ",\"request\":{\"FromEmailAddress\":";
  AppendJson(sdk::View(mail.sender), line);
  line += ",\"Destination\":{\"ToAddresses\":[";
  for (const std::string_view recipient : recipients) {
    if (line.back() != '[') line += ',';
    AppendJson(recipient, line);
  }
  line += "]},\"raw_bytes\":" + std::to_string(mail.raw.size);
  line += "},\"answer\":{\"status\":" + std::to_string(answer.status);
  if (answer.status != 200) {
    add("__type", answer.type);
    add("message", answer.message);
    return line + "}}\n";
  }
  add("MessageId", answer.message_id);
  line += "},\"events\":[";
  for (const std::string_view recipient : recipients) {
    for (const Event& event : EventsFor(recipient)) {
      if (line.back() != '[') line += ',';
      line += "{\"eventType\":";
      AppendJson(event.type, line);
      add("emailAddress", recipient);
      if (event.type == "Bounce") add("bounceType", "Permanent");
      if (event.type == "Bounce") add("bounceSubType", event.sub_type);
      add("diagnosticCode", event.diagnostic);
      line += '}';
    }
  }
  return line + "]}\n";
}

SesStubTransport::SesStubTransport(sdk::Host host, const sdk::Options& options)
    : BlockingTransport(host, kThreads), directory_(options.Path("directory")), account_(SettingsOf(options)) {
  std::error_code error;
  std::filesystem::create_directories(directory_, error);
  if (error) throw std::runtime_error("cannot make the directory " + directory_ + ": " + error.message());
  directory_fd_ = ::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory_fd_ < 0) throw std::runtime_error("cannot open the directory " + directory_ + ": " + Reason(errno));
  requests_fd_ = ::openat(directory_fd_, "requests.jsonl", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (requests_fd_ < 0) {
    const int failed = errno;
    ::close(directory_fd_);
    throw std::runtime_error("cannot open " + directory_ + "/requests.jsonl: " + Reason(failed));
  }
}

SesStubTransport::~SesStubTransport() {
  ::close(requests_fd_);
  ::close(directory_fd_);
}

sdk::Outcome SesStubTransport::Send(const postbus_mail& mail) {
  const std::vector<std::string_view> recipients = Recipients(mail);
  const int64_t now_unix_ms = UnixNowMs();
  const Answer answer = account_.SendEmail(
      {.sender = sdk::View(mail.sender), .recipients = recipients, .raw_bytes = mail.raw.size}, now_unix_ms);
  int error = answer.status == 200 ? WriteMail(answer.message_id + ".eml", sdk::View(mail.raw)) : 0;
  if (error == 0) error = AppendLine(RequestLine(mail, answer, now_unix_ms));
  if (error == 0) return VerdictOf(answer);
  return sdk::Outcome::ProviderFault("cannot write into the directory " + directory_ + ": " + Reason(error))
      .At(POSTBUS_PHASE_REQUEST);
}

int SesStubTransport::WriteMail(const std::string& name, std::string_view raw) const {
  const int fd = ::openat(directory_fd_, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
  if (fd < 0) return errno;
  int error = WriteAll(fd, raw);
  if (::close(fd) != 0 && error == 0) error = errno;
  if (error != 0) ::unlinkat(directory_fd_, name.c_str(), 0);
  return error;
}

int SesStubTransport::AppendLine(const std::string& line) const { return WriteAll(requests_fd_, line); }

}  // namespace postbus::ses_stub
