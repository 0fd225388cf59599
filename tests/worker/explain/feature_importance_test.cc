#include "worker/explain/feature_importance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "tests/support/cluster.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"
#include "worker/eval/evaluator.h"
#include "worker/eval/inference.h"
#include "worker/explain/explain_report.h"
#include "worker/explain/gate_statistics.h"

namespace pepnet {
namespace {

using testing::ElementsAre;

// A trained job in which feature iid is the label clk, and feature price is the same in every row.
class FeatureImportanceTest : public testing::Test {
 protected:
  FeatureImportanceTest() {
    RandomJobOptions options;
    options.rows = 300;
    options.batch_size = 12;
    options.num_epochs = 8;
    options.domain_towers = true;
    config_ = MakeRandomJob(directory_.path(), options);
    for (Feature& feature : config_.features) {
      if (feature.name == "iid") feature.column = "clk";
      if (feature.name == "price") feature.boundaries = {1e9};
    }
    EXPECT_OK(Train(config_, {1, 1, {}}, TestOptions()));
  }

  Importance Explain(int workers, int servers, int64_t most_rows, uint64_t seed) {
    Importance result;
    EXPECT_OK(RunCluster(
        config_, {workers, servers, {}}, TestOptions(),
        [&](const WorkerContext& context) -> Status {
          PEPNET_ASSIGN_OR_RETURN(
              InferenceModel inference,
              OpenForInference(context, config_.model_dir, DenseValues::kWeights));
          PEPNET_ASSIGN_OR_RETURN(RowBlocks rows,
                                  ReadRowBlocks(context, config_.eval_input_path, most_rows));
          PEPNET_ASSIGN_OR_RETURN(Importance importance,
                                  ExplainFeatures(context, inference.model.get(), &rows,
                                                  inference.finished_steps, seed));
          if (context.first()) {
            result = std::move(importance);
          } else {
            EXPECT_TRUE(importance.features.empty());
          }
          return absl::OkStatus();
        }));
    return result;
  }

  static const FeatureImportance& Of(const Importance& importance, const std::string& name) {
    for (const FeatureImportance& feature : importance.features) {
      if (feature.name == name) return feature;
    }
    ADD_FAILURE() << "no feature " << name;
    return importance.features[0];
  }

  TemporaryDirectory directory_;
  JobConfig config_;
};

TEST_F(FeatureImportanceTest, TheFeatureThatTellsTheLabelComesFirstAndAConstantOneCostsNothing) {
  const Importance importance = Explain(1, 1, 0, 0);
  EXPECT_EQ(importance.rows, 300);
  EXPECT_EQ(importance.domain_column, "dom");
  EXPECT_EQ(importance.features[0].name, "iid");
  EXPECT_EQ(importance.base[0].task, "ctr");
  EXPECT_GT(*importance.base[0].auc - *importance.features[0].shuffled[0].auc, 0.2);
  const FeatureImportance& constant = Of(importance, "price");
  for (size_t i = 0; i < importance.base.size(); ++i) {
    EXPECT_EQ(constant.shuffled[i].auc, importance.base[i].auc);
    EXPECT_EQ(constant.shuffled[i].logloss, importance.base[i].logloss);
  }
}

TEST_F(FeatureImportanceTest, EveryNumberOfWorkersAndServersGivesTheSameBits) {
  const Importance alone = Explain(1, 1, 150, 7);
  EXPECT_EQ(alone.rows, 150);
  const std::string text = ExplanationJson({}, alone, {});
  EXPECT_EQ(ExplanationJson({}, Explain(3, 2, 150, 7), {}), text);
  EXPECT_EQ(ExplanationJson({}, Explain(2, 1, 150, 7), {}), text);
  EXPECT_NE(ExplanationJson({}, Explain(1, 1, 150, 8), {}), text)
      << "another seed deals other rows";
}

TEST_F(FeatureImportanceTest, TheBaseIsWhatAnEvaluationSays) {
  config_.eval.slice_by = {{"dom", -1, config_.model.domain_label}};
  EvaluationResult result;
  ASSERT_OK(
      RunCluster(config_, {1, 1, {}}, TestOptions(), [&](const WorkerContext& context) -> Status {
        PEPNET_ASSIGN_OR_RETURN(
            InferenceModel inference,
            OpenForInference(context, config_.model_dir, DenseValues::kWeights));
        PEPNET_ASSIGN_OR_RETURN(result,
                                Evaluate(context, inference.model.get(), config_.eval_input_path,
                                         inference.finished_steps));
        return absl::OkStatus();
      }));
  const Importance importance = Explain(1, 1, 0, 0);
  size_t compared = 0;
  for (const Slice& slice : result.slices) {
    for (const TaskQuality& base : importance.base) {
      const bool same =
          slice.kind == Slice::Kind::kAll ? !base.domain.has_value() : base.domain == slice.value;
      if (base.task != slice.task || !same) continue;
      ++compared;
      EXPECT_EQ(base.rows, slice.quality.rows);
      EXPECT_EQ(base.positives, slice.quality.positives);
      EXPECT_EQ(base.auc, slice.quality.auc);
      EXPECT_EQ(base.logloss, slice.quality.logloss);
    }
  }
  EXPECT_EQ(compared, importance.base.size());
}

TEST_F(FeatureImportanceTest, SequencesOfOneGroupArePermutedTogetherAndUnreadFeaturesNotAtAll) {
  const Importance importance = Explain(1, 1, 60, 0);
  EXPECT_THAT(Of(importance, "click").features, ElementsAre("click__iid", "click__age"));
  size_t read = 0;
  for (const Feature& feature : config_.features) read += feature.is_read ? 1 : 0;
  EXPECT_EQ(importance.features.size(), read - 1);
}

// The gates are computed a second time, from the layers in front of them: what they do to EPNet's
// columns is what the network says.
TEST_F(FeatureImportanceTest, GatesAreThoseOfTheNetwork) {
  GateStatistics statistics;
  std::vector<double> expected;  // by column of EPNet, the mean over the rows
  ASSERT_OK(
      RunCluster(config_, {1, 1, {}}, TestOptions(), [&](const WorkerContext& context) -> Status {
        PEPNET_ASSIGN_OR_RETURN(
            InferenceModel inference,
            OpenForInference(context, config_.model_dir, DenseValues::kWeights));
        PEPNET_ASSIGN_OR_RETURN(RowBlocks rows,
                                ReadRowBlocks(context, config_.eval_input_path, 12));
        PEPNET_ASSIGN_OR_RETURN(statistics, MeasureGates(context, inference, &rows));
        std::map<std::string, ModelOutput> layers;  // of the one block, the last that was computed
        for (ModelOutput& layer : inference.model->intermediates()) layers[layer.name] = layer;
        const ModelOutput &main = layers["group_all"], &out = layers["epnet_output"];
        expected.resize(main.width);
        for (int64_t row = 0; row < 12; ++row) {
          for (int c = 0; c < main.width; ++c) {
            const double value = main.values[row * main.width + c];
            // A value of 0, a pooled feature without ids, does not show its gate.
            expected[c] += value == 0 ? NAN : out.values[row * main.width + c] / value / 12;
          }
        }
        return absl::OkStatus();
      }));
  EXPECT_EQ(statistics.rows, 12);
  size_t column = 0, compared = 0, ppnet = 0;
  for (const GateStatistic& gate : statistics.gates) {
    if (gate.network == "ppnet") {
      ++ppnet;
      continue;
    }
    double mean = 0;
    for (int c = 0; c < gate.columns; ++c) mean += expected[column++] / gate.columns;
    if (std::isnan(mean)) continue;
    ++compared;
    EXPECT_NEAR(gate.mean, mean, 1e-4) << gate.part;
    EXPECT_GE(gate.from_one, std::fabs(gate.mean - 1) - 1e-6);
  }
  EXPECT_EQ(column, expected.size());
  EXPECT_GE(compared, 4u);
  EXPECT_EQ(ppnet, 4u) << "two tasks of two layers";
  EXPECT_EQ(statistics.gates[0].part, "uid");
  EXPECT_EQ(statistics.gates[0].domains.size(), 3u);
}

std::string Text(const FeatureColumn& column) {
  std::string text;
  for (const int64_t id : column.ids.ids) absl::StrAppend(&text, id, " ");
  for (const int32_t offset : column.ids.offsets) absl::StrAppend(&text, "|", offset);
  for (const float weight : column.ids.weights) absl::StrAppend(&text, " w", weight);
  for (const float value : column.values) absl::StrAppend(&text, " v", value);
  for (const int32_t element : column.elements) absl::StrAppend(&text, " e", element);
  return text;
}

TEST_F(FeatureImportanceTest, RowsKeepAllOfAFeatureOnTheirWay) {
  ASSERT_OK(
      RunCluster(config_, {1, 1, {}}, TestOptions(), [&](const WorkerContext& context) -> Status {
        PEPNET_ASSIGN_OR_RETURN(RowBlocks all, ReadRowBlocks(context, config_.eval_input_path, 0));
        PEPNET_ASSIGN_OR_RETURN(RowBlocks some,
                                ReadRowBlocks(context, config_.eval_input_path, 41));
        EXPECT_EQ(all.rows, 300);
        EXPECT_EQ(some.rows, 41);
        EXPECT_EQ(some.blocks.size(), 4u);
        EXPECT_EQ(some.blocks.back().rows, 5);
        EXPECT_EQ(some.blocks.back().labels[0].values.size(), 5u);
        for (size_t f = 0; f < config_.features.size(); ++f) {
          const Feature& feature = config_.features[f];
          const auto same = [](int64_t row) { return row; };
          PEPNET_ASSIGN_OR_RETURN(const auto cells_of_some,
                                  GatherFeature(some, f, context.collective));
          for (const size_t block : {0, 3}) {
            FeatureColumn column = TakeFrom(some, cells_of_some, feature, block, same);
            const std::string taken = Text(column);
            EXPECT_FALSE(taken.empty());
            column.Swap(&some.blocks[block], f);  // now the file's
            EXPECT_EQ(taken, Text(column)) << feature.name;
            column.Swap(&some.blocks[block], f);
          }
          // Row r from row 299 - r, and back again.
          const auto reversed = [](int64_t row) { return 299 - row; };
          std::vector<FeatureColumn> columns;
          PEPNET_ASSIGN_OR_RETURN(const auto cells, GatherFeature(all, f, context.collective));
          for (size_t block = 0; block < all.blocks.size(); ++block) {
            columns.push_back(TakeFrom(all, cells, feature, block, reversed));
          }
          for (size_t block = 0; block < all.blocks.size(); ++block) {
            columns[block].Swap(&all.blocks[block], f);
          }
          PEPNET_ASSIGN_OR_RETURN(const auto back, GatherFeature(all, f, context.collective));
          for (size_t block = 0; block < all.blocks.size(); ++block) {
            EXPECT_EQ(Text(TakeFrom(all, back, feature, block, reversed)), Text(columns[block]))
                << feature.name;
          }
        }
        return absl::OkStatus();
      }));
}

// 300 rows in 25 blocks of 12.
TEST_F(FeatureImportanceTest, TheWorkersShareTheRowsAndTellOneAnotherAFeature) {
  std::vector<std::string> alone;  // by feature
  ASSERT_OK(
      RunCluster(config_, {1, 1, {}}, TestOptions(), [&](const WorkerContext& context) -> Status {
        PEPNET_ASSIGN_OR_RETURN(const RowBlocks rows,
                                ReadRowBlocks(context, config_.eval_input_path, 41));
        for (size_t f = 0; f < config_.features.size(); ++f) {
          PEPNET_ASSIGN_OR_RETURN(const auto cells, GatherFeature(rows, f, context.collective));
          std::string text;
          for (const FeatureColumn& block : cells) absl::StrAppend(&text, Text(block), "; ");
          alone.push_back(text);
        }
        return absl::OkStatus();
      }));
  std::mutex mutex;
  std::vector<int64_t> held(3);  // rows, by worker
  ASSERT_OK(
      RunCluster(config_, {3, 1, {}}, TestOptions(), [&](const WorkerContext& context) -> Status {
        PEPNET_ASSIGN_OR_RETURN(const RowBlocks rows,
                                ReadRowBlocks(context, config_.eval_input_path, 41, 13));
        EXPECT_EQ(rows.rows, 41);
        EXPECT_EQ(rows.blocks.size(), 4u);
        for (size_t f = 0; f < config_.features.size(); ++f) {
          PEPNET_ASSIGN_OR_RETURN(const auto cells, GatherFeature(rows, f, context.collective));
          std::string text;
          for (const FeatureColumn& block : cells) absl::StrAppend(&text, Text(block), "; ");
          EXPECT_EQ(text, alone[f]) << config_.features[f].name;
        }
        const std::lock_guard<std::mutex> lock(mutex);
        for (const Batch& block : rows.blocks) held[context.collective->index()] += block.rows;
        return absl::OkStatus();
      }));
  // Blocks 0, 3 (5 rows) and the second of the first 13 rows; 1; 2.
  EXPECT_THAT(held, ElementsAre(12 + 5 + 12, 12, 12));
}

TEST(ExplainReportTest, GatesHaveALineEach) {
  GateStatistics statistics;
  statistics.rows = 2048;
  statistics.domain_column = "tab";
  statistics.gates = {
      {"epnet", "", "uid", 2, 16, 1.25, 0.5, 0.125, 0, 0.0625, {{"home", 0.25}, {"cart", 0.75}}},
      {"ppnet", "ctr", "layer 0", 2, 64, 0.0004, 1, 0, 1, 0, {{"home", 1}, {"cart", 1}}}};
  EXPECT_EQ(GateTable(statistics),
            "the gates on the first 2048 rows: 1 lets a value pass as it is, 0 holds it back; from "
            "1 by tab in the last "
            "columns\n"
            "gate                mean  from 1  varies      off   full   home   cart\n"
            "epnet uid          1.250   0.500   0.125    0.0 %  6.2 %  0.250  0.750\n"
            "ppnet ctr layer 0  0.000   1.000   0.000  100.0 %  0.0 %  1.000  1.000");
  EXPECT_EQ(GateTable({}), "");
}

TEST(ExplainReportTest, TablesShowChangesAndJsonAllDigits) {
  Importance importance;
  importance.rows = 90;
  importance.domain_column = "tab";
  importance.base = {{"ctr", std::nullopt, 90, 30, 0.75, 0.5},
                     {"ctr", "home", 60, 30, 0.7, 0.55},
                     {"ctr", "a\nb", 30, 0, std::nullopt, 0.4},
                     {"cvr", std::nullopt, 90, 9, 0.625, 0.25}};
  FeatureImportance& feature = importance.features.emplace_back();
  feature.name = "click";
  feature.features = {"click__iid", "click__age"};
  feature.shuffled = importance.base;
  feature.shuffled[0].auc = 0.6501;
  feature.shuffled[0].logloss = 0.625;
  feature.shuffled[1].auc = 0.71;
  EXPECT_EQ(ImportanceTables(importance),
            "what 90 rows lose when the values of a feature are permuted among them: change of "
            "auc and logloss, most auc "
            "first\n"
            "feature                         auc ctr  logloss ctr  auc cvr  logloss cvr\n"
            "(as it is)                       0.7500       0.5000   0.6250       0.2500\n"
            "click (click__iid, click__age)  -0.0999      +0.1250  +0.0000      +0.0000\n"
            "\n"
            "change of auc ctr by tab\n"
            "feature                           (all)     home  a\\nb\n"
            "(rows)                               90       60    30\n"
            "(as it is)                       0.7500   0.7000     -\n"
            "click (click__iid, click__age)  -0.0999  +0.0100     -");
  EXPECT_THAT(
      ExplanationJson({"m/model.ckpt-5", "x.csv", 5, 3}, importance, {}),
      testing::AllOf(
          testing::StartsWith(
              R"({"checkpoint":"m/model.ckpt-5","step":5,"input":"x.csv","rows":90,"seed":3,)"),
          testing::HasSubstr(
              R"({"task":"ctr","domain":null,"rows":90,"positives":30,"auc":0.6501,"logloss":0.625,)"
              R"("auc_drop":0.09989999999999999,"logloss_rise":0.125})"),
          testing::HasSubstr(R"("auc":null,"logloss":0.4,"auc_drop":null,"logloss_rise":0.0})")));
}

}  // namespace
}  // namespace pepnet
