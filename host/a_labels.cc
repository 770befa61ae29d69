#include "host/a_labels.h"

#include <idn2.h>

#include <memory>
#include <string_view>

#include "event/text.h"

namespace postbus {
namespace {

constexpr size_t kMaxAddress = 254;  // RFC 5321: a path of 256 less its brackets

}  // namespace

void WriteDomainInAscii(std::string& address) {
  const size_t domain = address.rfind('@') + 1;  // 0: there is none
  const std::string_view view = address;
  if (domain == 0 || IsAscii(view.substr(domain)) || !IsAscii(view.substr(0, domain))) return;
  char* labels = nullptr;
  const int result = idn2_to_ascii_8z(address.c_str() + domain, &labels, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
  const std::unique_ptr<char, decltype(&idn2_free)> owned(labels, &idn2_free);
  if (result == IDN2_OK && domain + std::string_view(labels).size() <= kMaxAddress)
    address.replace(domain, address.npos, labels);
}

void WriteDomainsInAscii(EmailEvent& event) {
  WriteDomainInAscii(event.from.address);
  for (std::vector<Mailbox>* mailboxes : {&event.to, &event.cc, &event.bcc, &event.reply_to}) {
    for (Mailbox& mailbox : *mailboxes) WriteDomainInAscii(mailbox.address);
  }
}

}  // namespace postbus
