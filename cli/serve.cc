// postbus serve | host | api: the long-running roles.
#include <poll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <optional>

#include "admin/admin_server.h"
#include "api/email_api.h"
#include "api/problem.h"
#include "cli/command.h"
#include "cli/config_watch.h"
#include "cli/drain_request.h"
#include "cli/reload.h"
#include "event/clock.h"
#include "event/text.h"
#include "host/log.h"
#include "host/metrics.h"
#include "host/plugin_set.h"
#include "host/worker.h"
#include "queue/journal.h"

namespace postbus {
namespace {

struct ServeOptions {
  ConfigOptions config;
  std::string from;
  bool watch = false;
};

struct Roles {
  const char* name;
  bool host;
  bool api;
};

std::string Listener(std::string_view address, uint16_t port) {
  const bool v6 = address.find(':') != address.npos;
  return "http://" + (v6 ? "[" + std::string(address) + "]" : std::string(address)) + ":" + std::to_string(port);
}

void AddPlugin(LogLine& line, const PluginLibrary& library) {
  line.Add("plugin", library.id()).Add("version", library.version()).Add("file", library.path().string());
}

// What this process is and does, one line each.
void PrintBanner(const Config& config, const Roles& roles, const Queue& queue, const Renderer& renderer,
                 const Worker* worker, const HttpServer* api, const HttpServer& admin, Log& log) {
  LogLine(log, LogLevel::kInfo, "postbus " POSTBUS_VERSION).Add("role", roles.name).Add("config", config.file);
  LogLine(log, LogLevel::kInfo, "queue")
      .Add("is", queue.Description())
      .Add("KAFKA_ENABLED", KafkaEnabledName(config.queue.kafka_enabled));
  {
    LogLine line(log, LogLevel::kInfo, "renderer");
    AddPlugin(line, renderer.library());
    line.Add("templates", static_cast<int64_t>(renderer.Templates().size()));
  }
  if (worker != nullptr) {
    for (const auto& instance : worker->generation().transports) {
      const Transport& transport = instance->transport();
      LogLine line(log, LogLevel::kInfo, "transport");
      line.Add("name", transport.name());
      AddPlugin(line, transport.library());
      if (transport.test_only()) line.Add("note", "for tests only: no mail leaves this machine");
    }
    for (const RouteConfig& route : config.routes) {
      const std::string condition = ConditionText(route.match);
      LogLine line(log, LogLevel::kInfo, "route");
      line.Add("match", condition.empty() ? "*" : condition).Add("use", Joined(route.use, ","));
      if (!route.weights.empty()) line.Add("split", "yes");
    }
  }
  if (worker != nullptr && !config.recipients.redirect_to.empty()) {
    LogLine(log, LogLevel::kWarning, "every mail goes to recipients.redirect_to, none to its recipients");
  }
  if (api != nullptr) {
    LogLine(log, LogLevel::kInfo, "api listens").Add("at", Listener(config.api.address, api->port()));
  }
  LogLine(log, LogLevel::kInfo, "admin listens").Add("at", Listener(config.admin.address, admin.port()));
}

// Blocks the signals this thread reads. Called before any thread starts, so that all inherit it.
sigset_t BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

// The control thread's loop: reloads until SIGTERM, SIGINT or a drain request comes. Requests that come during a reload
// get the next.
void RunUntilStopped(const sigset_t& signals, Reloader& reloader, ReloadRequests& requests, const DrainRequest& drain,
                     std::optional<ConfigWatch>& watch) {
  constexpr int kTendEveryMs = 50;
  const int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  while (true) {
    pollfd fds[] = {{.fd = signal_fd, .events = POLLIN, .revents = 0},
                    {.fd = requests.fd(), .events = POLLIN, .revents = 0},
                    {.fd = drain.fd(), .events = POLLIN, .revents = 0},
                    {.fd = watch ? watch->fd() : -1, .events = POLLIN, .revents = 0}};
    const int tend = reloader.Tend() ? kTendEveryMs : -1;
    const int look = watch ? watch->TimeoutMs() : -1;
    poll(fds, std::size(fds), look < 0 ? tend : tend < 0 ? look : std::min(tend, look));
    const char* why = nullptr;
    signalfd_siginfo received{};
    bool stop = (fds[2].revents & POLLIN) != 0;
    while (read(signal_fd, &received, sizeof received) == sizeof received) {
      stop = stop || received.ssi_signo != SIGHUP;
      why = "SIGHUP";
    }
    if (stop) break;
    const std::vector<HttpReply> waiting = requests.Take();
    if (!waiting.empty()) why = "POST /-/reload";
    if (watch && watch->Changed()) why = "the file changed";
    if (why == nullptr) continue;
    const HttpResponse answer = reloader.Reload(why);
    for (const HttpReply& reply : waiting) reply(answer);
  }
  close(signal_fd);
  for (const HttpReply& reply : requests.Take()) reply(Problem(503, "stopping", "this process was told to stop"));
}

// A second SIGTERM or SIGINT ends the process at once; nothing is lost by that, some of it comes again.
void LetSignalsKill(const sigset_t& signals) { pthread_sigmask(SIG_UNBLOCK, &signals, nullptr); }

// Each connection is a descriptor, and the usual soft limit, 1024, is less than the API takes.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

void Serve(const Roles& roles, const ServeOptions& options) {
  std::optional<ConfigWatch> watch;
  if (options.watch) {
    auto started = ConfigWatch::Start(options.config.file);
    if (!started.ok()) Die(started.status());
    watch = std::move(*started);
  }
  Config config = options.config.LoadOrExit();
  config.queue.kafka.from = options.from;
  config.copy_plugins = true;
  if (roles.api) {
    if (Status status = CheckApiAddress(config); !status.ok()) Die(status);
  }
  RaiseDescriptorLimit();
  const sigset_t signals = BlockSignals();
  if (roles.host) InstallCrashMarks();
  Log log(config.log);
  Metrics metrics;
  std::unique_ptr<StatusHistory> history;  // with the API used by the queue's last answers, so ended after it
  std::optional<EmailApi> email_api;
  auto queue = OpenQueue(config.queue, roles.host ? Role::kHost : Role::kProducer, log.Named("queue"));
  if (!queue.ok()) Die(queue.status());
  metrics.AttachQueue(**queue);

  auto loaded = LoadRenderer(config, log.Named("renderer"));  // the API checks what it accepts
  if (!loaded.ok()) Die(loaded.status());
  std::shared_ptr<const Renderer> renderer = std::move(*loaded);
  auto pauses = Pauses::Open(config.queue.state_dir + "/paused");
  if (!pauses.ok()) Die(pauses.status());
  std::unique_ptr<Worker> worker;
  if (roles.host) {
    auto started = Worker::Start(config, renderer, **queue, metrics, log, pauses->get());
    if (!started.ok()) Die(started.status());
    worker = std::move(*started);
  }

  ReloadRequests reload_requests;
  DrainRequest drain_request;
  auto admin =
      StartAdminServer(config, metrics,
                       {.ready =
                            [&queue, &worker] {
                              Status status = (*queue)->Health();
                              return status.ok() && worker != nullptr ? worker->Health() : std::move(status);
                            },
                        .reload = [&reload_requests](HttpReply reply) { reload_requests.Add(std::move(reply)); },
                        .drain = [&drain_request](bool leave) { drain_request.Ask(leave); },
                        .pauses = pauses->get()});
  if (!admin.ok()) Die(admin.status());
  std::unique_ptr<HttpServer> api;
  if (roles.api) {
    auto opened = OpenStatusHistory(config.queue, log.Named("status"));
    if (!opened.ok()) Die(opened.status());
    history = std::move(*opened);
    email_api.emplace(config, renderer, **queue, *history, metrics);
    auto listening = HttpServer::Start(
        config.api.address, config.api.port, EmailApi::Limits(config),
        [&email_api](HttpRequest&& request, HttpReply reply) {
          email_api->Handle(std::move(request), std::move(reply));
        },
        HttpErrorProblem);
    if (!listening.ok()) Die(listening.status());
    api = std::move(*listening);
  }
  PrintBanner(config, roles, **queue, *renderer, worker.get(), api.get(), **admin, log);

  renderer.reset();  // what is kept here would outlive a reload
  Reloader reloader(options.config, config, {.worker = worker.get(), .api = email_api ? &*email_api : nullptr}, metrics,
                    log);
  RunUntilStopped(signals, reloader, reload_requests, drain_request, watch);
  LetSignalsKill(signals);
  const int64_t drain_timeout_ms = reloader.current().host.drain_timeout_ms;
  const int64_t deadline = BootTimeMs() + drain_timeout_ms;
  LogLine(log, LogLevel::kInfo, "stopping").Seconds("drain_timeout", drain_timeout_ms);
  if (drain_request.leave()) (*queue)->LeaveOnStop();
  if (api != nullptr) api->Stop(deadline);
  const bool all_done = worker != nullptr ? worker->Drain(deadline) : (*queue)->Stop(deadline);
  if (all_done) {
    log.Write(LogLevel::kInfo, "stopped; nothing was left unfinished");
  } else {
    log.Write(LogLevel::kWarning, "stopped at the deadline; what was unfinished comes again at the next start");
  }
  metrics.DetachQueue();
  (*admin)->Stop(BootTimeMs() + 200);  // the answer to POST /-/drain may be on its way
}

void AddRole(CLI::App& program, const Roles& roles, const char* description) {
  auto options = std::make_shared<ServeOptions>();
  CLI::App* command = program.add_subcommand(roles.name, description);
  options->config.AddTo(*command);
  command->add_flag("--watch", options->watch, "Reloads when the configuration file changes, as SIGHUP does");
  if (roles.host) {
    command
        ->add_option("--from", options->from,
                     "Kafka: where to begin on a topic whose old records are gone and that this group never read")
        ->type_name("earliest|latest|TIME");
  }
  AddExample(*command, std::string("postbus ") + roles.name + " -c config/single-node.yaml");
  command->callback([roles, options] { Serve(roles, *options); });
}

}  // namespace

void AddServeCommands(CLI::App& program) {
  AddRole(program, {.name = "serve", .host = true, .api = true}, "HTTP API and worker in one process");
  AddRole(program, {.name = "host", .host = true, .api = false},
          "The worker: takes events from the queue, sends mails");
  AddRole(program, {.name = "api", .host = false, .api = true},
          "The HTTP API: takes mails, puts events into the queue");
}

}  // namespace postbus
