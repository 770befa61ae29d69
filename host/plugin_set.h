// host/plugin_set.h - the plugins a configuration names, loaded and made into instances.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "event/status.h"
#include "host/config.h"
#include "host/renderer.h"
#include "host/transport.h"

namespace postbus {

// Where plugins are looked for: `plugins.directories`, then <exe>/../plugins and <exe>/../lib/postbus/plugins.
std::vector<std::filesystem::path> PluginDirectories(const Config& config);

// The file of a configured plugin, loaded. Errors begin with the place in the configuration.
Result<std::shared_ptr<const PluginLibrary>> LoadPlugin(const Config& config, const PluginConfig& plugin);

Result<std::unique_ptr<Renderer>> LoadRenderer(const Config& config, QueueLog log);

// In the order of config.transports; `sink_of(i)` is what the i-th tells, and must outlive it.
Result<std::vector<std::unique_ptr<Transport>>> LoadTransports(const Config& config,
                                                               const std::function<TransportSink&(size_t)>& sink_of,
                                                               const QueueLog& log);

}  // namespace postbus
