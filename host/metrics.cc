#include "host/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <mutex>

#include "event/clock.h"
#include "host/retry_policy.h"
#include "postbus/abi/outcome.h"
#include "postbus/abi/version.h"

namespace postbus {
namespace {

constexpr int kOutcomes = POSTBUS_IN_DOUBT + 1;

enum Metric : size_t {
  kConsumed,
  kForwarded,
  kOutcome,
  kDuplicateCompletions,
  kFailovers,
  kBreakerOpen,
  kRateLimit,
  kPaused,
  kStuck,
  kDeadLetters,
  kDeferrals,
  kUnsent,
  kQueueAge,
  kRenderSeconds,
  kSendSeconds,
  kInFlight,
  kRequests,
  kReloads,
  kGeneration,
  kGenerationSince,
  kQueuePublished,
  kQueuePublishFailures,
  kQueueCompleted,
  kQueueCancelled,
  kQueueCommits,
  kQueueCommitFailures,
  kQueueMapsIgnored,
  kQueueRebalances,
  kQueueWaiting,
  kQueueDelayed,
  kQueueAssigned,
  kQueueStopped,
  kBuildInfo,
};

constexpr std::array<MetricInfo, kBuildInfo + 1> kMetrics = {{
    {"postbus_emails_consumed_total", "counter", "priority", "Events taken from the queue (turns begun)."},
    {"postbus_emails_forwarded_total", "counter", "",
     "Low events found among the normal ones and handed on to the low ones' topic, where they are taken once more "
     "(Kafka)."},
    {"postbus_emails_outcome_total", "counter", "transport, outcome, priority",
     "Recipients by what a transport said of an attempt."},
    {"postbus_duplicate_completions_total", "counter", "transport",
     "Attempts a transport completed more than once; each is ignored and a defect of the plugin."},
    {"postbus_email_failovers_total", "counter", "transport",
     "Mails that went by another transport of their route because this one, the first, failed."},
    {"postbus_transport_breaker_open", "gauge", "transport",
     "In how many shards the transport's breaker is not closed; 0 = it is handed mails."},
    {"postbus_transport_rate_limit", "gauge", "transport",
     "Mails a second that this host may send by the transport at present: its share of rate_limit, or less while the "
     "provider throttles; 0 = no limit."},
    {"postbus_transport_paused", "gauge", "transport", "1 = paused by the operator (`postbus pause`)."},
    {"postbus_stuck", "gauge", "what",
     "1 = it does not go on: a transport, the renderer or a shard. The host should be restarted."},
    {"postbus_email_dlq_total", "counter", "reason", "Recipients dead-lettered."},
    {"postbus_email_retries_total", "counter", "reason", "Recipients put off to a later time."},
    {"postbus_emails_unsent_total", "counter", "reason",
     "Recipients that got no mail since it had expired or was cancelled."},
    {"postbus_email_queue_age_seconds", "histogram", "",
     "From acceptance, or the time it was scheduled for, to the first hand-over to a transport."},
    {"postbus_email_render_duration_seconds", "histogram", "", "From reading the event to the composed mail."},
    {"postbus_email_send_duration_seconds", "histogram", "", "From hand-over to the transport to its outcome."},
    {"postbus_email_inflight", "gauge", "shard", "Events whose turn is under way."},
    {"postbus_http_requests_total", "counter", "route, status", "Requests answered by the HTTP API."},
    {"postbus_config_reloads_total", "counter", "result",
     "Reloads of the configuration by result: success, or failure, which changed nothing."},
    {"postbus_config_generation", "gauge", "",
     "The configuration in use: 1 = of the start, one more with each reload."},
    {"postbus_config_loaded_timestamp_seconds", "gauge", "", "When the configuration in use was loaded (Unix time)."},
    {"postbus_queue_published_total", "counter", "", "Events made durable by this process."},
    {"postbus_queue_publish_failures_total", "counter", "", "Events refused by the queue or in doubt."},
    {"postbus_queue_completed_total", "counter", "", "Turns that are over."},
    {"postbus_queue_cancelled_total", "counter", "",
     "Events that waited for their due time and were cancelled there, without a turn (SQLite)."},
    {"postbus_queue_commits_total", "counter", "", "Offset commits or transactions that succeeded."},
    {"postbus_queue_commit_failures_total", "counter", "", "Offset commits or transactions that failed."},
    {"postbus_queue_offset_maps_ignored_total", "counter", "",
     "Offset maps found foreign, damaged or implausible (Kafka)."},
    {"postbus_queue_rebalances_total", "counter", "", "Rebalances of the consumer group seen (Kafka)."},
    {"postbus_queue_waiting", "gauge", "", "Events that wait for their turn; -1 = not known."},
    {"postbus_queue_delayed", "gauge", "", "Events that wait for their due time; -1 = not known."},
    {"postbus_queue_assigned_partitions", "gauge", "", "Partitions this host owns (Kafka)."},
    {"postbus_queue_stopped_partitions", "gauge", "", "Partitions stopped with an alarm (Kafka)."},
    {"postbus_build_info", "gauge", "version, abi", "Always 1."},
}};

using prometheus::Counter;
using prometheus::Family;
using prometheus::Histogram;

std::string Name(Metric metric) { return std::string(kMetrics[metric].name); }
std::string Help(Metric metric) { return std::string(kMetrics[metric].help); }

Family<Counter>& CounterFamily(prometheus::Registry& registry, Metric metric) {
  return prometheus::BuildCounter().Name(Name(metric)).Help(Help(metric)).Register(registry);
}

prometheus::Gauge& OneGauge(prometheus::Registry& registry, Metric metric) {
  return prometheus::BuildGauge().Name(Name(metric)).Help(Help(metric)).Register(registry).Add({});
}

Histogram& OneHistogram(prometheus::Registry& registry, Metric metric, const Histogram::BucketBoundaries& bounds) {
  return prometheus::BuildHistogram().Name(Name(metric)).Help(Help(metric)).Register(registry).Add({}, bounds);
}

const Histogram::BucketBoundaries kAgeBounds = {0.01, 0.05, 0.1, 0.5, 1, 5, 30, 60, 300, 1800, 3600, 21600, 86400};
const Histogram::BucketBoundaries kWorkBounds = {0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.01, 0.1, 1};
const Histogram::BucketBoundaries kSendBounds = {0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 60, 600};

prometheus::MetricFamily QueueFamily(Metric metric, double value) {
  prometheus::MetricFamily family;
  family.name = Name(metric);
  family.help = Help(metric);
  prometheus::ClientMetric sample;
  if (kMetrics[metric].type == "counter") {
    family.type = prometheus::MetricType::Counter;
    sample.counter.value = value;
  } else {
    family.type = prometheus::MetricType::Gauge;
    sample.gauge.value = value;
  }
  family.metric.push_back(std::move(sample));
  return family;
}

}  // namespace

std::span<const MetricInfo> AllMetrics() { return kMetrics; }

std::string MetricsPage() {
  std::string page =
      "# Metrics\n\n"
      "Generated from `host/metrics.cc`; a test compares. Served by the admin port of every role at `/metrics`.\n\n"
      "| name | type | labels | meaning |\n| --- | --- | --- | --- |\n";
  for (const MetricInfo& metric : kMetrics) {
    page += "| `";
    page += metric.name;
    page += "` | ";
    page += metric.type;
    page += " | ";
    page += metric.labels;
    page += " | ";
    page += metric.help;
    page += " |\n";
  }
  return page;
}

struct Metrics::TransportCounters::Impl {
  Counter* outcomes[kOutcomes][kPriorities] = {};
  Counter* duplicate_completions = nullptr;
  Counter* failovers = nullptr;
  prometheus::Gauge* breaker_open = nullptr;
  prometheus::Gauge* rate_limit = nullptr;
  prometheus::Gauge* paused = nullptr;
};

struct Metrics::Impl {
  prometheus::Registry registry;
  Counter& forwarded = CounterFamily(registry, kForwarded).Add({});
  Family<Counter>& outcome = CounterFamily(registry, kOutcome);
  Family<Counter>& duplicate_completions = CounterFamily(registry, kDuplicateCompletions);
  Family<Counter>& failovers = CounterFamily(registry, kFailovers);
  Family<prometheus::Gauge>& breaker_open =
      prometheus::BuildGauge().Name(Name(kBreakerOpen)).Help(Help(kBreakerOpen)).Register(registry);
  Family<prometheus::Gauge>& rate_limit =
      prometheus::BuildGauge().Name(Name(kRateLimit)).Help(Help(kRateLimit)).Register(registry);
  Family<prometheus::Gauge>& paused =
      prometheus::BuildGauge().Name(Name(kPaused)).Help(Help(kPaused)).Register(registry);
  Family<prometheus::Gauge>& stuck = prometheus::BuildGauge().Name(Name(kStuck)).Help(Help(kStuck)).Register(registry);
  Family<Counter>& dead_letters = CounterFamily(registry, kDeadLetters);
  Family<Counter>& deferrals = CounterFamily(registry, kDeferrals);
  Family<Counter>& unsent = CounterFamily(registry, kUnsent);
  Family<Counter>& requests = CounterFamily(registry, kRequests);
  Family<prometheus::Gauge>& in_flight =
      prometheus::BuildGauge().Name(Name(kInFlight)).Help(Help(kInFlight)).Register(registry);
  Family<Counter>& reloads = CounterFamily(registry, kReloads);
  prometheus::Gauge& generation = OneGauge(registry, kGeneration);
  prometheus::Gauge& generation_since = OneGauge(registry, kGenerationSince);
  Counter* consumed[kPriorities] = {};
  Histogram& queue_age = OneHistogram(registry, kQueueAge, kAgeBounds);
  Histogram& render = OneHistogram(registry, kRenderSeconds, kWorkBounds);
  Histogram& send = OneHistogram(registry, kSendSeconds, kSendBounds);

  mutable std::mutex mutex;
  const Queue* queue = nullptr;  // guarded by mutex
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {
  auto& consumed = CounterFamily(impl_->registry, kConsumed);
  for (int i = 0; i < kPriorities; ++i) {
    impl_->consumed[i] = &consumed.Add({{"priority", std::string(PriorityName(static_cast<Priority>(i)))}});
  }
  const std::string abi = std::to_string(POSTBUS_ABI_MAJOR) + "." + std::to_string(POSTBUS_ABI_MINOR);
  prometheus::BuildGauge()
      .Name(Name(kBuildInfo))
      .Help(Help(kBuildInfo))
      .Register(impl_->registry)
      .Add({{"version", POSTBUS_VERSION}, {"abi", abi}})
      .Set(1);
}

Metrics::~Metrics() = default;

Metrics::TransportCounters Metrics::ForTransport(std::string_view name) {
  TransportCounters counters;
  counters.impl_ = std::make_shared<TransportCounters::Impl>();
  const std::string transport(name);
  for (int outcome = POSTBUS_ACCEPTED; outcome < kOutcomes; ++outcome) {
    for (int priority = 0; priority < kPriorities; ++priority) {
      counters.impl_->outcomes[outcome][priority] =
          &impl_->outcome.Add({{"transport", transport},
                               {"outcome", std::string(OutcomeName(outcome))},
                               {"priority", std::string(PriorityName(static_cast<Priority>(priority)))}});
    }
  }
  counters.impl_->duplicate_completions = &impl_->duplicate_completions.Add({{"transport", transport}});
  counters.impl_->failovers = &impl_->failovers.Add({{"transport", transport}});
  counters.impl_->breaker_open = &impl_->breaker_open.Add({{"transport", transport}});
  counters.impl_->rate_limit = &impl_->rate_limit.Add({{"transport", transport}});
  counters.impl_->paused = &impl_->paused.Add({{"transport", transport}});
  return counters;
}

void Metrics::TransportCounters::CountOutcome(int32_t outcome, Priority priority, double n) {
  if (outcome < POSTBUS_ACCEPTED || outcome >= kOutcomes) return;
  impl_->outcomes[outcome][static_cast<size_t>(priority)]->Increment(n);
}

void Metrics::TransportCounters::CountDuplicateCompletion() { impl_->duplicate_completions->Increment(); }
void Metrics::TransportCounters::CountFailover() { impl_->failovers->Increment(); }
void Metrics::TransportCounters::CountBreaker(bool opens) { impl_->breaker_open->Increment(opens ? 1 : -1); }

void Metrics::TransportCounters::SetRateLimit(double per_second) { impl_->rate_limit->Set(per_second); }

void Metrics::TransportCounters::SetPaused(bool paused) { impl_->paused->Set(paused ? 1 : 0); }

void Metrics::SetStuck(const std::string& what, bool stuck) { impl_->stuck.Add({{"what", what}}).Set(stuck ? 1 : 0); }

void Metrics::CountConsumed(Priority priority) { impl_->consumed[static_cast<size_t>(priority)]->Increment(); }

void Metrics::CountForwarded() { impl_->forwarded.Increment(); }

void Metrics::CountDeadLetter(std::string_view reason, double n) {
  impl_->dead_letters.Add({{"reason", std::string(reason)}}).Increment(n);
}

void Metrics::CountDeferral(std::string_view reason, double n) {
  impl_->deferrals.Add({{"reason", std::string(reason)}}).Increment(n);
}

void Metrics::CountUnsent(std::string_view reason, double n) {
  impl_->unsent.Add({{"reason", std::string(reason)}}).Increment(n);
}

void Metrics::ObserveQueueAge(double seconds) { impl_->queue_age.Observe(seconds); }
void Metrics::ObserveRender(double seconds) { impl_->render.Observe(seconds); }
void Metrics::ObserveSend(double seconds) { impl_->send.Observe(seconds); }

void Metrics::SetInFlight(size_t shard, double n) { impl_->in_flight.Add({{"shard", std::to_string(shard)}}).Set(n); }

void Metrics::CountRequest(std::string_view route, int status) {
  impl_->requests.Add({{"route", std::string(route)}, {"status", std::to_string(status)}}).Increment();
}

void Metrics::CountReload(bool succeeded) {
  impl_->reloads.Add({{"result", succeeded ? "success" : "failure"}}).Increment();
}

void Metrics::SetGeneration(uint64_t number) {
  impl_->generation.Set(static_cast<double>(number));
  impl_->generation_since.Set(static_cast<double>(UnixTimeMs()) / 1000);
}

void Metrics::AttachQueue(const Queue& queue) {
  const std::lock_guard lock(impl_->mutex);
  impl_->queue = &queue;
}

void Metrics::DetachQueue() {
  const std::lock_guard lock(impl_->mutex);
  impl_->queue = nullptr;
}

std::string Metrics::Serialize() const {
  std::vector<prometheus::MetricFamily> families = impl_->registry.Collect();
  {
    const std::lock_guard lock(impl_->mutex);
    if (impl_->queue != nullptr) {
      const QueueStats stats = impl_->queue->Stats();
      const auto add = [&](Metric metric, auto value) {
        families.push_back(QueueFamily(metric, static_cast<double>(value)));
      };
      add(kQueuePublished, stats.published);
      add(kQueuePublishFailures, stats.publish_failures);
      add(kQueueCompleted, stats.completed);
      add(kQueueCancelled, stats.cancelled);
      add(kQueueCommits, stats.commits);
      add(kQueueCommitFailures, stats.commit_failures);
      add(kQueueMapsIgnored, stats.offset_maps_ignored);
      add(kQueueRebalances, stats.rebalances);
      add(kQueueWaiting, stats.waiting);
      add(kQueueDelayed, stats.delayed);
      add(kQueueAssigned, stats.assigned_partitions);
      add(kQueueStopped, stats.stopped_partitions);
    }
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace postbus
