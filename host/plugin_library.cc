#include "host/plugin_library.h"

#include <dlfcn.h>

#include <algorithm>
#include <boost/dll/shared_library.hpp>
#include <cctype>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "host/abi_sizes.h"
#include "host/plugin_calls.h"
#include "host/plugin_options.h"

namespace postbus {
namespace {

namespace fs = std::filesystem;

std::string Version(unsigned major, unsigned minor) { return std::to_string(major) + "." + std::to_string(minor); }

std::string Rebuild() { return "; rebuild against postbus-sdk " + std::to_string(POSTBUS_ABI_MAJOR); }

// Each check returns "" or what is wrong, to be put after the path.

// Magic and version stand in the 12 bytes that are the same in every version of the ABI, `size` too; the rest is read
// only once these fit. Any minor does: what a later one has besides stands where this host does not look.
std::string CheckVersion(const postbus_entry& entry) {
  if (entry.magic != POSTBUS_ABI_MAGIC)
    return "its postbus_plugin_entry is not a postbus plugin's (wrong magic number)";
  if (entry.abi_major == POSTBUS_ABI_MAJOR) return {};
  return "ABI " + Version(entry.abi_major, entry.abi_minor) + ", this postbus speaks " +
         std::to_string(POSTBUS_ABI_MAJOR) + ".x" + Rebuild();
}

std::string CheckSize(std::string_view name, size_t size, size_t wanted) {
  if (size >= wanted) return {};
  return "its " + std::string(name) + " has " + std::to_string(size) + " bytes where ABI " +
         Version(POSTBUS_ABI_MAJOR, 0) + " has " + std::to_string(wanted) + Rebuild();
}

// What has no meaning yet is 0, so that a later minor can give it one. A plugin of that minor may use it already.
bool MayUse(const postbus_entry& entry, uint32_t bits, uint32_t known) {
  return (bits & ~known) == 0 || entry.abi_minor > POSTBUS_ABI_MINOR;
}

std::string BitsProblem(std::string_view owner, std::string_view field) {
  return std::string(owner) + " has bits in `" + std::string(field) + "` that ABI " +
         Version(POSTBUS_ABI_MAJOR, POSTBUS_ABI_MINOR) + " does not know; they are 0";
}

bool IsName(std::string_view text, std::string_view separators) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || separators.find(c) != std::string_view::npos;
  });
}

std::string CheckNames(const postbus_entry& entry) {
  if (entry.kind != POSTBUS_KIND_TRANSPORT && entry.kind != POSTBUS_KIND_RENDERER) {
    return "its kind " + std::to_string(entry.kind) + " is neither transport (1) nor renderer (2)";
  }
  if (!IsName(PluginText(entry.id), "-_")) {
    return "its id " + InQuotes(PluginText(entry.id)) + " is not a name (a-z, 0-9, - and _)";
  }
  if (PluginText(entry.version).empty()) return "it has no version";
  if (PluginText(entry.summary).empty()) return "it has no summary";
  return {};
}

std::string CheckOption(const postbus_entry& entry, const postbus_option* option, std::set<std::string_view>& names) {
  if (option == nullptr) return "its option table has a null entry";
  if (std::string problem = CheckSize("postbus_option", option->size, kOptionSize); !problem.empty()) return problem;
  const std::string_view name = PluginText(option->name);
  const std::string which = "its option " + InQuotes(name);
  if (!IsName(name, "_")) return which + " is not a name (a-z, 0-9 and _)";
  if (!names.insert(name).second) return which + " is in its option table twice";
  if (option->type < POSTBUS_OPTION_STRING || option->type > POSTBUS_OPTION_LIST) {
    return which + " has the unknown type " + std::to_string(option->type);
  }
  if (!MayUse(entry, option->flags, POSTBUS_OPTION_REQUIRED | POSTBUS_OPTION_SECRET)) {
    return BitsProblem(which, "flags");
  }
  if (!MayUse(entry, option->reserved, 0)) return BitsProblem(which, "reserved");
  if (option->minimum > option->maximum) return which + " has bounds that exclude every value";
  if (option->type == POSTBUS_OPTION_ENUM && PluginText(option->choices).empty()) return which + " has no choices";
  if (PluginText(option->description).empty()) return which + " has no description";

  const std::string_view default_value = PluginText(option->default_value);
  if ((option->flags & POSTBUS_OPTION_REQUIRED) != 0) {
    return default_value.empty() ? "" : which + " is required, so it cannot have a default";
  }
  if (option->type == POSTBUS_OPTION_LIST) {
    return default_value.empty() ? "" : which + " is a list, whose default is always empty";
  }
  const std::string problem = OptionTextProblem(*option, default_value);
  if (problem.empty()) return {};
  return which + " has a bad default: " + InQuotes(default_value) + " " + problem;
}

std::string CheckOptions(const postbus_entry& entry) {
  if (!MayUse(entry, entry.reserved, 0)) return BitsProblem("its postbus_plugin_entry", "reserved");
  if (entry.n_options != 0 && entry.options == nullptr) return "its option table is missing";
  std::set<std::string_view> names;
  for (uint32_t i = 0; i < entry.n_options; ++i) {
    if (std::string problem = CheckOption(entry, entry.options[i], names); !problem.empty()) return problem;
  }
  return {};
}

struct NamedFunction {
  std::string_view name;
  bool present;
};

std::string CheckFunctions(std::string_view table, std::span<const NamedFunction> functions) {
  for (const NamedFunction& function : functions) {
    if (!function.present) return "its " + std::string(table) + " has no function " + std::string(function.name);
  }
  return {};
}

std::string CheckTransport(const postbus_entry& entry, const postbus_transport& t) {
  constexpr uint32_t kCaps = POSTBUS_TRANSPORT_WANTS_RAW | POSTBUS_TRANSPORT_WANTS_PARTS |
                             POSTBUS_TRANSPORT_IDEMPOTENT | POSTBUS_TRANSPORT_TEST_ONLY;
  if (std::string problem = CheckSize("postbus_transport", t.size, kTransportSize); !problem.empty()) return problem;
  if (!MayUse(entry, t.caps, kCaps)) return BitsProblem("its postbus_transport", "caps");
  const NamedFunction functions[] = {{"create", t.create != nullptr},   {"probe", t.probe != nullptr},
                                     {"submit", t.submit != nullptr},   {"cancel", t.cancel != nullptr},
                                     {"quiesce", t.quiesce != nullptr}, {"outstanding", t.outstanding != nullptr},
                                     {"destroy", t.destroy != nullptr}};
  return CheckFunctions("postbus_transport", functions);
}

std::string CheckRenderer(const postbus_entry& entry, const postbus_renderer& r) {
  if (std::string problem = CheckSize("postbus_renderer", r.size, kRendererSize); !problem.empty()) return problem;
  if (!MayUse(entry, r.caps, 0)) return BitsProblem("its postbus_renderer", "caps");
  const NamedFunction functions[] = {{"create", r.create != nullptr},
                                     {"render", r.render != nullptr},
                                     {"list", r.list != nullptr},
                                     {"destroy", r.destroy != nullptr}};
  return CheckFunctions("postbus_renderer", functions);
}

// dlerror's words, without the path they mostly begin with.
std::string LoaderError(const fs::path& path) {
  const char* const text = ::dlerror();
  std::string_view error = text == nullptr ? "the loader gave no reason" : text;
  const std::string prefix = path.string() + ": ";
  if (error.substr(0, prefix.size()) == prefix) error.remove_prefix(prefix.size());
  return OneLine(error);
}

// Names of the plugins in `directories`, by their files.
std::vector<std::string> PluginNames(std::span<const fs::path> directories) {
  std::vector<std::string> names;
  for (const fs::path& directory : directories) {
    std::error_code error;
    for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
      if (entry->path().extension() == ".so") names.push_back(entry->path().stem().string());
    }
  }
  return names;
}

}  // namespace

struct PluginLibrary::Impl {
  fs::path path;
  PluginCopy image;  // what was loaded; before `library`, which goes first
  boost::dll::shared_library library;
  const postbus_entry* entry = nullptr;
  const postbus_transport* transport = nullptr;
  const postbus_renderer* renderer = nullptr;

  // "" or what is wrong.
  std::string Check() {
    for (const auto check :
         {CheckVersion, +[](const postbus_entry& e) { return CheckSize("postbus_plugin_entry", e.size, kEntrySize); },
          CheckNames, CheckOptions}) {
      if (std::string problem = check(*entry); !problem.empty()) return problem;
    }
    if (entry->get == nullptr) return "its postbus_plugin_entry has no function get";
    return CheckTable();
  }

  std::string CheckTable() {
    const bool is_transport = entry->kind == POSTBUS_KIND_TRANSPORT;
    const std::string_view id = is_transport ? POSTBUS_TRANSPORT_ID : POSTBUS_RENDERER_ID;
    const void* table = nullptr;
    const std::string thrown = CatchThrown([&] { table = entry->get(AbiText(id)); });
    if (!thrown.empty()) return "its function get failed: " + thrown;
    if (table == nullptr) {
      return std::string("it says it is a ") + (is_transport ? "transport" : "renderer") + ", but has no " +
             InQuotes(id);
    }
    if (is_transport) {
      transport = static_cast<const postbus_transport*>(table);
      return CheckTransport(*entry, *transport);
    }
    renderer = static_cast<const postbus_renderer*>(table);
    return CheckRenderer(*entry, *renderer);
  }
};

PluginLibrary::PluginLibrary() : impl_(std::make_unique<Impl>()) {}
PluginLibrary::~PluginLibrary() = default;

Result<std::shared_ptr<const PluginLibrary>> PluginLibrary::Load(const fs::path& path) {
  return Open(path, PluginCopy{.path = path, .lock = {}});
}

Result<std::shared_ptr<const PluginLibrary>> PluginLibrary::LoadCopy(const fs::path& path, PluginCopy copy) {
  return Open(path, std::move(copy));
}

Result<std::shared_ptr<const PluginLibrary>> PluginLibrary::Open(const fs::path& path, PluginCopy image) {
  using boost::dll::load_mode::type;
  // NOW: a missing symbol is an error here instead of the end of the process at the first call. LOCAL: two plugins
  // never see each other's symbols. NODELETE: code stays mapped when the last instance is gone, because what a plugin
  // (or a library it brought) left behind in the process, such as destructors of thread-locals or a resolver's thread,
  // would run unmapped code. It costs one or two megabytes a reload.
  constexpr auto kMode = static_cast<type>(boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local |
                                           static_cast<type>(RTLD_NODELETE));
  const auto refuse = [&](const std::string& problem) { return Status::Invalid(path.string() + ": " + problem); };

  std::shared_ptr<PluginLibrary> plugin(new PluginLibrary());
  Impl& impl = *plugin->impl_;
  impl.path = path;
  impl.image = std::move(image);
  // The form with an error_code: it leaves the reason in dlerror, where the throwing form wraps it into other words.
  std::error_code error;
  impl.library.load(impl.image.path, kMode, error);
  if (error) return refuse("cannot be loaded: " + LoaderError(impl.image.path));
  if (!impl.library.has("postbus_plugin_entry")) {
    return refuse("it exports no postbus_plugin_entry, so it is not a postbus plugin");
  }
  impl.entry = &impl.library.get<const postbus_entry>("postbus_plugin_entry");
  if (const std::string problem = impl.Check(); !problem.empty()) return refuse(problem);
  return std::shared_ptr<const PluginLibrary>(std::move(plugin));
}

const fs::path& PluginLibrary::path() const { return impl_->path; }
const fs::path& PluginLibrary::file() const { return impl_->image.path; }
std::string PluginLibrary::abi() const { return Version(impl_->entry->abi_major, impl_->entry->abi_minor); }
std::string_view PluginLibrary::id() const { return PluginText(impl_->entry->id); }
std::string_view PluginLibrary::version() const { return PluginText(impl_->entry->version); }
std::string_view PluginLibrary::summary() const { return PluginText(impl_->entry->summary); }
std::span<const postbus_option* const> PluginLibrary::options() const {
  return {impl_->entry->options, impl_->entry->n_options};
}
const postbus_transport* PluginLibrary::transport() const { return impl_->transport; }
const postbus_renderer* PluginLibrary::renderer() const { return impl_->renderer; }
const void* PluginLibrary::Get(std::string_view extension_id) const { return impl_->entry->get(AbiText(extension_id)); }

Result<fs::path> FindPlugin(std::string_view name, std::span<const fs::path> directories) {
  const fs::path given(name);
  std::error_code error;
  if (given.is_absolute()) {
    if (fs::is_regular_file(given, error)) return given.lexically_normal();
    return Status::NotFound("there is no plugin file " + std::string(name));
  }
  if (name.empty() || name.find('/') != std::string_view::npos) {
    return Status::Invalid(InQuotes(name) + " is neither the name of a plugin nor an absolute path");
  }
  std::string tried;
  for (const fs::path& directory : directories) {
    const fs::path path = (fs::absolute(directory, error) / (std::string(name) + ".so")).lexically_normal();
    if (fs::is_regular_file(path, error)) return path;
    tried += (tried.empty() ? "" : ", ") + path.string();
  }
  std::string message = "there is no plugin " + InQuotes(name) + "; looked for " + (tried.empty() ? "nothing" : tried);
  const std::vector<std::string> names = PluginNames(directories);
  const std::vector<std::string_view> known(names.begin(), names.end());
  if (const std::string_view near = NearestName(name, known); !near.empty()) {
    message += "; did you mean " + InQuotes(near) + "?";
  }
  return Status::NotFound(std::move(message));
}

}  // namespace postbus
