#include "host/metrics.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "postbus/abi/outcome.h"

namespace postbus {
namespace {

TEST(Metrics, CountsOutcomesByTransportOutcomeAndPriority) {
  Metrics metrics;
  auto primary = metrics.ForTransport("primary");
  primary.CountOutcome(POSTBUS_ACCEPTED, Priority::kHigh, 2);
  primary.CountOutcome(POSTBUS_TRANSIENT, Priority::kLow);
  primary.CountOutcome(99, Priority::kLow);  // ignored
  const std::string text = metrics.Serialize();
  EXPECT_NE(text.find(R"(postbus_emails_outcome_total{outcome="accepted",priority="high",transport="primary"} 2)"),
            text.npos)
      << text;
  EXPECT_NE(text.find(R"(postbus_emails_outcome_total{outcome="transient",priority="low",transport="primary"} 1)"),
            text.npos);
}

TEST(Metrics, EveryExportedNameIsInTheTable) {
  Metrics metrics;
  metrics.ForTransport("primary").CountDuplicateCompletion();
  metrics.CountConsumed(Priority::kNormal);
  metrics.CountDeadLetter("invalid_event");
  metrics.CountDeferral("transient");
  metrics.ObserveQueueAge(1);
  metrics.ObserveRender(1);
  metrics.ObserveSend(1);
  metrics.SetInFlight(0, 1);
  metrics.CountRequest("/v1/emails", 202);
  const std::string text = metrics.Serialize();
  size_t exported = 0;
  for (size_t at = text.find("# TYPE "); at != text.npos; at = text.find("# TYPE ", at + 1)) {
    const std::string name = text.substr(at + 7, text.find(' ', at + 7) - at - 7);
    bool known = false;
    for (const MetricInfo& metric : AllMetrics()) known |= metric.name == name;
    EXPECT_TRUE(known) << name;
    ++exported;
  }
  EXPECT_GE(exported, 10u);
}

// POSTBUS_UPDATE_DOCS=1 writes the page instead.
TEST(Metrics, ThePageInDocsIsTheTable) {
  const std::string path = POSTBUS_SOURCE_DIR "/docs/metrics.md";
  if (std::getenv("POSTBUS_UPDATE_DOCS") != nullptr) std::ofstream(path) << MetricsPage();
  std::ifstream file(path);
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(page, MetricsPage()) << "run this test once with POSTBUS_UPDATE_DOCS=1";
}

}  // namespace
}  // namespace postbus
