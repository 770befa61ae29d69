// host/ready_queue.h - mails that wait for one transport, or for a slot of one domain: first in, first out within a
// priority; where several wait, high gets 70, normal 25 and low 5 of 100. Not thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>

#include "event/email_event.h"

namespace postbus {

class ReadyQueue {
 public:
  size_t size() const { return size_; }
  size_t size(Priority priority) const { return lanes_[static_cast<size_t>(priority)].slots.size(); }
  bool empty() const { return size_ == 0; }

  void Push(uint32_t slot, Priority priority) {
    lanes_[static_cast<size_t>(priority)].slots.push_back(slot);
    ++size_;
  }
  // Puts back what was popped last, in reverse order.
  void PushFront(uint32_t slot, Priority priority) {
    lanes_[static_cast<size_t>(priority)].slots.push_front(slot);
    ++size_;
  }
  // REQUIRES: !empty().
  uint32_t Pop();
  // The first of a priority. REQUIRES: size(priority) > 0.
  uint32_t Pop(Priority priority);
  // False: it is not in here.
  bool Erase(uint32_t slot, Priority priority);
  // Empties it; high ones first.
  template <typename Visit>
  void Drain(Visit visit) {
    std::array<Lane, kPriorities> lanes;
    lanes.swap(lanes_);
    size_ = 0;
    for (const Lane& lane : lanes) {
      for (const uint32_t slot : lane.slots) visit(slot);
    }
  }

 private:
  struct Lane {
    std::deque<uint32_t> slots;
    int credit = 0;
  };

  std::array<Lane, kPriorities> lanes_;
  size_t size_ = 0;
};

}  // namespace postbus
