// postbus topics create | check: the Kafka topics postbus needs.
#include "queue/kafka/topics.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

#include "cli/command.h"

namespace postbus {
namespace {

struct TopicsOptions {
  ConfigOptions config;
  std::string output = "text";
};

KafkaConfig KafkaOrExit(const TopicsOptions& options) {
  Config config = options.config.LoadOrExit();
  if (config.queue.type != QueueConfig::Type::kKafka) {
    Die(Status::Invalid(config.file + ": queue.type is not kafka: there are no topics"));
  }
  return config.queue.kafka;
}

void Create(const KafkaConfig& kafka) {
  std::vector<std::string> created;
  const Status status = kafka::CreateTopics(kafka, kafka::TopicTable(kafka), created);
  for (const std::string& name : created) std::printf("created %s\n", name.c_str());
  if (!status.ok()) Die(status);
  if (created.empty()) std::printf("nothing to do: all topics exist\n");
}

void PrintJson(const kafka::TopicReport& report) {
  std::string json;
  for (const auto& topic : report.topics) {
    json += json.empty() ? "[{" : ",\n{";
    AddJsonMember("topic", topic.name, json);
    json += std::string(",\"exists\":") + (topic.exists ? "true" : "false") +
            ",\"partitions\":" + std::to_string(topic.partitions) + ",\"replicas\":" + std::to_string(topic.replicas) +
            ",\"differences\":[";
    for (const std::string& difference : topic.differences) {
      if (json.back() != '[') json += ',';
      AppendJsonString(difference, json);
    }
    json += "]}";
  }
  std::printf("%s]\n", json.c_str());
}

void PrintText(const kafka::TopicReport& report) {
  for (const auto& topic : report.topics) {
    if (!topic.exists) {
      std::printf("%-28s missing; `postbus topics create` makes it\n", topic.name.c_str());
    } else if (topic.differences.empty()) {
      std::printf("%-28s ok: %d partitions, %d replicas\n", topic.name.c_str(), topic.partitions, topic.replicas);
    }
    for (const std::string& difference : topic.differences) {
      std::printf("%-28s %s\n", topic.name.c_str(), difference.c_str());
    }
  }
}

void Check(const KafkaConfig& kafka, const std::string& output) {
  const auto report = kafka::CheckTopics(kafka);
  if (!report.ok()) Die(report.status());
  output == "json" ? PrintJson(*report) : PrintText(*report);
  for (const std::string& warning : report->warnings) std::fprintf(stderr, "postbus: %s\n", warning.c_str());
  if (!report->AsItShouldBe()) std::exit(kExitConfig);
}

}  // namespace

void AddTopicsCommand(CLI::App& program) {
  auto options = std::make_shared<TopicsOptions>();
  CLI::App* topics = program.add_subcommand("topics", "The Kafka topics postbus needs");
  topics->require_subcommand(1);
  CLI::App* create = topics->add_subcommand("create", "Creates those that are missing");
  CLI::App* check = topics->add_subcommand("check", "Compares them with what postbus needs; exit 78 on a difference");
  AddExample(*topics, "postbus topics check -c config/postbus.yaml");
  for (CLI::App* command : {create, check}) {
    options->config.AddTo(*command);
    AddExample(*command, "postbus topics " + command->get_name() + " -c config/postbus.yaml");
  }
  AddOutputOption(*check, options->output);
  create->callback([options] { Create(KafkaOrExit(*options)); });
  check->callback([options] { Check(KafkaOrExit(*options), options->output); });
}

}  // namespace postbus
