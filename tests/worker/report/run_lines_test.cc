#include "worker/report/run_lines.h"

#include <gtest/gtest.h>

#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace pepnet {
namespace {

std::string Line(const StepRecord& record, double rate, double left) {
  return absl::StrJoin(ProgressParts(record, rate, left), "  ");
}

TEST(RunLinesTest, ProgressSaysWhatIsKnown) {
  StepRecord record;
  record.step = 300;
  EXPECT_EQ(Line(record, 0, -1), "step 300  epoch 1");
  record.total_steps = 9420;
  record.epoch = 1;
  record.total_epochs = 60;
  record.loss_names = {"binary_cross_entropy_like", "binary_cross_entropy_love"};
  record.loss_labels = {"like", "love"};
  record.losses = {0.5587, 0.5953};
  EXPECT_EQ(Line(record, 204637, 33),
            "step 300/9420  3 %  epoch 2/60  205k rows/s  0:33 left  like .559  love .595");
  record.train_metrics["auc_like"] = 0.70251;
  EXPECT_EQ(Line(record, 950, 3723),
            "step 300/9420  3 %  epoch 2/60  950 rows/s  1:02:03 left  like .559  love .595  "
            "auc_like .703");
}

TEST(RunLinesTest, AnEvaluationShowsItsTotalWhereItIsKnown) {
  const auto line = [](int64_t rows, int64_t all) {
    return absl::StrJoin(EvaluationParts(785, rows, all), "  ");
  };
  EXPECT_EQ(line(10240, 50000), "evaluating step 785  10240/50000 rows  20 %");
  EXPECT_EQ(line(50000, 50000), "evaluating step 785  50000/50000 rows  100 %");
  EXPECT_EQ(line(10240, 0), "evaluating step 785  10240 rows");
  EXPECT_EQ(line(10240, 10000), "evaluating step 785  10240 rows")
      << "more than there were the last time";
}

TEST(RunLinesTest, TheEndIsWhole) {
  StepRecord record;
  record.step = record.total_steps = 471;
  record.epoch = record.total_epochs = 3;
  EXPECT_EQ(Line(record, 0, -1), "step 471/471  100 %  epoch 3/3");
  record.step = 470;
  record.epoch = 2;
  EXPECT_EQ(Line(record, 0, -1), "step 470/471  99 %  epoch 3/3");
  record.step = 314;
  record.epoch_fraction = 0;  // the second pass has just ended
  EXPECT_EQ(Line(record, 0, -1), "step 314/471  66 %  epoch 2/3");
}

TEST(RunLinesTest, NumbersAreShort) {
  EXPECT_EQ(ShortNumber(0), ".000");
  EXPECT_EQ(ShortNumber(0.9994), ".999");
  EXPECT_EQ(ShortNumber(0.9996), "1");
  EXPECT_EQ(ShortNumber(1.1864), "1.19");
  EXPECT_EQ(ShortNumber(-0.25), "-.250");
  EXPECT_EQ(ShortNumber(12345), "1.23e+04");
  EXPECT_EQ(ShortNumber(std::numeric_limits<double>::quiet_NaN()), "-");
  EXPECT_EQ(ShortCount(0), "0");
  EXPECT_EQ(ShortCount(999.4), "999");
  EXPECT_EQ(ShortCount(999.6), "1.0k");
  EXPECT_EQ(ShortCount(1234), "1.2k");
  EXPECT_EQ(ShortCount(204637), "205k");
  EXPECT_EQ(ShortCount(999600), "1.0M");
  EXPECT_EQ(ShortCount(12.3e6), "12M");
  EXPECT_EQ(Duration(0.4), "0:00");
  EXPECT_EQ(Duration(59.6), "1:00");
  EXPECT_EQ(Duration(3600), "1:00:00");
  EXPECT_EQ(Counted(1, "step"), "1 step");
  EXPECT_EQ(Counted(0, "step"), "0 steps");
  EXPECT_EQ(Counted(2, "evaluation"), "2 evaluations");
}

const std::vector<EvaluationMetric> kMetrics = {{"auc_like", "like", true, false},
                                                {"binary_cross_entropy_like", "like", false, true},
                                                {"auc_love", "love", true, false}};

TEST(RunLinesTest, TheTableMarksTheBestOfEachColumn) {
  const std::vector<EvaluationLine> lines = {
      {157,
       R"({"global_step":157,"auc_like":0.6931,"auc_love":0.61,"binary_cross_entropy_like":0.6})"},
      {314,
       R"({"global_step":314,"auc_like":0.7028,"auc_love":null,"binary_cross_entropy_like":0.625})"}};
  EXPECT_EQ(EvaluationTable(kMetrics, lines, 157, 120),
            "   step  epoch  auc_like   auc_love   binary_cross_entropy_like\n"
            "    157      1    0.6931     0.6100*                     0.6000*\n"
            "    314      2    0.7028*         -                      0.6250");
  EXPECT_EQ(EvaluationTable(kMetrics, lines, 0, 40),
            "   step  auc_like   auc_love\n"
            "    157    0.6931     0.6100*\n"
            "    314    0.7028*         -");
  EXPECT_EQ(EvaluationTable(kMetrics, {lines[0]}, 314, 30),
            "   step  epoch  auc_like   auc_love\n"
            "    157    0.5    0.6931     0.6100");
  EXPECT_EQ(EvaluationTable(kMetrics, {}, 157, 80), "");
}

TEST(RunLinesTest, ALongTableKeepsTheFirstTheBestAndTheLastLines) {
  std::vector<EvaluationLine> lines;
  for (int i = 1; i <= 40; ++i) {
    lines.push_back({10 * i, absl::StrCat("{\"global_step\":", 10 * i, ",\"auc_like\":",
                                          i == 17 ? 0.75 : 0.5 + 0.001 * i, "}")});
  }
  EXPECT_EQ(EvaluationTable({kMetrics[0]}, lines, 0, 80),
            "   step  auc_like\n"
            "     10    0.5010\n"
            "    ...\n"
            "    170    0.7500*\n"
            "    ...\n"
            "    350    0.5350\n"
            "    360    0.5360\n"
            "    370    0.5370\n"
            "    380    0.5380\n"
            "    390    0.5390\n"
            "    400    0.5400");
}

}  // namespace
}  // namespace pepnet
