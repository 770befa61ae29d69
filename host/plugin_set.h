// host/plugin_set.h - the plugins a configuration names, loaded and made into instances.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "event/status.h"
#include "host/config.h"
#include "host/renderer.h"
#include "host/transport.h"

namespace postbus {

// Where plugins are looked for: `plugins.directories`, then <exe>/../plugins and <exe>/../lib/postbus/plugins.
std::vector<std::filesystem::path> PluginDirectories(const Config& config);

// The plugins' files in them, by name. Where two directories have a file of one name, the first is the one that is
// used.
std::vector<std::filesystem::path> PluginFiles(const std::vector<std::filesystem::path>& directories);

// Where Config::copy_plugins puts the copies.
std::filesystem::path PluginCopyDirectory(const Config& config);

// The file of a configured plugin, trusted (host/plugin_file.h) and loaded. Errors begin with the place in the
// configuration.
Result<std::shared_ptr<const PluginLibrary>> LoadPlugin(const Config& config, const PluginConfig& plugin);

Result<std::unique_ptr<Renderer>> LoadRenderer(const Config& config, QueueLog log);

// What a transport is made of, loaded and checked: its plugin and its options.
struct TransportParts {
  std::shared_ptr<const PluginLibrary> library;
  PluginOptions options;

  // The same for two transports that would do the same: plugin, values, and the files that options name.
  std::string Fingerprint() const;
};
Result<TransportParts> LoadTransportParts(const Config& config, const TransportConfig& transport);

// An instance of them. `sink` must outlive it.
Result<std::unique_ptr<Transport>> MakeTransport(const TransportConfig& transport, const TransportParts& parts,
                                                 TransportSink& sink, const QueueLog& log);

}  // namespace postbus
