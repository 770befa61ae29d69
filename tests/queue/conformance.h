// tests/queue/conformance.h - the fixture of the conformance suite: a queue of a backend, and processes that work on it
// and are killed.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "tests/queue/queue_harness.h"
#include "tests/queue/queue_test_host.h"

namespace postbus {

inline std::string ValueOf(std::string_view id) { return "{\"message\":{\"id\":\"" + std::string(id) + "\"}}"; }

inline NewEvent EventOf(std::string_view id, std::string_view value, Priority priority = Priority::kNormal) {
  return {.id = id, .priority = priority, .accepted_at_unix_ms = 1'700'000'000'000, .value = value, .traceparent = {}};
}

class QueueConformance : public testing::Test {
 protected:
  void SetUp() override {
    std::string reason;
    harness_ = NewQueueHarness(reason);
    if (harness_ == nullptr) GTEST_SKIP() << reason;
  }

  std::unique_ptr<Queue> Open(Role role) {
    Result<std::unique_ptr<Queue>> queue = harness_->Open(role);
    if (!queue.ok()) throw std::runtime_error("open: " + std::string(queue.status().message()));
    return std::move(*queue);
  }
  std::unique_ptr<TestHost> OpenHost(size_t shards = 1) {
    return std::make_unique<TestHost>(Open(Role::kHost), shards);
  }

  // A line of what a child did, from any of its threads; survives its death.
  using Ledger = std::function<void(const std::string& line)>;

  // Runs `work` in a process of its own, then kills that with SIGKILL. Returns its ledger. `work` may be in the middle
  // of anything then. REQUIRES: this process has no queue open.
  std::vector<std::string> RunAndKill(const std::function<void(const Ledger&)>& work) {
    std::array<int, 2> pipe_fds{};
    if (pipe(pipe_fds.data()) != 0) throw std::runtime_error("pipe failed");
    const pid_t child = fork();
    if (child == 0) {
      close(pipe_fds[0]);
      const Ledger ledger = [fd = pipe_fds[1]](const std::string& line) {
        const std::string text = line + "\n";
        if (write(fd, text.data(), text.size()) < 0) _exit(1);  // one write: whole lines, whichever thread
      };
      try {
        work(ledger);
      } catch (const std::exception& error) {
        ledger(std::string("failed ") + error.what());
      }
      kill(getpid(), SIGKILL);
    }
    close(pipe_fds[1]);
    std::string text;
    std::array<char, 65536> block{};
    ssize_t size = 0;
    while ((size = read(pipe_fds[0], block.data(), block.size())) > 0)
      text.append(block.data(), static_cast<size_t>(size));
    close(pipe_fds[0]);
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "the child ended by itself";
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) {
      EXPECT_NE(line.substr(0, 7), "failed ") << line;
      lines.push_back(line);
    }
    return lines;
  }

  // Takes and completes `at_least` events, and what else comes within a second. Returns their ids, in order.
  std::vector<std::string> Drain(TestHost& host, size_t at_least) {
    std::vector<std::string> ids;
    QueuedEvent event;
    while (host.Next(event, ids.size() < at_least ? kPatienceMs : 1000)) {
      ids.push_back(event.headers.id);
      host.Complete(event);
    }
    return ids;
  }

  std::unique_ptr<QueueHarness> harness_;
};

}  // namespace postbus
