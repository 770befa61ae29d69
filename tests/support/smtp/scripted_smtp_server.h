// tests/support/smtp/scripted_smtp_server.h - an SMTP server that misbehaves on request, and writes down what it got.
//
// What happens to a mail is said by its addresses: a local part `PHASE-ACTION` (what follows a further `-` is free, so
// that addresses can differ) makes the server do ACTION when it comes to PHASE. `mail-…` counts in the sender's
// address, the others in a recipient's.
//   phases:  mail rcpt data body (after the first bytes of the mail) dot
//   actions: a reply code (421 closes) | fin | rst | hang (reads no more, either) | garbage (text that is no SMTP) |
//   half (half a reply, then FIN)
// At `dot` the mail has arrived as a whole, whatever is answered.
//
// Thread-safe; threads of its own, one a connection. Loopback, ephemeral port.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/smtp/test_certificates.h"

namespace postbus::testing {

// A mail for which DATA was answered with 354.
struct LedgerEntry {
  std::string message_id;  // of the Message-ID header; empty: not read
  std::string sender;
  std::vector<std::string> recipients;  // those that were accepted
  std::string raw;                      // what came, not unstuffed, without the final dot's line
  bool data_complete = false;           // the final dot came
  bool reset = false;                   // the client broke the connection with RST before it
  int reply = 0;                        // code sent for it; 0: none, the reply is lost
};

struct ScriptedSmtpOptions {
  std::string greeting{};   // action at the greeting; empty: 220
  std::string ehlo{};       // action at EHLO; empty: 250
  bool helo = true;         // HELO is known
  std::string reset{};      // action at RSET
  std::string auth{};       // action at AUTH; empty: 235 to whatever comes
  std::string starttls{};   // action at STARTTLS
  std::string handshake{};  // action in place of the TLS handshake, once the client has begun it
  std::string injected{};   // sent in the clear right behind the reply to STARTTLS
  std::vector<std::string> extensions = {"PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 104857600"};
  Certificate certificate{};  // with one, EHLO in the clear is answered with STARTTLS, too
  bool implicit_tls = false;  // TLS from the first byte
  bool old_tls = false;       // TLS 1.1 at most
  // Bytes of a connection, in the clear, after which it is cut with FIN: what came before is answered.
  size_t cut_after_in = SIZE_MAX;
  size_t cut_after_out = SIZE_MAX;
  uint32_t close_after = 0;        // mails; then the next MAIL finds the connection closed
  uint32_t max_recipients = 1000;  // more of them get 452 4.5.3
  int body_pause_ms = 0;           // before the mail is read
  int dot_delay_ms = 0;            // before it is answered
  int receive_buffer = 0;          // bytes; 0: the system's
  bool any_line_end = false;       // takes a CR or LF alone for a line end: a target for smuggling
};

class ScriptedSmtpServer {
 public:
  explicit ScriptedSmtpServer(ScriptedSmtpOptions options = {});
  ~ScriptedSmtpServer();

  uint16_t port() const;
  // In the order their DATA was answered.
  std::vector<LedgerEntry> ledger() const;
  // Complete mails by Message-ID.
  std::vector<LedgerEntry> complete() const;
  size_t connections() const;  // ever accepted
  // Commands of all connections, with the lines that follow AUTH, without the mails.
  std::vector<std::string> commands() const;
  // What came in the clear, on all connections; about the first MiB of it.
  std::string clear_text() const;
  // The name that the last client with TLS asked for (SNI).
  std::string server_name() const;
  // Stops answering: closes the port and all connections with FIN.
  void Stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace postbus::testing
