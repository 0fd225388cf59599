// The one file that includes CUDA and NCCL. Tests compile it a second time, against functions of
// their own (tests/common/gpu/fake_cuda_nccl.h), so it uses few of theirs.
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"

#include "common/base/logging.h"
#include "common/gpu/device_collective.h"
#include "common/health/watched_wait.h"
#include "common/net/first_error.h"
#include "proto/wire.pb.h"

// The communicator does not block: every call on it may return ncclInProgress, and then nothing
// else may be asked of it before ncclCommGetAsyncError() says that it is done. So no call of this
// file waits inside NCCL, where nobody could end the wait.
//
// A sum of a device array:
//
//   caller's stream  backward writes the bucket | record `begin_` ...  | wait for `done_` | step
//   our stream                    wait for `begin_` | ncclAllReduce | record `done_`
// The enums of CUDA and NCCL have many more values than the ones told apart here.
#pragma GCC diagnostic ignored "-Wswitch-enum"

namespace pepnet {
namespace {

constexpr size_t kHostBytes = 8192;  // of a host span that is not worth the way over the GPUs
constexpr size_t kStagingBytes = size_t{4} << 20;
constexpr std::chrono::microseconds kFirstPause(10), kLongestPause(500);

Status FromCuda(const char* call, cudaError_t result) {
  if (result == cudaSuccess) return absl::OkStatus();
  // Reported here; whoever asks next (libtorch does) must not take it for an error of his own.
  cudaGetLastError();
  const std::string text = absl::StrCat("CUDA says: ", cudaGetErrorString(result), " (", call,
                                        ", error ", static_cast<int>(result), ")");
  switch (result) {
    case cudaErrorMemoryAllocation:
      return absl::ResourceExhaustedError(text);
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
      return absl::UnavailableError(text);
    default:
      return absl::InternalError(text);
  }
}

// communicator: may be null. NCCL's last error is often the only one that says what is wrong.
Status FromNccl(const char* call, ncclResult_t result, ncclComm_t communicator) {
  if (result == ncclSuccess) return absl::OkStatus();
  std::string text = absl::StrCat("NCCL says: ", ncclGetErrorString(result));
  const char* last = ncclGetLastError(communicator);
  if (last != nullptr && *last != '\0') absl::StrAppend(&text, ": ", last);
  absl::StrAppend(&text, " (", call, ", error ", static_cast<int>(result), ")");
  switch (result) {
    case ncclRemoteError:
      return absl::UnavailableError(text);
    case ncclInvalidArgument:
    case ncclInvalidUsage:
      return absl::FailedPreconditionError(text);
    default:
      return absl::InternalError(text);
  }
}

// 23203 -> "2.32.3"
std::string VersionText(int version) {
  const int unit = version < 10000 ? 1000 : 10000;  // as NCCL_VERSION() counts
  return absl::StrCat(version / unit, ".", version % unit / 100, ".", version % 100);
}

// This thread works on `device` from here on. It does not go back: a thread that sets a GPU takes
// memory on it, and every worker whose thread began with GPU 0 would leave some there, or be
// refused where a GPU is for one process alone.
Status UseDevice(int device) {
  int current = -1;
  PEPNET_RETURN_IF_ERROR(FromCuda("cudaGetDevice", cudaGetDevice(&current)));
  return current == device ? absl::OkStatus() : FromCuda("cudaSetDevice", cudaSetDevice(device));
}

template <typename T>
struct HostSum;
template <>
struct HostSum<float> {
  static constexpr ncclDataType_t kType = ncclFloat32;
  static constexpr const char* kName = "sum of floats";
};
template <>
struct HostSum<double> {
  static constexpr ncclDataType_t kType = ncclFloat64;
  static constexpr const char* kName = "sum of doubles";
};
template <>
struct HostSum<int64_t> {
  static constexpr ncclDataType_t kType = ncclInt64;
  static constexpr const char* kName = "sum of int64s";
};

class NcclCollective : public DeviceCollective {
 public:
  NcclCollective(Collective* host, int device, const NcclOptions& options)
      : host_(host), device_(device), options_(options) {}
  ~NcclCollective() override;

  Status Connect();

  int index() const override { return host_->index(); }
  int count() const override { return host_->count(); }
  int device() const override { return device_; }

  Status AllreduceSum(std::span<float> data, const std::string& what) override {
    return SumOfHost(data, what);
  }
  Status AllreduceSum(std::span<double> data, const std::string& what) override {
    return SumOfHost(data, what);
  }
  Status AllreduceSum(std::span<int64_t> data, const std::string& what) override {
    return SumOfHost(data, what);
  }
  StatusOr<std::vector<std::string>> Allgather(const std::string& mine,
                                               const std::string& what) override {
    return Guarded([&] { return host_->Allgather(mine, what); });
  }
  StatusOr<std::vector<std::string>> GatherToFirst(const std::string& mine,
                                                   const std::string& what) override {
    return Guarded([&] { return host_->GatherToFirst(mine, what); });
  }
  StatusOr<std::string> BroadcastFromFirst(const std::string& mine,
                                           const std::string& what) override {
    return Guarded([&] { return host_->BroadcastFromFirst(mine, what); });
  }
  Status Barrier(const std::string& what) override {
    return Guarded([&] { return host_->Barrier(what); });
  }

  Status BeginSum(float* data, size_t elements, void* stream, const std::string& what) override;
  Status FinishSums(void* stream, const std::string& what) override;

 private:
  struct Sum {
    size_t elements;
    std::string what;
  };

  template <typename Body>
  auto Guarded(const Body& body) -> decltype(body());
  Status Prepare(ncclUniqueId* id, int* version);
  template <typename T>
  Status SumOfHost(std::span<T> data, const std::string& what);
  Status Stage(void* data, size_t elements, size_t element_bytes, ncclDataType_t type,
               const std::string& call);
  Status Agree(const std::vector<Sum>& sums, const std::string& what);
  Status Reduce(void* data, size_t elements, ncclDataType_t type, const std::string& what,
                Deadline deadline);
  Status WaitUntil(const std::function<StatusOr<bool>()>& is_done, const std::string& what,
                   Deadline deadline);
  std::string WhatOthersDo(const std::string& what) const;
  StatusOr<bool> CommunicatorIsIdle();
  StatusOr<bool> DoneEventHasPassed();
  void Abort();
  Deadline FromNow() const { return After(std::chrono::duration<double>(options_.timeout_s)); }

  Collective* const host_;
  const int device_;
  const NcclOptions options_;
  FirstError first_error_;
  ncclComm_t communicator_ = nullptr;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr, done_ = nullptr;
  // Of kStagingBytes, made by the first long sum of a host span.
  void *staging_ = nullptr, *device_staging_ = nullptr;
  std::vector<Sum> sums_;  // begun since the last FinishSums()
  // Of the last list that the workers compared.
  std::vector<size_t> agreed_sizes_;
};

NcclCollective::~NcclCollective() {
  if (!UseDevice(device_).ok()) return;  // no GPU: nothing was made
  Abort();
  if (device_staging_ != nullptr) cudaFree(device_staging_);
  if (staging_ != nullptr) cudaFreeHost(staging_);
  if (begin_ != nullptr) cudaEventDestroy(begin_);
  if (done_ != nullptr) cudaEventDestroy(done_);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

// ---- connecting ---------------------------------------------------------------------------------

Status NcclCollective::Prepare(ncclUniqueId* id, int* version) {
  const GpuReport gpus = FindGpus();
  if (gpus.count == 0) return absl::UnavailableError(gpus.reason);
  if (device_ < 0 || device_ >= gpus.count) {
    return InvalidInput("GPU ", device_, " is asked for, the GPUs that this process sees are 0 to ",
                        gpus.count - 1,
                        ": start fewer workers per host, or train with --device=cpu");
  }
  // NCCL chooses algorithm and protocol by size and topology, and each adds in an order of its own.
  // One of each gives the same bits on the same topology.
  if (options_.deterministic) {
    setenv("NCCL_ALGO", "Ring", /*replace=*/0);
    setenv("NCCL_PROTO", "Simple", /*replace=*/0);
  }
  PEPNET_RETURN_IF_ERROR(UseDevice(device_));
  PEPNET_RETURN_IF_ERROR(FromCuda("cudaStreamCreateWithFlags",
                                  cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)));
  for (cudaEvent_t* event : {&begin_, &done_}) {
    PEPNET_RETURN_IF_ERROR(FromCuda("cudaEventCreateWithFlags",
                                    cudaEventCreateWithFlags(event, cudaEventDisableTiming)));
  }
  PEPNET_RETURN_IF_ERROR(FromNccl("ncclGetVersion", ncclGetVersion(version), nullptr));
  if (index() == 0) {
    PEPNET_RETURN_IF_ERROR(FromNccl("ncclGetUniqueId", ncclGetUniqueId(id), nullptr));
  }
  return absl::OkStatus();
}

// Every worker hears what every other one has before anybody waits inside NCCL for somebody who
// will not come.
Status NcclCollective::Connect() {
  ncclUniqueId id = {};
  int version = 0;
  const Status prepared = Prepare(&id, &version);
  wire::NcclWorker mine;
  mine.set_code(static_cast<int>(prepared.code()));
  mine.set_error(std::string(prepared.message()));
  mine.set_version(version);
  mine.set_id(id.internal, sizeof(id.internal));
  PEPNET_ASSIGN_OR_RETURN(
      const std::vector<std::string> all,
      host_->Allgather(mine.SerializeAsString(), "what the workers have for NCCL"));
  std::vector<wire::NcclWorker> workers(all.size());
  for (size_t w = 0; w < all.size(); ++w) {
    if (!workers[w].ParseFromString(all[w])) {
      return absl::DataLossError(absl::StrCat("cannot parse the device description of worker ", w));
    }
    if (workers[w].code() != 0) {
      return Status(static_cast<absl::StatusCode>(workers[w].code()),
                    absl::StrCat("worker ", w, " cannot join NCCL: ", workers[w].error()));
    }
    if (workers[w].version() != workers[0].version()) {
      return absl::FailedPreconditionError(absl::StrCat(
          "worker 0 has NCCL ", VersionText(workers[0].version()), ", worker ", w, " has ",
          VersionText(workers[w].version()), ": install the same version on all hosts"));
    }
  }
  std::memcpy(id.internal, workers[0].id().data(),
              std::min(sizeof(id.internal), workers[0].id().size()));
  return Guarded([&]() -> Status {
    PEPNET_RETURN_IF_ERROR(UseDevice(device_));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    const ncclResult_t begun =
        ncclCommInitRankConfig(&communicator_, count(), id, index(), &config);
    if (begun != ncclInProgress) {
      PEPNET_RETURN_IF_ERROR(FromNccl("ncclCommInitRankConfig", begun, nullptr));
    }
    PEPNET_RETURN_IF_ERROR(
        WaitUntil([&] { return CommunicatorIsIdle(); }, "NCCL to connect the GPUs", FromNow()));
    if (index() == 0) {
      LOG(INFO) << "NCCL " << VersionText(version) << " connects " << count()
                << (count() == 1 ? " GPU" : " GPUs");
    }
    return absl::OkStatus();
  });
}

// ---- waiting and failing ------------------------------------------------------------------------

template <typename Body>
auto NcclCollective::Guarded(const Body& body) -> decltype(body()) {
  return first_error_.Guard(body, [this] {
    UseDevice(device_).IgnoreError();  // an abort is tried all the same
    Abort();
  });
}

// Ends the kernels that wait for others. NCCL frees what is left in its own time.
void NcclCollective::Abort() {
  if (communicator_ == nullptr) return;
  const ncclComm_t communicator = std::exchange(communicator_, nullptr);
  const ncclResult_t result = ncclCommAbort(communicator);
  if (result == ncclSuccess || result == ncclInProgress) return;
  LOG(WARNING) << FromNccl("ncclCommAbort", result, nullptr).message();
}

// NCCL does not say whom it waits for. What the other workers' heartbeats say, as far as it is not
// this very wait (a worker may be in two waits, and shows the longer one). "" if they say nothing
// else, or name a root cause anyway (WatchedWait adds it).
std::string NcclCollective::WhatOthersDo(const std::string& what) const {
  if (options_.peers == nullptr || options_.peers->RootCauseOf({}).rank != kAnyRank) return "";
  std::string text;
  for (const PeerView& view : options_.peers->Ranks()) {
    const bool other_worker =
        absl::StartsWith(view.role, "worker ") && view.rank != options_.peers->rank();
    if (other_worker && view.wait.what != what) {
      absl::StrAppend(&text, "; ", view.Name(), " says: ", view.Doing());
    }
  }
  return text;
}

Status NcclCollective::WaitUntil(const std::function<StatusOr<bool>()>& is_done,
                                 const std::string& what, Deadline deadline) {
  const auto words = [&](Clock::time_point start) -> Status {
    return absl::DeadlineExceededError(absl::StrCat(
        "waited ", absl::SixDigits(std::chrono::duration<double>(Clock::now() - start).count()),
        " s for ", what, ", which is not done: a GPU of the ", count(),
        " workers has not joined or hangs", WhatOthersDo(what)));
  };
  WatchedWait wait(options_.status, options_.peers, {}, deadline, what);
  Clock::duration pause = kFirstPause;
  Deadline probe = wait.NextProbe();
  while (true) {
    const StatusOr<bool> done = is_done();
    if (done.ok() && *done) return absl::OkStatus();
    Status ended;
    if (!done.ok()) {
      ended = wait.Fail(Annotate(done.status(), absl::StrCat("waiting for ", what)));
    } else if (Clock::now() >= probe) {
      ended = wait.Probe(words);
      probe = wait.NextProbe();
    }
    if (!ended.ok()) {
      // While the wait still stands in the table: an abort that hangs ends by the watchdog.
      Abort();
      return ended;
    }
    std::this_thread::sleep_until(std::min(probe, Clock::now() + pause));
    pause = std::min<Clock::duration>(2 * pause, kLongestPause);
  }
}

// False while a call that was begun goes on.
StatusOr<bool> NcclCollective::CommunicatorIsIdle() {
  ncclResult_t state = ncclSuccess;
  PEPNET_RETURN_IF_ERROR(FromNccl("ncclCommGetAsyncError",
                                  ncclCommGetAsyncError(communicator_, &state), communicator_));
  if (state == ncclInProgress) return false;
  PEPNET_RETURN_IF_ERROR(FromNccl("an asynchronous error", state, communicator_));
  return true;
}

StatusOr<bool> NcclCollective::DoneEventHasPassed() {
  const cudaError_t state = cudaEventQuery(done_);
  if (state == cudaSuccess) return true;
  if (state != cudaErrorNotReady) return FromCuda("cudaEventQuery", state);
  cudaGetLastError();  // "not ready" is none, but counts as one
  PEPNET_RETURN_IF_ERROR(CommunicatorIsIdle().status());
  return false;
}

// ---- sums ---------------------------------------------------------------------------------------

// Puts the sum on our stream.
Status NcclCollective::Reduce(void* data, size_t elements, ncclDataType_t type,
                              const std::string& what, Deadline deadline) {
  const ncclResult_t begun =
      ncclAllReduce(data, data, elements, type, ncclSum, communicator_, stream_);
  if (begun == ncclInProgress) {
    return WaitUntil([&] { return CommunicatorIsIdle(); }, what, deadline);
  }
  return Annotate(FromNccl("ncclAllReduce", begun, communicator_), what);
}

Status NcclCollective::BeginSum(float* data, size_t elements, void* stream,
                                const std::string& what) {
  return Guarded([&]() -> Status {
    // Sums are listed here and compared once, in FinishSums(): to compare each bucket would take a
    // message between the workers for every one.
    sums_.push_back({elements, what});
    if (elements == 0) return absl::OkStatus();
    PEPNET_RETURN_IF_ERROR(UseDevice(device_));
    PEPNET_RETURN_IF_ERROR(
        FromCuda("cudaEventRecord", cudaEventRecord(begin_, static_cast<cudaStream_t>(stream))));
    PEPNET_RETURN_IF_ERROR(
        FromCuda("cudaStreamWaitEvent", cudaStreamWaitEvent(stream_, begin_, 0)));
    return Reduce(data, elements, ncclFloat32, absl::StrCat("the sum '", what, "' over the GPUs"),
                  FromNow());
  });
}

// NCCL itself would hang, or add up what does not belong together.
Status NcclCollective::Agree(const std::vector<Sum>& sums, const std::string& what) {
  std::vector<size_t> sizes;
  for (const Sum& sum : sums) sizes.push_back(sum.elements);
  // All workers have compared this very list before. Where one worker's list has changed and
  // another's has not, the barrier of the one meets another call of the other or its own deadline,
  // and either error names the sums.
  if (sizes == agreed_sizes_) return absl::OkStatus();
  const std::string list = absl::StrJoin(sums, ", ", [](std::string* text, const Sum& sum) {
    absl::StrAppend(text, sum.what, " of ", sum.elements, " elements");
  });
  agreed_sizes_ = std::move(sizes);
  return host_->Barrier(
      absl::StrCat("sums '", what, "' over the GPUs: ", list.empty() ? "none" : list));
}

Status NcclCollective::FinishSums(void* stream, const std::string& what) {
  return Guarded([&]() -> Status {
    const std::vector<Sum> sums = std::exchange(sums_, {});
    PEPNET_RETURN_IF_ERROR(Agree(sums, what));
    if (sums.empty()) return absl::OkStatus();
    PEPNET_RETURN_IF_ERROR(UseDevice(device_));
    PEPNET_RETURN_IF_ERROR(FromCuda("cudaEventRecord", cudaEventRecord(done_, stream_)));
    PEPNET_RETURN_IF_ERROR(
        WaitUntil([&] { return DoneEventHasPassed(); },
                  absl::StrCat("the ", sums.size(), " sum(s) '", what,
                               "' over the GPUs (the last: '", sums.back().what, "')"),
                  FromNow()));
    return FromCuda("cudaStreamWaitEvent",
                    cudaStreamWaitEvent(static_cast<cudaStream_t>(stream), done_, 0));
  });
}

template <typename T>
Status NcclCollective::SumOfHost(std::span<T> data, const std::string& what) {
  return Guarded([&]() -> Status {
    if (data.size_bytes() <= kHostBytes) return host_->AllreduceSum(data, what);
    return Stage(data.data(), data.size(), sizeof(T), HostSum<T>::kType,
                 absl::StrCat(HostSum<T>::kName, " '", what, "' (", data.size(), " elements)"));
  });
}

Status NcclCollective::Stage(void* data, size_t elements, size_t element_bytes, ncclDataType_t type,
                             const std::string& call) {
  const Deadline deadline = FromNow();
  PEPNET_RETURN_IF_ERROR(UseDevice(device_));
  if (staging_ == nullptr) {
    PEPNET_RETURN_IF_ERROR(Annotate(
        FromCuda("cudaHostAlloc", cudaHostAlloc(&staging_, kStagingBytes, cudaHostAllocDefault)),
        call));
  }
  if (device_staging_ == nullptr) {
    PEPNET_RETURN_IF_ERROR(
        Annotate(FromCuda("cudaMalloc", cudaMalloc(&device_staging_, kStagingBytes)), call));
  }
  PEPNET_RETURN_IF_ERROR(host_->Barrier(call));  // are all workers in this call?
  // Pinned memory is scarce, so a long span passes through it piece by piece. A piece is summed
  // before the next is copied in: there is one buffer on either side.
  const size_t most = kStagingBytes / element_bytes;
  for (size_t begin = 0; begin < elements; begin += most) {
    const size_t count = std::min(most, elements - begin);
    char* const piece = static_cast<char*>(data) + begin * element_bytes;
    std::memcpy(staging_, piece, count * element_bytes);
    PEPNET_RETURN_IF_ERROR(FromCuda(
        "cudaMemcpyAsync", cudaMemcpyAsync(device_staging_, staging_, count * element_bytes,
                                           cudaMemcpyHostToDevice, stream_)));
    PEPNET_RETURN_IF_ERROR(Reduce(device_staging_, count, type, call, deadline));
    PEPNET_RETURN_IF_ERROR(FromCuda(
        "cudaMemcpyAsync", cudaMemcpyAsync(staging_, device_staging_, count * element_bytes,
                                           cudaMemcpyDeviceToHost, stream_)));
    PEPNET_RETURN_IF_ERROR(FromCuda("cudaEventRecord", cudaEventRecord(done_, stream_)));
    PEPNET_RETURN_IF_ERROR(WaitUntil([&] { return DoneEventHasPassed(); }, call, deadline));
    std::memcpy(piece, staging_, count * element_bytes);
  }
  return absl::OkStatus();
}

}  // namespace

GpuReport FindGpus() {
  GpuReport report;
  const cudaError_t found = cudaGetDeviceCount(&report.count);
  if (found != cudaSuccess) {
    cudaGetLastError();
    report.count = 0;
    report.reason = found == cudaErrorInsufficientDriver
                        ? "there is no NVIDIA driver, or it is too old for this build's CUDA"
                        : absl::StrCat("CUDA finds no GPU: ", cudaGetErrorString(found));
  } else if (report.count == 0) {
    report.reason = "CUDA finds no GPU (is CUDA_VISIBLE_DEVICES empty?)";
  }
  for (int device = 0; device < report.count; ++device) {
    char address[32] = {};
    const bool known = cudaDeviceGetPCIBusId(address, sizeof(address), device) == cudaSuccess;
    if (!known) cudaGetLastError();
    report.ids.push_back(known ? address : absl::StrCat("GPU ", device));
  }
  return report;
}

StatusOr<std::unique_ptr<DeviceCollective>> MakeNcclCollective(Collective* host, int device,
                                                               const NcclOptions& options) {
  auto collective = std::make_unique<NcclCollective>(host, device, options);
  PEPNET_RETURN_IF_ERROR(collective->Connect());
  return collective;
}

PinnedMemory::PinnedMemory(void* data, size_t bytes) {
  if (bytes == 0) return;
  const cudaError_t result = cudaHostRegister(data, bytes, cudaHostRegisterPortable);
  if (result == cudaSuccess) {
    data_ = data;
    return;
  }
  const Status refused = FromCuda("cudaHostRegister", result);
  if (refused.code() == absl::StatusCode::kUnavailable ||
      result == cudaErrorHostMemoryAlreadyRegistered)
    return;
  LOG_FIRST_N(WARNING, 1)
      << bytes << " bytes are not page-locked, copies between them and the GPU are slower: "
      << refused.message();
}

PinnedMemory::~PinnedMemory() {
  if (data_ != nullptr && cudaHostUnregister(data_) != cudaSuccess) cudaGetLastError();
}

PinnedMemory::PinnedMemory(PinnedMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)) {}

PinnedMemory& PinnedMemory::operator=(PinnedMemory&& other) noexcept {
  PinnedMemory taken(std::move(other));
  std::swap(data_, taken.data_);  // what this one held is unlocked here
  return *this;
}

}  // namespace pepnet
