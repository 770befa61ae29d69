// postbus render: shows what a template makes of data, once or as a site that follows the files.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "api/problem.h"
#include "cli/command.h"
#include "cli/preview.h"
#include "cli/template_files.h"
#include "event/clock.h"
#include "event/email_event.h"
#include "host/log.h"
#include "host/plugin_options.h"
#include "host/plugin_set.h"

namespace postbus {
namespace {

struct RenderOptions {
  ConfigOptions config;
  std::string template_name;
  std::string data;
  std::string part;
  std::string output = "text";
  bool serve = false;
  uint16_t port = 8026;
};

void PrintMail(const RenderedMail& mail, const RenderOptions& options) {
  std::string out;
  if (options.output == "json") {
    out = "{";
    AddJsonMember("subject", mail.subject, out);
    AddJsonMember("text", mail.text, out);
    AddJsonMember("html", mail.html, out);
    out += "}\n";
  } else if (!options.part.empty()) {
    out = options.part == "subject" ? mail.subject + "\n" : options.part == "text" ? mail.text : mail.html;
  } else {
    out = "Subject: " + mail.subject + "\n";
    if (!mail.text.empty()) out += "\n--- text ---\n" + mail.text;
    if (!mail.html.empty()) out += "\n--- html ---\n" + mail.html;
  }
  std::fwrite(out.data(), 1, out.size(), stdout);
}

void RenderOnce(const RenderOptions& options, const Config& config, Log& log) {
  auto renderer = LoadRenderer(config, log.Named("renderer"));
  if (!renderer.ok()) Die(renderer.status());
  const std::string& name = options.template_name;
  const std::vector<std::string> names = (*renderer)->Templates();
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    std::string sentence = "there is no template \"" + name + "\"";
    const std::vector<std::string_view> known(names.begin(), names.end());
    if (const auto nearest = NearestName(name, known); !nearest.empty()) {
      sentence += "; did you mean \"" + std::string(nearest) + "\"?";
    }
    PrintError(Status::Invalid(sentence));
    std::exit(kExitUsage);
  }
  const std::string data = options.data.empty() ? SampleData(TemplateDirectory(config), name).value_or("{}")
                                                : TextOrExit("--data", options.data);
  RenderedMail mail;
  if ((*renderer)->Render(name, data, mail) != RenderOutcome::kOk) {
    PrintError(Status::Invalid(name + ": " + mail.error));
    std::exit(kExitUsage);
  }
  PrintMail(mail, options);
}

// Until SIGTERM or SIGINT.
void ServePreview(const RenderOptions& options, const Config& config, Log& log, const sigset_t& signals) {
  Preview preview(config, log.Named("renderer"));
  auto server = HttpServer::Start(
      "127.0.0.1", options.port, {},
      [&preview](HttpRequest&& request, const HttpReply& reply) { reply(preview.Answer(request)); }, HttpErrorProblem);
  if (!server.ok()) Die(server.status());
  std::printf("http://127.0.0.1:%d/%s%s\n", (*server)->port(), options.template_name.empty() ? "" : "#",
              options.template_name.c_str());
  std::fflush(stdout);
  int signal = 0;
  while (sigwait(&signals, &signal) != 0) {
  }
  (*server)->Stop(BootTimeMs());
}

void Render(const RenderOptions& options) {
  if (options.template_name.empty() && !options.serve) {
    PrintError(Status::Invalid("TEMPLATE is required, unless with --serve; see postbus render --help"));
    std::exit(kExitUsage);
  }
  const Config config = options.config.LoadOrExit();
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT}) sigaddset(&signals, signal);
  if (options.serve) pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // before any thread starts
  Log log(config.log);
  options.serve ? ServePreview(options, config, log, signals) : RenderOnce(options, config, log);
}

}  // namespace

void AddRenderCommand(CLI::App& program) {
  auto options = std::make_shared<RenderOptions>();
  CLI::App* command = program.add_subcommand("render", "Shows what a template makes of data; sends nothing");
  options->config.AddTo(*command);
  command->add_option("TEMPLATE", options->template_name, "Its name; with --serve the one to show first");
  CLI::Option* data = command->add_option("--data", options->data,
                                          "A JSON object, @FILE, or - for standard input; default: its sample.json");
  CLI::Option* part = command->add_option("--part", options->part, "Only this part, as it is")
                          ->check(CLI::IsMember({"subject", "text", "html"}));
  AddOutputOption(*command, options->output);
  CLI::Option* serve = command->add_flag("--serve", options->serve,
                                         "Shows all templates in a browser and follows their files until Ctrl-C");
  command->add_option("--port", options->port, "Of --serve, on 127.0.0.1; 0 = any that is free")
      ->needs(serve)
      ->capture_default_str();
  serve->excludes(data)->excludes(part);
  AddExample(*command,
             "postbus render -c config/single-node.yaml welcome\n"
             "postbus render -c config/single-node.yaml welcome --part text --data '{\"Name\": \"Ada\", \"Link\": "
             "\"https://example.com\"}'\n"
             "postbus render -c config/single-node.yaml --serve");
  command->callback([options] { Render(*options); });
}

}  // namespace postbus
