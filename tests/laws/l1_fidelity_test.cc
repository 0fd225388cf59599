// Law L1, fidelity: weights, states, losses and gradients of the recorded cases match the
// reference. Mutants under which a test here must fail are named in common/base/mutant.h.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <ostream>
#include <span>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/safetensors.h"
#include "common/config/load.h"
#include "common/file/file.h"
#include "tests/laws/law_support.h"
#include "tests/support/cluster.h"
#include "tests/support/golden_job.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"
#include "worker/data/load/batch_loader.h"
#include "worker/train/trainer.h"

namespace pepnet {
namespace {

struct GoldenShape {
  int workers, servers;
};

std::ostream& operator<<(std::ostream& out, const GoldenShape& shape) {
  return out << shape.workers << " workers, " << shape.servers << " servers";
}

class L1Fidelity : public ::testing::TestWithParam<std::tuple<std::string, GoldenShape>> {};

// Splits the case's batch among the workers; the batch must divide.
std::string BatchEdit(const JobConfig& config, int workers) {
  return absl::StrCat(R"({"data_config.batch_size": )", config.data.batch_size / workers, "}");
}

TEST_P(L1Fidelity, WeightsAfterNStepsMatchTheReference) {
  const auto& [golden_case, shape] = GetParam();
  TemporaryDirectory directory;
  const std::string model_dir = directory / "model";
  const JobConfig whole = LoadGoldenJob(golden_case, model_dir, "");
  const int workers = shape.workers > 1 && whole.data.batch_size % shape.workers != 0
                          ? static_cast<int>(whole.data.batch_size)
                          : shape.workers;
  const std::string edits = BatchEdit(whole, workers);
  ImportGolden(golden_case, model_dir, edits);
  const JobConfig config = LoadGoldenJob(golden_case, model_dir, edits);
  const Status trained = Train(config, {workers, shape.servers, {}}, Continue());
  ASSERT_OK(trained);
  const std::string exported =
      ExportCheckpoint(golden_case, model_dir, edits, directory / "export");
  EXPECT_EQ(
      CompareTensors(exported, GoldenPath(golden_case, "after_steps_f64.safetensors"), 1e-5, 1e-4),
      "");
}

Table TableOf(const JobConfig& config, const std::string& name) {
  for (const Table& table : config.tables) {
    if (table.name == name) return table;
  }
  ADD_FAILURE() << "the config has no table " << name;
  return {};
}

using L1TableState = L1Fidelity;  // one worker: the state is the servers'

TEST_P(L1TableState, MatchesTheReference) {
  const auto& [golden_case, shape] = GetParam();
  const std::string reference_path =
      GoldenPath(golden_case, "sparse_state_after_steps_f64.safetensors");
  TemporaryDirectory directory;
  ImportGolden(golden_case, directory / "model", "");
  const JobConfig config = LoadGoldenJob(golden_case, directory / "model", "");
  ASSERT_OK(Train(config, {1, shape.servers, {}}, Continue()));
  ASSERT_OK_AND_ASSIGN(auto reference, SafetensorsReader::Open(reference_path));
  const std::string checkpoint = Newest(config);
  const Manifest manifest = *ReadManifest(checkpoint);
  int64_t compared = 0;
  for (const PartEntry& part : manifest.parts) {
    const std::string name = absl::StrReplaceAll(TableParameterName(TableOf(config, part.table)),
                                                 {{".weight", ".momentum1"}});
    ASSERT_TRUE(reference->Contains(name)) << name;
    const std::vector<double> expected = *reference->ReadDoubles(name);
    ASSERT_OK_AND_ASSIGN(auto reader, TablePartReader::Open(checkpoint, part));
    const Status read = reader->Read(0, part.rows, [&](const RowColumns& rows) -> Status {
      for (size_t i = 0; i < rows.ids.size(); ++i) {
        for (int d = 0; d < part.state_dim; ++d, ++compared) {
          const double want = expected[rows.ids[i] * part.state_dim + d],
                       got = rows.states[i * part.state_dim + d];
          EXPECT_NEAR(got, want, 1e-5 * std::max(want, 1e-3) + 2e-4 * want)
              << name << " id " << rows.ids[i];
        }
      }
      return absl::OkStatus();
    });
    EXPECT_OK(read);
  }
  EXPECT_GT(compared, 0);
}

TEST_P(L1Fidelity, LossesOfEveryStepMatchTheReference) {
  const auto& [golden_case, shape] = GetParam();
  TemporaryDirectory directory;
  const JobConfig whole = LoadGoldenJob(golden_case, directory / "model", "");
  const int workers = shape.workers > 1 && whole.data.batch_size % shape.workers != 0
                          ? static_cast<int>(whole.data.batch_size)
                          : shape.workers;
  const std::string edits =
      absl::StrCat(R"({"train_config.log_step_count_steps": 1, "data_config.batch_size": )",
                   whole.data.batch_size / workers, "}");
  ImportGolden(golden_case, directory / "model", edits);
  const JobConfig config = LoadGoldenJob(golden_case, directory / "model", edits);
  ASSERT_OK(Train(config, {workers, shape.servers, {}}, Continue()));
  const nlohmann::json golden =
      nlohmann::json::parse(*ReadFile(GoldenPath(golden_case, "loss.json")))["float64"];
  std::istringstream lines(*ReadFile(config.model_dir + "/metrics.jsonl"));
  size_t step = 0;
  for (std::string line; std::getline(lines, line); ++step) {
    const nlohmann::json ours = nlohmann::json::parse(line), reference = golden["steps"][step];
    for (const auto& [name, value] : reference.items()) {
      if (name == "step") continue;
      const std::string key = name == "total"            ? "total_loss"
                              : name == "lr_sparse_used" ? "lr_sparse"
                                                         : name;
      ASSERT_TRUE(ours.contains(key)) << key << " in " << line;
      const double want = value;
      EXPECT_NEAR(ours[key].get<double>(), want, 1e-5 + 1e-4 * std::abs(want))
          << key << " of step " << step;
    }
  }
  EXPECT_EQ(step, golden["steps"].size());
}

std::string GoldenShapeName(
    const ::testing::TestParamInfo<std::tuple<std::string, GoldenShape>>& info) {
  const GoldenShape shape = std::get<1>(info.param);
  return absl::StrCat(std::get<0>(info.param), "_", shape.workers, "w", shape.servers, "s");
}

INSTANTIATE_TEST_SUITE_P(Golden, L1Fidelity,
                         ::testing::Combine(::testing::ValuesIn(GoldenCases()),
                                            ::testing::Values(GoldenShape{1, 1}, GoldenShape{1, 3},
                                                              GoldenShape{2, 2})),
                         GoldenShapeName);
INSTANTIATE_TEST_SUITE_P(Golden, L1TableState,
                         ::testing::Combine(::testing::ValuesIn(GoldenCases()),
                                            ::testing::Values(GoldenShape{1, 1},
                                                              GoldenShape{1, 3})),
                         GoldenShapeName);

// The parameters themselves, where exports give their averages.
TEST(L1Averages, TheWeightsBehindThemMatchTheReference) {
  // Of 2 workers.
  const std::string edits =
      R"({"export_config.use_dense_ema": false, "data_config.batch_size": 3})";
  TemporaryDirectory directory;
  ImportGolden("optim", directory / "model", edits);
  ASSERT_OK(Train(LoadGoldenJob("optim", directory / "model", edits), {2, 1, {}}, Continue()));
  const std::string exported =
      ExportCheckpoint("optim", directory / "model", edits, directory / "export");
  EXPECT_EQ(
      CompareTensors(exported, GoldenPath("optim", "after_steps_raw_f64.safetensors"), 1e-5, 1e-4),
      "");
  EXPECT_NE(
      CompareTensors(exported, GoldenPath("optim", "after_steps_f64.safetensors"), 1e-5, 1e-4), "");
}

class L1Gradients : public ::testing::TestWithParam<std::string> {};

// Gradients of the first batch, dense and of the tables, as grads_f64 records them (not clipped,
// not divided by N).
TEST_P(L1Gradients, FirstBatchMatchesTheReference) {
  const std::string golden_case = GetParam();
  const std::string edits =
      R"({"train_config.gradient_accumulation_steps": 0, "train_config.grad_clipping.clipping_type": "none"})";
  TemporaryDirectory directory;
  ImportGolden(golden_case, directory / "model", edits);
  const JobConfig config = LoadGoldenJob(golden_case, directory / "model", edits);
  ASSERT_OK_AND_ASSIGN(auto reference,
                       SafetensorsReader::Open(GoldenPath(golden_case, "grads_f64.safetensors")));
  const Status run =
      RunCluster(config, {1, 2, {}}, Continue(), [&](const WorkerContext& context) -> Status {
        Trainer trainer(context);
        trainer.KeepRowGradients();
        PEPNET_RETURN_IF_ERROR(trainer.Start());
        PEPNET_RETURN_IF_ERROR(trainer.Step().status());
        auto compare = [](const std::string& name, double got, double want, int64_t i) {
          if (want == 0) {
            EXPECT_EQ(got, 0) << name << "[" << i << "]: an exact zero must stay one";
          } else {
            EXPECT_NEAR(got, want, 1e-6 + 1e-4 * std::abs(want)) << name << "[" << i << "]";
          }
        };
        DenseParameters& parameters = trainer.state().parameters;
        for (size_t p = 0; p < parameters.specs().size(); ++p) {
          if (!parameters.specs()[p].trained) continue;
          const std::string& name = parameters.specs()[p].name;
          PEPNET_ASSIGN_OR_RETURN(std::vector<double> want, reference->ReadDoubles(name));
          const std::span<float> got = parameters.gradient(static_cast<int>(p));
          for (size_t i = 0; i < want.size(); ++i) {
            compare(name, got[i], want[i], static_cast<int64_t>(i));
          }
        }
        for (size_t t = 0; t < config.tables.size(); ++t) {
          const Table& table = config.tables[t];
          const std::string name = TableParameterName(table);
          PEPNET_ASSIGN_OR_RETURN(std::vector<double> want, reference->ReadDoubles(name));
          std::vector<double> got(want.size(), 0);
          const std::vector<int64_t>& ids = trainer.last_ids().ids[t];
          for (size_t i = 0; i < ids.size(); ++i) {
            for (int d = 0; d < table.dim; ++d) {
              got[ids[i] * table.dim + d] = trainer.row_gradients()[t][i * table.dim + d];
            }
          }
          for (size_t i = 0; i < want.size(); ++i) {
            compare(name, got[i], want[i], static_cast<int64_t>(i));
          }
        }
        return absl::OkStatus();
      });
  // The job ends before the data does; that the servers are stopped with a step under way is part
  // of the test.
  EXPECT_OK(run);
}

INSTANTIATE_TEST_SUITE_P(Golden, L1Gradients, ::testing::ValuesIn(GoldenCases()),
                         [](const auto& info) { return info.param; });

// Rows of the reference's feature generator, from its unit tests: the first input is the outermost.
TEST(L1ComputedCells, CombinationsAreThoseOfTheReference) {
  TemporaryDirectory directory;
  ASSERT_OK(WriteFileAtomically(directory / "rows.csv",
                                "clk,u,i\n0,ua\x1dub,ia\x1dib\n1,uc\x1dud,ic\n0,ug,id\x1die\n"));
  ASSERT_OK_AND_ASSIGN(const JobConfig config, ParseJobConfig(R"(
train_input_path: "rows.csv" model_dir: "model"
train_config { num_steps: 1
  sparse_optimizer { sgd_optimizer { lr: 0.1 } constant_learning_rate {} }
  dense_optimizer { sgd_optimizer { lr: 0.1 } constant_learning_rate {} } }
data_config { batch_size: 4 dataset_type: CsvDataset with_header: true fg_mode: FG_DAG label_fields: "clk"
  num_workers: 1 }
feature_configs { combo_feature { feature_name: "both" expression: ["user:u", "item:i"] hash_bucket_size: 100
  embedding_dim: 4 } }
model_config {
  feature_groups { group_name: "all" feature_names: "both" group_type: DEEP }
  pepnet { task_towers { tower_name: "ctr" label_name: "clk" losses { binary_cross_entropy {} } } }
})",
                                                              "job.config", {}));
  LoaderOptions options;
  options.input_path = directory / "rows.csv";
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<BatchLoader> loader,
                       BatchLoader::Open(config, options));
  ASSERT_OK_AND_ASSIGN(const std::optional<Batch> batch, loader->Next());
  ASSERT_TRUE(batch.has_value());
  EXPECT_EQ(std::vector<int64_t>(batch->ids[0].ids.begin(), batch->ids[0].ids.end()),
            (std::vector<int64_t>{37, 90, 5, 97, 60, 56, 40, 57}));
}

}  // namespace
}  // namespace pepnet
