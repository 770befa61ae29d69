// tests/queue/kafka/kafka_test.h - what the tests on a real broker share: a deployment of its own and hosts on it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "queue/kafka/kafka_queue.h"
#include "tests/queue/kafka/test_cluster.h"
#include "tests/queue/queue_test_host.h"

namespace postbus::kafka {

class KafkaTest : public testing::Test {
 protected:
  explicit KafkaTest(int partitions = 1) : partitions_(partitions) {}

  void SetUp() override {
    std::string reason;
    deployment_ = TestDeployment::New(partitions_, reason);
    if (deployment_ == nullptr) GTEST_SKIP() << reason;
    config_ = deployment_->config();
  }

  Result<std::unique_ptr<Queue>> TryOpen(Role role = Role::kHost) {
    return OpenKafkaQueue(config_, role, [this](LogLevel level, std::string_view line) {
      const std::lock_guard lock(log_mutex_);
      if (level >= LogLevel::kWarning) alarms_ += std::string(line) + "\n";
    });
  }
  std::unique_ptr<TestHost> OpenHost() {
    Result<std::unique_ptr<Queue>> queue = TryOpen();
    if (!queue.ok()) throw std::runtime_error(std::string(queue.status().message()));
    return std::make_unique<TestHost>(std::move(*queue), 1);
  }
  // Why consuming cannot begin; empty if it can.
  std::string Refusal() {
    try {
      OpenHost();
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "";
  }
  std::string alarms() {
    const std::lock_guard lock(log_mutex_);
    return alarms_;
  }

  // "e-0" … on the normal topic, in order within a partition.
  void WriteEvents(int count, int first = 0) {
    std::vector<std::pair<std::string, std::string>> events;
    for (int i = first; i < first + count; ++i) events.emplace_back("e-" + std::to_string(i), "value");
    deployment_->WriteMany(config_.kafka.topic, events);
  }

  const int partitions_;
  std::unique_ptr<TestDeployment> deployment_;
  QueueConfig config_;

 private:
  std::mutex log_mutex_;
  std::string alarms_;
};

}  // namespace postbus::kafka
