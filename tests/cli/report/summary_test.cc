#include "cli/report/summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pepnet {
namespace {

RunRecord RunOf(const std::vector<LoggedEvaluation>& evaluations) {
  RunRecord run;
  run.evaluations = evaluations;
  return run;
}

Slice MakeSlice(Slice::Kind kind, int64_t rows, int64_t positives, double auc, double pcoc) {
  Slice slice;
  slice.column = "tab";
  slice.kind = kind;
  slice.value = kind == Slice::Kind::kValue ? "0" : "";
  slice.task = "click";
  slice.quality.rows = rows;
  slice.quality.positives = positives;
  slice.quality.auc = auc;
  slice.quality.pcoc = pcoc;
  slice.quality.predicted = pcoc * static_cast<double>(positives);
  return slice;
}

TEST(SummaryTest, TheBestEvaluationIsTheFirstOfEqualOnes) {
  const RunRecord run = RunOf({{10, {{"auc", 0.6}, {"loss", 0.5}}},
                               {20, {{"auc", 0.7}, {"loss", 0.4}}},
                               {30, {{"auc", 0.7}, {"loss", 0.6}}},
                               {40, {{"loss", 0.7}}}});
  const FigureName auc{"auc", "", true, false}, loss{"loss", "", false, true};
  EXPECT_EQ(BestResult(run, auc)->step, 20);
  EXPECT_EQ(LastResult(run, auc)->step, 30) << "the last with a value";
  EXPECT_EQ(BestResult(run, loss)->value, 0.4);
  EXPECT_FALSE(BestResult(run, {"none", "", true, false}).has_value());
}

TEST(SummaryTest, OneRunIsNotTheBestOfAll) {
  const std::optional<ResultAt> a = ResultAt{1, 0.5}, b = ResultAt{1, 0.6};
  EXPECT_EQ(BestOf({a}, true), (std::vector<bool>{false}));
  EXPECT_EQ(BestOf({a, std::nullopt}, true), (std::vector<bool>{false, false}));
  EXPECT_EQ(BestOf({a, b, b}, true), (std::vector<bool>{false, true, true}));
  EXPECT_EQ(BestOf({a, b, std::nullopt}, false), (std::vector<bool>{true, false, false}));
}

TEST(SummaryTest, StageTimesGoOnWhereARunWasContinued) {
  RunRecord run;
  for (const auto& [step, seconds] :
       std::vector<std::pair<int64_t, double>>{{10, 1}, {20, 3}, {30, 0.5}, {40, 1}}) {
    LoggedStep line;
    line.step = step;
    line.stage_seconds["compute"] = seconds;
    run.steps.push_back(line);
  }
  EXPECT_DOUBLE_EQ(StageTotals(run)["compute"], 4);
  std::vector<double> milliseconds;
  for (const auto& [step, stages] : StageTimesPerStep(run)) {
    milliseconds.push_back(stages.at("compute"));
  }
  EXPECT_THAT(milliseconds, testing::ElementsAre(100, 200, 50, 50));
}

TEST(SummaryTest, NamesWithoutAConfigAreToldApartByTheirWords) {
  const RunRecord run = RunOf({{10, {{"auc_click", 0.6}, {"binary_cross_entropy_click", 0.5}}}});
  const std::vector<FigureName> figures = FigureNames({run});
  ASSERT_EQ(figures.size(), 2u);
  EXPECT_TRUE(figures[0].larger_is_better && !figures[0].loss);
  EXPECT_TRUE(figures[1].loss && !figures[1].larger_is_better);
}

TEST(SummaryTest, WindowsOfATrainMetricBelongToItAndTheSumOfKeepBestIsAFigure) {
  RunRecord run = RunOf({{10, {{"auc_ctr", 0.6}}}, {20, {{"auc_ctr", 0.7}}}});
  LoggedStep& step = run.steps.emplace_back();
  step.values = {
      {"auc_ctr", 0.6}, {"window_auc_ctr", 0.5}, {"lifetime_auc_ctr", 0.55}, {"window_size", 3}};
  JobConfig& config = run.config.emplace();
  config.train.best.metrics = {{"auc_ctr", 2}};
  run.ruled = {{10, 1.2}, {20, 1.4}};
  const std::vector<FigureName> figures = FigureNames({run});
  ASSERT_EQ(figures.size(), 3u);
  EXPECT_EQ(figures[0].name, "auc_ctr");
  EXPECT_EQ(figures[1].name, "window_size") << "the window of no metric";
  EXPECT_EQ(figures[2].name, "2 auc_ctr");
  EXPECT_EQ(BestResult(run, figures[2])->value, 1.4);
  EXPECT_EQ(LastResult(run, figures[2])->step, 20);
  EXPECT_FALSE(BestResult(RunOf({}), figures[2]).has_value()) << "of a run with another rule";
}

TEST(SummaryTest, TrainMetricsHaveTheDirectionOfTheirKind) {
  RunRecord run;
  Tower& tower = run.config.emplace().model.towers.emplace_back();
  tower.name = "ctr";
  for (const MetricKind kind : {MetricKind::kPcoc, MetricKind::kEce, MetricKind::kGroupedAuc}) {
    Metric metric{.kind = kind, .name = std::string(TypeOf(kind).name) + "_ctr"};
    tower.train_metrics.push_back({metric, 0.9, 100});
  }
  // The last window of ece has no value, and no window of pcoc has had one.
  run.steps.emplace_back().values = {{"ece_ctr", 0.1},
                                     {"lifetime_ece_ctr", 0.1},
                                     {"grouped_auc_ctr", 0.6},
                                     {"grouped_auc_ctr_by_impressions", 0.7},
                                     {"lifetime_pcoc_ctr", 1.5}};
  std::vector<std::string> texts;
  for (const FigureName& figure : FigureNames({run})) {
    EXPECT_EQ(figure.task, "ctr");
    texts.push_back(figure.name + ": " + DirectionOf(figure));
  }
  EXPECT_THAT(texts, testing::ElementsAre("pcoc_ctr: 1 is calibrated", "ece_ctr: smaller is better",
                                          "grouped_auc_ctr: larger is better",
                                          "grouped_auc_ctr_by_impressions: larger is better"));
}

TEST(SummaryTest, AnAucFarBelowThatOfAllRowsMustNotBeChance) {
  const Slice all = MakeSlice(Slice::Kind::kAll, 43268, 19022, 0.711, 1.03);
  EXPECT_TRUE(RanksFarBelow(MakeSlice(Slice::Kind::kValue, 3771, 341, 0.63, 3.3), all));
  EXPECT_FALSE(RanksFarBelow(MakeSlice(Slice::Kind::kValue, 3771, 341, 0.67, 3.3), all))
      << "not far below";
  EXPECT_FALSE(RanksFarBelow(MakeSlice(Slice::Kind::kValue, 1200, 12, 0.5, 1), all))
      << "twelve positives";
  EXPECT_FALSE(RanksFarBelow(MakeSlice(Slice::Kind::kValue, 900, 400, 0.3, 1), all)) << "few rows";
  EXPECT_FALSE(RanksFarBelow(MakeSlice(Slice::Kind::kRest, 3771, 341, 0.5, 1), all))
      << "no value of the column";
}

TEST(SummaryTest, WhatTrainingWarnsOfStandsOut) {
  RunRecord run;
  run.slices = {{10,
                 {MakeSlice(Slice::Kind::kValue, 3771, 341, 0.70, 3.3),
                  MakeSlice(Slice::Kind::kAll, 9000, 900, 0.7, 1)}}};
  run.job = JobState{"failed", "rank 1 was killed", {}};
  const std::vector<Remark> remarks = RemarksOf(run);
  ASSERT_EQ(remarks.size(), 2u);
  EXPECT_EQ(remarks[0].text, "the job failed: rank 1 was killed");
  EXPECT_THAT(remarks[1].text, testing::HasSubstr("click where tab is 0 (3771 rows)"));
  EXPECT_TRUE(remarks[0].is_warning && remarks[1].is_warning);
}

// The figures of the best checkpoint are shown, not those of a later evaluation.
TEST(SummaryTest, SlicesAreThoseOfTheBestCheckpoint) {
  RunRecord run;
  EXPECT_EQ(ShownSlices(run), nullptr);
  run.slices = {{10, {}}, {20, {}}, {30, {}}};
  EXPECT_EQ(ShownSlices(run)->step, 30);
  run.best = BestCheckpoint{20, "auc", true, 0.7, "model.ckpt-20"};
  EXPECT_EQ(ShownSlices(run)->step, 20);
  run.best->step = 15;
  EXPECT_EQ(ShownSlices(run)->step, 30);
}

}  // namespace
}  // namespace pepnet
