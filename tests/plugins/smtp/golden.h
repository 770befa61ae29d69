// tests/plugins/smtp/golden.h - compares a table with the one in the tree. POSTBUS_UPDATE_GOLDEN=1 writes it anew.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace postbus::testing {

inline void ExpectGolden(const std::string& name, const std::string& actual) {
  const std::string path = std::string(POSTBUS_SOURCE_DIR) + "/tests/plugins/smtp/" + name;
  if (std::getenv("POSTBUS_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path, std::ios::binary) << actual;
    return;
  }
  std::ifstream file(path, std::ios::binary);
  ASSERT_TRUE(file) << path;
  std::stringstream expected;
  expected << file.rdbuf();
  EXPECT_EQ(actual, expected.str()) << "differs from " << path;
}

inline const char* OutcomeName(int outcome) {
  static const char* const kNames[] = {
      "-",           "ACCEPTED",       "TRANSIENT", "THROTTLED", "REJECTED_RECIPIENT", "REJECTED_MESSAGE",
      "UNSUPPORTED", "PROVIDER_FAULT", "NOT_SENT",  "IN_DOUBT"};
  return outcome >= 0 && outcome <= 9 ? kNames[outcome] : "?";
}

inline const char* PhaseName(int phase) {
  static const char* const kNames[] = {"NONE", "CONNECT", "TLS",  "GREETING", "EHLO",      "AUTH",
                                       "MAIL", "RCPT",    "DATA", "BODY",     "FINAL_DOT", "REQUEST"};
  return phase >= 0 && phase <= 11 ? kNames[phase] : "?";
}

}  // namespace postbus::testing
