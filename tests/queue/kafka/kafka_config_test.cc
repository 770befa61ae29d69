#include "queue/kafka/kafka_config.h"

#include <gtest/gtest.h>

namespace postbus::kafka {
namespace {

KafkaConfig Passing(const std::string& name, const std::string& value) {
  KafkaConfig config;
  config.librdkafka[name] = value;
  return config;
}

TEST(CheckPassedOn, RefusesByNameWhatWouldBreakTheGuarantee) {
  for (const char* name :
       {"enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset", "acks", "request.required.acks",
        "enable.idempotence", "isolation.level", "check.crcs", "partition.assignment.strategy", "group.id",
        "group.instance.id", "session.timeout.ms", "bootstrap.servers", "message.timeout.ms", "delivery.timeout.ms",
        "transactional.id", "partitioner", "delivery.report.only.error", "max.poll.interval.ms"}) {
    const Status status = CheckPassedOn(Passing(name, "1"));
    ASSERT_FALSE(status.ok()) << name;
    EXPECT_EQ(status.kind(), ErrorKind::kInvalid);
    EXPECT_NE(status.message().find("\"" + std::string(name) + "\""), std::string_view::npos) << status.message();
  }
}

TEST(CheckPassedOn, LetsTheOthersPass) {
  for (const char* name : {"security.protocol", "sasl.password", "ssl.ca.location", "compression.codec", "client.id",
                           "queued.max.messages.kbytes", "debug", "linger.ms"}) {
    EXPECT_TRUE(CheckPassedOn(Passing(name, "x")).ok()) << name;
  }
}

class MakeConfTest : public testing::Test {
 protected:
  std::string Get(const rd_kafka_conf_t* conf, const char* name) {
    char value[256] = "";
    size_t size = sizeof value;
    EXPECT_EQ(rd_kafka_conf_get(conf, name, value, &size), RD_KAFKA_CONF_OK) << name;
    return value;
  }

  const QueueLog log_ = [](LogLevel, std::string_view) {};
  ClientContext context_{&log_, nullptr};
};

TEST_F(MakeConfTest, ConsumersNeverCommitOrSkipByThemselves) {
  const auto conf = MakeConf(KafkaConfig(), ConsumerProperties("group", "host-0", {}), &context_);
  ASSERT_TRUE(conf.ok()) << conf.status().message();
  EXPECT_EQ(Get(conf->get(), "enable.auto.commit"), "false");
  EXPECT_EQ(Get(conf->get(), "enable.auto.offset.store"), "false");
  EXPECT_EQ(Get(conf->get(), "auto.offset.reset"), "error");
  EXPECT_EQ(Get(conf->get(), "isolation.level"), "read_committed");
  EXPECT_EQ(Get(conf->get(), "check.crcs"), "true");
  EXPECT_EQ(Get(conf->get(), "partition.assignment.strategy"), "range");
  EXPECT_EQ(Get(conf->get(), "group.instance.id"), "host-0");
  EXPECT_EQ(Get(conf->get(), "session.timeout.ms"), "10000");
  EXPECT_EQ(Get(conf->get(), "heartbeat.interval.ms"), "1000");
  EXPECT_EQ(Get(conf->get(), "fetch.message.max.bytes"), "65536");
  EXPECT_EQ(Get(conf->get(), "queued.max.messages.kbytes"), "48");
  EXPECT_EQ(Get(conf->get(), "fetch.wait.max.ms"), "10");
}

TEST_F(MakeConfTest, ProducersAreIdempotentAndCopiesNeverGiveUp) {
  const auto copies = MakeConf(KafkaConfig(), ProducerProperties(ProducerKind::kCopies), &context_);
  ASSERT_TRUE(copies.ok()) << copies.status().message();
  EXPECT_EQ(Get(copies->get(), "enable.idempotence"), "true");
  EXPECT_EQ(Get(copies->get(), "acks"), "-1");
  EXPECT_EQ(Get(copies->get(), "message.timeout.ms"), "0");
  EXPECT_EQ(Get(copies->get(), "partitioner"), "murmur2_random");
  EXPECT_EQ(Get(copies->get(), "message.max.bytes"), "2097152");
  const auto publish = MakeConf(KafkaConfig(), ProducerProperties(ProducerKind::kPublish), &context_);
  ASSERT_TRUE(publish.ok());
  EXPECT_EQ(Get(publish->get(), "message.timeout.ms"), "120000");
}

TEST_F(MakeConfTest, WhatIsPassedOnWins) {
  const auto conf =
      MakeConf(Passing("queued.max.messages.kbytes", "1024"), ConsumerProperties("g", "i", {}), &context_);
  ASSERT_TRUE(conf.ok());
  EXPECT_EQ(Get(conf->get(), "queued.max.messages.kbytes"), "1024");
}

TEST_F(MakeConfTest, ErrorsNameTheKeyAndNeverTheValue) {
  const auto unknown = MakeConf(Passing("no.such.key", "s3cret"), {}, &context_);
  ASSERT_FALSE(unknown.ok());
  EXPECT_NE(unknown.status().message().find("no.such.key"), std::string_view::npos);
  EXPECT_EQ(unknown.status().message().find("s3cret"), std::string_view::npos);
  const auto wrong = MakeConf(Passing("security.protocol", "s3cret"), {}, &context_);
  ASSERT_FALSE(wrong.ok());
  EXPECT_NE(wrong.status().message().find("security.protocol"), std::string_view::npos);
  EXPECT_EQ(wrong.status().message().find("s3cret"), std::string_view::npos);
}

}  // namespace
}  // namespace postbus::kafka
