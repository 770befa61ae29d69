// host/plugin_calls.h - what transport.cc and renderer.cc share at the border to a plugin: sinks to lend, log lines to
// take, exceptions to stop. For these two only. Pure functions and small values; no thread rules of their own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>

#include "postbus/abi.h"
#include "queue/queue.h"
#include "queue/utf8_cut.h"

namespace postbus {

inline constexpr size_t kMaxPluginText = 4096;  // of a log line, an error, a server's words

// What a plugin says is a view; a defect of its must not make us read address 0.
inline std::string_view PluginText(postbus_str text) {
  return text.data == nullptr ? std::string_view() : std::string_view(text.data, text.size);
}

inline postbus_str AbiText(std::string_view text) { return {text.data(), text.size()}; }

// Cut at `max_bytes`, control characters as spaces.
inline std::string Printable(std::string_view text, size_t max_bytes) {
  std::string printable(CutUtf8(text, max_bytes));
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  std::replace_if(printable.begin(), printable.end(), is_control, ' ');
  return printable;
}

// Fit for one line of a log.
inline std::string OneLine(std::string_view text) {
  std::string line = Printable(text, kMaxPluginText);
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

// As errors quote what somebody wrote into a file.
inline std::string InQuotes(std::string_view text) { return "\"" + Printable(text, 64) + "\""; }

// Collects what a plugin writes, up to `limit` bytes. Lend abi() for the duration of a call.
class StringSink {
 public:
  StringSink(std::string& out, size_t limit) : out_(out), limit_(limit) {}
  StringSink(const StringSink&) = delete;
  StringSink& operator=(const StringSink&) = delete;

  const postbus_sink* abi() const { return &abi_; }
  bool overflowed() const { return overflowed_; }

 private:
  static void Write(void* ctx, const char* data, size_t n) noexcept {
    if (ctx == nullptr || data == nullptr || n == 0) return;
    auto& self = *static_cast<StringSink*>(ctx);
    const size_t room = self.limit_ - std::min(self.limit_, self.out_.size());
    try {
      self.out_.append(data, std::min(n, room));
      self.overflowed_ = self.overflowed_ || n > room;
    } catch (const std::exception&) {  // no memory for it
      self.overflowed_ = true;
    }
  }

  std::string& out_;
  const size_t limit_;
  bool overflowed_ = false;
  const postbus_sink abi_ = {.size = sizeof(postbus_sink), .reserved = 0, .ctx = this, .write = &Write};
};

inline LogLevel ToLogLevel(int32_t level) {
  if (level <= POSTBUS_LOG_DEBUG) return LogLevel::kDebug;
  if (level == POSTBUS_LOG_INFO) return LogLevel::kInfo;
  if (level == POSTBUS_LOG_WARNING) return LogLevel::kWarning;
  return LogLevel::kError;
}

// Calls into a plugin. The ABI forbids exceptions to cross; one that does must not end the host. Returns "" or what was
// thrown.
template <typename Call>
std::string CatchThrown(Call&& call) {
  try {
    call();
    return {};
  } catch (const std::exception& e) {
    return "an exception crossed the plugin ABI: " + OneLine(e.what());
  } catch (...) {
    return "an exception crossed the plugin ABI";
  }
}

// Why a call failed: what was thrown, else what the plugin wrote.
inline std::string ReasonOf(const std::string& thrown, std::string_view written) {
  if (!thrown.empty()) return thrown;
  return written.empty() ? "the plugin gave no reason" : OneLine(written);
}

// Calls create of a transport's or renderer's table. Sets `instance` and returns "", or returns why there is none.
template <typename Table>
std::string CreateInstance(const Table& table, const postbus_host& host, const postbus_options& options,
                           postbus_instance*& instance) {
  std::string written;
  const StringSink sink(written, kMaxPluginText);
  postbus_instance* created = nullptr;
  int32_t result = POSTBUS_ERROR;
  const std::string thrown = CatchThrown([&] { result = table.create(&host, &options, &created, sink.abi()); });
  if (!thrown.empty() || result != POSTBUS_OK) return ReasonOf(thrown, written);
  if (created == nullptr) return "the plugin reported success and made no instance";
  instance = created;
  return {};
}

}  // namespace postbus
