#include "worker/report/slice_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/file/file.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"
#include "worker/report/run_log.h"

namespace pepnet {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// `rows` rows with `positives` positives, of which `predicted` are predicted.
Slice MakeSlice(Slice::Kind kind, const std::string& value, int64_t rows, int64_t positives,
                double predicted, std::optional<double> auc) {
  Slice slice{"tab", kind, value, "click", {}};
  slice.quality.rows = rows;
  slice.quality.positives = positives;
  slice.quality.predicted = predicted;
  slice.quality.auc = auc;
  slice.quality.logloss = 0.5;
  if (auc.has_value()) slice.quality.normalized_entropy = 0.875;
  if (positives > 0) slice.quality.pcoc = predicted / static_cast<double>(positives);
  slice.quality.ece = 0.125;
  slice.quality.calibration = {{5, rows, 0.25, 0.5}};
  return slice;
}

const std::vector<Slice> kSlices = {
    MakeSlice(Slice::Kind::kValue, "home", 12000, 3000, 3150, 0.75),
    MakeSlice(Slice::Kind::kValue, "", 40, 0, 1, std::nullopt),
    MakeSlice(Slice::Kind::kRest, "", 60, 6, 6, 0.5),
    MakeSlice(Slice::Kind::kAll, "", 12100, 3006, 3157, 0.7),
};

TEST(SliceReportTest, TheTableHasALineForEachSlice) {
  EXPECT_EQ(SliceTable(785, kSlices),
            "evaluation of step 785 by tab\n"
            "task   tab           rows positives      auc  logloss  entropy     pcoc      ece\n"
            "click  home         12000      3000   0.7500   0.5000   0.8750   1.0500   0.1250\n"
            "click  (none)          40         0        -   0.5000        -        -   0.1250\n"
            "click  (rest)          60         6   0.5000   0.5000   0.8750   1.0000   0.1250\n"
            "click  (all)        12100      3006   0.7000   0.5000   0.8750   1.0502   0.1250");
  EXPECT_EQ(SliceTable(785, {}), "");
}

TEST(SliceReportTest, GroupedAucsHaveColumnsAndTagsWhereATaskHasThem) {
  std::vector<Slice> slices = {kSlices[0], kSlices[1]};
  slices[0].quality.has_groups = slices[1].quality.has_groups = true;
  slices[0].quality.grouped_auc = 0.625;
  slices[0].quality.grouped_auc_by_impressions = 0.5625;
  EXPECT_EQ(SliceTable(785, slices),
            "evaluation of step 785 by tab\n"
            "task   tab           rows positives      auc  logloss  entropy     pcoc      ece     "
            "gauc by impr.\n"
            "click  home         12000      3000   0.7500   0.5000   0.8750   1.0500   0.1250   "
            "0.6250   0.5625\n"
            "click  (none)          40         0        -   0.5000        -        -   0.1250      "
            "  -        -");
  std::vector<std::string> tags;
  for (const auto& [tag, value] : SliceScalars(slices)) tags.push_back(tag);
  EXPECT_THAT(tags, ElementsAre("slice/tab=home/auc_click", "slice/tab=home/logloss_click",
                                "slice/tab=home/pcoc_click", "slice/tab=home/grouped_auc_click",
                                "slice/tab=home/grouped_auc_click_by_impressions",
                                "slice/tab=(none)/logloss_click"));
  const std::vector<std::string> lines =
      absl::StrSplit(SliceJson(785, slices), '\n', absl::SkipEmpty());
  const nlohmann::json with = nlohmann::json::parse(lines[0]),
                       without = nlohmann::json::parse(lines[1]);
  EXPECT_EQ(with["grouped_auc"], 0.625);
  EXPECT_EQ(with["grouped_auc_by_impressions"], 0.5625);
  EXPECT_FALSE(with.contains("why"));
  EXPECT_TRUE(without["grouped_auc"].is_null());
  EXPECT_EQ(without["why"]["grouped_auc"], "every label is 0");
}

TEST(SliceReportTest, AHostileWordStaysInItsCell) {
  const std::string table =
      SliceTable(1, {MakeSlice(Slice::Kind::kValue, "a\n\033[2Jb", 1, 1, 1, std::nullopt)});
  EXPECT_THAT(table, testing::Not(HasSubstr("\033")));
  EXPECT_EQ(std::vector<std::string>(absl::StrSplit(table, '\n')).size(), 3u);
}

TEST(SliceReportTest, ALineOfJsonHasAllDigitsAndNullWithoutAValue) {
  const std::vector<std::string> lines =
      absl::StrSplit(SliceJson(785, kSlices), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(
      lines[1],
      R"({"global_step":785,"slice_by":"tab","slice":"value","value":null,"task":"click","rows":40,"positives":0,)"
      R"("auc":null,"logloss":0.5,"normalized_entropy":null,"pcoc":null,"ece":0.125,)"
      R"("why":{"auc":"every label is 0","normalized_entropy":"every label is 0","pcoc":"every label is 0"},)"
      R"("calibration":[{"from":0.25,"rows":40,"mean_prediction":0.25,"mean_label":0.5}]})");
  EXPECT_EQ(nlohmann::json::parse(lines[0])["value"], "home");
  EXPECT_EQ(nlohmann::json::parse(lines[3])["slice"], "all");
  EXPECT_FALSE(nlohmann::json::parse(lines[3]).contains("value"));
}

TEST(SliceReportTest, WarningsNameWhatChanceDoesNotExplain) {
  const auto warn = [](int64_t rows, int64_t positives, double predicted,
                       std::optional<double> auc) {
    std::vector<std::string> texts;
    for (const Warning& warning :
         SliceWarnings({MakeSlice(Slice::Kind::kValue, "4", rows, positives, predicted, auc)})) {
      EXPECT_EQ(warning.kind, warning_kinds::kSlice);
      EXPECT_EQ(warning.subject, "click tab=4");
      texts.push_back(warning.text);
    }
    return texts;
  };
  EXPECT_THAT(warn(7000, 100, 280, 0.6),
              ElementsAre("click where tab is 4 (7000 rows): 280 positives are predicted and 100 "
                          "observed, 2.80 times "
                          "as many"));
  EXPECT_THAT(warn(7000, 280, 100, 0.6), ElementsAre(HasSubstr("0.36 times as many")));
  EXPECT_THAT(
      warn(7000, 700, 700, 0.45),
      ElementsAre("click where tab is 4 (7000 rows): the auc is 0.4500, worse than by chance"));
  EXPECT_THAT(warn(7000, 0, 20, std::nullopt),
              ElementsAre("click where tab is 4 (7000 rows): every label is 0"));
  EXPECT_THAT(warn(7000, 7000, 20, std::nullopt),
              ElementsAre("click where tab is 4 (7000 rows): every label is 1"));
  EXPECT_THAT(warn(7000, 100, 120, 0.6), testing::IsEmpty());
  EXPECT_THAT(warn(7000, 2, 6, 0.6), testing::IsEmpty());     // three times as many, and chance
  EXPECT_THAT(warn(7000, 20, 20, 0.45), testing::IsEmpty());  // 20 positives say little of an auc
  EXPECT_THAT(warn(999, 100, 280, 0.6), testing::IsEmpty());
  EXPECT_THAT(SliceWarnings({MakeSlice(Slice::Kind::kAll, "", 7000, 100, 280, 0.6)}),
              testing::IsEmpty());
}

TEST(SliceReportTest, TheRunsFileIsCutBackAndReplacedAsTheResultsAre) {
  TemporaryDirectory directory;
  const std::string path = directory / "train_eval_slices.jsonl";
  ASSERT_OK(WriteFileAtomically(path, SliceJson(10, kSlices) + SliceJson(20, kSlices)));
  {  // killed between the slices of step 20 and its line of results
    ASSERT_OK_AND_ASSIGN(auto log, RunLog::Open(directory.path(), 20));
    ASSERT_OK(log.Evaluation({20, {{"auc_click", 0.7}}, kSlices}));
    EXPECT_EQ(*ReadFile(path), SliceJson(10, kSlices) + SliceJson(20, kSlices));
  }
  ASSERT_OK_AND_ASSIGN(auto log, RunLog::Open(directory.path(), 10));
  EXPECT_EQ(*ReadFile(path), SliceJson(10, kSlices));
  EvaluationResult result{20, {{"auc_click", 0.7}}, kSlices};
  ASSERT_OK(log.Evaluation(result));
  EXPECT_EQ(*ReadFile(path), SliceJson(10, kSlices) + SliceJson(20, kSlices));
  result.slices.pop_back();
  ASSERT_OK(log.Evaluation(result));  // again: the last word on step 20
  EXPECT_EQ(*ReadFile(path), SliceJson(10, kSlices) + SliceJson(20, result.slices));
}

TEST(TrainSliceReportTest, TableJsonAndScalars) {
  const std::vector<TrainSlice> slices = {
      {"tab", Slice::Kind::kValue, "home", "click", {"auc_click", {80, 0.625, ""}, {320, 0.5, ""}}},
      {"tab",
       Slice::Kind::kValue,
       "",
       "click",
       {"auc_click", {0, std::nullopt, "no rows"}, {3, 0.25, ""}}},
      {"tab", Slice::Kind::kRest, "", "click", {"auc_click", {2, 1, ""}, {2, 1, ""}}}};
  EXPECT_EQ(TrainSliceTable(40, slices),
            "training up to step 40 by tab: last window, all rows\n"
            "tab                      rows          auc_click\n"
            "home            80        320    0.6250   0.5000\n"
            "(none)           0          3         -   0.2500\n"
            "(rest)           2          2    1.0000   1.0000");
  EXPECT_EQ(
      TrainSliceJson(40, {slices[1], slices[2]}),
      R"({"step":40,"slice_by":"tab","slice":"value","value":null,"task":"click","metric":"auc_click",)"
      R"("window":{"rows":0,"value":null,"why":"no rows"},"lifetime":{"rows":3,"value":0.25}})"
      "\n"
      R"({"step":40,"slice_by":"tab","slice":"rest","task":"click","metric":"auc_click",)"
      R"("window":{"rows":2,"value":1.0},"lifetime":{"rows":2,"value":1.0}})"
      "\n");
  const std::vector<std::pair<std::string, double>> scalars =
      TrainSliceScalars({slices[0], slices[1]});
  ASSERT_EQ(scalars.size(), 3u);
  EXPECT_EQ(scalars[0], (std::pair<std::string, double>("slice/tab=home/window_auc_click", 0.625)));
  EXPECT_EQ(scalars[2],
            (std::pair<std::string, double>("slice/tab=(none)/lifetime_auc_click", 0.25)));
}

// Tasks differ in their positives, which stand once before the metrics of the task.
TEST(TrainSliceReportTest, MetricsThatCountPositivesShowThem) {
  const auto slice = [](const char* task, const char* metric, std::optional<int64_t> window,
                        std::optional<int64_t> lifetime) {
    return TrainSlice{"tab",
                      Slice::Kind::kValue,
                      "home",
                      task,
                      {metric, {80, 0.625, "", window}, {320, 0.5, "", lifetime}}};
  };
  const std::vector<TrainSlice> slices = {
      slice("buy", "accuracy_buy", std::nullopt, std::nullopt), slice("buy", "auc_buy", 2, 31),
      slice("buy", "pcoc_buy", 2, 31), slice("like", "auc_like", 40, 111)};
  EXPECT_EQ(
      TrainSliceTable(40, {slices[0], slices[1]}),
      "training up to step 40 by tab: last window, all rows\n"
      "tab                     rows       accuracy_buy      positives_buy            auc_buy\n"
      "home           80        320    0.6250   0.5000         2       31    0.6250   0.5000");
  const std::string table = TrainSliceTable(40, slices);
  EXPECT_THAT(table, testing::HasSubstr("positives_like           auc_like")) << table;
  EXPECT_THAT(table, testing::HasSubstr("     40      111    0.6250   0.5000")) << table;
  EXPECT_EQ(table.find("positives_buy"), table.rfind("positives_buy")) << table;
  EXPECT_EQ(
      TrainSliceJson(40, {slices[1]}),
      R"({"step":40,"slice_by":"tab","slice":"value","value":"home","task":"buy","metric":"auc_buy",)"
      R"("window":{"rows":80,"positives":2,"value":0.625},)"
      R"("lifetime":{"rows":320,"positives":31,"value":0.5}})"
      "\n");
}

// Seven metrics are one line a value and twice as wide as a terminal: they go on below, and each
// line keeps its value and its rows.
TEST(TrainSliceReportTest, ManyMetricsGoOnBelow) {
  std::vector<TrainSlice> slices;
  for (int metric = 0; metric < 7; ++metric) {
    for (const char* value : {"home", "mall"}) {
      if (metric == 6 && value[0] == 'm') continue;  // its first window has not ended
      slices.push_back({"tab",
                        Slice::Kind::kValue,
                        value,
                        "click",
                        {absl::StrCat("metric_", metric), {10, 0.5, ""}, {20, 0.25, ""}}});
    }
  }
  const std::string table = TrainSliceTable(40, slices);
  const std::vector<std::string> lines = absl::StrSplit(table, '\n');
  ASSERT_EQ(lines.size(), 7u) << table;  // a title, and twice a head and two values
  for (const std::string& line : lines) EXPECT_LE(line.size(), 120u) << table;
  EXPECT_THAT(lines[1], testing::EndsWith("metric_3")) << table;
  EXPECT_THAT(lines[4], testing::StartsWith("tab ")) << table;
  EXPECT_THAT(lines[4], testing::HasSubstr("metric_4")) << table;
  EXPECT_EQ(lines[6],
            "mall           10         20    0.5000   0.2500    0.5000   0.2500                  -")
      << table;
}

}  // namespace
}  // namespace pepnet
