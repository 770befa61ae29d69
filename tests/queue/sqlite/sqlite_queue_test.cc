// What is SQLite's own: one host per file, producers in other processes, faults of the disk, kill -9 at any moment.
#include "queue/sqlite/sqlite_queue.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <random>
#include <set>

#include "queue/sqlite/status_table.h"
#include "tests/queue/queue_test_host.h"
#include "tests/queue/sqlite/fault_vfs.h"

namespace postbus::sqlite {
namespace {

NewEvent EventOf(std::string_view id, std::string_view value, Priority priority = Priority::kNormal) {
  return {.id = id, .priority = priority, .accepted_at_unix_ms = 1'700'000'000'000, .value = value, .traceparent = {}};
}

// A second way into the file, beside the queue's.
class RawFile {
 public:
  explicit RawFile(const std::string& path) {
    if (sqlite3_open(path.c_str(), &connection_) != SQLITE_OK) throw std::runtime_error("open " + path);
    sqlite3_busy_timeout(connection_, 5000);
  }
  ~RawFile() { sqlite3_close(connection_); }

  void Execute(const std::string& sql) {
    if (sqlite3_exec(connection_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
      throw std::runtime_error(sql + ": " + sqlite3_errmsg(connection_));
    }
  }
  // The first column of all rows.
  std::vector<std::string> Read(const std::string& sql) {
    std::vector<std::string> column;
    const auto add = [](void* out, int, char** values, char**) {
      static_cast<std::vector<std::string>*>(out)->push_back(values[0] != nullptr ? values[0] : "");
      return 0;
    };
    if (sqlite3_exec(connection_, sql.c_str(), add, &column, nullptr) != SQLITE_OK) {
      throw std::runtime_error(sql + ": " + sqlite3_errmsg(connection_));
    }
    return column;
  }

 private:
  sqlite3* connection_ = nullptr;
};

// A process of our own, ended at the latest by the destructor.
class Child {
 public:
  // Forks; the child runs `work` when told to Go. REQUIRES: this process has no other thread.
  explicit Child(const std::function<void()>& work) {
    if (pipe(gate_.data()) != 0) throw std::runtime_error("pipe failed");
    pid_ = fork();
    if (pid_ != 0) return;
    char byte = 0;
    if (read(gate_[0], &byte, 1) != 1) _exit(2);
    try {
      work();
    } catch (const std::exception&) {
      _exit(1);
    }
    _exit(0);
  }
  ~Child() {
    Kill();
    close(gate_[0]);
    close(gate_[1]);
  }
  void Go() {
    const char byte = 1;
    ASSERT_EQ(write(gate_[1], &byte, 1), 1);
  }
  // The exit code; -1 for a signal.
  int Wait() {
    int status = 0;
    if (pid_ > 0) waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  void Kill() {
    if (pid_ > 0) kill(pid_, SIGKILL);
    Wait();
  }
  pid_t pid() const { return pid_; }

 private:
  std::array<int, 2> gate_{};
  pid_t pid_ = 0;
};

class SqliteQueueTest : public testing::Test {
 protected:
  SqliteQueueTest() : faults_(InstallFaultVfs()) {
    std::string directory = std::filesystem::temp_directory_path() / "postbus-sqlite-XXXXXX";
    if (mkdtemp(directory.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    directory_ = directory;
    path_ = directory_ / "queue.db";
    config_.sqlite.path = path_;
  }
  ~SqliteQueueTest() override {
    faults_.Clear();
    std::filesystem::remove_all(directory_);
  }

  std::unique_ptr<Queue> Open(Role role) {
    Result<std::unique_ptr<Queue>> queue =
        OpenSqliteQueue(config_, role, [this](LogLevel level, std::string_view text) {
          const std::lock_guard lock(log_mutex_);
          log_.emplace_back(level, text);
        });
    if (!queue.ok()) throw std::runtime_error("open: " + std::string(queue.status().message()));
    return std::move(*queue);
  }
  std::unique_ptr<TestHost> OpenHost() { return std::make_unique<TestHost>(Open(Role::kHost), 1); }

  Status OpenFails(Role role) {
    Result<std::unique_ptr<Queue>> queue = OpenSqliteQueue(config_, role, [](LogLevel, std::string_view) {});
    return queue.ok() ? Status() : queue.TakeStatus();
  }

  bool Logged(LogLevel level, std::string_view part) {
    const std::lock_guard lock(log_mutex_);
    return std::any_of(log_.begin(), log_.end(), [&](const auto& line) {
      return line.first == level && line.second.find(part) != std::string::npos;
    });
  }

  // The file is sound, and what `state` counts is what is there.
  void ExpectSound() {
    RawFile file(path_);
    EXPECT_EQ(file.Read("PRAGMA integrity_check"), std::vector<std::string>{"ok"});
    for (const std::string table : {"high", "normal", "low", "deferred"}) {
      EXPECT_EQ(file.Read("SELECT " + table + " FROM state"), file.Read("SELECT count(*) FROM " + table)) << table;
    }
    EXPECT_EQ(file.Read("SELECT count(*) FROM state"), std::vector<std::string>{"1"});
  }

  // With one event in it.
  void MakeFileOfFormat1(const char* id) {
    auto producer = Open(Role::kProducer);
    ASSERT_TRUE(PublishAndWait(*producer, EventOf(id, "{}")).ok());
    producer.reset();
    MakeFormat(1);
  }
  // Makes the file one of that format: without what later ones have added.
  void MakeFormat(int format) {
    std::string known = "'state', 'high', 'normal', 'low', 'deferred', 'dead_letters', 'status'";
    if (format >= 2) known += ", 'requests'";
    RawFile file(path_);
    for (const std::string& table : file.Read(
             "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT IN (" +
             known + ")")) {
      file.Execute("DROP TABLE " + table);
    }
    file.Execute("DROP INDEX deferred_id");
    file.Execute("PRAGMA user_version=" + std::to_string(format));
  }
  // And what was begun of one.
  std::vector<std::string> Backups() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
      const std::string name = entry.path().filename();
      if (name.find(".bak") != name.npos) names.push_back(name);
    }
    return names;
  }

  Faults& faults_;
  std::filesystem::path directory_;
  std::string path_;
  QueueConfig config_;
  std::mutex log_mutex_;
  std::vector<std::pair<LogLevel, std::string>> log_;
};

TEST_F(SqliteQueueTest, ASecondHostIsRefusedAndToldWhoHoldsTheFile) {
  auto host = OpenHost();
  const Status refused = OpenFails(Role::kHost);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.kind(), ErrorKind::kConflict);
  EXPECT_NE(refused.message().find("pid " + std::to_string(getpid())), std::string_view::npos) << refused.message();
  EXPECT_NE(refused.message().find(path_), std::string_view::npos) << refused.message();
  EXPECT_TRUE(OpenFails(Role::kProducer).ok());

  EXPECT_TRUE(host->Stop());
  EXPECT_TRUE(OpenFails(Role::kHost).ok()) << "Stop gives the file back";
}

TEST_F(SqliteQueueTest, AKilledHostLeavesTheFileToTheNext) {
  std::array<int, 2> ready{};
  ASSERT_EQ(pipe(ready.data()), 0);
  Child child([&] {
    auto host = OpenHost();
    if (write(ready[1], "r", 1) == 1) pause();
  });
  child.Go();
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  const Status refused = OpenFails(Role::kHost);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.message().find("pid " + std::to_string(child.pid())), std::string_view::npos) << refused.message();
  child.Kill();
  EXPECT_TRUE(OpenFails(Role::kHost).ok());
  close(ready[0]);
  close(ready[1]);
}

TEST_F(SqliteQueueTest, AProducerProcessWakesTheHostAtOnce) {
  constexpr int kEvents = 20;
  std::array<int, 2> turns{};
  ASSERT_EQ(pipe(turns.data()), 0);
  Child child([&] {
    auto producer = Open(Role::kProducer);
    for (int i = 0; i < kEvents; ++i) {
      char byte = 0;
      if (read(turns[0], &byte, 1) != 1) throw std::runtime_error("pipe");
      const std::string value = std::to_string(BootTimeMs());
      if (!PublishAndWait(*producer, EventOf("id-" + std::to_string(i), value)).ok())
        throw std::runtime_error("publish");
    }
    if (!producer->Stop(BootTimeMs() + kPatienceMs)) throw std::runtime_error("stop");
  });
  auto host = OpenHost();
  child.Go();
  std::vector<int64_t> took;
  QueuedEvent event;
  for (int i = 0; i < kEvents; ++i) {
    ASSERT_FALSE(host->shard().Next(event));  // it sleeps
    ASSERT_EQ(write(turns[1], "t", 1), 1);
    ASSERT_TRUE(host->Next(event));
    took.push_back(BootTimeMs() - std::stoll(event.value));
    EXPECT_EQ(event.headers.id, "id-" + std::to_string(i));
    host->Complete(event);
  }
  EXPECT_EQ(child.Wait(), 0);
  std::sort(took.begin(), took.end());
  EXPECT_LT(took[kEvents / 2], 150) << "a host that only looks twice a second needs 250 ms on average";
  EXPECT_TRUE(host->Stop());
  close(turns[0]);
  close(turns[1]);
}

TEST_F(SqliteQueueTest, AHostWithoutWakeUpsLooksByItself) {
  auto host = OpenHost();
  std::filesystem::remove(path_ + ".wake");  // the producer makes another, which the host does not know
  auto producer = Open(Role::kProducer);
  QueuedEvent event;
  ASSERT_FALSE(host->Next(event, 100));
  ASSERT_TRUE(PublishAndWait(*producer, EventOf("id-1", "{}")).ok());
  const int64_t published = BootTimeMs();
  ASSERT_TRUE(host->Next(event));
  EXPECT_LE(BootTimeMs() - published, 1500);
  EXPECT_EQ(host->queue().Stats().waiting, 0);
}

TEST_F(SqliteQueueTest, ManyProcessesMakeAndShareOneFile) {
  constexpr int kProcesses = 4;
  constexpr int kEach = 150;
  std::vector<std::unique_ptr<Child>> children;
  for (int p = 0; p < kProcesses; ++p) {
    children.push_back(std::make_unique<Child>([this, p] {
      auto producer = Open(Role::kProducer);
      std::atomic<int> accepted{0};
      for (int i = 0; i < kEach; ++i) {
        const std::string id = std::to_string(p) + "-" + std::to_string(i);
        const NewEvent event = EventOf(id, id);
        if (i % 5 == 0) {  // some alone, some in groups
          if (PublishAndWait(*producer, event).ok()) ++accepted;
        } else if (!producer->Publish(event, [&](const Status& status) { accepted += status.ok(); }).ok()) {
          throw std::runtime_error("publish");
        }
      }
      if (!producer->Stop(BootTimeMs() + kPatienceMs) || accepted != kEach) throw std::runtime_error("stop");
    }));
  }
  for (auto& child : children) child->Go();  // the file is not there yet: one of them makes it
  auto host = OpenHost();
  std::set<std::string> ids;
  QueuedEvent event;
  while (ids.size() < kProcesses * kEach) {
    ASSERT_TRUE(host->Next(event)) << ids.size();
    EXPECT_TRUE(ids.insert(event.headers.id).second) << event.headers.id;
    host->Complete(event);
  }
  for (auto& child : children) EXPECT_EQ(child->Wait(), 0);
  EXPECT_TRUE(host->Stop());
  host.reset();
  ExpectSound();
}

TEST_F(SqliteQueueTest, ManyProcessesOpenANewFileAtOnce) {
  for (int round = 0; round < 20; ++round) {
    config_.sqlite.path = directory_ / ("new" + std::to_string(round) + ".db");
    std::vector<std::unique_ptr<Child>> children;
    for (int p = 0; p < 6; ++p) {
      children.push_back(std::make_unique<Child>([this] { Open(Role::kProducer).reset(); }));
    }
    for (auto& child : children) child->Go();
    for (auto& child : children) EXPECT_EQ(child->Wait(), 0) << "round " << round;
  }
}

TEST_F(SqliteQueueTest, AllFilesAreTheOwnersAlone) {
  auto host = OpenHost();
  ASSERT_TRUE(PublishAndWait(host->queue(), EventOf("id-1", "{}")).ok());
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
    struct stat info {};
    ASSERT_EQ(stat(entry.path().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u) << entry.path();
    ++files;
  }
  EXPECT_EQ(files, 6);  // .db -wal -shm .host-lock .host-journal .wake
}

TEST_F(SqliteQueueTest, AFileOfANewerMajorIsRefusedAndLeftAsItIs) {
  Open(Role::kProducer).reset();
  RawFile(path_).Execute("PRAGMA user_version=100");
  for (const Role role : {Role::kHost, Role::kProducer}) {
    const Status refused = OpenFails(role);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.kind(), ErrorKind::kInvalid);
    EXPECT_NE(refused.message().find("has format 1.0, this postbus knows 0."), std::string_view::npos)
        << refused.message();
    EXPECT_NE(refused.message().find("start the newer postbus"), std::string_view::npos) << refused.message();
  }
  EXPECT_EQ(RawFile(path_).Read("PRAGMA user_version"), std::vector<std::string>{"100"});
}

// What a next minor may add: a table, columns with a default. This postbus works on such a file and leaves that alone.
TEST_F(SqliteQueueTest, AFileOfTheNextMinorIsWorkedOnAndKeepsWhatIsNew) {
  Open(Role::kProducer).reset();
  const int newer = std::stoi(RawFile(path_).Read("PRAGMA user_version").front()) + 1;
  std::string additions = "CREATE TABLE new_table (a); INSERT INTO new_table VALUES ('kept');";
  for (const char* table : {"high", "normal", "low", "deferred", "dead_letters", "status", "requests"}) {
    additions += std::string("ALTER TABLE ") + table + " ADD COLUMN new_column TEXT NOT NULL DEFAULT 'x';";
  }
  RawFile(path_).Execute(additions + "PRAGMA user_version=" + std::to_string(newer));

  auto host = OpenHost();
  const NewEvent first = EventOf("id-1", "{}");
  ASSERT_TRUE(PublishAndWait(host->queue(), {.events = {&first, 1}, .request_id = "r", .digest = "d"}).ok());
  for (const Priority priority : {Priority::kHigh, Priority::kLow}) {
    NewEvent event = EventOf("id-2", "{}");
    event.priority = priority;
    ASSERT_TRUE(PublishAndWait(host->queue(), event).ok());
  }
  QueuedEvent event;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(host->Next(event));
    if (event.headers.id != "id-1") {
      host->Complete(event);
      continue;
    }
    const RecipientSet two = RecipientSet::All(2);
    host->shard().Defer(event.turn, {.recipients = RecipientSet{two.bits & 1},
                                     .due_unix_ms = UnixTimeMs(),
                                     .attempt = 1,
                                     .outcome_class = "transient",
                                     .value = "again"});
    host->shard().DeadLetter(event.turn, {.recipients = RecipientSet{two.bits & 2},
                                          .attempt = 1,
                                          .outcome_class = "rejected_recipient",
                                          .message = "no such user",
                                          .id = "id-1",
                                          .value = event.value});
    StatusRecord deferred;
    deferred.id = "id-1";
    deferred.change = Change::kDeferred;
    host->shard().Report(event.turn, deferred);
    host->Complete(event);
  }
  ASSERT_TRUE(host->Next(event));
  EXPECT_EQ(event.value, "again");
  EXPECT_TRUE(host->Stop());
  host.reset();
  RawFile file(path_);
  EXPECT_EQ(file.Read("PRAGMA user_version"), std::vector<std::string>{std::to_string(newer)});
  EXPECT_EQ(file.Read("SELECT a FROM new_table"), std::vector<std::string>{"kept"});
  EXPECT_EQ(file.Read("SELECT id FROM dead_letters"), std::vector<std::string>{"id-1"});
  EXPECT_TRUE(Backups().empty());
  ExpectSound();
}

TEST_F(SqliteQueueTest, AMigrationKeepsABackupOfWhatTheFileWas) {
  MakeFileOfFormat1("id-1");
  auto host = OpenHost();
  ASSERT_EQ(Backups(), std::vector<std::string>{"queue.db.v0.1.bak"});
  const std::string backup = path_ + ".v0.1.bak";
  struct stat info {};
  ASSERT_EQ(stat(backup.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  EXPECT_EQ(event.headers.id, "id-1");
  const NewEvent next = EventOf("id-2", "{}");
  EXPECT_TRUE(PublishAndWait(host->queue(), {.events = {&next, 1}, .request_id = "r", .digest = "d"}).ok());
  EXPECT_TRUE(host->Stop());
  host.reset();
  EXPECT_NE(RawFile(path_).Read("PRAGMA user_version"), std::vector<std::string>{"1"});

  // A later start makes no other one.
  Open(Role::kProducer).reset();
  struct stat later {};
  ASSERT_EQ(stat(backup.c_str(), &later), 0);
  EXPECT_EQ(later.st_ino, info.st_ino);

  // The way back: the backup is a queue file of its format.
  RawFile saved(backup);
  EXPECT_EQ(saved.Read("PRAGMA integrity_check"), std::vector<std::string>{"ok"});
  EXPECT_EQ(saved.Read("PRAGMA user_version"), std::vector<std::string>{"1"});
  EXPECT_EQ(saved.Read("SELECT count(*) FROM sqlite_schema WHERE name = 'requests'"), std::vector<std::string>{"0"});
  for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(path_ + suffix);
  std::filesystem::copy(backup, path_);
  host = OpenHost();
  ASSERT_TRUE(host->Next(event));
  EXPECT_EQ(event.headers.id, "id-1");
}

TEST_F(SqliteQueueTest, WithoutRoomForABackupTheFileStaysAsItIs) {
  MakeFileOfFormat1("id-1");
  faults_.space = 4096;
  const Status refused = OpenFails(Role::kHost);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.kind(), ErrorKind::kUnavailable);
  for (const char* words : {"stays as it is, in format 0.1", "no backup", "full"}) {
    EXPECT_NE(refused.message().find(words), std::string_view::npos) << refused.message();
  }
  faults_.Clear();
  EXPECT_TRUE(Backups().empty()) << Backups().front();
  EXPECT_EQ(RawFile(path_).Read("PRAGMA user_version"), std::vector<std::string>{"1"});
  auto host = OpenHost();
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  EXPECT_EQ(event.headers.id, "id-1");
  EXPECT_EQ(Backups(), std::vector<std::string>{"queue.db.v0.1.bak"});
}

TEST_F(SqliteQueueTest, OneOfManyProcessesMigratesAFile) {
  for (int round = 0; round < 10; ++round) {
    config_.sqlite.path = path_ = directory_ / ("old" + std::to_string(round) + ".db");
    MakeFileOfFormat1("id-1");
    std::vector<std::unique_ptr<Child>> children;
    for (int p = 0; p < 4; ++p) {
      children.push_back(std::make_unique<Child>([this] { Open(Role::kProducer).reset(); }));
    }
    for (auto& child : children) child->Go();
    for (auto& child : children) EXPECT_EQ(child->Wait(), 0) << "round " << round;
    EXPECT_EQ(RawFile(path_ + ".v0.1.bak").Read("PRAGMA user_version"), std::vector<std::string>{"1"});
    ExpectSound();
  }
}

TEST_F(SqliteQueueTest, TheHistoryKnowsAMailFromItsAcceptance) {
  auto host = OpenHost();
  QueueConfig config;
  config.sqlite.path = path_;
  const auto history = OpenStatusTable(config);
  ASSERT_TRUE(history.ok()) << history.status().message();
  const auto changes = [&] {
    std::string names;
    const auto found = (*history)->Find("id-1");
    if (!found.ok()) return std::string(found.status().kind() == ErrorKind::kNotFound ? "not found" : "failed");
    for (const StatusRecord& record : *found) names.append(names.empty() ? "" : " ").append(ChangeName(record.change));
    return names;
  };
  EXPECT_EQ(changes(), "not found");
  NewEvent event = EventOf("id-1", "{}");
  event.recipients = RecipientSet::All(2);
  event.accepted_at_unix_ms = UnixTimeMs();
  ASSERT_TRUE(PublishAndWait(host->queue(), event).ok());
  EXPECT_EQ(changes(), "queued");
  EXPECT_EQ((*(*history)->Find("id-1"))[0].recipients, RecipientSet::All(2));

  QueuedEvent turn;
  ASSERT_TRUE(host->Next(turn));
  StatusRecord sent;
  sent.id = "id-1";
  sent.change = Change::kSent;
  sent.at_unix_ms = UnixTimeMs();
  host->shard().Report(turn.turn, sent);
  host->Complete(turn);
  EXPECT_TRUE(WaitUntil([&] { return changes() == "queued sent"; })) << changes();
}

TEST_F(SqliteQueueTest, TheHistoryFindsTheMailsToARecipient) {
  Open(Role::kProducer).reset();
  MakeFormat(2);  // as before there were hashes
  auto host = OpenHost();
  QueueConfig config;
  config.sqlite.path = path_;
  const auto history = OpenStatusTable(config);
  ASSERT_TRUE(history.ok()) << history.status().message();
  const auto ids = [&](uint64_t hash, size_t limit = 10) {
    std::string names;
    const auto found = (*history)->IdsTo(hash, limit);
    for (size_t i = 0; found.ok() && i < found->size(); ++i) names.append(i == 0 ? "" : " ").append((*found)[i]);
    return found.ok() ? names : std::string(found.status().message());
  };
  const auto publish = [&](const char* id, const std::vector<uint64_t>& hashes) {
    NewEvent event = EventOf(id, "{}");
    event.accepted_at_unix_ms = UnixTimeMs();  // old ones are forgotten at once
    event.recipients = RecipientSet::All(hashes.size());
    event.recipient_hashes = hashes;
    ASSERT_TRUE(PublishAndWait(host->queue(), event).ok());
  };
  const std::vector<uint64_t> both = {~uint64_t{0}, 2};
  publish("id-1", both);
  publish("id-2", {both[0]});
  publish("id-3", {both[1]});
  EXPECT_EQ(ids(both[0]), "id-2 id-1");
  EXPECT_EQ(ids(both[0], 1), "id-2");
  EXPECT_EQ(ids(both[1]), "id-3 id-1");
  EXPECT_EQ(ids(3), "");
  EXPECT_EQ((*(*history)->Find("id-1"))[0].recipient_hashes, both);

  // A replayed one, whose acceptance may have been forgotten, is found through what became of it.
  QueuedEvent turn;
  ASSERT_TRUE(host->Next(turn));
  StatusRecord sent;
  sent.id = "id-0";
  sent.change = Change::kSent;
  sent.recipients = RecipientSet::All(1);
  sent.recipient_hashes = {3};
  sent.replay = 1;
  sent.at_unix_ms = UnixTimeMs();
  host->shard().Report(turn.turn, sent);
  host->Complete(turn);
  EXPECT_TRUE(WaitUntil([&] { return ids(3) == "id-0"; })) << ids(3);
}

TEST_F(SqliteQueueTest, ARequestIsKnownToEveryProcessAndAfterARestart) {
  const NewEvent event = EventOf("id-1", "{}");
  const Publication request = {.events = {&event, 1}, .request_id = "request-1", .digest = "one body"};
  auto first = Open(Role::kProducer);
  auto second = Open(Role::kProducer);
  ASSERT_TRUE(PublishAndWait(*first, request).ok());
  ASSERT_TRUE(PublishAndWait(*second, request).ok());
  first.reset();
  second.reset();
  auto third = Open(Role::kProducer);
  ASSERT_TRUE(PublishAndWait(*third, request).ok());
  const Status other = PublishAndWait(*third, {.events = {&event, 1}, .request_id = "request-1", .digest = "another"});
  ASSERT_FALSE(other.ok());
  EXPECT_EQ(other.kind(), ErrorKind::kConflict);
  EXPECT_EQ(RawFile(path_).Read("SELECT count(*) FROM normal"), std::vector<std::string>{"1"});
  EXPECT_EQ(RawFile(path_).Read("SELECT count(*) FROM status"), std::vector<std::string>{"1"});
}

TEST_F(SqliteQueueTest, AnotherProgramsDatabaseIsRefusedAndLeftAlone) {
  RawFile(path_).Execute("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)");
  const Status refused = OpenFails(Role::kProducer);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.kind(), ErrorKind::kInvalid);
  EXPECT_EQ(RawFile(path_).Read("SELECT name FROM sqlite_schema"), std::vector<std::string>{"theirs"});
}

TEST_F(SqliteQueueTest, AFileThatIsNoDatabaseIsRefused) {
  FILE* file = fopen(path_.c_str(), "w");
  fputs(std::string(5000, 'x').c_str(), file);
  fclose(file);
  const Status refused = OpenFails(Role::kHost);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.message().find("not a database"), std::string_view::npos) << refused.message();
  EXPECT_NE(OpenFails(Role::kHost).kind(), ErrorKind::kConflict) << "a failed start keeps no lock";
}

TEST_F(SqliteQueueTest, AMissingDirectoryIsMade) {
  config_.sqlite.path = directory_ / "new" / "deep" / "queue.db";
  Open(Role::kProducer).reset();
  EXPECT_TRUE(std::filesystem::exists(config_.sqlite.path));
}

TEST_F(SqliteQueueTest, ADirectoryThatCannotBeMadeIsNamed) {
  std::ofstream(directory_ / "file") << "x";
  config_.sqlite.path = directory_ / "file" / "queue.db";
  const Status refused = OpenFails(Role::kProducer);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.message().find((directory_ / "file").string()), std::string_view::npos) << refused.message();
}

TEST_F(SqliteQueueTest, AFullDiskRefusesNewEventsAndKeepsEndedTurns) {
  auto host = OpenHost();
  for (const char* id : {"id-1", "id-2"}) ASSERT_TRUE(PublishAndWait(host->queue(), EventOf(id, "{}")).ok());
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  EXPECT_EQ(event.headers.id, "id-1");

  faults_.write_result = SQLITE_FULL;
  const Status refused = PublishAndWait(host->queue(), EventOf("id-3", "{}"));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.kind(), ErrorKind::kUnavailable);
  EXPECT_NE(refused.message().find("full"), std::string_view::npos) << refused.message();
  host->shard().Defer(event.turn, {.recipients = RecipientSet::All(1),
                                   .due_unix_ms = UnixTimeMs(),
                                   .attempt = 1,
                                   .outcome_class = "transient",
                                   .value = "again"});
  host->Complete(event);
  EXPECT_TRUE(WaitUntil([&] { return !host->queue().Health().ok(); }));
  // Mails whose end cannot be written down are better not sent: a crash would repeat them all.
  EXPECT_TRUE(WaitUntil([&] { return !event.permit->Valid(BootTimeMs()); }, 10'000));
  QueuedEvent other;
  EXPECT_FALSE(host->shard().Next(other));
  EXPECT_FALSE(host->queue().Health().ok());
  EXPECT_EQ(host->queue().Stats().completed, 0u);
  EXPECT_TRUE(Logged(LogLevel::kError, "full"));

  faults_.Clear();
  EXPECT_TRUE(WaitUntil([&] { return host->queue().Health().ok(); }));
  EXPECT_EQ(host->queue().Stats().completed, 1u);
  EXPECT_EQ(host->queue().Stats().deferred, 1u);
  EXPECT_TRUE(Logged(LogLevel::kInfo, "again"));
  std::set<std::string> came;
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(host->Next(event));
    EXPECT_TRUE(event.permit->Valid(BootTimeMs()));
    came.insert(event.headers.id + " " + event.value);
    host->Complete(event);
  }
  EXPECT_EQ(came, (std::set<std::string>{"id-1 again", "id-2 {}"}));
  EXPECT_FALSE(host->Next(event, 200)) << event.headers.id << " was refused";
  EXPECT_TRUE(host->Stop());
  host.reset();
  ExpectSound();
}

TEST_F(SqliteQueueTest, HealthRecoversWithoutNewWork) {
  auto producer = Open(Role::kProducer);
  faults_.write_result = SQLITE_FULL;
  EXPECT_FALSE(PublishAndWait(*producer, EventOf("id-1", "{}")).ok());
  EXPECT_FALSE(producer->Health().ok());
  faults_.Clear();
  EXPECT_TRUE(WaitUntil([&] { return producer->Health().ok(); }));
}

// An event too large for the space that is left must not hold back ended turns that came at the same time.
TEST_F(SqliteQueueTest, EndedTurnsAreTriedAlone) {
  auto host = OpenHost();
  ASSERT_TRUE(PublishAndWait(host->queue(), EventOf("id-1", "{}")).ok());
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  faults_.sync_hangs = true;
  std::atomic<bool> first{false}, enough{false}, last{false};
  std::atomic<int> accepted{0};
  ASSERT_TRUE(host->queue().Publish(EventOf("id-2", "{}"), [&](const Status&) { first = true; }).ok());
  ASSERT_FALSE(WaitUntil([&] { return first.load(); }, 100));
  host->Complete(event);  // what follows waits for the one that hangs, and goes into one transaction
  const std::string large(900'000, 'x');
  std::function<void()> publish = [&] {  // again and again: there is always one
    const Status taken = host->queue().Publish(EventOf("id-3", large), [&](const Status& status) {
      accepted += status.ok();
      if (enough) {
        last = true;
      } else {
        publish();
      }
    });
    EXPECT_TRUE(taken.ok());
  };
  publish();
  faults_.space = static_cast<int64_t>(std::filesystem::file_size(path_ + "-wal")) + 100'000;
  faults_.sync_hangs = false;
  EXPECT_TRUE(WaitUntil([&] { return host->queue().Stats().completed == 1; }, 3000));
  EXPECT_EQ(accepted, 0);
  enough = true;
  EXPECT_TRUE(WaitUntil([&] { return last.load(); }));  // what it uses is ours
  EXPECT_TRUE(WaitUntil([&] { return host->queue().Health().ok(); }));
}

TEST_F(SqliteQueueTest, AFailedSyncIsUncertain) {
  auto producer = Open(Role::kProducer);
  faults_.sync_result = SQLITE_IOERR_FSYNC;
  const Status uncertain = PublishAndWait(*producer, EventOf("id-1", "{}"));
  ASSERT_FALSE(uncertain.ok());
  EXPECT_EQ(uncertain.kind(), ErrorKind::kUncertain);
  faults_.Clear();
  EXPECT_TRUE(PublishAndWait(*producer, EventOf("id-1", "{}")).ok());
}

TEST_F(SqliteQueueTest, AFailedReadIsTriedAgain) {
  auto host = OpenHost();
  faults_.read_result = SQLITE_IOERR_READ;
  ASSERT_TRUE(host->queue().Publish(EventOf("id-1", "{}"), [](const Status&) {}).ok());
  QueuedEvent event;
  EXPECT_FALSE(host->Next(event, 700));
  EXPECT_FALSE(host->queue().Health().ok());
  faults_.Clear();
  if (host->Next(event, 1500)) {  // unless reading for writing failed, too: then it was refused
    EXPECT_EQ(event.headers.id, "id-1");
    host->Complete(event);
  }
  EXPECT_TRUE(host->queue().Health().ok()) << host->queue().Health().message();
  EXPECT_TRUE(host->Stop());
}

TEST_F(SqliteQueueTest, StopKeepsItsDeadlineOnADiskThatTakesNothing) {
  {
    auto host = OpenHost();
    ASSERT_TRUE(PublishAndWait(host->queue(), EventOf("id-1", "{}")).ok());
    QueuedEvent event;
    ASSERT_TRUE(host->Next(event));
    faults_.write_result = SQLITE_FULL;
    host->Complete(event);
    const int64_t began = BootTimeMs();
    EXPECT_FALSE(host->queue().Stop(began + 300));
    EXPECT_GE(BootTimeMs() - began, 250);
    EXPECT_LE(BootTimeMs() - began, 3000);
  }
  faults_.Clear();
  auto host = OpenHost();
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  EXPECT_EQ(event.headers.id, "id-1");
}

TEST_F(SqliteQueueTest, StopAnswersWhomTheDiskKeptWaiting) {
  auto queue = Open(Role::kProducer);
  faults_.sync_hangs = true;
  std::atomic<int> answers{0};
  std::atomic<int> accepted{0};
  const auto done = [&](const Status& status) {
    accepted += status.ok();
    ++answers;
  };
  ASSERT_TRUE(queue->Publish(EventOf("id-1", "{}"), done).ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // only makes it likely that the first is on its way
  ASSERT_TRUE(queue->Publish(EventOf("id-2", "{}"), done).ok());
  const int64_t began = BootTimeMs();
  EXPECT_FALSE(queue->Stop(began + 200));
  EXPECT_LE(BootTimeMs() - began, 3000);
  EXPECT_EQ(accepted, 0) << "nothing is durable yet";
  faults_.Clear();
  queue.reset();
  EXPECT_EQ(answers, 2);
}

TEST_F(SqliteQueueTest, AHungDiskTakesThePermitAway) {
  auto host = OpenHost();
  ASSERT_TRUE(PublishAndWait(host->queue(), EventOf("id-1", "{}")).ok());
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  faults_.sync_hangs = true;
  ASSERT_TRUE(host->queue().Publish(EventOf("id-2", "{}"), [](const Status&) {}).ok());
  EXPECT_TRUE(WaitUntil([&] { return !event.permit->Valid(BootTimeMs()); }, 10'000));
  faults_.Clear();
  EXPECT_TRUE(WaitUntil([&] { return event.permit->Valid(BootTimeMs()); }));
  host->Complete(event);
  ASSERT_TRUE(host->Next(event));
  EXPECT_EQ(event.headers.id, "id-2");
  host->Complete(event);
  EXPECT_TRUE(host->Stop());
}

TEST_F(SqliteQueueTest, AnotherWritersLockIsWaitedFor) {
  auto producer = Open(Role::kProducer);
  RawFile other(path_);
  other.Execute("BEGIN IMMEDIATE");
  std::atomic<bool> accepted{false};
  ASSERT_TRUE(producer->Publish(EventOf("id-1", "{}"), [&](const Status& status) { accepted = status.ok(); }).ok());
  EXPECT_FALSE(WaitUntil([&] { return accepted.load(); }, 300));
  other.Execute("COMMIT");
  EXPECT_TRUE(WaitUntil([&] { return accepted.load(); }));
}

TEST_F(SqliteQueueTest, ARowWithBrokenHeadersIsDeadLettered) {
  Open(Role::kProducer).reset();
  RawFile(path_).Execute(
      "INSERT INTO normal VALUES (1, 'postbus-attempt:x' || char(10), 'their value');"
      "UPDATE state SET next_seq = 2, normal = 1");
  auto host = OpenHost();
  ASSERT_TRUE(PublishAndWait(host->queue(), EventOf("id-1", "{}")).ok());
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  EXPECT_EQ(event.headers.id, "id-1");
  EXPECT_TRUE(host->Stop());
  host.reset();
  RawFile file(path_);
  EXPECT_EQ(file.Read("SELECT id || ' ' || value FROM dead_letters"),
            std::vector<std::string>{"sqlite.0.1 their value"});
  EXPECT_NE(file.Read("SELECT message FROM dead_letters")[0].find("postbus-attempt"), std::string::npos);
  ExpectSound();
}

TEST_F(SqliteQueueTest, ARowOfANewerEventFormatStays) {
  Open(Role::kProducer).reset();
  RawFile(path_).Execute(
      "INSERT INTO normal VALUES (1, 'postbus-fmt:2' || char(10), 'their value');"
      "UPDATE state SET next_seq = 2, normal = 1");
  auto host = OpenHost();
  QueuedEvent event;
  EXPECT_FALSE(host->Next(event, 300));
  EXPECT_TRUE(Logged(LogLevel::kError, "format 2"));
  EXPECT_TRUE(host->Stop());
  EXPECT_EQ(RawFile(path_).Read("SELECT value FROM normal"), std::vector<std::string>{"their value"});
}

TEST_F(SqliteQueueTest, OldStatusRecordsAndDeadLettersGo) {
  Open(Role::kProducer).reset();
  const auto ago = [](int64_t days) { return std::to_string(UnixTimeMs() - days * 86'400'000); };
  RawFile(path_).Execute(
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) "
      "INSERT INTO status (id, at, record) SELECT 'old', " +
      ago(8) +
      ", '' FROM n;"
      "INSERT INTO status (id, at, record) VALUES ('new', " +
      ago(6) +
      ", '');"
      "INSERT INTO status_recipients SELECT seq, 1 FROM status;"
      "INSERT INTO dead_letters VALUES (1, 'old', " +
      ago(31) + ", '', '', ''), (2, 'new', " + ago(29) + ", '', '', '')");
  auto host = OpenHost();
  EXPECT_TRUE(WaitUntil([&] { return RawFile(path_).Read("SELECT count(*) FROM status")[0] == "1"; }));
  EXPECT_EQ(RawFile(path_).Read("SELECT id FROM status"), std::vector<std::string>{"new"});
  EXPECT_EQ(RawFile(path_).Read("SELECT count(*) FROM status_recipients"), std::vector<std::string>{"1"});
  EXPECT_EQ(RawFile(path_).Read("SELECT id FROM dead_letters"), std::vector<std::string>{"new"});
}

// Puts an event off, as a host does with one that is scheduled.
void Schedule(TestHost& host, std::string_view id, int64_t due_unix_ms) {
  ASSERT_TRUE(PublishAndWait(host.queue(), EventOf(id, "{}")).ok());
  QueuedEvent event;
  ASSERT_TRUE(host.Next(event));
  ASSERT_EQ(event.headers.id, id);
  StatusRecord record;
  record.id = id;
  record.change = Change::kScheduled;
  record.at_unix_ms = UnixTimeMs();
  record.due_unix_ms = due_unix_ms;
  host.shard().Defer(event.turn, {.recipients = RecipientSet::All(1),
                                  .due_unix_ms = due_unix_ms,
                                  .attempt = 0,
                                  .outcome_class = "scheduled",
                                  .value = event.value});
  host.shard().Report(event.turn, record);
  host.Complete(event);
}

constexpr int64_t kHourMs = 3'600'000;

// Whoever is answered finds it cancelled, and gone from the file.
TEST_F(SqliteQueueTest, WhatWaitsForLaterEndsWhenItIsCancelled) {
  auto host = OpenHost();
  for (const char* id : {"id-1", "id-10", "id-2"}) Schedule(*host, id, UnixTimeMs() + kHourMs);
  ASSERT_TRUE(WaitUntil([&] { return host->queue().Stats().deferred == 3; }));
  ASSERT_TRUE(CancelAndWait(host->queue(), "id-1").ok());
  RawFile file(path_);
  EXPECT_EQ(file.Read("SELECT count(*) FROM deferred"), std::vector<std::string>{"2"});
  const auto cancelled = file.Read("SELECT record FROM status WHERE record LIKE '%\"cancelled\"%'");
  ASSERT_EQ(cancelled.size(), 1u);
  Result<StatusRecord> record = DecodeStatus(cancelled[0]);
  ASSERT_TRUE(record.ok());
  EXPECT_EQ(record->id, "id-1");
  EXPECT_EQ(record->change, Change::kCancelled);
  EXPECT_EQ(record->recipients, RecipientSet::All(1));
  EXPECT_EQ(host->queue().Stats().cancelled, 1u);
  EXPECT_EQ(host->queue().Stats().delayed, 2);
  EXPECT_EQ(host->queue().Stats().completed, 3u) << "no turn was over by it";
  ASSERT_TRUE(CancelAndWait(host->queue(), "id-1").ok());
  EXPECT_EQ(file.Read("SELECT record FROM status WHERE record LIKE '%\"cancelled\"%'"), cancelled) << "told once";
  EXPECT_TRUE(host->Stop());
}

TEST_F(SqliteQueueTest, WhatIsOverOrUnknownIsNotCancelled) {
  auto host = OpenHost();
  ASSERT_TRUE(PublishAndWait(host->queue(), EventOf("sent", "{}")).ok());
  QueuedEvent event;
  ASSERT_TRUE(host->Next(event));
  StatusRecord sent;
  sent.id = "sent";
  sent.change = Change::kSent;
  sent.at_unix_ms = UnixTimeMs();
  host->shard().Report(event.turn, sent);
  host->Complete(event);
  ASSERT_TRUE(WaitUntil([&] { return host->queue().Stats().completed == 1; }));
  auto producer = Open(Role::kProducer);
  for (Queue* queue : {&host->queue(), producer.get()}) {
    const Status over = CancelAndWait(*queue, "sent");
    ASSERT_FALSE(over.ok());
    EXPECT_EQ(over.kind(), ErrorKind::kConflict);
    EXPECT_NE(over.message().find("sent"), std::string_view::npos) << over.message();
    const Status unknown = CancelAndWait(*queue, "unknown");
    ASSERT_FALSE(unknown.ok());
    EXPECT_EQ(unknown.kind(), ErrorKind::kNotFound);
  }
  EXPECT_EQ(RawFile(path_).Read("SELECT count(*) FROM cancellations"), std::vector<std::string>{"0"});
  EXPECT_TRUE(producer->Stop(BootTimeMs() + kPatienceMs));
  EXPECT_TRUE(host->Stop());
}

// Status records are kept for a week, and an email may wait for a year.
TEST_F(SqliteQueueTest, WhatHasWaitedForLongerThanItsStatusIsKeptMayBeCancelled) {
  auto host = OpenHost();
  Schedule(*host, "scheduled", UnixTimeMs() + kHourMs);
  EXPECT_TRUE(host->Stop());
  host.reset();
  RawFile(path_).Execute("DELETE FROM status");
  auto producer = Open(Role::kProducer);
  EXPECT_TRUE(CancelAndWait(*producer, "scheduled").ok());
  EXPECT_EQ(CancelAndWait(*producer, "scheduled-too").kind(), ErrorKind::kNotFound);
  ASSERT_TRUE(PublishAndWait(*producer, EventOf("never-begun", "{}")).ok());  // accepted long ago
  RawFile(path_).Execute("DELETE FROM status");
  EXPECT_TRUE(CancelAndWait(*producer, "never-begun").ok()) << "it may be in the file";
  EXPECT_TRUE(producer->Stop(BootTimeMs() + kPatienceMs));
}

// An API process alone has no right to touch what a host may have; the host does it at its start.
TEST_F(SqliteQueueTest, AHostEndsAtItsStartWhatWasCancelledMeanwhile) {
  auto host = OpenHost();
  for (const char* id : {"id-1", "id-2"}) Schedule(*host, id, UnixTimeMs() + kHourMs);
  EXPECT_TRUE(host->Stop());
  host.reset();
  auto producer = Open(Role::kProducer);
  ASSERT_TRUE(CancelAndWait(*producer, "id-2").ok());
  RawFile file(path_);
  EXPECT_EQ(file.Read("SELECT count(*) FROM deferred"), std::vector<std::string>{"2"});
  host = OpenHost();
  EXPECT_TRUE(host->queue().cancellations().Contains("id-2"));
  ASSERT_TRUE(WaitUntil([&] { return host->queue().Stats().cancelled == 1; }));
  EXPECT_EQ(file.Read("SELECT count(*) FROM status WHERE id = 'id-2' AND record LIKE '%\"cancelled\"%'"),
            std::vector<std::string>{"1"});
  ASSERT_TRUE(CancelAndWait(*producer, "id-1").ok());
  ASSERT_TRUE(WaitUntil([&] { return host->queue().Stats().cancelled == 2; })) << "while it runs, too";
  EXPECT_EQ(file.Read("SELECT count(*) FROM deferred"), std::vector<std::string>{"0"});
  EXPECT_TRUE(producer->Stop(BootTimeMs() + kPatienceMs));
  EXPECT_TRUE(host->Stop());
}

// It died behind the point of no return: whether the mail was sent is for its next turn to say.
TEST_F(SqliteQueueTest, WhatAKilledHostHadPassedOnIsNotEndedAsCancelled) {
  Child killed([this] {
    auto host = OpenHost();
    Schedule(*host, "id-1", UnixTimeMs() - 1);
    QueuedEvent copy;
    if (!host->Next(copy)) _exit(3);
    copy.marks.Passed(RecipientSet::All(1));
    copy.marks.Answered(RecipientSet::All(1), RecipientSet::All(1), {});
    _exit(0);
  });
  killed.Go();
  ASSERT_EQ(killed.Wait(), 0);
  {
    auto producer = Open(Role::kProducer);
    ASSERT_TRUE(CancelAndWait(*producer, "id-1").ok());
    EXPECT_TRUE(producer->Stop(BootTimeMs() + kPatienceMs));
  }
  auto host = OpenHost();
  QueuedEvent copy;
  ASSERT_TRUE(host->Next(copy));
  EXPECT_EQ(copy.headers.id, "id-1");
  EXPECT_EQ(copy.past.accepted, RecipientSet::All(1));
  host->Complete(copy);
  EXPECT_TRUE(host->Stop());
  EXPECT_EQ(RawFile(path_).Read("SELECT count(*) FROM status WHERE record LIKE '%\"cancelled\"%'"),
            std::vector<std::string>{"0"});
}

TEST_F(SqliteQueueTest, AFullDiskRefusesCancellationsAndChangesNothing) {
  auto host = OpenHost();
  Schedule(*host, "id-1", UnixTimeMs() + kHourMs);
  ASSERT_TRUE(WaitUntil([&] { return host->queue().Stats().deferred == 1; }));
  faults_.write_result = SQLITE_FULL;
  const Status refused = CancelAndWait(host->queue(), "id-1");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.kind(), ErrorKind::kUnavailable);
  EXPECT_FALSE(host->queue().cancellations().Contains("id-1"));
  faults_.Clear();
  ASSERT_TRUE(WaitUntil([&] { return CancelAndWait(host->queue(), "id-1").ok(); }));
  EXPECT_TRUE(WaitUntil([&] { return host->queue().Stats().cancelled == 1; }));
  EXPECT_TRUE(host->Stop());
}

TEST_F(SqliteQueueTest, OldCancellationsGo) {
  auto host = OpenHost();
  EXPECT_TRUE(host->Stop());
  host.reset();
  RawFile file(path_);
  const int64_t oldest = UnixTimeMs() - Cancellations::kKeptMs;
  file.Execute("INSERT INTO cancellations (id, at) VALUES ('old', " + std::to_string(oldest - 60'000) +
               "), ('young', " + std::to_string(oldest + 3'600'000) + ")");
  host = OpenHost();
  EXPECT_FALSE(host->queue().cancellations().Contains("old"));
  EXPECT_TRUE(host->queue().cancellations().Contains("young"));
  EXPECT_TRUE(
      WaitUntil([&] { return file.Read("SELECT id FROM cancellations") == std::vector<std::string>{"young"}; }));
  EXPECT_TRUE(host->Stop());
}

TEST_F(SqliteQueueTest, StatsCountTheBacklog) {
  auto host = OpenHost();
  for (const char* id : {"id-1", "id-2", "id-3"}) ASSERT_TRUE(PublishAndWait(host->queue(), EventOf(id, "{}")).ok());
  QueuedEvent first, second;
  ASSERT_TRUE(host->Next(first));
  ASSERT_TRUE(host->Next(second));
  QueueStats stats = host->queue().Stats();
  EXPECT_EQ(stats.published, 3u);
  EXPECT_EQ(stats.consumed, 2u);
  EXPECT_EQ(stats.waiting, 1);
  EXPECT_EQ(stats.delayed, 0);
  host->shard().Defer(first.turn, {.recipients = RecipientSet::All(1),
                                   .due_unix_ms = UnixTimeMs() + 3'600'000,
                                   .attempt = 1,
                                   .outcome_class = "transient",
                                   .value = "{}"});
  host->Complete(first);
  host->Complete(second);
  EXPECT_TRUE(WaitUntil([&] { return host->queue().Stats().completed == 2; }));
  stats = host->queue().Stats();
  EXPECT_EQ(stats.waiting, 1);
  EXPECT_EQ(stats.delayed, 1);
  EXPECT_TRUE(host->Stop());
  host.reset();
  auto again = OpenHost();
  EXPECT_EQ(again->queue().Stats().waiting, 1);
  EXPECT_EQ(again->queue().Stats().delayed, 1);
}

TEST_F(SqliteQueueTest, BadIdsAreRefused) {
  auto producer = Open(Role::kProducer);
  for (const char* id : {"", "a b", "a\nb"}) {
    const Status refused = producer->Publish(EventOf(id, "{}"), [](const Status&) { FAIL(); });
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.kind(), ErrorKind::kInvalid);
  }
}

// kill -9 from outside, at any moment of a busy host: the file stays sound and every accepted event is in it or ended.
TEST_F(SqliteQueueTest, TheFileIsSoundAfterKills) {
  constexpr int kRounds = 12;
  std::mt19937 random(20251225);
  std::set<std::string> accepted, ended;
  for (int round = 0; round < kRounds; ++round) {
    std::array<int, 2> ledger{};
    ASSERT_EQ(pipe(ledger.data()), 0);
    Child child([&] {
      close(ledger[0]);
      const auto write_line = [&](const std::string& line) {
        if (write(ledger[1], line.data(), line.size()) < 0) _exit(1);
      };
      auto host = OpenHost();
      std::atomic<int> outstanding{0};
      QueuedEvent event;
      for (int i = 0;; ++i) {
        if (outstanding < 500) {
          const std::string id = std::to_string(round) + "-" + std::to_string(i);
          ++outstanding;
          const std::string value(static_cast<size_t>(i % 7 == 0 ? 20'000 : 100), 'x');
          const Status taken = host->queue().Publish(EventOf(id, value, static_cast<Priority>(i % kPriorities)),
                                                     [&, id](const Status& status) {
                                                       if (status.ok()) write_line("a " + id + "\n");
                                                       --outstanding;
                                                     });
          if (!taken.ok()) throw std::runtime_error("publish");
        }
        if (host->shard().Next(event)) {
          if (i % 3 == 0 && event.headers.attempt == 0) {
            host->shard().Defer(event.turn, {.recipients = RecipientSet::All(1),
                                             .due_unix_ms = UnixTimeMs() + i % 50,
                                             .attempt = 1,
                                             .outcome_class = "transient",
                                             .value = event.value});
          } else {
            write_line("e " + event.headers.id + "\n");
          }
          host->shard().Complete(event.turn);
        }
        if (i % 16 == 0) host->shard().Flush();
      }
    });
    close(ledger[1]);
    child.Go();
    const int64_t kill_at = BootTimeMs() + 100 + static_cast<int64_t>(random() % 200);
    std::string text;
    std::array<char, 65536> block{};
    bool killed = false;
    while (true) {
      const int64_t left = kill_at - BootTimeMs();
      if (left <= 0 && !std::exchange(killed, true)) kill(child.pid(), SIGKILL);
      pollfd wait{ledger[0], POLLIN, 0};
      if (poll(&wait, 1, killed ? -1 : static_cast<int>(left)) == 0) continue;
      const ssize_t size = read(ledger[0], block.data(), block.size());
      if (size <= 0) break;
      text.append(block.data(), static_cast<size_t>(size));
    }
    close(ledger[0]);
    ASSERT_TRUE(killed) << "the child ended by itself";
    child.Wait();
    size_t begin = 0;
    for (size_t end = text.find('\n'); end != std::string::npos; begin = end + 1, end = text.find('\n', begin)) {
      (text[begin] == 'a' ? accepted : ended).insert(text.substr(begin + 2, end - begin - 2));
    }
    Open(Role::kProducer).reset();  // the first may have died before it made the tables
    ExpectSound();
  }
  EXPECT_GT(accepted.size(), 100u);
  auto host = OpenHost();
  QueuedEvent event;
  while (host->Next(event, 1000)) {
    ended.insert(event.headers.id);
    host->Complete(event);
  }
  for (const std::string& id : accepted) EXPECT_TRUE(ended.contains(id)) << id << " is lost";
  EXPECT_TRUE(host->Stop());
  EXPECT_EQ(host->queue().Stats().waiting, 0);
}

}  // namespace
}  // namespace postbus::sqlite
