// The checks of renderers.
#include <rapidjson/document.h>
#include <rapidjson/pointer.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <algorithm>
#include <array>
#include <thread>

#include "cli/check_rig.h"
#include "event/clock.h"

namespace postbus {
namespace {

constexpr int64_t kRenderLimitMs = 2000;  // the ABI says a second; machines have other things to do
constexpr int kMaxVariables = 200;

struct Rendered {
  int32_t result = POSTBUS_RENDER_FAILED;
  std::array<std::string, 3> parts;  // subject, text, html
  std::string error;

  bool operator==(const Rendered&) const = default;
};

// "" or what is wrong, whatever the result.
std::string Render(CheckRig& rig, std::string_view name, std::string_view data, Rendered& out) {
  out = {};
  StringSink subject(out.parts[0], 1 << 24);
  StringSink text(out.parts[1], 1 << 24);
  StringSink html(out.parts[2], 1 << 24);
  StringSink error(out.error, kMaxPluginText);
  const postbus_render_input input = {
      .size = sizeof(postbus_render_input), .reserved = 0, .name = AbiText(name), .data = AbiText(data)};
  const postbus_render_output output = {.size = sizeof(postbus_render_output),
                                        .reserved = 0,
                                        .subject = subject.abi(),
                                        .text = text.abi(),
                                        .html = html.abi(),
                                        .error = error.abi()};
  const int64_t begin_ms = BootTimeMs();
  std::string fault = CheckRig::Guard(
      "render", [&] { out.result = rig.library().renderer()->render(rig.instance(), &input, &output); });
  if (!fault.empty()) return fault;
  if (out.result < POSTBUS_RENDER_OK || out.result > POSTBUS_RENDER_FAILED) {
    return "render gives the unknown result " + std::to_string(out.result);
  }
  if (out.result != POSTBUS_RENDER_OK && out.error.empty()) {
    return "render gives result " + std::to_string(out.result) + " and no reason; write a sentence into `error`";
  }
  if (out.result == POSTBUS_RENDER_MISSING_VARIABLE &&
      (!out.error.starts_with('/') || out.error.find(' ') == std::string::npos)) {
    return "with MISSING_VARIABLE render writes into `error` the variable's JSON pointer, a blank and a sentence: "
           "\"/Link is missing\"";
  }
  if (const int64_t took_ms = BootTimeMs() - begin_ms; took_ms > kRenderLimitMs) {
    return "render took " + std::to_string(took_ms) + " ms; it returns within a second";
  }
  return rig.host().fault();
}

std::string List(CheckRig& rig, std::vector<std::string>& names) {
  names.clear();
  const postbus_sink sink = {
      .size = sizeof(postbus_sink), .reserved = 0, .ctx = &names, .write = [](void* ctx, const char* data, size_t n) {
        static_cast<std::vector<std::string>*>(ctx)->emplace_back(data, n);
      }};
  return CheckRig::Guard("list", [&] { rig.library().renderer()->list(rig.instance(), &sink); });
}

std::string CreateAndList(CheckRig& rig, std::vector<std::string>& names) {
  std::string fault = rig.Create();
  return fault.empty() ? List(rig, names) : fault;
}

// Data with which the template renders, found by asking; each value is `value`.
std::string DataFor(CheckRig& rig, const std::string& name, std::string_view value, std::string& json) {
  rapidjson::Document data(rapidjson::kObjectType);
  for (int i = 0; i < kMaxVariables; ++i) {
    rapidjson::StringBuffer buffer;
    rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
    data.Accept(writer);
    json.assign(buffer.GetString(), buffer.GetSize());
    Rendered rendered;
    if (std::string fault = Render(rig, name, json, rendered); !fault.empty()) return fault;
    if (rendered.result != POSTBUS_RENDER_MISSING_VARIABLE) return {};
    const std::string pointer = rendered.error.substr(0, rendered.error.find(' '));
    const rapidjson::Pointer missing(pointer.data(), pointer.size());
    if (!missing.IsValid()) return "\"" + pointer + "\" is no JSON pointer (RFC 6901)";
    if (missing.Get(data) != nullptr) return "render says that " + pointer + " is missing when it is there";
    missing.Set(data,
                rapidjson::Value(value.data(), static_cast<rapidjson::SizeType>(value.size()), data.GetAllocator()),
                data.GetAllocator());
  }
  return "render wants more than " + std::to_string(kMaxVariables) + " variables, one after the other";
}

Finding NoTemplates() {
  return Finding::Skipped("it has no templates; name some of yours by --option, such as directory=templates");
}

Finding CheckCreate(const CheckSubject& subject) {
  CheckRig rig(subject);
  std::string fault = rig.Create();
  return fault.empty() ? rig.Destroy() : fault;
}

Finding CheckList(const CheckSubject& subject) {
  CheckRig rig(subject);
  std::vector<std::string> names;
  if (std::string fault = CreateAndList(rig, names); !fault.empty()) return fault;
  for (const std::string& name : names) {
    if (name.empty()) return Finding("list writes an empty name");
  }
  if (!std::is_sorted(names.begin(), names.end())) return Finding("list does not write the names in order");
  if (std::adjacent_find(names.begin(), names.end()) != names.end()) return Finding("list writes a name twice");
  if (std::string fault = rig.Destroy(); !fault.empty()) return fault;
  return names.empty() ? NoTemplates() : Finding();
}

Finding CheckUnknownTemplate(const CheckSubject& subject) {
  CheckRig rig(subject);
  std::vector<std::string> known;
  if (std::string fault = CreateAndList(rig, known); !fault.empty()) return fault;
  const std::string names[] = {"",
                               ".",
                               "..",
                               "../../etc/passwd",
                               "/etc/passwd",
                               "no-such-template",
                               std::string("nul\0", 4),
                               std::string(100'000, 'x'),
                               "\xff\xfe",
                               "a b\r\nc"};
  for (const std::string& name : names) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    Rendered rendered;
    SetCheckInput(name);
    if (std::string fault = Render(rig, name, "{}", rendered); !fault.empty()) return fault;
    if (rendered.result != POSTBUS_RENDER_UNKNOWN_TEMPLATE) {
      return Finding("a name that list does not write gives result " + std::to_string(rendered.result) +
                     " instead of UNKNOWN_TEMPLATE");
    }
  }
  return rig.Destroy();
}

// `check(rig, name)` of each template; what it returns, or what the instance's life has to say.
template <typename Check>
Finding OfEachTemplate(const CheckSubject& subject, Check check) {
  CheckRig rig(subject);
  std::vector<std::string> names;
  if (std::string fault = CreateAndList(rig, names); !fault.empty()) return fault;
  for (const std::string& name : names) {
    SetCheckInput(name);
    if (std::string fault = check(rig, name); !fault.empty()) return fault + " (template \"" + name + "\")";
  }
  if (std::string fault = rig.Destroy(); !fault.empty()) return fault;
  return names.empty() ? NoTemplates() : Finding();
}

Finding CheckRenders(const CheckSubject& subject) {
  return OfEachTemplate(subject, [](CheckRig& rig, const std::string& name) -> std::string {
    std::string data;
    Rendered rendered;
    if (std::string fault = DataFor(rig, name, "value", data); !fault.empty()) return fault;
    if (std::string fault = Render(rig, name, data, rendered); !fault.empty()) return fault;
    const bool nothing =
        std::all_of(rendered.parts.begin(), rendered.parts.end(), [](const std::string& part) { return part.empty(); });
    return rendered.result == POSTBUS_RENDER_OK && nothing ? "render gives OK and writes nothing" : "";
  });
}

// The same from several threads at a time, and again.
Finding CheckPure(const CheckSubject& subject) {
  return OfEachTemplate(subject, [](CheckRig& rig, const std::string& name) -> std::string {
    std::string data;
    Rendered expected;
    if (std::string fault = DataFor(rig, name, "value", data); !fault.empty()) return fault;
    if (std::string fault = Render(rig, name, data, expected); !fault.empty()) return fault;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int round = 0; round < 50; ++round) {
          Rendered rendered;
          std::string other = Render(rig, name, data, rendered);
          if (other.empty() && rendered != expected)
            other = "render gives other bytes for the same input, in 4 threads";
          if (!other.empty()) rig.host().Fault(other);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    return rig.host().fault();
  });
}

Finding CheckHostileData(const CheckSubject& subject) {
  return OfEachTemplate(subject, [](CheckRig& rig, const std::string& name) -> std::string {
    const std::string not_objects[] = {"",    "null", "[]", "42", "\"text\"", "{", "{\"a\":", std::string(10'000, '['),
                                       "\xff"};
    for (const std::string& data : not_objects) {
      Rendered rendered;
      if (std::string fault = Render(rig, name, data, rendered); !fault.empty()) return fault;
      if (rendered.result != POSTBUS_RENDER_INVALID_DATA) {
        return "data that is no JSON object gives result " + std::to_string(rendered.result) +
               " instead of INVALID_DATA";
      }
    }
    const std::string values[] = {"<script>alert(1)</script>", "{{x}} %s ${x} $(x) `x`", std::string(200'000, 'x'),
                                  "\xe2\x80\xae\xf0\x9f\x93\xac", "a\r\nBcc: b"};
    for (const std::string& value : values) {
      std::string data;
      if (std::string fault = DataFor(rig, name, value, data); !fault.empty()) return fault;
    }
    return {};
  });
}

Finding CheckLeavesNothing(const CheckSubject& subject) {
  CheckRig rig(subject);
  if (std::string fault = rig.Open(); !fault.empty()) return fault;
  const size_t threads = CountThreads();
  size_t files = 0;
  for (int life = 0; life < 4; ++life) {
    std::vector<std::string> names;
    std::string fault = CreateAndList(rig, names);
    Rendered rendered;
    if (fault.empty() && !names.empty()) fault = Render(rig, names.front(), "{}", rendered);
    if (fault.empty()) fault = rig.Destroy();
    if (!fault.empty()) return fault;
    if (!ComesDownTo(&CountThreads, threads, subject.limit / 4)) {
      return Finding("threads of its run after destroy has returned; join them there");
    }
    if (life == 0) files = CountFiles();  // what a library opens once and for all
    if (CountFiles() > files)
      return Finding("after destroy it still has file descriptors open, and more with each life");
  }
  return {};
}

constexpr PluginCheck kChecks[] = {
    {"create", &CheckCreate},
    {"list", &CheckList},
    {"unknown-template", &CheckUnknownTemplate},
    {"renders", &CheckRenders},
    {"pure", &CheckPure},
    {"hostile-data", &CheckHostileData},
    {"leaves-nothing", &CheckLeavesNothing},
};

}  // namespace

std::span<const PluginCheck> RendererChecks() { return kChecks; }

}  // namespace postbus
