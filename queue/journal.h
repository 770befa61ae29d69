// queue/journal.h - what a host remembers of its turns when it is killed: a file, mapped into memory, with one slot a
// turn. Marks are plain stores into it, no system call a mail: what was stored stays, whatever the process dies of. It
// does not survive the machine: a file of an earlier boot is begun anew.
//
// A turn's life in its slot: begun - handed to a transport - past its point of no return (by recipient) - answered (by
// recipient) - over, when its copies are durable - released, when the queue itself says that the event is done. Who
// begins the same record again gets what the slot holds.
//
// The file (host byte order, version 1.0): a page with magic, version, number of slots, boot id and whether the process
// died by a fatal signal that no record could be blamed for; then slots of 64 bytes. A minor version may give a meaning
// to what is spare in it, and takes that as not written in a file of a lower one; who opens a file makes it his. Each
// word of a slot carries a check of itself and of the record it is about, so that a word that is not whole counts as
// not written. The words are stored in such an order that a kill between any two of them leaves a truth: a mail counts
// as accepted, or in doubt, or not sent, never as less than it was.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "event/status.h"
#include "queue/event_headers.h"

namespace postbus {

// What the journal holds of a record whose turn begins: nothing, as a rule.
struct PastTurn {
  bool over = false;      // its copies are durable: nothing is left to do
  RecipientSet accepted;  // the next hop took these
  RecipientSet in_doubt;  // past the point of no return, and no answer is known
  // Deaths of the process by a fatal signal: 1 = it may have caused one, among others; each that was certainly its
  // doing counts.
  int crashes = 0;
  // At most once: it may have been sent, nobody knows to whom. Told by the queue, which has the claim.
  bool claimed = false;
  // The claim was made by this host, so that what is neither accepted nor in doubt was certainly not sent. For the
  // queue.
  bool claim_is_ours = false;
};

struct JournalSlot;

// One turn's slot, to be marked. A default one is of a queue without a journal: nothing is kept.
// Wait-free, any thread; valid while the turn lasts.
class TurnMarks {
 public:
  static constexpr size_t kMaxRecipients = 50;

  TurnMarks() = default;
  explicit TurnMarks(JournalSlot* slot) : slot_(slot) {}

  // A transport has it, or has it no longer: who is with a transport may be what kills the process, and who is there
  // alone certainly is.
  void Handed(bool alone = false) const;
  void TakenBack() const;
  // These may be sent from now on.
  void Passed(RecipientSet who) const;
  // What became of `who`; neither accepted nor in doubt: certainly not sent. Of the others nothing changes.
  void Answered(RecipientSet who, RecipientSet accepted, RecipientSet in_doubt) const;
  // The turn's claim is durable, and from now on these marks say all that happens under it; or no longer: it was taken
  // back, or something goes out that they do not tell of.
  void Claimed(bool ours) const;

  JournalSlot* slot() const { return slot_; }

 private:
  JournalSlot* slot_ = nullptr;
};

// Thread-safe. Outlives its marks, but for those of turns that never end: their memory stays.
class Journal {
 public:
  // Opens or makes the file, locked (flock) as long as it is open: kConflict if another host has it. kInvalid: it is
  // another major version's, and may hold marks of this boot that we cannot read. What is of no use, of an earlier boot
  // or damaged, is begun anew; `discarded` (may be null) is told why.
  static Result<std::unique_ptr<Journal>> Open(const std::string& path, uint32_t slots, std::string* discarded);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // Gives the file back for the next host; marks set from now on are kept by nobody. Nothing begins any more.
  void Detach();

  // A fingerprint of a record: its place may come back with another one in it (a topic made anew).
  static uint64_t Fingerprint(std::string_view id, int64_t timestamp, size_t size);

  // Begins a turn of the record at `place`. False: no slot is free; ask again when some were released.
  [[nodiscard]] bool Begin(int64_t place, uint64_t fingerprint, TurnMarks& marks, PastTurn& past);

  // Of a turn that was begun, once one of these:
  void Over(TurnMarks marks);     // its copies are durable; the queue's own record of it is still to be made
  void Abandon(TurnMarks marks);  // the record will come again, here or elsewhere
  // The queue's own record says that it is done. REQUIRES: no StartOver since Over.
  void Release(TurnMarks marks);

  // No slot is free, and none will be by reading on.
  bool full() const;
  // The places of records that an earlier turn left something of, and that have not been begun again.
  std::vector<int64_t> Left() const;
  // No record comes from this place any more.
  void Forget(int64_t place);
  // Records come from `base` on, also such as were over: the commit that would have said so was not made.
  void StartOver(int64_t base);

 private:
  struct Header;

  Journal(int fd, Header* header, size_t bytes, uint32_t slots);
  void Scan(int64_t base);
  void FreeSlot(uint32_t index);
  uint32_t IndexOf(TurnMarks marks) const;

  int fd_;  // -1: detached
  Header* const header_;
  const size_t bytes_;
  const uint32_t count_;
  JournalSlot* const slots_;

  mutable std::mutex mutex_;                    // guards the rest
  std::vector<uint32_t> free_;                  // last in, first out: few pages are touched
  std::vector<bool> in_use_;                    // by a turn
  std::unordered_map<int64_t, uint32_t> left_;  // place -> slot
};

// --- the poison list ---

// While it lives, this thread works on that record: a fatal signal here is the record's doing.
class WorkingOn {
 public:
  explicit WorkingOn(TurnMarks marks);
  ~WorkingOn();
  WorkingOn(const WorkingOn&) = delete;
  WorkingOn& operator=(const WorkingOn&) = delete;

 private:
  JournalSlot* const before_;
};

// From now on a fatal signal (SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE) is noted in the open journals before the
// process dies of it: at the record its thread was working on; without one, at all that are with a transport. A signal
// sent by another process counts nothing. Once a process; threads that should be heard of when their stack overflows
// call PrepareThreadForCrash.
void InstallCrashMarks();
void PrepareThreadForCrash();

}  // namespace postbus
