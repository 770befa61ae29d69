#include "plugins/smtp/a_labels.h"

#include <idn2.h>

#include <algorithm>
#include <memory>

namespace postbus::smtp {

bool AppendWithALabels(std::string_view address, std::string& out) {
  const size_t at = address.rfind('@');
  if (at == std::string_view::npos) return false;
  const std::string_view local = address.substr(0, at + 1);
  if (std::any_of(local.begin(), local.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x80; }))
    return false;
  const std::string domain(address.substr(at + 1));
  char* labels = nullptr;
  const int result = idn2_to_ascii_8z(domain.c_str(), &labels, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
  const std::unique_ptr<char, decltype(&idn2_free)> owned(labels, &idn2_free);
  if (result != IDN2_OK) return false;
  out.append(local).append(labels);
  return true;
}

}  // namespace postbus::smtp
