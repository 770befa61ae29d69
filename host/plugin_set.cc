#include "host/plugin_set.h"

#include <algorithm>
#include <set>

namespace postbus {
namespace {

// Options are checked against the plugin's table, whichever kind it is.
Result<PluginOptions> OptionsFor(const PluginLibrary& library, const PluginConfig& plugin, const std::string& section) {
  return PluginOptions::Parse(library.options(), plugin, section + ".options", library.id());
}

Status At(const SourceMark& mark, const Status& status) {
  return {status.kind(), mark.ToString() + ": " + std::string(status.message())};
}

}  // namespace

std::vector<std::filesystem::path> PluginDirectories(const Config& config) {
  std::vector<std::filesystem::path> directories(config.plugin_directories.begin(), config.plugin_directories.end());
  std::error_code error;
  const auto executable = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) {
    const auto root = executable.parent_path().parent_path();
    directories.push_back(root / "plugins");
    directories.push_back(root / "lib" / "postbus" / "plugins");
  }
  return directories;
}

std::vector<std::filesystem::path> PluginFiles(const std::vector<std::filesystem::path>& directories) {
  std::set<std::string> names;
  std::vector<std::filesystem::path> files;
  for (const std::filesystem::path& directory : directories) {
    std::error_code error;
    for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
         entry.increment(error)) {
      const std::filesystem::path& path = entry->path();
      if (path.extension() == ".so" && names.insert(path.stem().string()).second)
        files.push_back(std::filesystem::absolute(path));
    }
  }
  std::sort(files.begin(), files.end(),
            [](const std::filesystem::path& a, const std::filesystem::path& b) { return a.stem() < b.stem(); });
  return files;
}

std::filesystem::path PluginCopyDirectory(const Config& config) {
  return std::filesystem::path(config.queue.state_dir) / "plugins";
}

Result<std::shared_ptr<const PluginLibrary>> LoadPlugin(const Config& config, const PluginConfig& plugin) {
  auto path = FindPlugin(plugin.plugin, PluginDirectories(config));
  if (!path.ok()) return At(plugin.mark, path.status());
  auto file = ReadPluginFile(*path);
  if (!file.ok()) return At(plugin.mark, file.status());
  if (!plugin.sha256.empty() && plugin.sha256 != file->sha256) {
    return Status::Invalid(plugin.sha256_mark.ToString() + ": " + path->string() + " has the sha256 " + file->sha256 +
                           ", not the one given here; if it was replaced on purpose, write that");
  }
  auto library = [&]() -> Result<std::shared_ptr<const PluginLibrary>> {
    if (!config.copy_plugins) return PluginLibrary::Load(*path);
    auto copy = CopyPluginFile(*file, PluginCopyDirectory(config));
    if (!copy.ok()) return copy.TakeStatus();
    return PluginLibrary::LoadCopy(*path, std::move(*copy));
  }();
  if (!library.ok()) return At(plugin.mark, library.status());
  return library;
}

Result<std::unique_ptr<Renderer>> LoadRenderer(const Config& config, QueueLog log) {
  auto library = LoadPlugin(config, config.renderer);
  if (!library.ok()) return library.TakeStatus();
  auto options = OptionsFor(**library, config.renderer, "renderer");
  if (!options.ok()) return options.TakeStatus();
  auto renderer = Renderer::Create(*library, *options, std::move(log));
  if (!renderer.ok()) return At(config.renderer.mark, renderer.status());
  return renderer;
}

std::string TransportParts::Fingerprint() const {
  return FileIdentity(library->file()) + '\n' + options.Fingerprint(library->options());
}

Result<TransportParts> LoadTransportParts(const Config& config, const TransportConfig& transport) {
  auto library = LoadPlugin(config, transport);
  if (!library.ok()) return library.TakeStatus();
  auto options = OptionsFor(**library, transport, "transports." + transport.name);
  if (!options.ok()) return options.TakeStatus();
  return TransportParts{std::move(*library), std::move(*options)};
}

Result<std::unique_ptr<Transport>> MakeTransport(const TransportConfig& transport, const TransportParts& parts,
                                                 TransportSink& sink, const QueueLog& log) {
  auto instance = Transport::Create(parts.library, transport.name, parts.options, sink, log);
  if (!instance.ok()) return At(transport.mark, instance.status());
  return instance;
}

}  // namespace postbus
