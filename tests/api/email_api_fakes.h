// tests/api/email_api_fakes.h - what the HTTP API stands on, told by the test what to say, and the renderer it checks
// with.
#pragma once

#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "host/plugin_set.h"
#include "queue/queue.h"
#include "queue/status_history.h"
#include "tests/host/fake_queue.h"

namespace postbus {

// A queue that says what the test wants it to say.
class SayingQueue final : public Queue {
 public:
  Status Publish(const Publication& publication, std::function<void(const Status&)> done) override {
    ids.clear();
    for (const NewEvent& event : publication.events) {
      ids.emplace_back(event.id);
      last_id = event.id;
      last_value = event.value;
      last_priority = event.priority;
      last_accepted_at = event.accepted_at_unix_ms;
      last_recipient_hashes.assign(event.recipient_hashes.begin(), event.recipient_hashes.end());
      last_recipients = event.recipients;
    }
    request_id = publication.request_id;
    digest = publication.digest;
    ++published;
    if (refuse) return Status::Unavailable("the local queue is full");
    if (hold) {
      held = std::move(done);
    } else {
      done(Status(answer.ok() ? Status() : Status(answer.kind(), std::string(answer.message()))));
    }
    return {};
  }
  Status Cancel(std::string_view id, std::function<void(const Status&)> done) override {
    cancelled.emplace_back(id);
    if (refuse) return Status::Unavailable("the local queue is full");
    done(Status(answer.ok() ? Status() : Status(answer.kind(), std::string(answer.message()))));
    return {};
  }
  const Cancellations& cancellations() const override { return cancellations_; }
  Status StartConsuming(const std::vector<int>&) override { return {}; }
  ShardQueue& shard(size_t) override { return unused_; }
  void StopConsuming() override {}
  bool Stop(int64_t) override { return true; }
  Status Health() const override { return {}; }
  QueueStats Stats() const override { return {}; }
  std::string Description() const override { return {}; }

  bool refuse = false;
  Status answer;
  bool hold = false;
  std::function<void(const Status&)> held;
  int published = 0;
  std::string last_id;
  std::string last_value;
  Priority last_priority = Priority::kNormal;
  int64_t last_accepted_at = 0;
  std::vector<uint64_t> last_recipient_hashes;
  RecipientSet last_recipients;
  std::vector<std::string> ids;
  std::string request_id;
  std::string digest;
  std::vector<std::string> cancelled;

 private:
  const Cancellations cancellations_;
  FakeQueue unused_;
};

// Knows one email.
class SayingHistory final : public StatusHistory {
 public:
  Result<std::vector<StatusRecord>> Find(std::string_view id) override {
    asked = id;
    if (!answer.ok()) return Status(answer.kind(), std::string(answer.message()));
    StatusRecord record;
    record.id = id;
    record.change = change;
    record.at_unix_ms = 1;
    return std::vector{record};
  }
  Result<std::vector<std::string>> IdsTo(uint64_t, size_t) override { return std::vector<std::string>(); }
  void NoteQueued(std::span<const StatusRecord> records) override { noted.assign(records.begin(), records.end()); }

  std::string asked;
  Status answer;
  Change change = Change::kQueued;
  std::vector<StatusRecord> noted;
};

// The real renderer on the templates that come with postbus; one for all tests.
inline std::shared_ptr<const Renderer> ShippedTemplates() {
  static const std::shared_ptr<const Renderer> renderer = [] {
    Config config;
    config.renderer.plugin = POSTBUS_BUILD_DIR "/plugins/ctemplate.so";
    config.renderer.options.emplace_back().name = "directory";
    config.renderer.options.back().text = POSTBUS_SOURCE_DIR "/templates";
    auto loaded = LoadRenderer(config, [](LogLevel, std::string_view) {});
    if (!loaded.ok()) throw std::runtime_error(std::string(loaded.status().message()));
    return std::move(*loaded);
  }();
  return renderer;
}

}  // namespace postbus
