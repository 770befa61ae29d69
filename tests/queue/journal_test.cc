// The journal's file: what a process leaves in it and what the next one reads, also where it was killed between any two
// stores or bytes were damaged; and the poison list, with processes that really die.
#include "queue/journal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <thread>

namespace postbus {
namespace {

constexpr size_t kHeaderBytes = 4096;
constexpr size_t kSlotBytes = 64;
constexpr uint64_t kPrint = 0xABCD;

RecipientSet Set(uint64_t bits) { return {bits}; }

class JournalTest : public testing::Test {
 protected:
  JournalTest() {
    std::string name = (std::filesystem::temp_directory_path() / "postbus-journal-XXXXXX").string();
    directory_ = mkdtemp(name.data());
    path_ = directory_ + "/j";
  }
  ~JournalTest() override { std::filesystem::remove_all(directory_); }

  std::unique_ptr<Journal> Open(uint32_t slots = 8) { return OpenAt(path_, slots); }
  std::unique_ptr<Journal> OpenAt(const std::string& path, uint32_t slots) {
    discarded_.clear();
    auto journal = Journal::Open(path, slots, &discarded_);
    EXPECT_TRUE(journal.ok()) << journal.status().message();
    return journal.ok() ? std::move(*journal) : nullptr;
  }
  std::string Image() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static void WriteFile(const std::string& path, const std::string& image) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << image;
  }
  // Runs `body` in a child; how it ended.
  static int InChild(const std::function<void()>& body) {
    const pid_t child = fork();
    if (child == 0) {
      body();
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return status;
  }

  std::string directory_;
  std::string path_;
  std::string discarded_;
};

struct Begun {
  TurnMarks marks;
  PastTurn past;
};

Begun Begin(Journal& journal, int64_t place, uint64_t print = kPrint) {
  Begun begun;
  EXPECT_TRUE(journal.Begin(place, print, begun.marks, begun.past));
  return begun;
}

TEST_F(JournalTest, ARecordIsNewOnce) {
  auto journal = Open();
  EXPECT_EQ(discarded_, "");
  const Begun begun = Begin(*journal, 7);
  EXPECT_FALSE(begun.past.over);
  EXPECT_TRUE(begun.past.accepted.empty());
  EXPECT_TRUE(begun.past.in_doubt.empty());
  EXPECT_EQ(begun.past.crashes, 0);
}

TEST_F(JournalTest, TheNextProcessReadsWhatWasMarked) {
  {
    auto journal = Open();
    Begin(*journal, 1);
    Begin(*journal, 2).marks.Passed(Set(0b111));
    const Begun answered = Begin(*journal, 3);
    answered.marks.Passed(Set(0b111));
    answered.marks.Answered(Set(0b111), Set(0b001), Set(0b100));
    const Begun twice = Begin(*journal, 4);
    twice.marks.Passed(Set(0b11));
    twice.marks.Answered(Set(0b01), Set(0b01), {});
    twice.marks.Passed(Set(0b100));
    twice.marks.Passed(Set(0b10));
    twice.marks.Answered(Set(0b10), Set(0b10), {});
    const Begun over = Begin(*journal, 5);
    over.marks.Passed(Set(1));
    over.marks.Answered(Set(1), Set(1), {});
    journal->Over(over.marks);
    const Begun released = Begin(*journal, 6);
    journal->Over(released.marks);
    journal->Release(released.marks);
  }
  auto journal = Open();
  EXPECT_TRUE(Begin(*journal, 1).past.in_doubt.empty());
  EXPECT_EQ(Begin(*journal, 2).past.in_doubt, Set(0b111));
  const PastTurn answered = Begin(*journal, 3).past;
  EXPECT_EQ(answered.accepted, Set(0b001));
  EXPECT_EQ(answered.in_doubt, Set(0b100));
  const PastTurn twice = Begin(*journal, 4).past;
  EXPECT_EQ(twice.accepted, Set(0b11));
  EXPECT_EQ(twice.in_doubt, Set(0b100)) << "an answer is about those it was given for";
  EXPECT_TRUE(Begin(*journal, 5).past.over);
  const PastTurn released = Begin(*journal, 6).past;
  EXPECT_FALSE(released.over) << "the queue itself knows";
  EXPECT_TRUE(released.accepted.empty());
}

TEST_F(JournalTest, AnotherRecordAtThePlaceIsNotMistakenForIt) {
  {
    auto journal = Open();
    Begin(*journal, 1).marks.Passed(Set(1));
  }
  auto journal = Open();
  EXPECT_TRUE(Begin(*journal, 1, kPrint + 1).past.in_doubt.empty());
}

TEST(JournalFingerprintTest, TellsRecordsApart) {
  const std::set<uint64_t> prints = {Journal::Fingerprint("a", 1, 1),         Journal::Fingerprint("b", 1, 1),
                                     Journal::Fingerprint("a", 2, 1),         Journal::Fingerprint("a", 1, 2),
                                     Journal::Fingerprint("", 1, 1),          Journal::Fingerprint("12345678", 1, 1),
                                     Journal::Fingerprint("123456789", 1, 1), Journal::Fingerprint("12345679", 1, 1)};
  EXPECT_EQ(prints.size(), 8u);
  EXPECT_EQ(Journal::Fingerprint("same", 1, 1), Journal::Fingerprint("same", 1, 1));
}

TEST_F(JournalTest, NoSlotIsTakenFromATurn) {
  auto journal = Open(2);
  const Begun first = Begin(*journal, 1);
  const Begun second = Begin(*journal, 2);
  TurnMarks marks;
  PastTurn past;
  EXPECT_FALSE(journal->Begin(3, kPrint, marks, past));
  journal->Over(first.marks);
  EXPECT_FALSE(journal->Begin(3, kPrint, marks, past)) << "over, but the queue does not know yet";
  journal->Release(first.marks);
  EXPECT_TRUE(journal->Begin(3, kPrint, marks, past));
  journal->Abandon(second.marks);
  EXPECT_TRUE(journal->Begin(4, kPrint, marks, past)) << "nothing is worth keeping of it";
}

TEST_F(JournalTest, AnAbandonedTurnLeavesWhatItKnows) {
  auto journal = Open();
  const Begun first = Begin(*journal, 1);
  first.marks.Passed(Set(0b11));
  first.marks.Answered(Set(0b11), Set(0b01), {});
  journal->Abandon(first.marks);
  EXPECT_EQ(journal->Left(), std::vector<int64_t>{1});
  EXPECT_EQ(Begin(*journal, 1).past.accepted, Set(0b01));
  EXPECT_TRUE(journal->Left().empty());
}

TEST_F(JournalTest, StartingOverForgetsWhatIsDoneAndKeepsWhatRuns) {
  auto journal = Open(4);
  const Begun running = Begin(*journal, 1);
  running.marks.Passed(Set(1));
  const Begun done = Begin(*journal, 2);
  const Begun over = Begin(*journal, 3);
  journal->Over(done.marks);
  journal->Over(over.marks);
  journal->StartOver(3);
  EXPECT_EQ(journal->Left(), std::vector<int64_t>{3});
  EXPECT_TRUE(Begin(*journal, 3).past.over) << "its commit was not made";
  journal->Over(running.marks);
  journal->Release(running.marks);
  Begin(*journal, 4);
  Begin(*journal, 5);
  Begin(*journal, 6);
}

// Its slots are freed by the records that come again: were they not read, nothing would ever go on.
TEST_F(JournalTest, WhatAnotherProcessLeftDoesNotFillIt) {
  {
    auto journal = Open(1);
    journal->Over(Begin(*journal, 1).marks);
    EXPECT_TRUE(journal->full());
  }
  auto journal = Open(1);
  EXPECT_FALSE(journal->full());
  const Begun again = Begin(*journal, 1);
  EXPECT_TRUE(again.past.over);
  EXPECT_TRUE(journal->full());
}

TEST_F(JournalTest, ForgottenPlacesAreFree) {
  {
    auto journal = Open(1);
    journal->Over(Begin(*journal, 1).marks);
  }
  auto journal = Open(1);
  TurnMarks marks;
  PastTurn past;
  EXPECT_FALSE(journal->Begin(2, kPrint, marks, past));
  journal->Forget(1);
  EXPECT_TRUE(journal->Begin(2, kPrint, marks, past));
}

TEST_F(JournalTest, OneHostAtATime) {
  auto journal = Open();
  const auto second = Journal::Open(path_, 8, nullptr);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().kind(), ErrorKind::kConflict);
  journal.reset();
  EXPECT_TRUE(Journal::Open(path_, 8, nullptr).ok());
}

TEST_F(JournalTest, OnceDetachedTheFileIsTheNextHosts) {
  auto first = Open();
  const Begun begun = Begin(*first, 1);
  begun.marks.Passed(Set(1));
  first->Detach();
  auto second = Open();
  begun.marks.Answered(Set(1), Set(1), {});  // too late
  const PastTurn past = Begin(*second, 1).past;
  EXPECT_TRUE(past.accepted.empty());
  EXPECT_EQ(past.in_doubt, Set(1));
  first.reset();
  begun.marks.Handed();  // of a turn that never ended
}

TEST_F(JournalTest, AFileThatCannotBeUsedIsBegunAnewAndSaysWhy) {
  const auto spoil = [&](size_t at) {
    {
      auto journal = Open();
      Begin(*journal, 1).marks.Passed(Set(1));
    }
    std::string image = Image();
    image[at] = static_cast<char>(image[at] ^ 1);
    WriteFile(path_, image);
    auto journal = Open();
    EXPECT_TRUE(journal->Left().empty());
    return discarded_;
  };
  EXPECT_NE(spoil(0).find("damaged"), std::string::npos);
  EXPECT_NE(spoil(20).find("started anew"), std::string::npos) << "of another boot";
  WriteFile(path_, Image().substr(0, 4200));
  Open();
  EXPECT_NE(discarded_.find("damaged"), std::string::npos) << "cut off";
}

TEST_F(JournalTest, AFileOfTheNextMinorIsReadAndBecomesOurs) {
  {
    auto journal = Open();
    Begin(*journal, 1).marks.Passed(Set(1));
  }
  std::string image = Image();
  image[10] = 1;              // minor
  image[4096 + 40] = '\x7f';  // what it keeps in the first spare word of a slot
  WriteFile(path_, image);
  auto journal = Open();
  EXPECT_EQ(discarded_, "");
  EXPECT_EQ(Begin(*journal, 1).past.in_doubt, Set(1));
  EXPECT_EQ(Image()[10], 0) << "a newer postbus is to know that its additions were not kept";
}

TEST_F(JournalTest, AFileOfAnotherMajorIsRefusedAndLeftAsItIs) {
  {
    auto journal = Open();
    Begin(*journal, 1).marks.Passed(Set(1));
  }
  std::string image = Image();
  image[8] = 2;
  image.resize(image.size() + 4096);  // nor is its size ours to judge
  WriteFile(path_, image);
  const auto refused = Journal::Open(path_, 8, nullptr);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().kind(), ErrorKind::kInvalid);
  EXPECT_NE(refused.status().message().find("has format 2, this postbus knows 1"), std::string_view::npos);
  EXPECT_NE(refused.status().message().find("SIGTERM, and remove the file"), std::string_view::npos);
  EXPECT_EQ(Image(), image);
  image[20] = static_cast<char>(image[20] ^ 1);  // of another boot: what it says has come again long ago
  WriteFile(path_, image);
  Open();
  EXPECT_NE(discarded_, "");
}

TEST_F(JournalTest, KillMinus9LeavesTheMarks) {
  const int status = InChild([&] {
    auto journal = Journal::Open(path_, 8, nullptr);
    TurnMarks marks;
    PastTurn past;
    if (!(*journal)->Begin(5, kPrint, marks, past)) _exit(1);
    marks.Handed();
    marks.Passed(Set(0b11));
    marks.Answered(Set(0b11), Set(0b10), Set(0b01));
    kill(getpid(), SIGKILL);
  });
  ASSERT_TRUE(WIFSIGNALED(status));
  auto journal = Open();
  const PastTurn past = Begin(*journal, 5).past;
  EXPECT_EQ(past.accepted, Set(0b10));
  EXPECT_EQ(past.in_doubt, Set(0b01));
  EXPECT_EQ(past.crashes, 0) << "kill -9 blames nobody";
}

class CrashTest : public JournalTest {
 protected:
  // A process with record 1 with a transport and record 2 worked on by the thread that `dies` is called on.
  void Crash(const std::function<void()>& dies, bool works_on_2, int signal) {
    const int status = InChild([&] {
      InstallCrashMarks();
      auto journal = Journal::Open(path_, 8, nullptr);
      TurnMarks handed;
      TurnMarks worked_on;
      PastTurn past;
      if (!(*journal)->Begin(1, kPrint, handed, past) || !(*journal)->Begin(2, kPrint, worked_on, past)) _exit(1);
      handed.Handed(alone_);
      std::thread([&] {
        PrepareThreadForCrash();
        const WorkingOn working(works_on_2 ? worked_on : TurnMarks());
        dies();
      }).join();
    });
    ASSERT_TRUE(WIFSIGNALED(status)) << status;
    EXPECT_EQ(WTERMSIG(status), signal);
  }
  bool alone_ = false;

  std::pair<int, int> Crashes() {
    auto journal = Open();
    return {Begin(*journal, 1).past.crashes, Begin(*journal, 2).past.crashes};
  }
};

TEST_F(CrashTest, TheRecordItsThreadWorkedOnIsBlamed) {
  Crash([] { abort(); }, true, SIGABRT);
  Crash([] { raise(SIGILL); }, true, SIGILL);
  EXPECT_EQ(Crashes(), std::pair(0, 2));
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // these make other ends of faults
TEST_F(CrashTest, RealFaultsToo) {
  Crash([] { *static_cast<volatile int*>(nullptr) = 1; }, true, SIGSEGV);
  Crash([] { __builtin_trap(); }, true, SIGILL);
  EXPECT_EQ(Crashes(), std::pair(0, 2));
}

// NOLINTNEXTLINE(misc-no-recursion)
int Recurse(volatile int* depth) {
  volatile char frame[1024];
  frame[0] = static_cast<char>(*depth);
  *depth = *depth + 1;
  if (*depth < 0) return 0;
  return Recurse(depth) + frame[0];
}

TEST_F(CrashTest, AStackThatOverflowsToo) {
  Crash(
      [] {
        volatile int depth = 0;
        Recurse(&depth);
      },
      true, SIGSEGV);
  EXPECT_EQ(Crashes(), std::pair(0, 1));
}
#endif

TEST_F(CrashTest, ElsewhereAllThatAreWithATransportAreSuspects) {
  Crash([] { abort(); }, false, SIGABRT);
  EXPECT_EQ(Crashes(), std::pair(1, 0));
}

TEST_F(CrashTest, AmongSeveralASecondDeathProvesNothingAndAloneItDoes) {
  Crash([] { abort(); }, false, SIGABRT);
  Crash([] { abort(); }, false, SIGABRT);
  EXPECT_EQ(Crashes(), std::pair(1, 0));
  alone_ = true;
  Crash([] { abort(); }, false, SIGABRT);
  EXPECT_EQ(Crashes(), std::pair(2, 0));
}

TEST_F(CrashTest, ASignalOfAnotherProcessBlamesNobody) {
  const pid_t parent = getpid();
  Crash(
      [parent] {
        const std::string kill_me = "kill -ILL " + std::to_string(getpid());
        // A fork that lives on would keep the journal mapped, and with that locked.
        if (fork() == 0) execl("/bin/sh", "sh", "-c", kill_me.c_str(), nullptr);
        while (getppid() == parent) pause();
      },
      true, SIGILL);
  EXPECT_EQ(Crashes(), std::pair(0, 0));
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // these are too slow a step at a time
// Steps a process through its marks one instruction at a time: a kill could come after each.
TEST_F(JournalTest, AfterEveryInstructionTheFileTellsTheTruth) {
  const pid_t child = fork();
  if (child == 0) {
    auto journal = Journal::Open(path_, 1, nullptr);
    TurnMarks marks;
    PastTurn past;
    if (!(*journal)->Begin(1, kPrint, marks, past)) _exit(1);
    marks.Passed(Set(0b111));
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    raise(SIGSTOP);
    marks.Answered(Set(0b111), Set(0b001), Set(0b010));
    (*journal)->Over(marks);
    (*journal)->Release(marks);
    const bool begun = (*journal)->Begin(2, kPrint, marks, past);
    marks.Passed(Set(0b100));
    _exit(begun ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  std::vector<std::string> images;
  while (WIFSTOPPED(status)) {
    if (std::string image = Image(); images.empty() || image != images.back()) images.push_back(std::move(image));
    ASSERT_EQ(ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr), 0);
    ASSERT_EQ(waitpid(child, &status, 0), child);
  }
  ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  ASSERT_GE(images.size(), 8u);
  // In the order of the marks; what a record is found to be may only go forward.
  enum Seen { kInDoubt, kAnswered, kOver, kNothing, kOtherPassed };
  Seen seen = kInDoubt;
  for (const std::string& image : images) {
    WriteFile(directory_ + "/image", image);
    auto journal = OpenAt(directory_ + "/image", 1);
    Seen now = kNothing;
    if (const std::vector<int64_t> left = journal->Left(); left == std::vector<int64_t>{1}) {
      const PastTurn past = Begin(*journal, 1).past;
      EXPECT_TRUE(past.accepted.empty() || past.accepted == Set(0b001));
      EXPECT_TRUE(past.in_doubt.contains(1));
      EXPECT_TRUE(past.accepted.contains(0) || past.in_doubt.contains(0)) << "would be sent again";
      now = past.over ? kOver : !past.in_doubt.contains(2) ? kAnswered : kInDoubt;
    } else if (!left.empty()) {
      EXPECT_EQ(left, std::vector<int64_t>{2});
      const PastTurn past = Begin(*journal, 2).past;
      EXPECT_TRUE(past.accepted.empty());
      EXPECT_FALSE(past.over);
      if (!past.in_doubt.empty()) {
        EXPECT_EQ(past.in_doubt, Set(0b100)) << "another record's marks";
        now = kOtherPassed;
      }
    }
    EXPECT_GE(now, seen);
    seen = now;
  }
  EXPECT_EQ(seen, kOtherPassed);
}
#endif

// --- random lives ---

// What is true of a record, and what the journal was told.
struct Truth {
  uint64_t passed = 0;    // ever permitted
  uint64_t accepted = 0;  // answered so
  uint64_t pending = 0;   // permitted and not answered, or in doubt
  bool over = false;
  bool begun = false;
  TurnMarks marks;
};

class Life : public JournalTest {
 protected:
  static constexpr uint32_t kSlots = 6;
  static constexpr int kPlaces = 9;

  // Opens an image as the next process does, and holds what it says against the truth. `exact`: everything that was
  // told must be there, too.
  void Check(const std::string& image, const std::map<int64_t, Truth>& before, const std::map<int64_t, Truth>& after,
             bool exact) {
    const std::string path = directory_ + "/image";
    WriteFile(path, image);
    auto journal = OpenAt(path, kSlots);
    for (const int64_t place : journal->Left()) {
      ASSERT_TRUE(after.contains(place) || before.contains(place)) << "a record that never was";
    }
    for (const auto& [place, truth] : after) {
      const auto old = before.find(place);
      const Truth earlier = old != before.end() ? old->second : Truth();
      if (!truth.begun && !earlier.begun) continue;
      TurnMarks marks;
      PastTurn past;
      if (!journal->Begin(place, kPrint, marks, past)) continue;
      // Never more than is true: such a mail would be lost.
      ASSERT_EQ(past.accepted.bits & ~truth.accepted & ~earlier.accepted, 0u) << "place " << place;
      ASSERT_TRUE(!past.over || truth.over || earlier.over) << "place " << place;
      ASSERT_EQ(past.in_doubt.bits & ~truth.passed & ~earlier.passed, 0u) << "place " << place;
      ASSERT_EQ(past.crashes, 0);
      if (!exact || !truth.begun || !earlier.begun) continue;
      // Never less: such a mail would be sent again.
      ASSERT_EQ(earlier.accepted & ~past.accepted.bits, 0u) << "place " << place;
      ASSERT_EQ(earlier.pending & truth.pending & ~past.in_doubt.bits & ~past.accepted.bits, 0u) << "place " << place;
      ASSERT_TRUE(past.over || !earlier.over) << "place " << place;
    }
  }

  // Every image a kill can leave between two states: the words of an operation are stored one after the other, the
  // state last where others change, too. And what no kill leaves: any of the words, whole or torn.
  void CheckAllBetween(const std::string& from, const std::string& to, const std::map<int64_t, Truth>& before,
                       const std::map<int64_t, Truth>& after, std::mt19937_64& random) {
    std::vector<size_t> words;
    for (size_t at = kHeaderBytes; at < from.size(); at += 8) {
      if (from.compare(at, 8, to, at, 8) != 0) words.push_back(at);
    }
    std::stable_sort(words.begin(), words.end(),
                     [](size_t a, size_t b) { return (a % kSlotBytes != 0) > (b % kSlotBytes != 0); });
    std::string image = from;
    Check(image, before, after, true);
    for (const size_t word : words) {
      image.replace(word, 8, to, word, 8);
      Check(image, before, after, true);
    }
    image = from;
    for (const size_t word : words) {
      for (size_t byte = word; byte < word + 8; ++byte) {
        if ((random() & 1) != 0) image[byte] = to[byte];
      }
    }
    Check(image, before, after, false);
  }
};

TEST_F(Life, WhateverAKillLeavesIsTrue) {
  const char* runs_text = getenv("POSTBUS_PROPERTY_RUNS");
  const uint64_t runs = runs_text != nullptr ? std::strtoull(runs_text, nullptr, 10) / 1000 : 20;
  for (uint64_t seed = 1; seed <= runs; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    std::filesystem::remove(path_);
    auto journal = Open(kSlots);
    std::map<int64_t, Truth> truths;
    for (int step = 0; step < 60; ++step) {
      const auto before = truths;
      const std::string from = Image();
      const auto place = static_cast<int64_t>(random() % kPlaces);
      Truth& truth = truths[place];
      const uint64_t some = random() % 16;
      if (!truth.begun) {
        PastTurn past;
        truth.begun = journal->Begin(place, kPrint, truth.marks, past);
      } else if (truth.over) {
        journal->Release(truth.marks);
        truth = {};
      } else {
        switch (random() % 5) {
          case 0:
            truth.marks.Handed();
            break;
          case 1:
          case 2:
            truth.pending |= some & ~truth.accepted;
            truth.passed |= truth.pending;
            truth.marks.Passed(Set(some & ~truth.accepted));
            break;
          case 3: {
            const uint64_t who = truth.pending & (some | random());
            const uint64_t accepted = who & random();
            const uint64_t in_doubt = who & ~accepted & random();
            truth.accepted |= accepted;
            truth.pending = (truth.pending & ~who) | in_doubt;
            truth.marks.Answered(Set(who), Set(accepted), Set(in_doubt));
            break;
          }
          default:
            truth.over = true;
            journal->Over(truth.marks);
        }
      }
      CheckAllBetween(from, Image(), before, truths, random);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(Life, DamagedBytesAreNeverTakenForAnAnswer) {
  std::mt19937_64 random(1);
  auto journal = Open(kSlots);
  for (int64_t place = 0; place < kSlots; ++place) Begin(*journal, place).marks.Passed(Set(0b1111));
  const std::string whole = Image();
  for (int run = 0; run < 2000; ++run) {
    std::string image = whole;
    for (uint64_t n = random() % 8 + 1; n > 0; --n) {
      const size_t at = kHeaderBytes + random() % (image.size() - kHeaderBytes);
      image[at] = static_cast<char>(random());
    }
    const std::string path = directory_ + "/image";
    WriteFile(path, image);
    auto next = OpenAt(path, kSlots);
    for (int64_t place = 0; place < kSlots; ++place) {
      TurnMarks marks;
      PastTurn past;
      if (!next->Begin(place, kPrint, marks, past)) continue;
      EXPECT_TRUE(past.accepted.empty());
      EXPECT_FALSE(past.over);
    }
  }
}

}  // namespace
}  // namespace postbus
