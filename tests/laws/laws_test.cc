// One test (or several) per law of docs/design.md section 2, on whole jobs with servers and workers as threads.
// Each law has mutants (common/base/mutant.h) under which its test must fail: scripts/mutants.sh runs them.
#include <gtest/gtest.h>

#include <cmath>
#include <mutex>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "cli/commands/commands.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/safetensors.h"
#include "common/file/file.h"
#include "tests/support/cluster.h"
#include "tests/support/golden_job.h"
#include "tests/support/random_job.h"
#include "worker/data/load/batch_loader.h"
#include "worker/eval/evaluator.h"
#include "worker/eval/inference.h"

namespace pepnet {
namespace {

RunOptions Continue() { return TestOptions(/*continue_train=*/true); }

std::string Newest(const JobConfig& config) { return *ResolveCheckpoint(config.model_dir); }

// ---- L1 Fidelity --------------------------------------------------------------------------------------------------

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
  ASSERT_TRUE(trained.ok()) << trained;
  const std::string exported = ExportCheckpoint(golden_case, model_dir, edits, directory / "export");
  EXPECT_EQ(CompareTensors(exported, GoldenPath(golden_case, "after_steps_f64.safetensors"), 1e-5, 1e-4), "");
}

using L1TableState = L1Fidelity;  // one worker: the state is the servers'

TEST_P(L1TableState, MatchesTheReference) {
  const auto& [golden_case, shape] = GetParam();
  const std::string reference_path = GoldenPath(golden_case, "sparse_state_after_steps_f64.safetensors");
  TemporaryDirectory directory;
  ImportGolden(golden_case, directory / "model", "");
  const JobConfig config = LoadGoldenJob(golden_case, directory / "model", "");
  ASSERT_TRUE(Train(config, {1, shape.servers, {}}, Continue()).ok());
  auto reference = SafetensorsReader::Open(reference_path);
  ASSERT_TRUE(reference.ok()) << reference.status();
  const std::string checkpoint = Newest(config);
  const Manifest manifest = *ReadManifest(checkpoint);
  int64_t compared = 0;
  for (const PartEntry& part : manifest.parts) {
    const std::string name = absl::StrReplaceAll(TableParameterName(part.table), {{".weight", ".momentum1"}});
    ASSERT_TRUE((*reference)->Contains(name)) << name;
    const std::vector<double> expected = *(*reference)->ReadDoubles(name);
    auto reader = TablePartReader::Open(checkpoint, part);
    ASSERT_TRUE(reader.ok()) << reader.status();
    const Status read = (*reader)->Read(0, part.rows, [&](const RowColumns& rows) -> Status {
      for (size_t i = 0; i < rows.ids.size(); ++i) {
        for (int d = 0; d < part.state_dim; ++d, ++compared) {
          const double want = expected[rows.ids[i] * part.state_dim + d], got = rows.states[i * part.state_dim + d];
          EXPECT_NEAR(got, want, 1e-5 * std::max(want, 1e-3) + 2e-4 * want) << name << " id " << rows.ids[i];
        }
      }
      return absl::OkStatus();
    });
    EXPECT_TRUE(read.ok()) << read;
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
  const std::string edits = absl::StrCat(R"({"train_config.log_step_count_steps": 1, "data_config.batch_size": )",
                                         whole.data.batch_size / workers, "}");
  ImportGolden(golden_case, directory / "model", edits);
  const JobConfig config = LoadGoldenJob(golden_case, directory / "model", edits);
  ASSERT_TRUE(Train(config, {workers, shape.servers, {}}, Continue()).ok());
  const nlohmann::json golden = nlohmann::json::parse(*ReadFile(GoldenPath(golden_case, "loss.json")))["float64"];
  std::istringstream lines(*ReadFile(config.model_dir + "/metrics.jsonl"));
  size_t step = 0;
  for (std::string line; std::getline(lines, line); ++step) {
    const nlohmann::json ours = nlohmann::json::parse(line), reference = golden["steps"][step];
    for (const auto& [name, value] : reference.items()) {
      if (name == "step") continue;
      const std::string key = name == "total" ? "total_loss" : name == "lr_sparse_used" ? "lr_sparse" : name;
      ASSERT_TRUE(ours.contains(key)) << key << " in " << line;
      const double want = value;
      EXPECT_NEAR(ours[key].get<double>(), want, 1e-5 + 1e-4 * std::abs(want)) << key << " of step " << step;
    }
  }
  EXPECT_EQ(step, golden["steps"].size());
}

std::string GoldenShapeName(const ::testing::TestParamInfo<std::tuple<std::string, GoldenShape>>& info) {
  const GoldenShape shape = std::get<1>(info.param);
  return absl::StrCat(std::get<0>(info.param), "_", shape.workers, "w", shape.servers, "s");
}

INSTANTIATE_TEST_SUITE_P(Golden, L1Fidelity,
                         ::testing::Combine(::testing::ValuesIn(GoldenCases()),
                                            ::testing::Values(GoldenShape{1, 1}, GoldenShape{1, 3}, GoldenShape{2, 2})),
                         GoldenShapeName);
INSTANTIATE_TEST_SUITE_P(Golden, L1TableState,
                         ::testing::Combine(::testing::ValuesIn(GoldenCases()),
                                            ::testing::Values(GoldenShape{1, 1}, GoldenShape{1, 3})),
                         GoldenShapeName);

class L1Gradients : public ::testing::TestWithParam<std::string> {};

// Gradients of the first batch, dense and of the tables, as grads_f64 records them (not clipped, not divided by N).
TEST_P(L1Gradients, FirstBatchMatchesTheReference) {
  const std::string golden_case = GetParam();
  const std::string edits =
      R"({"train_config.gradient_accumulation_steps": 0, "train_config.grad_clipping.clipping_type": "none"})";
  TemporaryDirectory directory;
  ImportGolden(golden_case, directory / "model", edits);
  const JobConfig config = LoadGoldenJob(golden_case, directory / "model", edits);
  auto reference = SafetensorsReader::Open(GoldenPath(golden_case, "grads_f64.safetensors"));
  ASSERT_TRUE(reference.ok()) << reference.status();
  const Status run = RunCluster(config, {1, 2, {}}, Continue(), [&](const WorkerContext& context) -> Status {
    Trainer trainer(context);
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
      const std::string& name = parameters.specs()[p].name;
      PEPNET_ASSIGN_OR_RETURN(std::vector<double> want, (*reference)->ReadDoubles(name));
      const std::span<float> got = parameters.gradient(static_cast<int>(p));
      for (size_t i = 0; i < want.size(); ++i) compare(name, got[i], want[i], static_cast<int64_t>(i));
    }
    for (size_t t = 0; t < config.tables.size(); ++t) {
      const Table& table = config.tables[t];
      const std::string name = TableParameterName(table.name);
      PEPNET_ASSIGN_OR_RETURN(std::vector<double> want, (*reference)->ReadDoubles(name));
      std::vector<double> got(want.size(), 0);
      const std::vector<int64_t>& ids = trainer.last_ids().ids[t];
      for (size_t i = 0; i < ids.size(); ++i) {
        for (int d = 0; d < table.dim; ++d) got[ids[i] * table.dim + d] = trainer.row_gradients()[t][i * table.dim + d];
      }
      for (size_t i = 0; i < want.size(); ++i) compare(name, got[i], want[i], static_cast<int64_t>(i));
    }
    return absl::OkStatus();
  });
  // The job ends before the data does; that the servers are stopped with a step under way is part of the test.
  EXPECT_TRUE(run.ok()) << run;
}

INSTANTIATE_TEST_SUITE_P(Golden, L1Gradients, ::testing::ValuesIn(GoldenCases()),
                         [](const auto& info) { return info.param; });

// ---- L2 World-size invariance -------------------------------------------------------------------------------------

// Largest difference of any weight, relative to 1e-5 + 1e-4 |x|, after exporting through a one-worker reading of both.
void ExpectSameWeights(const JobConfig& a, const JobConfig& b, double absolute, double relative) {
  const std::string ckpt_a = Newest(a), ckpt_b = Newest(b);
  EXPECT_EQ(CompareTensors(ckpt_a + "/dense.safetensors", ckpt_b + "/dense.safetensors", absolute, relative), "");
  const Manifest manifest_a = *ReadManifest(ckpt_a), manifest_b = *ReadManifest(ckpt_b);
  auto read = [](const std::string& checkpoint, const Manifest& manifest) {
    std::map<std::pair<std::string, int64_t>, std::vector<float>> rows;
    for (const PartEntry& part : manifest.parts) {
      auto reader = TablePartReader::Open(checkpoint, part);
      EXPECT_TRUE(reader.ok()) << reader.status();
      EXPECT_TRUE((*reader)
                      ->Read(0, part.rows,
                             [&](const RowColumns& columns) -> Status {
                               for (size_t i = 0; i < columns.ids.size(); ++i) {
                                 auto first = columns.values.begin() + i * part.dim;
                                 rows[{part.table, columns.ids[i]}].assign(first, first + part.dim);
                               }
                               return absl::OkStatus();
                             })
                      .ok());
    }
    return rows;
  };
  const auto rows_a = read(ckpt_a, manifest_a), rows_b = read(ckpt_b, manifest_b);
  ASSERT_EQ(rows_a.size(), rows_b.size());
  for (const auto& [key, values] : rows_a) {
    auto it = rows_b.find(key);
    ASSERT_NE(it, rows_b.end()) << key.first << " id " << key.second;
    for (size_t d = 0; d < values.size(); ++d) {
      ASSERT_NEAR(values[d], it->second[d], absolute + relative * std::abs(values[d]))
          << key.first << " id " << key.second;
    }
  }
}

// The last evaluations name the same step and metrics, and agree on the losses (a row may cross a bin of the AUC).
void ExpectSameEvaluation(const JobConfig& a, const JobConfig& b) {
  auto last_line = [](const JobConfig& config) {
    const std::string text = *ReadFile(config.model_dir + "/train_eval_result.txt");
    return nlohmann::json::parse(text.substr(text.rfind('\n', text.size() - 2) + 1));
  };
  const nlohmann::json line_a = last_line(a), line_b = last_line(b);
  ASSERT_EQ(line_a.size(), line_b.size()) << line_a << line_b;
  for (const auto& [name, value] : line_a.items()) {
    ASSERT_TRUE(line_b.contains(name)) << name;
    if (name == "global_step") {
      EXPECT_EQ(value, line_b[name]);
    } else if (name.rfind("binary_cross_entropy", 0) == 0 && value.is_number()) {
      EXPECT_NEAR(value.get<double>(), line_b[name].get<double>(), 1e-3) << name;
    }
  }
}

struct WorldCase {
  const char* name;
  RandomJobOptions job;
};

std::ostream& operator<<(std::ostream& out, const WorldCase& world_case) { return out << world_case.name; }

class L2WorldSize : public ::testing::TestWithParam<WorldCase> {};

TEST_P(L2WorldSize, AnyNumberOfWorkersTrainsLikeOne) {
  RandomJobOptions options = GetParam().job;
  TemporaryDirectory directory;
  const int global_batch = 12;
  options.batch_size = global_batch;
  const JobConfig one = MakeRandomJob(directory.path(), options, "one");
  const Status trained = Train(one, {1, 1, {}}, TestOptions());
  ASSERT_TRUE(trained.ok()) << trained;
  for (int workers : {2, 3, 4}) {
    options.batch_size = global_batch / workers;
    const JobConfig many = MakeRandomJob(directory.path(), options, absl::StrCat("w", workers));
    const Status status = Train(many, {workers, 2, {}}, TestOptions());
    ASSERT_TRUE(status.ok()) << status;
    ExpectSameWeights(one, many, 2e-5, 5e-4);
    ExpectSameEvaluation(one, many);
  }
}

std::vector<WorldCase> WorldCases() {
  std::vector<WorldCase> cases;
  RandomJobOptions
      base;  // 101 rows: the last global batch has 5, so that a slice of three workers is short and one is empty
  base.dense_optimizer = "sgd_optimizer { lr: 0.1 momentum: 0.5 }";
  cases.push_back({"sgd_dropout_shuffle", base});
  RandomJobOptions clipped = base;
  clipped.sparse_optimizer = "sgd_optimizer { lr: 5 gradient_clipping: true max_gradient: 0.002 }";
  cases.push_back({"sparse_gradient_clipping", clipped});
  RandomJobOptions rare = base;
  rare.click_rate = 0.05;  // slices and whole batches without a clicked row
  rare.sparse_optimizer = "adagrad_optimizer { lr: 0.05 initial_accumulator_value: 0.001 }";
  cases.push_back({"rare_clicks_adagrad", rare});
  RandomJobOptions domains = base;
  domains.domain_towers = true;
  domains.shuffle = false;
  cases.push_back({"domain_towers", domains});
  RandomJobOptions accumulation = base;
  accumulation.train_extra =
      "gradient_accumulation_steps: 3 grad_clipping { clipping_type: \"norm\" max_gradient: 0.05 }";
  cases.push_back({"accumulation_clipping", accumulation});
  RandomJobOptions remainder = base;
  remainder.data_extra = "drop_remainder: true";
  cases.push_back({"drop_remainder", remainder});
  RandomJobOptions odd = base;  // a global batch has 12 rows
  odd.files = 1;
  odd.rows = 25;
  cases.push_back({"one_file_last_batch_of_one_row", odd});
  odd.rows = 1;
  cases.push_back({"one_row_in_all", odd});
  odd.rows = 3;  // of four workers with slices of 3 only one ever has rows
  cases.push_back({"workers_without_any_row", odd});
  odd.rows = 26;
  odd.files = 3;
  odd.shuffle = false;
  cases.push_back({"an_empty_file_among_full_ones", odd});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Random, L2WorldSize, ::testing::ValuesIn(WorldCases()),
                         [](const auto& info) { return info.param.name; });

// Gradients of one step, too: weights could hide a scale that an optimizer divides out.
TEST(L2WorldSize, GradientsOfAStepAreThoseOfOneWorker) {
  RandomJobOptions options;
  TemporaryDirectory directory;
  std::map<int, std::vector<float>> gradients;
  for (int workers : {1, 2, 3}) {
    options.batch_size = 12 / workers;
    const JobConfig config = MakeRandomJob(directory.path(), options, absl::StrCat("w", workers));
    const Status status =
        RunCluster(config, {workers, 1, {}}, TestOptions(), [&](const WorkerContext& context) -> Status {
          Trainer trainer(context);
          PEPNET_RETURN_IF_ERROR(trainer.Start());
          PEPNET_RETURN_IF_ERROR(trainer.Step().status());
          if (context.first()) {
            const std::span<float> all = trainer.state().parameters.gradients();
            gradients[workers].assign(all.begin(), all.end());
          }
          return absl::OkStatus();
        });
    ASSERT_TRUE(status.ok()) << status;
  }
  for (int workers : {2, 3}) {
    for (size_t i = 0; i < gradients[1].size(); ++i) {
      ASSERT_NEAR(gradients[workers][i], gradients[1][i], 1e-6 + 1e-4 * std::abs(gradients[1][i]))
          << workers << " workers, " << i;
    }
  }
}

// ---- L3 Shard invariance ------------------------------------------------------------------------------------------

TEST(L3ShardInvariance, ServersDelaysAndReaderThreadsDoNotChangeABit) {
  RandomJobOptions options;
  options.batch_size = 4;
  options.sparse_optimizer = "adagrad_optimizer { lr: 0.05 }";
  TemporaryDirectory directory;
  const JobConfig first = MakeRandomJob(directory.path(), options, "s1");
  ASSERT_TRUE(Train(first, {3, 1, {}}, TestOptions()).ok());
  struct Variant {
    int servers, num_workers, max_delay_us;
    uint64_t seed;
  };
  for (const Variant& variant : {Variant{2, 4, 0, 0}, Variant{3, 1, 0, 0}, Variant{1, 1, 800, 1}, Variant{2, 2, 800, 2},
                                 Variant{3, 4, 2000, 3}}) {
    options.num_workers = variant.num_workers;
    const std::string name = absl::StrCat("s", variant.servers, "-", variant.seed, "-", variant.num_workers);
    const JobConfig other = MakeRandomJob(directory.path(), options, name);
    ASSERT_TRUE(Train(other, {3, variant.servers, {variant.seed, variant.max_delay_us}}, TestOptions()).ok());
    EXPECT_EQ(CheckpointDifference(Newest(first), Newest(other)), "") << name;
  }
}

TEST(L3ShardInvariance, RanksThatWorkAndServeDoNotChangeABit) {
  RandomJobOptions options;
  options.batch_size = 4;
  options.sparse_optimizer = "adagrad_optimizer { lr: 0.05 }";
  TemporaryDirectory directory;
  const JobConfig dedicated = MakeRandomJob(directory.path(), options, "dedicated");
  ASSERT_TRUE(Train(dedicated, {3, 2, {}}, TestOptions()).ok());
  for (const InProcessOptions& network : {InProcessOptions{}, {4, 800}, {5, 2000}}) {
    const std::string name = absl::StrCat("colocated-", network.delay_seed);
    const JobConfig colocated = MakeRandomJob(directory.path(), options, name);
    ASSERT_TRUE(Train(colocated, {3, 3, network, {}, /*colocated=*/true}, TestOptions()).ok());
    EXPECT_EQ(CheckpointDifference(Newest(dedicated), Newest(colocated)), "") << name;
  }
}

TEST(L3ShardInvariance, RoundedRowsOnTheWireAreTheSameForAnyNumberOfServers) {
  RandomJobOptions options;
  options.batch_size = 4;
  TemporaryDirectory directory;
  RunOptions run = TestOptions();
  const JobConfig exact = MakeRandomJob(directory.path(), options, "exact");
  ASSERT_TRUE(Train(exact, {2, 1, {}}, run).ok());
  for (const auto& [name, dtype] : {std::pair("bfloat16", WireDtype::kBFloat16), {"float16", WireDtype::kFloat16}}) {
    run.wire_dtype = dtype;
    const JobConfig one = MakeRandomJob(directory.path(), options, absl::StrCat(name, "-1"));
    const JobConfig three = MakeRandomJob(directory.path(), options, absl::StrCat(name, "-3"));
    ASSERT_TRUE(Train(one, {2, 1, {}}, run).ok());
    ASSERT_TRUE(Train(three, {2, 3, {}}, run).ok());
    EXPECT_EQ(CheckpointDifference(Newest(one), Newest(three)), "") << name;
    EXPECT_NE(CheckpointDifference(Newest(one), Newest(exact)), "") << name << " rounds nothing";
  }
}

TEST(L3ShardInvariance, EvaluationCreatesNoRows) {
  RandomJobOptions options;
  options.num_epochs = 1;
  options.shuffle = false;
  TemporaryDirectory directory;
  JobConfig config = MakeRandomJob(directory.path(), options, "a");
  config.train.num_epochs = 0;
  config.train.num_steps = 2;  // most rows stay unseen
  ASSERT_TRUE(Train(config, {1, 1, {}}, TestOptions()).ok());
  JobConfig evaluated = MakeRandomJob(directory.path(), options, "b");
  evaluated.train.num_epochs = 0;
  evaluated.train.num_steps = 2;
  evaluated.train.save_checkpoints_steps = 1;  // evaluates after every step
  ASSERT_TRUE(Train(evaluated, {1, 1, {}}, TestOptions()).ok());
  EXPECT_EQ(CheckpointDifference(Newest(config), Newest(evaluated)), "");
}

// ---- L4 Exact resume ----------------------------------------------------------------------------------------------

class L4Resume : public ::testing::TestWithParam<std::tuple<int, bool, int>> {};

TEST_P(L4Resume, ARunThatStopsAndContinuesEndsInTheSameBits) {
  const auto& [stop_after, shuffle, window] = GetParam();
  RandomJobOptions options;
  options.batch_size = 4;
  options.shuffle = shuffle;
  options.sparse_optimizer = "adagrad_optimizer { lr: 0.05 }";
  options.train_extra = absl::StrCat("gradient_accumulation_steps: ", window);
  TemporaryDirectory directory;
  const JobConfig undisturbed = MakeRandomJob(directory.path(), options, "undisturbed");
  ASSERT_TRUE(Train(undisturbed, {2, 2, {}}, TestOptions()).ok());

  JobConfig disturbed = MakeRandomJob(directory.path(), options, "disturbed");
  disturbed.train.save_checkpoints_steps = 5;
  const Status stopped =
      RunCluster(disturbed, {2, 2, {}}, TestOptions(), [&, steps = stop_after](const WorkerContext& context) -> Status {
        Trainer trainer(context);
        PEPNET_RETURN_IF_ERROR(trainer.Start());
        for (int step = 0; step < steps; ++step) PEPNET_RETURN_IF_ERROR(trainer.Step().status());
        PEPNET_RETURN_IF_ERROR(trainer.FinishSave());  // so that there is a checkpoint to go on from
        return absl::CancelledError("as if killed");
      });
  ASSERT_FALSE(stopped.ok());
  ASSERT_TRUE(Train(disturbed, {2, 2, {}}, Continue()).ok());
  EXPECT_EQ(CheckpointDifference(Newest(undisturbed), Newest(disturbed)), "");
  // What the run tells about its end is equal, too (a stop before the first checkpoint leaves nothing to compare with).
  auto last_line = [](const JobConfig& config) {
    const std::string text = *ReadFile(config.model_dir + "/train_eval_result.txt");
    return text.substr(text.rfind('\n', text.size() - 2) + 1);
  };
  EXPECT_EQ(last_line(undisturbed), last_line(disturbed));
}

INSTANTIATE_TEST_SUITE_P(Stops, L4Resume,
                         ::testing::Values(std::tuple(3, true, 1), std::tuple(7, true, 1), std::tuple(13, false, 1),
                                           std::tuple(14, true, 1), std::tuple(21, true, 1), std::tuple(7, true, 3),
                                           std::tuple(12, false, 4)));

TEST(L4Resume, WithAnotherNumberOfServers) {
  RandomJobOptions options;
  options.batch_size = 4;
  TemporaryDirectory directory;
  const JobConfig undisturbed = MakeRandomJob(directory.path(), options, "undisturbed");
  ASSERT_TRUE(Train(undisturbed, {1, 1, {}}, TestOptions()).ok());
  const JobConfig whole = MakeRandomJob(directory.path(), options, "resharded");
  JobConfig half = whole;
  half.train.num_epochs = 1;
  ASSERT_TRUE(Train(half, {1, 3, {}}, TestOptions()).ok());
  ASSERT_TRUE(Train(whole, {1, 2, {}}, Continue()).ok());
  EXPECT_EQ(CheckpointDifference(Newest(undisturbed), Newest(whole)), "");
}

TEST(L4Resume, AFinishedJobEvaluatesAgainAndChangesNothing) {
  RandomJobOptions options;
  TemporaryDirectory directory;
  const JobConfig config = MakeRandomJob(directory.path(), options);
  ASSERT_TRUE(Train(config, {1, 1, {}}, TestOptions()).ok());
  const std::string before = Newest(config);
  const std::string dense = *ReadFile(before + "/dense.safetensors");
  ASSERT_TRUE(Train(config, {1, 2, {}}, Continue()).ok());
  EXPECT_EQ(Newest(config), before);
  EXPECT_EQ(*ReadFile(before + "/dense.safetensors"), dense);
}

// ---- L5 One truth -------------------------------------------------------------------------------------------------

TEST(L5OneTruth, EvaluationInTrainingEqualsEvaluationOfTheCheckpoint) {
  RandomJobOptions options;
  options.num_epochs = 1;
  TemporaryDirectory directory;
  JobConfig config = MakeRandomJob(directory.path(), options);
  config.train.num_epochs = 0;
  config.train.num_steps = 3;       // many ids stay unseen and must read their initial value everywhere
  config.data.eval_batch_size = 8;  // of all workers together; does not divide by 3
  std::map<std::string, double> in_training, afterwards;
  const Status trained = RunCluster(config, {1, 1, {}}, TestOptions(), [&](const WorkerContext& context) -> Status {
    Trainer trainer(context);
    PEPNET_RETURN_IF_ERROR(trainer.Run());
    in_training = trainer.evaluation().values;
    return absl::OkStatus();
  });
  ASSERT_TRUE(trained.ok()) << trained;
  for (int workers : {1, 3}) {
    std::mutex mutex;
    const Status evaluated =
        RunCluster(config, {workers, 2, {}}, TestOptions(), [&](const WorkerContext& context) -> Status {
          PEPNET_ASSIGN_OR_RETURN(InferenceModel model, OpenForInference(context, config.model_dir));
          PEPNET_ASSIGN_OR_RETURN(auto values,
                                  Evaluate(context, model.model.get(), config.eval_input_path, model.finished_steps));
          std::lock_guard<std::mutex> lock(mutex);
          afterwards = values;
          return absl::OkStatus();
        });
    ASSERT_TRUE(evaluated.ok()) << evaluated;
    ASSERT_EQ(in_training.size(), afterwards.size());
    for (const auto& [name, value] : in_training)
      EXPECT_NEAR(value, afterwards[name], 1e-5) << name << ", " << workers << " workers";
  }
}

TEST(L5OneTruth, AnExportGivesEvalsProbabilitiesOrIsRefused) {
  RandomJobOptions options;
  TemporaryDirectory directory;
  JobConfig config = MakeRandomJob(directory.path(), options);
  config.train.num_epochs = 0;
  config.train.num_steps = 3;  // most ids of the data have no row and read their initial value
  ASSERT_TRUE(Train(config, {1, 1, {}}, TestOptions()).ok());
  ConfigFlags flags;
  flags.pipeline_config_path = directory / "job.config";
  ASSERT_TRUE(WriteFileAtomically(flags.pipeline_config_path, WriteRandomJob(directory.path(), options)).ok());
  ExportFlags export_flags;
  export_flags.export_dir = directory / "export";
  export_flags.format = "safetensors,onnx";
  const Status exported = ExportCommand(flags, export_flags);
  EXPECT_TRUE(exported.ok()) << exported;
  EXPECT_EQ(exported.ok(), PathExists(directory / "export"));
}

// ---- L6 Never half ------------------------------------------------------------------------------------------------

TEST(L6NeverHalf, ACheckpointThatLacksAFileNeverGetsItsName) {
  TemporaryDirectory directory;
  auto writer = CheckpointWriter::Begin(directory.path(), 7);
  ASSERT_TRUE(writer.ok()) << writer.status();
  Manifest manifest;
  manifest.step = 7;
  manifest.files.push_back({"dense.safetensors", 10, 0});
  EXPECT_FALSE(writer->Commit(manifest).ok());
  EXPECT_TRUE(ListCheckpoints(directory.path())->empty());
}

TEST(L6NeverHang, AServerThatNeverAnswersEndsTheJobAtTheDeadline) {
  RandomJobOptions options;
  TemporaryDirectory directory;
  const JobConfig config = MakeRandomJob(directory.path(), options);
  const auto start = Clock::now();
  const Status status = RunRanks(2, {}, [&](int rank, Transport* transport) -> Status {
    if (rank == 1) return absl::OkStatus();  // a server that is gone
    PsClient client(transport, &config, {1}, 0, 0.5);
    return client.Configure({0}, 0, 0);
  });
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_NE(std::string(status.message()).find("server 0 (rank 1)"), std::string::npos) << status;
  EXPECT_LT(std::chrono::duration<double>(Clock::now() - start).count(), 10);
}

TEST(L6NeverHang, ARankWithoutHeartbeatsEndsEveryWaitOfTheOthers) {
  InProcessHub hub(3);  // rank 2 never beats
  JobWatch first(hub.transport(0), 0.8, nullptr), second(hub.transport(1), 0.8, nullptr);
  const std::unique_ptr<Transport> transport = first.Watched(hub.transport(0));
  const Status status =
      transport->Receive(Channel::kRows, 1, After(std::chrono::seconds(6)), "rows of step 3").status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_NE(std::string(status.message()).find("rank 2 hangs"), std::string::npos) << status;
}

// ---- L7 Nothing silent --------------------------------------------------------------------------------------------

TEST(L7NothingSilent, AnIdOutOfRangeIsAnErrorThatNamesItsPlace) {
  RandomJobOptions options;
  options.files = 1;
  options.rows = 5;
  TemporaryDirectory directory;
  const JobConfig config = MakeRandomJob(directory.path(), options);
  ASSERT_TRUE(AppendToFile(directory / "train-0.csv", "1,0,50,1,1,1:1,w1,0,3.5,0.5\n").ok());
  const Status status = Train(config, {1, 1, {}}, TestOptions());
  ASSERT_FALSE(status.ok());
  const std::string message(status.message());
  for (const char* part : {"train-0.csv", "row 6", "uid", "50"})
    EXPECT_NE(message.find(part), std::string::npos) << message;
}

}  // namespace
}  // namespace pepnet
