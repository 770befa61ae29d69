// RFC 3339 times of the event format.
#include <chrono>
#include <string>
#include <string_view>

#include "event/email_event.h"

namespace postbus {
namespace {

using std::chrono::milliseconds;
using std::chrono::sys_days;

void AppendDigits(int64_t value, int digits, std::string& out) {
  const size_t begin = out.size();
  out.resize(begin + static_cast<size_t>(digits));
  for (size_t at = out.size(); at > begin; value /= 10) out[--at] = static_cast<char>('0' + value % 10);
}

// Takes the parts of a fixed format from the front of a text; the first part that does not fit makes it fail for good.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}

  int Digits(size_t count) {
    int value = 0;
    for (size_t i = 0; i < count; ++i) {
      const char c = rest_.empty() ? '\0' : rest_.front();
      if (c < '0' || c > '9') {
        failed_ = true;
        return 0;
      }
      value = value * 10 + (c - '0');
      rest_.remove_prefix(1);
    }
    return value;
  }
  bool TakeOneOf(std::string_view characters) {
    if (rest_.empty() || characters.find(rest_.front()) == std::string_view::npos) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void Expect(std::string_view characters) { failed_ |= !TakeOneOf(characters); }
  bool AtDigit() const { return !rest_.empty() && rest_.front() >= '0' && rest_.front() <= '9'; }
  bool Complete() const { return !failed_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool failed_ = false;
};

}  // namespace

std::string FormatRfc3339(int64_t unix_ms) {
  const std::chrono::sys_time<milliseconds> time{milliseconds{unix_ms}};
  const sys_days day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date{day};
  const std::chrono::hh_mm_ss clock{time - day};
  std::string out;
  out.reserve(24);
  AppendDigits(static_cast<int>(date.year()), 4, out);
  out += '-';
  AppendDigits(static_cast<unsigned>(date.month()), 2, out);
  out += '-';
  AppendDigits(static_cast<unsigned>(date.day()), 2, out);
  out += 'T';
  AppendDigits(clock.hours().count(), 2, out);
  out += ':';
  AppendDigits(clock.minutes().count(), 2, out);
  out += ':';
  AppendDigits(clock.seconds().count(), 2, out);
  out += '.';
  AppendDigits(clock.subseconds().count(), 3, out);
  out += 'Z';
  return out;
}

int64_t ParseRfc3339(std::string_view text) {
  Scanner scan(text);
  const int year = scan.Digits(4);
  scan.Expect("-");
  const int month = scan.Digits(2);
  scan.Expect("-");
  const int day = scan.Digits(2);
  scan.Expect("Tt");
  const int hour = scan.Digits(2);
  scan.Expect(":");
  const int minute = scan.Digits(2);
  scan.Expect(":");
  const int second = scan.Digits(2);
  int64_t nanoseconds = 0;
  if (scan.TakeOneOf(".")) {
    int64_t unit = 100'000'000;
    do {
      nanoseconds += scan.Digits(1) * unit;
      unit /= 10;
    } while (unit > 0 && scan.AtDigit());
  }
  int offset_minutes = 0;
  if (!scan.TakeOneOf("Zz")) {
    const bool west = scan.TakeOneOf("-");
    if (!west) scan.Expect("+");
    const int hours = scan.Digits(2);
    scan.Expect(":");
    const int minutes = scan.Digits(2);
    if (hours > 23 || minutes > 59) return -1;
    offset_minutes = (hours * 60 + minutes) * (west ? -1 : 1);
  }
  const std::chrono::year_month_day date{std::chrono::year{year}, std::chrono::month{static_cast<unsigned>(month)},
                                         std::chrono::day{static_cast<unsigned>(day)}};
  // 60 is a leap second; it counts as the first of the next minute.
  if (!scan.Complete() || !date.ok() || hour > 23 || minute > 59 || second > 60) return -1;
  const auto clock = std::chrono::hours{hour} + std::chrono::minutes{minute - offset_minutes} +
                     std::chrono::seconds{second} + milliseconds{nanoseconds / 1'000'000};
  const milliseconds since_epoch = sys_days{date}.time_since_epoch() + clock;
  return since_epoch.count() < 0 ? 0 : since_epoch.count();
}

}  // namespace postbus
