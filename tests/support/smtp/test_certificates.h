// tests/support/smtp/test_certificates.h - a certification authority of the test's own, and certificates it signs.
// Files in a temporary directory that goes with the object. EC keys: made in no time.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

namespace postbus::testing {

// Files in PEM form.
struct Certificate {
  std::string certificate;
  std::string key;
};

class TestCa {
 public:
  TestCa();
  ~TestCa();
  TestCa(const TestCa&) = delete;
  TestCa& operator=(const TestCa&) = delete;

  // Its own certificate.
  const std::string& file() const { return file_; }
  // For `name`, as subjectAltName writes it: "DNS:localhost", "IP:127.0.0.1". Valid for a day; ended an hour ago if
  // `expired`.
  Certificate Issue(const std::string& name, bool expired = false);
  // Signed by nobody but its own key.
  Certificate SelfSigned(const std::string& name);

 private:
  struct Keys;
  Certificate Write(const std::string& name, bool expired, bool self_signed);

  std::filesystem::path directory_;
  std::string file_;
  std::unique_ptr<Keys> keys_;
  int issued_ = 0;
};

}  // namespace postbus::testing
