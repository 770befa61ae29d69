// cli/reload.h - reads the configuration again while the roles run: all or nothing, and with an answer that says what
// changed or why nothing did.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "api/email_api.h"
#include "api/http_server.h"
#include "cli/command.h"
#include "host/log.h"
#include "host/metrics.h"
#include "host/worker.h"

namespace postbus {

// What runs here and is given the new configuration; nullptr: not in this role. Outlives the Reloader.
struct Reloadable {
  Worker* worker = nullptr;
  EmailApi* api = nullptr;
};

// All calls from the control thread.
class Reloader {
 public:
  // `current` is what `reloadable` was started with. All outlive the Reloader.
  Reloader(const ConfigOptions& options, Config current, Reloadable reloadable, Metrics& metrics, Log& log);

  // Loads the file, has a child process check it (a plugin that crashes ends the child), and makes the roles go by it.
  // Logs and counts. Takes about as long as a start; gives up where SIGTERM or SIGINT is pending. `why` is for the log.
  // The answer is that of POST /-/reload: 200 with what changed, 422 with what is wrong, 409 with what needs a restart.
  HttpResponse Reload(std::string_view why);

  // What the roles go by.
  const Config& current() const { return current_; }

  // As Worker::Tend; also removes copies of plugins that are not used any more.
  bool Tend();

 private:
  struct Change;
  Status Apply(Change& change);

  const ConfigOptions& options_;
  Config current_;
  uint64_t generation_ = 1;
  bool has_former_ = false;  // a former configuration may still be in use
  const Reloadable reloadable_;
  Metrics& metrics_;
  Log& log_;
};

// Who asked over HTTP for a reload and waits for the answer. Add from any thread; the rest on the control thread.
class ReloadRequests {
 public:
  ReloadRequests();
  ~ReloadRequests();
  ReloadRequests(const ReloadRequests&) = delete;
  ReloadRequests& operator=(const ReloadRequests&) = delete;

  void Add(HttpReply reply);
  int fd() const { return fd_; }  // readable when there are some
  std::vector<HttpReply> Take();

 private:
  const int fd_;
  std::mutex mutex_;
  std::vector<HttpReply> waiting_;  // guarded by mutex_
};

}  // namespace postbus
