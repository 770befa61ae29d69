#include "plugins/smtp/a_labels.h"

#include <gtest/gtest.h>

#include <string>

namespace postbus::smtp {
namespace {

std::string ALabels(std::string_view address) {
  std::string out = ">";
  return AppendWithALabels(address, out) ? out.substr(1) : "no";
}

TEST(ALabels, WriteADomainInAscii) {
  EXPECT_EQ(ALabels("post@b\xC3\xBC"
                    "cher.example"),
            "post@xn--bcher-kva.example");
  EXPECT_EQ(ALabels("post@\xE6\x97\xA5\xE6\x9C\xAC.example"), "post@xn--wgv71a.example");
  EXPECT_EQ(ALabels("a.b+c@fa\xC3\x9F.example"), "a.b+c@xn--fa-hia.example") << "IDNA 2008 keeps the sharp s";
  EXPECT_EQ(ALabels("post@B\xC3\x9C"
                    "CHER.example"),
            "post@xn--bcher-kva.example");
  EXPECT_EQ(ALabels("post@shop.example"), "post@shop.example");
}

TEST(ALabels, RefuseWhatCannotBeAscii) {
  EXPECT_EQ(ALabels("j\xC3\xBCrgen@shop.example"), "no");
  EXPECT_EQ(ALabels("post@\xFF.example"), "no");
  EXPECT_EQ(ALabels("post@\xE2\x80\xA8.example"), "no");
  EXPECT_EQ(ALabels("post@" + std::string(63, 'a') + "\xC3\xBC.example"), "no");
  EXPECT_EQ(ALabels("nobody"), "no");
}

}  // namespace
}  // namespace postbus::smtp
