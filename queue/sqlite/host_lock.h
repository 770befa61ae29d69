// queue/sqlite/host_lock.h - one host per queue file: flock on `<path>.host-lock`, which the kernel frees when the
// holder dies. Move-only; the lock lasts as long as the object.
#pragma once

#include <string>

#include "event/status.h"
#include "queue/file_descriptor.h"

namespace postbus::sqlite {

class HostLock {
 public:
  // kConflict, naming the holder's pid, if another host has it.
  static Result<HostLock> Take(const std::string& queue_path);

 private:
  explicit HostLock(FileDescriptor file) : file_(std::move(file)) {}
  FileDescriptor file_;
};

}  // namespace postbus::sqlite
