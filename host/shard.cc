#include "host/shard.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <chrono>
#include <mutex>
#include <queue>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "event/clock.h"
#include "event/due_clock.h"
#include "event/text.h"
#include "host/a_labels.h"
#include "host/breaker.h"
#include "host/claims.h"
#include "host/job.h"
#include "host/lane.h"
#include "host/recipient_policy.h"
#include "host/redact.h"
#include "host/retry_policy.h"
#include "host/schedule.h"
#include "host/settlement.h"

namespace postbus {
namespace {

constexpr int kNapMs = 1;              // while mails come back: several a wake-up instead of one
constexpr int64_t kBusyMs = 3;         // how long after the last completion it naps
constexpr size_t kWakeAt = 32;         // completions that end a nap
constexpr int kIdleWaitMs = 20;        // the longest sleep; wake-ups of partition queues can get lost
constexpr size_t kAdmitPerRound = 64;  // so that completions are not kept waiting
constexpr size_t kSubmitBatch = 64;
constexpr size_t kReadyAhead = 256;            // composed mails a transport has not taken yet: enough to keep it busy
constexpr size_t kReservedForHigh = 16;        // of so many mails that there is room for, one is for a high one
constexpr int64_t kSendWithinMs = 5 * 60'000;  // to the point of no return
constexpr int64_t kLookForExpiredMs = 1'000;
constexpr int64_t kLookForCancelledMs = 50;

constexpr int kCrashesOfPoison = 2;
constexpr std::string_view kPoison = "poison";
constexpr const char* kPoisonText = "the host died of a fatal signal each time that it had this event";
constexpr int64_t kSuspectLooksMs = 20;  // how often it looks whether it may go

using Clock = std::chrono::steady_clock;

// A deferred copy has a longer retry_count than the event that was accepted at the limit.
EventLimits WithRoomForPatches(EventLimits limits) {
  limits.max_bytes += 64;
  return limits;
}

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

class Shard::Impl {
 public:
  Impl(size_t index, const ShardContext& context)
      : index_(index),
        context_(context),
        capacity_(std::max<size_t>(1, static_cast<size_t>(context.host.max_in_flight) /
                                          static_cast<size_t>(std::max(1, context.host.threads)))),
        jobs_(std::make_unique<Job[]>(capacity_)),
        wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        epoll_fd_(epoll_create1(EPOLL_CLOEXEC)),
        lanes_(capacity_, context_.pauses, context_.metrics),
        decoder_(WithRoomForPatches(context.limits)),
        settlement_(context_.recipient_key, context_.cancellations, context_.metrics, context_.log) {
    free_.reserve(capacity_);
    for (size_t slot = capacity_; slot-- > 0;) {
      jobs_[slot].slot = static_cast<uint32_t>(slot);
      free_.push_back(static_cast<uint32_t>(slot));
    }
    epoll_event event{};
    event.events = EPOLLIN;
    epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, wake_fd_, &event);
  }

  ~Impl() {
    assert(!thread_.joinable());
    close(epoll_fd_);
    close(wake_fd_);
  }

  int wake_fd() const { return wake_fd_; }

  void Start(ShardQueue& queue, std::shared_ptr<const Generation> generation) {
    queue_ = &queue;
    settlement_.Use(queue);
    UseGeneration(std::move(generation));
    round_boot_ms_.store(BootTimeMs(), std::memory_order_release);  // it was made before the queue was opened
    thread_ = std::thread([this] { Run(); });
    pthread_setname_np(thread_.native_handle(), ("shard-" + std::to_string(index_)).c_str());
  }

  void Adopt(std::shared_ptr<const Generation> generation) {
    {
      const std::lock_guard lock(next_mutex_);
      next_generation_ = std::move(generation);
    }
    has_next_generation_.store(true, std::memory_order_release);
    Wake();
  }

  uint64_t generation() const { return generation_number_.load(std::memory_order_acquire); }

  void Drain() {
    draining_.store(true, std::memory_order_release);
    Wake();
  }

  Pulse pulse() const {
    const Busy busy = busy_.load(std::memory_order_acquire);
    const std::lock_guard lock(pulse_mutex_);
    return {.round_boot_ms = round_boot_ms_.load(std::memory_order_acquire),
            .busy_with = busy == Busy::kRendering    ? "renderer"
                         : busy == Busy::kSubmitting ? "transport " + submits_to_
                                                     : "",
            .owe_an_answer = owe_an_answer_};
  }

  bool idle() const { return in_use_.load(std::memory_order_acquire) == 0; }

  void Stop() {
    if (!thread_.joinable()) return;
    stopping_.store(true, std::memory_order_release);
    Wake();
    thread_.join();
    for (size_t slot = 0; slot < capacity_; ++slot) jobs_[slot].generation.reset();
    next_generation_.reset();
    generation_.reset();
  }

  bool MaySend(uint64_t token, int64_t now_boot_ms) {
    Job* job = FindOpen(token);
    if (job == nullptr || job->taken_back.load(std::memory_order_acquire) || !job->queued.permit->Valid(now_boot_ms) ||
        now_boot_ms >= job->outgoing.view.deadline_ms) {
      return false;
    }
    if (context_.cancellations.Contains(job->id)) {
      job->taken_back.store(true, std::memory_order_release);
      return false;
    }
    job->queued.marks.Passed(job->due);  // before the transport hears of it
    return true;
  }

  void OnComplete(uint64_t token, const postbus_result& result) {
    Job* job = FindOpen(token);
    uint64_t expected = token;
    // Whoever closes the token owns the job's result until it is in `done_`: a second completion finds it closed.
    if (job == nullptr || !job->open_token.compare_exchange_strong(expected, 0, std::memory_order_acq_rel)) {
      duplicate_completions_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    job->result.Assign(result, static_cast<uint32_t>(job->recipients.size()));
    MarkAnswer(*job);
    bool enough = false;
    {
      const std::lock_guard lock(done_mutex_);
      done_.push_back(job->slot);
      enough = done_.size() == wake_at_;
    }
    if (enough) Wake();
  }

  void Wake() {
    const uint64_t one = 1;
    [[maybe_unused]] const auto written = write(wake_fd_, &one, sizeof one);
  }

 private:
  // Whom the watchdog calls stuck should it take too long.
  enum class Busy : uint8_t { kWithItself, kRendering, kSubmitting };

  Job* FindOpen(uint64_t token) {
    const size_t slot = static_cast<size_t>(token >> 32 & 0xFFFFFF);
    if (token == 0 || slot >= capacity_) return nullptr;
    Job& job = jobs_[slot];
    return job.open_token.load(std::memory_order_acquire) == token ? &job : nullptr;
  }

  // From here on the death of the process makes none of the accepted ones go again.
  void MarkAnswer(const Job& job) {
    RecipientSet accepted;
    RecipientSet in_doubt;
    for (uint32_t i = 0; i < job.indexes.size(); ++i) {
      const int32_t outcome = job.OutcomeOf(i).outcome;
      if (outcome == POSTBUS_ACCEPTED) accepted.insert(job.indexes[i]);
      if (outcome == POSTBUS_IN_DOUBT) in_doubt.insert(job.indexes[i]);
    }
    job.queued.marks.Answered(job.due, accepted, in_doubt);
  }

  uint64_t NextToken(Job& job) {
    ++job.times_submitted;
    return static_cast<uint64_t>(index_) << 56 | static_cast<uint64_t>(job.slot) << 32 | job.times_submitted;
  }

  // --- the loop ---

  void Run() {
    PrepareThreadForCrash();
    while (!stopping_.load(std::memory_order_acquire)) {
      if (!Round()) Sleep();
    }
  }

  // True: there is more to do at once.
  bool Round() {
    const LogBatch batch(context_.log);
    now_boot_ms_ = BootTimeMs();
    round_boot_ms_.store(now_boot_ms_, std::memory_order_release);
    if (has_next_generation_.load(std::memory_order_acquire)) TakeGeneration();
    TakeCompletions();
    TakeRevocations();
    if (at_most_once_) TakeClaims();
    ReleaseWaiting();
    for (const auto& lane : lanes_) {
      LeaveOpenLane(*lane);
      ReleaseHeld(*lane);
    }
    EndWhatWaitsInVain();
    EndLongQuarantine();
    EndCancelled();
    bool more = false;
    if (draining_.load(std::memory_order_acquire)) {
      HandBackAllUnsubmitted();
    } else {
      more = Admit();
    }
    for (const auto& lane : lanes_) more |= Submit(*lane);
    queue_->Flush();
    ReportGauges();
    return more;
  }

  // Each wake-up costs a switch of threads, more than a mail does. So while mails come back the shard naps for a moment
  // and takes what has come; transports have enough to go on with. When nothing came for a while the first one wakes
  // it.
  void Sleep() {
    const bool naps = now_boot_ms_ - last_completion_boot_ms_ <= kBusyMs;
    int timeout_ms = naps ? std::min(kNapMs, UntilNextTimer()) : UntilNextTimer();
    {
      const std::lock_guard lock(done_mutex_);
      wake_at_ = naps ? kWakeAt : 1;
      if (done_.size() >= wake_at_) timeout_ms = 0;
    }
    epoll_event event{};
    if (epoll_wait(epoll_fd_, &event, 1, timeout_ms) > 0) {
      uint64_t count = 0;
      [[maybe_unused]] const auto size = read(wake_fd_, &count, sizeof count);
    }
  }

  int UntilNextTimer() const {
    int64_t next = now_boot_ms_ + kIdleWaitMs;
    if (!waiting_.empty()) next = std::min(next, waiting_.top().first);
    for (const auto& lane : lanes_) {
      next = std::min(next, lane->held.look_at_ms());
      const bool may_go = !lane->full && lane->Takes(now_boot_ms_) && !context_.quarantine.is_held();
      if (lane->limiter->active() && !ToSubmit(*lane).empty() && may_go) {
        next = std::min(next, lane->limiter->FreeAtMs());
      }
    }
    return static_cast<int>(std::max<int64_t>(0, next - now_boot_ms_));
  }

  void ReportGauges() {
    if (now_boot_ms_ < gauges_due_boot_ms_) return;
    gauges_due_boot_ms_ = now_boot_ms_ + 100;
    lanes_.EndRetired();
    for (const auto& lane : lanes_) {
      lane->share.Refresh(now_boot_ms_);
      lane->limiter->Refresh(queue_->GroupShare(), now_boot_ms_);
      lane->counters.SetRateLimit(lane->limiter->per_second());
      LookAtPause(*lane);
    }
    FindOwedAnswers();
    context_.metrics.SetInFlight(index_, static_cast<double>(in_use_.load(std::memory_order_relaxed)));
    if (const uint64_t count = duplicate_completions_.exchange(0, std::memory_order_relaxed); count != 0) {
      for (uint64_t i = 0; i < count; ++i) lanes_[0].counters.CountDuplicateCompletion();
      context_.log.Write(LogLevel::kError, "a transport completed an attempt twice; ignored (defect of the plugin)");
    }
  }

  // Told by the first shard alone.
  void LookAtPause(Lane& lane) {
    const bool paused = lane.pause->Holds(UnixTimeMs());
    if (index_ != 0 || std::exchange(lane.paused, paused) == paused) return;
    lane.counters.SetPaused(paused);
    LogLine line(context_.log, LogLevel::kWarning,
                 paused ? "transport is paused; its mails go by the next of their route or wait"
                        : "transport is not paused any more");
    line.Add("via", lane.transport->name());
    if (paused && lane.pause->until_unix_ms() != Pauses::kNoEnd) {
      line.Add("until", FormatRfc3339(lane.pause->until_unix_ms()));
    }
  }

  // Transports that keep a mail for longer than any may take.
  void FindOwedAnswers() {
    if (now_boot_ms_ < owed_answers_due_boot_ms_) return;
    const int64_t owes_after_ms = context_.host.watchdog.owes_answer_ms;
    owed_answers_due_boot_ms_ = now_boot_ms_ + std::min<int64_t>(owes_after_ms / 4, 5'000);
    for (const auto& lane : lanes_) lane->owes_an_answer = false;
    const auto latest = Clock::now() - std::chrono::milliseconds(owes_after_ms);
    for (size_t slot = 0; slot < capacity_; ++slot) {
      const Job& job = jobs_[slot];
      if (job.place == Job::Place::kSubmitted && job.submitted_at < latest) job.lane->owes_an_answer = true;
    }
    std::vector<std::string> owing;
    for (const auto& lane : lanes_) {
      if (lane->owes_an_answer) owing.push_back("transport " + lane->transport->name());
    }
    const std::lock_guard lock(pulse_mutex_);
    owe_an_answer_ = std::move(owing);
  }

  // --- generations of the configuration ---

  void TakeGeneration() {
    std::shared_ptr<const Generation> next;
    {
      const std::lock_guard lock(next_mutex_);
      has_next_generation_.store(false, std::memory_order_relaxed);
      next = std::move(next_generation_);
    }
    UseGeneration(std::move(next));
  }

  // From now on mails go by `next`. What no transport has yet is planned again; what one has comes back from it.
  void UseGeneration(std::shared_ptr<const Generation> next) {
    moving_.clear();
    for (size_t slot = 0; slot < capacity_; ++slot) {
      const Job::Place place = jobs_[slot].place;
      if (place == Job::Place::kReady || place == Job::Place::kHeld || place == Job::Place::kWaiting) {
        moving_.push_back(static_cast<uint32_t>(slot));
        TakeBackClaim(jobs_[slot]);
        LeaveLane(jobs_[slot]);
      }
    }
    waiting_ = {};
    lanes_.Use(*next);
    generation_ = std::move(next);
    at_most_once_ = generation_->config.retry.in_doubt == WhenInDoubt::kDeadLetter;
    generation_number_.store(generation_->number, std::memory_order_release);
    for (const uint32_t slot : moving_) PlanAgain(jobs_[slot]);
  }

  // --- taking events in ---

  // True: it stopped for the others' sake, there may be more.
  bool Admit() {
    size_t admitted = 0;
    while (admitted < kAdmitPerRound && !free_.empty() && !lanes_.AnyIsUndecided()) {
      const size_t ready = lanes_.ReadyAhead(now_boot_ms_);
      if (ready >= kReadyAhead + kReadyAhead / kReservedForHigh) break;
      const bool is_for_high = ready >= kReadyAhead || free_.size() <= capacity_ / kReservedForHigh;
      Job& job = jobs_[free_.back()];
      if (!queue_->Next(job.queued, is_for_high ? ShardQueue::Which::kHighOnly : ShardQueue::Which::kAny)) break;
      free_.pop_back();
      in_use_.fetch_add(1, std::memory_order_release);
      context_.metrics.CountConsumed(job.queued.priority);
      Begin(job);
      ++admitted;
    }
    return admitted == kAdmitPerRound;
  }

  void Begin(Job& job) {
    const auto start = Clock::now();
    job.touched = false;
    job.revoked = false;
    job.failed_over = false;
    job.waits = 0;
    job.taken_back.store(false, std::memory_order_relaxed);
    job.due = job.queued.headers.recipients;
    job.id = job.queued.headers.id;
    // It is not even looked at; unless a server took it for somebody: so far it can be read, and that is to be told.
    if (IsPoison(job) && (job.queued.past.accepted.empty() || job.queued.past.crashes > kCrashesOfPoison)) {
      if (job.id.empty()) job.id = job.queued.headers.origin.DerivedId();
      job.event.Clear();
      return FailEvent(job, kPoison, kPoisonText);
    }
    if (!Plan(job)) return;
    context_.metrics.ObserveRender(SecondsSince(start));
    context_.metrics.ObserveQueueAge(static_cast<double>(job.AgeMs(DueTimeMs())) / 1000);
    MakeReady(job);
  }

  static bool IsPoison(const Job& job) { return job.queued.past.crashes >= kCrashesOfPoison; }

  // The configuration has changed while the job was with no transport.
  void PlanAgain(Job& job) {
    if (Plan(job)) MakeReady(job);
  }

  // Decodes, admits, routes and prepares those recipients that are still due; false: the turn is over.
  bool Plan(Job& job) {
    const WorkingOn working(job.queued.marks);
    job.generation = generation_;
    const auto fail = [&](const std::string& message) {
      FailEvent(job, "invalid_event", message);
      return false;
    };
    if (!decoder_.Decode(job.queued.value, Strictness::kQueue, job.event)) {
      if (job.id.empty()) job.id = job.queued.headers.origin.DerivedId();
      job.event.Clear();  // half an event says nothing of its recipients
      return fail(ViolationText());
    }
    if (job.id.empty()) job.id = job.event.id.empty() ? job.queued.headers.origin.DerivedId() : job.event.id;
    const RecipientSet all = RecipientSet::All(job.event.recipient_count());
    if (job.due.empty()) job.due = all;
    if ((job.due.bits & ~all.bits) != 0) {
      return fail("header postbus-rcpt names a recipient the event does not have");
    }
    if (job.event.from.address.empty()) {
      if (!generation_->default_from) return fail("/from: absent, and the configuration has no defaults.from");
      job.event.from = *generation_->default_from;
    }
    if (!SettlePast(job) || !CheckCancelled(job) || !CheckSchedule(job) || ForwardIfLow(job) || !CheckRecipients(job)) {
      return false;
    }
    generation_->router.Choose(job.event, job.order);
    WriteDomainsInAscii(job.event);  // behind what compares addresses with the configuration's
    job.lane = PickLane(job);
    if (job.lane->share.IsStuffed(job.event.priority)) {
      PutOff(job, job.lane->share.PutOffUntil(job.lane->limiter->per_second(), now_boot_ms_));
      return false;
    }
    return Prepare(job);
  }

  // Settles what is known of an earlier turn that died with its process; false: nobody is left, the turn is over.
  bool SettlePast(Job& job) {
    settlement_.SettlePast(job);
    if (job.due.empty()) {
      EndTurn(job);
      return false;
    }
    if (!IsPoison(job)) return true;
    FailEvent(job, kPoison, kPoisonText);
    return false;
  }

  bool CheckCancelled(Job& job) {
    if (!context_.cancellations.Contains(job.id)) return true;
    EndWithoutMail(job, Change::kCancelled);
    return false;
  }

  // Is it to be sent now? False: it is not, the turn is over.
  bool CheckSchedule(Job& job) {
    const EmailEvent& event = job.event;
    const int64_t now = DueTimeMs();
    switch (WhenToSend(event, job.queued.headers.due_unix_ms, now)) {
      case SendTime::kNow:
        return true;
      case SendTime::kNever:
        EndWithoutMail(job, Change::kExpired);
        return false;
      case SendTime::kTooFarAhead: {
        const Violation violation = *ScheduleViolation(event, now);
        FailEvent(job, "invalid_event", violation.pointer + ": " + violation.detail);
        return false;
      }
      case SendTime::kLater:
        break;
    }
    settlement_.Schedule(job);
    EndTurn(job);
    return false;
  }

  // A low event among the normal ones, where foreign producers write all of theirs, goes on to wait with the low ones.
  // True: it does, the turn is over.
  bool ForwardIfLow(Job& job) {
    const bool misplaced = job.event.priority == Priority::kLow && job.queued.priority == Priority::kNormal;
    if (!misplaced || job.touched || !queue_->Forward(job.queued.turn, Priority::kLow, job.queued.value)) return false;
    context_.metrics.CountForwarded();
    Free(job);
    return true;
  }

  // Dead-letters those recipients that must not get mail; false: nobody is left, the turn is over.
  bool CheckRecipients(Job& job) {
    const RecipientPolicy& policy = generation_->recipients;
    if (policy.redirect_to() != nullptr) {
      AddOriginalRecipients(job.event);
      return true;
    }
    RecipientSet refused;
    for (size_t i = 0; i < job.event.recipient_count(); ++i) {
      if (job.due.contains(i) && !policy.Allows(job.event.recipient(i).address)) refused.insert(i);
    }
    if (refused.empty()) return true;
    settlement_.Fail(job, refused, "recipient_not_allowed",
                     "recipients.allow of the configuration has no such address");
    job.due.bits &= ~refused.bits;
    job.touched = true;
    if (!job.due.empty()) return true;
    EndTurn(job);
    return false;
  }

  // Says in the mail whom it was for; not who was in bcc.
  void AddOriginalRecipients(EmailEvent& event) {
    NamedText header{"X-Postbus-Original-To", ""};
    for (size_t i = 0; i < event.to.size() + event.cc.size(); ++i) {
      if (i > 0) header.value += ", ";
      header.value += event.recipient(i).address;
    }
    event.headers.push_back(std::move(header));
  }

  // The first of the route that takes mails; if none does, the first of all: it waits there.
  Lane* PickLane(Job& job) {
    const auto takes = [&](uint32_t index) { return lanes_[index].Takes(now_boot_ms_); };
    const auto found = std::find_if(job.order.begin(), job.order.end(), takes);
    Lane* const first = &lanes_[job.order.front()];
    if (found == job.order.end() || found == job.order.begin()) return first;
    if (!std::exchange(job.failed_over, true)) first->counters.CountFailover();
    return &lanes_[*found];
  }

  // Makes a mail that is with no transport ready for the one that takes it now.
  void MakeReadyAgain(Job& job) {
    Lane* const lane = PickLane(job);
    if (lane != job.lane) {
      TakeBackClaim(job);
      job.lane = lane;
      if (!Prepare(job)) return;
    }
    MakeReady(job);
  }

  // Moves what is ready for a transport whose breaker is not closed to another one of its route.
  void LeaveOpenLane(Lane& lane) {
    const bool empty = lane.ready.empty() && lane.claimed.empty();
    if (empty || (lane.breaker.state() == Breaker::State::kClosed && lane.Takes(now_boot_ms_))) return;
    moving_.clear();
    lane.ready.Drain([this](uint32_t slot) { moving_.push_back(slot); });
    if (!lane.Takes(now_boot_ms_)) {
      lane.claimed.Drain([this](uint32_t slot) {
        TakeBackClaim(jobs_[slot]);
        moving_.push_back(slot);
      });
    }
    for (const uint32_t slot : moving_) MakeReadyAgain(jobs_[slot]);
  }

  // Makes the mail; false: the event was dead-lettered.
  bool Prepare(Job& job) {
    const WorkingOn working(job.queued.marks);
    busy_.store(Busy::kRendering, std::memory_order_release);
    const auto fault =
        mail_maker_.Make(job.queued, job.event, job.id, *job.generation, *job.lane->transport, job.outgoing);
    busy_.store(Busy::kWithItself, std::memory_order_release);
    if (fault) FailEvent(job, fault->reason, fault->message);
    return !fault;
  }

  std::string ViolationText() const {
    std::string text;
    for (const Violation& violation : decoder_.violations()) {
      if (!text.empty()) text += "; ";
      text += violation.pointer;
      text += ": ";
      text += violation.detail;
    }
    return Redacted(text);
  }

  // --- submitting ---

  void MakeReady(Job& job) {
    EnterLane(job);
    if (job.lane->limiter->limits_domains() && !PassDomains(job)) return LeaveQuarantine(job);
    if (job.queued.past.crashes > 0) return SubmitSuspect(job);
    job.place = Job::Place::kReady;
    job.lane->ready.Push(job.slot, job.event.priority);
  }

  // What may have killed the process goes to its transport as soon as no mail is with any; until then it waits, and
  // does not hold others back while its own transport takes none.
  void SubmitSuspect(Job& job) {
    job.place = Job::Place::kWaiting;
    job.ready_at_boot_ms = now_boot_ms_ + kSuspectLooksMs;
    waiting_.emplace(job.ready_at_boot_ms, job.slot);
    Lane& lane = *job.lane;
    if (draining_.load(std::memory_order_acquire) || !lane.Takes(now_boot_ms_)) return LeaveQuarantine(job);
    if (at_most_once_ && job.claim != ClaimState::kDurable) {
      if (job.claim == ClaimState::kNone) AskClaim(lane, job);
      return;
    }
    if (suspect_ == nullptr && context_.quarantine.Hold(this)) {
      suspect_ = &job;
      suspect_since_boot_ms_ = now_boot_ms_;
    }
    if (suspect_ != &job) return;
    const bool alone = context_.quarantine.nobody_is_out();
    if (!alone && now_boot_ms_ - suspect_since_boot_ms_ < Quarantine::kWaitMs) return;
    if (lane.limiter->active() && lane.limiter->Take(1, now_boot_ms_) == 0) return LeaveQuarantine(job);
    context_.quarantine.OfferSuspect();
    suspect_since_boot_ms_ = now_boot_ms_;
    const bool taken = Offer(lane, {&job.slot, 1}, alone) == 1;
    if (!taken) {
      context_.quarantine.Back(1);
      job.place = Job::Place::kWaiting;
    }
    if (!taken || !alone) LeaveQuarantine(job);
  }

  // The others need not wait for it any longer.
  void LeaveQuarantine(Job& job) {
    if (suspect_ != &job) return;
    context_.quarantine.Release(this);
    suspect_ = nullptr;
  }

  // A suspect whose transport takes its time: the others go on beside it.
  void EndLongQuarantine() {
    if (suspect_ == nullptr || suspect_->place != Job::Place::kSubmitted ||
        now_boot_ms_ - suspect_since_boot_ms_ < Quarantine::kAloneMs) {
      return;
    }
    suspect_->queued.marks.Handed();
    LeaveQuarantine(*suspect_);
  }

  void EnterLane(Job& job) {
    if (job.in_lane == job.lane) return;
    LeaveLane(job);
    job.in_lane = job.lane;
    job.in_lane->share.Enter();
  }

  void LeaveLane(Job& job) {
    if (job.in_lane != nullptr) job.in_lane->share.Leave();
    job.in_lane = nullptr;
    job.domains_passed = 0;
  }

  // Takes a slot for each domain among the recipients; false: it waits for one, or was put off.
  bool PassDomains(Job& job) {
    Lane& lane = *job.lane;
    for (; job.domains_passed < job.event.recipient_count(); ++job.domains_passed) {
      if (!job.due.contains(job.domains_passed) || IsAnotherOfItsDomain(job)) continue;
      domain_ = job.event.recipient(job.domains_passed).domain();
      std::transform(domain_.begin(), domain_.end(), domain_.begin(), ToLower);
      const RateLimiter::DomainSlot slot = lane.limiter->TakeForDomain(domain_, now_boot_ms_);
      if (slot.taken) continue;
      const int64_t longest_ms = lane.held.size() >= capacity_ / 2 ? 0 : kLongestWaitMs;
      const int64_t come_again_ms =
          lane.held.Hold(domain_, slot, job.slot, job.event.priority, longest_ms, now_boot_ms_);
      if (come_again_ms == 0) {
        job.place = Job::Place::kHeld;
      } else {
        PutOff(job, come_again_ms);
      }
      return false;
    }
    return true;
  }

  bool IsAnotherOfItsDomain(const Job& job) const {
    const std::string_view domain = job.event.recipient(job.domains_passed).domain();
    for (size_t i = 0; i < job.domains_passed; ++i) {
      const std::string_view other = job.event.recipient(i).domain();
      if (job.due.contains(i) && EqualIgnoringCase(other, domain)) return true;
    }
    return false;
  }

  void ReleaseHeld(Lane& lane) {
    lane.held.Release(
        now_boot_ms_, [&](std::string_view domain) { return lane.limiter->TakeForDomain(domain, now_boot_ms_); },
        [&](uint32_t slot) {
          Job& job = jobs_[slot];
          ++job.domains_passed;
          MakeReady(job);
        });
  }

  // Its transport has no slot for it for long: it comes again when there is one, and costs no attempt.
  void PutOff(Job& job, int64_t until_boot_ms) {
    settlement_.PutOff(job, job.lane->transport->name(), std::max<int64_t>(0, until_boot_ms - now_boot_ms_));
    EndTurn(job);
  }

  void ReleaseWaiting() {
    while (!waiting_.empty() && waiting_.top().first <= now_boot_ms_) {
      Job& job = jobs_[waiting_.top().second];
      const int64_t due = waiting_.top().first;
      waiting_.pop();
      // A job that was handed back in the meantime left its timer behind.
      if (job.place == Job::Place::kWaiting && job.ready_at_boot_ms == due) MakeReadyAgain(job);
    }
  }

  // What waits for a transport that takes nothing, or for a slot, may expire there.
  void EndWhatWaitsInVain() {
    if (now_boot_ms_ < look_for_expired_at_boot_ms_) return;
    look_for_expired_at_boot_ms_ = now_boot_ms_ + kLookForExpiredMs;
    const int64_t now_due_ms = DueTimeMs();
    for (size_t slot = 0; slot < capacity_; ++slot) {
      Job& job = jobs_[slot];
      const bool waits = job.place == Job::Place::kReady || job.place == Job::Place::kHeld ||
                         (job.place == Job::Place::kWaiting && job.queued.past.crashes > 0);
      if (!waits || ExpiresInMs(job.event, now_due_ms) > 0) continue;
      LeaveQueue(job);
      EndWithoutMail(job, Change::kExpired);
    }
  }

  // Once there are new cancellations: what waits here ends, what a transport has it is asked to give back.
  void EndCancelled() {
    const uint64_t added = context_.cancellations.added();
    if (added == cancellations_seen_ || now_boot_ms_ < look_for_cancelled_at_boot_ms_) return;
    cancellations_seen_ = added;
    look_for_cancelled_at_boot_ms_ = now_boot_ms_ + kLookForCancelledMs;
    for (size_t slot = 0; slot < capacity_; ++slot) {
      Job& job = jobs_[slot];
      if (job.place == Job::Place::kFree || !context_.cancellations.Contains(job.id)) continue;
      if (job.place == Job::Place::kSubmitted) {
        TakeBack(job);
      } else {
        LeaveQueue(job);
        EndWithoutMail(job, Change::kCancelled);
      }
    }
  }

  // --- at most once ---

  // What may go to the lane's transport now.
  ReadyQueue& ToSubmit(Lane& lane) const { return at_most_once_ ? lane.claimed : lane.ready; }

  // Asks for the claims of what the transport will take next.
  void ClaimAhead(Lane& lane) {
    if (!lane.Takes(now_boot_ms_)) return;
    const bool is_tried = lane.breaker.state() != Breaker::State::kClosed;
    const size_t most = Claims::MostAhead(is_tried, lane.limiter->active() ? lane.limiter->per_second() : 0);
    const auto ahead = [&lane] { return lane.claimed.size() + lane.claims_asked; };
    const auto all = [&] { return lane.with_transport + ahead(); };
    while (!lane.ready.empty() && ahead() < most && all() < Claims::kMost) ClaimNext(lane, lane.ready.Pop());
    if (is_tried) return;
    while (lane.ready.size(Priority::kHigh) > 0 && ahead() < most + Claims::kMoreForHigh &&
           all() < Claims::kMost + Claims::kMoreForHigh) {
      ClaimNext(lane, lane.ready.Pop(Priority::kHigh));
    }
  }

  void ClaimNext(Lane& lane, uint32_t slot) {
    Job& job = jobs_[slot];
    if (job.claim == ClaimState::kDurable) return lane.claimed.Push(slot, job.event.priority);
    AskClaim(lane, job);
  }

  void AskClaim(Lane& lane, Job& job) {
    job.claim = ClaimState::kAsked;
    ++lane.claims_asked;
    claims_.Ask(*queue_, job.queued.turn, job.slot);
  }

  void TakeClaims() {
    moving_.clear();
    claims_.Take(*queue_, moving_);
    for (const uint32_t slot : moving_) {
      Job& job = jobs_[slot];
      job.claim = ClaimState::kDurable;
      --job.lane->claims_asked;
      if (job.place == Job::Place::kReady)
        job.lane->claimed.Push(slot, job.event.priority);  // a suspect waits by itself
    }
  }

  void StopAsking(Job& job) {
    if (job.claim != ClaimState::kAsked) return;
    claims_.Forget(job.queued.turn);
    --job.lane->claims_asked;
    job.claim = ClaimState::kNone;
  }

  // No transport has the mail, and it may be long until one has. Where some of its recipients are settled, the claim
  // stays: it keeps the event from going to them once more.
  void TakeBackClaim(Job& job) {
    if (job.claim == ClaimState::kNone) return;
    StopAsking(job);
    if (job.touched) return;
    queue_->Unclaim(job.queued.turn);
    job.claim = ClaimState::kNone;
  }

  // True: the transport may take more at once.
  bool Submit(Lane& lane) {
    if (lane.instance->TakeWritable(index_)) lane.full = lane.full_for_high = false;
    if (at_most_once_) ClaimAhead(lane);
    ReadyQueue& ready = ToSubmit(lane);
    if (ready.empty()) return false;
    size_t wanted = std::min(kSubmitBatch, ready.size());
    // A transport keeps some room for high ones.
    if (lane.full) wanted = lane.full_for_high ? 0 : std::min(wanted, ready.size(Priority::kHigh));
    const bool probes = lane.breaker.state() != Breaker::State::kClosed;
    if (probes) wanted = std::min<size_t>(wanted, 1);
    if (!lane.Takes(now_boot_ms_)) wanted = 0;
    if (wanted == 0) return false;
    const bool limited = lane.limiter->active();
    if (limited && lane.limiter->FreeAtMs() > now_boot_ms_) return false;
    const size_t offer = limited ? lane.limiter->Take(wanted, now_boot_ms_) : wanted;
    if (offer == 0) return false;

    if (!context_.quarantine.Offer(static_cast<int64_t>(offer))) {
      if (limited) lane.limiter->GiveBack(offer);
      return false;
    }
    uint32_t slots[kSubmitBatch];
    PopBatch(lane, ready, std::span(slots, offer));
    const size_t taken = Offer(lane, std::span(slots, offer), /*alone=*/false);
    for (size_t i = offer; i-- > taken;) ready.PushFront(slots[i], jobs_[slots[i]].event.priority);
    if (taken < offer) {
      context_.quarantine.Back(static_cast<int64_t>(offer - taken));
      lane.full_for_high = jobs_[slots[taken]].event.priority == Priority::kHigh;
    }
    return !lane.full && !probes && offer == wanted && !ready.empty();
  }

  // Gives the transport as many as it takes, and returns the number; the others are ready again. `alone`: no other mail
  // is with any transport.
  size_t Offer(Lane& lane, std::span<const uint32_t> slots, bool alone) {
    const postbus_mail* batch[kSubmitBatch];
    const auto now = Clock::now();
    const int64_t now_due_ms = DueTimeMs();
    for (size_t i = 0; i < slots.size(); ++i) {
      Job& job = jobs_[slots[i]];
      job.FillEnvelope();
      job.outgoing.view.deadline_ms = now_boot_ms_ + std::min(kSendWithinMs, ExpiresInMs(job.event, now_due_ms));
      job.outgoing.view.token = NextToken(job);
      job.submitted_at = now;
      job.domains_passed = 0;  // the next attempt takes slots of its own
      job.place = Job::Place::kSubmitted;
      batch[i] = &job.outgoing.view;
      job.queued.marks.Handed(alone);
      job.open_token.store(job.outgoing.view.token, std::memory_order_release);
    }
    const size_t taken = CallSubmit(lane, std::span(batch, slots.size()));
    lane.with_transport += taken;
    for (size_t i = taken; i < slots.size(); ++i) {
      Job& job = jobs_[slots[i]];
      job.open_token.store(0, std::memory_order_release);
      job.queued.marks.TakenBack();
      job.place = Job::Place::kReady;
      job.domains_passed = job.event.recipient_count();
    }
    if (taken < slots.size()) {
      lane.full = true;
      if (lane.limiter->active()) lane.limiter->GiveBack(slots.size() - taken);
    }
    if (taken > 0 && lane.breaker.state() != Breaker::State::kClosed) lane.breaker.BeginProbe();
    return taken;
  }

  size_t CallSubmit(const Lane& lane, std::span<const postbus_mail* const> batch) {
    {
      const std::lock_guard lock(pulse_mutex_);
      submits_to_ = lane.transport->name();
    }
    busy_.store(Busy::kSubmitting, std::memory_order_release);
    const size_t taken = lane.transport->Submit(batch);
    busy_.store(Busy::kWithItself, std::memory_order_release);
    return taken;
  }

  // High ones first: a transport takes the first so many of a batch.
  void PopBatch(const Lane& lane, ReadyQueue& ready, std::span<uint32_t> slots) {
    if (lane.full) {
      for (uint32_t& slot : slots) slot = ready.Pop(Priority::kHigh);
      return;
    }
    const bool mixed = ready.size(Priority::kHigh) > 0;
    for (uint32_t& slot : slots) slot = ready.Pop();
    if (!mixed) return;
    std::sort(slots.begin(), slots.end(),
              [this](uint32_t a, uint32_t b) { return jobs_[a].event.priority < jobs_[b].event.priority; });
  }

  // --- what came back ---

  void TakeCompletions() {
    {
      const std::lock_guard lock(done_mutex_);
      done_.swap(taken_);
    }
    for (const uint32_t slot : taken_) Settle(jobs_[slot]);
    if (!taken_.empty()) last_completion_boot_ms_ = now_boot_ms_;
    taken_.clear();
  }

  void Settle(Job& job) {
    Lane& lane = *job.lane;
    --lane.with_transport;
    job.queued.marks.TakenBack();
    context_.quarantine.Back(1);
    LeaveQuarantine(job);
    context_.metrics.ObserveSend(SecondsSince(job.submitted_at));
    NoteHealth(job, lane);
    lane.limiter->Note(job.result.of(0).outcome, job.result.retry_after_ms(), now_boot_ms_);
    lane.share.CountCompletion();
    const int64_t wait_ms = settlement_.SettleAttempt(job, lane.transport->name(), lane.counters);
    if (job.due.empty()) return EndTurn(job);
    if (job.revoked || draining_.load(std::memory_order_acquire)) return HandBack(job);
    TakeBackClaim(job);
    if (job.generation != generation_) return PlanAgain(job);
    // The provider is at fault and another one of the route is not: there at once.
    if (lane.breaker.state() == Breaker::State::kOpen && PickLane(job) != job.lane) return MakeReadyAgain(job);
    ++job.waits;
    job.place = Job::Place::kWaiting;
    job.ready_at_boot_ms = now_boot_ms_ + wait_ms;
    waiting_.emplace(job.ready_at_boot_ms, job.slot);
  }

  void NoteHealth(const Job& job, Lane& lane) {
    const RecipientOutcome& outcome = job.result.of(0);
    // Taken back by us, not permitted, or too late: says nothing of the provider.
    if (outcome.outcome == POSTBUS_NOT_SENT &&
        (job.taken_back.load(std::memory_order_relaxed) || !job.queued.permit->Valid(now_boot_ms_) ||
         ExpiresInMs(job.event, DueTimeMs()) <= 0)) {
      return lane.breaker.EndProbe(now_boot_ms_);
    }
    if (!lane.breaker.Note(outcome.outcome, job.waits == 0, now_boot_ms_)) return;
    const bool open = lane.breaker.state() == Breaker::State::kOpen;
    lane.counters.CountBreaker(open);
    if (!open) {
      LogLine(context_.log, LogLevel::kInfo, "transport works again").Add("via", lane.transport->name());
      return;
    }
    LogLine(context_.log, LogLevel::kWarning,
            "transport fails for every mail; they go by the next of their route or wait, no attempt is spent")
        .Add("via", lane.transport->name())
        .Seconds("for", lane.breaker.probe_at_ms() - now_boot_ms_)
        .Reply(outcome.code, outcome.EnhancedText(), outcome.text);
  }

  // --- ending turns ---

  // The event itself is at fault: dead-letters everything that is due.
  void FailEvent(Job& job, std::string_view reason, const std::string& message) {
    settlement_.Fail(job, job.due, reason, message);
    EndTurn(job);
  }

  // Ends the turn of what no transport has, and none will get.
  void EndWithoutMail(Job& job, Change change) {
    settlement_.EndWithoutMail(job, change);
    EndTurn(job);
  }

  void EndTurn(Job& job) {
    queue_->Complete(job.queued.turn);
    Free(job);
  }

  // Gives the event back for another host or a later start. REQUIRES: no transport has it.
  void HandBack(Job& job) {
    if (!job.touched) {
      queue_->Abandon(job.queued.turn);
      return Free(job);
    }
    // Some recipients are settled: only the others come again.
    settlement_.HandBackRest(job);
    EndTurn(job);
  }

  void HandBackAllUnsubmitted() {
    for (const auto& lane : lanes_) lane->DrainQueues([this](uint32_t slot) { HandBack(jobs_[slot]); });
    moving_.clear();
    claims_.AppendWaiting(moving_);
    for (const uint32_t slot : moving_) HandBack(jobs_[slot]);
    for (size_t slot = 0; !waiting_.empty() && slot < capacity_; ++slot) {
      if (jobs_[slot].place == Job::Place::kWaiting) HandBack(jobs_[slot]);
    }
    waiting_ = {};
  }

  void TakeRevocations() {
    revoked_.clear();
    queue_->TakeRevoked(revoked_);
    if (revoked_.empty()) return;
    for (size_t slot = 0; slot < capacity_; ++slot) {
      Job& job = jobs_[slot];
      if (job.place == Job::Place::kFree ||
          std::find(revoked_.begin(), revoked_.end(), job.queued.turn) == revoked_.end()) {
        continue;
      }
      job.revoked = true;
      if (job.place == Job::Place::kSubmitted) {
        TakeBack(job);
        continue;
      }
      LeaveQueue(job);
      HandBack(job);
    }
  }

  // From its transport, unless it has passed its point of no return. REQUIRES: a transport has it.
  static void TakeBack(Job& job) {
    job.taken_back.store(true, std::memory_order_release);
    const uint64_t token = job.open_token.load(std::memory_order_acquire);
    if (token != 0) job.lane->transport->Cancel(std::span(&token, 1));
  }

  // It waits in its lane no longer, if it did.
  static void LeaveQueue(Job& job) {
    if (job.place == Job::Place::kReady && !job.lane->ready.Erase(job.slot, job.event.priority)) {
      job.lane->claimed.Erase(job.slot, job.event.priority);
    }
    if (job.place == Job::Place::kHeld) job.lane->held.Erase(job.slot, job.event.priority);
  }

  void Free(Job& job) {
    StopAsking(job);
    job.claim = ClaimState::kNone;
    job.place = Job::Place::kFree;
    LeaveQuarantine(job);
    job.generation.reset();
    LeaveLane(job);
    job.Trim();
    free_.push_back(job.slot);
    in_use_.fetch_sub(1, std::memory_order_release);
  }

  const size_t index_;
  const ShardContext context_;
  const size_t capacity_;
  const std::unique_ptr<Job[]> jobs_;
  const int wake_fd_;
  const int epoll_fd_;

  std::atomic<bool> draining_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<size_t> in_use_{0};
  std::atomic<uint64_t> duplicate_completions_{0};
  std::atomic<bool> has_next_generation_{false};
  std::atomic<int64_t> round_boot_ms_{BootTimeMs()};
  std::atomic<Busy> busy_{Busy::kWithItself};
  std::atomic<uint64_t> generation_number_{0};

  std::mutex next_mutex_;
  std::shared_ptr<const Generation> next_generation_;  // guarded by next_mutex_

  mutable std::mutex pulse_mutex_;
  std::string submits_to_;                  // guarded by pulse_mutex_: a transport's name
  std::vector<std::string> owe_an_answer_;  // guarded by pulse_mutex_

  std::mutex done_mutex_;
  std::vector<uint32_t> done_;  // guarded by done_mutex_: slots whose result is there
  size_t wake_at_ = 1;          // guarded by done_mutex_: how many of them wake the shard

  // The shard's thread alone from here.
  ShardQueue* queue_ = nullptr;
  std::shared_ptr<const Generation> generation_;
  Lanes lanes_;                 // of generation_->transports, and what former ones left
  std::vector<uint32_t> free_;  // last in, first out: the warmest buffers first
  using Timer = std::pair<int64_t, uint32_t>;
  std::priority_queue<Timer, std::vector<Timer>, std::greater<>> waiting_;
  int64_t now_boot_ms_ = 0;
  Job* suspect_ = nullptr;             // has the quarantine
  int64_t suspect_since_boot_ms_ = 0;  // waits for the others, or is with its transport
  int64_t last_completion_boot_ms_ = 0;
  int64_t gauges_due_boot_ms_ = 0;
  int64_t look_for_expired_at_boot_ms_ = 0;
  int64_t look_for_cancelled_at_boot_ms_ = 0;
  uint64_t cancellations_seen_ = 0;
  int64_t owed_answers_due_boot_ms_ = 0;
  EventDecoder decoder_;
  MailMaker mail_maker_;
  Settlement settlement_;
  std::string domain_;
  std::vector<uint32_t> taken_;
  std::vector<uint32_t> moving_;
  std::vector<TurnId> revoked_;
  bool at_most_once_ = false;
  Claims claims_;

  std::thread thread_;
};

Shard::Shard(size_t index, const ShardContext& context) : impl_(std::make_unique<Impl>(index, context)) {}
Shard::~Shard() = default;

Pulse Shard::pulse() const { return impl_->pulse(); }

int Shard::wake_fd() const { return impl_->wake_fd(); }
void Shard::Start(ShardQueue& queue, std::shared_ptr<const Generation> generation) {
  impl_->Start(queue, std::move(generation));
}
void Shard::Adopt(std::shared_ptr<const Generation> generation) { impl_->Adopt(std::move(generation)); }
uint64_t Shard::generation() const { return impl_->generation(); }
void Shard::Drain() { impl_->Drain(); }
bool Shard::idle() const { return impl_->idle(); }
void Shard::Stop() { impl_->Stop(); }
bool Shard::MaySend(uint64_t token, int64_t now_boot_ms) { return impl_->MaySend(token, now_boot_ms); }
void Shard::OnComplete(uint64_t token, const postbus_result& result) { impl_->OnComplete(token, result); }
void Shard::Wake() { impl_->Wake(); }

}  // namespace postbus
