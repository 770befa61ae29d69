// The checks of plugins that look at the file and its entry alone.
#include <elf.h>

#include <cstring>
#include <optional>
#include <vector>

#include "cli/check_rig.h"
#include "host/read_file.h"

namespace postbus {
namespace {

constexpr std::string_view kEntry = "postbus_plugin_entry";

template <typename T>
std::optional<T> At(std::string_view file, uint64_t offset) {
  T value;
  if (offset > file.size() || file.size() - offset < sizeof value) return std::nullopt;
  std::memcpy(&value, file.data() + offset, sizeof value);
  return value;
}

struct Exported {
  std::string name;
  bool unique = false;
};

// What the dynamic linker lets others see; nullopt: not a 64-bit ELF file, or a broken one.
std::optional<std::vector<Exported>> ExportedSymbols(std::string_view file) {
  const auto header = At<Elf64_Ehdr>(file, 0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_ident[EI_CLASS] != ELFCLASS64)
    return {};
  const auto section = [&](uint32_t index) {
    return At<Elf64_Shdr>(file, header->e_shoff + uint64_t{index} * sizeof(Elf64_Shdr));
  };
  std::vector<Exported> exported;
  for (uint32_t i = 0; i < header->e_shnum; ++i) {
    const auto symbols = section(i);
    if (!symbols) return {};
    if (symbols->sh_type != SHT_DYNSYM) continue;
    const auto names = section(symbols->sh_link);
    if (!names) return {};
    for (uint64_t at = 0; at + sizeof(Elf64_Sym) <= symbols->sh_size; at += sizeof(Elf64_Sym)) {
      const auto symbol = At<Elf64_Sym>(file, symbols->sh_offset + at);
      if (!symbol || names->sh_offset + symbol->st_name >= file.size()) return {};
      const unsigned binding = ELF64_ST_BIND(symbol->st_info);
      if (symbol->st_shndx == SHN_UNDEF || symbol->st_shndx == SHN_ABS || binding == STB_LOCAL) continue;
      const std::string_view rest = file.substr(names->sh_offset + symbol->st_name);
      exported.push_back({std::string(rest.substr(0, rest.find('\0'))), binding == STB_GNU_UNIQUE});
    }
  }
  return exported;
}

Finding CheckExports(const CheckSubject& subject) {
  const auto file = ReadFile(subject.file.string());
  const auto symbols = file ? ExportedSymbols(*file) : std::nullopt;
  if (!symbols) return Finding("it is no 64-bit ELF file");
  std::string strangers;
  size_t n = 0;
  for (const Exported& symbol : *symbols) {
    if (symbol.unique) {
      return Finding("it exports the STB_GNU_UNIQUE symbol " + symbol.name +
                     ", which two versions of a plugin would share; compile with -fno-gnu-unique");
    }
    if (symbol.name != kEntry && ++n <= 3) strangers += (strangers.empty() ? "" : ", ") + symbol.name;
  }
  if (n == 0) return {};
  return Finding("it exports " + strangers + (n > 3 ? " and " + std::to_string(n - 3) + " more" : "") + " besides " +
                 std::string(kEntry) + "; link it by postbus_add_plugin or with the SDK's version script");
}

Finding CheckLoads(const CheckSubject& subject) {
  CheckRig rig(subject);
  const size_t threads = CountThreads();
  if (std::string fault = rig.Open(); !fault.empty()) return Finding(fault);
  if (CountThreads() > threads) return Finding("loading it starts a thread; start threads in create");
  return {};
}

Finding CheckSecrets(const CheckSubject& subject) {
  CheckRig rig(subject);
  if (std::string fault = rig.Open(); !fault.empty()) return Finding(fault);
  for (const postbus_option* option : rig.library().options()) {
    const std::string_view name = PluginText(option->name);
    const bool sounds_secret = name.ends_with("password") || name.ends_with("secret") || name.ends_with("token") ||
                               name.ends_with("api_key") || name.ends_with("secret_access_key");
    if (sounds_secret && option->type == POSTBUS_OPTION_STRING && (option->flags & POSTBUS_OPTION_SECRET) == 0) {
      return Finding("its option \"" + std::string(name) +
                     "\" is not marked POSTBUS_OPTION_SECRET, so the host prints its value");
    }
  }
  return {};
}

Finding CheckUnknownExtension(const CheckSubject& subject) {
  CheckRig rig(subject);
  if (std::string fault = rig.Open(); !fault.empty()) return Finding(fault);
  const std::string known = rig.library().transport() != nullptr ? POSTBUS_TRANSPORT_ID : POSTBUS_RENDERER_ID;
  const std::string names[] = {"postbus.nothing/1", known + "0", known.substr(0, known.size() - 1), ""};
  for (const std::string& name : names) {
    const void* table = nullptr;
    std::string fault = CheckRig::Guard("get", [&] { table = rig.library().Get(name); });
    if (!fault.empty()) return Finding(fault);
    if (table != nullptr) {
      return Finding("get(\"" + name + "\") gives a table; it must be NULL for every name that it does not know");
    }
  }
  return {};
}

// Loading is the second: see RunPluginChecks.
constexpr PluginCheck kChecks[] = {
    {"exports", &CheckExports},
    {"loads", &CheckLoads},
    {"secrets", &CheckSecrets},
    {"unknown-extension", &CheckUnknownExtension},
};

}  // namespace

std::span<const PluginCheck> FileChecks() { return kChecks; }

}  // namespace postbus
