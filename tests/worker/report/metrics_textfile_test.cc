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
  MetricsTextfile file(directory / "run.prom");
  file.Set("pepnet_step", "counter", "Steps.", "", {{"", 3}});
  file.Set("pepnet_loss", "gauge", "Losses.", "name",
           {{"a\"\\\n", 0.5}, {"b", std::numeric_limits<double>::quiet_NaN()}});
  file.Set("pepnet_step", "counter", "Steps.", "", {{"", 6}});
  ASSERT_OK(file.Write());
  EXPECT_EQ(*ReadFile(directory / "run.prom"),
            "# HELP pepnet_loss Losses.\n# TYPE pepnet_loss gauge\npepnet_loss{name=\"a\\\"\\\\\\n\"} 0.5\n"
            "pepnet_loss{name=\"b\"} NaN\n# HELP pepnet_step Steps.\n# TYPE pepnet_step counter\npepnet_step 6\n");
}

TEST(MetricsTextfileTest, APathThatCannotBeWrittenIsNamed) {
  const Status written = MetricsTextfile("/nowhere/at/all.prom").Write();
  EXPECT_FALSE(written.ok());
  EXPECT_THAT(written, IsError(testing::HasSubstr("--metrics_textfile")));
  EXPECT_THAT(written, IsError(testing::HasSubstr("/nowhere/at/all.prom")));
}

}  // namespace
}  // namespace pepnet
