// bench/smtp_client_bench.cc - how many mails a second does the SMTP transport hand over, and what does one cost?
// Drives the transport through its C ABI with prebuilt mails of 1 KiB against Postfix's `smtp-sink`, in turns with
// Postfix's own `smtp-source -d` against the same sink. Both run on one machine: rates compare only within one run.
//
//   smtp_client_bench [mails] [connections] [runs]          (100000 50 3; needs the package postfix)
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "postbus/abi.h"
#include "tests/support/smtp/smtp_plugin.h"

extern char** environ;

namespace {

using Clock = std::chrono::steady_clock;
namespace sdk = postbus::sdk;

double Seconds(timeval time) { return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6; }

double CpuSeconds(int who) {
  rusage usage{};
  getrusage(who, &usage);
  return Seconds(usage.ru_utime) + Seconds(usage.ru_stime);
}

pid_t Spawn(const std::vector<std::string>& command) {
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  pid_t pid = 0;
  if (posix_spawn(&pid, argv[0], nullptr, nullptr, argv.data(), environ) != 0) {
    std::fprintf(stderr, "cannot start %s: install postfix\n", argv[0]);
    std::exit(1);
  }
  return pid;
}

uint16_t FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    std::exit(1);
  }
  close(fd);
  return ntohs(address.sin_port);
}

bool Listens(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  const bool connected = connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  close(fd);
  return connected;
}

// The cheapest host there can be: counts.
struct CountingHost {
  std::atomic<uint64_t> accepted = 0;
  std::atomic<uint64_t> other = 0;
  std::atomic<bool> writable = false;

  const postbus_host abi = {
      .size = sizeof(postbus_host),
      .abi_major = POSTBUS_ABI_MAJOR,
      .abi_minor = POSTBUS_ABI_MINOR,
      .ctx = this,
      .log = [](void*, int32_t,
                postbus_str text) { std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size), text.data); },
      .now_ms = [](void*) -> int64_t {
        timespec now{};
        clock_gettime(CLOCK_BOOTTIME, &now);
        return now.tv_sec * 1000 + now.tv_nsec / 1000000;
      },
      .permit_send = [](void*, const uint64_t*, uint8_t* verdicts,
                        uint32_t n) { std::memset(verdicts, POSTBUS_GO, n); },
      .complete =
          [](void* ctx, uint64_t, const postbus_result* result) {
            auto* self = static_cast<CountingHost*>(ctx);
            (result->outcome == POSTBUS_ACCEPTED ? self->accepted : self->other)
                .fetch_add(1, std::memory_order_relaxed);
          },
      .writable = [](void* ctx) { static_cast<CountingHost*>(ctx)->writable = true; },
      .get = [](void*, postbus_str) -> const void* { return nullptr; }};
};

struct Measured {
  double seconds;
  double cpu_seconds;
};

Measured RunTransport(uint16_t port, uint64_t mails, int64_t connections) {
  std::string raw =
      "From: shop@example.com\r\nTo: a@example.org\r\nSubject: Hello\r\nMessage-ID: <1@example.com>\r\n\r\n";
  while (raw.size() < 1022) raw.append(std::min<size_t>(72, 1022 - raw.size()), 'x').append("\r\n");
  const postbus_str recipient = POSTBUS_STR("a@example.org");
  postbus_mail mail{};
  mail.size = sizeof mail;
  mail.sender = POSTBUS_STR("shop@example.com");
  mail.recipients = &recipient;
  mail.n_recipients = 1;
  mail.attempt = 1;
  mail.raw = sdk::Str(raw);
  mail.deadline_ms = INT64_MAX;
  std::vector<postbus_mail> batch(64, mail);
  std::vector<const postbus_mail*> pointers;
  for (const postbus_mail& one : batch) pointers.push_back(&one);

  CountingHost host;
  postbus::testing::SmtpPlugin plugin(&host.abi, {{"host", std::string("127.0.0.1")},
                                                  {"port", int64_t{port}},
                                                  {"tls", std::string("none")},
                                                  {"helo_name", std::string("bench.example.com")},
                                                  {"max_connections", connections},
                                                  {"max_messages_per_connection", int64_t{1'000'000}}});

  const double cpu_before = CpuSeconds(RUSAGE_SELF);
  const auto begin = Clock::now();
  uint64_t offered = 0;
  while (offered < mails) {
    const auto n = static_cast<uint32_t>(std::min<uint64_t>(pointers.size(), mails - offered));
    host.writable = false;
    const uint32_t taken = plugin.Submit(std::span(pointers).first(n));
    offered += taken;
    while (taken < n && !host.writable) std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  while (host.accepted + host.other < mails) std::this_thread::sleep_for(std::chrono::microseconds(200));
  const Measured measured{std::chrono::duration<double>(Clock::now() - begin).count(),
                          CpuSeconds(RUSAGE_SELF) - cpu_before};
  if (host.other > 0)
    std::fprintf(stderr, "%llu mails were not accepted\n", static_cast<unsigned long long>(host.other));
  return measured;
}

Measured RunSmtpSource(uint16_t port, uint64_t mails, int64_t connections) {
  const double cpu_before = CpuSeconds(RUSAGE_CHILDREN);
  const auto begin = Clock::now();
  const pid_t pid = Spawn({"/usr/sbin/smtp-source", "-d", "-l", "1024", "-m", std::to_string(mails), "-s",
                           std::to_string(connections), "-f", "shop@example.com", "-t", "a@example.org", "-M", "bench",
                           "127.0.0.1:" + std::to_string(port)});
  waitpid(pid, nullptr, 0);
  return {std::chrono::duration<double>(Clock::now() - begin).count(), CpuSeconds(RUSAGE_CHILDREN) - cpu_before};
}

void Print(const char* name, uint64_t mails, const Measured& measured) {
  const auto count = static_cast<double>(mails);
  std::printf("%-22s %8.0f mails/s   %5.1f us CPU a mail\n", name, count / measured.seconds,
              measured.cpu_seconds * 1e6 / count);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const uint64_t mails = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 100'000;
  const int64_t connections = argc > 2 ? std::atoll(argv[2]) : 50;
  const int runs = argc > 3 ? std::atoi(argv[3]) : 3;

  const uint16_t port = FreePort();
  const std::string where = "127.0.0.1:" + std::to_string(port);
  std::vector<std::string> command = {"/usr/sbin/smtp-sink", "-m", "2000", where, "2000"};
  if (geteuid() == 0) command.insert(command.begin() + 1, {"-u", "nobody"});
  const pid_t sink = Spawn(command);
  while (!Listens(port)) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  for (int run = 0; run < runs; ++run) {
    Print("postbus smtp", mails, RunTransport(port, mails, connections));
    Print("smtp-source -d", mails, RunSmtpSource(port, mails, connections));
  }
  kill(sink, SIGTERM);
  waitpid(sink, nullptr, 0);
  return 0;
}
