// train_config.keep_best and patience, with the built programs: the best checkpoint stays and is
// found, a training that no longer improves ends, and both do so alike for any ranks, killed or
// not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "tests/support/cli_job.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr int kEvery = 4;  // steps from one evaluation to the next

// Rows whose labels have nothing to do with the features, so that what is learnt of them is soon
// wrong on other rows.
RandomJobOptions Options(uint64_t seed) {
  RandomJobOptions options;
  options.data_seed = seed;
  options.rows = 96;
  options.batch_size = 8;
  options.num_epochs = 40;
  options.dropout = 0;
  return options;
}

class KeepBestCli : public ::testing::Test {
 protected:
  KeepBestCli()
      : job_(Options(1), absl::StrCat("--eval_input_path ", other_.path(), "/train-0.csv")) {
    WriteRandomJob(other_.path(), Options(2));
  }
  // `fields`: further members of --edit_config_json, each with a comma in front.
  static std::string Edits(const std::string& fields, int patience = 3) {
    return absl::StrCat(
        "--edit_config_json '{\"train_config.keep_best\": [{\"metric\": "
        "\"binary_cross_entropy_ctr\"}], ",
        "\"train_config.patience\": ", patience,
        ", \"train_config.save_checkpoints_steps\": ", kEvery,
        ", \"train_config.keep_checkpoint_max\": 2, \"data_config.eval_batch_size\": 32", fields,
        "}'");
  }
  ProcessResult Train(const std::string& model, const std::string& flags,
                      const std::string& start = "$PEPNET") const {
    return job_.Run(start, "train", model, flags + " --seed=3");
  }
  // The evaluations of a model: steps, and the loss that is compared.
  std::vector<std::pair<int64_t, double>> Evaluations(const std::string& model) const {
    std::vector<std::pair<int64_t, double>> list;
    const std::string text = *ReadFile(job_ / model + "/train_eval_result.txt");
    for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      const auto json = nlohmann::json::parse(line.begin(), line.end());
      list.emplace_back(json["global_step"].get<int64_t>(),
                        json["binary_cross_entropy_ctr"].get<double>());
    }
    return list;
  }
  nlohmann::json Best(const std::string& model) const {
    return nlohmann::json::parse(ReadFile(job_ / model + "/best_checkpoint.json").value_or("{}"));
  }
  // Fails unless the training ended three evaluations behind the one with the least loss, and says
  // so.
  void ExpectStoppedEarly(const std::string& model, const ProcessResult& result) const {
    ASSERT_EQ(result.exit_status, 0) << result.err;
    const auto evaluations = Evaluations(model);
    ASSERT_GT(evaluations.size(), 3u) << result.err;
    auto best = evaluations.front();
    for (const auto& evaluation : evaluations) {
      if (evaluation.second < best.second) best = evaluation;
    }
    EXPECT_EQ(evaluations.back().first, best.first + 3 * kEvery);
    EXPECT_LT(evaluations.back().first, 40 * 96 / 8) << "it never over-fitted";
    EXPECT_EQ(Best(model)["step"], best.first);
    EXPECT_EQ(Best(model)["value"].get<double>(), best.second);
    EXPECT_EQ(Best(model)["path"], CheckpointName(best.first));
    EXPECT_THAT(result.err, HasSubstr(absl::StrCat(
                                "stopped early after step ", evaluations.back().first,
                                ": binary_cross_entropy_ctr has not improved by more than 0 in 3 "
                                "evaluations")));
    EXPECT_THAT(result.err, HasSubstr(absl::StrFormat(
                                "best binary_cross_entropy_ctr %.4f at step %d (kept); last %.4f",
                                best.second, best.first, evaluations.back().second)));
    // The two newest, and the best one.
    EXPECT_EQ(*ListCheckpoints(job_ / model),
              (std::vector<int64_t>{best.first, best.first + 2 * kEvery, best.first + 3 * kEvery}));
  }

  const TemporaryDirectory other_;
  const CliJob job_;
};

TEST_F(KeepBestCli, AnOverfittingTrainingStopsAndItsBestCheckpointIsFound) {
  const ProcessResult trained = Train("model", Edits(""));
  ExpectStoppedEarly("model", trained);
  const int64_t step = Best("model")["step"];
  const std::string line = absl::StrCat("{\"global_step\":", step, ",");

  const ProcessResult evaluated =
      job_.Run("$PEPNET", "eval", "model", Edits("") + " --checkpoint_path best");
  ASSERT_EQ(evaluated.exit_status, 0) << evaluated.err;
  EXPECT_THAT(evaluated.out, testing::StartsWith(line));
  EXPECT_EQ(nlohmann::json::parse(evaluated.out)["binary_cross_entropy_ctr"],
            Best("model")["value"]);
  const std::string config = absl::StrCat(" --pipeline_config_path ", job_ / "job.config",
                                          " --model_dir ", job_ / "model");
  const ProcessResult exported = RunShell(absl::StrCat(
      "$PEPNET export", config, " --checkpoint_path best --export_dir ", job_ / "exported"));
  ASSERT_EQ(exported.exit_status, 0) << exported.err;
  EXPECT_EQ(nlohmann::json::parse(*ReadFile(job_ / "exported/export.json"))["step"], step);
  const ProcessResult predicted = RunShell(
      absl::StrCat("$PEPNET predict", config, " --checkpoint_path best --predict_input_path ",
                   other_.path(), "/train-0.csv --predict_output_path ", job_ / "predicted"));
  ASSERT_EQ(predicted.exit_status, 0) << predicted.err;
  EXPECT_THAT(predicted.err, HasSubstr(CheckpointName(step)));
  for (const std::string& named :
       {absl::StrCat(job_ / "model", " --checkpoint_path best"),
        absl::StrCat("--checkpoint_path best --model_dir ", job_ / "model"),
        absl::StrCat("--checkpoint_path best --pipeline_config_path ",
                     job_ / "model/pipeline.config")}) {
    const ProcessResult inspected = RunShell("$PEPNET inspect --json " + named);
    ASSERT_EQ(inspected.exit_status, 0) << inspected.err;
    EXPECT_EQ(nlohmann::json::parse(inspected.out)["step"], step) << named;
  }

  ASSERT_OK(RemoveTree(job_ / "model/" + CheckpointName(step)));
  const ProcessResult gone = job_.Run("$PEPNET", "eval", "model", "--checkpoint_path best");
  EXPECT_EQ(gone.exit_status, 1);
  EXPECT_THAT(gone.Cause(),
              AllOf(HasSubstr("is gone"), HasSubstr("name another one with --checkpoint_path")));
  ASSERT_OK(RemoveTree(job_ / "model/best_checkpoint.json"));
  const ProcessResult none = job_.Run("$PEPNET", "eval", "model", "--checkpoint_path best");
  EXPECT_EQ(none.exit_status, 1);
  EXPECT_THAT(none.Cause(),
              AllOf(HasSubstr("there is no best checkpoint"), HasSubstr("train_config.keep_best")));
}

TEST_F(KeepBestCli, ContinuingSaysThatTheTrainingHadStopped) {
  ASSERT_EQ(Train("model", Edits("")).exit_status, 0);
  const auto evaluations = Evaluations("model");
  const nlohmann::json best = Best("model");
  const ProcessResult again = Train("model", Edits("") + " --continue_train");
  ASSERT_EQ(again.exit_status, 0) << again.err;
  EXPECT_THAT(again.err, AllOf(HasSubstr("nothing is left to train: patience had run out"),
                               HasSubstr("raise train_config.patience")));
  EXPECT_EQ(Evaluations("model"), evaluations);
  EXPECT_EQ(Best("model"), best);
  // With more patience it goes on, and the best so far stays.
  const ProcessResult further = Train("model", Edits("", 5) + " --continue_train");
  ASSERT_EQ(further.exit_status, 0) << further.err;
  EXPECT_GE(Evaluations("model").size(), evaluations.size() + 2);
  EXPECT_GE(best["value"], Best("model")["value"]);
  EXPECT_TRUE(PathExists(job_ / "model/" + std::string(Best("model")["path"])));
}

TEST_F(KeepBestCli, AnyRanksStopBehindTheSameStep) {
  const ProcessResult one = Train("one", Edits(""));
  ExpectStoppedEarly("one", one);
  const ProcessResult dedicated =
      Train("dedicated", Edits("") + " --num_servers=1", "$MPIRUN -n 2 $PEPNET");
  ExpectStoppedEarly("dedicated", dedicated);
  // Two workers with half of the rows each.
  const ProcessResult two = Train(
      "two", Edits(", \"data_config.batch_size\": 4") + " --num_servers=2", "$MPIRUN -n 4 $PEPNET");
  ExpectStoppedEarly("two", two);
  EXPECT_EQ(job_.Difference("one", "dedicated"), "");
  EXPECT_EQ(Best("one")["step"], Best("two")["step"]);
  EXPECT_EQ(Evaluations("one").back().first, Evaluations("two").back().first);
}

// Law L4 for the verdict: killed at any point, the run that goes on stops behind the same step,
// with the same best.
TEST_F(KeepBestCli, AKilledRunStopsBehindTheSameStep) {
  ExpectStoppedEarly("undisturbed", Train("undisturbed", Edits("")));
  const auto expected = Evaluations("undisturbed");
  const int64_t last = expected.back().first;
  // Before the first evaluation, between evaluations, while patience counts, and in the last
  // checkpoint.
  const std::vector<std::string> faults = {
      absl::StrCat("kill:rank=0,step=", kEvery + 1),
      absl::StrCat("kill:rank=0,step=", last - 2 * kEvery + 1),
      absl::StrCat("kill:rank=0,step=", last - 1),
      absl::StrCat("kill:point=before_rename,nth=", expected.size()),
      absl::StrCat("kill:point=after_rename,nth=", expected.size())};
  for (size_t i = 0; i < faults.size(); ++i) {
    const std::string model = absl::StrCat("killed", i);
    const ProcessResult killed = Train(model, Edits("") + " --inject '" + faults[i] + "'");
    ASSERT_NE(killed.exit_status, 0) << faults[i] << killed.err;
    ASSERT_NE(killed.exit_status, 1) << faults[i] << killed.err;
    const ProcessResult resumed = Train(model, Edits("") + " --continue_train");
    ASSERT_EQ(resumed.exit_status, 0) << resumed.err;
    EXPECT_EQ(Evaluations(model), expected) << faults[i];
    EXPECT_EQ(Best(model), Best("undisturbed")) << faults[i];
    EXPECT_EQ(job_.Difference("undisturbed", model), "") << faults[i];
    EXPECT_EQ(*ListCheckpoints(job_ / model), *ListCheckpoints(job_ / "undisturbed")) << faults[i];
  }
}

TEST_F(KeepBestCli, ASliceAndAWeightedSumDecide) {
  const ProcessResult trained = Train(
      "sum",
      absl::StrCat(
          "--edit_config_json '{\"eval_config.slice_by\": [\"dom\"], \"train_config.keep_best\": "
          "[{\"metric\": \"logloss_ctr\", \"slice_by\": \"dom\", \"slice_value\": \"1\"}, "
          "{\"metric\": \"binary_cross_entropy_cvr\", \"weight\": 0.5}], ",
          "\"train_config.num_epochs\": 2, \"train_config.save_checkpoints_steps\": ", kEvery,
          "}'"));
  ASSERT_EQ(trained.exit_status, 0) << trained.err;
  std::map<int64_t, double> values;
  for (const absl::string_view line :
       absl::StrSplit(*ReadFile(job_ / "sum/train_eval_slices.jsonl"), '\n', absl::SkipEmpty())) {
    const auto json = nlohmann::json::parse(line.begin(), line.end());
    if (json["task"] == "ctr" && json["slice"] == "value" && json["value"] == "1") {
      values[json["global_step"]] += json["logloss"].get<double>();
    }
  }
  for (const absl::string_view line :
       absl::StrSplit(*ReadFile(job_ / "sum/train_eval_result.txt"), '\n', absl::SkipEmpty())) {
    const auto json = nlohmann::json::parse(line.begin(), line.end());
    values[json["global_step"]] += 0.5 * json["binary_cross_entropy_cvr"].get<double>();
  }
  const auto least =
      std::min_element(values.begin(), values.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  ASSERT_EQ(values.size(), 2u * 96 / 8 / kEvery);
  EXPECT_EQ(Best("sum")["step"], least->first);
  EXPECT_EQ(Best("sum")["value"].get<double>(), least->second);
  EXPECT_EQ(Best("sum")["metric"], "logloss_ctr where dom is 1 + 0.5 binary_cross_entropy_cvr");
  EXPECT_EQ(Best("sum")["larger_is_better"], false);
}

TEST_F(KeepBestCli, WithoutTheFieldNothingIsKeptOrStopped) {
  const std::string plain = absl::StrCat(
      "--edit_config_json '{\"train_config.num_epochs\": 2, "
      "\"train_config.save_checkpoints_steps\": ",
      kEvery, "}'");
  const ProcessResult trained = Train("plain", plain);
  ASSERT_EQ(trained.exit_status, 0) << trained.err;
  EXPECT_FALSE(PathExists(job_ / "plain/best_checkpoint.json"));
  EXPECT_THAT(trained.err, Not(HasSubstr("(kept)")));
}

}  // namespace
}  // namespace pepnet
