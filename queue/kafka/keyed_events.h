// queue/kafka/keyed_events.h - of several records of one email that was posted with an Idempotency-Key, which are not
// to be sent. API processes do not know of each other, and one that was started anew knows nothing; but the records of
// one id and priority are in one partition, so that its owner can tell.
//
// What decides is the log: a record is repeated if a lower offset of its partition has the same id, accepted less than
// 24 h apart. Every owner says the same, and the first of an id is never taken for a repeated one, whatever is not
// known: what is not known can lead to a second copy, and to nothing worse.
//
// A file in `state_dir` remembers the keyed records that were read; it can be deleted at any time. What is not in it,
// as another host had the partition meanwhile, is read from the log again, once a keyed record asks for it: from 24 h
// before that record was accepted up to where the assignment began. Such a record waits until then; all others pass.
//
// Thread-safe. Has a thread of its own, which reads.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "event/status.h"
#include "queue/kafka/log_reader.h"
#include "queue/kafka/outgoing.h"
#include "queue/queue.h"
#include "queue/sqlite/database.h"

namespace postbus::kafka {

// One that was published with a key: its id is a UUIDv5, which is made of a name, and it is no copy (a retry, a
// scheduled or a replayed one is never judged).
bool IsKeyed(const Source& source);

class KeyedEvents {
 public:
  enum class Verdict : uint8_t {
    kSend,
    kRepeated,
    kWait,  // not known yet: `on_news` tells when to ask again
  };
  // Records accepted further apart than this are not taken for one.
  static constexpr int64_t kWindowMs = 86'400'000;

  // `on_news` is called with the number of partitions of which more is known now, by the thread.
  static Result<std::unique_ptr<KeyedEvents>> Open(const std::string& path, const KafkaConfig& config, QueueLog log,
                                                   std::function<void(int32_t)> on_news);
  ~KeyedEvents();

  // Reads no more, and `on_news` is not called any more; Keep still works.
  void Stop();

  // The partition is ours from now on; of its records some below `end` will not be seen, as they are done.
  void Begin(const std::string& topic, int32_t partition, int64_t end);
  // It is not any more.
  void End(const std::string& topic, int32_t partition);

  // REQUIRES: IsKeyed(source); its partition was begun, and its records come in the order of their offsets.
  Verdict Judge(const Source& source);
  // What was judged is in the file, whatever the process dies of. To be called before such a record is done.
  void Keep();

 private:
  struct Coverage {
    enum class State : uint8_t { kNotAsked, kReading, kKnown } state = State::kNotAsked;
    int64_t from = 0;  // known below this, from an earlier time
    int64_t end = 0;
    int64_t since_unix_ms = 0;  // kReading: what was accepted before is of no interest
  };
  using Place = std::pair<int32_t, std::string>;  // partition, topic

  KeyedEvents(const KafkaConfig& config, QueueLog log, std::function<void(int32_t)> on_news);
  Status Prepare(const std::string& path);
  void BindKey(sqlite::Statement& statement, const Source& source) const;
  bool Remember(const Source& source);
  // All keyed records of the partition below `next` are known.
  bool KnowBelow(const std::string& topic, int32_t partition, int64_t next);
  bool BeginTransaction();
  void Complain();

  void Run();
  bool Read(const std::map<Place, Coverage>& wanted);
  bool stopping() const;

  const KafkaConfig config_;
  const TopicNames names_;
  const QueueLog log_;
  const std::function<void(int32_t)> on_news_;
  std::unique_ptr<LogReader> reader_;  // the thread's

  mutable std::mutex mutex_;  // guards the rest
  std::condition_variable changed_;
  std::map<Place, Coverage> coverage_;
  bool asked_ = false;  // some Coverage became kReading
  bool stopping_ = false;
  bool complained_ = false;
  sqlite::Database file_;
  sqlite::Statement find_, insert_, set_next_, find_next_, prune_;
  bool in_transaction_ = false;
  int until_prune_ = 0;

  std::thread thread_;  // last: starts when all else is there
};

}  // namespace postbus::kafka
