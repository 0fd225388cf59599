// --device, --deterministic and mixed_precision from the command line, on machines with a GPU and
// without.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "tests/support/cluster.h"
#include "tests/support/process.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"
#include "worker/model/mixed_precision.h"
#include "worker/model/torch/device/gpu.h"

namespace pepnet {
namespace {

using testing::HasSubstr;
using testing::Not;

class DeviceCliTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(
        WriteFileAtomically(directory_ / "job.config", WriteRandomJob(directory_.path(), {})));
  }
  ProcessResult Train(const std::string& name, const std::string& flags,
                      const std::string& launcher = "") const {
    return RunShell(absl::StrCat(launcher, " $PEPNET train --threads 1 --pipeline_config_path ",
                                 directory_ / "job.config", " --model_dir ", directory_ / name, " ",
                                 flags));
  }
  std::string Trained(const std::string& name) const {
    return *ResolveCheckpoint(directory_ / name);
  }

  TemporaryDirectory directory_;
};

TEST_F(DeviceCliTest, TheDefaultIsTheCpuWhereThereIsNoGpuAndSaysWhy) {
  const TorchGpus gpus = FindTorchGpus();
  if (gpus.count > 0) GTEST_SKIP() << "this machine has a GPU";
  const ProcessResult automatic = Train("auto", "--deterministic"),
                      cpu = Train("cpu", "--device=cpu");
  ASSERT_EQ(automatic.exit_status, 0) << automatic.err;
  ASSERT_EQ(cpu.exit_status, 0) << cpu.err;
  EXPECT_THAT(automatic.err, HasSubstr("computing on the CPU: " + gpus.reason));
  EXPECT_THAT(automatic.err, HasSubstr("--deterministic changes nothing on the CPU"));
  EXPECT_THAT(cpu.err, Not(HasSubstr("computing on")));
  EXPECT_EQ(CheckpointDifference(Trained("auto"), Trained("cpu")), "");
}

TEST_F(DeviceCliTest, AGpuThatIsNotThereEndsTheJobWithTheReason) {
  const TorchGpus gpus = FindTorchGpus();
  if (gpus.count > 0) GTEST_SKIP() << "this machine has a GPU";
  const ProcessResult one = Train("one", "--device gpu");
  EXPECT_EQ(one.exit_status, 1);
  EXPECT_THAT(one.Cause(),
              HasSubstr("--device=gpu, but " + gpus.reason + "; docs/gpu.md says what GPUs need"));
  EXPECT_FALSE(PathExists(directory_ / "one/pipeline.config"));
  const ProcessResult two = Train("two", "--device gpu --num_servers 1", "$MPIRUN -n 3");
  EXPECT_NE(two.exit_status, 0);
  EXPECT_THAT(two.Cause(), HasSubstr(": " + gpus.reason + "; docs/gpu.md"));
}

TEST_F(DeviceCliTest, Bf16IsUsedWhereTheCpuHasItAndElseChangesNoBit) {
  const std::string bf16 = R"( --edit_config_json '{"train_config.mixed_precision": "BF16"}')";
  ASSERT_EQ(Train("plain", "--device=cpu").exit_status, 0);
  const ProcessResult wished = Train("wished", "--device=cpu" + bf16);
  ASSERT_EQ(wished.exit_status, 0) << wished.err;
  const std::string difference = CheckpointDifference(Trained("plain"), Trained("wished"));
  const std::string warning =
      "mixed_precision BF16 is left out, everything is computed in float32: the CPU of worker 0";
  if (CpuHasBf16()) {
    EXPECT_NE(difference, "");
    EXPECT_THAT(wished.err, Not(HasSubstr(warning)));
    EXPECT_THAT(ReadManifest(Trained("wished"))->cpu, testing::EndsWith(" bf16"));
  } else {
    EXPECT_EQ(difference, "");
    EXPECT_THAT(wished.err, HasSubstr(warning));
  }
}

TEST_F(DeviceCliTest, OtherDevicesAreRefused) {
  EXPECT_THAT(Train("tpu", "--device=tpu").err, HasSubstr("--device"));
  EXPECT_NE(Train("tpu", "--device=tpu").exit_status, 0);
}

}  // namespace
}  // namespace pepnet
