// eval_config.slice_by: the columns by which an evaluation is cut.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/common/config/config_text.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string WithEval(const std::string& eval, const std::string& text = kSmallConfig) {
  return Changed("data_config {", "eval_config { " + eval + " }\ndata_config {", text);
}

TEST(SliceByTest, NamesFeaturesWithIdsAndLabelFields) {
  const auto job = Parse(WithEval("slice_by: [\"dom\", \"item\"] slice_top: 3"));
  ASSERT_OK(job);
  ASSERT_EQ(job->eval.slice_by.size(), 2u);
  EXPECT_EQ(job->eval.slice_by[0].name, "dom");
  EXPECT_EQ(job->eval.slice_by[0].label, 2);
  EXPECT_EQ(job->eval.slice_by[0].feature, -1);
  EXPECT_EQ(job->eval.slice_by[1].feature, 1);
  EXPECT_EQ(job->eval.slice_by[1].label, -1);
  EXPECT_EQ(job->eval.slice_top, 3);
  EXPECT_EQ(Parse(WithEval("slice_by: \"dom\""))->eval.slice_top, 20);
}

TEST(SliceByTest, RefusesWhatCannotBeCut) {
  const std::string where = "job.config:9: eval_config.";
  EXPECT_THAT(ErrorOf(WithEval("slice_by: \"usr\"")),
              StartsWith(where + "slice_by: neither a feature nor a label field is named \"usr\" "
                                 "(did you mean \"user\"?)"));
  EXPECT_THAT(ErrorOf(WithEval("slice_by: \"price\"")),
              StartsWith(where + "slice_by: \"price\" has no ids"));
  EXPECT_THAT(ErrorOf(WithEval("slice_by: [\"dom\", \"dom\"]")),
              StartsWith(where + "slice_by: \"dom\" stands twice"));
  EXPECT_THAT(ErrorOf(WithEval("slice_top: 0")),
              StartsWith(where + "slice_top: 0; expected from 1 to 100000"));
  EXPECT_THAT(ErrorOf(WithEval("slice_top: 100001")), HasSubstr("slice_top: 100001"));
  std::string values = kSmallConfig;
  for (int tower = 0; tower < 2; ++tower) {
    values = Changed("binary_cross_entropy {}", "l2_loss {}", values);
  }
  values = Changed("metrics { auc {} }", "", values);
  EXPECT_THAT(ErrorOf(WithEval("slice_by: \"dom\"", values)),
              HasSubstr("slice_by: needs a task with the probability"));
}

}  // namespace
}  // namespace pepnet
