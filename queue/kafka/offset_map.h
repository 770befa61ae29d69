// queue/kafka/offset_map.h - what is complete above the committed offset, as text for the commit's metadata.
//
// Format M1. The text is "M1." + base64url without padding (RFC 4648 section 5) of
//   minor    1 byte   0. A reader of minor 0 takes a higher one, too, and ignores what follows the bits.
//   coding   1 byte   bits 0-3: k; bit 4: claim bits are present; bits 5-7: 0
//   base     varint   echo of the committed offset: a map is good for this base only
//   span     varint   end - base, at least 1
//   count    varint   number of incomplete offsets in [base, end), at least 1: the first is base itself
//   bits              the distance to each further incomplete offset, less 1, as an Exp-Golomb code of order k; then,
//                     if present, one claim bit for each incomplete offset; then 0 bits up to a whole byte
//   crc      4 bytes  CRC-32 (IEEE 802.3) of all bytes before it, least significant byte first
// Varints are LEB128, as short as possible; bits run from a byte's most significant to its least. An Exp-Golomb code of
// order k of d is q = (d >> k) + 1, written as (width of q - 1) zeros and then q, followed by the lowest k bits of d.
// Of order 0 it is a bitmap where incomplete offsets are dense; of a high order it takes little more than log2 of the
// mean distance where they are sparse. The writer takes the order that gives the fewest bits.
//
// The empty map (nothing complete or claimed above the base) is the empty text, as in a commit made by any other tool.
//
// Versions: a minor release reads what its neighbours write. What an old reader may ignore goes behind the bits, with a
// higher minor. What it must understand (more incomplete offsets, another coding) needs "M2.", and the release that
// first writes it comes after one that reads it.
//
// Everything here is a pure function of its arguments and may be called from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace postbus::kafka {

// A map within these limits takes at most 2890 bytes of text (offset_map_test.cc has the proof and the search).
inline constexpr size_t kMaxIncomplete = 1000;
inline constexpr int64_t kMaxSpan = int64_t{1} << 23;  // from base to the last but one incomplete offset

// Real Kafka (3.9.1, defaults) stores 4095 bytes of metadata and refuses 4096.
inline constexpr size_t kMaxMapText = 4095;

struct IncompleteOffset {
  int64_t offset = 0;
  bool claimed = false;  // handed to a transport under at-most-once: whoever fetches it again must not send it

  bool operator==(const IncompleteOffset&) const = default;
};

// The state of one partition. Every offset below `base` is complete; of those in [base, end) all but `incomplete`;
// nothing is known of those from `end` on. An offset without a record (compaction, a transaction marker) may pass for
// complete.
struct OffsetMap {
  int64_t base = 0;                          // the offset to commit and to fetch from
  int64_t end = 0;                           // one past the highest offset that is complete or claimed; base if none is
  std::vector<IncompleteOffset> incomplete;  // ascending; empty if end == base, else the first one is base

  static OffsetMap StartingAt(int64_t base) { return {base, base, {}}; }

  bool IsComplete(int64_t offset) const;

  // True if the fields agree with each other as described and keep the limits above.
  bool IsWellFormed() const;

  bool operator==(const OffsetMap&) const = default;
};

// Returns the text for a map, never more than kMaxMapText bytes.
// REQUIRES: map.IsWellFormed()
std::string EncodeOffsetMap(const OffsetMap& map);

// What became of a commit's metadata. All but the first two mean: the map was ignored. What was complete above the base
// will be sent again and claims are lost, so the caller counts these, and where claims matter it may rather stop.
enum class MapVerdict {
  kEmpty,           // no metadata: nothing is known above the base
  kUsed,            // a sound map of this base
  kForeign,         // not ours: another program's metadata
  kUnknownVersion,  // ours, of a release this one cannot read
  kDamaged,         // the checksum is wrong, or it is right and the content makes no sense
  kOverLimit,       // sound, but with more incomplete offsets or a wider span than we ever write
  kWrongBase,       // made for another base: somebody moved the committed offset and left the map
  kOutsideLog,      // base or end is not within the partition's log: another log (topic re-created, data lost)
};

// A metric's label value: lower case, words joined by '_'.
std::string_view MapVerdictName(MapVerdict verdict);

// The partition's first offset and one past its last: low and high watermark, asked for after the committed offset was
// read (an older high watermark may lie below the end of a sound map).
struct LogRange {
  int64_t start = 0;
  int64_t end = 0;
};

struct DecodedOffsetMap {
  OffsetMap map;  // well formed, its base is the committed one; without a sound map nothing is complete above it
  MapVerdict verdict = MapVerdict::kEmpty;
};

// Reads the metadata stored with the offset `committed`. `text` may be anything: time and memory are bounded by
// kMaxMapText and kMaxIncomplete, not by what the text says.
// REQUIRES: committed >= 0
DecodedOffsetMap DecodeOffsetMap(std::string_view text, int64_t committed, LogRange log);

}  // namespace postbus::kafka
