// plugins/smtp/plugin.cc - what the SMTP transport can be configured with, and its entry.
#include <array>

#include "plugins/smtp/transport.h"

namespace postbus::smtp {
namespace {

constexpr sdk::About kAbout{
    .id = "smtp",
    .version = "0.1.0",
    .summary = "Hands mails to an SMTP server over kept, pipelined connections, secured by TLS.",
    .caps = POSTBUS_TRANSPORT_WANTS_RAW};

constexpr int64_t kHour = 3'600'000;

constexpr std::array kOptions = {
    sdk::StringOption("host", "The server: a name or an IP address.").Default("localhost"),
    sdk::IntegerOption("port", "The server's port.").Default("2525").Range(1, 65535).Unit("port"),
    sdk::EnumOption("tls", "starttls|implicit|none",
                    "How the connection is secured: by STARTTLS (port 587, 25) or from its first byte (port 465), each "
                    "required and verified; none is for a server on this machine or in a network you trust.")
        .Default("starttls"),
    sdk::PathOption("tls_ca_file",
                    "The CA certificates (PEM) to trust in place of the system's, for a server with one of your own."),
    sdk::StringOption("username", "For AUTH; empty: no AUTH.").Default("").Secret(),
    sdk::StringOption("password", "For AUTH; an OAuth 2.0 access token with xoauth2.").Default("").Secret(),
    sdk::EnumOption("auth", "auto|plain|login|xoauth2",
                    "The mechanism of AUTH; auto: PLAIN, or LOGIN where the server has no PLAIN. Without TLS, only to "
                    "this machine.")
        .Default("auto"),
    sdk::EnumOption("preset", "none|mailtrap", "What is known of a provider's replies.").Default("none"),
    sdk::ListOption("reply_rules",
                    "What certain replies mean, each as \"451 4.7.1 *slow down -> throttled 30s\"; before all others."),
    sdk::StringOption("helo_name", "The name this client gives in EHLO; empty: the machine's.").Default(""),
    sdk::IntegerOption(
        "max_connections",
        "Connections at the same time; one in 16, and one at least of two or more, is kept for high mails.")
        .Default("32")
        .Range(1, 1000)
        .Unit("connections"),
    sdk::IntegerOption("max_messages_per_connection", "Mails after which a connection is replaced.")
        .Default("1000")
        .Range(1, 1'000'000)
        .Unit("mails"),
    sdk::DurationOption("max_connection_age", "Age at which a connection is replaced.")
        .Default("300s")
        .Range(1, 24 * kHour),
    sdk::DurationOption("idle_timeout",
                        "How long a connection without mails is kept; at most 2s to servers that are not yours.")
        .Default("30s")
        .Range(1, kHour),
    sdk::BooleanOption("pipelining", "Send commands in groups where the server announces PIPELINING.").Default("true"),
    sdk::DurationOption("connect_timeout", "Time for name resolution and connect.").Default("30s").Range(1, kHour),
    sdk::DurationOption("greeting_timeout", "Time for the server's greeting.").Default("5m").Range(1, kHour),
    sdk::DurationOption("ehlo_timeout", "Time for the reply to EHLO.").Default("5m").Range(1, kHour),
    sdk::DurationOption("tls_timeout", "Time for the reply to STARTTLS, and as much again for the TLS handshake.")
        .Default("1m")
        .Range(1, kHour),
    sdk::DurationOption("auth_timeout", "Time for each reply to AUTH.").Default("2m").Range(1, kHour),
    sdk::DurationOption("mail_timeout", "Time for the reply to MAIL.").Default("5m").Range(1, kHour),
    sdk::DurationOption("rcpt_timeout", "Time for the reply to RCPT.").Default("5m").Range(1, kHour),
    sdk::DurationOption("data_initiation_timeout", "Time for the reply to DATA.").Default("2m").Range(1, kHour),
    sdk::DurationOption("data_block_timeout", "Time for the server to read on within a mail.")
        .Default("3m")
        .Range(1, kHour),
    sdk::DurationOption("data_termination_timeout",
                        "Time for the reply to the final dot; a shorter one than the server's own sends mails twice.")
        .Default("10m")
        .Range(1, kHour),
    sdk::IntegerOption("io_threads", "Threads that share the connections.").Default("1").Range(1, 64).Unit("threads"),
};

}  // namespace
}  // namespace postbus::smtp

POSTBUS_EXPORT_TRANSPORT(postbus::smtp::Transport, postbus::smtp::kAbout, postbus::smtp::kOptions);
