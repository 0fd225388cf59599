// The same conformance as nccl_collective_test.cc on real GPUs: ranks are threads, each with a GPU
// of its own.
#include <gtest/gtest.h>

#include "common/net/in_process.h"
#include "tests/common/gpu/device_collective_conformance.h"

namespace pepnet {
namespace {

constexpr double kPatience = 60;  // the first communicator of a process takes seconds

class NcclOnGpus : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    const GpuReport gpus = FindGpus();
    if (gpus.count == 0) GTEST_SKIP() << "no GPU: " << gpus.reason;
    if (gpus.count < GetParam()) {
      GTEST_SKIP() << GetParam() << " GPUs are needed, there is/are " << gpus.count;
    }
  }
};

TEST_P(NcclOnGpus, Conformance) {
  std::vector<RankCase> cases = CollectiveCases(GetParam(), NcclKind(kPatience));
  for (RankCase& rank_case : DeviceCollectiveCases(GetParam())) {
    cases.push_back(std::move(rank_case));
  }
  for (const RankCase& rank_case : cases) {
    SCOPED_TRACE(rank_case.name);
    EXPECT_EQ(RunRanks(GetParam(), {}, [&](int, Transport* t) { return RunCase(rank_case, t); }),
              absl::OkStatus());
  }
}

TEST_P(NcclOnGpus, DeterministicSumsHaveTheSameBitsAgain) {
  const auto sums = [&] {
    std::vector<float> result;
    NcclOptions options;
    options.timeout_s = kPatience;
    options.deterministic = true;
    const Status status = RunRanks(GetParam(), {}, [&](int, Transport* t) -> Status {
      return OnGpus(t, options, kPatience, [&](DeviceCollective* c) -> Status {
        DeviceArray array(1 << 20);
        array.Fill(c->index(), nullptr);
        PEPNET_RETURN_IF_ERROR(c->BeginSum(array.data(), array.size(), nullptr, "bucket 0"));
        PEPNET_RETURN_IF_ERROR(c->FinishSums(nullptr, "step 0"));
        PEPNET_ASSIGN_OR_RETURN(const std::vector<float> values, array.Read(nullptr));
        PEPNET_RETURN_IF_ERROR(CheckSums<float>(c, values, /*worker_order=*/false));
        if (c->index() == 0) result = values;
        return c->Barrier("end");
      });
    });
    EXPECT_EQ(status, absl::OkStatus());
    return result;
  };
  EXPECT_TRUE(sums() == sums());
}

// A peer that does not come is a deadline, and the GPU is free again afterwards.
TEST_P(NcclOnGpus, ADeadPeerIsADeadline) {
  if (GetParam() == 1) GTEST_SKIP() << "needs two workers";
  for (int round = 0; round < 2; ++round) {
    NcclOptions options;
    options.timeout_s = 20;
    const Status status = RunRanks(GetParam(), {}, [&](int rank, Transport* t) -> Status {
      return OnGpus(t, options, kPatience, [&](DeviceCollective* c) -> Status {
        DeviceArray array(1000);
        for (int step = 0; step < 2; ++step) {
          if (rank == 1 && step == 1) break;
          PEPNET_RETURN_IF_ERROR(c->BeginSum(array.data(), array.size(), nullptr, "bucket 0"));
          const Status end = c->FinishSums(nullptr, "a step");
          PEPNET_REQUIRE(end.code() == (step == 0 ? absl::StatusCode::kOk
                                                  : absl::StatusCode::kDeadlineExceeded),
                         end.ToString());
        }
        // Nobody takes his communicator down before the others have seen their deadline.
        return RunCase({"end", [](Transport*) { return absl::OkStatus(); }}, t);
      });
    });
    EXPECT_EQ(status, absl::OkStatus());
  }
}

INSTANTIATE_TEST_SUITE_P(All, NcclOnGpus, testing::Values(1, 2, 3, 8),
                         [](const auto& info) { return absl::StrCat(info.param, "Gpus"); });

}  // namespace
}  // namespace pepnet
