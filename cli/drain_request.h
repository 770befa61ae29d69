// cli/drain_request.h - that somebody asked over HTTP for the end of this process. Ask from any thread; the rest on the
// control thread.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>

namespace postbus {

class DrainRequest {
 public:
  DrainRequest() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~DrainRequest() { close(fd_); }
  DrainRequest(const DrainRequest&) = delete;
  DrainRequest& operator=(const DrainRequest&) = delete;

  void Ask(bool leave) {
    if (leave) leave_ = true;
    eventfd_write(fd_, 1);
  }
  int fd() const { return fd_; }  // readable once it was
  // One of those who asked wants it to leave its group.
  bool leave() const { return leave_; }

 private:
  const int fd_;
  std::atomic<bool> leave_{false};
};

}  // namespace postbus
