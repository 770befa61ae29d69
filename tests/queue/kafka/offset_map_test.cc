#include "queue/kafka/offset_map.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace postbus::kafka {
namespace {

constexpr int64_t kMaxOffset = std::numeric_limits<int64_t>::max();
constexpr LogRange kAnyLog{0, kMaxOffset};

// A map of the given states, one for each offset from `base` on: 'i' incomplete, 'c' claimed, '.' complete.
OffsetMap MapOf(int64_t base, std::string_view states) {
  OffsetMap map = OffsetMap::StartingAt(base);
  for (const char state : states) {
    if (state != '.') map.incomplete.push_back({map.end, state == 'c'});
    ++map.end;
  }
  return map;
}

OffsetMap MapOfOffsets(const std::vector<int64_t>& incomplete, int64_t end) {
  OffsetMap map = OffsetMap::StartingAt(incomplete.front());
  map.end = end;
  for (const int64_t offset : incomplete) map.incomplete.push_back({offset, false});
  return map;
}

// '0' and '1' as bits, the first the most significant of the first byte.
std::string Pack(std::string digits) {
  std::string bytes;
  while (digits.size() % 8 != 0) digits.push_back('0');
  for (size_t i = 0; i < digits.size(); i += 8) {
    bytes.push_back(static_cast<char>(std::stoul(digits.substr(i, 8), nullptr, 2)));
  }
  return bytes;
}

// Frames bytes as M1 text with a right checksum; written apart from the codec on purpose.
std::string Frame(std::string bytes) {
  uint32_t crc = 0xffffffff;
  for (const char c : bytes) {
    crc ^= static_cast<uint8_t>(c);
    for (int i = 0; i < 8; ++i) crc = (crc & 1) != 0 ? (crc >> 1) ^ 0xedb88320 : crc >> 1;
  }
  for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<char>(~crc >> (8 * i)));
  std::string digits;
  for (const char c : bytes) {
    for (int bit = 7; bit >= 0; --bit) digits.push_back(((c >> bit) & 1) != 0 ? '1' : '0');
  }
  while (digits.size() % 6 != 0) digits.push_back('0');
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string text = "M1.";
  for (size_t i = 0; i < digits.size(); i += 6) {
    text.push_back(kAlphabet[std::stoul(digits.substr(i, 6), nullptr, 2)]);
  }
  return text;
}

std::string Bytes(std::initializer_list<int> values) {
  std::string bytes;
  for (const int value : values) bytes.push_back(static_cast<char>(value));
  return bytes;
}

void ExpectRoundTrip(const OffsetMap& map) {
  ASSERT_TRUE(map.IsWellFormed());
  const std::string text = EncodeOffsetMap(map);
  ASSERT_LE(text.size(), kMaxMapText);
  const DecodedOffsetMap decoded = DecodeOffsetMap(text, map.base, {map.base, map.end});
  ASSERT_EQ(decoded.verdict, map.end == map.base ? MapVerdict::kEmpty : MapVerdict::kUsed) << text;
  ASSERT_EQ(decoded.map, map) << text;
}

void ExpectIgnored(std::string_view text, int64_t committed, LogRange log, MapVerdict verdict) {
  const DecodedOffsetMap decoded = DecodeOffsetMap(text, committed, log);
  EXPECT_EQ(decoded.verdict, verdict) << text << " is " << MapVerdictName(decoded.verdict);
  EXPECT_EQ(decoded.map, OffsetMap::StartingAt(committed)) << text;
}

TEST(OffsetMapTest, EmptyMapIsEmptyText) {
  EXPECT_EQ(EncodeOffsetMap(OffsetMap::StartingAt(42)), "");
  const DecodedOffsetMap decoded = DecodeOffsetMap("", 42, {0, 42});
  EXPECT_EQ(decoded.verdict, MapVerdict::kEmpty);
  EXPECT_EQ(decoded.map, OffsetMap::StartingAt(42));
}

TEST(OffsetMapTest, IsCompleteBelowBaseAndBetweenIncompletes) {
  const OffsetMap map = MapOf(10, "i.ic");
  for (const int64_t complete : {0, 9, 11}) EXPECT_TRUE(map.IsComplete(complete)) << complete;
  for (const int64_t other : {10, 12, 13, 14, 1000}) EXPECT_FALSE(map.IsComplete(other)) << other;
}

// The format is frozen. These texts were written by a separate program (Python: zlib.crc32, base64, strings of '0' and
// '1') from the description in offset_map.h.
TEST(OffsetMapTest, GoldenTexts) {
  std::vector<int64_t> sparse;
  for (int64_t offset = 5; offset < 2'000'000; offset += 100'003) sparse.push_back(offset);
  const struct {
    OffsetMap map;
    const char* text;
  } golden_texts[] = {
      {MapOf(0, "i."), "M1.AAAAAgEJpROD"},
      {MapOf(7, "c"), "M1.ABAHAQGAztaUuQ"},
      {MapOf(1000, "ii.ii...i..."), "M1.AADoBwwFqQBl4M0e"},
      {MapOf(1000, "ic.ii......c"), "M1.ABDoBwwFqdJTz84R"},
      {MapOfOffsets({123456789012, 123457789000, 123457789001, 123457789007}, 123457789013),
       "M1.AAGUtOT0ywPBhD0EAAA9CNZwIl2NPw"},
      {MapOfOffsets(sparse, 2'000'001),
       "M1.AA4F_Ih6FDjURxqI41EcaiONRHGojjURxqI41EcaiONRHGojjURxqI41EcaiONRHGojjUQD-eyoK"},
      {MapOfOffsets({0, 1, int64_t{1} << 62}, (int64_t{1} << 62) + 2),
       "M1.AAAAgoCAgICAgIBAA4AAAAAAAAAD__________DWE9xz"},
  };
  for (const auto& golden : golden_texts) {
    EXPECT_EQ(EncodeOffsetMap(golden.map), golden.text);
    const DecodedOffsetMap decoded = DecodeOffsetMap(golden.text, golden.map.base, kAnyLog);
    EXPECT_EQ(decoded.verdict, MapVerdict::kUsed) << golden.text;
    EXPECT_EQ(decoded.map, golden.map) << golden.text;
  }
}

TEST(OffsetMapTest, ReadsItsNeighbours) {
  const OffsetMap map = MapOf(1000, "ii.ii...i...");
  for (const char* text : {"M1.AQDoBwwFqQBuZXex39pf",  // minor 1 with three bytes behind the bits
                           "M1.AQDoBwwFqQD74GfS",      // minor 1 without
                           "M1.AAPoBwwFiYvyhMvA"}) {   // a writer with another taste in orders
    const DecodedOffsetMap decoded = DecodeOffsetMap(text, 1000, kAnyLog);
    EXPECT_EQ(decoded.verdict, MapVerdict::kUsed) << text;
    EXPECT_EQ(decoded.map, map) << text;
  }
  ExpectIgnored("M1.AADoBwwFqQBuZXdxAFSe", 1000, kAnyLog, MapVerdict::kDamaged);     // bytes that minor 0 has not
  ExpectIgnored("M1.ACDoBwwFqQD52XDR", 1000, kAnyLog, MapVerdict::kUnknownVersion);  // a reserved coding bit
  for (const char* text : {"M2.AADoBwwFqQBl4M0e", "M2.", "M0.", "M10.x", "M4294967297.y"}) {
    ExpectIgnored(text, 1000, kAnyLog, MapVerdict::kUnknownVersion);
  }
}

TEST(OffsetMapTest, EveryMapOfNineOffsets) {
  for (int span = 1; span <= 9; ++span) {
    for (int code = 0, codes = static_cast<int>(std::pow(3, span)); code < codes; ++code) {
      std::string states;
      for (int rest = code; states.size() < static_cast<size_t>(span); rest /= 3) states.push_back(".ic"[rest % 3]);
      const OffsetMap map = MapOf(77, states);
      ASSERT_EQ(map.IsWellFormed(), states.front() != '.' && states.back() != 'i') << states;
      if (!map.IsWellFormed()) continue;
      ASSERT_NO_FATAL_FAILURE(ExpectRoundTrip(map)) << states;
      for (int i = 0; i < span; ++i) EXPECT_EQ(map.IsComplete(77 + i), states[static_cast<size_t>(i)] == '.');
    }
  }
}

TEST(OffsetMapTest, RandomMapsOfEveryShape) {
  std::mt19937_64 random(1);
  constexpr int64_t kBases[] = {0, 1, 127, 128, int64_t{1} << 31, int64_t{1} << 53, kMaxOffset - 3 * kMaxSpan};
  for (int run = 0; run < 20'000; ++run) {
    const int64_t base = kBases[random() % std::size(kBases)];
    const size_t count = 1 + random() % (random() % 4 == 0 ? kMaxIncomplete : 20);
    const auto mean = static_cast<int64_t>(uint64_t{1} << (random() % 14));
    const unsigned claim_percent = random() % 3 == 0 ? 100 : static_cast<unsigned>(random() % 50);
    OffsetMap map = OffsetMap::StartingAt(base);
    int64_t offset = base;
    for (size_t i = 0; i < count && offset - base < kMaxSpan; ++i) {
      map.incomplete.push_back({offset, random() % 100 < claim_percent});
      offset += 1 + static_cast<int64_t>(random() % static_cast<uint64_t>(2 * mean));
    }
    map.end = map.incomplete.back().offset + 1 + static_cast<int64_t>(random() % 5);
    if (!map.IsWellFormed()) ++map.end;  // the last is incomplete and not claimed: something behind it must be complete
    ASSERT_NO_FATAL_FAILURE(ExpectRoundTrip(map));
  }
}

// The proof that a map within the limits fits: with order 13 a distance d takes 14 + 2 j bits, j = floor(log2(d/8192 +
// 1)). All distances but the last add up to less than 2^23 = 1024 * 8192, and reaching the next j costs 8192 the first
// time and more after that; so 998 of them take at most 998 * 16 bits and what the remaining 26 * 8192 can buy at 16384
// for 2 bits: 13 * 2. The last distance takes at most 14 + 2 * 50 bits, claims 1000. With 2 + 9 + 9 + 2 bytes before
// and 4 after that is 2165 bytes or 2887 characters and "M1.". The writer takes this order or a shorter one.
constexpr size_t kProvenMaxText = 2890;

TEST(OffsetMapTest, WorstCaseFits) {
  static_assert(kProvenMaxText <= kMaxMapText);
  constexpr size_t kInner = kMaxIncomplete - 2;  // distances but the last
  constexpr int64_t kBase = kMaxOffset / 2;
  constexpr int64_t kLastDistance = kMaxOffset / 2 - kMaxSpan - 3;
  std::mt19937_64 random(2);
  size_t longest = 0;
  const auto try_distances = [&](const std::vector<int64_t>& distances) {
    OffsetMap map = OffsetMap::StartingAt(kBase);
    map.incomplete.push_back({kBase, true});
    for (const int64_t distance : distances) {
      map.incomplete.push_back({map.incomplete.back().offset + distance + 1, random() % 2 == 0});
    }
    map.incomplete.push_back({map.incomplete.back().offset + kLastDistance + 1, false});
    map.end = map.incomplete.back().offset + 2;
    ASSERT_TRUE(map.IsWellFormed());
    const std::string text = EncodeOffsetMap(map);
    ASSERT_LE(text.size(), kProvenMaxText);
    const DecodedOffsetMap decoded = DecodeOffsetMap(text, map.base, kAnyLog);
    ASSERT_EQ(decoded.verdict, MapVerdict::kUsed);
    ASSERT_EQ(decoded.map, map);
    longest = std::max(longest, text.size());
  };
  // Where a code gets wider: at (2^j - 1) << order. Between two steps a longer distance costs span and no bits, so the
  // adversary uses nothing else.
  std::set<int64_t> steps;
  for (int order = 0; order <= 15; ++order) {
    for (int j = 0; j <= 23; ++j) {
      const int64_t step = ((int64_t{1} << j) - 1) << order;
      if (step < kMaxSpan) steps.insert(step);
    }
  }
  // Two distances: as many of the larger as the span allows, the rest of the smaller.
  for (const int64_t large : steps) {
    for (const int64_t small : steps) {
      if (small >= large) break;
      const int64_t left = kMaxSpan - 1 - static_cast<int64_t>(kInner) * (small + 1);
      if (left < 0) break;
      std::vector<int64_t> distances(kInner, small);
      std::fill_n(distances.begin(), std::min<int64_t>(kInner, left / (large - small)), large);
      ASSERT_NO_FATAL_FAILURE(try_distances(distances));
    }
  }
  // Any mixture.
  for (int run = 0; run < 3'000; ++run) {
    std::vector<int64_t> distances;
    int64_t left = kMaxSpan - 1 - static_cast<int64_t>(kInner);
    while (distances.size() < kInner) {
      const int64_t step = *std::next(steps.begin(), static_cast<ptrdiff_t>(random() % steps.size()));
      const int64_t fair = left / static_cast<int64_t>(kInner - distances.size());
      distances.push_back(std::min({step, left, random() % 3 == 0 ? left : 2 * fair}));
      left -= distances.back();
    }
    ASSERT_NO_FATAL_FAILURE(try_distances(distances));
  }
  EXPECT_GT(longest, 2600u);  // the search has teeth
  RecordProperty("longest", static_cast<int>(longest));
}

TEST(OffsetMapTest, TextIsPrintable) {
  const OffsetMap map = MapOf(int64_t{1} << 40, "i.c.......i....iiicc...i.");
  for (const char c : EncodeOffsetMap(map)) EXPECT_TRUE(c == '.' || c == '-' || c == '_' || isalnum(c)) << c;
}

TEST(OffsetMapTest, DamageIsNeverUsed) {
  std::mt19937_64 random(3);
  std::vector<OffsetMap> samples = {MapOf(0, "i."), MapOf(7, "c"), MapOf(1000, "ic.ii......c"),
                                    MapOfOffsets({500, 1'000'000, 1'000'001, 3'000'000}, 3'000'002)};
  for (int i = 0; i < 4; ++i) {
    std::string states = "i";
    while (states.size() < 300) states.push_back("...ic"[random() % 5]);
    samples.push_back(MapOf(static_cast<int64_t>(random() >> 20), states + "."));
  }
  for (const OffsetMap& map : samples) {
    const std::string text = EncodeOffsetMap(map);
    const auto expect_ignored = [&map](const std::string& damaged) {
      const DecodedOffsetMap decoded = DecodeOffsetMap(damaged, map.base, kAnyLog);
      EXPECT_NE(decoded.verdict, MapVerdict::kUsed) << damaged;
      EXPECT_EQ(decoded.map, OffsetMap::StartingAt(map.base)) << damaged;
    };
    for (size_t i = 0; i < text.size(); ++i) {
      for (int bit = 0; bit < 8; ++bit) {
        std::string damaged = text;
        damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
        expect_ignored(damaged);
      }
      if (i > 0) expect_ignored(text.substr(0, i));            // cut at the end
      expect_ignored(text.substr(0, i) + text.substr(i + 1));  // one lost
      expect_ignored(text.substr(0, i + 1) + text.substr(i));  // one doubled
      if (i > 0) expect_ignored(text.substr(i));               // cut at the start
      std::string swapped = text;
      if (i > 0 && swapped[i] != swapped[i - 1]) {
        std::swap(swapped[i], swapped[i - 1]);
        expect_ignored(swapped);
      }
    }
    for (const char* tail : {"A", "AA", "=", " ", "\n", "."}) expect_ignored(text + tail);
    expect_ignored(text + std::string(1, '\0'));
    for (const OffsetMap& other : samples) {
      const std::string other_text = EncodeOffsetMap(other);
      if (other.base == map.base) continue;
      for (size_t i = 4; i < std::min(text.size(), other_text.size()); ++i) {  // two maps spliced
        if (text.substr(0, i) + other_text.substr(i) != text) expect_ignored(text.substr(0, i) + other_text.substr(i));
      }
    }
  }
}

TEST(OffsetMapTest, ForeignMetadata) {
  for (const char* text :
       {"x", "M", "M1", "M.", "Mx.", "M1x.AAAAAgEJpROD", "m1.AAAAAgEJpROD", " M1.AAAAAgEJpROD", "NoMetadata",
        "{\"leader\":\"a\"}", "bAAQAAAA", "consumer-1@host", "Mail.x", "\xff\xfe", "M-1."}) {
    ExpectIgnored(text, 0, kAnyLog, MapVerdict::kForeign);
  }
  ExpectIgnored(std::string(100'000, 'M'), 0, kAnyLog, MapVerdict::kForeign);
  ExpectIgnored(std::string("\0M1.", 4), 0, kAnyLog, MapVerdict::kForeign);
  for (const char* text :
       {"M1.", "M1.A", "M1.AAAA", "M1.AAAAAAAAAA", "M1.????????????", "M1.AAAAAgEJpROD==", "M1.M1.AAAAAgEJpROD"}) {
    ExpectIgnored(text, 0, kAnyLog, MapVerdict::kDamaged);
  }
}

TEST(OffsetMapTest, MapOfAnotherBaseIsIgnored) {
  const std::string text = EncodeOffsetMap(MapOf(1000, "ii.ii...i..."));
  for (const int64_t committed : {int64_t{0}, int64_t{999}, int64_t{1001}, int64_t{1012}, kMaxOffset}) {
    ExpectIgnored(text, committed, kAnyLog, MapVerdict::kWrongBase);
  }
}

TEST(OffsetMapTest, MapOutsideTheLogIsIgnored) {
  const std::string text = EncodeOffsetMap(MapOf(1000, "ii.ii...i..."));
  EXPECT_EQ(DecodeOffsetMap(text, 1000, {1000, 1012}).verdict, MapVerdict::kUsed);
  ExpectIgnored(text, 1000, {1000, 1011}, MapVerdict::kOutsideLog);
  ExpectIgnored(text, 1000, {1001, 2000}, MapVerdict::kOutsideLog);
  ExpectIgnored(text, 1000, {0, 0}, MapVerdict::kOutsideLog);
}

TEST(OffsetMapTest, LimitsHoldForWhatIsRead) {
  // 1001 incomplete offsets in a row, then a complete one: order 0, a 1 bit each.
  const std::string bits = std::string(125, '\xff');
  ExpectIgnored(Frame(Bytes({0, 0, 5, 0xea, 0x07, 0xe9, 0x07}) + bits), 5, kAnyLog, MapVerdict::kOverLimit);
  EXPECT_EQ(
      DecodeOffsetMap(Frame(Bytes({0, 0, 5, 0xe9, 0x07, 0xe8, 0x07}) + bits.substr(1) + '\xfe'), 5, kAnyLog).verdict,
      MapVerdict::kUsed);
  // As many as fit into 62 bits: refused before anything is allocated.
  const std::string huge = "\xff\xff\xff\xff\xff\xff\xff\xff\x3f";
  ExpectIgnored(Frame(Bytes({0, 0, 5}) + huge + huge + bits), 5, kAnyLog, MapVerdict::kOverLimit);
  // Three offsets, the second kMaxSpan - 1 above the base; then kMaxSpan. In order 0, the distance less 1, plus 1.
  const std::string head = Bytes({0, 0, 5, 0x85, 0x80, 0x80, 0x04, 3});  // span kMaxSpan + 5
  const std::string in = head + Pack(std::string(22, '0') + std::string(23, '1') + "1");
  const std::string out = head + Pack(std::string(23, '0') + "1" + std::string(23, '0') + "1");
  const DecodedOffsetMap decoded = DecodeOffsetMap(Frame(in), 5, kAnyLog);
  EXPECT_EQ(decoded.verdict, MapVerdict::kUsed);
  EXPECT_EQ(decoded.map, MapOfOffsets({5, 5 + kMaxSpan - 1, 5 + kMaxSpan}, 5 + kMaxSpan + 5));
  ExpectIgnored(Frame(out), 5, kAnyLog, MapVerdict::kOverLimit);
}

TEST(OffsetMapTest, SoundChecksumOverNonsense) {
  const struct {
    std::string bytes;
    const char* why;
  } inputs[] = {
      {Bytes({}), "nothing"},
      {Bytes({0}), "no coding"},
      {Bytes({0, 0}), "no base"},
      {Bytes({0, 0, 5}), "no span"},
      {Bytes({0, 0, 5, 2}), "no count"},
      {Bytes({0, 0, 5, 0, 0}), "span 0"},
      {Bytes({0, 0, 5, 2, 0}), "count 0"},
      {Bytes({0, 0, 5, 2, 3, 0xc0}), "more offsets than span"},
      {Bytes({0, 0, 5, 1, 1}), "end behind an incomplete offset that is not claimed"},
      {Bytes({0, 0, 5, 2, 2, 0x80}), "the same, of two"},
      {Bytes({0, 0, 5, 3, 2, 0x60}), "the second at the end"},
      {Bytes({0, 0, 5, 9, 2, 0x00}), "a code without an end"},
      {Bytes({0, 0, 5, 9, 3, 0x01}), "bits missing"},
      {Bytes({0, 0, 5, 9, 2, 0x81}), "bits behind the last"},
      {Bytes({0, 0, 5, 9, 2, 0x80, 0}), "a byte behind the last"},
      {Bytes({0, 16, 5, 9, 2, 0x80}), "claim bits and no claim"},
      {Bytes({0, 16, 5, 9, 2}), "claim bits missing"},
      {Bytes({0, 0, 0x85, 0, 9, 1}), "a varint that could be shorter"},
      {Bytes({0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 1}), "a varint of more than 63 bits"},
      {Bytes({0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1}), "an end past the highest offset"},
      {Bytes({0, 0, 5, 9, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}),
       "a run of 2^64"},
      {Bytes({0, 15, 5, 9, 2, 0, 0, 0, 0, 0, 0, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), "2^78"},
  };
  for (const auto& input : inputs) {
    SCOPED_TRACE(input.why);
    ExpectIgnored(Frame(input.bytes), 5, kAnyLog, MapVerdict::kDamaged);
  }
  EXPECT_EQ(DecodeOffsetMap(Frame(Bytes({0, 0, 5, 9, 2, 0x80})), 5, kAnyLog).verdict, MapVerdict::kUsed);
}

TEST(OffsetMapTest, TextLongerThanTheBrokerStoresIsNotRead) {
  std::string bytes = Bytes({1, 0, 5, 9, 2, 0x80});  // minor 1: may be followed by anything
  bytes.resize(3065);
  const std::string longest = Frame(bytes);
  EXPECT_EQ(longest.size(), kMaxMapText);
  EXPECT_EQ(DecodeOffsetMap(longest, 5, kAnyLog).verdict, MapVerdict::kUsed);
  bytes.push_back('x');
  ExpectIgnored(Frame(bytes), 5, kAnyLog, MapVerdict::kDamaged);
}

TEST(OffsetMapTest, VerdictsHaveNames) {
  std::set<std::string_view> names;
  for (int i = 0; i <= static_cast<int>(MapVerdict::kOutsideLog); ++i)
    names.insert(MapVerdictName(static_cast<MapVerdict>(i)));
  EXPECT_EQ(names.size(), 8u);
  EXPECT_EQ(names.count("unknown"), 0u);
}

}  // namespace
}  // namespace postbus::kafka
