// The NCCL collective over a fake of CUDA and NCCL: what it promises, and every way in which it can
// fail. Ranks are threads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <thread>

#include "absl/strings/match.h"

#include "common/health/watched_transport.h"
#include "common/net/in_process.h"
#include "tests/common/gpu/device_collective_conformance.h"
#include "tests/common/gpu/fake_cuda_nccl.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

constexpr double kPatience = 30;

// A rank's body that is called with the collective of all ranks, each on its own GPU.
using Body = std::function<Status(DeviceCollective*)>;

NcclOptions Within(double timeout_s) {
  NcclOptions options;
  options.timeout_s = timeout_s;
  return options;
}

Status RunOnGpus(int workers, const NcclOptions& options, const Body& body) {
  return RunRanks(workers, {},
                  [&](int, Transport* t) { return OnGpus(t, options, kPatience, body); });
}

// One sum of ten elements, begun and finished.
Status OneStep(DeviceCollective* c, const std::string& step,
               const std::string& bucket = "bucket 0") {
  DeviceArray array(10);
  array.Fill(c->index(), nullptr);
  PEPNET_RETURN_IF_ERROR(c->BeginSum(array.data(), array.size(), nullptr, bucket));
  return c->FinishSums(nullptr, step);
}

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// ---- what it promises ---------------------------------------------------------------------------

class NcclConformance : public testing::TestWithParam<std::tuple<int, int>> {};

TEST_P(NcclConformance, Holds) {
  const auto [workers, polls] = GetParam();
  std::vector<RankCase> cases = CollectiveCases(workers, NcclKind(kPatience));
  for (RankCase& rank_case : DeviceCollectiveCases(workers)) cases.push_back(std::move(rank_case));
  for (const RankCase& rank_case : cases) {
    SCOPED_TRACE(rank_case.name);
    FakeGpus gpus(workers);
    gpus.SetPollsPerCall(polls);
    // One rank more than workers: a server, which takes no part.
    EXPECT_EQ(RunRanks(workers + 1, {}, [&](int, Transport* t) { return RunCase(rank_case, t); }),
              absl::OkStatus());
    EXPECT_EQ(gpus.Verdict(), "");
    EXPECT_EQ(gpus.aborts(), workers) << "a communicator ends once";
  }
}
INSTANTIATE_TEST_SUITE_P(All, NcclConformance,
                         testing::Combine(testing::Values(1, 2, 3), testing::Values(0, 2)),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param), "Workers",
                                               std::get<1>(info.param) > 0 ? "CallsGoOn" : "");
                         });

TEST(NcclCollectiveTest, ASumBeginsBehindTheCallersWorkAndLaterWorkSeesIt) {
  FakeGpus gpus(2);
  std::atomic<bool> released = false;
  const Status status = RunOnGpus(2, Within(kPatience), [&](DeviceCollective* c) -> Status {
    DeviceArray array(1);
    float* const data = array.data();
    float seen = 0;
    data[0] = 100;
    gpus.Launch(nullptr, [&released, data] {
      if (!released) return false;
      data[0] = 2;
      return true;
    });
    PEPNET_RETURN_IF_ERROR(c->BeginSum(data, 1, nullptr, "bucket 0"));
    PEPNET_REQUIRE(!released && data[0] == 100, "BeginSum has waited for the stream");
    PEPNET_RETURN_IF_ERROR(c->Barrier("both have begun"));
    released = true;
    PEPNET_RETURN_IF_ERROR(c->FinishSums(nullptr, "step 0"));
    gpus.Launch(nullptr, [&seen, data] {
      seen = data[0];
      return true;
    });
    PEPNET_REQUIRE(cudaStreamSynchronize(nullptr) == cudaSuccess && seen == 4, seen);
    return c->Barrier("end");
  });
  EXPECT_EQ(status, absl::OkStatus());
  EXPECT_EQ(gpus.Verdict(), "");
}

TEST(NcclCollectiveTest, SumsAreBegunWithoutWaitingForOneAnotherAndFromAnotherThread) {
  FakeGpus gpus(2);
  gpus.HoldSums(true);
  const Status status = RunOnGpus(2, Within(kPatience), [&](DeviceCollective* c) -> Status {
    DeviceArray first(10), second(20);
    first.Fill(c->index(), nullptr);
    second.Fill(c->index(), nullptr);
    Status begun;
    std::thread backward([&] {  // knows nothing of this rank's GPU
      begun = c->BeginSum(first.data(), first.size(), nullptr, "bucket 0");
      if (begun.ok()) begun = c->BeginSum(second.data(), second.size(), nullptr, "bucket 1");
    });
    backward.join();
    PEPNET_RETURN_IF_ERROR(begun);
    PEPNET_RETURN_IF_ERROR(c->Barrier("all have begun"));
    gpus.HoldSums(false);
    PEPNET_RETURN_IF_ERROR(c->FinishSums(nullptr, "step 0"));
    for (DeviceArray* array : {&first, &second}) {
      PEPNET_ASSIGN_OR_RETURN(const std::vector<float> sums, array->Read(nullptr));
      PEPNET_RETURN_IF_ERROR(CheckSums<float>(c, sums, /*worker_order=*/false));
    }
    return c->Barrier("end");
  });
  EXPECT_EQ(status, absl::OkStatus());
  EXPECT_EQ(gpus.Verdict(), "");
}

TEST(NcclCollectiveTest, StaysOnTheWorkersGpuAndLeavesNoErrorBehind) {
  FakeGpus gpus(3);
  const Status status = RunRanks(2, {}, [&](int rank, Transport* t) -> Status {
    const auto host = MakeCollective(t, Channel::kDense, {0, 1}, kPatience);
    {
      PEPNET_ASSIGN_OR_RETURN(const auto c,
                              MakeNcclCollective(host.get(), rank, Within(kPatience)));
      gpus.HoldSums(true);  // so that somebody asks before it is done
      DeviceArray array(10);
      PEPNET_RETURN_IF_ERROR(c->BeginSum(array.data(), array.size(), nullptr, "bucket 0"));
      std::thread release([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        gpus.HoldSums(false);
      });
      const Status finished = c->FinishSums(nullptr, "step 0");
      release.join();
      PEPNET_RETURN_IF_ERROR(finished);
      PEPNET_REQUIRE(cudaGetLastError() == cudaSuccess, "\"not ready\" is left as an error");
      PEPNET_RETURN_IF_ERROR(c->Barrier("end"));
    }
    int device = -1;
    PEPNET_REQUIRE(cudaGetDevice(&device) == cudaSuccess && device == rank, device);
    return absl::OkStatus();
  });
  EXPECT_EQ(status, absl::OkStatus());
  EXPECT_EQ(gpus.Verdict(), "");
}

TEST(NcclCollectiveTest, DeterministicFixesAlgorithmAndProtocolUnlessTheUserHas) {
  const auto settings = [](bool deterministic) {
    FakeGpus gpus(1);
    NcclOptions options = Within(kPatience);
    options.deterministic = deterministic;
    EXPECT_EQ(RunOnGpus(1, options, [](DeviceCollective*) { return absl::OkStatus(); }),
              absl::OkStatus());
    return gpus.settings();
  };
  unsetenv("NCCL_ALGO");
  unsetenv("NCCL_PROTO");
  EXPECT_EQ(settings(false), "- -");
  EXPECT_EQ(settings(true), "Ring Simple");
  setenv("NCCL_ALGO", "Tree", 1);
  EXPECT_EQ(settings(true), "Tree Simple");
  unsetenv("NCCL_ALGO");
  unsetenv("NCCL_PROTO");
}

// ---- how it fails -------------------------------------------------------------------------------

TEST(NcclCollectiveTest, AnAsynchronousErrorEndsTheWaitAndStays) {
  FakeGpus gpus(2);
  gpus.FailSum(/*rank=*/1, /*nth=*/2, ncclRemoteError);
  std::vector<Status> ends(2);
  const Status status = RunOnGpus(2, Within(0.3), [&](DeviceCollective* c) -> Status {
    DeviceArray first(10), second(10);
    PEPNET_RETURN_IF_ERROR(c->BeginSum(first.data(), first.size(), nullptr, "bucket 0"));
    PEPNET_RETURN_IF_ERROR(c->BeginSum(second.data(), second.size(), nullptr, "bucket 1"));
    ends[c->index()] = c->FinishSums(nullptr, "step 7");
    const Status& end = ends[c->index()];
    PEPNET_REQUIRE(c->BeginSum(first.data(), first.size(), nullptr, "bucket 0") == end);
    PEPNET_REQUIRE(c->FinishSums(nullptr, "step 8") == end);
    PEPNET_REQUIRE(c->Barrier("later") == end);
    std::vector<float> host(1);
    PEPNET_REQUIRE(c->AllreduceSum(std::span<float>(host), "later") == end);
    PEPNET_REQUIRE(c->Allgather("", "later").status() == end);
    return absl::OkStatus();
  });
  EXPECT_EQ(status, absl::OkStatus());
  EXPECT_EQ(ends[1].code(), absl::StatusCode::kUnavailable) << ends[1];
  EXPECT_THAT(
      ends[1],
      IsError(AllOf(
          HasSubstr("waiting for the 2 sum(s) 'step 7' over the GPUs (the last: 'bucket 1')"),
          HasSubstr(
              "remote process exited or there was a network error: the fake was told to fail"))));
  EXPECT_EQ(ends[0].code(), absl::StatusCode::kDeadlineExceeded) << ends[0];
  EXPECT_EQ(gpus.aborts(), 2) << "once each";
  EXPECT_EQ(gpus.Verdict(), "");
}

TEST(NcclCollectiveTest, ADeadPeerIsADeadlineThatSaysWhatWasWaitedFor) {
  FakeGpus gpus(3);
  std::vector<Status> ends(3);
  const Status status = RunOnGpus(3, Within(0.3), [&](DeviceCollective* c) -> Status {
    PEPNET_RETURN_IF_ERROR(OneStep(c, "step 7"));
    if (c->index() == 2) return absl::OkStatus();
    const Clock::time_point start = Clock::now();
    ends[c->index()] = OneStep(c, "step 8");
    PEPNET_REQUIRE(SecondsSince(start) < 10);
    PEPNET_REQUIRE(c->Barrier("later") == ends[c->index()]);
    return absl::OkStatus();
  });
  EXPECT_EQ(status, absl::OkStatus());
  for (int w : {0, 1}) {
    EXPECT_EQ(ends[w].code(), absl::StatusCode::kDeadlineExceeded) << ends[w];
    EXPECT_THAT(ends[w], IsError(MatchesRegex(
                             "waited 0\\.[34].* s for the 1 sum\\(s\\) 'step 8' over the GPUs "
                             "\\(the last: 'bucket 0'\\), "
                             "which is not done: a GPU of the 3 workers has not joined or hangs")));
  }
  EXPECT_EQ(gpus.aborts(), 3) << "once each";
  EXPECT_EQ(gpus.Verdict(), "");
}

// As RunOnGpus() with three workers, and heartbeats between them.
Status RunWatched(double timeout_s,
                  const std::function<Status(DeviceCollective*, RankStatus*, PeerWatch*)>& body) {
  return RunRanks(3, {}, [&](int rank, Transport* t) -> Status {
    RankStatus rank_status;
    PeerWatchOptions watch;
    watch.period_s = 0.02;
    watch.failure_grace_s = 0.05;
    PeerWatch peers(t, &rank_status, watch);
    peers.SetRole(absl::StrCat("worker ", rank));
    NcclOptions options = Within(timeout_s);
    options.status = &rank_status;
    options.peers = &peers;
    return OnGpus(t, options, kPatience,
                  [&](DeviceCollective* c) { return body(c, &rank_status, &peers); });
  });
}

// Until so many communicators have been aborted; gives up after a while.
void AwaitAborts(const FakeGpus& gpus, int aborts) {
  const Clock::time_point start = Clock::now();
  while (gpus.aborts() < aborts && SecondsSince(start) < kPatience) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// Heartbeats say that a rank has failed long before the deadline.
TEST(NcclCollectiveTest, ALostRankEndsTheWaitAtOnce) {
  FakeGpus gpus(3);
  std::vector<Status> ends(3);
  const Clock::time_point start = Clock::now();
  const Status status =
      RunWatched(60, [&](DeviceCollective* c, RankStatus* rank_status, PeerWatch* peers) -> Status {
        PEPNET_RETURN_IF_ERROR(OneStep(c, "step 7"));
        if (c->index() == 2) {
          peers->AnnounceFailure("the disk is full");
          AwaitAborts(gpus, 2);
          return absl::OkStatus();
        }
        Status& end = ends[c->index()];
        end = OneStep(c, "step 8");
        PEPNET_REQUIRE(rank_status->FailedWait(end.message()).has_value(),
                       "the job's report does not know the wait");
        return absl::OkStatus();
      });
  EXPECT_EQ(status, absl::OkStatus());
  for (int w : {0, 1}) {
    EXPECT_EQ(ends[w].code(), absl::StatusCode::kUnavailable) << ends[w];
    EXPECT_THAT(ends[w], IsError(AllOf(HasSubstr("waiting for the 1 sum(s) 'step 8' over the GPUs"),
                                       HasSubstr("rank 2 (worker 2"),
                                       HasSubstr("has failed: the disk is full"))));
  }
  EXPECT_LT(SecondsSince(start), 20);
  EXPECT_EQ(gpus.aborts(), 3);
  EXPECT_EQ(gpus.Verdict(), "");
}

TEST(NcclCollectiveTest, ADeadlineTellsWhatOtherWorkersDo) {
  FakeGpus gpus(3);
  std::vector<Status> ends(3);
  const Status status =
      RunWatched(2, [&](DeviceCollective* c, RankStatus* rank_status, PeerWatch*) -> Status {
        PEPNET_RETURN_IF_ERROR(OneStep(c, "step 7"));
        rank_status->SetStep(8);
        if (c->index() != 1) ends[c->index()] = OneStep(c, "step 8");
        AwaitAborts(gpus, 2);
        return absl::OkStatus();
      });
  EXPECT_EQ(status, absl::OkStatus());
  for (int w : {0, 2}) {
    EXPECT_EQ(ends[w].code(), absl::StatusCode::kDeadlineExceeded) << ends[w];
    EXPECT_THAT(ends[w], IsError(AllOf(HasSubstr("; rank 1 (worker 1 on host "),
                                       HasSubstr(") says: in step 8, computes"),
                                       Not(HasSubstr("rank 0")), Not(HasSubstr("rank 2")))));
  }
  EXPECT_EQ(gpus.Verdict(), "");
}

TEST(NcclCollectiveTest, SumsOfDifferentSizesAreNamedWhereNcclWouldHang) {
  FakeGpus gpus(2);
  const Status status = RunOnGpus(2, Within(kPatience), [&](DeviceCollective* c) -> Status {
    PEPNET_RETURN_IF_ERROR(OneStep(c, "step 7"));
    DeviceArray array(c->index() == 0 ? 10 : 12);
    PEPNET_RETURN_IF_ERROR(c->BeginSum(array.data(), array.size(), nullptr, "bucket 0"));
    PEPNET_RETURN_IF_ERROR(c->BeginSum(array.data(), 1, nullptr, "bucket 1"));
    const Status end = c->FinishSums(nullptr, "step 8");
    PEPNET_REQUIRE(end.code() == absl::StatusCode::kFailedPrecondition, end.ToString());
    for (const char* part :
         {"bucket 0 of 10 elements, bucket 1 of 1 elements", "bucket 0 of 12 elements"}) {
      PEPNET_REQUIRE(absl::StrContains(end.message(), part), end.ToString());
    }
    PEPNET_REQUIRE(c->Barrier("later") == end);
    return absl::OkStatus();
  });
  EXPECT_EQ(status, absl::OkStatus());
  EXPECT_EQ(gpus.aborts(), 2);
  EXPECT_EQ(gpus.Verdict(), "");
}

TEST(NcclCollectiveTest, AWorkerThatCannotConnectLeavesNobodyWaitingForEver) {
  FakeGpus gpus(2);
  gpus.FailCall("ncclCommInitRankConfig", ncclSystemError);
  std::vector<Status> ends(2);
  const Status status = RunRanks(2, {}, [&](int rank, Transport* t) -> Status {
    ends[rank] =
        OnGpus(t, Within(0.3), kPatience, [](DeviceCollective*) { return absl::OkStatus(); });
    return absl::OkStatus();
  });
  EXPECT_EQ(status, absl::OkStatus());
  if (ends[0].code() == absl::StatusCode::kInternal) std::swap(ends[0], ends[1]);
  EXPECT_EQ(ends[1].code(), absl::StatusCode::kInternal) << ends[1];
  EXPECT_THAT(ends[1], IsError(HasSubstr("(ncclCommInitRankConfig, error 2)")));
  EXPECT_EQ(ends[0].code(), absl::StatusCode::kDeadlineExceeded) << ends[0];
  EXPECT_THAT(ends[0], IsError(HasSubstr("s for NCCL to connect the GPUs")));
  EXPECT_EQ(gpus.Verdict(), "");
}

// The error of every worker if MakeNcclCollective() fails on one of them, with worker i on
// devices[i].
std::string WhyNot(const std::vector<int>& devices) {
  std::vector<Status> ends(devices.size());
  const Status status =
      RunRanks(static_cast<int>(devices.size()), {}, [&](int rank, Transport* t) -> Status {
        const auto host = MakeCollective(t, Channel::kDense, {0, 1}, kPatience);
        ends[rank] = MakeNcclCollective(host.get(), devices[rank], Within(kPatience)).status();
        return absl::OkStatus();
      });
  EXPECT_EQ(status, absl::OkStatus());
  EXPECT_EQ(ends[0], ends[1]) << "the workers were told different things";
  return std::string(ends[0].message());
}

TEST(NcclCollectiveTest, WhatOneWorkerLacksAllWorkersAreTold) {
  {
    FakeGpus gpus(2);
    EXPECT_EQ(WhyNot({0, 5}),
              "worker 1 cannot join NCCL: GPU 5 is asked for, the GPUs that this process sees are "
              "0 to 1: start fewer "
              "workers per host, or train with --device=cpu");
    EXPECT_EQ(gpus.Verdict(), "");
  }
  {
    FakeGpus gpus(2);
    gpus.SetVersion(1, 22703);
    EXPECT_THAT(
        WhyNot({0, 1}),
        MatchesRegex(
            "worker 0 has NCCL [0-9.]+, worker 1 has 2\\.27\\.3: install the same version.*"));
    EXPECT_EQ(gpus.Verdict(), "");
  }
  {
    FakeGpus gpus(2);
    gpus.FailCall("ncclGetUniqueId", ncclSystemError);
    EXPECT_THAT(WhyNot({0, 1}), HasSubstr("worker 0 cannot join NCCL: NCCL says"));
    EXPECT_EQ(gpus.Verdict(), "");
  }
}

TEST(NcclCollectiveTest, TwoWorkersOnOneGpuHearWhatNcclSays) {
  FakeGpus gpus(2);
  const Status status = RunRanks(2, {}, [&](int, Transport* t) -> Status {
    const auto host = MakeCollective(t, Channel::kDense, {0, 1}, kPatience);
    const Status made = MakeNcclCollective(host.get(), 0, Within(kPatience)).status();
    PEPNET_REQUIRE(made.code() == absl::StatusCode::kFailedPrecondition, made.ToString());
    PEPNET_REQUIRE(absl::StrContains(made.message(), "Duplicate GPU detected"), made.ToString());
    return absl::OkStatus();
  });
  EXPECT_EQ(status, absl::OkStatus());
  EXPECT_EQ(gpus.Verdict(), "");
}

TEST(NcclCollectiveTest, GpusHaveAddresses) {
  FakeGpus gpus(2);
  EXPECT_EQ(FindGpus().count, 2);
  EXPECT_THAT(FindGpus().ids, testing::ElementsAre("0000:00:00.0", "0000:01:00.0"));
  EXPECT_EQ(FindGpus().reason, "");
}

TEST(NcclCollectiveTest, WithoutAGpuThereIsAReason) {
  {
    FakeGpus gpus(2);
    gpus.FailCall("cudaGetDeviceCount", cudaErrorInsufficientDriver);
    EXPECT_EQ(FindGpus().reason,
              "there is no NVIDIA driver, or it is too old for this build's CUDA");
  }
  FakeGpus gpus(0);
  EXPECT_EQ(FindGpus().count, 0);
  EXPECT_THAT(FindGpus().reason, HasSubstr("no CUDA-capable device is detected"));
  EXPECT_THAT(WhyNot({0, 0}), HasSubstr(FindGpus().reason));
  EXPECT_EQ(gpus.Verdict(), "");
}

TEST(NcclCollectiveTest, FailingCallsOfCudaAreErrorsThatNameThem) {
  struct Case {
    const char* function;
    int error;
    absl::StatusCode code;
  };
  for (const Case& c :
       {Case{"cudaMalloc", cudaErrorMemoryAllocation, absl::StatusCode::kResourceExhausted},
        Case{"cudaHostAlloc", cudaErrorMemoryAllocation, absl::StatusCode::kResourceExhausted},
        Case{"cudaMemcpyAsync", cudaErrorIllegalAddress, absl::StatusCode::kInternal},
        Case{"cudaEventRecord", cudaErrorIllegalAddress, absl::StatusCode::kInternal},
        Case{"cudaEventQuery", cudaErrorIllegalAddress, absl::StatusCode::kInternal},
        Case{"ncclAllReduce", ncclUnhandledCudaError, absl::StatusCode::kInternal},
        Case{"ncclCommGetAsyncError", ncclInternalError, absl::StatusCode::kInternal}}) {
    SCOPED_TRACE(c.function);
    FakeGpus gpus(1);
    const Status status =
        RunOnGpus(1, Within(kPatience), [&](DeviceCollective* collective) -> Status {
          std::vector<float> data(5000);
          gpus.HoldSums(std::string(c.function) ==
                        "ncclCommGetAsyncError");  // so that somebody asks
          gpus.FailCall(c.function, c.error);
          const Status end = collective->AllreduceSum(std::span<float>(data), "bucket 3");
          PEPNET_REQUIRE(end.code() == c.code, end.ToString());
          PEPNET_REQUIRE(absl::StrContains(end.message(), c.function), end.ToString());
          PEPNET_REQUIRE(collective->Barrier("later") == end);
          PEPNET_REQUIRE(cudaGetLastError() == cudaSuccess, "the error is left for somebody else");
          return absl::OkStatus();
        });
    EXPECT_EQ(status, absl::OkStatus());
    EXPECT_EQ(gpus.aborts(), 1);
    EXPECT_EQ(gpus.Verdict(), "");
  }
}

TEST(NcclCollectiveTest, ShortSumsOfTheHostDoNotTravelOverTheGpus) {
  FakeGpus gpus(2);
  const Status status = RunOnGpus(2, Within(kPatience), [&](DeviceCollective* c) -> Status {
    std::vector<double> data(1024, c->index());  // 8 KiB
    PEPNET_RETURN_IF_ERROR(c->AllreduceSum(std::span<double>(data), "metrics"));
    PEPNET_REQUIRE(data[1023] == 1);
    return c->Barrier("end");
  });
  EXPECT_EQ(status, absl::OkStatus());
  EXPECT_EQ(gpus.sums(), 0);
  EXPECT_EQ(gpus.allocations(), 0);
  EXPECT_EQ(gpus.Verdict(), "");
}

TEST(PinnedMemoryTest, IsLockedForItsLife) {
  FakeGpus gpus(1);
  std::vector<char> a(100), b(100);
  {
    PinnedMemory first(a.data(), a.size());
    EXPECT_EQ(gpus.pinned(), 1);
    PinnedMemory moved = std::move(first);
    EXPECT_EQ(gpus.pinned(), 1);
    moved = PinnedMemory(b.data(), b.size());
    EXPECT_EQ(gpus.pinned(), 1);  // b's
    const PinnedMemory again(b.data(), b.size());
    EXPECT_EQ(gpus.pinned(), 1);
    const PinnedMemory empty(a.data(), 0);
    EXPECT_EQ(gpus.pinned(), 1);
  }
  EXPECT_EQ(gpus.Verdict(), "");
}

TEST(PinnedMemoryTest, ARefusalAndAMachineWithoutAGpuAreNoErrors) {
  std::vector<char> a(100);
  FakeGpus gpus(0);
  {
    const PinnedMemory nothing(a.data(), a.size());
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
    gpus.FailCall("cudaHostRegister", cudaErrorMemoryAllocation);
    testing::internal::CaptureStderr();
    const PinnedMemory refused(a.data(), a.size());
    EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("100 bytes are not page-locked"));
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  }
  EXPECT_EQ(gpus.Verdict(), "");
}

}  // namespace
}  // namespace pepnet
