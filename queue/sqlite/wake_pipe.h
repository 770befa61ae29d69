// queue/sqlite/wake_pipe.h - tells the host of a queue file that another process has put something in: a FIFO,
// `<path>.wake`. Only a hint: a host that misses it looks by itself twice a second.
// Everyone opens both ends, so nobody waits for the other and nobody gets SIGPIPE; a full FIFO has woken the host
// already.
#pragma once

#include <string>

#include "event/status.h"
#include "queue/file_descriptor.h"

namespace postbus::sqlite {

class WakePipe {
 public:
  static Result<WakePipe> Open(const std::string& queue_path);

  int fd() const { return fifo_.get(); }  // readable = somebody notified
  void Notify() const;
  void Drain() const;

 private:
  explicit WakePipe(FileDescriptor fifo) : fifo_(std::move(fifo)) {}
  FileDescriptor fifo_;
};

}  // namespace postbus::sqlite
