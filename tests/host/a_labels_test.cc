#include "host/a_labels.h"

#include <gtest/gtest.h>

namespace postbus {
namespace {

std::string InAscii(std::string address) {
  WriteDomainInAscii(address);
  return address;
}

TEST(ALabels, WriteADomainInAscii) {
  EXPECT_EQ(InAscii("post@bücher.example"), "post@xn--bcher-kva.example");
  EXPECT_EQ(InAscii("post@日本.example"), "post@xn--wgv71a.example");
  EXPECT_EQ(InAscii("a.b+c@faß.example"), "a.b+c@xn--fa-hia.example") << "IDNA 2008 keeps the sharp s";
  EXPECT_EQ(InAscii("post@BÜCHER.example"), "post@xn--bcher-kva.example");
}

TEST(ALabels, LeaveWhatIsAsciiOrCannotBe) {
  for (const std::string address :
       {"post@shop.example", "Post@SHOP.example", "jürgen@shop.example", "jürgen@bücher.example", "post@\xFF.example",
        "post@\xE2\x80\xA8.example", "nobody", "büro", ""}) {
    EXPECT_EQ(InAscii(address), address);
  }
  const std::string long_label = "post@" + std::string(60, 'a') + "ü.example";
  EXPECT_EQ(InAscii(long_label), long_label);
  // Its A-labels would make the address longer than an address may be.
  std::string long_address = std::string(64, 'a') + "@";
  while (long_address.size() < 220) long_address += "ü.";
  long_address += "example";
  EXPECT_EQ(InAscii(long_address), long_address);
}

TEST(ALabels, OfAllAddressesOfAnEvent) {
  EmailEvent event;
  event.from.address = "a@ü.example";
  event.to = {{"Ü", "b@ü.example"}, {"", "ü@ü.example"}};
  event.cc = {{"", "c@ü.example"}};
  event.bcc = {{"", "d@ü.example"}};
  event.reply_to = {{"", "e@ü.example"}};
  WriteDomainsInAscii(event);
  EXPECT_EQ(event.from.address, "a@xn--tda.example");
  EXPECT_EQ(event.to[0], (Mailbox{"Ü", "b@xn--tda.example"}));
  EXPECT_EQ(event.to[1].address, "ü@ü.example");
  EXPECT_EQ(event.cc[0].address, "c@xn--tda.example");
  EXPECT_EQ(event.bcc[0].address, "d@xn--tda.example");
  EXPECT_EQ(event.reply_to[0].address, "e@xn--tda.example");
}

}  // namespace
}  // namespace postbus
