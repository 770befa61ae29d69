// queue/kafka/journals.h - the journals of a host's partitions: one file each in `<state_dir>/journal/`. A partition
// that comes back while turns of its earlier assignment still run gets the journal they mark. Thread-safe. The journals
// may outlive it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "queue/journal.h"
#include "queue/queue.h"

namespace postbus::kafka {

class Journals {
 public:
  Journals(const std::string& state_dir, std::string group_id, QueueLog log);

  // Null where there is none to be had (another host of this state_dir still has it, the disk is full): said in the
  // log, and the partition goes without. kInvalid: another major version of postbus wrote it, and may have said there
  // what is not to be sent again.
  Result<std::shared_ptr<Journal>> Of(const std::string& topic, int32_t partition);

  // Gives all files back.
  void Detach();

 private:
  const std::string directory_;
  const std::string group_id_;
  const QueueLog log_;

  std::mutex mutex_;  // guards the rest
  std::map<std::string, std::weak_ptr<Journal>> open_;
};

}  // namespace postbus::kafka
