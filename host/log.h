// host/log.h - the log on stderr: asynchronous, one line an entry, text for people or JSON for machines. Whoever logs
// takes care that no address and no secret is in it; texts from outside go through Redacted (host/redact.h).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "event/status.h"
#include "host/config.h"
#include "queue/queue.h"

namespace postbus {

// Thread-safe. A full queue of entries makes the caller wait only for warnings and errors; others are dropped, counted.
class Log {
 public:
  explicit Log(const LogConfig& config);
  ~Log();  // writes out what is queued
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  bool Enabled(LogLevel level) const { return level >= level_; }
  void Write(LogLevel level, std::string_view message);

  // For queue and plugins: writes with `component: ` before the message. REQUIRES: the Log outlives the function.
  QueueLog Named(std::string component);

 private:
  friend class LogLine;
  friend class LogBatch;
  // `lines` are whole, without the last line break.
  void Post(LogLevel level, std::string_view lines);

  struct Impl;
  const LogLevel level_;
  const bool json_;
  const std::unique_ptr<Impl> impl_;
};

// While it lives, this thread's debug and info entries are gathered and handed over together: a busy thread wakes the
// log's once a round instead of once an entry. One at a time a thread; the Log outlives it.
class LogBatch {
 public:
  explicit LogBatch(Log& log);
  ~LogBatch();
  LogBatch(const LogBatch&) = delete;
  LogBatch& operator=(const LogBatch&) = delete;

 private:
  Log& log_;
};

// One entry with fields, written when it goes out of scope: `sent id=… via=primary` or {"msg":"sent","id":…}.
// Builds nothing if the level is off. One thread.
class LogLine {
 public:
  LogLine(Log& log, LogLevel level, std::string_view message);
  ~LogLine();
  LogLine(const LogLine&) = delete;
  LogLine& operator=(const LogLine&) = delete;

  LogLine& Add(std::string_view key, std::string_view value);
  LogLine& Add(std::string_view key, int64_t value);
  LogLine& Seconds(std::string_view key, int64_t milliseconds);  // `age=0.8s`, "age_seconds":0.8
  // Free text at this place: ` 250 2.0.0 queued as 4F2`, "reply":"250 2.0.0 …". Redacts it.
  LogLine& Reply(int code, std::string_view enhanced, std::string_view text);

 private:
  Log& log_;
  const LogLevel level_;
  const bool on_;
  std::string& line_;
};

}  // namespace postbus
