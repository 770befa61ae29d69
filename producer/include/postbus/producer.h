// postbus/producer.h - puts mails into the Kafka topics postbus hosts read. Does not block: what Kafka has not taken
// yet waits in a local queue.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "postbus/sender.h"

namespace postbus {

struct ProducerOptions {
  std::string brokers = "localhost:9093";
  std::string topic = "email-queue";                   // normal priority; -high and -low beside it
  std::map<std::string, std::string> librdkafka = {};  // passed on, e.g. security.protocol, sasl.username
  size_t max_queued = 10'000;  // mails in the local queue; more, or more than 128 MiB, are QUEUE_FULL
  // One line each, without address or secret, from any thread; empty: stderr.
  std::function<void(std::string_view line)> log = {};
};

// Thread-safe; callbacks come from one thread of its own, which must not destroy the Producer. A mail is told of within
// 2 minutes: stored, or not.
class Producer final : public Sender {
 public:
  // Makes the topics of events where they are missing, or says what to do about them (kNotFound). Kafka being away is
  // no error: this then takes 12 s, and mails wait in the local queue.
  static Result<std::unique_ptr<Producer>> Open(ProducerOptions options);
  // The options of the environment: KAFKA_BROKERS and KAFKA_TOPIC; unset or empty gives the defaults above.
  // KAFKA_ENABLED=false is an error: what sends without Kafka is OpenSender (postbus/direct.h).
  static Result<std::unique_ptr<Producer>> FromEnv();
  ~Producer() override;

  bool Flush(std::chrono::milliseconds within) override;

  // Whether brokers were reachable at last sight.
  Status Health() const;

 private:
  class Impl;
  explicit Producer(std::unique_ptr<Impl> impl);
  Status Take(const Event& event, Done done) override;

  const std::unique_ptr<Impl> impl_;
};

}  // namespace postbus
