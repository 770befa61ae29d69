// plugins/smtp/a_labels.h - internationalised domains (IDNA 2008, UTS 46) for servers without SMTPUTF8. Pure.
#pragma once

#include <string>
#include <string_view>

namespace postbus::smtp {

// Appends `address` with its domain as A-labels: `post@xn--bcher-kva.example`. False where that cannot be: the local
// part is not ASCII, or the domain breaks the rules.
bool AppendWithALabels(std::string_view address, std::string& out);

}  // namespace postbus::smtp
