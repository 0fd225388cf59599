#include "cli/job/compute.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/net/in_process.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// A worker that sees the GPUs of its host at the slots first, first + 1, ...
ComputeInfo Worker(const std::string& host, int gpus, int first = 0) {
  ComputeInfo info;
  info.host = host;
  for (int i = 0; i < gpus; ++i) info.gpus.push_back(absl::StrCat("0000:", first + i, ":00.0"));
  if (gpus == 0) info.no_gpu = "this libtorch has no CUDA";
  return info;
}

ComputeRequest Request(const std::string& device, bool bf16 = false) {
  return {device, bf16, /*trains=*/true};
}

std::string Message(const StatusOr<ComputeChoice>& choice) {
  return std::string(choice.status().message());
}

TEST(ComputeTest, TheGpusOfAHostGoToItsWorkersInOrder) {
  const std::vector<ComputeInfo> workers = {Worker("a", 2), Worker("b", 4), Worker("a", 2),
                                            Worker("b", 4)};
  for (const char* device : {"auto", "gpu"}) {
    const ComputeChoice choice = *ChooseCompute(Request(device), workers);
    EXPECT_THAT(choice.gpus, ElementsAre(0, 0, 1, 1));
    EXPECT_THAT(
        choice.lines,
        ElementsAre("computing on 4 GPUs of 2 host(s), one for each worker; NCCL sums the dense "
                    "gradients"));
    EXPECT_THAT(choice.warnings, IsEmpty());
  }
  const ComputeChoice one = *ChooseCompute(Request("auto"), {Worker("a", 2)});
  EXPECT_THAT(one.gpus, ElementsAre(0));
  EXPECT_THAT(one.lines, ElementsAre("computing on GPU 0 of host a"));
}

// As schedulers do it that give each worker GPUs of its own: every worker counts from 0.
TEST(ComputeTest, WorkersThatSeeDifferentGpusCountForThemselves) {
  const std::vector<ComputeInfo> workers = {Worker("a", 1, 0), Worker("a", 1, 1), Worker("a", 2, 2),
                                            Worker("a", 2, 2)};
  EXPECT_THAT(ChooseCompute(Request("gpu"), workers)->gpus, ElementsAre(0, 0, 0, 1));
}

TEST(ComputeTest, AGpuThatTwoWorkersSeeGoesToOneOfThem) {
  EXPECT_THAT(ChooseCompute(Request("gpu"), {Worker("a", 2), Worker("a", 2), Worker("a", 3)})->gpus,
              ElementsAre(0, 1, 2));
  EXPECT_THAT(
      Message(ChooseCompute(Request("gpu"), {Worker("a", 2, 0), Worker("a", 1, 0)})),
      HasSubstr("worker 1 on host a finds no free GPU: the host's 2 worker(s) see 2 GPU(s)"));
}

TEST(ComputeTest, CpuIsTheCpuAndSaysNothing) {
  const ComputeChoice choice = *ChooseCompute(Request("cpu"), {Worker("a", 2)});
  EXPECT_THAT(choice.gpus, IsEmpty());
  EXPECT_THAT(choice.lines, IsEmpty());
  EXPECT_THAT(choice.warnings, IsEmpty());
}

TEST(ComputeTest, WithoutAGpuAnywhereOneLineSaysWhy) {
  const ComputeChoice one = *ChooseCompute(Request("auto"), {Worker("a", 0)});
  EXPECT_THAT(one.gpus, IsEmpty());
  EXPECT_THAT(one.lines, ElementsAre("computing on the CPU: this libtorch has no CUDA"));
  EXPECT_THAT(one.warnings, IsEmpty());
  EXPECT_THAT(ChooseCompute(Request("auto"), {Worker("a", 0), Worker("b", 0)})->lines,
              ElementsAre("computing on the CPU: worker 0 on host a: this libtorch has no CUDA"));
}

TEST(ComputeTest, WhereSomeHaveGpusAndNotAllComputeOnThemItIsAWarning) {
  const std::vector<ComputeInfo> mixed = {Worker("a", 1), Worker("b", 0)};
  EXPECT_THAT(ChooseCompute(Request("auto"), mixed)->warnings,
              ElementsAre("computing on the CPU: worker 1 on host b: this libtorch has no CUDA"));
  EXPECT_THAT(
      Message(ChooseCompute(Request("gpu"), mixed)),
      HasSubstr("--device=gpu, but worker 1 on host b: this libtorch has no CUDA; docs/gpu.md"));

  const std::vector<ComputeInfo> crowded = {Worker("a", 2), Worker("a", 2), Worker("a", 2)};
  const std::string reason =
      "worker 2 on host a finds no free GPU: the host's 3 worker(s) see 2 GPU(s); start at most "
      "one worker for each";
  EXPECT_THAT(ChooseCompute(Request("auto"), crowded)->warnings,
              ElementsAre("computing on the CPU: " + reason));
  EXPECT_THAT(Message(ChooseCompute(Request("gpu"), crowded)), HasSubstr(reason));
  EXPECT_EQ(ChooseCompute(Request("gpu"), crowded).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ComputeTest, SeveralGpusNeedNcclToTrainAndOneDoesNot) {
  std::vector<ComputeInfo> workers = {Worker("a", 2), Worker("a", 2)};
  for (ComputeInfo& worker : workers) worker.no_nccl = "this build has no NCCL";
  EXPECT_THAT(ChooseCompute(Request("auto"), workers)->warnings,
              ElementsAre("computing on the CPU: worker 0 on host a: this build has no NCCL, which "
                          "the GPUs of several "
                          "workers need to sum their gradients"));
  EXPECT_FALSE(ChooseCompute(Request("gpu"), workers).ok());
  EXPECT_THAT(ChooseCompute({"gpu", false, /*trains=*/false}, workers)->gpus, ElementsAre(0, 1));
  workers.pop_back();
  EXPECT_THAT(ChooseCompute(Request("gpu"), workers)->gpus, ElementsAre(0));
}

TEST(ComputeTest, Bf16IsUsedWhereEveryCpuHasItOrOnGpus) {
  std::vector<ComputeInfo> workers = {Worker("a", 0), Worker("b", 0)};
  for (ComputeInfo& worker : workers) worker.cpu_bf16 = true;
  EXPECT_TRUE(ChooseCompute(Request("cpu", true), workers)->bf16);
  EXPECT_FALSE(ChooseCompute(Request("cpu", false), workers)->bf16);
  workers[1].cpu_bf16 = false;
  const ComputeChoice without = *ChooseCompute(Request("cpu", true), workers);
  EXPECT_FALSE(without.bf16);
  EXPECT_THAT(without.warnings, ElementsAre("mixed_precision BF16 is left out, everything is "
                                            "computed in float32: the CPU of worker 1 on "
                                            "host b has neither AVX512-BF16 nor AMX-BF16"));
  const ComputeChoice gpu = *ChooseCompute(Request("auto", true), {Worker("a", 1)});
  EXPECT_TRUE(gpu.bf16);
  EXPECT_THAT(gpu.warnings, IsEmpty());
}

TEST(ComputeTest, AllWorkersComeToTheSameChoice) {
  std::vector<std::string> warnings(3), errors(3);
  const Status run = RunRanks(3, {}, [&](int rank, Transport* transport) -> Status {
    const auto workers = MakeCollective(transport, Channel::kDense, {0, 1, 2}, 60);
    const ComputeInfo mine = Worker(rank == 1 ? "b" : "a", rank == 1 ? 2 : 0);
    PEPNET_ASSIGN_OR_RETURN(const ComputeChoice choice,
                            AgreeOnCompute(Request("auto", true), mine, workers.get()));
    EXPECT_EQ(choice.warnings.size(), 2u);
    for (const std::string& warning : choice.warnings) warnings[rank] += warning + "\n";
    errors[rank] = Message(AgreeOnCompute(Request("gpu"), mine, workers.get()));
    return absl::OkStatus();
  });
  ASSERT_OK(run);
  EXPECT_THAT(warnings[0], HasSubstr("worker 0 on host a: this libtorch has no CUDA"));
  EXPECT_THAT(errors[0], HasSubstr("--device=gpu"));
  for (int rank : {1, 2}) {
    EXPECT_EQ(warnings[rank], warnings[0]);
    EXPECT_EQ(errors[rank], errors[0]);
  }
}

}  // namespace
}  // namespace pepnet
