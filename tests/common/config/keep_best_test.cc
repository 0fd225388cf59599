// train_config.keep_best, patience and min_delta, and export_config's best: one rule.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_join.h"
#include "tests/common/config/config_text.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr char kSteps[] = "num_steps: 5";

std::string WithTrain(const std::string& fields, const std::string& text = kSmallConfig) {
  return Changed(kSteps, "num_steps: 100 save_checkpoints_steps: 10 " + fields, text);
}
std::string WithExport(const std::string& fields, const std::string& text) {
  return Changed("data_config {",
                 "export_config { exporter_type: 'best' " + fields + " }\ndata_config {", text);
}
std::string Notes(const JobConfig& job) { return absl::StrJoin(job.notes, "\n"); }

TEST(KeepBestTest, TakesAMetricWithTheDirectionThatItHas) {
  ASSERT_OK_AND_ASSIGN(const JobConfig none, Parse(WithTrain("")));
  EXPECT_FALSE(none.train.best.enabled());
  ASSERT_OK_AND_ASSIGN(const JobConfig auc,
                       Parse(WithTrain("keep_best { metric: 'auc_ctr' } patience: 3")));
  EXPECT_EQ(NameOf(auc.train.best), "auc_ctr");
  EXPECT_TRUE(auc.train.best.larger_is_better);
  EXPECT_EQ(auc.train.best.patience, 3);
  EXPECT_EQ(auc.train.best.min_delta, 0);
  ASSERT_OK_AND_ASSIGN(
      const JobConfig loss,
      Parse(WithTrain(
          "keep_best { metric: 'binary_cross_entropy_ctr' } patience: 2 min_delta: 0.25")));
  EXPECT_FALSE(loss.train.best.larger_is_better);
  ConfigOverrides edits;
  edits.edit_config_json =
      R"({"train_config.keep_best": [{"metric": "auc_ctr", "weight": 0.1}], "train_config.patience": 2,
          "train_config.min_delta": 0.0005})";
  ASSERT_OK_AND_ASSIGN(const JobConfig edited, Parse(WithTrain(""), edits));
  EXPECT_EQ(edited.train.best.metrics[0].weight, 0.1);
  EXPECT_EQ(edited.train.best.min_delta, 0.0005);
  EXPECT_EQ(loss.train.best.min_delta, 0.25);
  ASSERT_OK_AND_ASSIGN(
      const JobConfig worst,
      Parse(WithTrain("keep_best { metric: 'auc_ctr' } metric_larger_is_better: false")));
  EXPECT_FALSE(worst.train.best.larger_is_better);
  EXPECT_THAT(Notes(worst), HasSubstr("the smallest auc_ctr counts as the best"));
}

TEST(KeepBestTest, AddsMetricsOfTheWholeAndOfSlices) {
  const std::string text = Changed(
      "data_config {", "eval_config { slice_by: 'dom' }\ndata_config {",
      WithTrain("keep_best { metric: 'auc_ctr' } keep_best { metric: 'logloss_ctr' slice_by: 'dom' "
                "slice_value: '1' weight: -0.5 }"));
  ASSERT_OK_AND_ASSIGN(const JobConfig job, Parse(text));
  const BestRule& rule = job.train.best;
  EXPECT_EQ(NameOf(rule), "auc_ctr - 0.5 logloss_ctr where dom is 1");
  EXPECT_TRUE(rule.larger_is_better);
  ASSERT_EQ(rule.metrics.size(), 2u);
  EXPECT_EQ(rule.metrics[1].measure, SliceMeasure::kLogloss);
  EXPECT_EQ(rule.metrics[1].task, "ctr");
}

TEST(KeepBestTest, TakesAGroupedAucOfASliceWhereTheTaskHasOne) {
  const auto text = [](const std::string& metric, bool grouped) {
    const std::string rule =
        WithTrain("keep_best { metric: '" + metric + "' slice_by: 'dom' slice_value: '1' }");
    const std::string sliced =
        Changed("data_config {", "eval_config { slice_by: 'dom' }\ndata_config {", rule);
    return grouped ? Changed("auc {}", "auc {} } metrics { grouped_auc { grouping_key: 'user' }",
                             sliced)
                   : sliced;
  };
  ASSERT_OK_AND_ASSIGN(const JobConfig mean, Parse(text("grouped_auc_ctr", true)));
  EXPECT_EQ(NameOf(mean.train.best), "grouped_auc_ctr where dom is 1");
  EXPECT_EQ(mean.train.best.metrics[0].measure, SliceMeasure::kGroupedAuc);
  EXPECT_TRUE(mean.train.best.larger_is_better);
  ASSERT_OK_AND_ASSIGN(const JobConfig by_rows,
                       Parse(text("grouped_auc_ctr_by_impressions", true)));
  EXPECT_EQ(by_rows.train.best.metrics[0].measure, SliceMeasure::kGroupedAucByImpressions);
  EXPECT_THAT(ErrorOf(text("grouped_auc_ctr", false)),
              HasSubstr("\"grouped_auc_ctr\" is no metric of a slice"));
}

TEST(KeepBestTest, RefusesWhatCannotBeCompared) {
  const auto error = [](const std::string& fields) { return ErrorOf(WithTrain(fields)); };
  EXPECT_THAT(
      error("keep_best { metric: 'auc_ctl' }"),
      HasSubstr("metric: \"auc_ctl\" is no metric of an evaluation; expected one of auc_ctr, "
                "binary_cross_entropy_ctr, "));
  EXPECT_THAT(error("keep_best { metric: 'auc_ctl' }"), HasSubstr("(did you mean \"auc_ctr\"?)"));
  EXPECT_THAT(error("keep_best { }"), HasSubstr("metric: is missing; expected one of auc_ctr, "));
  EXPECT_THAT(error("keep_best { metric: 'auc_ctr' } keep_best { metric: 'auc_ctr' weight: 2 }"),
              HasSubstr("\"auc_ctr\" stands twice"));
  EXPECT_THAT(error("keep_best { metric: 'auc_ctr' weight: 0 }"),
              HasSubstr("weight: 0; expected a finite number"));
  EXPECT_THAT(
      error("keep_best { metric: 'auc_ctr' } keep_best { metric: 'binary_cross_entropy_ctr' }"),
      HasSubstr("keep_best: adds metrics of which some are better when larger"));
  EXPECT_THAT(error("keep_best { metric: 'auc_ctr' slice_value: '1' }"),
              HasSubstr("slice_by and slice_value go together"));
  EXPECT_THAT(error("keep_best { metric: 'auc_ctr' slice_by: 'dom' slice_value: '1' }"),
              HasSubstr("slice_by: \"dom\" is no column of eval_config.slice_by"));
  const std::string sliced =
      Changed("data_config {", "eval_config { slice_by: 'dom' }\ndata_config {",
              WithTrain("keep_best { metric: 'pcoc_ctr' slice_by: 'dom' slice_value: '1' }"));
  EXPECT_THAT(
      ErrorOf(sliced),
      HasSubstr("\"pcoc_ctr\" is no metric of a slice with a best direction; expected one of "
                "auc_ctr, logloss_ctr, normalized_entropy_ctr, ece_ctr"));
}

TEST(KeepBestTest, PatienceNeedsAMetricAndEvaluations) {
  EXPECT_THAT(ErrorOf(WithTrain("patience: 3")),
              HasSubstr("patience: 3, but nothing says which evaluation is better"));
  EXPECT_THAT(ErrorOf(WithTrain("keep_best { metric: 'auc_ctr' } patience: 3 min_delta: -1")),
              HasSubstr("min_delta: -1; expected a finite number of at least 0"));
  const std::string patient = "keep_best { metric: 'auc_ctr' } patience: 3";
  EXPECT_THAT(
      ErrorOf(Changed(kSteps, "num_steps: 5 " + patient)),
      HasSubstr("there is no evaluation before the end, as evaluations come with checkpoints"));
  EXPECT_THAT(ErrorOf(Changed(kSteps, "num_epochs: 5 save_checkpoints_steps: 0 " + patient)),
              HasSubstr("there is no evaluation before the end"));
  ASSERT_OK_AND_ASSIGN(
      const JobConfig few,
      Parse(Changed(kSteps, "num_steps: 30 save_checkpoints_steps: 10 " + patient)));
  EXPECT_THAT(Notes(few),
              HasSubstr("3 cannot end the training early: only 2 evaluations come before its end"));
  ASSERT_OK_AND_ASSIGN(const JobConfig unused,
                       Parse(WithTrain("keep_best { metric: 'auc_ctr' } min_delta: 0.1")));
  EXPECT_THAT(Notes(unused), HasSubstr("min_delta: without effect: patience is not set"));

  // A training must evaluate; predictions and exports go without.
  std::string silent = WithTrain(patient);
  const size_t at = silent.find("eval_input_path");
  if (at != std::string::npos) silent.erase(at, silent.find('\n', at) - at);
  EXPECT_OK(Parse(silent));
  ConfigOverrides training;
  training.for_training = true;
  EXPECT_THAT(std::string(ParseJobConfig(silent, "job.config", training).status().message()),
              HasSubstr("patience: needs evaluations, but eval_input_path is empty"));
}

TEST(KeepBestTest, TheExportersMetricIsTheSameRule) {
  ASSERT_OK_AND_ASSIGN(const JobConfig job, Parse(WithExport("best_exporter_metric: 'auc_ctr'",
                                                             WithTrain("patience: 2"))));
  EXPECT_TRUE(job.export_config.best);
  EXPECT_EQ(NameOf(job.train.best), "auc_ctr");
  EXPECT_TRUE(job.train.best.larger_is_better);
  EXPECT_EQ(job.train.best.patience, 2);
  // Of the reference: a name that no evaluation has changes nothing in a training.
  ASSERT_OK_AND_ASSIGN(const JobConfig unknown, Parse(WithExport("", WithTrain(""))));
  EXPECT_FALSE(unknown.train.best.enabled());
  EXPECT_THAT(unknown.export_config.no_best,
              HasSubstr("\"auc\" is no metric of an evaluation; expected one of auc_ctr"));
  EXPECT_THAT(Notes(unknown), HasSubstr("no checkpoint is kept as the best one"));
  // keep_best goes before it, but not against it.
  EXPECT_OK(Parse(WithExport("", WithTrain("keep_best { metric: 'auc_ctr' }"))));
  EXPECT_OK(Parse(
      WithExport("best_exporter_metric: 'auc_ctr'", WithTrain("keep_best { metric: 'auc_ctr' }"))));
  EXPECT_THAT(ErrorOf(WithExport("best_exporter_metric: 'binary_cross_entropy_ctr'",
                                 WithTrain("keep_best { metric: 'auc_ctr' }"))),
              HasSubstr("but train_config.keep_best is auc_ctr; leave best_exporter_metric out"));
  EXPECT_THAT(ErrorOf(WithExport("metric_larger_is_better: false",
                                 WithTrain("keep_best { metric: 'auc_ctr' }"))),
              HasSubstr("by train_config.keep_best larger is better"));
}

TEST(KeepBestTest, TheEffectiveConfigSaysTheSame) {
  for (const std::string& text :
       {WithTrain("keep_best { metric: 'auc_ctr' } patience: 3"),
        WithExport("", WithTrain("keep_best { metric: 'binary_cross_entropy_ctr' weight: 2 }")),
        WithExport("best_exporter_metric: 'auc_ctr'", WithTrain(""))}) {
    ASSERT_OK_AND_ASSIGN(const JobConfig job, Parse(text));
    ASSERT_OK_AND_ASSIGN(const JobConfig again, Parse(job.effective_text));
    EXPECT_EQ(NameOf(again.train.best), NameOf(job.train.best));
    EXPECT_EQ(again.train.best.larger_is_better, job.train.best.larger_is_better);
    EXPECT_EQ(again.train.best.patience, job.train.best.patience);
  }
}

}  // namespace
}  // namespace pepnet
