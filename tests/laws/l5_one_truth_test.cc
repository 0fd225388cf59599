// Law L5, one truth: training, eval and exports give the same values for the same rows.
// Mutants under which a test here must fail are named in common/base/mutant.h.
#include <gtest/gtest.h>

#include <map>
#include <mutex>
#include <string>

#include "cli/commands/commands.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "tests/laws/law_support.h"
#include "tests/support/cluster.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"
#include "worker/eval/evaluator.h"
#include "worker/eval/inference.h"
#include "worker/train/trainer.h"

namespace pepnet {
namespace {

// The metrics, and those of the slices under names of their own.
std::map<std::string, double> WithSlices(const EvaluationResult& result) {
  std::map<std::string, double> values = result.values;
  for (size_t s = 0; s < result.slices.size(); ++s) {
    const Slice& slice = result.slices[s];
    const std::string name =
        absl::StrCat(s, ": ", slice.column, "=", slice.value, " of ", slice.task, ": ");
    values[name + "rows"] = static_cast<double>(slice.quality.rows);
    values[name + "positives"] = static_cast<double>(slice.quality.positives);
    values[name + "logloss"] = slice.quality.logloss.value_or(-1);
    values[name + "pcoc"] = slice.quality.pcoc.value_or(-1);
  }
  return values;
}

// With averages of the weights, which stand in place of the weights for an evaluation only, and
// without.
class L5Evaluation : public ::testing::TestWithParam<bool> {};

TEST_P(L5Evaluation, InTrainingEqualsThatOfTheCheckpoint) {
  RandomJobOptions options;
  if (GetParam()) options.dense_optimizer += " ema { decay: 0.5 }";
  options.num_epochs = 1;
  options.sessions = options.variational_dropout = true;
  TemporaryDirectory directory;
  JobConfig config = OfAllValueKinds(MakeRandomJob(directory.path(), options));
  config.train.num_epochs = 0;
  // Many ids stay unseen and must read their initial value everywhere.
  config.train.num_steps = 3;
  config.data.eval_batch_size = 8;  // of all workers together; does not divide by 3
  config.eval.slice_by = {{config.features[0].name, /*feature=*/0, /*label=*/-1}};
  config.eval.slice_top = 3;
  std::map<std::string, double> in_training, afterwards;
  const Status trained =
      RunCluster(config, {1, 1, {}}, TestOptions(), [&](const WorkerContext& context) -> Status {
        Trainer trainer(context);
        PEPNET_RETURN_IF_ERROR(trainer.Run());
        EXPECT_FALSE(trainer.evaluation().slices.empty());
        in_training = WithSlices(trainer.evaluation());
        return absl::OkStatus();
      });
  ASSERT_OK(trained);
  for (int workers : {1, 3}) {
    std::mutex mutex;
    const Status evaluated = RunCluster(
        config, {workers, 2, {}}, TestOptions(), [&](const WorkerContext& context) -> Status {
          PEPNET_ASSIGN_OR_RETURN(
              InferenceModel model,
              OpenForInference(context, config.model_dir, ValuesFor(config.eval.uses_averages)));
          PEPNET_ASSIGN_OR_RETURN(
              const EvaluationResult result,
              Evaluate(context, model.model.get(), config.eval_input_path, model.finished_steps));
          std::lock_guard<std::mutex> lock(mutex);
          if (context.first()) afterwards = WithSlices(result);
          return absl::OkStatus();
        });
    ASSERT_OK(evaluated);
    ASSERT_EQ(in_training.size(), afterwards.size());
    for (const auto& [name, value] : in_training) {
      EXPECT_NEAR(value, afterwards[name], 1e-5) << name << ", " << workers << " workers";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(L5OneTruth, L5Evaluation, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "OfAverages" : "OfWeights"; });

class L5Export : public ::testing::TestWithParam<bool> {};

TEST_P(L5Export, GivesEvalsProbabilitiesOrIsRefused) {
  RandomJobOptions options;
  if (GetParam()) options.dense_optimizer += " ema { decay: 0.5 }";
  options.word_rows =
      absl::StrCat("hash_bucket_size: 15 data_type: '", GetParam() ? "BF16" : "FP32", "'");
  TemporaryDirectory directory;
  JobConfig config = MakeRandomJob(directory.path(), options);
  config.train.num_epochs = 0;
  config.train.num_steps = 3;  // most ids of the data have no row and read their initial value
  ASSERT_OK(Train(config, {1, 1, {}}, TestOptions()));
  ExportFlags flags;
  flags.config.pipeline_config_path = directory / "job.config";
  ASSERT_OK(WriteFileAtomically(flags.config.pipeline_config_path,
                                WriteRandomJob(directory.path(), options)));
  flags.format = "safetensors,onnx";
  // As it was trained, and by a config that reads fewer bits of the checkpoint's values.
  for (const std::string name : {"export", "export-int8"}) {
    flags.export_dir = directory / name;
    const Status exported = ExportCommand(flags);
    EXPECT_OK(exported) << name;
    EXPECT_EQ(exported.ok(), PathExists(flags.export_dir));
    options.word_rows = "hash_bucket_size: 15 data_type: 'INT8'";
    ASSERT_OK(WriteFileAtomically(flags.config.pipeline_config_path,
                                  WriteRandomJob(directory.path(), options)));
  }
}

INSTANTIATE_TEST_SUITE_P(L5OneTruth, L5Export, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "OfAverages" : "OfWeights"; });

// The use of averages shows in evaluations, and training goes on with the weights either way.
TEST(L5OneTruth, AveragesAreEvaluatedAndNotTrained) {
  TemporaryDirectory directory;
  std::map<bool, double> loss;
  std::map<bool, std::string> dense;
  for (const bool averages : {true, false}) {
    RandomJobOptions options;
    options.dense_optimizer += " ema { decay: 0.9 }";
    JobConfig config = MakeRandomJob(directory.path(), options, averages ? "averages" : "weights");
    config.eval.uses_averages = averages;
    const Status trained =
        RunCluster(config, {2, 1, {}}, TestOptions(), [&](const WorkerContext& context) -> Status {
          Trainer trainer(context);
          PEPNET_RETURN_IF_ERROR(trainer.Run());
          if (context.first()) {
            loss[averages] = trainer.evaluation().values.at("binary_cross_entropy_ctr");
          }
          return absl::OkStatus();
        });
    ASSERT_OK(trained);
    dense[averages] = *ReadFile(*ResolveCheckpoint(config.model_dir) + "/dense.safetensors");
  }
  EXPECT_NE(loss[true], loss[false]);
  EXPECT_EQ(dense[true], dense[false]);
}

}  // namespace
}  // namespace pepnet
