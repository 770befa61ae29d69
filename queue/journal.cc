#include "queue/journal.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <limits>
#include <span>
#include <string_view>
#include <utility>

namespace postbus {
namespace {

constexpr uint16_t kMajor = 1;
constexpr uint16_t kMinor = 0;
constexpr std::array<char, 8> kMagic = {'p', 'o', 's', 't', 'b', 'u', 's', 'J'};
constexpr size_t kHeaderBytes = 4096;
constexpr size_t kBootIdBytes = 36;

// Words that stand beside each other in a slot must not check each other's values.
enum class Word : uint64_t { kState = 1, kAccepted = 2, kInDoubt = 3, kClaimed = 4 };
enum class Phase : uint64_t { kBegun = 1, kHanded = 2, kOver = 3 };

uint64_t Mix(uint64_t a, uint64_t b) {  // splitmix64's finish
  uint64_t z = a + 0x9e3779b97f4a7c15 * (b + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// A value of up to kValueBits with a check above it, in one word: stored and read as a whole.
constexpr int kValueBits = TurnMarks::kMaxRecipients;
constexpr uint64_t kValueMask = (uint64_t{1} << kValueBits) - 1;

uint64_t Seal(uint64_t identity, Word word, uint64_t value) {
  assert((value & ~kValueMask) == 0);
  return value | (Mix(identity ^ value, static_cast<uint64_t>(word)) & ~kValueMask);
}

bool Unseal(uint64_t identity, Word word, uint64_t sealed, uint64_t& value) {
  value = sealed & kValueMask;
  return Seal(identity, word, value) == sealed;
}

struct State {
  Phase phase = Phase::kBegun;
  uint64_t crashes = 0;
  bool alone = false;  // with a transport, and no other record is
};

// In its word: phase, crashes, alone, and bits of the identity, so that with the check no other record's state fits.
constexpr uint64_t kMaxCrashes = 0x7F;
constexpr int kCrashesShift = 2;
constexpr int kAloneShift = 9;
constexpr int kIdentityShift = 10;

uint64_t StateOf(uint64_t identity, const State& state) {
  const uint64_t value = static_cast<uint64_t>(state.phase) | std::min(state.crashes, kMaxCrashes) << kCrashesShift |
                         static_cast<uint64_t>(state.alone) << kAloneShift | (identity << kIdentityShift & kValueMask);
  return Seal(identity, Word::kState, value);
}

// False: free, or nothing that can be read.
bool ReadState(uint64_t identity, uint64_t sealed, State& state) {
  uint64_t value = 0;
  if (!Unseal(identity, Word::kState, sealed, value)) return false;
  state = {static_cast<Phase>(value & 3), value >> kCrashesShift & kMaxCrashes, (value >> kAloneShift & 1) != 0};
  return (value & 3) != 0 && value >> kIdentityShift == (identity & (kValueMask >> kIdentityShift));
}

}  // namespace

// A word is stored by one thread at a time: `state` by the shard, or who settles; the masks by the transport's thread
// that has the mail; all of them by the shard while no transport has it.
struct alignas(64) JournalSlot {
  std::atomic<uint64_t> state;  // 0 = free
  std::atomic<uint64_t> place;
  std::atomic<uint64_t> fingerprint;
  std::atomic<uint64_t> accepted;
  std::atomic<uint64_t> in_doubt;
  std::atomic<uint64_t> claimed;  // a file of before it has 0 here: not claimed

  uint64_t identity() const {
    return Mix(place.load(std::memory_order_relaxed), fingerprint.load(std::memory_order_relaxed));
  }
  uint64_t Mask(const std::atomic<uint64_t>& word, Word kind) const {
    uint64_t value = 0;
    return Unseal(identity(), kind, word.load(std::memory_order_acquire), value) ? value : 0;
  }
  void SetMask(std::atomic<uint64_t>& word, Word kind, uint64_t value) {
    word.store(Seal(identity(), kind, value), std::memory_order_release);
  }
  void SetPhase(Phase phase, bool alone = false) {
    State now;
    ReadState(identity(), state.load(std::memory_order_relaxed), now);
    state.store(StateOf(identity(), {phase, now.crashes, alone}), std::memory_order_release);
  }
  // The process died, by this record's doing or by that of one of several.
  void CountCrash(bool certainly) {
    State now;
    if (!ReadState(identity(), state.load(std::memory_order_relaxed), now)) return;
    now.crashes = certainly ? now.crashes + 1 : std::max<uint64_t>(now.crashes, 1);
    state.store(StateOf(identity(), now), std::memory_order_release);
  }
};
static_assert(sizeof(JournalSlot) == 64 && std::atomic<uint64_t>::is_always_lock_free);

void TurnMarks::Handed(bool alone) const {
  if (slot_ != nullptr) slot_->SetPhase(Phase::kHanded, alone);
}

void TurnMarks::TakenBack() const {
  if (slot_ != nullptr) slot_->SetPhase(Phase::kBegun);
}

void TurnMarks::Passed(RecipientSet who) const {
  if (slot_ == nullptr) return;
  const uint64_t before = slot_->Mask(slot_->in_doubt, Word::kInDoubt);
  slot_->SetMask(slot_->in_doubt, Word::kInDoubt, before | (who.bits & kValueMask));
}

void TurnMarks::Answered(RecipientSet who, RecipientSet accepted, RecipientSet in_doubt) const {
  if (slot_ == nullptr) return;
  // Accepted first: killed in between, those are accepted and the others in doubt.
  if (!accepted.empty()) {
    const uint64_t before = slot_->Mask(slot_->accepted, Word::kAccepted);
    slot_->SetMask(slot_->accepted, Word::kAccepted, before | (accepted.bits & kValueMask));
  }
  const uint64_t others = slot_->Mask(slot_->in_doubt, Word::kInDoubt) & ~who.bits;
  slot_->SetMask(slot_->in_doubt, Word::kInDoubt, others | (in_doubt.bits & kValueMask));
}

void TurnMarks::Claimed(bool ours) const {
  if (slot_ != nullptr) slot_->SetMask(slot_->claimed, Word::kClaimed, ours ? 1 : 0);
}

struct Journal::Header {
  // In every version:
  std::array<char, 8> magic;
  uint16_t major;
  uint16_t minor;
  uint32_t slots;
  std::array<char, kBootIdBytes> boot_id;
  // In this one:
  std::atomic<uint32_t> crashed;  // by a fatal signal that no record was blamed for

  // 0: it is ours, or of no use to anybody.
  static uint16_t OtherMajorOf(int fd, const std::array<char, kBootIdBytes>& boot_id) {
    Header header;
    if (pread(fd, &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header)) return 0;
    return header.magic == kMagic && header.boot_id == boot_id && header.major != kMajor ? header.major : 0;
  }
};

namespace {

// The journals whose process may crash: for the signal handler, which cannot take locks.
constexpr size_t kMaxOpen = 4096;
std::array<std::atomic<std::atomic<uint32_t>*>, kMaxOpen> open_crash_flags;
thread_local JournalSlot* working_on = nullptr;

void AddCrashFlag(std::atomic<uint32_t>* flag) {
  for (auto& each : open_crash_flags) {
    std::atomic<uint32_t>* none = nullptr;
    if (each.compare_exchange_strong(none, flag)) return;
  }
}

void RemoveCrashFlag(std::atomic<uint32_t>* flag) {
  for (auto& each : open_crash_flags) {
    std::atomic<uint32_t>* found = flag;
    if (each.compare_exchange_strong(found, nullptr)) return;
  }
}

std::array<char, kBootIdBytes> BootId() {
  std::array<char, kBootIdBytes> id{};
  const int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return id;
  if (read(fd, id.data(), id.size()) != static_cast<ssize_t>(id.size())) id = {};
  close(fd);
  return id;
}

Status FileError(const std::string& path, const char* what) {
  return Status::Unavailable("journal " + path + " (state_dir) " + what + ": " + std::strerror(errno));
}

}  // namespace

Result<std::unique_ptr<Journal>> Journal::Open(const std::string& path, uint32_t slots, std::string* discarded) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return FileError(path, "cannot be opened");
  const auto fail = [fd](Status status) {
    close(fd);
    return status;
  };
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    return fail(Status::Conflict("journal " + path + " is another host's: give each host its own state_dir"));
  }
  struct stat info {};
  if (fstat(fd, &info) != 0) return fail(FileError(path, "cannot be read"));
  const size_t bytes = kHeaderBytes + slots * sizeof(JournalSlot);
  const bool is_new = info.st_size == 0;
  const std::array<char, kBootIdBytes> boot_id = BootId();
  if (const uint16_t major = Header::OtherMajorOf(fd, boot_id); major != 0) {
    return fail(Status::Invalid("journal " + path + " has format " + std::to_string(major) + ", this postbus knows " +
                                std::to_string(kMajor) +
                                ": it may say which mails were under way. Start the postbus that wrote it once more, "
                                "end it with SIGTERM, and remove the file"));
  }
  // Reserved now: a store into a hole would be a SIGBUS on a full disk.
  const bool wrong_size = static_cast<size_t>(info.st_size) != bytes;
  if (wrong_size && ftruncate(fd, static_cast<off_t>(bytes)) != 0) return fail(FileError(path, "cannot be resized"));
  if (const int error = posix_fallocate(fd, 0, static_cast<off_t>(bytes)); error != 0) {
    errno = error;
    return fail(FileError(path, "finds no room on the disk"));
  }
  void* mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) return fail(FileError(path, "cannot be mapped"));

  auto* header = static_cast<Header*>(mapped);
  const char* reason = nullptr;
  if (header->magic != kMagic || header->slots != slots || wrong_size) {
    reason = "it is damaged, or was made for another number of slots";
  } else if (header->boot_id != boot_id) {
    reason = "the machine was started anew since then";
  }
  if (reason != nullptr) {
    header->magic = {};  // not valid before all of it is
    std::atomic_signal_fence(std::memory_order_seq_cst);
    std::memset(static_cast<char*>(mapped) + sizeof kMagic, 0, bytes - sizeof kMagic);
    header->major = kMajor;
    header->slots = slots;
    header->boot_id = boot_id;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    header->magic = kMagic;
    if (discarded != nullptr && !is_new) *discarded = reason;
  }
  header->minor = kMinor;
  return std::unique_ptr<Journal>(new Journal(fd, header, bytes, slots));
}

Journal::Journal(int fd, Header* header, size_t bytes, uint32_t slots)
    : fd_(fd),
      header_(header),
      bytes_(bytes),
      count_(slots),
      slots_(reinterpret_cast<JournalSlot*>(reinterpret_cast<char*>(header) + kHeaderBytes)),
      in_use_(slots) {
  // Nobody has them any more: not with this crash, if it was one, and not with a later one.
  const bool crashed = header_->crashed.load() != 0;
  for (JournalSlot& slot : std::span(slots_, count_)) {
    State state;
    if (!ReadState(slot.identity(), slot.state.load(), state) || state.phase != Phase::kHanded) continue;
    if (crashed) slot.CountCrash(state.alone);
    slot.SetPhase(Phase::kBegun);
  }
  header_->crashed.store(0);
  free_.reserve(count_);
  Scan(std::numeric_limits<int64_t>::min());
  AddCrashFlag(&header_->crashed);
}

Journal::~Journal() {
  Detach();
  if (std::find(in_use_.begin(), in_use_.end(), true) == in_use_.end()) munmap(header_, bytes_);
}

void Journal::Detach() {
  const std::lock_guard lock(mutex_);
  if (fd_ < 0) return;
  RemoveCrashFlag(&header_->crashed);
  // A transport that did not end in time may mark yet: memory of nobody takes the file's place.
  mmap(header_, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0);
  close(std::exchange(fd_, -1));  // and with it the lock
}

uint64_t Journal::Fingerprint(std::string_view id, int64_t timestamp, size_t size) {
  uint64_t hash = Mix(static_cast<uint64_t>(timestamp), size);
  while (id.size() >= 8) {
    uint64_t word = 0;
    std::memcpy(&word, id.data(), 8);
    hash = Mix(hash ^ word, 8);
    id.remove_prefix(8);
  }
  uint64_t rest = 0;
  if (!id.empty()) std::memcpy(&rest, id.data(), id.size());
  return Mix(hash ^ rest, id.size());
}

void Journal::Scan(int64_t base) {
  left_.clear();
  free_.clear();
  for (uint32_t index = count_; index-- > 0;) {
    if (in_use_[index]) continue;
    JournalSlot& slot = slots_[index];
    const uint64_t sealed = slot.state.load();
    State state;
    const auto place = static_cast<int64_t>(slot.place.load());
    if (sealed != 0 && place >= base && ReadState(slot.identity(), sealed, state) &&
        left_.emplace(place, index).second) {
      continue;
    }
    if (sealed != 0) slot.state.store(0);
    free_.push_back(index);
  }
}

void Journal::StartOver(int64_t base) {
  const std::lock_guard lock(mutex_);
  Scan(base);
}

bool Journal::Begin(int64_t place, uint64_t fingerprint, TurnMarks& marks, PastTurn& past) {
  past = {};
  const std::lock_guard lock(mutex_);
  if (!left_.empty()) {
    if (const auto found = left_.find(place); found != left_.end()) {
      const uint32_t index = found->second;
      left_.erase(found);
      JournalSlot& slot = slots_[index];
      State state;
      if (slot.fingerprint.load() == fingerprint && ReadState(slot.identity(), slot.state.load(), state)) {
        past.over = state.phase == Phase::kOver;
        past.accepted.bits = slot.Mask(slot.accepted, Word::kAccepted);
        past.in_doubt.bits = slot.Mask(slot.in_doubt, Word::kInDoubt) & ~past.accepted.bits;
        past.crashes = static_cast<int>(state.crashes);
        past.claim_is_ours = slot.Mask(slot.claimed, Word::kClaimed) != 0;
        in_use_[index] = true;
        if (!past.over) slot.SetPhase(Phase::kBegun);
        marks = TurnMarks(&slot);
        return true;
      }
      FreeSlot(index);  // another record's
    }
  }
  if (free_.empty()) return false;
  const uint32_t index = free_.back();
  free_.pop_back();
  in_use_[index] = true;
  JournalSlot& slot = slots_[index];  // its state is 0: nobody reads the words before it is set
  slot.place.store(static_cast<uint64_t>(place), std::memory_order_relaxed);
  slot.fingerprint.store(fingerprint, std::memory_order_relaxed);
  slot.accepted.store(0, std::memory_order_relaxed);
  slot.in_doubt.store(0, std::memory_order_relaxed);
  slot.claimed.store(0, std::memory_order_relaxed);
  slot.state.store(StateOf(slot.identity(), {}), std::memory_order_release);
  marks = TurnMarks(&slot);
  return true;
}

uint32_t Journal::IndexOf(TurnMarks marks) const {
  const auto index = static_cast<uint32_t>(marks.slot() - slots_);
  assert(index < count_);
  return index;
}

void Journal::FreeSlot(uint32_t index) {
  slots_[index].state.store(0, std::memory_order_release);
  free_.push_back(index);
}

void Journal::Over(TurnMarks marks) {
  marks.slot()->SetPhase(Phase::kOver);
  const std::lock_guard lock(mutex_);
  in_use_[IndexOf(marks)] = false;
}

void Journal::Abandon(TurnMarks marks) {
  JournalSlot& slot = *marks.slot();
  const std::lock_guard lock(mutex_);
  const uint32_t index = IndexOf(marks);
  in_use_[index] = false;
  State state;
  ReadState(slot.identity(), slot.state.load(), state);
  const bool tells = state.crashes > 0 || slot.Mask(slot.accepted, Word::kAccepted) != 0 ||
                     slot.Mask(slot.in_doubt, Word::kInDoubt) != 0 || slot.Mask(slot.claimed, Word::kClaimed) != 0;
  if (!tells || !left_.emplace(static_cast<int64_t>(slot.place.load()), index).second) return FreeSlot(index);
  slot.SetPhase(Phase::kBegun);
}

void Journal::Release(TurnMarks marks) {
  const std::lock_guard lock(mutex_);
  const uint32_t index = IndexOf(marks);
  in_use_[index] = false;
  FreeSlot(index);
}

bool Journal::full() const {
  const std::lock_guard lock(mutex_);
  return free_.empty() && left_.empty();  // what is left is freed by records that come again: these must be read
}

std::vector<int64_t> Journal::Left() const {
  const std::lock_guard lock(mutex_);
  std::vector<int64_t> places;
  for (const auto& [place, index] : left_) places.push_back(place);
  return places;
}

void Journal::Forget(int64_t place) {
  const std::lock_guard lock(mutex_);
  const auto found = left_.find(place);
  if (found == left_.end()) return;
  FreeSlot(found->second);
  left_.erase(found);
}

// --- the poison list ---

WorkingOn::WorkingOn(TurnMarks marks) : before_(std::exchange(working_on, marks.slot())) {}
WorkingOn::~WorkingOn() { working_on = before_; }

namespace {

constexpr std::array<int, 5> kFatalSignals = {SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE};
std::array<struct sigaction, NSIG> handlers_before;

// Atomics and system calls only.
void OnFatalSignal(int signal, siginfo_t* info, void*) {
  const bool sent = info->si_code <= 0;
  if (!sent || info->si_pid == getpid()) {
    if (working_on != nullptr) {
      working_on->CountCrash(true);
    } else {
      for (const auto& flag : open_crash_flags) {
        if (std::atomic<uint32_t>* crashed = flag.load()) crashed->store(1);
      }
    }
  }
  // Whoever was there before has its say now: a fault happens again at once, a signal that was sent is sent again.
  sigaction(signal, &handlers_before[static_cast<size_t>(signal)], nullptr);
  if (sent) raise(signal);
}

}  // namespace

void InstallCrashMarks() {
  struct sigaction action {};
  action.sa_sigaction = OnFatalSignal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  for (const int signal : kFatalSignals) {
    struct sigaction before {};
    sigaction(signal, nullptr, &before);
    if (before.sa_sigaction == OnFatalSignal) continue;
    handlers_before[static_cast<size_t>(signal)] = before;
    sigaction(signal, &action, nullptr);
  }
}

void PrepareThreadForCrash() {
  constexpr size_t kStackBytes = 16 * 1024;
  static thread_local std::array<char, kStackBytes> stack;
  stack_t present{};
  if (sigaltstack(nullptr, &present) == 0 && (present.ss_flags & SS_DISABLE) == 0) return;  // a sanitizer's
  stack_t alternative{};
  alternative.ss_sp = stack.data();
  alternative.ss_size = stack.size();
  sigaltstack(&alternative, nullptr);
}

}  // namespace postbus
