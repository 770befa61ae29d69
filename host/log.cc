#include "host/log.h"

#include <spdlog/async.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "event/clock.h"
#include "event/email_event.h"
#include "host/redact.h"

namespace postbus {
namespace {

constexpr size_t kQueuedEntries = 16'384;
constexpr size_t kMaxReplyBytes = 512;

LogLevel LevelOf(std::string_view name) {
  if (name == "debug") return LogLevel::kDebug;
  if (name == "warning") return LogLevel::kWarning;
  if (name == "error") return LogLevel::kError;
  return LogLevel::kInfo;
}

spdlog::level::level_enum SpdlogLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

bool WantsJson(LogConfig::Format format) {
  if (format == LogConfig::Format::kAuto) return isatty(STDERR_FILENO) == 0;
  return format == LogConfig::Format::kJson;
}

constexpr size_t kMaxBatchBytes = 64 * 1024;

std::string_view NameOf(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "error";
}

// Entries of one thread never overlap, so a line's buffer is reused.
thread_local std::string line_buffer;
thread_local std::string batch_buffer;
thread_local bool gathers = false;  // a LogBatch lives

}  // namespace

struct Log::Impl {
  std::shared_ptr<spdlog::async_logger> dropping;  // debug, info
  std::shared_ptr<spdlog::async_logger> waiting;   // warning, error
  // Last: its destructor writes out what is queued and joins its thread while the loggers are still there.
  std::shared_ptr<spdlog::details::thread_pool> pool;
};

Log::Log(const LogConfig& config)
    : level_(LevelOf(config.level)), json_(WantsJson(config.format)), impl_(std::make_unique<Impl>()) {
  impl_->pool = std::make_shared<spdlog::details::thread_pool>(kQueuedEntries, 1);
  auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  const auto make = [&](spdlog::async_overflow_policy policy) {
    auto logger = std::make_shared<spdlog::async_logger>("postbus", sink, impl_->pool, policy);
    logger->set_level(spdlog::level::debug);
    logger->set_pattern("%v");  // entries bring their time: it is when they were written, not when they are taken
    return logger;
  };
  impl_->dropping = make(spdlog::async_overflow_policy::overrun_oldest);
  impl_->waiting = make(spdlog::async_overflow_policy::block);
}

Log::~Log() = default;

void Log::Write(LogLevel level, std::string_view message) { LogLine(*this, level, message); }

QueueLog Log::Named(std::string component) {
  return [this, component = std::move(component)](LogLevel level, std::string_view message) {
    if (!Enabled(level)) return;
    std::string text = component;
    text += ": ";
    AppendRedacted(message, 4096, text);
    Write(level, text);
  };
}

void Log::Post(LogLevel level, std::string_view lines) {
  auto& logger = level >= LogLevel::kWarning ? impl_->waiting : impl_->dropping;
  logger->log(SpdlogLevel(level), spdlog::string_view_t(lines.data(), lines.size()));
}

LogBatch::LogBatch(Log& log) : log_(log) { gathers = true; }

LogBatch::~LogBatch() {
  gathers = false;
  if (batch_buffer.empty()) return;
  log_.Post(LogLevel::kInfo, batch_buffer);
  batch_buffer.clear();
}

LogLine::LogLine(Log& log, LogLevel level, std::string_view message)
    : log_(log), level_(level), on_(log.Enabled(level)), line_(line_buffer) {
  if (!on_) return;
  line_.clear();
  const std::string_view name = NameOf(level);
  if (log_.json_) {
    ((line_ += "{\"ts\":\"") += FormatRfc3339(UnixTimeMs())) += "\",\"level\":\"";
    (line_ += name) += "\",\"msg\":";
    AppendJsonString(message, line_);
  } else {
    ((line_ += FormatRfc3339(UnixTimeMs())) += ' ') += name;
    line_.append(8 - name.size(), ' ') += message;
  }
}

LogLine::~LogLine() {
  if (!on_) return;
  if (log_.json_) line_ += '}';
  if (!gathers || level_ >= LogLevel::kWarning) {
    log_.Post(level_, line_);
    return;
  }
  if (!batch_buffer.empty()) batch_buffer += '\n';
  batch_buffer += line_;
  if (batch_buffer.size() < kMaxBatchBytes) return;
  log_.Post(level_, batch_buffer);
  batch_buffer.clear();
}

LogLine& LogLine::Add(std::string_view key, std::string_view value) {
  if (!on_) return *this;
  if (log_.json_) {
    line_ += ",\"";
    line_ += key;
    line_ += "\":";
    AppendJsonString(value, line_);
  } else {
    line_ += ' ';
    line_ += key;
    line_ += '=';
    line_ += value;
  }
  return *this;
}

LogLine& LogLine::Add(std::string_view key, int64_t value) {
  if (!on_) return *this;
  line_ += log_.json_ ? ",\"" : " ";
  line_ += key;
  line_ += log_.json_ ? "\":" : "=";
  line_ += std::to_string(value);
  return *this;
}

LogLine& LogLine::Seconds(std::string_view key, int64_t milliseconds) {
  if (!on_) return *this;
  line_ += log_.json_ ? ",\"" : " ";
  line_ += key;
  line_ += log_.json_ ? "_seconds\":" : "=";
  const int64_t tenths = (milliseconds + 50) / 100;
  line_ += std::to_string(tenths / 10);
  line_ += '.';
  line_ += static_cast<char>('0' + tenths % 10);
  if (!log_.json_) line_ += 's';
  return *this;
}

LogLine& LogLine::Reply(int code, std::string_view enhanced, std::string_view text) {
  if (!on_ || (code == 0 && text.empty())) return *this;
  std::string reply;
  if (code != 0) reply = std::to_string(code) + ' ';
  // Servers repeat the enhanced code at the start of their text.
  if (!enhanced.empty() && !text.starts_with(enhanced)) (reply += enhanced) += ' ';
  AppendRedacted(text, kMaxReplyBytes, reply);
  if (log_.json_) return Add("reply", reply);
  line_ += ' ';
  line_ += reply;
  return *this;
}

}  // namespace postbus
