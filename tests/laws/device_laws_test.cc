// The laws where the network does not compute on the host's arrays. "Copied" is a GPU's way through
// the program with host memory for the GPU's and with sums that stand in for NCCL's: there the bits
// are those of the reference engine in place. The tests on a GPU are a ctest entry of their own and
// are skipped where there is none.
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/base/logging.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "tests/laws/law_support.h"
#include "tests/support/cluster.h"
#include "tests/support/deferred_sums.h"
#include "tests/support/golden_job.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"
#include "worker/model/torch/device/gpu.h"

namespace pepnet {
namespace {

using Kind = ComputeDevice::Kind;

// Trains to the end with the reference engine on a device of that kind.
Status TrainOn(Kind device, const JobConfig& config, const ClusterShape& shape,
               bool continue_train = false) {
  RunOptions options = TestOptions(continue_train);
  options.dense_engine = DenseEngine::kReference;
  options.device = {device, 0};
  return RunCluster(config, shape, options, [](const WorkerContext& given) {
    WorkerContext context = given;
    DeferredSums sums(context.collective);
    if (context.collective->count() > 1 && context.options.device.kind == Kind::kHostCopy) {
      context.gradient_sums = &sums;
    }
    return Trainer(context).Run();
  });
}

std::string Evaluations(const JobConfig& config) {
  return *ReadFile(config.model_dir + "/train_eval_result.txt");
}

// ---- L1 -----------------------------------------------------------------------------------------

void ExpectGoldenWeights(const std::string& golden_case, Kind device, int workers) {
  TemporaryDirectory directory;
  const JobConfig whole = LoadGoldenJob(golden_case, directory / "model", "");
  if (whole.data.batch_size % workers != 0) workers = static_cast<int>(whole.data.batch_size);
  const std::string edits =
      absl::StrCat(R"({"data_config.batch_size": )", whole.data.batch_size / workers, "}");
  ImportGolden(golden_case, directory / "model", edits);
  const JobConfig config = LoadGoldenJob(golden_case, directory / "model", edits);
  const Status trained = TrainOn(device, config, {workers, 2, {}}, /*continue_train=*/true);
  ASSERT_OK(trained);
  const std::string exported =
      ExportCheckpoint(golden_case, directory / "model", edits, directory / "export");
  EXPECT_EQ(
      CompareTensors(exported, GoldenPath(golden_case, "after_steps_f64.safetensors"), 1e-5, 1e-4),
      "");
}

class L1OnADevice : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Golden, L1OnADevice, testing::ValuesIn(GoldenCases()),
                         [](const auto& info) { return info.param; });

TEST_P(L1OnADevice, CopiedWeightsAfterNStepsMatchTheReference) {
  ExpectGoldenWeights(GetParam(), Kind::kHostCopy, 1);
}

TEST_P(L1OnADevice, CopiedWeightsOfSeveralWorkersMatchTheReference) {
  ExpectGoldenWeights(GetParam(), Kind::kHostCopy, 2);
}

TEST_P(L1OnADevice, WeightsTrainedOnAGpuMatchTheReference) {
  if (FindTorchGpus().count == 0) GTEST_SKIP() << FindTorchGpus().reason;
  ExpectGoldenWeights(GetParam(), Kind::kGpu, 1);
}

// ---- L2 to L4 -----------------------------------------------------------------------------------

struct DeviceCase {
  const char* name;
  RandomJobOptions job;
};

std::vector<DeviceCase> DeviceCases() {
  // 101 rows in batches of 12: slices of three workers are short, and one is empty
  RandomJobOptions base;
  base.dense_optimizer = "sgd_optimizer { lr: 0.1 momentum: 0.5 }";
  std::vector<DeviceCase> cases = {{"dropout_shuffle", base}};
  RandomJobOptions job = base;
  job.domain_towers = true;
  job.train_extra =
      "gradient_accumulation_steps: 3 grad_clipping { clipping_type: \"norm\" max_gradient: 0.05 }";
  cases.push_back({"domain_towers_accumulation_clipping", job});
  job = base;
  job.rows = 3;
  job.files = 1;
  cases.push_back({"workers_without_any_row", job});
  return cases;
}

class DeviceLaws : public testing::TestWithParam<DeviceCase> {
 protected:
  JobConfig Job(const std::string& name, int workers) const {
    RandomJobOptions options = GetParam().job;
    options.batch_size = 12 / workers;
    return MakeRandomJob(directory_.path(), options, name);
  }
  TemporaryDirectory directory_;
};
INSTANTIATE_TEST_SUITE_P(Random, DeviceLaws, testing::ValuesIn(DeviceCases()),
                         [](const auto& info) { return info.param.name; });

TEST_P(DeviceLaws, CopiedTrainingHasTheBitsOfTrainingInPlace) {
  for (int workers : {1, 3}) {
    const JobConfig in_place = Job(absl::StrCat("in_place", workers), workers);
    const JobConfig copied = Job(absl::StrCat("copied", workers), workers);
    ASSERT_OK(TrainOn(Kind::kHost, in_place, {workers, 2, {}}));
    const Status trained = TrainOn(Kind::kHostCopy, copied, {workers, 1, {77, 300}});
    ASSERT_OK(trained);
    EXPECT_EQ(CheckpointDifference(Newest(in_place), Newest(copied)), "") << workers << " workers";
    EXPECT_EQ(Evaluations(in_place), Evaluations(copied));
  }
}

TEST_P(DeviceLaws, CopiedTrainingOfThreeWorkersIsThatOfOne) {
  const JobConfig one = Job("one", 1), three = Job("three", 3);
  ASSERT_OK(TrainOn(Kind::kHostCopy, one, {1, 1, {}}));
  ASSERT_OK(TrainOn(Kind::kHostCopy, three, {3, 2, {}}));
  EXPECT_EQ(CompareTensors(Newest(one) + "/dense.safetensors", Newest(three) + "/dense.safetensors",
                           2e-5, 5e-4),
            "");
}

void ExpectExactResume(Kind device, JobConfig through, JobConfig stopped,
                       const ClusterShape& shape) {
  for (JobConfig* config : {&through, &stopped}) config->train.num_epochs = 0;
  through.train.num_steps = 7;
  stopped.train.num_steps = 4;
  ASSERT_OK(TrainOn(device, through, shape));
  ASSERT_OK(TrainOn(device, stopped, shape));
  stopped.train.num_steps = 7;
  const Status resumed = TrainOn(device, stopped, shape, /*continue_train=*/true);
  ASSERT_OK(resumed);
  EXPECT_EQ(CheckpointDifference(Newest(through), Newest(stopped)), "");
}

TEST_P(DeviceLaws, CopiedTrainingResumesToTheSameBits) {
  ExpectExactResume(Kind::kHostCopy, Job("through", 3), Job("stopped", 3), {3, 2, {}});
}

// Last in this program: nothing turns libtorch's setting back.
TEST_P(DeviceLaws, DeterministicTrainingOnAGpuResumesToTheSameBits) {
  if (FindTorchGpus().count == 0) GTEST_SKIP() << FindTorchGpus().reason;
  ComputeDeterministicallyOnGpus();
  ExpectExactResume(Kind::kGpu, Job("through", 1), Job("stopped", 1), {1, 2, {}});
}

}  // namespace
}  // namespace pepnet

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  pepnet::InitLogging(argv[0], "");
  FLAGS_minloglevel = google::GLOG_WARNING;
  return RUN_ALL_TESTS();
}
