// A Producer whose Kafka does not answer: librdkafka's mock cluster.
#include <gtest/gtest.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>  // wants the other before it

#include <atomic>
#include <chrono>

#include "postbus/producer.h"
#include "queue/kafka/rdkafka_handles.h"
#include "queue/kafka/topics.h"

namespace postbus {
namespace {

using namespace std::chrono_literals;

class ProducerMockTest : public ::testing::Test {
 protected:
  ProducerMockTest() {
    char error[256];
    client_.reset(rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), error, sizeof error));
    cluster_.reset(rd_kafka_mock_cluster_new(client_.get(), 1));
    config_.brokers = rd_kafka_mock_cluster_bootstraps(cluster_.get());
    for (const std::string& topic : kafka::TopicNames(config_).events) {
      rd_kafka_mock_topic_create(cluster_.get(), topic.c_str(), 1, 1);
    }
  }

  std::unique_ptr<Producer> Open(size_t max_queued) {
    auto producer =
        Producer::Open({.brokers = config_.brokers, .max_queued = max_queued, .log = [](std::string_view) {}});
    EXPECT_TRUE(producer.ok()) << producer.status().message();
    return producer.ok() ? std::move(*producer) : nullptr;
  }

  KafkaConfig config_;
  kafka::ClientPtr client_;
  std::unique_ptr<rd_kafka_mock_cluster_t, kafka::DestroyWith<rd_kafka_mock_cluster_destroy>> cluster_;
};

Result<std::string> Send(Producer& producer, Sender::Done done) {
  return producer.SendEmail("a@b.example", "c@d.example", "s", "t", {}, kPriorityNormal, std::move(done));
}

TEST_F(ProducerMockTest, AFullLocalQueueIsQueueFullAtOnceAndHasRoomAgainLater) {
  auto producer = Open(3);
  ASSERT_NE(producer, nullptr);
  rd_kafka_mock_broker_set_down(cluster_.get(), 1);
  std::atomic<int> kept{0};
  const auto done = [&kept](const Status& status) { kept += status.ok() ? 1 : 100; };
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Send(*producer, done).ok());
  const auto before = std::chrono::steady_clock::now();
  const auto full = Send(*producer, done);
  EXPECT_LT(std::chrono::steady_clock::now() - before, 10s) << "it waited for Kafka";
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.status().kind(), ErrorKind::kUnavailable);
  EXPECT_TRUE(full.status().message().starts_with("QUEUE_FULL: ")) << full.status().message();
  EXPECT_FALSE(producer->Flush(50ms));
  EXPECT_EQ(kept, 0);

  rd_kafka_mock_broker_set_up(cluster_.get(), 1);
  EXPECT_TRUE(producer->Flush(60s));
  EXPECT_EQ(kept, 3);
  EXPECT_TRUE(Send(*producer, done).ok());
  EXPECT_TRUE(producer->Flush(60s));
  EXPECT_EQ(kept, 4);
}

TEST_F(ProducerMockTest, TheLocalQueueIsBoundedInBytesToo) {
  auto producer = Open(10'000);
  ASSERT_NE(producer, nullptr);
  rd_kafka_mock_broker_set_down(cluster_.get(), 1);
  const std::string text(800 * 1024, 'x');
  size_t taken = 0;
  Result<std::string> last = std::string();
  while (taken < 10'000) {
    last = producer->SendEmail("a@b.example", "c@d.example", "s", "t", {{"Text", text}}, kPriorityNormal, {});
    if (!last.ok()) break;
    ++taken;
  }
  ASSERT_FALSE(last.ok());
  EXPECT_TRUE(last.status().message().starts_with("QUEUE_FULL: ")) << last.status().message();
  EXPECT_EQ(taken, 163u);  // 128 MiB of 800 KiB and a few bytes each
}

TEST_F(ProducerMockTest, WhatIsLeftAtTheEndIsToldOfAsAnError) {
  auto producer = Open(10);
  ASSERT_NE(producer, nullptr);
  rd_kafka_mock_broker_set_down(cluster_.get(), 1);
  std::atomic<int> told{0};
  ASSERT_TRUE(Send(*producer, [&told](const Status& status) { told += status.ok() ? 100 : 1; }).ok());
  auto future = producer->SendEmail("a@b.example", "c@d.example", "s", "t", {});
  producer.reset();
  EXPECT_EQ(told, 1);
  ASSERT_EQ(future.wait_for(0s), std::future_status::ready);
  EXPECT_FALSE(future.get().ok());
}

}  // namespace
}  // namespace postbus
