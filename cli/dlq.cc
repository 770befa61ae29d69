// postbus dlq list | show | replay | discard: the dead letters.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <limits>
#include <set>
#include <thread>

#include "cli/command.h"
#include "event/clock.h"
#include "host/log.h"
#include "host/plugin_options.h"
#include "queue/dead_letters.h"

namespace postbus {
namespace {

struct DlqOptions {
  ConfigOptions config;
  std::vector<std::string> places;
  std::vector<std::string> where;
  std::string since;
  std::string rate;
  bool all = false;
  bool dry_run = false;
  std::string output = "text";
};

constexpr std::array<std::string_view, 4> kConditions = {"template", "outcome", "id", "reason"};

// A letter with what only its value tells.
struct Entry {
  const DeadLetter& letter;
  std::string template_name;
};

std::string CheckCondition(const std::string& condition) {
  const std::string name = condition.substr(0, condition.find('='));
  if (std::find(kConditions.begin(), kConditions.end(), name) != kConditions.end() && name != condition) return {};
  const std::string_view nearest = NearestName(name, kConditions);
  return "\"" + condition + "\" is not a condition; there are template=, outcome=, id= and reason=" +
         (nearest.empty() || nearest == name ? "" : "; did you mean \"" + std::string(nearest) + "=\"?");
}

std::string CheckSince(const std::string& text) {
  return ParseDurationMs(text) ? "" : "\"" + text + "\" is not a duration like 90m or 2h";
}

// Letters a second; 0: not a rate.
int ParseRate(std::string_view text) {
  if (text.ends_with("/s")) text.remove_suffix(2);
  int rate = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), rate);
  return error == std::errc() && end == text.data() + text.size() ? std::max(rate, 0) : 0;
}

std::string CheckRate(const std::string& text) {
  return ParseRate(text) > 0 ? "" : "\"" + text + "\" is not a rate like 10/s";
}

// What the command line chose.
class Selection {
 public:
  explicit Selection(const DlqOptions& options)
      : options_(options), places_(options.places.begin(), options.places.end()) {
    if (!options.since.empty()) since_unix_ms_ = UnixTimeMs() - *ParseDurationMs(options.since);
  }

  bool Has(const Entry& entry) const {
    const DeadLetter& letter = entry.letter;
    if (!places_.empty() && !places_.contains(letter.place)) return false;
    if (letter.at_unix_ms < since_unix_ms_) return false;
    return std::all_of(options_.where.begin(), options_.where.end(), [&](const std::string& condition) {
      const size_t equal = condition.find('=');
      const std::string_view name = std::string_view(condition).substr(0, equal);
      const std::string_view value = std::string_view(condition).substr(equal + 1);
      if (name == "template") return entry.template_name == value;
      if (name == "outcome") return letter.headers.outcome_class == value;
      if (name == "id") return letter.id == value;
      return letter.message.find(value) != std::string::npos;
    });
  }

  // Calls `each` for every letter that was chosen. A place that does not exist is an error.
  Status ForEach(DeadLetters& letters, const std::function<Status(const Entry&)>& each) {
    std::set<std::string> missing = places_;
    Status status = letters.ForEach([&](const DeadLetter& letter) {
      missing.erase(letter.place);
      const Entry entry{letter, TemplateOf(letter)};
      return Has(entry) ? each(entry) : Status();
    });
    if (status.ok() && !missing.empty()) {
      return Status::NotFound("there is no dead letter " + *missing.begin() +
                              "; `postbus dlq list` shows which there are");
    }
    return status;
  }

 private:
  std::string TemplateOf(const DeadLetter& letter) {
    return decoder_.Decode(letter.value, Strictness::kQueue, event_) ? event_.template_name : std::string();
  }

  const DlqOptions& options_;
  const std::set<std::string> places_;
  int64_t since_unix_ms_ = 0;
  EventDecoder decoder_{EventLimits{.max_bytes = std::numeric_limits<size_t>::max()}};
  EmailEvent event_;
};

// For a terminal: what steers it becomes `?`. A dead letter may be anybody's bytes.
std::string Printable(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool c1 = byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    const bool control = (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7F;
    out += c1 || control ? '?' : text[i];
    if (c1) ++i;
  }
  return out;
}

std::string ShellWord(const std::string& text) {
  constexpr std::string_view kPlain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./:=,@%+-";
  if (!text.empty() && text.find_first_not_of(kPlain) == std::string::npos) return text;
  std::string word = "'";
  for (const char c : text) word += c == '\'' ? "'\\''" : std::string(1, c);
  return word + "'";
}

std::string Json(const Entry& entry) {
  const DeadLetter& letter = entry.letter;
  const EventHeaders& headers = letter.headers;
  std::string json = "{";
  AddJsonMember("place", letter.place, json);
  AddJsonMember("id", letter.id, json);
  AddJsonMember("at", FormatRfc3339(letter.at_unix_ms), json);
  AddJsonMember("outcome", headers.outcome_class, json);
  AddJsonMember("reason", letter.message, json);
  AddJsonMember("template", entry.template_name, json);
  json += ",\"attempt\":" + std::to_string(headers.attempt) + ",\"replay\":" + std::to_string(headers.replay) +
          ",\"recipients\":[";
  for (size_t i = 0; i < 64; ++i) {
    if (headers.recipients.contains(i)) json += (json.back() == '[' ? "" : ",") + std::to_string(i);
  }
  return json + "]}";
}

void List(const DlqOptions& options, DeadLetters& letters) {
  Selection selection(options);
  const bool json = options.output == "json";
  const char* const row = "%-10s %-24s %-20s %-16s %-36s %s\n";
  if (!json) std::printf(row, "PLACE", "AT", "OUTCOME", "TEMPLATE", "ID", "REASON");
  bool first = true;
  const Status status = selection.ForEach(letters, [&](const Entry& entry) {
    const DeadLetter& letter = entry.letter;
    if (json) {
      std::printf("%s%s", std::exchange(first, false) ? "[" : ",\n", Json(entry).c_str());
    } else {
      std::string reason = Printable(letter.message);
      std::replace(reason.begin(), reason.end(), '\n', ' ');
      std::printf(row, letter.place.c_str(), FormatRfc3339(letter.at_unix_ms).c_str(),
                  letter.headers.outcome_class.c_str(), entry.template_name.c_str(), Printable(letter.id).c_str(),
                  reason.c_str());
    }
    return Status();
  });
  if (!status.ok()) Die(status);
  if (json) std::printf("%s]\n", first ? "[" : "");
}

std::string ReplayCommand(const DlqOptions& options, const DeadLetter& letter) {
  std::string command = "postbus dlq replay -c " + ShellWord(options.config.file);
  for (const std::string& each : options.config.overrides) command += " --set " + ShellWord(each);
  return command + " " + letter.place;
}

void Show(const DlqOptions& options, DeadLetters& letters) {
  Selection selection(options);
  bool any = false;
  const Status status = selection.ForEach(letters, [&](const Entry& entry) {
    const DeadLetter& letter = entry.letter;
    std::printf("%sdead letter %s, written %s\n%s: %s\n\n", std::exchange(any, true) ? "\n" : "", letter.place.c_str(),
                FormatRfc3339(letter.at_unix_ms).c_str(), letter.headers.outcome_class.c_str(),
                Printable(letter.message).c_str());
    for (const auto& [name, value] : letter.record_headers) {
      std::printf("%s: %s\n", Printable(name).c_str(), Printable(value).c_str());
    }
    const std::string value =
        letter.pointer.empty() ? letter.value : "(too large to be copied; it is the record " + letter.pointer + ")";
    std::printf("\n%s\n\nreplay it with\n  %s\n", Printable(value).c_str(), ReplayCommand(options, letter).c_str());
    return Status();
  });
  if (!status.ok()) Die(status);
  if (!any) std::printf("no dead letter matches\n");
}

// A bar on stderr where that is a terminal.
class Progress {
 public:
  explicit Progress(size_t total) : total_(total), shown_(isatty(STDERR_FILENO) == 1) {}
  ~Progress() {
    if (!shown_) return;
    Draw();
    std::fputc('\n', stderr);
  }

  void Step() {
    ++done_;
    if (shown_ && BootTimeMs() >= next_boot_ms_) Draw();
  }

 private:
  void Draw() {
    constexpr size_t kWidth = 40;
    const size_t filled = total_ == 0 ? kWidth : kWidth * std::min(done_, total_) / total_;
    const std::string bar = std::string(filled, '#') + std::string(kWidth - filled, '.');
    std::fprintf(stderr, "\r[%s] %zu/%zu", bar.c_str(), done_, total_);
    next_boot_ms_ = BootTimeMs() + 100;
  }

  const size_t total_;
  const bool shown_;
  size_t done_ = 0;
  int64_t next_boot_ms_ = 0;
};

enum class Fate { kReplay, kDiscard };

void Settle(const DlqOptions& options, DeadLetters& letters, Fate fate) {
  const bool replay = fate == Fate::kReplay;
  Selection selection(options);
  size_t total = 0;
  Status status = selection.ForEach(letters, [&](const Entry& entry) {
    ++total;
    if (options.dry_run) {
      std::printf("would %s %s %s\n", replay ? "replay" : "discard", entry.letter.place.c_str(),
                  Printable(entry.letter.id).c_str());
    }
    return Status();
  });
  if (!status.ok()) Die(status);
  if (options.dry_run) {
    std::printf("would %s %zu\n", replay ? "replay" : "discard", total);
    return;
  }

  const int rate = options.rate.empty() ? 0 : ParseRate(options.rate);
  const auto start = std::chrono::steady_clock::now();
  size_t tried = 0;
  size_t done = 0;
  int exit_code = kExitOk;
  {
    Progress progress(total);
    status = selection.ForEach(letters, [&](const Entry& entry) {
      if (rate > 0) std::this_thread::sleep_until(start + std::chrono::microseconds(1'000'000 * tried / rate));
      ++tried;
      Status settled = replay ? letters.Replay(entry.letter) : letters.Discard(entry.letter);
      progress.Step();
      if (settled.ok()) {
        ++done;
      } else if (settled.kind() == ErrorKind::kNotFound || settled.kind() == ErrorKind::kInvalid) {
        PrintError(settled);  // this one's trouble: the others go on
        exit_code = ExitCodeOf(settled);
        settled = {};
      }
      return settled;
    });
  }
  std::printf("%s %zu of %zu\n", replay ? "replayed" : "discarded", done, total);
  if (!status.ok()) Die(status);
  if (exit_code != kExitOk) std::exit(exit_code);
}

// Opens the dead letters and runs `command` on them.
template <typename Command>
void Run(const DlqOptions& options, const Command& command) {
  const Config config = options.config.LoadOrExit();
  Log log(config.log);
  Result<std::unique_ptr<DeadLetters>> letters = OpenDeadLetters(config.queue, log.Named("queue"));
  if (!letters.ok()) Die(letters.status());
  command(**letters);
}

void AddFilters(CLI::App& command, DlqOptions& options) {
  options.config.AddTo(command);
  command.add_option("--where", options.where, "Only those with template=, outcome=, id= or (a part of) reason=")
      ->type_name("NAME=VALUE,...")
      ->delimiter(',')
      ->check(CheckCondition)
      ->allow_extra_args(false);
  command.add_option("--since", options.since, "Only those of the last, e.g., 2h")
      ->type_name("DURATION")
      ->check(CheckSince);
}

void AddPlaces(CLI::App& command, DlqOptions& options) {
  command.add_option("PLACE", options.places, "Which, as `postbus dlq list` names them");
}

}  // namespace

void AddDlqCommand(CLI::App& program) {
  auto options = std::make_shared<DlqOptions>();
  CLI::App* dlq = program.add_subcommand("dlq", "The dead letters: what could not be sent");
  dlq->require_subcommand(1);
  AddExample(*dlq, "postbus dlq list -c config/single-node.yaml --where outcome=rejected_message --since 2h");

  CLI::App* list = dlq->add_subcommand("list", "Lists them");
  AddFilters(*list, *options);
  AddOutputOption(*list, options->output);
  AddExample(*list,
             "postbus dlq list -c config/single-node.yaml\n"
             "postbus dlq list -c config/single-node.yaml --where template=welcome,outcome=rejected_message --since 2h "
             "--output json");
  list->callback([options] { Run(*options, [&](DeadLetters& letters) { List(*options, letters); }); });

  const std::string filters = " -c config/single-node.yaml --where template=welcome --since 2h";
  CLI::App* show = dlq->add_subcommand("show", "Shows headers, reason and event, and the command that replays it");
  CLI::App* replay = dlq->add_subcommand("replay", "Puts them back into the queue, for the recipients they are about");
  CLI::App* discard = dlq->add_subcommand("discard", "Throws them away");
  for (CLI::App* command : {show, replay, discard}) {
    AddFilters(*command, *options);
    AddPlaces(*command, *options);
    AddExample(*command, "postbus dlq " + command->get_name() + filters);
  }
  for (CLI::App* command : {replay, discard}) {
    command->add_flag("--all", options->all, "All there are");
    command->add_flag("--dry-run", options->dry_run, "Only prints what would be done");
    command->add_option("--rate", options->rate, "At most so many a second")->type_name("N/s")->check(CheckRate);
  }
  for (CLI::App* command : {show, replay, discard}) {
    command->callback([options, command, show, replay] {
      if (options->places.empty() && options->where.empty() && options->since.empty() && !options->all) {
        throw CLI::ValidationError(command == show ? "which? Name a PLACE, --where or --since"
                                                   : "which? Name a PLACE, --where, --since or --all");
      }
      Run(*options, [&](DeadLetters& letters) {
        if (command == show) return Show(*options, letters);
        Settle(*options, letters, command == replay ? Fate::kReplay : Fate::kDiscard);
      });
    });
  }
}

}  // namespace postbus
