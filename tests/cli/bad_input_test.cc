// Bad input ends in one sentence and a non-zero status: never a crash, a hang or something half
// written.
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "tests/support/cluster.h"
#include "tests/support/golden_job.h"
#include "tests/support/process.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

class BadInput : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.files = 1;
    options_.rows = 20;
    options_.num_epochs = 1;
    text_ = WriteRandomJob(directory_.path(), options_);
    WriteConfig(text_);
  }

  void WriteConfig(const std::string& text) {
    ASSERT_OK(WriteFileAtomically(directory_ / "job.config", text));
  }
  void AppendRow(const std::string& row) {
    ASSERT_OK(AppendToFile(directory_ / "train-0.csv", row + "\n"));
  }

  ProcessResult Train(const std::string& flags = "", const std::string& launch = "") {
    return RunShell(absl::StrCat(launch, " $PEPNET train --pipeline_config_path ",
                                 directory_ / "job.config ", flags),
                    60);
  }

  // Status 1, and a last sentence that holds every part.
  void ExpectRefused(const ProcessResult& result, std::initializer_list<const char*> parts) {
    EXPECT_EQ(result.exit_status, 1) << result.err;
    const std::string cause = result.Cause();
    EXPECT_NE(cause, "") << result.err;
    for (const char* part : parts) {
      EXPECT_TRUE(absl::StrContains(cause, part)) << "no '" << part << "' in: " << cause;
    }
    auto steps = ListCheckpoints(directory_ / "model");
    EXPECT_TRUE(!steps.ok() || steps->empty()) << "a refused run must leave no checkpoint";
  }

  RandomJobOptions options_;
  TemporaryDirectory directory_;
  std::string text_;
};

TEST_F(BadInput, UnknownConfigField) {
  WriteConfig(absl::StrReplaceAll(text_, {{"batch_size: 6", "batch_sise: 6"}}));
  ExpectRefused(Train(), {"job.config", "batch_sise", "batch_size"});
}

TEST_F(BadInput, UnsupportedConfigField) {
  WriteConfig(absl::StrReplaceAll(text_, {{"num_workers:", "sample_mask_prob: 0.5 num_workers:"}}));
  ExpectRefused(Train(), {"job.config", "sample_mask_prob"});
}

TEST_F(BadInput, MissingConfigFile) {
  const ProcessResult result =
      RunShell("$PEPNET train --pipeline_config_path " + (directory_ / "absent.config"), 60);
  ExpectRefused(result, {"absent.config"});
}

TEST_F(BadInput, MissingColumn) {
  WriteConfig(absl::StrReplaceAll(text_, {{"user:uid", "user:visitor"}}));
  ExpectRefused(Train(), {"visitor", "train-0.csv"});
}

TEST_F(BadInput, TextInAnIntegerIdColumn) {
  AppendRow("0,0,seven,1,1,1:1,w1,0,3.5,0.5,3;4,0.5;1");
  ExpectRefused(Train(), {"train-0.csv", "row 21", "uid", "seven"});
}

TEST_F(BadInput, IdOutOfRange) {
  AppendRow("0,0,50,1,1,1:1,w1,0,3.5,0.5,3;4,0.5;1");
  ExpectRefused(Train(), {"train-0.csv", "row 21", "uid", "50"});
}

TEST_F(BadInput, LabelThatIsNotZeroOrOne) {
  AppendRow("2,0,5,1,1,1:1,w1,0,3.5,0.5,3;4,0.5;1");
  ExpectRefused(Train(), {"train-0.csv", "row 21", "clk", "2"});
}

TEST_F(BadInput, NanInARawFeature) {
  AppendRow("1,0,5,1,1,1:1,w1,0,3.5,nan,3;4,0.5;1");
  ExpectRefused(Train(), {"train-0.csv", "row 21", "score", "nan"});
}

TEST_F(BadInput, EmptyInput) {
  ASSERT_OK(WriteFileAtomically(directory_ / "train-0.csv",
                                "clk,buy,uid,iid,hist,tags,word,dom,price,score\n"));
  ExpectRefused(Train(), {"train-"});
}

TEST_F(BadInput, NoSuchInput) {
  ExpectRefused(Train("--train_input_path " + (directory_ / "none-*.csv")), {"none-*.csv"});
}

TEST_F(BadInput, TruncatedParquet) {
  ASSERT_OK(WriteFileAtomically(directory_ / "cut.parquet", "PAR1 and then nothing"));
  WriteConfig(absl::StrReplaceAll(text_, {{"CsvDataset", "ParquetDataset"}}));
  const std::string cut = directory_ / "cut.parquet";
  ExpectRefused(Train(absl::StrCat("--train_input_path ", cut, " --eval_input_path ", cut)),
                {"cut.parquet"});
}

TEST_F(BadInput, MissingEvaluationDataIsFoundBeforeTheTraining) {
  ExpectRefused(Train("--eval_input_path " + (directory_ / "none.csv")), {"none.csv"});
}

TEST_F(BadInput, ModelDirWithCheckpointsNeedsContinueTrain) {
  ASSERT_EQ(Train().exit_status, 0);
  const ProcessResult again = Train();
  EXPECT_EQ(again.exit_status, 1);
  EXPECT_TRUE(absl::StrContains(again.Cause(), "--continue_train")) << again.err;
}

TEST_F(BadInput, CheckpointOfAnotherConfig) {
  ASSERT_EQ(Train().exit_status, 0);
  WriteConfig(absl::StrReplaceAll(text_, {{"num_buckets: 50", "num_buckets: 60"}}));
  for (const char* command : {"train --continue_train", "eval"}) {
    const ProcessResult result = RunShell(
        absl::StrCat("$PEPNET ", command, " --pipeline_config_path ", directory_ / "job.config"),
        60);
    EXPECT_EQ(result.exit_status, 1);
    EXPECT_TRUE(absl::StrContains(result.Cause(), "uid")) << result.err;
  }
}

TEST_F(BadInput, DamagedCheckpointIsRefusedByName) {
  ASSERT_EQ(Train().exit_status, 0);
  const std::string dense = *ResolveCheckpoint(directory_ / "model") + "/dense.safetensors";
  std::string bytes = *ReadFile(dense);
  bytes[bytes.size() / 2] ^= 1;
  ASSERT_OK(WriteFileAtomically(dense, bytes));
  const ProcessResult result = Train("--continue_train");
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_TRUE(absl::StrContains(result.Cause(), "dense.safetensors")) << result.err;
}

TEST_F(BadInput, MoreServersThanRanks) {
  ExpectRefused(Train("--num_servers=3", "$MPIRUN -n 2"), {"--num_servers=3", "2"});
}

TEST_F(BadInput, NoWorkerLeft) {
  ExpectRefused(Train("--num_servers=2", "$MPIRUN -n 2"), {"no worker"});
}

TEST_F(BadInput, SeveralRanksWithoutServers) {
  ExpectRefused(Train("", "$MPIRUN -n 2"), {"--num_servers"});
}

TEST_F(BadInput, WorkersOfDifferentFlags) {
  const ProcessResult result = RunShell(
      absl::StrCat("train=\"$PEPNET train --pipeline_config_path ", directory_ / "job.config",
                   "\"\n$MPIRUN -n 1 $PEPNET_PS : -n 1 $train : -n 1 $train --seed=9"));
  EXPECT_NE(result.exit_status, 0);
  EXPECT_TRUE(absl::StrContains(result.err, "rank 1 (worker 0 on host ") &&
              absl::StrContains(result.err, "different configs or flags"))
      << result.err;
  EXPECT_FALSE(PathExists(directory_ / "model/pipeline.config"));
}

TEST_F(BadInput, AnErrorOnOneWorkerEndsTheWholeJob) {
  AppendRow("0,0,50,1,1,1:1,w1,0,3.5,0.5,3;4,0.5;1");  // in the last batch: one worker meets it
  ExpectRefused(Train("--num_servers=1", "$MPIRUN -n 4"), {"row 21", "uid", "50"});
}

TEST_F(BadInput, AServerAloneSaysHowItIsMeant) {
  const ProcessResult result = RunShell("$PEPNET_PS", 60);
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_TRUE(absl::StrContains(result.Cause(), "mpirun")) << result.err;
}

TEST_F(BadInput, UnknownFlagAndCommand) {
  EXPECT_NE(RunShell("$PEPNET train --pipeline_config_path x --no_such_flag", 60).exit_status, 0);
  EXPECT_NE(RunShell("$PEPNET trian", 60).exit_status, 0);
  EXPECT_EQ(RunShell("$PEPNET --help", 60).exit_status, 0);
  EXPECT_EQ(RunShell("$PEPNET train --help", 60).exit_status, 0);
  const ProcessResult version = RunShell("$PEPNET --version", 60);
  EXPECT_EQ(version.exit_status, 0);
  EXPECT_TRUE(absl::StrContains(version.out, "0.2")) << version.out;
}

}  // namespace
}  // namespace pepnet
