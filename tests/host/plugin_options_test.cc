#include "host/plugin_options.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "postbus/plugin.hpp"

namespace postbus {
namespace {

constexpr std::array kTable = {
    sdk::StringOption("host", "Name of the server.").Required(),
    sdk::IntegerOption("port", "Its port.").Default("25").Range(1, 65535).Unit("port"),
    sdk::IntegerOption("max_connections", "At once.").Default("32").Range(1, 1000).Unit("connections"),
    sdk::IntegerOption("offset", "Any.").Default("-1"),
    sdk::BooleanOption("verify", "Whether to look."),
    sdk::DurationOption("timeout", "How long.").Default("30s").Range(1000, 600'000),
    sdk::SizeOption("limit", "How much.").Default("10MiB").Range(1024, 1 << 30),
    sdk::EnumOption("tls", "starttls|implicit|none", "Which way.").Default("starttls"),
    sdk::PathOption("ca_file", "Where."),
    sdk::PathOption("directory", "Where to.").Default("out"),
    sdk::ListOption("headers", "Which."),
    sdk::IntegerOption("pin", "Of the server.").Default("0").Secret(),
};

class PluginOptionsTest : public testing::Test {
 protected:
  PluginOptionsTest() {
    for (const sdk::Option& option : kTable) table_.push_back(&option);
    config_.plugin = "smtp";
    config_.mark = Mark(10, 5);
    config_.base_dir = "/etc/postbus";
    Add("host", "mx");
  }

  static SourceMark Mark(int line, int column) { return {.file = "postbus.yaml", .line = line, .column = column}; }

  ConfiguredOption& Add(const std::string& name, const std::string& text, const std::string& variables = "") {
    const int line = 14 + static_cast<int>(config_.options.size());
    return config_.options.emplace_back(ConfiguredOption{.name = name,
                                                         .text = text,
                                                         .items = {},
                                                         .is_list = false,
                                                         .variables = variables,
                                                         .name_mark = Mark(line, 7),
                                                         .value_mark = Mark(line, 13)});
  }

  Result<PluginOptions> Parse() { return PluginOptions::Parse(table_, config_, "transports.primary.options", "smtp"); }

  // The error, without what it must begin with: the place.
  std::string Error() {
    const auto parsed = Parse();
    return parsed.ok() ? "no error" : std::string(parsed.status().message());
  }
  // Of option `name` = `text`, on line 15.
  std::string ErrorOf(const std::string& name, const std::string& text) {
    Add(name, text);
    const std::string message = Error();
    config_.options.pop_back();
    const std::string place = "postbus.yaml:15:13: transports.primary.options." + name + ": ";
    return message.starts_with(place) ? message.substr(place.size()) : message;
  }

  std::vector<const postbus_option*> table_;
  PluginConfig config_;
};

TEST_F(PluginOptionsTest, Defaults) {
  const auto parsed = Parse();
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  ASSERT_EQ(parsed->view().n_values, kTable.size());
  const sdk::Options options(parsed->view(), kTable);
  EXPECT_EQ(options.String("host"), "mx");
  EXPECT_FALSE(options.IsDefault("host"));
  EXPECT_EQ(options.Integer("port"), 25);
  EXPECT_TRUE(options.IsDefault("port"));
  EXPECT_EQ(options.Integer("offset"), -1);
  EXPECT_FALSE(options.Boolean("verify"));
  EXPECT_EQ(options.Duration("timeout").count(), 30'000);
  EXPECT_EQ(options.Size("limit"), 10 << 20);
  EXPECT_EQ(options.Enum("tls"), "starttls");
  EXPECT_EQ(options.Path("ca_file"), "") << "no path is no path, not the directory of the configuration";
  EXPECT_EQ(options.Path("directory"), "/etc/postbus/out");
  EXPECT_TRUE(options.List("headers").empty());
}

TEST_F(PluginOptionsTest, EveryType) {
  Add("port", "2525");
  Add("offset", "-17");
  Add("verify", "true");
  Add("timeout", "1m30s");
  Add("limit", "1MiB");
  Add("tls", "none");
  Add("ca_file", "../ca.pem");
  Add("directory", "/srv/mails");
  ConfiguredOption& headers = Add("headers", "");
  headers.is_list = true;
  headers.items = {"X-One", "X-Two"};
  auto parsed = Parse();
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  config_ = {};  // the values are the object's own
  const PluginOptions moved = std::move(*parsed);
  const sdk::Options options(moved.view(), kTable);
  EXPECT_EQ(options.Integer("port"), 2525);
  EXPECT_FALSE(options.IsDefault("port"));
  EXPECT_EQ(options.Integer("offset"), -17);
  EXPECT_TRUE(options.Boolean("verify"));
  EXPECT_EQ(options.Duration("timeout").count(), 90'000);
  EXPECT_EQ(options.Size("limit"), 1 << 20);
  EXPECT_EQ(options.Enum("tls"), "none");
  EXPECT_EQ(options.Path("ca_file"), "/etc/ca.pem");
  EXPECT_EQ(options.Path("directory"), "/srv/mails");
  EXPECT_EQ(options.List("headers"), (std::vector<std::string>{"X-One", "X-Two"}));
}

TEST_F(PluginOptionsTest, WrongValues) {
  EXPECT_EQ(ErrorOf("port", "25x5"), "\"25x5\" is not a port (1–65535)");
  EXPECT_EQ(ErrorOf("port", "0"), "\"0\" is not a port (1–65535)");
  EXPECT_EQ(ErrorOf("port", "65536"), "\"65536\" is not a port (1–65535)");
  EXPECT_EQ(ErrorOf("port", " 25 "), "\" 25 \" is not a port (1–65535)");
  EXPECT_EQ(ErrorOf("port", ""), "\"\" is not a port (1–65535)");
  EXPECT_EQ(ErrorOf("port", "99999999999999999999"), "\"99999999999999999999\" is not a port (1–65535)");
  EXPECT_EQ(ErrorOf("max_connections", "1001"), "\"1001\" is not a number of connections (1–1000)");
  EXPECT_EQ(ErrorOf("offset", "1.5"), "\"1.5\" is not a number");
  EXPECT_EQ(ErrorOf("verify", "yes"), "\"yes\" is not true or false");
  EXPECT_EQ(ErrorOf("timeout", "30"), "\"30\" is not a duration such as 30s or 1h30m (1s–10m)");
  EXPECT_EQ(ErrorOf("timeout", "999ms"), "\"999ms\" is not a duration such as 30s or 1h30m (1s–10m)");
  EXPECT_EQ(ErrorOf("limit", "10MB"), "\"10MB\" is not a size such as 512, 900KiB or 10MiB (1KiB–1GiB)");
  EXPECT_EQ(ErrorOf("tls", "ssl"), "\"ssl\" is not one of starttls, implicit, none");
  EXPECT_EQ(ErrorOf("tls", ""), "\"\" is not one of starttls, implicit, none");
  EXPECT_EQ(ErrorOf("port", "1\n2" + std::string(100, '3')),
            "\"1 2" + std::string(61, '3') + "\" is not a port (1–65535)");
}

TEST_F(PluginOptionsTest, VariableIsNamed) {
  Add("port", "25x5", "SMTP_PORT");
  EXPECT_EQ(Error(),
            "postbus.yaml:15:13: transports.primary.options.port: \"25x5\" (from SMTP_PORT) is not a port (1–65535)");
}

TEST_F(PluginOptionsTest, ValueFromTheCommandLine) {
  Add("port", "25x5").value_mark = {.file = "--set transports.primary.options.port", .line = 0, .column = 0};
  EXPECT_EQ(Error(),
            "--set transports.primary.options.port: transports.primary.options.port: "
            "\"25x5\" is not a port (1–65535)");
}

TEST_F(PluginOptionsTest, SecretIsNeverQuoted) {
  Add("pin", "hunter2", "SMTP_PIN");
  EXPECT_EQ(Error(),
            "postbus.yaml:15:13: transports.primary.options.pin: the secret value (from SMTP_PIN) is not a number");
}

TEST_F(PluginOptionsTest, UnknownNames) {
  Add("prot", "25");
  EXPECT_EQ(Error(),
            "postbus.yaml:15:7: transports.primary.options.prot: unknown option of smtp; did you mean \"port\"?");
  config_.options.back().name = "colour";
  EXPECT_EQ(Error(),
            "postbus.yaml:15:7: transports.primary.options.colour: unknown option of smtp; it has host, port, "
            "max_connections, offset, verify, timeout, limit, tls, ca_file, directory, headers, pin");
  table_.clear();
  EXPECT_EQ(Error(), "postbus.yaml:14:7: transports.primary.options.host: unknown option of smtp, which has none");
}

TEST_F(PluginOptionsTest, MissingAndEmpty) {
  config_.options[0].text = "";
  config_.options[0].variables = "SMTP_HOST";
  EXPECT_EQ(Error(),
            "postbus.yaml:14:13: transports.primary.options.host: empty (from SMTP_HOST), but smtp needs it: "
            "Name of the server.");
  config_.options.clear();
  EXPECT_EQ(Error(),
            "postbus.yaml:10:5: transports.primary.options.host: missing, and smtp needs it: Name of the server.");
  Add("hots", "mx");
  EXPECT_EQ(Error(),
            "postbus.yaml:14:7: transports.primary.options.hots: unknown option of smtp; did you mean \"host\"?")
      << "a misspelt name is the reason why another is missing";
}

TEST_F(PluginOptionsTest, ListsAndScalarsDoNotMix) {
  EXPECT_EQ(ErrorOf("headers", "X-One"), "must be a list");
  ConfiguredOption& port = Add("port", "");
  port.is_list = true;
  port.items = {"25"};
  EXPECT_EQ(Error(), "postbus.yaml:15:13: transports.primary.options.port: must be one value, not a list");
}

TEST(ParseDurationTest, Values) {
  EXPECT_EQ(ParseDurationMs("30s"), 30'000);
  EXPECT_EQ(ParseDurationMs("250ms"), 250);
  EXPECT_EQ(ParseDurationMs("1h30m"), 5'400'000);
  EXPECT_EQ(ParseDurationMs("5d"), 432'000'000);
  EXPECT_EQ(ParseDurationMs("1d2h3m4s5ms"), 93'784'005);
  EXPECT_EQ(ParseDurationMs("0s"), 0);
  for (const char* wrong : {"", "30", "s", "-1s", "1.5h", "30 s", "30S", "1m1m", "30m1h", "1w", "1h30", " 1s", "1s ",
                            "99999999999999999999s", "9223372036854775807d", "106751991167d9223372036854775807ms"}) {
    EXPECT_EQ(ParseDurationMs(wrong), std::nullopt) << wrong;
  }
}

TEST(ParseSizeTest, Values) {
  EXPECT_EQ(ParseSizeBytes("512"), 512);
  EXPECT_EQ(ParseSizeBytes("512B"), 512);
  EXPECT_EQ(ParseSizeBytes("900KiB"), 921'600);
  EXPECT_EQ(ParseSizeBytes("10MiB"), 10'485'760);
  EXPECT_EQ(ParseSizeBytes("2GiB"), 2'147'483'648);
  for (const char* wrong :
       {"", "KiB", "10MB", "10 MiB", "10mib", "-1", "1.5MiB", "9223372036854775807KiB", "1MiB1KiB"}) {
    EXPECT_EQ(ParseSizeBytes(wrong), std::nullopt) << wrong;
  }
}

TEST(NearestNameTest, Distances) {
  const std::vector<std::string_view> known = {"host", "port", "password", "scheduled_at", "max_connections"};
  EXPECT_EQ(NearestName("prot", known), "port") << "two letters swapped are one mistake";
  EXPECT_EQ(NearestName("pasword", known), "password");
  EXPECT_EQ(NearestName("scheduledAt", known), "scheduled_at");
  EXPECT_EQ(NearestName("max_connection", known), "max_connections");
  EXPECT_EQ(NearestName("part", known), "port");
  EXPECT_EQ(NearestName("cart", known), "") << "two of four letters differ";
  EXPECT_EQ(NearestName("", known), "");
  EXPECT_EQ(NearestName(std::string(65, 'x'), known), "");
  EXPECT_EQ(NearestName("port", {}), "");
}

}  // namespace
}  // namespace postbus
