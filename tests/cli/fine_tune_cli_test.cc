// --fine_tune_checkpoint: a new run that starts from another run's weights.
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/file/file.h"
#include "tests/support/cluster.h"
#include "tests/support/process.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

class FineTuneCli : public ::testing::Test {
 protected:
  void SetUp() override {
    RandomJobOptions options;
    options.num_epochs = 1;
    ASSERT_OK(
        WriteFileAtomically(directory_ / "job.config", WriteRandomJob(directory_.path(), options)));
    first_ = Train("first", "");
    ASSERT_EQ(first_.exit_status, 0) << first_.err;
  }
  ProcessResult Train(const std::string& model_dir, const std::string& flags) {
    return RunShell(absl::StrCat("$PEPNET train --pipeline_config_path ", directory_ / "job.config",
                                 " --model_dir ", directory_ / model_dir, " ", flags));
  }
  // "auc_ctr":0.5,... without the step in front.
  static std::string Metrics(const ProcessResult& result) {
    return result.out.substr(result.out.find(','));
  }

  TemporaryDirectory directory_;
  ProcessResult first_;
};

TEST_F(FineTuneCli, StartsFromTheOtherRunsWeightsAtStepZero) {
  // One step with rate 0 changes nothing: the new run must evaluate like the old one, with another
  // seed and more servers.
  const ProcessResult tuned = Train(
      "tuned",
      absl::StrCat(
          "--seed 5 --num_servers 2 --fine_tune_checkpoint ", directory_ / "first",
          R"( --edit_config_json '{"train_config.num_epochs": 0, "train_config.num_steps": 1,)",
          R"( "train_config.sparse_optimizer.sgd_optimizer.lr": 0, "train_config.dense_optimizer.adam_optimizer.lr": 0}')"));
  ASSERT_EQ(tuned.exit_status, 0) << tuned.err;
  EXPECT_TRUE(absl::StartsWith(tuned.out, "{\"global_step\":1,")) << tuned.out;
  EXPECT_EQ(Metrics(tuned), Metrics(first_));
}

TEST_F(FineTuneCli, AnUnknownNameInTheMapIsRefused) {
  const ProcessResult tuned = Train(
      "tuned",
      absl::StrCat(
          "--fine_tune_checkpoint ", directory_ / "first",
          R"( --edit_config_json '{"train_config.fine_tune_ckpt_param_map": "model.no.such\tmodel.other"}')"));
  EXPECT_EQ(tuned.exit_status, 1);
  EXPECT_TRUE(absl::StrContains(tuned.Cause(), "model.no.such")) << tuned.err;
}

TEST_F(FineTuneCli, ACheckpointThatIsNotThereIsNamed) {
  const ProcessResult tuned = Train("tuned", "--fine_tune_checkpoint " + (directory_ / "absent"));
  EXPECT_EQ(tuned.exit_status, 1);
  EXPECT_TRUE(absl::StrContains(tuned.Cause(), "absent")) << tuned.err;
}

}  // namespace
}  // namespace pepnet
