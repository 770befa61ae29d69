// queue/kafka/instance_id.h - the `group.instance.id` of this host, kept in its state directory: after a restart, also
// a kill -9, the broker knows the member again and hands it its partitions at once, where a new member would wait for
// the dead one's session to end.
//
// Hosts that share a state directory hold one slot each: instance-0, instance-1, … A slot is a file with the id,
// locked (flock) as long as its InstanceId lives; the lock ends with the process.
#pragma once

#include <string>

#include "event/status.h"

namespace postbus::kafka {

class InstanceId {
 public:
  // Makes the directory if there is none. Thread-safe.
  static Result<InstanceId> Acquire(const std::string& state_dir);

  InstanceId(InstanceId&& other) noexcept;
  InstanceId& operator=(InstanceId&&) = delete;
  ~InstanceId();

  // "<host>-<8 random hex digits>-<slot>": two machines of one name do not fence each other.
  const std::string& id() const { return id_; }

 private:
  InstanceId(int fd, std::string id) : fd_(fd), id_(std::move(id)) {}

  int fd_;
  std::string id_;
};

}  // namespace postbus::kafka
