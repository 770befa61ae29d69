#include "queue/kafka/record_producer.h"

#include <algorithm>

#include "event/clock.h"

namespace postbus::kafka {
namespace {

constexpr int kPollMs = 100;
constexpr int64_t kAgainAfterMs = 1000;
constexpr int kAskTopicsMs = 2000;

bool IsTooLarge(rd_kafka_resp_err_t error) {
  return error == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE || error == RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE;
}

Status DeliveryStatus(const rd_kafka_message_t* message, bool maybe_stored_before) {
  const rd_kafka_msg_status_t stored = rd_kafka_message_status(message);
  if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR || stored == RD_KAFKA_MSG_STATUS_PERSISTED) return {};
  std::string reason = std::string("Kafka: ") + rd_kafka_err2str(message->err);
  if (IsTooLarge(message->err)) return Status::Invalid(std::move(reason));
  if (maybe_stored_before || stored == RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED) {
    return Status::Uncertain(reason + "; the record may or may not be stored");
  }
  return Status::Unavailable(std::move(reason));
}

// Nothing to be tried again by the next client.
bool IsFinal(const Status& status, bool once) {
  return status.ok() || status.kind() == ErrorKind::kInvalid || (once && status.kind() == ErrorKind::kUncertain);
}

// Asks a broker about the topics the client knows. False: no answer.
bool AskAboutTopics(rd_kafka_t* client, int timeout_ms) {
  const rd_kafka_metadata_t* metadata = nullptr;
  if (rd_kafka_metadata(client, 0, nullptr, &metadata, timeout_ms) != RD_KAFKA_RESP_ERR_NO_ERROR) return false;
  rd_kafka_metadata_destroy(metadata);
  return true;
}

}  // namespace

Record CopyOf(const rd_kafka_message_t& message) {
  Record record;
  record.topic = rd_kafka_topic_name(message.rkt);
  record.has_key = message.key != nullptr;
  record.key.assign(static_cast<const char*>(message.key), message.key_len);
  record.value.assign(static_cast<const char*>(message.payload), message.len);
  rd_kafka_headers_t* headers = nullptr;
  if (rd_kafka_message_headers(&message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) return record;
  const char* name = nullptr;
  const void* value = nullptr;
  size_t size = 0;
  for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR; ++i) {
    record.headers.emplace_back(name, std::string(static_cast<const char*>(value), size));
  }
  return record;
}

RecordProducer::RecordProducer(const KafkaConfig& config, ProducerKind kind, std::vector<std::string> topics,
                               QueueLog log)
    : config_(config), kind_(kind), topics_(std::move(topics)), log_(std::move(log)), context_{&log_, this} {}

Result<std::unique_ptr<RecordProducer>> RecordProducer::Open(const KafkaConfig& config, ProducerKind kind,
                                                             std::vector<std::string> topics, QueueLog log) {
  std::unique_ptr<RecordProducer> producer(new RecordProducer(config, kind, std::move(topics), std::move(log)));
  Result<std::unique_ptr<Client>> client = producer->NewProducerClient();
  if (!client.ok()) return client.TakeStatus();
  producer->client_ = std::move(*client);
  producer->thread_ = std::thread([self = producer.get()] { self->Run(); });
  return producer;
}

RecordProducer::~RecordProducer() { Stop(); }

Result<std::unique_ptr<RecordProducer::Client>> RecordProducer::NewProducerClient() {
  Result<ConfPtr> conf = MakeConf(config_, ProducerProperties(kind_), &context_);
  if (!conf.ok()) return conf.TakeStatus();
  rd_kafka_conf_set_dr_msg_cb(conf->get(), OnDeliveryReport);
  rd_kafka_conf_set_error_cb(conf->get(), OnError);
  Result<rd_kafka_t*> made = NewClient(RD_KAFKA_PRODUCER, std::move(*conf));
  if (!made.ok()) return made.TakeStatus();
  auto client = std::make_unique<Client>();
  client->client.reset(*made);
  for (const std::string& topic : topics_) {
    client->topics.emplace_back(rd_kafka_topic_new(*made, topic.c_str(), nullptr));
  }
  AskAboutTopics(*made, kAskTopicsMs);
  return client;
}

Status RecordProducer::Produce(const Record& record, OnDelivery on_delivery) {
  auto pending = std::make_unique<Pending>(Pending{std::move(on_delivery)});
  return Offer(record, pending);
}

void RecordProducer::ProduceDurably(Record record, OnDelivery on_delivery, bool once) {
  auto pending = std::make_unique<Pending>(Pending{std::move(on_delivery), false, once});
  Status taken = Offer(record, pending);
  if (taken.ok()) return;
  on_the_way_.fetch_add(1);
  const bool final = taken.kind() == ErrorKind::kInvalid;
  Postpone(std::move(record), std::move(pending), BootTimeMs() + (final ? 0 : kAgainAfterMs),
           final ? std::move(taken) : Status());
}

Status RecordProducer::Offer(const Record& record, std::unique_ptr<Pending>& pending) {
  rd_kafka_headers_t* headers = nullptr;
  if (!record.headers.empty()) {
    headers = rd_kafka_headers_new(record.headers.size());
    for (const auto& [name, value] : record.headers) {
      rd_kafka_header_add(headers, name.data(), static_cast<ssize_t>(name.size()), value.data(),
                          static_cast<ssize_t>(value.size()));
    }
  }
  // librdkafka does not change what it is given, its variadic interface only forgot to say so.
  void* value = const_cast<char*>(record.value.data());
  void* key = record.has_key ? const_cast<char*>(record.key.data()) : nullptr;
  const size_t key_size = record.has_key ? record.key.size() : 0;

  std::shared_lock lock(client_mutex_);
  rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR__DESTROY;
  if (!stopping_) {
    on_the_way_.fetch_add(1);
    error = rd_kafka_producev(client_->client.get(), RD_KAFKA_V_TOPIC(record.topic.c_str()),
                              RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_VALUE(value, record.value.size()),
                              RD_KAFKA_V_KEY(key, key_size), RD_KAFKA_V_HEADERS(headers),
                              RD_KAFKA_V_OPAQUE(pending.get()), RD_KAFKA_V_END);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
      static_cast<void>(pending.release());  // the delivery report brings it back
      return {};
    }
    on_the_way_.fetch_sub(1);
  }
  lock.unlock();
  if (headers != nullptr) rd_kafka_headers_destroy(headers);
  if (IsTooLarge(error)) return Status::Invalid("the record is larger than Kafka takes here (2 MiB with its headers)");
  if (error == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
    return Status::Unavailable("Kafka does not take records as fast as they come; try again in a while");
  }
  return Status::Unavailable(std::string("Kafka: ") + rd_kafka_err2str(error));
}

void RecordProducer::Postpone(Record record, std::unique_ptr<Pending> pending, int64_t due_boot_ms, Status verdict) {
  std::lock_guard lock(postponed_mutex_);
  postponed_.push_back({due_boot_ms, std::move(record), std::move(pending), std::move(verdict)});
}

void RecordProducer::OnDeliveryReport(rd_kafka_t* client, const rd_kafka_message_t* message, void* opaque) {
  auto* self = static_cast<RecordProducer*>(static_cast<ClientContext*>(opaque)->owner);
  std::unique_ptr<Pending> pending(static_cast<Pending*>(message->_private));
  const Status status = DeliveryStatus(message, pending->maybe_stored);
  if (!IsFinal(status, pending->once) && !self->stopping_ &&
      rd_kafka_fatal_error(client, nullptr, 0) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    pending->maybe_stored = status.kind() == ErrorKind::kUncertain;
    self->Postpone(CopyOf(*message), std::move(pending), 0, {});  // for the next client
    return;
  }
  self->Answer(std::move(pending), status, [message] { return CopyOf(*message); });
}

void RecordProducer::Answer(std::unique_ptr<Pending> pending, const Status& status, const RecordBack& record) {
  if (status.ok()) brokers_down_ = false;
  if (pending->on_delivery(status, record) == After::kAgain && !stopping_) {
    pending->maybe_stored = pending->maybe_stored || (!status.ok() && status.kind() == ErrorKind::kUncertain);
    Postpone(record(), std::move(pending), BootTimeMs() + kAgainAfterMs, {});
    return;
  }
  on_the_way_.fetch_sub(1);
}

void RecordProducer::OnError(rd_kafka_t* client, int error, const char* reason, void* opaque) {
  auto* self = static_cast<RecordProducer*>(static_cast<ClientContext*>(opaque)->owner);
  if (error == RD_KAFKA_RESP_ERR__FATAL) {
    if (client != self->client_->client.get()) return;  // of the client that is being replaced
    char text[512];
    rd_kafka_fatal_error(client, text, sizeof text);
    self->log_(LogLevel::kWarning, std::string("the Kafka producer begins anew after: ") + text);
    self->fatal_ = true;
  } else if (error == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
    if (!self->brokers_down_.exchange(true)) self->log_(LogLevel::kWarning, std::string("Kafka: ") + reason);
  }
}

// Writes what is due once more; returns for how long nothing will be due, at most kPollMs.
int RecordProducer::ServePostponed() {
  std::vector<Postponed> due;
  int64_t wait_ms = kPollMs;
  {
    const int64_t now = BootTimeMs();
    std::lock_guard lock(postponed_mutex_);
    const auto first_due = std::stable_partition(postponed_.begin(), postponed_.end(),
                                                 [now](const Postponed& each) { return each.due_boot_ms > now; });
    due.assign(std::make_move_iterator(first_due), std::make_move_iterator(postponed_.end()));
    postponed_.erase(first_due, postponed_.end());
    for (const Postponed& each : postponed_) wait_ms = std::min(wait_ms, each.due_boot_ms - now);
  }
  for (Postponed& each : due) {
    Status verdict = std::move(each.verdict);
    if (verdict.ok()) {
      verdict = Offer(each.record, each.pending);
      if (verdict.ok()) {
        on_the_way_.fetch_sub(1);  // it was counted when it was postponed
        continue;
      }
      if (verdict.kind() == ErrorKind::kUnavailable) {
        Postpone(std::move(each.record), std::move(each.pending), BootTimeMs() + kAgainAfterMs, {});
        continue;
      }
    }
    Answer(std::move(each.pending), verdict, [&each] { return each.record; });
  }
  return static_cast<int>(wait_ms);
}

void RecordProducer::ReplaceClient() {
  Result<std::unique_ptr<Client>> fresh = NewProducerClient();
  if (!fresh.ok()) {
    log_(LogLevel::kError, fresh.status().message());
    return;  // fatal_ stays: tried again with the next poll
  }
  std::unique_ptr<Client> old = std::move(*fresh);
  {
    std::unique_lock lock(client_mutex_);
    client_.swap(old);
    fatal_ = false;
  }
  rd_kafka_t* ending = old->client.get();
  // The old client's reports come without client_mutex_: callbacks take their owners' locks, whose holders may be
  // waiting in Produce.
  rd_kafka_purge(ending, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
  while (rd_kafka_outq_len(ending) > 0) rd_kafka_poll(ending, kPollMs);
}

// librdkafka says when all brokers are gone, not when one is back.
void RecordProducer::ProbeBrokers() {
  if (AskAboutTopics(client_->client.get(), 1000)) brokers_down_ = false;
}

void RecordProducer::Run() {
  int64_t probe_at = 0;
  while (!stopping_) {
    const int wait_ms = ServePostponed();
    rd_kafka_poll(client_->client.get(), wait_ms);
    if (fatal_) ReplaceClient();
    if (brokers_down_ && BootTimeMs() >= probe_at) {
      ProbeBrokers();
      probe_at = BootTimeMs() + 2000;
    }
  }
}

bool RecordProducer::Flush(int64_t deadline_boot_ms) {
  while (on_the_way_ > 0 && BootTimeMs() < deadline_boot_ms) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  return on_the_way_ == 0;
}

Status RecordProducer::Health() const {
  if (brokers_down_) return Status::Unavailable("no Kafka broker of " + config_.brokers + " is reachable");
  return {};
}

void RecordProducer::Stop() {
  {
    std::unique_lock lock(client_mutex_);
    stopping_ = true;  // from here on nothing is taken
  }
  if (!thread_.joinable()) return;
  thread_.join();
  rd_kafka_t* ending = client_->client.get();
  rd_kafka_purge(ending, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
  while (rd_kafka_outq_len(ending) > 0) rd_kafka_poll(ending, kPollMs);
  std::vector<Postponed> left;
  {
    std::lock_guard lock(postponed_mutex_);
    left.swap(postponed_);
  }
  for (Postponed& each : left) {
    const Status status = each.pending->maybe_stored ? Status::Uncertain("stopped; the record may or may not be stored")
                                                     : Status::Unavailable("stopped before Kafka took the record");
    Answer(std::move(each.pending), status, [&each] { return each.record; });
  }
  client_.reset();
}

}  // namespace postbus::kafka
