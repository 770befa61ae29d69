#include "host/ready_queue.h"

#include <algorithm>

namespace postbus {
namespace {

constexpr std::array<int, kPriorities> kWeights = {70, 25, 5};

}  // namespace

// Smooth weighted round robin, as the queues are read: of the priorities that have some each earns its weight, the
// richest pays for all.
uint32_t ReadyQueue::Pop() {
  Lane* richest = nullptr;
  int earned = 0;
  for (size_t i = 0; i < kPriorities; ++i) {
    Lane& lane = lanes_[i];
    if (lane.slots.empty()) {
      lane.credit = 0;  // what could not be used is not saved up
      continue;
    }
    lane.credit += kWeights[i];
    earned += kWeights[i];
    if (richest == nullptr || lane.credit > richest->credit) richest = &lane;
  }
  richest->credit -= earned;
  const uint32_t slot = richest->slots.front();
  richest->slots.pop_front();
  --size_;
  return slot;
}

uint32_t ReadyQueue::Pop(Priority priority) {
  std::deque<uint32_t>& slots = lanes_[static_cast<size_t>(priority)].slots;
  const uint32_t slot = slots.front();
  slots.pop_front();
  --size_;
  return slot;
}

bool ReadyQueue::Erase(uint32_t slot, Priority priority) {
  std::deque<uint32_t>& slots = lanes_[static_cast<size_t>(priority)].slots;
  const auto found = std::find(slots.begin(), slots.end(), slot);
  if (found == slots.end()) return false;
  slots.erase(found);
  --size_;
  return true;
}

}  // namespace postbus
