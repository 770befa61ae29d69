#include "queue/kafka/offset_map.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <limits>
#include <optional>

namespace postbus::kafka {
namespace {

constexpr std::string_view kPrefix = "M1.";
constexpr uint8_t kMinor = 0;
constexpr int kMaxOrder = 15;
constexpr uint8_t kOrderMask = 0x0f;
constexpr uint8_t kHasClaims = 0x10;
constexpr uint8_t kReserved = 0xe0;
constexpr size_t kCrcSize = 4;

constexpr std::array<uint32_t, 256> MakeCrcTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < table.size(); ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320u : 0);
    table[i] = crc;
  }
  return table;
}

uint32_t Crc32(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> kTable = MakeCrcTable();
  uint32_t crc = 0xffffffffu;
  for (const char c : bytes) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<uint8_t>(c)) & 0xff];
  return ~crc;
}

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

constexpr std::array<uint8_t, 256> MakeDigitTable() {
  std::array<uint8_t, 256> table{};
  table.fill(0xff);
  for (uint8_t i = 0; i < kAlphabet.size(); ++i) table[static_cast<uint8_t>(kAlphabet[i])] = i;
  return table;
}

void AppendBase64(std::string_view bytes, std::string* text) {
  uint32_t bits = 0;
  int count = 0;
  for (const char c : bytes) {
    bits = (bits << 8) | static_cast<uint8_t>(c);
    for (count += 8; count >= 6; count -= 6) text->push_back(kAlphabet[(bits >> (count - 6)) & 63]);
  }
  if (count > 0) text->push_back(kAlphabet[(bits << (6 - count)) & 63]);
}

// Takes only what AppendBase64 writes, so that no two texts mean the same bytes.
std::optional<std::string> DecodeBase64(std::string_view text) {
  static constexpr std::array<uint8_t, 256> kDigits = MakeDigitTable();
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 2);
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const uint8_t digit = kDigits[static_cast<uint8_t>(c)];
    if (digit == 0xff) return std::nullopt;
    bits = (bits << 6) | digit;
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes.push_back(static_cast<char>((bits >> count) & 0xff));
    }
  }
  if (count == 6 || (bits & ((1u << count) - 1)) != 0) return std::nullopt;
  return bytes;
}

void AppendVarint(uint64_t value, std::string* bytes) {
  for (; value >= 0x80; value >>= 7) bytes->push_back(static_cast<char>(value | 0x80));
  bytes->push_back(static_cast<char>(value));
}

// Reads a varint of at most 63 bits off the front of `bytes`.
std::optional<int64_t> TakeVarint(std::string_view* bytes) {
  uint64_t value = 0;
  for (int shift = 0; shift < 63 && !bytes->empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(bytes->front());
    bytes->remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) {
      if (byte == 0 && shift > 0) return std::nullopt;  // could be shorter
      return static_cast<int64_t>(value);
    }
  }
  return std::nullopt;
}

class BitWriter {
 public:
  // `bytes` must outlive this.
  explicit BitWriter(std::string* bytes) : bytes_(bytes) {}

  // REQUIRES: value < 2^width, width <= 64
  void Put(uint64_t value, int width) {
    for (; width > 32; width -= 32) Put((value >> (width - 32)) & 0xffffffffu, 32);
    pending_ = (pending_ << width) | (value & ((uint64_t{1} << width) - 1));
    for (count_ += width; count_ >= 8; count_ -= 8) bytes_->push_back(static_cast<char>(pending_ >> (count_ - 8)));
  }

  void Finish() {
    if (count_ > 0) Put(0, 8 - count_);
  }

 private:
  std::string* const bytes_;
  uint64_t pending_ = 0;
  int count_ = 0;  // bits of pending_ not yet in bytes_, 0-7 between calls
};

class BitReader {
 public:
  explicit BitReader(std::string_view bytes) : bytes_(bytes) {}

  // Past the end the bits are 0 and ok() is false.
  uint64_t Get(int width) {
    uint64_t value = 0;
    for (; width > 0; --width) value = (value << 1) | Bit();
    return value;
  }

  bool ok() const { return ok_; }

  // Whole bytes after the last bit read; nothing if the bits up to them are not 0.
  std::optional<std::string_view> Rest() {
    while (position_ % 8 != 0) {
      if (Bit() != 0) return std::nullopt;
    }
    return bytes_.substr(position_ / 8);
  }

 private:
  uint64_t Bit() {
    if (position_ / 8 >= bytes_.size()) {
      ok_ = false;
      return 0;
    }
    const uint64_t bit = (static_cast<uint8_t>(bytes_[position_ / 8]) >> (7 - position_ % 8)) & 1;
    ++position_;
    return bit;
  }

  const std::string_view bytes_;
  size_t position_ = 0;
  bool ok_ = true;
};

uint64_t Distance(const IncompleteOffset& from, const IncompleteOffset& to) {
  return static_cast<uint64_t>(to.offset - from.offset) - 1;
}

int Width(uint64_t value) { return static_cast<int>(std::bit_width(value)); }

int CodeWidth(uint64_t distance, int order) { return 2 * Width((distance >> order) + 1) - 1 + order; }

void PutCode(uint64_t distance, int order, BitWriter* bits) {
  const uint64_t quotient = (distance >> order) + 1;
  bits->Put(0, Width(quotient) - 1);
  bits->Put(quotient, Width(quotient));
  bits->Put(distance & ((uint64_t{1} << order) - 1), order);
}

std::optional<uint64_t> GetCode(int order, BitReader* bits) {
  int zeros = 0;
  while (bits->Get(1) == 0) {
    if (!bits->ok() || ++zeros + order > 63) return std::nullopt;
  }
  const uint64_t quotient = (uint64_t{1} << zeros) | bits->Get(zeros);
  const uint64_t distance = ((quotient - 1) << order) | bits->Get(order);
  if (!bits->ok()) return std::nullopt;
  return distance;
}

int BestOrder(const std::vector<IncompleteOffset>& incomplete) {
  std::array<int, kMaxOrder + 1> width{};
  for (size_t i = 1; i < incomplete.size(); ++i) {
    const uint64_t distance = Distance(incomplete[i - 1], incomplete[i]);
    for (int order = 0; order <= kMaxOrder; ++order) width[static_cast<size_t>(order)] += CodeWidth(distance, order);
  }
  return static_cast<int>(std::min_element(width.begin(), width.end()) - width.begin());
}

bool LooksLikeOurs(std::string_view text) {  // M, digits, a dot
  const size_t dot = text.find_first_not_of("0123456789", 1);
  return text.front() == 'M' && dot != std::string_view::npos && dot > 1 && text[dot] == '.';
}

// Reads the bytes under the base64 into `*map`, and says how that went.
MapVerdict DecodeBytes(std::string_view bytes, int64_t committed, LogRange log, OffsetMap* map) {
  if (bytes.size() < 2 + kCrcSize) return MapVerdict::kDamaged;
  uint32_t crc = 0;
  for (size_t i = 0; i < kCrcSize; ++i) {
    crc |= static_cast<uint32_t>(static_cast<uint8_t>(bytes[bytes.size() - kCrcSize + i])) << (8 * i);
  }
  bytes.remove_suffix(kCrcSize);
  if (crc != Crc32(bytes)) return MapVerdict::kDamaged;

  const auto minor = static_cast<uint8_t>(bytes[0]);
  const auto coding = static_cast<uint8_t>(bytes[1]);
  bytes.remove_prefix(2);
  if ((coding & kReserved) != 0) return MapVerdict::kUnknownVersion;
  const std::optional<int64_t> base = TakeVarint(&bytes);
  const std::optional<int64_t> span = TakeVarint(&bytes);
  const std::optional<int64_t> count = TakeVarint(&bytes);
  if (!base || !span || !count) return MapVerdict::kDamaged;
  if (*span < 1 || *span > std::numeric_limits<int64_t>::max() - *base) return MapVerdict::kDamaged;
  if (*count < 1 || *count > *span) return MapVerdict::kDamaged;
  if (*base != committed) return MapVerdict::kWrongBase;
  if (*base < log.start || *base + *span > log.end) return MapVerdict::kOutsideLog;
  if (*count > static_cast<int64_t>(kMaxIncomplete)) return MapVerdict::kOverLimit;

  map->end = *base + *span;
  map->incomplete.reserve(static_cast<size_t>(*count));
  map->incomplete.push_back({*base, false});
  BitReader bits(bytes);
  while (map->incomplete.size() < static_cast<size_t>(*count)) {
    const std::optional<uint64_t> distance = GetCode(coding & kOrderMask, &bits);
    const int64_t last = map->incomplete.back().offset;
    if (!distance || *distance >= static_cast<uint64_t>(map->end - last - 1)) return MapVerdict::kDamaged;
    map->incomplete.push_back({last + 1 + static_cast<int64_t>(*distance), false});
  }
  if ((coding & kHasClaims) != 0) {
    bool any = false;
    for (IncompleteOffset& each : map->incomplete) any |= each.claimed = bits.Get(1) != 0;
    if (!any) return MapVerdict::kDamaged;
  }
  const std::optional<std::string_view> rest = bits.Rest();
  if (!bits.ok() || !rest || (minor == kMinor && !rest->empty())) return MapVerdict::kDamaged;
  const IncompleteOffset& last = map->incomplete.back();
  if (last.offset == map->end - 1 && !last.claimed) return MapVerdict::kDamaged;
  return map->IsWellFormed() ? MapVerdict::kUsed : MapVerdict::kOverLimit;
}

}  // namespace

bool OffsetMap::IsComplete(int64_t offset) const {
  if (offset < base) return true;
  if (offset >= end) return false;
  const auto it = std::lower_bound(incomplete.begin(), incomplete.end(), offset,
                                   [](const IncompleteOffset& a, int64_t b) { return a.offset < b; });
  return it == incomplete.end() || it->offset != offset;
}

bool OffsetMap::IsWellFormed() const {
  if (base < 0 || end < base || incomplete.size() > kMaxIncomplete) return false;
  if (end == base) return incomplete.empty();
  if (incomplete.empty() || incomplete.front().offset != base || incomplete.back().offset >= end) return false;
  if (incomplete.back().offset == end - 1 && !incomplete.back().claimed) return false;
  for (size_t i = 1; i < incomplete.size(); ++i) {
    if (incomplete[i].offset <= incomplete[i - 1].offset) return false;
  }
  return incomplete.size() < 2 || incomplete[incomplete.size() - 2].offset - base < kMaxSpan;
}

std::string EncodeOffsetMap(const OffsetMap& map) {
  assert(map.IsWellFormed());
  if (map.end == map.base) return {};
  const int order = BestOrder(map.incomplete);
  const bool has_claims =
      std::any_of(map.incomplete.begin(), map.incomplete.end(), [](const IncompleteOffset& i) { return i.claimed; });

  std::string bytes;
  bytes.push_back(static_cast<char>(kMinor));
  bytes.push_back(static_cast<char>(order | (has_claims ? kHasClaims : 0)));
  AppendVarint(static_cast<uint64_t>(map.base), &bytes);
  AppendVarint(static_cast<uint64_t>(map.end - map.base), &bytes);
  AppendVarint(map.incomplete.size(), &bytes);
  BitWriter bits(&bytes);
  for (size_t i = 1; i < map.incomplete.size(); ++i) {
    PutCode(Distance(map.incomplete[i - 1], map.incomplete[i]), order, &bits);
  }
  if (has_claims) {
    for (const IncompleteOffset& each : map.incomplete) bits.Put(each.claimed ? 1 : 0, 1);
  }
  bits.Finish();
  const uint32_t crc = Crc32(bytes);
  for (size_t i = 0; i < kCrcSize; ++i) bytes.push_back(static_cast<char>(crc >> (8 * i)));

  std::string text(kPrefix);
  text.reserve(kPrefix.size() + bytes.size() / 3 * 4 + 4);
  AppendBase64(bytes, &text);
  assert(text.size() <= kMaxMapText);
  return text;
}

std::string_view MapVerdictName(MapVerdict verdict) {
  switch (verdict) {
    case MapVerdict::kEmpty:
      return "empty";
    case MapVerdict::kUsed:
      return "used";
    case MapVerdict::kForeign:
      return "foreign";
    case MapVerdict::kUnknownVersion:
      return "unknown_version";
    case MapVerdict::kDamaged:
      return "damaged";
    case MapVerdict::kOverLimit:
      return "over_limit";
    case MapVerdict::kWrongBase:
      return "wrong_base";
    case MapVerdict::kOutsideLog:
      return "outside_log";
  }
  return "unknown";
}

DecodedOffsetMap DecodeOffsetMap(std::string_view text, int64_t committed, LogRange log) {
  DecodedOffsetMap result{OffsetMap::StartingAt(committed), MapVerdict::kEmpty};
  if (text.empty()) return result;
  if (!text.starts_with(kPrefix)) {
    result.verdict = LooksLikeOurs(text) ? MapVerdict::kUnknownVersion : MapVerdict::kForeign;
    return result;
  }
  const std::optional<std::string> bytes =
      text.size() <= kMaxMapText ? DecodeBase64(text.substr(kPrefix.size())) : std::nullopt;
  result.verdict = bytes ? DecodeBytes(*bytes, committed, log, &result.map) : MapVerdict::kDamaged;
  if (result.verdict != MapVerdict::kUsed) result.map = OffsetMap::StartingAt(committed);
  return result;
}

}  // namespace postbus::kafka
