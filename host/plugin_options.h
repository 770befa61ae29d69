// host/plugin_options.h - `options:` of the configuration against a plugin's option table.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "event/status.h"
#include "host/config.h"
#include "postbus/abi.h"

namespace postbus {

// Owns the values handed to a plugin's create. Value type (move-only).
class PluginOptions {
 public:
  // Types every value, fills in defaults, refuses unknown, missing and out-of-range ones:
  // `config/postbus.yaml:14:13: transports.primary.options.port: "25x5" (from SMTP_PORT) is not a port (1–65535)`,
  // `…: transports.primary.options.prot: unknown option of smtp; did you mean "port"?`. Secrets are never quoted.
  // `where` is the key path of the options ("transports.primary.options").
  static Result<PluginOptions> Parse(std::span<const postbus_option* const> table, const PluginConfig& config,
                                     const std::string& where, std::string_view plugin_id);

  PluginOptions(PluginOptions&&) noexcept;
  PluginOptions& operator=(PluginOptions&&) noexcept;
  ~PluginOptions();

  // Valid as long as this object.
  const postbus_options& view() const;

  // The same for two that a plugin could not tell apart: all values, and of each PATH which file is there now (a
  // certificate that was renewed makes a difference). Not to be printed: has secrets in it. REQUIRES: `table` is the
  // one they were parsed by.
  std::string Fingerprint(std::span<const postbus_option* const> table) const;

 private:
  PluginOptions();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Tells a regular file from its replacement (device, inode, size, times); "" where there is none.
std::string FileIdentity(const std::filesystem::path& path);

// "" if `text` is a value of `option`, else what it is instead, to be put after the quoted text: `is not a port
// (1–65535)`.
std::string OptionTextProblem(const postbus_option& option, std::string_view text);

// "" or the bounds as they would be written: `1–65535`, `1s–10m`.
std::string OptionRange(const postbus_option& option);

// The values of an ENUM.
std::vector<std::string_view> OptionChoices(const postbus_option& option);

// `30s`, `1h30m`, `250ms`; `10MiB`, `900KiB`, `512`; nullopt: not one.
std::optional<int64_t> ParseDurationMs(std::string_view text);
std::optional<int64_t> ParseSizeBytes(std::string_view text);

// The entry of `known` with the smallest edit distance to `text`, or "" if none is near (at most a third of it
// differs).
std::string_view NearestName(std::string_view text, std::span<const std::string_view> known);

}  // namespace postbus
