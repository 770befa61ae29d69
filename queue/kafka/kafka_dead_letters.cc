#include "queue/kafka/kafka_dead_letters.h"

#include <algorithm>
#include <future>
#include <set>
#include <utility>

#include "event/clock.h"
#include "queue/kafka/log_reader.h"
#include "queue/kafka/outgoing.h"
#include "queue/kafka/record_producer.h"
#include "queue/kafka/topics.h"

namespace postbus::kafka {
namespace {

constexpr int kRequestMs = 10'000;
constexpr int kPollMs = 100;
constexpr int64_t kPatienceMs = 30'000;  // without any answer of the brokers
constexpr std::string_view kMarkerName = "postbus-letter";
constexpr std::string_view kReplayedWord = "replayed ";
constexpr std::string_view kDiscardedWord = "discarded ";

// The next record, or the end of a partition (its err is RD_KAFKA_RESP_ERR__PARTITION_EOF).
Result<MessagePtr> AwaitRecord(LogReader& reader) {
  const int64_t deadline = BootTimeMs() + kPatienceMs;
  std::string reason = "nothing came";
  while (BootTimeMs() < deadline) {
    MessagePtr message = reader.Next(kPollMs);
    if (message == nullptr) continue;
    const rd_kafka_resp_err_t error = message->err;
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR || error == RD_KAFKA_RESP_ERR__PARTITION_EOF) return message;
    reason = rd_kafka_message_errstr(message.get());
    if (error == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) break;
  }
  return reader.Unanswered(reason);
}

std::string PlaceOf(const rd_kafka_message_t& message) {
  return std::to_string(message.partition) + "/" + std::to_string(message.offset);
}

std::string_view Find(const HeaderList& headers, std::string_view name) {
  for (const auto& [each, value] : headers) {
    if (each == name) return value;
  }
  return {};
}

// The place a marker speaks of; empty if the record is none.
std::string_view MarkedPlace(const HeaderList& headers) {
  const std::string_view text = Find(headers, kMarkerName);
  for (const std::string_view word : {kReplayedWord, kDiscardedWord}) {
    if (text.starts_with(word)) return text.substr(word.size());
  }
  return {};
}

DeadLetter LetterOf(const rd_kafka_message_t& message, Record record) {
  DeadLetter letter;
  letter.place = PlaceOf(message);
  Source source;
  static_cast<void>(ReadSource(message, source));  // what can be read of its headers is enough here
  letter.headers = std::move(source.headers);
  letter.id = letter.headers.id.empty() ? letter.headers.origin.DerivedId() : letter.headers.id;
  rd_kafka_timestamp_type_t type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
  letter.at_unix_ms = rd_kafka_message_timestamp(&message, &type);
  letter.message = Find(record.headers, "__dlq.errors.message");
  letter.pointer = Find(record.headers, "postbus-pointer");
  if (record.has_key) letter.key = std::move(record.key);
  letter.record_headers = std::move(record.headers);
  letter.value = std::move(record.value);
  return letter;
}

class KafkaDeadLetters : public DeadLetters {
 public:
  KafkaDeadLetters(KafkaConfig config, QueueLog log)
      : config_(std::move(config)), log_(std::move(log)), names_(config_) {}

  // Finds where each partition ends now, and which letters have a marker.
  Status Open() {
    if (Status status = CheckPassedOn(config_); !status.ok()) return status;
    Result<std::unique_ptr<LogReader>> reader = OpenReader();
    if (!reader.ok()) return reader.TakeStatus();
    reader_ = std::move(*reader);
    Result<int> partitions = reader_->PartitionCount(names_.dead_letters, kRequestMs);
    if (!partitions.ok()) return partitions.TakeStatus();
    ends_.assign(static_cast<size_t>(*partitions), kUnknown);
    return Read([this](const rd_kafka_message_t& message) {
      const Record record = CopyOf(message);  // `place` is a part of it
      if (const std::string_view place = MarkedPlace(record.headers); !place.empty()) settled_.emplace(place);
      return Status();
    });
  }

  Status ForEach(const std::function<Status(const DeadLetter&)>& each) override {
    return Read([&](const rd_kafka_message_t& message) {
      if (settled_.contains(PlaceOf(message))) return Status();
      Record record = CopyOf(message);
      return MarkedPlace(record.headers).empty() ? each(LetterOf(message, std::move(record))) : Status();
    });
  }

  Status Replay(const DeadLetter& letter) override {
    std::string value = letter.value;
    if (!letter.pointer.empty()) {
      Result<std::string> source = ReadPointer(letter);
      if (!source.ok()) return source.TakeStatus();
      value = std::move(*source);
    }
    Result<ReplayedEvent> event = Replayed(letter, value);
    if (!event.ok()) return event.TakeStatus();
    Record record;
    record.topic = names_.events[static_cast<size_t>(event->priority)];
    record.key = letter.key.value_or("");
    record.has_key = letter.key.has_value();
    record.value = std::move(value);
    EncodeHeaders(event->headers, record.headers);
    // First what is told of it: after the host's `sent` it would be untrue.
    if (Status told = Write(StatusChangeRecord(names_, event->queued)); !told.ok()) return told;
    if (Status written = Write(record); !written.ok()) return written;
    return Mark(letter, kReplayedWord);
  }

  Status Discard(const DeadLetter& letter) override { return Mark(letter, kDiscardedWord); }

 private:
  static constexpr int64_t kUnknown = -1;

  Result<std::unique_ptr<LogReader>> OpenReader() const {
    return LogReader::Open(config_, "dead-letters", {.queue_kib = 8192, .fetch_wait_ms = 20}, log_);
  }

  // All records below `ends_`, which the first reading finds.
  Status Read(const std::function<Status(const rd_kafka_message_t&)>& each) {
    OffsetListPtr partitions(rd_kafka_topic_partition_list_new(static_cast<int>(ends_.size())));
    std::vector<bool> done(ends_.size());
    for (size_t i = 0; i < ends_.size(); ++i) {
      done[i] = ends_[i] == 0;
      if (done[i]) continue;
      rd_kafka_topic_partition_list_add(partitions.get(), names_.dead_letters.c_str(), static_cast<int32_t>(i))
          ->offset = RD_KAFKA_OFFSET_BEGINNING;
    }
    auto left = std::count(done.begin(), done.end(), false);
    if (left == 0) return {};
    if (Status status = reader_->Assign(partitions.get()); !status.ok()) return status;
    while (left > 0) {
      Result<MessagePtr> next = AwaitRecord(*reader_);
      if (!next.ok()) return next.TakeStatus();
      const rd_kafka_message_t& message = **next;
      const auto partition = static_cast<size_t>(message.partition);
      if (done[partition]) continue;
      int64_t& end = ends_[partition];
      const bool at_end = message.err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
      if (at_end && end == kUnknown) end = message.offset;
      if (!at_end && (end == kUnknown || message.offset < end)) {
        if (Status status = each(message); !status.ok()) return status;
      }
      done[partition] = at_end || (end != kUnknown && message.offset + 1 >= end);
      if (done[partition]) --left;
    }
    return {};
  }

  // The value of the record that a pointer record names.
  Result<std::string> ReadPointer(const DeadLetter& letter) {
    const std::string gone = "dead letter " + letter.place + " was too large to be copied, and the record " +
                             letter.pointer + " that has the event is gone: discard the letter";
    EventHeaders parsed;
    if (!DecodeHeader("postbus-origin", letter.pointer, parsed).ok()) return Status::NotFound(gone);
    const Origin& source = parsed.origin;
    // A reader of its own: the letters' may be in the middle of the topic.
    Result<std::unique_ptr<LogReader>> reader = OpenReader();
    if (!reader.ok()) return reader.TakeStatus();
    OffsetListPtr partitions(rd_kafka_topic_partition_list_new(1));
    rd_kafka_topic_partition_list_add(partitions.get(), source.topic.c_str(), source.partition)->offset = source.offset;
    if (Status status = (*reader)->Assign(partitions.get()); !status.ok()) return status;
    Result<MessagePtr> message = AwaitRecord(**reader);
    if (!message.ok()) return message.TakeStatus();
    if ((*message)->err != RD_KAFKA_RESP_ERR_NO_ERROR || (*message)->offset != source.offset) {
      return Status::NotFound(gone);
    }
    return CopyOf(**message).value;
  }

  Status Mark(const DeadLetter& letter, std::string_view word) {
    Record marker;
    marker.topic = names_.dead_letters;
    marker.key = letter.key.value_or("");
    marker.has_key = letter.key.has_value();
    marker.headers.emplace_back(kMarkerName, std::string(word) + letter.place);
    Status written = Write(marker);
    if (written.ok()) settled_.insert(letter.place);
    return written;
  }

  // Writes a record and waits until all in-sync replicas have it.
  Status Write(const Record& record) {
    if (!producer_) {
      std::vector<std::string> topics(names_.events.begin(), names_.events.end());
      topics.insert(topics.end(), {names_.dead_letters, names_.status});
      Result<std::unique_ptr<RecordProducer>> opened =
          RecordProducer::Open(config_, ProducerKind::kPublish, std::move(topics), log_);
      if (!opened.ok()) return opened.TakeStatus();
      producer_ = std::move(*opened);
    }
    std::promise<Status> promise;
    std::future<Status> answer = promise.get_future();
    Status taken = producer_->Produce(record, [&promise](const Status& status, const RecordBack&) {
      promise.set_value(status.ok() ? Status() : Status(status.kind(), std::string(status.message())));
      return RecordProducer::After::kDone;
    });
    return taken.ok() ? answer.get() : std::move(taken);
  }

  const KafkaConfig config_;
  const QueueLog log_;
  const TopicNames names_;
  std::unique_ptr<LogReader> reader_;
  std::unique_ptr<RecordProducer> producer_;    // from the first replay or discard on
  std::vector<int64_t> ends_;                   // by partition: where it ended when it was opened
  std::set<std::string, std::less<>> settled_;  // places of the letters that have a marker
};

}  // namespace

Result<std::unique_ptr<DeadLetters>> OpenKafkaDeadLetters(const KafkaConfig& config, QueueLog log) {
  auto letters = std::make_unique<KafkaDeadLetters>(config, std::move(log));
  if (Status status = letters->Open(); !status.ok()) return status;
  return std::unique_ptr<DeadLetters>(std::move(letters));
}

}  // namespace postbus::kafka
