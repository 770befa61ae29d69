#include "queue/kafka/topics.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <thread>

#include "event/clock.h"
#include "queue/cancellations.h"
#include "queue/kafka/kafka_config.h"
#include "queue/kafka/rdkafka_handles.h"

namespace postbus::kafka {
namespace {

constexpr int kRequestMs = 10'000;
constexpr int64_t kLeadersWithinMs = 60'000;  // some 260 new partitions, on a busy broker
constexpr int64_t kDayMs = 86'400'000;
constexpr int kReplicas = 3;

using MetadataPtr = std::unique_ptr<const rd_kafka_metadata_t, DestroyWith<rd_kafka_metadata_destroy>>;
using AdminOptionsPtr = std::unique_ptr<rd_kafka_AdminOptions_t, DestroyWith<rd_kafka_AdminOptions_destroy>>;
using NewTopicPtr = std::unique_ptr<rd_kafka_NewTopic_t, DestroyWith<rd_kafka_NewTopic_destroy>>;
using ConfigResourcePtr = std::unique_ptr<rd_kafka_ConfigResource_t, DestroyWith<rd_kafka_ConfigResource_destroy>>;

std::string Quoted(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "\"" : ", \"") + name + "\"";
  return list;
}

// A client of its own for the few requests here.
class Admin {
 public:
  static Result<std::unique_ptr<Admin>> Open(const KafkaConfig& config) {
    std::unique_ptr<Admin> admin(new Admin(config));
    Result<ConfPtr> conf = MakeConf(config, {{"socket.nagle.disable", "true"}}, &admin->context_);
    if (!conf.ok()) return conf.TakeStatus();
    Result<rd_kafka_t*> client = NewClient(RD_KAFKA_PRODUCER, std::move(*conf));
    if (!client.ok()) return client.TakeStatus();
    admin->client_.reset(*client);
    admin->answers_.reset(rd_kafka_queue_new(*client));
    return admin;
  }

  // All topics, by one request that never makes any.
  Result<MetadataPtr> Metadata() {
    const rd_kafka_metadata_t* metadata = nullptr;
    const rd_kafka_resp_err_t error = rd_kafka_metadata(client_.get(), 1, nullptr, &metadata, kRequestMs);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return Status::Unavailable("no answer from Kafka at " + brokers_ + ": " + rd_kafka_err2str(error));
    }
    return MetadataPtr(metadata);
  }

  // Sends an admin request through `send(client, options, answers)` and returns the answer.
  template <typename Send>
  Result<EventPtr> Ask(rd_kafka_admin_op_t operation, const Send& send) {
    AdminOptionsPtr options(rd_kafka_AdminOptions_new(client_.get(), operation));
    char text[256];
    rd_kafka_AdminOptions_set_request_timeout(options.get(), kRequestMs, text, sizeof text);
    send(client_.get(), options.get(), answers_.get());
    EventPtr answer(rd_kafka_queue_poll(answers_.get(), kRequestMs + 5'000));
    if (answer == nullptr) return Status::Unavailable("no answer from Kafka at " + brokers_);
    if (rd_kafka_event_error(answer.get()) != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return Status::Unavailable("Kafka at " + brokers_ + ": " + rd_kafka_event_error_string(answer.get()));
    }
    return answer;
  }

 private:
  explicit Admin(const KafkaConfig& config) : brokers_(config.brokers) {}

  const std::string brokers_;
  const QueueLog silent_ = [](LogLevel, std::string_view) {};  // what fails is in the answers
  ClientContext context_{&silent_, nullptr};
  ClientPtr client_;
  QueuePtr answers_;
};

const rd_kafka_metadata_topic_t* Find(const rd_kafka_metadata_t& metadata, const std::string& name) {
  for (int i = 0; i < metadata.topic_cnt; ++i) {
    if (metadata.topics[i].topic == name) return &metadata.topics[i];
  }
  return nullptr;
}

bool IsUsable(const rd_kafka_metadata_topic_t* topic) {
  if (topic == nullptr || topic->err != RD_KAFKA_RESP_ERR_NO_ERROR || topic->partition_cnt == 0) return false;
  return std::all_of(topic->partitions, topic->partitions + topic->partition_cnt,
                     [](const rd_kafka_metadata_partition& partition) { return partition.leader >= 0; });
}

std::vector<std::pair<std::string, std::string>> WithReplication(TopicSpec spec, int replicas) {
  if (replicas >= kReplicas) spec.settings.emplace_back("min.insync.replicas", "2");
  return spec.settings;
}

Status WaitUntilUsable(Admin& admin, const std::vector<std::string>& names) {
  const int64_t deadline = BootTimeMs() + kLeadersWithinMs;
  while (true) {
    Result<MetadataPtr> metadata = admin.Metadata();
    if (!metadata.ok()) return metadata.TakeStatus();
    const auto missing = std::find_if(names.begin(), names.end(),
                                      [&](const std::string& name) { return !IsUsable(Find(**metadata, name)); });
    if (missing == names.end()) return {};
    if (BootTimeMs() > deadline) {
      return Status::Unavailable("the new topic \"" + *missing + "\" has no leader yet; try again in a while");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

std::map<std::string, std::string> SettingsOf(const rd_kafka_ConfigResource_t* resource) {
  std::map<std::string, std::string> settings;
  size_t count = 0;
  const rd_kafka_ConfigEntry_t** entries = rd_kafka_ConfigResource_configs(resource, &count);
  for (size_t i = 0; i < count; ++i) {
    const char* value = rd_kafka_ConfigEntry_value(entries[i]);
    settings[rd_kafka_ConfigEntry_name(entries[i])] = value != nullptr ? value : "";
  }
  return settings;
}

// Kafka keeps lists in the order they were given in.
bool SameSetting(const std::string& a, const std::string& b) {
  const auto parts = [](const std::string& text) {
    std::set<std::string> set;
    size_t begin = 0;
    for (size_t end = text.find(','); end != std::string::npos; end = text.find(',', begin)) {
      set.insert(text.substr(begin, end - begin));
      begin = end + 1;
    }
    set.insert(text.substr(begin));
    return set;
  };
  return parts(a) == parts(b);
}

}  // namespace

TopicNames::TopicNames(const KafkaConfig& config)
    : events{config.topic + "-high", config.topic, config.topic + "-low"},
      dead_letters(config.Prefix() + "-dlq"),
      status(config.Prefix() + "-status"),
      cancellations(config.Prefix() + "-cancellations") {
  for (size_t i = 0; i < kDelaySteps.size(); ++i) {
    delays[i] = config.Prefix() + "-delay-" + std::string(kDelaySteps[i].name);
  }
}

Priority TopicNames::PriorityOf(std::string_view topic) const {
  if (topic == events[static_cast<size_t>(Priority::kHigh)]) return Priority::kHigh;
  if (topic == events[static_cast<size_t>(Priority::kLow)]) return Priority::kLow;
  return Priority::kNormal;
}

std::vector<TopicSpec> TopicTable(const KafkaConfig& config) {
  const TopicNames names(config);
  const auto days = [](int64_t count) { return std::to_string(count * kDayMs); };
  const std::pair<std::string, std::string> holds_events{"max.message.bytes", std::to_string(kMaxRecordBytes)};
  std::vector<TopicSpec> table;
  const auto add = [&table](const std::string& name, std::vector<std::pair<std::string, std::string>> settings) {
    table.push_back({.name = name, .settings = std::move(settings)});
  };
  for (const std::string& name : names.events) {
    add(name, {{"cleanup.policy", "delete"}, {"retention.ms", days(7)}, holds_events});
  }
  for (size_t i = 0; i < names.delays.size(); ++i) {
    const std::string retention = std::to_string(kDelaySteps[i].ms + 7 * kDayMs);
    add(names.delays[i], {{"cleanup.policy", "delete"}, {"retention.ms", retention}, holds_events});
  }
  add(names.dead_letters, {{"cleanup.policy", "delete"}, {"retention.ms", days(30)}, holds_events});
  add(names.status, {{"cleanup.policy", "delete"}, {"retention.ms", days(7)}});
  // Longer than any event can wait: a cancellation must not be gone before its event comes.
  add(names.cancellations,
      {{"cleanup.policy", "compact,delete"}, {"retention.ms", std::to_string(Cancellations::kKeptMs)}});
  return table;
}

Status CreateTopics(const KafkaConfig& config, const std::vector<TopicSpec>& topics,
                    std::vector<std::string>& created) {
  Result<std::unique_ptr<Admin>> admin = Admin::Open(config);
  if (!admin.ok()) return admin.TakeStatus();
  Result<MetadataPtr> metadata = (*admin)->Metadata();
  if (!metadata.ok()) return metadata.TakeStatus();
  const int replicas = std::min(kReplicas, (*metadata)->broker_cnt);

  std::vector<NewTopicPtr> missing;
  std::vector<std::string> names;
  for (const TopicSpec& spec : topics) {
    if (Find(**metadata, spec.name) != nullptr) continue;
    char text[512];
    missing.emplace_back(rd_kafka_NewTopic_new(spec.name.c_str(), spec.partitions, replicas, text, sizeof text));
    if (missing.back() == nullptr) return Status::Invalid("topic \"" + spec.name + "\": " + text);
    for (const auto& [name, value] : WithReplication(spec, replicas)) {
      rd_kafka_NewTopic_set_config(missing.back().get(), name.c_str(), value.c_str());
    }
    names.push_back(spec.name);
  }
  if (missing.empty()) return {};

  const std::string remedy =
      "the topics " + Quoted(names) + " are missing; make them with `postbus topics create`, run by somebody who may: ";
  Result<EventPtr> answer =
      (*admin)->Ask(RD_KAFKA_ADMIN_OP_CREATETOPICS, [&missing](auto* client, auto* options, auto* answers) {
        std::vector<rd_kafka_NewTopic_t*> list;
        for (const NewTopicPtr& topic : missing) list.push_back(topic.get());
        rd_kafka_CreateTopics(client, list.data(), list.size(), options, answers);
      });
  if (!answer.ok()) return Status::NotFound(remedy + std::string(answer.status().message()));
  size_t count = 0;
  const rd_kafka_topic_result_t** results =
      rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(answer->get()), &count);
  for (size_t i = 0; i < count; ++i) {
    const rd_kafka_resp_err_t error = rd_kafka_topic_result_error(results[i]);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
      created.emplace_back(rd_kafka_topic_result_name(results[i]));
    } else if (error != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {  // another host was faster
      const char* text = rd_kafka_topic_result_error_string(results[i]);
      return Status::NotFound(remedy + (text != nullptr ? text : rd_kafka_err2str(error)));
    }
  }
  return WaitUntilUsable(**admin, names);
}

bool TopicReport::AsItShouldBe() const {
  return std::all_of(topics.begin(), topics.end(), [](const Topic& topic) { return topic.differences.empty(); });
}

Result<TopicReport> CheckTopics(const KafkaConfig& config) {
  Result<std::unique_ptr<Admin>> admin = Admin::Open(config);
  if (!admin.ok()) return admin.TakeStatus();
  Result<MetadataPtr> metadata = (*admin)->Metadata();
  if (!metadata.ok()) return metadata.TakeStatus();

  TopicReport report;
  report.brokers = (*metadata)->broker_cnt;
  const int replicas = std::min(kReplicas, report.brokers);
  if (replicas == 1) {
    report.warnings.emplace_back("the cluster has one broker: its topics have one replica, lost with its disk");
  }

  const std::vector<TopicSpec> table = TopicTable(config);
  std::vector<ConfigResourcePtr> resources;
  for (const TopicSpec& spec : table) {
    TopicReport::Topic& topic = report.topics.emplace_back();
    topic.name = spec.name;
    const rd_kafka_metadata_topic_t* found = Find(**metadata, spec.name);
    if (found == nullptr) {
      topic.differences.emplace_back("is missing: `postbus topics create` makes it");
      continue;
    }
    topic.exists = true;
    topic.partitions = found->partition_cnt;
    topic.replicas = found->partition_cnt > 0 ? found->partitions[0].replica_cnt : 0;
    if (topic.partitions != spec.partitions) {
      topic.differences.push_back("has " + std::to_string(topic.partitions) + " partitions, should have " +
                                  std::to_string(spec.partitions));
    }
    if (topic.replicas < replicas) {
      topic.differences.push_back("has " + std::to_string(topic.replicas) + " replicas, should have " +
                                  std::to_string(replicas));
    }
    resources.emplace_back(rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, spec.name.c_str()));
  }
  if (resources.empty()) return report;

  Result<EventPtr> answer =
      (*admin)->Ask(RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, [&resources](auto* client, auto* options, auto* answers) {
        std::vector<rd_kafka_ConfigResource_t*> list;
        for (const ConfigResourcePtr& resource : resources) list.push_back(resource.get());
        rd_kafka_DescribeConfigs(client, list.data(), list.size(), options, answers);
      });
  if (!answer.ok()) return answer.TakeStatus();
  size_t count = 0;
  const rd_kafka_ConfigResource_t** results =
      rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(answer->get()), &count);
  for (size_t i = 0; i < count; ++i) {
    const std::string name = rd_kafka_ConfigResource_name(results[i]);
    const auto spec =
        std::find_if(table.begin(), table.end(), [&](const TopicSpec& each) { return each.name == name; });
    if (spec == table.end()) continue;
    TopicReport::Topic& topic = report.topics[static_cast<size_t>(spec - table.begin())];
    if (rd_kafka_ConfigResource_error(results[i]) != RD_KAFKA_RESP_ERR_NO_ERROR) {
      const char* text = rd_kafka_ConfigResource_error_string(results[i]);
      topic.differences.push_back(std::string("does not show its settings: ") + (text != nullptr ? text : "no reason"));
      continue;
    }
    std::map<std::string, std::string> settings = SettingsOf(results[i]);
    for (const auto& [setting, value] : WithReplication(*spec, replicas)) {
      if (SameSetting(settings[setting], value)) continue;
      topic.differences.push_back("has " + setting + "=" + settings[setting] + ", should have " + value);
    }
  }
  return report;
}

}  // namespace postbus::kafka
