// host/metrics.h - every metric postbus exports, on prometheus-cpp (core). Names and meanings stand in one table, from
// which docs/metrics.md is generated.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "event/email_event.h"
#include "queue/queue.h"

namespace postbus {

struct MetricInfo {
  std::string_view name;
  std::string_view type;    // counter, gauge, histogram
  std::string_view labels;  // "transport, outcome, priority"
  std::string_view help;    // one sentence
};
std::span<const MetricInfo> AllMetrics();
// The page docs/metrics.md.
std::string MetricsPage();

// Thread-safe. Outlives whoever counts.
class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // Counters of one transport, looked up once.
  class TransportCounters {
   public:
    void CountOutcome(int32_t outcome, Priority priority, double n = 1);
    void CountDuplicateCompletion();
    void CountFailover();           // a mail goes by another transport since this one fails
    void CountBreaker(bool opens);  // a shard's breaker opens, or closes again
    void SetRateLimit(double per_second);
    void SetPaused(bool paused);

   private:
    friend class Metrics;
    struct Impl;
    std::shared_ptr<Impl> impl_;
  };
  TransportCounters ForTransport(std::string_view name);

  void CountConsumed(Priority priority);
  void CountForwarded();  // to the queue of another priority
  void CountDeadLetter(std::string_view reason, double n = 1);
  void CountDeferral(std::string_view reason, double n = 1);
  void CountUnsent(std::string_view reason, double n = 1);  // "expired", "cancelled"
  void ObserveQueueAge(double seconds);                     // enqueue to first submit
  void ObserveRender(double seconds);                       // decode to composed
  void ObserveSend(double seconds);                         // submit to completion
  void SetInFlight(size_t shard, double n);
  void SetStuck(const std::string& what, bool stuck);
  void CountRequest(std::string_view route, int status);
  void CountReload(bool succeeded);
  void SetGeneration(uint64_t number);  // from now on this one

  // Read at each scrape. REQUIRES: `queue` outlives the Metrics, or DetachQueue was called.
  void AttachQueue(const Queue& queue);
  void DetachQueue();

  // The Prometheus text format, version 0.0.4.
  std::string Serialize() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace postbus
