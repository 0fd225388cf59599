#include "worker/report/metrics_textfile.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/file/file.h"
#include "tests/support/cluster.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

TEST(MetricsTextfileTest, FamiliesHaveHelpTypeAndLabelledSamples) {
  TemporaryDirectory directory;
  MetricsTextfile file(directory / "run.prom", "/models/a\"b");
  file.Set("pepnet_step", "counter", "Steps.", "", {{"", 3}});
  file.Set("pepnet_loss", "gauge", "Losses.", "name",
           {{"a\"\\\n", 0.5}, {"b", std::numeric_limits<double>::quiet_NaN()}});
  file.Set("pepnet_step", "counter", "Steps.", "", {{"", 6}});
  ASSERT_OK(file.Write());
  EXPECT_EQ(*ReadFile(directory / "run.prom"),
            "# HELP pepnet_loss Losses.\n# TYPE pepnet_loss gauge\n"
            "pepnet_loss{run=\"/models/a\\\"b\",name=\"a\\\"\\\\\\n\"} 0.5\n"
            "pepnet_loss{run=\"/models/a\\\"b\",name=\"b\"} NaN\n"
            "# HELP pepnet_run_state 1 for what the run is: running, done or failed.\n# TYPE "
            "pepnet_run_state gauge\n"
            "pepnet_run_state{run=\"/models/a\\\"b\",state=\"running\"} 1\n"
            "pepnet_run_state{run=\"/models/a\\\"b\",state=\"done\"} 0\n"
            "pepnet_run_state{run=\"/models/a\\\"b\",state=\"failed\"} 0\n"
            "# HELP pepnet_step Steps.\n# TYPE pepnet_step "
            "counter\npepnet_step{run=\"/models/a\\\"b\"} 6\n");
}

TEST(MetricsTextfileTest, ARunThatDoesNotSayHowItEndedHasFailed) {
  TemporaryDirectory directory;
  const std::string path = directory / "run.prom";
  const auto state = [&](const char* name) {
    return ReadFile(path)->find(absl::StrCat("state=\"", name, "\"} 1")) != std::string::npos;
  };
  {
    MetricsTextfile first(path, "run");
    MetricsTextfile file(std::move(first));
    ASSERT_OK(file.Write());
    EXPECT_TRUE(state("running"));
  }
  EXPECT_TRUE(state("failed"));
  {
    MetricsTextfile file(path, "run");
    file.SetState("done");
    ASSERT_OK(file.Write());
  }
  EXPECT_TRUE(state("done"));
  ASSERT_OK(WriteFileAtomically(path, "node_load1 0.5\n"));
  EXPECT_FALSE(MetricsTextfile(path, "run").CheckPath().ok());
}

TEST(MetricsTextfileTest, APathThatCannotBeWrittenIsNamed) {
  const Status written = MetricsTextfile("/nowhere/at/all.prom", "run").Write();
  EXPECT_FALSE(written.ok());
  EXPECT_THAT(written, IsError(testing::HasSubstr("--metrics_textfile")));
  EXPECT_THAT(written, IsError(testing::HasSubstr("/nowhere/at/all.prom")));
}

}  // namespace
}  // namespace pepnet
