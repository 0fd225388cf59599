#include "worker/checkpoint/best_evaluation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/file/file.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"
#include "worker/checkpoint/best_checkpoint.h"

namespace pepnet {
namespace {

using testing::HasSubstr;

BestRule Rule(const std::string& metric, bool larger = true, int64_t patience = 0,
              double min_delta = 0) {
  BestRule rule;
  rule.metrics = {{metric}};
  rule.larger_is_better = larger;
  rule.patience = patience;
  rule.min_delta = min_delta;
  return rule;
}

// "best 20=0.5 waited 1" of evaluations at steps 10, 20, ..., and "stop" where patience has run
// out.
std::string Verdict(const BestRule& rule, const std::vector<double>& values) {
  std::vector<ValuedStep> steps;
  for (const double value : values) {
    steps.push_back({10 * static_cast<int64_t>(steps.size() + 1), value});
  }
  const Standing standing = StandingOf(rule, steps);
  if (!standing.best.has_value()) return absl::StrCat("none waited ", standing.waited);
  return absl::StrCat("best ", standing.best->step, "=", standing.best->value, " waited ",
                      standing.waited, standing.out_of_patience ? " stop" : "");
}

TEST(StandingTest, TheFirstOfTheBestValuesIsTheBest) {
  EXPECT_EQ(Verdict(Rule("auc"), {}), "none waited 0");
  EXPECT_EQ(Verdict(Rule("auc"), {0.25}), "best 10=0.25 waited 0");
  EXPECT_EQ(Verdict(Rule("auc"), {0.25, 0.5, 0.5, 0.375}), "best 20=0.5 waited 2");
  EXPECT_EQ(Verdict(Rule("loss", false), {0.5, 0.25, 0.25, 0.375}), "best 20=0.25 waited 2");
  EXPECT_EQ(Verdict(Rule("auc"), {-1, -2}), "best 10=-1 waited 1");
  EXPECT_EQ(Verdict(Rule("loss", false), {-1, -2}), "best 20=-2 waited 0");
}

TEST(StandingTest, PatienceCountsEvaluationsWithoutGainAboveMinDelta) {
  EXPECT_EQ(Verdict(Rule("auc", true, 2), {0.5, 0.25}), "best 10=0.5 waited 1");
  EXPECT_EQ(Verdict(Rule("auc", true, 2), {0.5, 0.25, 0.375}), "best 10=0.5 waited 2 stop");
  EXPECT_EQ(Verdict(Rule("auc", true, 2), {0.5, 0.25, 0.75, 0.5}), "best 30=0.75 waited 1");
  EXPECT_EQ(Verdict(Rule("auc", true, 1), {0.5}), "best 10=0.5 waited 0");
  EXPECT_EQ(Verdict(Rule("auc", true, 1), {0.5, 0.5}), "best 10=0.5 waited 1 stop");
  // A gain of exactly min_delta is none, and still the best; small gains add up to one.
  EXPECT_EQ(Verdict(Rule("auc", true, 2, 0.25), {0.5, 0.75}), "best 20=0.75 waited 1");
  EXPECT_EQ(Verdict(Rule("auc", true, 2, 0.25), {0.5, 0.75, 0.875}), "best 30=0.875 waited 0");
  EXPECT_EQ(Verdict(Rule("auc", true, 2, 0.25), {0.5, 0.625, 0.75}), "best 30=0.75 waited 2 stop");
  EXPECT_EQ(Verdict(Rule("loss", false, 2, 0.25), {0.75, 0.5, 0.375}), "best 30=0.375 waited 0");
  EXPECT_EQ(Verdict(Rule("loss", false, 2, 0.25), {0.75, 0.625, 0.5}), "best 30=0.5 waited 2 stop");
  EXPECT_EQ(Verdict(Rule("loss", false, 0, 0.25), {0.75, 1, 1, 1, 1}), "best 10=0.75 waited 4");
}

// The decision depends on the evaluations alone: judging them one by one, as a run does, gives at
// each what judging the same beginning of the list gives.
TEST(StandingTest, EveryBeginningOfTheListIsJudgedAsIfTheRunHadJustBegun) {
  const BestRule rule = Rule("auc", true, 3, 0.0625);
  std::vector<double> values;
  int stops = 0;
  for (int i = 0; i < 40; ++i) {
    values.push_back(std::sin(i * i));
    double gained = values[0], best = values[0];
    int64_t waited = 0;
    for (size_t k = 1; k < values.size(); ++k) {  // the definition, written once more
      waited = values[k] > gained + 0.0625 ? 0 : waited + 1;
      if (waited == 0) gained = values[k];
      best = std::max(best, values[k]);
    }
    std::vector<ValuedStep> steps;
    for (const double value : values) steps.push_back({static_cast<int64_t>(steps.size()), value});
    const Standing standing = StandingOf(rule, steps);
    EXPECT_EQ(standing.waited, waited);
    EXPECT_EQ(standing.best->value, best);
    EXPECT_EQ(standing.out_of_patience, waited >= 3);
    stops += standing.out_of_patience ? 1 : 0;
  }
  EXPECT_GT(stops, 0);
}

Slice SliceOf(const std::string& value, double auc, const std::string& task = "ctr") {
  Slice slice;
  slice.column = "tab";
  slice.value = value;
  slice.task = task;
  slice.quality.auc = auc;
  slice.quality.ece = 0.125;
  return slice;
}

TEST(ValueOfTest, IsTheWeightedSum) {
  const std::map<std::string, double> values = {
      {"auc_ctr", 0.5}, {"auc_cvr", 0.25}, {"broken", std::nan("")}};
  EXPECT_EQ(ValueOf(Rule("auc_ctr"), values, {}), 0.5);
  EXPECT_EQ(ValueOf(Rule("auc_cxr"), values, {}), std::nullopt);
  EXPECT_EQ(ValueOf(Rule("broken"), values, {}), std::nullopt);
  BestRule sum = Rule("auc_ctr");
  sum.metrics.push_back({"auc_cvr", -2});
  EXPECT_EQ(ValueOf(sum, values, {}), 0.0);
  BestRule sliced = Rule("ece_ctr");
  sliced.metrics[0].slice_by = "tab";
  sliced.metrics[0].slice_value = "1";
  sliced.metrics[0].task = "ctr";
  sliced.metrics[0].measure = SliceMeasure::kCalibrationError;
  EXPECT_EQ(ValueOf(sliced, values, {SliceOf("0", 0.75), SliceOf("1", 0.625)}), 0.125);
  sliced.metrics[0].measure = SliceMeasure::kAuc;
  EXPECT_EQ(ValueOf(sliced, values, {SliceOf("0", 0.75), SliceOf("1", 0.625)}), 0.625);
  EXPECT_EQ(ValueOf(sliced, values, {SliceOf("1", 0.75, "cvr")}), std::nullopt);
  Slice grouped = SliceOf("1", 0.625);
  grouped.quality.has_groups = true;
  grouped.quality.grouped_auc = 0.5625;
  sliced.metrics[0].measure = SliceMeasure::kGroupedAuc;
  EXPECT_EQ(ValueOf(sliced, values, {grouped}), 0.5625);
  sliced.metrics[0].measure = SliceMeasure::kGroupedAucByImpressions;
  EXPECT_EQ(ValueOf(sliced, values, {grouped}), std::nullopt);
  sliced.metrics[0].measure = SliceMeasure::kAuc;
  sliced.metrics[0].slice_value = "(rest)";
  Slice rest = SliceOf("", 0.875);
  rest.kind = Slice::Kind::kRest;
  EXPECT_EQ(ValueOf(sliced, values, {rest}), 0.875);
}

TEST(WhyNoValueTest, NamesWhatIsMissing) {
  const std::map<std::string, double> values = {{"auc_ctr", 0.5}, {"broken", std::nan("")}};
  EXPECT_EQ(WhyNoValue(Rule("auc_ctr"), values, {}), "");
  EXPECT_EQ(WhyNoValue(Rule("broken"), values, {}), "broken has no value");
  BestRule sliced = Rule("auc_ctr");
  sliced.metrics.push_back({"auc_ctr"});
  sliced.metrics[1].slice_by = "tab";
  sliced.metrics[1].slice_value = "home";
  sliced.metrics[1].task = "ctr";
  Slice one_class = SliceOf("home", 0);
  one_class.quality.rows = 5;
  one_class.quality.auc.reset();
  one_class.quality.logloss = 0.25;
  EXPECT_EQ(WhyNoValue(sliced, values, {SliceOf("1", 0.75), one_class}),
            "auc_ctr has no value where tab is home: every label is 0");
  EXPECT_EQ(WhyNoValue(sliced, values,
                       {SliceOf("1", 0.75), SliceOf("2", 0.5), SliceOf("home", 0.5, "cvr")}),
            "there is no slice 'home' of tab, but 1, 2");
  EXPECT_EQ(WhyNoValue(sliced, values, {SliceOf("home", 0.75)}), "");
}

TEST(ReadValuedStepsTest, GivesTheBitsThatTheRunSaw) {
  TemporaryDirectory directory;
  const double value = 0.1 + 0.2;  // no short decimal
  ASSERT_OK(WriteFileAtomically(
      directory / "train_eval_result.txt",
      absl::StrCat("{\"global_step\":10,\"auc_ctr\":0.30000000000000004}\n",
                   "{\"global_step\":20,\"auc_ctr\":null}\n{\"global_step\":30}\n",
                   "{\"global_step\":40,\"auc_ctr\":0.5}\n{\"global_st")));
  const std::vector<ValuedStep> steps = ReadValuedSteps(directory.path(), Rule("auc_ctr"));
  ASSERT_EQ(steps.size(), 2u);
  EXPECT_EQ(steps[0].step, 10);
  EXPECT_EQ(steps[0].value, value);
  EXPECT_EQ(steps[1].step, 40);

  ASSERT_OK(WriteFileAtomically(directory / "train_eval_slices.jsonl",
                                "{\"global_step\":10,\"slice_by\":\"tab\",\"slice\":\"value\","
                                "\"value\":\"1\",\"task\":\"ctr\",\"auc\":0.625,"
                                "\"grouped_auc\":0.5,\"grouped_auc_by_impressions\":0.75}\n"
                                "{\"global_step\":10,\"slice_by\":\"tab\",\"slice\":\"value\","
                                "\"value\":null,\"task\":\"ctr\",\"auc\":0.25}\n"
                                "{\"global_step\":40,\"slice_by\":\"tab\",\"slice\":\"value\","
                                "\"value\":\"1\",\"task\":\"ctr\",\"auc\":null}\n"
                                "{\"global_step\":40,\"slice_by\":\"tab\",\"slice\":\"all\","
                                "\"task\":\"ctr\",\"auc\":0.75}\n"));
  const auto of_slice = [&](const std::string& name, SliceMeasure measure = SliceMeasure::kAuc) {
    BestRule rule = Rule("auc_ctr");
    rule.metrics[0].slice_by = "tab";
    rule.metrics[0].slice_value = name;
    rule.metrics[0].task = "ctr";
    rule.metrics[0].measure = measure;
    std::string text;
    for (const ValuedStep& step : ReadValuedSteps(directory.path(), rule)) {
      absl::StrAppend(&text, step.step, ":", step.value, " ");
    }
    return text;
  };
  EXPECT_EQ(of_slice("1"), "10:0.625 ");
  EXPECT_EQ(of_slice("1", SliceMeasure::kGroupedAuc), "10:0.5 ");
  EXPECT_EQ(of_slice("1", SliceMeasure::kGroupedAucByImpressions), "10:0.75 ");
  EXPECT_EQ(of_slice("(none)"), "10:0.25 ");
  EXPECT_EQ(of_slice("(all)"), "40:0.75 ");
  EXPECT_EQ(of_slice("2"), "");
}

TEST(DescribePeaksTest, NamesTheStepsOnlyWhereTheyDiffer) {
  Model model;
  for (const char* name : {"like", "love"}) {
    Tower tower;
    tower.name = name;
    Metric metric;
    metric.name = absl::StrCat("auc_", name);
    tower.metrics.push_back(metric);
    Loss loss;
    loss.name = absl::StrCat("binary_cross_entropy_", name);
    tower.losses.push_back(loss);
    model.towers.push_back(tower);
  }
  std::vector<EvaluationLine> lines = {
      {157, R"({"global_step":157,"auc_like":0.7028,"auc_love":0.61})"},
      {314, R"({"global_step":314,"auc_like":0.69,"auc_love":0.6034})"}};
  EXPECT_EQ(DescribePeaks(model, lines), "");
  lines[1].json = R"({"global_step":314,"auc_like":0.69,"auc_love":0.6234})";
  EXPECT_EQ(DescribePeaks(model, lines),
            "auc_like 0.7028 at step 157, auc_love 0.6234 at step 314");
  model.towers[1].metrics.clear();  // its loss, of which less is better
  lines[0].json = R"({"global_step":157,"auc_like":0.7028,"binary_cross_entropy_love":0.5})";
  lines[1].json = R"({"global_step":314,"auc_like":0.69,"binary_cross_entropy_love":0.25})";
  EXPECT_EQ(DescribePeaks(model, lines),
            "auc_like 0.7028 at step 157, binary_cross_entropy_love 0.2500 at step 314");
}

TEST(BestCheckpointTest, IsReadBackAndFoundWhileItsCheckpointIsThere) {
  TemporaryDirectory directory;
  EXPECT_THAT(std::string(ResolveCheckpointFlag("best", directory.path()).status().message()),
              testing::AllOf(HasSubstr("there is no best checkpoint in"),
                             HasSubstr("train_config.keep_best")));
  const BestCheckpoint written{785, "auc_like", true, 0.1 + 0.2, "model.ckpt-785"};
  ASSERT_OK(WriteBestCheckpoint(directory.path(), written));
  ASSERT_OK_AND_ASSIGN(const BestCheckpoint read, ReadBestCheckpoint(directory.path()));
  EXPECT_EQ(read.step, written.step);
  EXPECT_EQ(read.metric, written.metric);
  EXPECT_EQ(read.value, written.value);
  EXPECT_EQ(read.larger_is_better, written.larger_is_better);
  EXPECT_EQ(read.path, written.path);
  EXPECT_THAT(std::string(ResolveCheckpointFlag("best", directory.path()).status().message()),
              testing::AllOf(HasSubstr("is gone"), HasSubstr("model.ckpt-785, auc_like 0.3000")));
  ASSERT_OK(MakeDirectories(directory / "model.ckpt-785"));
  EXPECT_EQ(ResolveCheckpointFlag("best", directory.path()).status().code(),
            absl::StatusCode::kDataLoss);
  ASSERT_OK(WriteFileAtomically(directory / "model.ckpt-785/manifest.json", "{}"));
  EXPECT_EQ(*ResolveCheckpointFlag("best", directory.path()), directory / "model.ckpt-785");
}

TEST(BestCheckpointTest, AFileOfAnotherFormIsDamage) {
  TemporaryDirectory directory;
  for (
      const char* text :
      {"", "{", "[]", "{}",
       R"({"step":5,"metric":"a","larger_is_better":true,"value":"x","path":"model.ckpt-5"})",
       R"({"step":5,"metric":"a","larger_is_better":1,"value":1,"path":"model.ckpt-5"})",
       R"({"step":-5,"metric":"a","larger_is_better":true,"value":1,"path":"model.ckpt--5"})",
       R"({"step":5,"metric":"a","larger_is_better":true,"value":1,"path":"../other/model.ckpt-5"})"}) {
    ASSERT_OK(WriteFileAtomically(directory / kBestCheckpointFile, text));
    const Status status = ReadBestCheckpoint(directory.path()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("best_checkpoint.json is damaged"))
        << text;
  }
}

TEST(CheckpointFlagTest, APathOfTheConfigIsNamedByItsField) {
  EXPECT_THAT(ResolveCheckpointFlag("/nowhere", "/nowhere").status(),
              IsError("model_dir: /nowhere does not exist"));
  EXPECT_THAT(ResolveCheckpointFlag("/nowhere", "/elsewhere").status(),
              IsError("/nowhere does not exist"));
}

}  // namespace
}  // namespace pepnet
