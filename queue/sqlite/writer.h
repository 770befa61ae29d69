// queue/sqlite/writer.h - the one thread of a process that writes to the queue file. What publishers and shards give it
// while one transaction is on its way to the disk becomes the next one (group commit).
// Public calls from any thread. Dispenser, journal and cancellations outlive it.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "queue/cancellations.h"
#include "queue/file_descriptor.h"
#include "queue/queue.h"
#include "queue/sqlite/cancellation_table.h"
#include "queue/sqlite/database.h"
#include "queue/sqlite/dispenser.h"
#include "queue/sqlite/rows.h"
#include "queue/sqlite/wake_pipe.h"

namespace postbus::sqlite {

class Writer {
 public:
  // `dispenser` and `journal`: a host's, told of every commit; nullptr in a producer, which notifies the host through
  // the pipe. `cancellations`: a host's get all there are, before this returns and from then on.
  static Result<std::unique_ptr<Writer>> Start(Database database, WakePipe pipe, Dispenser* dispenser, Journal* journal,
                                               Cancellations& cancellations, QueueLog log);
  ~Writer();

  // `rows.done` is called from the writer's thread, unless an error is returned.
  Status Publish(NewRows rows);
  // `request.done` likewise.
  Status Cancel(CancelRequest request);
  // Takes turns that have ended, and claims; they are kept and tried again until the file has them.
  void Settle(HostWork work);

  // Writes what it was given, answers every publisher and closes the file. False: some did not make it by the deadline.
  bool Stop(int64_t deadline_boot_ms);

  Status Health() const;
  // What the writer knows: all but `consumed`; `waiting` and `delayed` with turns under way included.
  QueueStats Stats() const;

 private:
  // The row of table `state`.
  struct FileState {
    int64_t next_seq = 0;
    std::array<int64_t, kPriorities> events{};
    int64_t deferred = 0;
  };

  // What a transaction did with rows that were published.
  enum class Fate : uint8_t { kWritten, kKnown, kConflict };

  Writer(Database database, WakePipe pipe, Dispenser* dispenser, Journal* journal, Cancellations& cancellations,
         QueueLog log);
  Status Prepare();

  void Run();
  std::vector<NewRows> TakeIncoming();
  void Commit(std::vector<NewRows>& published);
  void CommitCancels();
  Status TakeCancellations();
  Status CommitFailure() const;
  Status Transact(const std::vector<NewRows>& published, const HostWork& work);
  bool Write(const std::vector<NewRows>& published, const HostWork& work, FileState& state);
  bool WriteRows(const NewRows& rows, FileState& state);
  bool Remember(const NewRows& rows, Fate& fate);
  bool WriteStatus(const StatusRow& status);
  bool WriteClaim(const ClaimChange& claim);
  bool IsClaimed(int64_t seq);
  bool WriteSettlement(const Settlement& settlement, FileState& state);
  bool ReadState(FileState& state);
  void ShowState(const FileState& state);
  void Announce(const std::vector<NewRows>& published, const HostWork& work);
  void Answer(std::vector<NewRows>& published, const Status& status);
  void SetHealth(const Status& status);
  void TendHost();
  void Prune();
  void Wait();
  static int OnBusy(void* self, int count);

  // Used by the writer's thread only, once it runs.
  Database database_;
  Statement begin_, commit_, read_state_, write_state_, read_version_;
  std::array<Statement, kPriorities> insert_, delete_;
  Statement insert_deferred_, delete_deferred_, insert_dead_letter_, insert_status_, insert_status_recipient_,
      prune_status_, prune_status_recipients_, prune_dead_letters_;
  Statement find_request_, insert_request_, prune_requests_;
  Statement insert_claim_, delete_claim_, find_claim_;
  CancellationTable cancellation_table_;
  std::vector<Fate> fates_;       // of what the last transaction was given to publish
  HostWork unsettled_;            // what the file does not have yet
  int64_t retry_at_boot_ms_ = 0;  // after a failure: the next try; 0 = the last transaction went well
  int64_t prune_at_boot_ms_ = 0;
  int64_t busy_since_boot_ms_ = 0;
  bool look_for_cancellations_ = false;
  int64_t seen_version_ = -1;  // PRAGMA data_version: changes when another process commits
  bool notified_ = false;      // through the pipe

  const WakePipe pipe_;
  const FileDescriptor wake_fd_;
  Dispenser* const dispenser_;
  Journal* const journal_;
  Cancellations& cancellations_;
  const QueueLog log_;

  std::atomic<uint64_t> published_{0}, publish_failures_{0}, completed_{0}, deferred_{0}, dead_lettered_{0},
      cancelled_{0}, commits_{0}, commit_failures_{0};
  std::atomic<int64_t> events_in_file_{0}, deferred_in_file_{0};
  std::atomic<bool> abandon_{false};  // the deadline of Stop has passed

  mutable std::mutex mutex_;  // guards the rest
  std::condition_variable finished_changed_;
  std::vector<NewRows> incoming_rows_;
  HostWork incoming_work_;
  std::vector<CancelRequest> incoming_cancels_;
  size_t incoming_bytes_ = 0;  // of rows
  bool waiting_ = false;       // the thread sleeps until wake_fd_ is written
  bool stopping_ = false;
  bool finished_ = false;
  bool all_written_ = false;  // known before finished_: closing may take a checkpoint's time
  std::string failure_;       // of the last transaction; empty = it went well

  std::thread thread_;  // last: starts when all else is there
};

}  // namespace postbus::sqlite
