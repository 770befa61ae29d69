// queue/kafka/topics.h - the topics of a deployment: their names, how they should be, making and comparing them. The
// one place that knows them. Functions that ask the cluster block, at most about 30 s; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "event/email_event.h"
#include "event/status.h"
#include "queue/queue_config.h"

namespace postbus::kafka {

struct DelayStep {
  std::string_view name;
  int64_t ms;
};
inline constexpr std::array<DelayStep, 7> kDelaySteps = {{
    {"5s", 5'000},
    {"30s", 30'000},
    {"2m", 120'000},
    {"10m", 600'000},
    {"1h", 3'600'000},
    {"6h", 21'600'000},
    {"1d", 86'400'000},
}};

struct TopicNames {
  explicit TopicNames(const KafkaConfig& config);

  std::array<std::string, kPriorities> events;         // by Priority
  std::array<std::string, kDelaySteps.size()> delays;  // as kDelaySteps
  std::string dead_letters;
  std::string status;
  std::string cancellations;  // key: the id of an email that was cancelled

  // The priority whose topic it is; normal for any other.
  Priority PriorityOf(std::string_view topic) const;
};

struct TopicSpec {
  std::string name;
  int partitions = 24;
  std::vector<std::pair<std::string, std::string>> settings;  // of the topic; the others are the broker's defaults
};

// What `postbus topics create` makes.
std::vector<TopicSpec> TopicTable(const KafkaConfig& config);

// Makes those that are missing, with min(3, brokers) replicas, and waits until they can be used. Existing ones are left
// as they are. `created` gets the names. kNotFound: they are missing and may not be made here; kUnavailable: no answer.
Status CreateTopics(const KafkaConfig& config, const std::vector<TopicSpec>& topics, std::vector<std::string>& created);

struct TopicReport {
  struct Topic {
    std::string name;
    bool exists = false;
    int partitions = 0;
    int replicas = 0;
    std::vector<std::string> differences;  // a sentence each; empty if it is as it should be
  };
  int brokers = 0;
  std::vector<Topic> topics;          // in the order of TopicTable
  std::vector<std::string> warnings;  // about the cluster as a whole

  bool AsItShouldBe() const;
};

// Compares the cluster with TopicTable; changes nothing.
Result<TopicReport> CheckTopics(const KafkaConfig& config);

}  // namespace postbus::kafka
