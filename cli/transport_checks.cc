// The checks of transports. Each makes an instance of its own; what its host saw is judged by check_host.cc.
#include <thread>

#include "cli/check_rig.h"

namespace postbus {
namespace {

using sdk::testing::FakeMail;
using sdk::testing::MailSamples;
using std::chrono::milliseconds;

constexpr milliseconds kAfterwards(100);
constexpr milliseconds kGrace(10'000);  // after a deadline: machines have other things to do

std::vector<FakeMail> OrdinaryMails(uint64_t first_token, size_t n) {
  std::vector<FakeMail> mails;
  for (size_t i = 0; i < n; ++i) {
    FakeMail& mail = mails.emplace_back(first_token + i);
    mail.raw = sdk::testing::RawMail(mail, "Hello", "Hello\r\n");
  }
  return mails;
}

std::vector<uint64_t> Tokens(const std::vector<FakeMail>& mails) {
  std::vector<uint64_t> tokens;
  for (const FakeMail& mail : mails) tokens.push_back(mail.token);
  return tokens;
}

// All mails completed, none outstanding, quiesced, destroyed; nothing is heard of it afterwards.
std::string End(CheckRig& rig) {
  std::string fault = rig.WaitUntilCompleted();
  if (fault.empty()) fault = rig.WaitUntilNoneOutstanding(rig.patience());
  if (fault.empty()) fault = rig.Quiesce(rig.patience());
  if (fault.empty()) fault = rig.Destroy();
  if (!fault.empty()) return fault;
  std::this_thread::sleep_for(kAfterwards);
  return rig.host().fault();
}

// Create, all mails, and the end.
std::string Live(CheckRig& rig, std::vector<FakeMail> mails) {
  std::string fault = rig.Create();
  if (fault.empty()) fault = rig.SubmitAll(std::move(mails));
  return fault.empty() ? End(rig) : fault;
}

Finding CheckCreate(const CheckSubject& subject) {
  CheckRig rig(subject);
  std::string fault = rig.Create();
  if (fault.empty()) fault = rig.WaitUntilNoneOutstanding(milliseconds(0));
  if (fault.empty()) fault = rig.Destroy();
  return fault;
}

Finding CheckLeavesNothing(const CheckSubject& subject) {
  CheckRig rig(subject);
  if (std::string fault = rig.Open(); !fault.empty()) return fault;
  const size_t threads = CountThreads();
  size_t files = CountFiles();
  for (uint64_t life = 0; life < 4; ++life) {
    if (std::string fault = Live(rig, OrdinaryMails(1 + life * 10, 8)); !fault.empty()) return fault;
    if (!ComesDownTo(&CountThreads, threads, subject.limit / 4)) {
      return std::to_string(CountThreads() - threads) +
             " of its threads run after destroy has returned; join them there";
    }
    const bool all_closed = ComesDownTo(&CountFiles, files, life == 0 ? milliseconds(1000) : subject.limit / 4);
    if (life == 0) {
      files = CountFiles();  // what a library opens once and for all
    } else if (!all_closed) {
      return Finding("after destroy it still has file descriptors open, and more with each life");
    }
  }
  return {};
}

Finding CheckTwoInstances(const CheckSubject& subject) {
  CheckRig rig(subject);
  postbus_instance* other = nullptr;
  std::string fault = rig.Create(other);
  if (fault.empty()) fault = rig.Create();
  if (fault.empty()) fault = rig.Destroy(other);
  if (fault.empty()) fault = rig.SubmitAll(OrdinaryMails(1, 20));
  if (fault.empty()) fault = End(rig);
  return fault.empty() ? fault : fault + " (two instances were made and the first destroyed)";
}

Finding CheckCompletesOnce(const CheckSubject& subject) {
  CheckRig rig(subject);
  std::string fault = rig.Create();
  if (!fault.empty()) return fault;
  std::string other_fault;
  std::thread other([&] { other_fault = rig.SubmitAll(OrdinaryMails(1000, 100)); });
  fault = rig.SubmitAll(OrdinaryMails(1, 100));
  other.join();
  if (fault.empty()) fault = other_fault;
  return fault.empty() ? End(rig) : fault;
}

Finding CheckPermit(const CheckSubject& subject) {
  CheckRig rig(subject);
  rig.host().AbortAll();
  return Live(rig, OrdinaryMails(1, 20));
}

Finding CheckDeadline(const CheckSubject& subject) {
  CheckRig rig(subject);
  std::vector<FakeMail> mails = OrdinaryMails(1, 10);
  for (FakeMail& mail : mails) mail.deadline_ms = -1000;
  if (std::string fault = Live(rig, mails); !fault.empty()) return fault;
  for (const FakeMail& mail : mails) {
    if (rig.host().OutcomeOf(mail.token) == POSTBUS_ACCEPTED) {
      return Finding("it sent a mail whose deadline had passed; look at deadline_ms before you ask permit_send");
    }
  }
  return {};
}

// The provider does not answer: some mails are past their point of no return, others wait.
std::string Stuck(CheckRig& rig, size_t n) {
  rig.server().HoldAnswers(5000);
  std::string fault = rig.Create();
  uint32_t taken = 0;
  return fault.empty() ? rig.Submit(OrdinaryMails(1, n), taken) : fault;
}

Finding CheckCancel(const CheckSubject& subject) {
  CheckRig rig(subject);
  std::string fault = Stuck(rig, 40);
  if (fault.empty()) fault = rig.Cancel({4711, 0, UINT64_MAX});
  if (fault.empty()) fault = rig.Cancel(Tokens(OrdinaryMails(1, 40)));
  if (fault.empty()) fault = rig.Cancel(Tokens(OrdinaryMails(1, 40)));
  return fault.empty() ? End(rig) : fault;
}

Finding CheckQuiesce(const CheckSubject& subject) {
  CheckRig rig(subject);
  std::string fault = Stuck(rig, 40);
  if (fault.empty()) fault = rig.Quiesce(milliseconds(500));
  if (fault.empty()) fault = rig.WaitUntilNoneOutstanding(kGrace);
  if (!fault.empty()) return fault + " (quiesce was called 10 s ago; its deadline came after 0.5 s)";
  return rig.Destroy();
}

Finding CheckSubmitNeverBlocks(const CheckSubject& subject) {
  CheckRig rig(subject);
  std::string fault = Stuck(rig, 1000);
  uint32_t taken = 0;
  if (fault.empty()) fault = rig.Submit(OrdinaryMails(2000, 1000), taken);
  if (fault.empty()) fault = rig.Cancel(Tokens(OrdinaryMails(1, 3000)));
  if (fault.empty()) fault = rig.Quiesce(milliseconds(500));
  return fault;
}

Finding CheckProbe(const CheckSubject& subject) {
  CheckRig rig(subject);
  std::string fault = rig.Create();
  if (fault.empty()) fault = rig.Probe(milliseconds(2000));
  if (fault.empty()) fault = rig.Probe(milliseconds(0));
  if (fault.empty()) fault = rig.Destroy();
  return fault;
}

Finding CheckHostileMails(const CheckSubject& subject) {
  CheckRig rig(subject);
  if (std::string fault = rig.Create(); !fault.empty()) return fault;
  for (sdk::testing::MailSample& sample : MailSamples()) {
    SetCheckInput(sample.name);
    std::string fault = rig.SubmitAll({sample.mail});
    if (fault.empty()) fault = rig.WaitUntilCompleted();
    if (!fault.empty()) return fault + " (of the mail \"" + sample.name + "\")";
  }
  return End(rig);
}

constexpr PluginCheck kChecks[] = {
    {"create", &CheckCreate},
    {"completes-once", &CheckCompletesOnce},
    {"permit", &CheckPermit},
    {"deadline", &CheckDeadline},
    {"cancel", &CheckCancel},
    {"quiesce", &CheckQuiesce},
    {"submit-never-blocks", &CheckSubmitNeverBlocks},
    {"probe", &CheckProbe},
    {"hostile-mails", &CheckHostileMails},
    {"two-instances", &CheckTwoInstances},
    {"leaves-nothing", &CheckLeavesNothing},
};

}  // namespace

std::span<const PluginCheck> TransportChecks() { return kChecks; }

}  // namespace postbus
