// Anything at all as a partition's commit metadata: no crash, bounded memory, and what is used makes sense, survives
// another round through the text, and leads a tracker to the end of the map.
//
// Input: one byte of mode, eight of the committed offset, eight of the log's end, then the metadata. Mode bit 0: it is
// text as it is; else bytes that get a right checksum and become M1 text, bit 1: with the committed offset as the echo
// of the base. The higher bits choose how the tracker is driven.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <string_view>

#include "queue/kafka/offset_map.h"
#include "queue/kafka/offset_tracker.h"

namespace {

using namespace postbus::kafka;

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

int64_t TakeOffset(std::string_view* input) {
  uint64_t value = 0;
  for (int i = 0; i < 8 && !input->empty(); ++i) {
    value = (value << 8) | static_cast<uint8_t>(input->front());
    input->remove_prefix(1);
  }
  return static_cast<int64_t>(value & std::numeric_limits<int64_t>::max());
}

std::string Frame(std::string bytes) {
  uint32_t crc = 0xffffffff;
  for (const char c : bytes) {
    crc ^= static_cast<uint8_t>(c);
    for (int i = 0; i < 8; ++i) crc = (crc & 1) != 0 ? (crc >> 1) ^ 0xedb88320 : crc >> 1;
  }
  for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<char>(~crc >> (8 * i)));
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string text = "M1.";
  for (size_t bit = 0; bit < bytes.size() * 8; bit += 6) {
    unsigned digit = 0;
    for (size_t i = bit; i < bit + 6; ++i) {
      const unsigned one = i / 8 < bytes.size() ? (static_cast<uint8_t>(bytes[i / 8]) >> (7 - i % 8)) & 1 : 0;
      digit = 2 * digit + one;
    }
    text.push_back(kAlphabet[digit]);
  }
  return text;
}

void DriveTracker(const OffsetMap& map, unsigned how) {
  OffsetTracker tracker(map);
  Require(tracker.Take().base == map.base && tracker.Take().map == EncodeOffsetMap(map), "a restored map is kept");
  const auto begin = [&](const IncompleteOffset& each) {
    Require(tracker.MayDispatch(), "a restored record may be dispatched");
    const Admission admission = tracker.Begin(each.offset);
    Require(admission == (each.claimed ? Admission::kClaimed : Admission::kDispatch), "a restored record is taken");
  };
  for (const IncompleteOffset& each : map.incomplete) {
    if ((how & 1) == 0) begin(each);
    if ((how & 1) == 0 && each.offset + 1 < map.end && map.IsComplete(each.offset + 1)) {
      Require(tracker.Begin(each.offset + 1) == Admission::kComplete, "what is complete is skipped");
    }
    if ((how & 2) != 0) Require(tracker.Complete(each.offset) == Completion::kCompleted, "completed");
  }
  Require(tracker.Take().map.size() <= kMaxMapText, "the map fits");
  if (map.end < std::numeric_limits<int64_t>::max() - 1) {
    const Admission admission = tracker.Begin(map.end);  // a new record
    Require(admission == Admission::kDispatch || (admission == Admission::kWindowClosed && !tracker.MayDispatch()),
            "new");
    Require(tracker.incomplete() <= kMaxIncomplete, "hard window");
    if (admission == Admission::kDispatch) tracker.Complete(map.end);
  }
  for (const IncompleteOffset& each : map.incomplete) tracker.Complete(each.offset);
  Require(tracker.base() >= map.end && tracker.incomplete() == 0 && tracker.Take().map.empty(), "all complete");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  if (input.empty()) return 0;
  const auto mode = static_cast<uint8_t>(input.front());
  input.remove_prefix(1);
  const int64_t committed = TakeOffset(&input);
  const LogRange log{0, TakeOffset(&input)};
  std::string text(input);
  if ((mode & 1) == 0) {
    if ((mode & 2) != 0 && text.size() >= 2) {
      std::string echo;
      auto rest = static_cast<uint64_t>(committed);
      for (; rest >= 0x80; rest >>= 7) echo.push_back(static_cast<char>(rest | 0x80));
      echo.push_back(static_cast<char>(rest));
      text.insert(2, echo);
    }
    text = Frame(text);
  }

  const DecodedOffsetMap decoded = DecodeOffsetMap(text, committed, log);
  Require(decoded.map.IsWellFormed() && decoded.map.base == committed, "well formed, of the committed offset");
  Require(MapVerdictName(decoded.verdict) != "unknown", "a verdict with a name");
  if (decoded.verdict != MapVerdict::kUsed) {
    Require(decoded.map == OffsetMap::StartingAt(committed), "ignored means at the base");
    return 0;
  }
  Require(decoded.map.end > committed && decoded.map.end <= log.end, "within the log");
  Require(!decoded.map.IsComplete(committed) && !decoded.map.IsComplete(decoded.map.end),
          "complete between base and end");
  Require(decoded.map.incomplete.capacity() <= kMaxIncomplete, "bounded");
  const std::string again = EncodeOffsetMap(decoded.map);
  Require(again.size() <= kMaxMapText, "the map fits");
  const DecodedOffsetMap second = DecodeOffsetMap(again, committed, log);
  Require(second.verdict == MapVerdict::kUsed && second.map == decoded.map, "stable");
  DriveTracker(decoded.map, mode >> 2);
  return 0;
}
