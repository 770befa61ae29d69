// queue/kafka/record_producer.h - an idempotent producer that tells of each record what became of it, and that outlives
// its librdkafka client: after a fatal error (2.0.2 raises one for a lost connection, librdkafka#4438) a new client
// takes over all records but those that are known to be stored.
//
// Thread-safe; one thread of its own calls the callbacks. The owner of what callbacks use must outlive it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "event/status.h"
#include "queue/event_headers.h"
#include "queue/kafka/kafka_config.h"
#include "queue/kafka/rdkafka_handles.h"

namespace postbus::kafka {

struct Record {
  std::string topic;
  std::string key;
  bool has_key = true;
  std::string value;
  HeaderList headers;
};

// Topic, key, value and headers of a message that was read or is reported.
Record CopyOf(const rd_kafka_message_t& message);

using RecordBack = std::function<Record()>;

class RecordProducer {
 public:
  enum class After { kDone, kAgain };  // kAgain: write the same record once more in a second

  // Success: stored on all in-sync replicas. kInvalid: the topic does not take a record of this size. kUncertain: may
  // or may not be stored. kUnavailable: is not. `record()` gives the record back.
  using OnDelivery = std::function<After(const Status&, const RecordBack& record)>;

  // `topics`: what it will write to. librdkafka 2.0.2 lets the first record to a topic wait for up to a second, unless
  // it was asked about that topic before.
  static Result<std::unique_ptr<RecordProducer>> Open(const KafkaConfig& config, ProducerKind kind,
                                                      std::vector<std::string> topics, QueueLog log);
  ~RecordProducer();
  RecordProducer(const RecordProducer&) = delete;
  RecordProducer& operator=(const RecordProducer&) = delete;

  // An error returned here (queue full: kUnavailable, too large: kInvalid) means the record was not taken and
  // `on_delivery` is never called. Never blocks.
  Status Produce(const Record& record, OnDelivery on_delivery);

  // The same, and never refused: what librdkafka does not take now is offered to it again. `once`: what may be stored
  // is not written again by a new client, but answered with kUncertain.
  void ProduceDurably(Record record, OnDelivery on_delivery, bool once = false);

  // True when nothing is on its way any more; waits until the deadline for that.
  bool Flush(int64_t deadline_boot_ms);

  // Whether brokers were reachable at last sight.
  Status Health() const;

  // Ends the thread and answers for what is still on its way: stored or not is not known. Afterwards nothing is taken.
  void Stop();

  // For tests, which give it a fatal error.
  rd_kafka_t* client() { return client_->client.get(); }

 private:
  struct Pending {
    OnDelivery on_delivery;
    bool maybe_stored = false;  // an earlier try may have been
    bool once = false;
  };
  struct Postponed {
    int64_t due_boot_ms;
    Record record;
    std::unique_ptr<Pending> pending;
    Status verdict;  // not a try but an answer that is due: a refusal is told from our own thread, too
  };

  struct Client {
    ClientPtr client;
    std::vector<TopicPtr> topics;  // ended before their client
  };

  RecordProducer(const KafkaConfig& config, ProducerKind kind, std::vector<std::string> topics, QueueLog log);

  Result<std::unique_ptr<Client>> NewProducerClient();
  static void OnDeliveryReport(rd_kafka_t* client, const rd_kafka_message_t* message, void* opaque);
  static void OnError(rd_kafka_t* client, int error, const char* reason, void* opaque);

  // Takes `pending` on success only.
  Status Offer(const Record& record, std::unique_ptr<Pending>& pending);
  void Postpone(Record record, std::unique_ptr<Pending> pending, int64_t due_boot_ms, Status verdict);
  void Answer(std::unique_ptr<Pending> pending, const Status& status, const RecordBack& record);
  int ServePostponed();
  void ReplaceClient();
  void ProbeBrokers();
  void Run();

  const KafkaConfig config_;
  const ProducerKind kind_;
  const std::vector<std::string> topics_;
  const QueueLog log_;
  ClientContext context_;

  std::atomic<bool> stopping_{false};
  std::atomic<bool> fatal_{false};
  std::atomic<bool> brokers_down_{false};
  std::atomic<int64_t> on_the_way_{0};  // taken and not answered

  std::shared_mutex client_mutex_;  // shared: to use client_ from outside our thread; exclusive: to replace it
  std::unique_ptr<Client> client_;

  std::mutex postponed_mutex_;
  std::vector<Postponed> postponed_;

  std::thread thread_;
};

}  // namespace postbus::kafka
