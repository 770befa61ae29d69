#include "host/config_load.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

namespace postbus {
namespace {

constexpr std::string_view kValid = R"(version: 1
queue: { type: sqlite, sqlite: { path: mail.db } }
renderer: { plugin: ctemplate, options: { directory: ../templates } }
transports:
  primary: { plugin: smtp, options: { host: "${HOST:-localhost}", port: "${PORT:-2525}" } }
)";

class ConfigLoad : public testing::Test {
 protected:
  ConfigLoad() {
    std::string pattern = testing::TempDir() + "config.XXXXXX";
    directory_ = mkdtemp(pattern.data());
    path_ = directory_ + "/postbus.yaml";
  }
  ~ConfigLoad() override { std::filesystem::remove_all(directory_); }

  Result<Config> Load(std::string_view yaml, const std::vector<std::string>& overrides = {}) {
    std::ofstream(path_) << yaml;
    return LoadConfig(path_, overrides, [this](std::string_view name) -> std::optional<std::string> {
      const auto found = environment_.find(std::string(name));
      if (found == environment_.end()) return std::nullopt;
      return found->second;
    });
  }

  // The error with the file's directory cut away.
  std::string Error(std::string_view yaml, const std::vector<std::string>& overrides = {}) {
    const auto config = Load(yaml, overrides);
    if (config.ok()) return "valid";
    std::string text(config.status().message());
    for (size_t at = text.find(directory_); at != text.npos; at = text.find(directory_)) {
      text.erase(at, directory_.size() + 1);
    }
    return text;
  }

  std::string directory_;
  std::string path_;
  std::map<std::string, std::string> environment_;
};

TEST_F(ConfigLoad, ReadsAMinimalFile) {
  const auto config = Load(kValid);
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->queue.type, QueueConfig::Type::kSqlite);
  EXPECT_EQ(config->queue.sqlite.path, directory_ + "/mail.db");
  EXPECT_EQ(config->queue.state_dir, directory_ + "/var");
  ASSERT_EQ(config->transports.size(), 1u);
  EXPECT_EQ(config->transports[0].name, "primary");
  ASSERT_EQ(config->transports[0].options.size(), 2u);
  EXPECT_EQ(config->transports[0].options[0].text, "localhost");
  ASSERT_EQ(config->routes.size(), 1u);
  EXPECT_EQ(config->routes[0].use, std::vector<std::string>{"primary"});
}

TEST_F(ConfigLoad, EveryFileThatIsShippedLoads) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(POSTBUS_SOURCE_DIR "/config")) {
    if (entry.path().extension() != ".yaml") continue;
    const auto config = LoadConfig(entry.path(), {}, [](std::string_view) { return std::optional<std::string>(); });
    EXPECT_TRUE(config.ok()) << config.status().message();
    ++files;
  }
  EXPECT_GE(files, 4);
}

TEST_F(ConfigLoad, TheRecipientKeyIsASecret) {
  const auto with_key = [](const std::string& key) {
    std::string yaml(kValid);
    return yaml.insert(yaml.find("type: sqlite"), "recipient_key: " + key + ", ");
  };
  const auto config = Load(with_key("0123456789abcdef"));
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->queue.recipient_key, "0123456789abcdef");
  EXPECT_EQ(Error(with_key("0123456789abcde")),
            "postbus.yaml:2:10: queue.recipient_key: is too short to keep a secret; make one of 16 bytes or more: "
            "openssl rand -hex 32");
}

TEST_F(ConfigLoad, ReadsRoutesInTheirOrder) {
  const auto config = Load(R"(version: 1
queue: { type: sqlite, sqlite: { path: mail.db } }
renderer: { plugin: ctemplate }
transports:
  a: { plugin: smtp, breaker: { failures: 5, probe_after: 10s } }
  b: { plugin: file }
routes:
  - { match: { template: newsletter }, split: { a: 95, b: 5 } }
  - match: { template: [x, "y*"], type: t, priority: [high, low], recipient_domain: "*.example", sender: "*@s", tag: vip }
    use: [b, a]
  - { use: a }
)");
  ASSERT_TRUE(config.ok()) << config.status().message();
  using Texts = std::vector<std::string>;
  EXPECT_EQ(config->transports[0].breaker.failures, 5);
  EXPECT_EQ(config->transports[0].breaker.probe_after_ms, 10'000);
  EXPECT_EQ(config->transports[1].breaker.failures, 20);
  ASSERT_EQ(config->routes.size(), 3u);
  EXPECT_EQ(config->routes[0].match.templates, Texts{"newsletter"});
  EXPECT_EQ(config->routes[0].use, (Texts{"a", "b"}));
  EXPECT_EQ(config->routes[0].weights, (std::vector<uint32_t>{95, 5}));
  const RouteMatch& match = config->routes[1].match;
  EXPECT_EQ(match.templates, (Texts{"x", "y*"}));
  EXPECT_EQ(match.types, Texts{"t"});
  EXPECT_EQ(match.priorities, (Texts{"high", "low"}));
  EXPECT_EQ(match.recipient_domains, Texts{"*.example"});
  EXPECT_EQ(match.senders, Texts{"*@s"});
  EXPECT_EQ(match.tags, Texts{"vip"});
  EXPECT_EQ(config->routes[1].use, (Texts{"b", "a"}));
  EXPECT_TRUE(config->routes[1].weights.empty());
  EXPECT_EQ(config->routes[2].use, Texts{"a"});
}

TEST_F(ConfigLoad, SaysWhatIsWrongWithARoute) {
  const auto error = [&](const std::string& routes) {
    return Error(
        "version: 1\nqueue: { type: sqlite, sqlite: { path: q.db } }\nrenderer: { plugin: ctemplate }\n"
        "transports: { a: { plugin: smtp }, b: { plugin: file } }\nroutes:\n" +
        routes);
  };
  EXPECT_EQ(error("  - { match: { template: x }, use: [a] }\n"),
            "postbus.yaml:6:5: routes.0: the last route must match all, so that no event is without one: leave out its "
            "match");
  EXPECT_EQ(error("  - { use: [a] }\n  - { use: [b] }\n"),
            "postbus.yaml:6:5: routes.0: matches all, so the routes after it are never used: give it a match");
  EXPECT_EQ(error("  - { use: [a], split: { a: 1, b: 1 } }\n"),
            "postbus.yaml:6:5: routes.0: has both use and split; one of them says where mails go");
  EXPECT_EQ(error("  - { split: { a: 0, b: 0 } }\n"), "postbus.yaml:6:5: routes.0.split: has no weight above 0");
  EXPECT_EQ(error("  - { split: { a: much } }\n"),
            "postbus.yaml:6:19: routes.0.split.a: \"much\" is not a whole number from 0 to 1000000\n"
            "postbus.yaml:6:5: routes.0.split: has no weight above 0");
  EXPECT_EQ(error("  - { use: [a, a] }\n"), "postbus.yaml:6:16: routes.0.use.1: \"a\" is named twice");
  EXPECT_EQ(error("  - { use: [] }\n"), "postbus.yaml:6:5: routes.0: names no transport: `use: [primary]`");
  EXPECT_EQ(error("  - { match: { prority: high }, use: [a] }\n  - { use: [a] }\n"),
            "postbus.yaml:6:16: routes.0.match.prority: unknown key; did you mean \"priority\"?");
  EXPECT_EQ(error("  - { match: { priority: urgent }, use: [a] }\n  - { use: [a] }\n"),
            "postbus.yaml:6:26: routes.0.match.priority: \"urgent\" is not one of high normal low");
}

TEST_F(ConfigLoad, ReadsEveryKey) {
  const auto config = Load(R"(version: 1
queue:
  type: kafka
  kafka:
    brokers: "k1:9092,k2:9092"
    topic: mails
    prefix: m
    group_id: g
    librdkafka: { debug: cgrp }
state_dir: /var/lib/postbus
defaults: { from: "Usual Store <noreply@usualstore.com>" }
host: { max_in_flight: 100, threads: 2, drain_timeout: 5s }
plugins: { directories: [ plugins, /opt/plugins ] }
renderer: { plugin: ctemplate }
transports:
  a: { plugin: smtp, sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad }
  b: { plugin: file }
routes: [ { use: [b] } ]
retry: { max_retries: 5, max_retries_limit: 9, backoff: [1s, 2m], max_age: 1d, in_doubt: dead_letter }
limits: { max_event: 10KiB }
api: { listen: "127.0.0.1:81" }
admin: { listen: "[::1]:82" }
log: { level: debug, format: json }
)");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->queue.kafka.brokers, "k1:9092,k2:9092");
  EXPECT_EQ(config->queue.kafka.topic, "mails");
  EXPECT_EQ(config->queue.kafka.prefix, "m");
  EXPECT_EQ(config->queue.kafka.group_id, "g");
  EXPECT_EQ(config->queue.kafka.librdkafka.at("debug"), "cgrp");
  EXPECT_EQ(config->queue.state_dir, "/var/lib/postbus");
  EXPECT_EQ(config->defaults_from, "Usual Store <noreply@usualstore.com>");
  EXPECT_EQ(config->host.max_in_flight, 100);
  EXPECT_EQ(config->host.threads, 2);
  EXPECT_EQ(config->host.drain_timeout_ms, 5'000);
  EXPECT_EQ(config->plugin_directories, (std::vector<std::string>{directory_ + "/plugins", "/opt/plugins"}));
  EXPECT_EQ(config->transports[0].sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(config->routes[0].use.front(), "b");
  EXPECT_EQ(config->retry.max_retries, 5);
  EXPECT_EQ(config->retry.max_retries_limit, 9);
  EXPECT_EQ(config->retry.backoff_ms, (std::vector<int64_t>{1'000, 120'000}));
  EXPECT_EQ(config->retry.max_age_ms, 86'400'000);
  EXPECT_EQ(config->retry.in_doubt, WhenInDoubt::kDeadLetter);
  EXPECT_TRUE(config->queue.at_most_once);
  EXPECT_EQ(config->limits.max_bytes, 10'240u);
  EXPECT_EQ(config->queue.max_event_bytes, 10'240u);
  EXPECT_EQ(config->api.port, 81);
  EXPECT_EQ(config->admin.address, "::1");
  EXPECT_EQ(config->log.level, "debug");
  EXPECT_EQ(config->log.format, LogConfig::Format::kJson);
}

TEST_F(ConfigLoad, Recipients) {
  const std::string valid(kValid);
  ASSERT_TRUE(Load(valid).ok());
  EXPECT_EQ(Load(valid)->recipients.redirect_to, "");
  EXPECT_EQ(Load(valid)->recipients.allow, std::vector<std::string>{"*"});
  const auto config = Load(valid + R"(recipients: { redirect_to: "QA <qa@x.org>", allow: ["*@X.org", boss@y.org] })");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->recipients.redirect_to, "QA <qa@x.org>");
  EXPECT_EQ(config->recipients.allow, (std::vector<std::string>{"*@X.org", "boss@y.org"}));
  EXPECT_TRUE(Load(valid + R"(recipients: { redirect_to: "${REDIRECT:-}" })").ok()) << "empty: off";
  EXPECT_EQ(Error(valid + R"(recipients: { redirect_to: nobody })"),
            "postbus.yaml:6:28: recipients.redirect_to: \"nobody\" is not an address (RFC 5322 addr-spec)");
  EXPECT_EQ(Error(valid + R"(recipients: { redirect_to: qa@y.org, allow: ["*@x.org"] })"),
            "postbus.yaml:6:15: recipients.redirect_to: is not among recipients.allow");
  EXPECT_EQ(Error(valid + R"(recipients: { allow: [] })"),
            "postbus.yaml:6:15: recipients.allow: is empty: nobody could get a mail");
  EXPECT_EQ(Error(valid + R"(recipients: { allow: [x.org] })"),
            "postbus.yaml:6:23: recipients.allow.0: \"x.org\" matches no address; write *@x.org");
}

TEST_F(ConfigLoad, RateLimits) {
  const auto with = [](const std::string& limit) {
    return "version: 1\nrenderer: {plugin: x}\ntransports:\n  a: { plugin: x, rate_limit: " + limit + " }\n";
  };
  const auto config = Load(with(R"({ per_second: 0.5, burst: 3, per_domain: { gmail.com: { per_second: 20, burst: 5 },)"
                                R"( "*": { per_second: 50 } } })"));
  ASSERT_TRUE(config.ok()) << config.status().message();
  const RateLimitConfig& limit = config->transports[0].rate_limit;
  EXPECT_EQ(limit.per_second, 0.5);
  EXPECT_EQ(limit.burst, 3);
  ASSERT_EQ(limit.per_domain.size(), 2u);
  EXPECT_EQ(limit.per_domain[0].domain, "gmail.com");
  EXPECT_EQ(limit.per_domain[0].per_second, 20);
  EXPECT_EQ(limit.per_domain[0].burst, 5);
  EXPECT_EQ(limit.per_domain[1].domain, "*");
  EXPECT_EQ(Error(with("{ per_second: fast }")),
            "postbus.yaml:4:45: transports.a.rate_limit.per_second: \"fast\" is not a number of mails such as 200 or "
            "0.5");
  EXPECT_EQ(Error(with("{ per_second: nan }")).substr(0, 17), "postbus.yaml:4:45");
  EXPECT_EQ(Error(with("{ per_second: 0 }")).substr(0, 17), "postbus.yaml:4:45");
  EXPECT_EQ(Error(with("{ per_second: 5, burst: 0 }")),
            "postbus.yaml:4:55: transports.a.rate_limit.burst: \"0\" is not a number of mails, 1 or more");
  EXPECT_EQ(Error(with("{ burst: 5 }")),
            "postbus.yaml:4:33: transports.a.rate_limit.burst: says nothing without per_second");
  EXPECT_EQ(Error(with("{ per_domain: { x.org: {} } }")),
            "postbus.yaml:4:47: transports.a.rate_limit.per_domain.x.org: has no per_second: `{ per_second: 20 }`");
  EXPECT_EQ(Error(with("{ per_secnd: 5 }")),
            "postbus.yaml:4:33: transports.a.rate_limit.per_secnd: unknown key; did you mean \"per_second\"?");
}

TEST_F(ConfigLoad, NamesPlaceKeyAndNearestKnownKey) {
  EXPECT_EQ(Error(std::string(kValid) + "hots: { threads: 2 }\n"),
            "postbus.yaml:6:1: hots: unknown key; did you mean \"host\"?");
  EXPECT_EQ(Error(std::string(kValid) + "host: { threds: 2 }\n"),
            "postbus.yaml:6:9: host.threds: unknown key; did you mean \"threads\"?");
  EXPECT_EQ(Error(std::string(kValid) + "qqqqqqq: 1\n"), "postbus.yaml:6:1: qqqqqqq: unknown key");
}

TEST_F(ConfigLoad, RefusesDuplicateKeys) {
  EXPECT_EQ(Error(std::string(kValid) + "host: { threads: 2, threads: 3 }\n"),
            "postbus.yaml:6:21: host.threads: duplicate key; it stands at postbus.yaml:6:9, too");
  EXPECT_EQ(Error(std::string(kValid) + "version: 1\n"),
            "postbus.yaml:6:1: version: duplicate key; it stands at postbus.yaml:1:1, too");
  EXPECT_EQ(Error("version: 1\nrenderer: {plugin: x}\ntransports: { a: {plugin: x}, a: {plugin: y} }\n").substr(0, 46),
            "postbus.yaml:3:31: transports.a: duplicate key");
}

TEST_F(ConfigLoad, NamesTheVariableAWrongValueCameFrom) {
  environment_["THREADS"] = "many";
  EXPECT_EQ(Error(std::string(kValid) + "host: { threads: \"${THREADS}\" }\n"),
            "postbus.yaml:6:18: host.threads: \"many\" (from THREADS) is not a whole number from 1 to 64");
  EXPECT_EQ(Error(std::string(kValid) + "host: { threads: 2x }\n"),
            "postbus.yaml:6:18: host.threads: \"2x\" is not a whole number from 1 to 64");
  EXPECT_EQ(Error(std::string(kValid) + "retry: { max_age: soon }\n"),
            "postbus.yaml:6:19: retry.max_age: \"soon\" is not a duration such as 30s, 10m or 5d");
  EXPECT_EQ(Error(std::string(kValid) + "api: { listen: here }\n"),
            "postbus.yaml:6:16: api.listen: \"here\" is not an address and port such as 127.0.0.1:8080");
  EXPECT_EQ(Error(std::string(kValid) + "log: { level: loud }\n"),
            "postbus.yaml:6:15: log.level: \"loud\" is not one of debug info warning error");
}

TEST_F(ConfigLoad, AnUnsetVariableWithoutDefaultIsAnError) {
  EXPECT_EQ(Error(std::string(kValid) + "state_dir: \"${NOWHERE}\"\n"),
            "postbus.yaml:6:12: state_dir: the variable NOWHERE is not set; set it, or write ${NOWHERE:-default}");
}

TEST_F(ConfigLoad, KafkaEnabledForcesKafkaOrForbidsIt) {
  EXPECT_EQ(Load(kValid)->queue.type, QueueConfig::Type::kSqlite);
  EXPECT_EQ(Load(kValid)->queue.kafka_enabled, KafkaEnabled::kUnset);
  environment_["KAFKA_ENABLED"] = "true";
  EXPECT_EQ(Load(kValid)->queue.type, QueueConfig::Type::kKafka);
  environment_["KAFKA_ENABLED"] = "";
  EXPECT_EQ(Load(kValid)->queue.type, QueueConfig::Type::kSqlite);
  environment_["KAFKA_ENABLED"] = "false";
  EXPECT_EQ(Load(kValid)->queue.type, QueueConfig::Type::kSqlite);
  EXPECT_EQ(Load(kValid, {"queue.type=kafka"})->queue.type, QueueConfig::Type::kKafka);
  EXPECT_EQ(Load(kValid)->queue.kafka_enabled, KafkaEnabled::kFalse);
  environment_["KAFKA_ENABLED"] = "1";
  EXPECT_EQ(Error(kValid), "postbus.yaml: queue: the variable KAFKA_ENABLED must be true or false, or not be set");
}

TEST_F(ConfigLoad, TellsAllProblemsAtOnce) {
  const std::string error = Error(std::string(kValid) + "hots: 1\nhost: { threads: x }\n");
  EXPECT_NE(error.find("hots"), error.npos);
  EXPECT_NE(error.find("host.threads"), error.npos);
}

TEST_F(ConfigLoad, ChecksTransportsAndRoutes) {
  EXPECT_EQ(
      Error("version: 1\nrenderer: {plugin: x}\ntransports: {a: {plugin: x, sha256: ABC}}\n"),
      "postbus.yaml:3:37: transports.a.sha256: \"ABC\" is not a SHA-256 as sha256sum prints it (64 hex digits, lower "
      "case)");
  EXPECT_EQ(Error("version: 1\nrenderer: {plugin: x}\n"),
            "postbus.yaml: transports: there must be at least one: `primary: { plugin: smtp, … }`");
  EXPECT_EQ(Error(std::string(kValid) + "routes: [ { use: [primry] } ]\n"),
            "postbus.yaml:6:19: routes.0.use.0: there is no transport \"primry\"; did you mean \"primary\"?");
  EXPECT_NE(Error("version: 1\nrenderer: {plugin: x}\ntransports: {a: {plugin: x}, b: {plugin: x}}\n").find("several"),
            std::string::npos);
}

TEST_F(ConfigLoad, RequiresTheVersion) {
  EXPECT_NE(Error("renderer: {plugin: x}\ntransports: {a: {plugin: x}}\n").find("version"), std::string::npos);
  EXPECT_EQ(Error("version: 2\nrenderer: {plugin: x}\ntransports: {a: {plugin: x}}\nnew_key: 1\n"),
            "postbus.yaml:1:10: version: is 2; this postbus reads version 1: start the postbus the file was written "
            "for, or write it anew for this one (docs/upgrading.md)");
}

TEST_F(ConfigLoad, OverridesKeysAndSaysSoInErrors) {
  const auto config = Load(kValid, {"api.listen=127.0.0.1:0", "transports.primary.options.port=25",
                                    "retry.backoff=[1s, 2s]", "queue.sqlite.path=/tmp/x.db"});
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->api.port, 0);
  EXPECT_EQ(config->transports[0].options[1].text, "25");
  EXPECT_EQ(config->retry.backoff_ms.size(), 2u);
  EXPECT_EQ(config->queue.sqlite.path, "/tmp/x.db");
  EXPECT_EQ(Error(kValid, {"host.threads=x"}),
            "--set host.threads: host.threads: \"x\" is not a whole number from 1 to 64");
  EXPECT_EQ(Error(kValid, {"host.threads"}), "--set host.threads: must be key.path=value");
  EXPECT_NE(Error(kValid, {"hots.threads=1"}).find("did you mean \"host\""), std::string::npos);
}

TEST_F(ConfigLoad, ReportsYamlSyntaxWithItsPlace) {
  EXPECT_EQ(Error("version: 1\nqueue: { type: \n").substr(0, 13), "postbus.yaml:");
  EXPECT_EQ(Error("version: 1\nhost: 5\nrenderer: {plugin: x}\ntransports: {a: {plugin: x}}\n"),
            "postbus.yaml:2:7: host: must be a mapping");
  EXPECT_NE(Error("- a\n- b\n").find("must be a mapping"), std::string::npos);
  EXPECT_NE(Error("").find("version"), std::string::npos);
}

TEST_F(ConfigLoad, AMissingFileSaysWhatToDo) {
  const auto config = LoadConfig(directory_ + "/none.yaml");
  ASSERT_FALSE(config.ok());
  EXPECT_EQ(config.status().kind(), ErrorKind::kNotFound);
}

TEST_F(ConfigLoad, SubstitutesAfterParsing) {
  environment_["A"] = "x: { y";
  environment_["EMPTY"] = "";
  std::ofstream(directory_ + "/secret") << "s3cret\n";
  const Environment environment = [this](std::string_view name) -> std::optional<std::string> {
    const auto found = environment_.find(std::string(name));
    return found == environment_.end() ? std::nullopt : std::optional(found->second);
  };
  const auto substitute = [&](std::string_view text) {
    std::string variables;
    auto result = Substitute(text, directory_, environment, variables);
    return result.ok() ? *result + "|" + variables : "error: " + std::string(result.status().message());
  };
  EXPECT_EQ(substitute("plain"), "plain|");
  EXPECT_EQ(substitute("a${A}b"), "ax: { yb|A");
  EXPECT_EQ(substitute("${NONE:-d}"), "d|NONE");
  EXPECT_EQ(substitute("${EMPTY:-d}"), "d|EMPTY");
  EXPECT_EQ(substitute("${EMPTY}"), "|EMPTY");
  EXPECT_EQ(substitute("${NONE:-}"), "|NONE");
  EXPECT_EQ(substitute("${file:secret}"), "s3cret|file:secret");
  EXPECT_EQ(substitute("$$5"), "$5|");
  EXPECT_EQ(substitute("${A}${EMPTY}"), "x: { y|A, EMPTY");
  EXPECT_TRUE(substitute("$5").starts_with("error"));
  EXPECT_TRUE(substitute("${A").starts_with("error"));
  EXPECT_TRUE(substitute("${}").starts_with("error"));
  EXPECT_TRUE(substitute("${file:none}").starts_with("error"));
}

}  // namespace
}  // namespace postbus
