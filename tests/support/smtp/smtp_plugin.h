// tests/support/smtp/smtp_plugin.h - an instance of the SMTP transport, driven through its C ABI as the host does it.
// Header-only; link plugins/smtp/plugin.cc and postbus_smtp.
#pragma once

#include <cstdlib>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "postbus/abi.h"
#include "postbus/testing/fake_host.hpp"

namespace postbus::testing {

class SmtpPlugin {
 public:
  using Given = std::map<std::string, std::variant<std::string, int64_t>>;  // durations in milliseconds

  // The options that are not given have the table's defaults. std::runtime_error: what create said.
  SmtpPlugin(const postbus_host* host, const Given& given) {
    std::vector<std::pair<std::string, sdk::testing::FakeOptions::Value>> values;
    for (uint32_t i = 0; i < postbus_plugin_entry.n_options; ++i) {
      const postbus_option& option = *postbus_plugin_entry.options[i];
      table_.push_back(sdk::Option(option.type, sdk::View(option.name), sdk::View(option.description)));
      const std::string name(sdk::View(option.name));
      if (const auto found = given.find(name); found != given.end()) {
        std::visit([&](const auto& value) { values.emplace_back(name, value); }, found->second);
      } else {
        values.emplace_back(name, Default(option));
      }
    }
    const sdk::testing::FakeOptions options(table_, values);
    std::string problem;
    const postbus_sink sink = {.size = sizeof sink, .reserved = 0, .ctx = &problem, .write = &Append};
    if (transport_->create(host, &options.abi(), &instance_, &sink) != POSTBUS_OK) throw std::runtime_error(problem);
  }
  ~SmtpPlugin() { transport_->destroy(instance_); }
  SmtpPlugin(const SmtpPlugin&) = delete;
  SmtpPlugin& operator=(const SmtpPlugin&) = delete;

  uint32_t Submit(std::span<const postbus_mail* const> mails) {
    return transport_->submit(instance_, mails.data(), static_cast<uint32_t>(mails.size()));
  }
  uint32_t Submit(const postbus_mail& mail) {
    const postbus_mail* pointer = &mail;
    return Submit(std::span(&pointer, 1));
  }
  void Cancel(std::span<const uint64_t> tokens) {
    transport_->cancel(instance_, tokens.data(), static_cast<uint32_t>(tokens.size()));
  }
  void Quiesce(int64_t deadline_ms) { transport_->quiesce(instance_, deadline_ms); }
  uint32_t Outstanding() { return transport_->outstanding(instance_); }
  bool Probe(int64_t deadline_ms, std::string& report) {
    const postbus_sink sink = {.size = sizeof sink, .reserved = 0, .ctx = &report, .write = &Append};
    return transport_->probe(instance_, deadline_ms, &sink) == POSTBUS_OK;
  }

 private:
  static void Append(void* ctx, const char* data, size_t n) { static_cast<std::string*>(ctx)->append(data, n); }

  static sdk::testing::FakeOptions::Value Default(const postbus_option& option) {
    const std::string text(sdk::View(option.default_value));
    switch (option.type) {
      case POSTBUS_OPTION_INTEGER:
        return static_cast<int64_t>(std::stoll(text));
      case POSTBUS_OPTION_BOOLEAN:
        return static_cast<int64_t>(text == "true");
      case POSTBUS_OPTION_DURATION:
        return static_cast<int64_t>(std::stoll(text)) * (text.back() == 'm' ? 60'000 : 1'000);
      default:
        return text;
    }
  }

  const postbus_transport* const transport_ =
      static_cast<const postbus_transport*>(postbus_plugin_entry.get(POSTBUS_STR(POSTBUS_TRANSPORT_ID)));
  std::vector<sdk::Option> table_;
  postbus_instance* instance_ = nullptr;
};

}  // namespace postbus::testing
