#include "tests/support/smtp/test_certificates.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <cstdlib>

namespace postbus::testing {
namespace {

struct FreeKey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
struct FreeX509 {
  void operator()(X509* certificate) const { X509_free(certificate); }
};
using Key = std::unique_ptr<EVP_PKEY, FreeKey>;
using X509Pointer = std::unique_ptr<X509, FreeX509>;

template <typename Write>
std::string WriteFile(const std::filesystem::path& path, Write write) {
  std::FILE* const file = std::fopen(path.c_str(), "w");
  if (file == nullptr || write(file) != 1 || std::fclose(file) != 0) std::abort();
  return path.string();
}

void AddExtension(X509* certificate, int nid, const std::string& value) {
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str());
  if (extension == nullptr || X509_add_ext(certificate, extension, -1) != 1) std::abort();
  X509_EXTENSION_free(extension);
}

X509Pointer Make(EVP_PKEY* key, const std::string& common_name, int serial, long from, long until) {
  X509Pointer certificate(X509_new());
  X509_set_version(certificate.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), from);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), until);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(common_name.c_str()), -1, -1, 0);
  X509_set_pubkey(certificate.get(), key);
  return certificate;
}

}  // namespace

struct TestCa::Keys {
  Key key{EVP_EC_gen("P-256")};
  X509Pointer certificate;
};

TestCa::TestCa() : keys_(std::make_unique<Keys>()) {
  char name[] = "/tmp/postbus-test-ca-XXXXXX";
  if (mkdtemp(name) == nullptr) std::abort();
  directory_ = name;
  keys_->certificate = Make(keys_->key.get(), directory_.filename(), 1, -7200, 86400);
  X509* const certificate = keys_->certificate.get();
  X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
  AddExtension(certificate, NID_basic_constraints, "critical,CA:TRUE");
  AddExtension(certificate, NID_key_usage, "critical,keyCertSign");
  if (X509_sign(certificate, keys_->key.get(), EVP_sha256()) == 0) std::abort();
  file_ = WriteFile(directory_ / "ca.pem", [&](std::FILE* file) { return PEM_write_X509(file, certificate); });
}

TestCa::~TestCa() {
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

Certificate TestCa::Issue(const std::string& name, bool expired) { return Write(name, expired, false); }
Certificate TestCa::SelfSigned(const std::string& name) { return Write(name, false, true); }

Certificate TestCa::Write(const std::string& name, bool expired, bool self_signed) {
  const Key key(EVP_EC_gen("P-256"));
  const X509Pointer certificate = Make(key.get(), "server", 100 + issued_, -7200, expired ? -3600 : 86400);
  X509_set_issuer_name(certificate.get(),
                       X509_get_subject_name(self_signed ? certificate.get() : keys_->certificate.get()));
  AddExtension(certificate.get(), NID_subject_alt_name, name);
  if (X509_sign(certificate.get(), self_signed ? key.get() : keys_->key.get(), EVP_sha256()) == 0) std::abort();
  const std::string base = "server-" + std::to_string(issued_++);
  return {
      WriteFile(directory_ / (base + ".pem"), [&](std::FILE* file) { return PEM_write_X509(file, certificate.get()); }),
      WriteFile(directory_ / (base + ".key"), [&](std::FILE* file) {
        return PEM_write_PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
      })};
}

}  // namespace postbus::testing
