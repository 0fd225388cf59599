#include "tests/common/gpu/fake_cuda_nccl.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "common/base/logging.h"

// The handles of CUDA and NCCL point to these.
struct CUstream_st {
  int device = 0;
  bool alive = true;
  std::deque<std::function<bool()>> queue;
};
struct CUevent_st {
  bool alive = true;
  int recorded = 0, completed = 0;
};
struct ncclComm {
  std::string id;
  int rank = 0, ranks = 0, device = 0;
  bool aborted = false;
  int polls_left = 0;
  int next_sum = 0;
  ncclResult_t error = ncclSuccess;
  std::string last_error;
  std::function<void()> in_progress;  // what happens when the call that goes on is done
};

namespace pepnet {
namespace {

std::mutex g_mutex;
FakeGpus::State* g_state = nullptr;
thread_local int t_device = 0;
std::atomic<int> g_threads = 0;
thread_local const int t_thread = ++g_threads;  // unlike an id of the system, never given twice
thread_local cudaError_t t_error = cudaSuccess;

struct Part {
  void* data;
  size_t elements;
  ncclDataType_t type;
};
// One sum of one communicator.
struct Sum {
  std::map<int, Part> parts;  // by rank, of those that have reached it
  bool done = false;
};

template <typename T>
void AddUp(const std::map<int, Part>& parts) {
  const size_t elements = parts.begin()->second.elements;
  std::vector<T> total(elements);
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    const T* values = static_cast<const T*>(part->second.data);
    for (size_t i = 0; i < elements; ++i) {
      if constexpr (std::is_same_v<T, int64_t>) {
        total[i] =
            static_cast<T>(static_cast<uint64_t>(total[i]) + static_cast<uint64_t>(values[i]));
      } else {
        total[i] += values[i];
      }
    }
  }
  for (const auto& [rank, part] : parts) {
    std::copy(total.begin(), total.end(), static_cast<T*>(part.data));
  }
}

}  // namespace

struct FakeGpus::State {
  int devices = 0;
  std::map<std::string, std::map<int, int>> failing;  // function -> calls from now -> code
  std::map<std::pair<int, int>, ncclResult_t> failing_sums;
  std::map<int, int> versions;
  bool held = false;
  int polls = 0;
  int ids = 0, aborts = 0, sums_begun = 0, allocations = 0;
  std::string settings;
  std::vector<std::string> misuse;
  // By t_thread: the GPU that a thread has set; a context on each would take memory there.
  std::map<int, int> chosen;
  std::set<void*> memory, pinned;
  std::map<int, std::unique_ptr<CUstream_st>> default_streams;  // by device
  std::vector<std::unique_ptr<CUstream_st>> streams;
  std::vector<std::unique_ptr<CUevent_st>> events;
  std::vector<std::unique_ptr<ncclComm>> communicators;
  std::map<std::pair<std::string, int>, Sum> sums;  // by communicator id and number

  void Misused(const std::string& how) { misuse.push_back(how); }

  // The code with which a call fails; 0: it does not.
  int Failure(const char* function) {
    std::map<int, int> later;
    int code = 0;
    for (const auto& [calls, with] : failing[function]) {
      if (calls == 1) {
        code = with;
      } else {
        later[calls - 1] = with;
      }
    }
    failing[function] = later;
    return code;
  }

  CUstream_st* Stream(cudaStream_t stream) {
    if (stream != nullptr) {
      if (!stream->alive) Misused("a stream is used after its end");
      return stream;
    }
    std::unique_ptr<CUstream_st>& of_device = default_streams[t_device];
    if (of_device == nullptr) {
      of_device = std::make_unique<CUstream_st>(CUstream_st{t_device, true, {}});
    }
    return of_device.get();
  }

  void Progress() {
    bool moved = true;
    const auto drain = [&](CUstream_st* stream) {
      while (!stream->queue.empty() && stream->queue.front()()) {
        stream->queue.pop_front();
        moved = true;
      }
    };
    while (moved) {
      moved = false;
      for (const auto& stream : streams) drain(stream.get());
      for (const auto& [device, stream] : default_streams) drain(stream.get());
    }
  }

  bool RunSum(ncclComm* communicator, int number, const Part& part) {
    if (communicator->aborted) return true;
    if (const auto failing_sum = failing_sums.find({communicator->rank, number});
        failing_sum != failing_sums.end()) {
      communicator->error = failing_sum->second;
      communicator->last_error = "the fake was told to fail";
      return false;
    }
    if (held) return false;
    Sum& sum = sums[{communicator->id, number}];
    sum.parts.emplace(communicator->rank, part);
    if (sum.done || static_cast<int>(sum.parts.size()) < communicator->ranks) return sum.done;
    for (const auto& [rank, other] : sum.parts) {
      if (other.elements != part.elements || other.type != part.type) return false;
    }
    if (part.type == ncclFloat32) AddUp<float>(sum.parts);
    if (part.type == ncclFloat64) AddUp<double>(sum.parts);
    if (part.type == ncclInt64) AddUp<int64_t>(sum.parts);
    sum.done = true;
    return true;
  }

  // The communicator, if it may be used now.
  ncclResult_t Usable(ncclComm_t communicator, const char* function) {
    if (communicator == nullptr || communicator->aborted) {
      Misused(absl::StrCat(function, " on a communicator that is none any more"));
      return ncclInvalidArgument;
    }
    return ncclSuccess;
  }

  ncclResult_t Begin(ncclComm* communicator, std::function<void()> at_the_end) {
    if (polls == 0) {
      at_the_end();
      return ncclSuccess;
    }
    communicator->polls_left = polls;
    communicator->in_progress = std::move(at_the_end);
    return ncclInProgress;
  }
};

FakeGpus::FakeGpus(int devices) : state_(std::make_unique<State>()) {
  std::lock_guard lock(g_mutex);
  CHECK(g_state == nullptr) << "one FakeGpus at a time";
  state_->devices = devices;
  g_state = state_.get();
}
FakeGpus::~FakeGpus() {
  std::lock_guard lock(g_mutex);
  g_state = nullptr;
}
void FakeGpus::FailCall(const std::string& function, int code, int nth) {
  std::lock_guard lock(g_mutex);
  state_->failing[function][nth] = code;
}
void FakeGpus::FailSum(int rank, int nth, ncclResult_t code) {
  std::lock_guard lock(g_mutex);
  state_->failing_sums[{rank, nth - 1}] = code;
}
void FakeGpus::HoldSums(bool held) {
  std::lock_guard lock(g_mutex);
  state_->held = held;
}
void FakeGpus::SetPollsPerCall(int polls) {
  std::lock_guard lock(g_mutex);
  state_->polls = polls;
}
void FakeGpus::SetVersion(int device, int version) {
  std::lock_guard lock(g_mutex);
  state_->versions[device] = version;
}
void FakeGpus::Launch(cudaStream_t stream, std::function<bool()> kernel) {
  std::lock_guard lock(g_mutex);
  state_->Stream(stream)->queue.push_back(std::move(kernel));
}
int FakeGpus::aborts() const {
  std::lock_guard lock(g_mutex);
  return state_->aborts;
}
int FakeGpus::sums() const {
  std::lock_guard lock(g_mutex);
  return state_->sums_begun;
}
int FakeGpus::pinned() const {
  std::lock_guard lock(g_mutex);
  return static_cast<int>(state_->pinned.size());
}
int FakeGpus::allocations() const {
  std::lock_guard lock(g_mutex);
  return state_->allocations;
}
std::string FakeGpus::settings() const {
  std::lock_guard lock(g_mutex);
  return state_->settings;
}
std::string FakeGpus::Verdict() const {
  std::lock_guard lock(g_mutex);
  std::vector<std::string> wrong = state_->misuse;
  const auto left = [&](auto count, const char* what) {
    if (count > 0) wrong.push_back(absl::StrCat(count, " ", what, " left"));
  };
  const auto alive = [](const auto& objects) {
    return std::count_if(objects.begin(), objects.end(),
                         [](const auto& object) { return object->alive; });
  };
  left(alive(state_->streams), "streams");
  left(alive(state_->events), "events");
  left(state_->memory.size(), "pieces of memory");
  left(state_->pinned.size(), "pinned pieces of memory");
  left(std::count_if(state_->communicators.begin(), state_->communicators.end(),
                     [](const auto& communicator) { return !communicator->aborted; }),
       "communicators");
  return absl::StrJoin(wrong, "; ");
}

}  // namespace pepnet

// ---- the functions ------------------------------------------------------------------------------

using pepnet::g_mutex;
using pepnet::g_state;
using pepnet::t_device;
using pepnet::t_error;
using pepnet::t_thread;

namespace {

cudaError_t Answer(int code) {
  if (code != 0) t_error = static_cast<cudaError_t>(code);
  return static_cast<cudaError_t>(code);
}

std::string IdText(const ncclUniqueId& id) {
  return std::string(id.internal, strnlen(id.internal, sizeof(id.internal)));
}

}  // namespace

// Begins every function: takes the lock, and fails if a test has asked for it.
#define PEPNET_FAKE_CUDA(function)                                                  \
  std::lock_guard lock(g_mutex);                                                    \
  if (const int code = g_state->Failure(#function); code != 0) return Answer(code); \
  static_assert(true)
#define PEPNET_FAKE_NCCL(function)                             \
  std::lock_guard lock(g_mutex);                               \
  if (const int code = g_state->Failure(#function); code != 0) \
    return static_cast<ncclResult_t>(code);                    \
  static_assert(true)

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  PEPNET_FAKE_CUDA(cudaGetDeviceCount);
  *count = g_state->devices;
  return Answer(g_state->devices == 0 ? cudaErrorNoDevice : cudaSuccess);
}
cudaError_t cudaDeviceGetPCIBusId(char* address, int bytes, int device) {
  PEPNET_FAKE_CUDA(cudaDeviceGetPCIBusId);
  absl::SNPrintF(address, static_cast<size_t>(bytes), "0000:%02x:00.0", device);
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  PEPNET_FAKE_CUDA(cudaGetDevice);
  *device = t_device;
  return Answer(g_state->devices == 0 ? cudaErrorNoDevice : cudaSuccess);
}
cudaError_t cudaSetDevice(int device) {
  PEPNET_FAKE_CUDA(cudaSetDevice);
  if (device < 0 || device >= g_state->devices) return Answer(cudaErrorInvalidDevice);
  const int first = g_state->chosen.emplace(t_thread, device).first->second;
  if (device != first) {
    g_state->Misused(absl::StrCat("a thread sets GPU ", device, " after GPU ", first));
  }
  t_device = device;
  return cudaSuccess;
}
cudaError_t cudaGetLastError() { return std::exchange(t_error, cudaSuccess); }
const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "out of memory"
         : error == cudaErrorNoDevice       ? "no CUDA-capable device is detected"
                                            : "an error of the fake";
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int flags) {
  PEPNET_FAKE_CUDA(cudaStreamCreateWithFlags);
  if (flags != cudaStreamNonBlocking) {
    g_state->Misused("a stream that waits for the default stream");
  }
  g_state->streams.push_back(std::make_unique<CUstream_st>(CUstream_st{t_device, true, {}}));
  *stream = g_state->streams.back().get();
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  PEPNET_FAKE_CUDA(cudaStreamDestroy);
  if (!std::exchange(g_state->Stream(stream)->alive, false)) {
    g_state->Misused("a stream is destroyed twice");
  }
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int) {
  PEPNET_FAKE_CUDA(cudaStreamWaitEvent);
  const int recorded = event->recorded;
  g_state->Stream(stream)->queue.push_back(
      [event, recorded] { return event->completed >= recorded; });
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  for (int i = 0; i < 30'000; ++i) {
    {
      std::lock_guard lock(g_mutex);
      g_state->Progress();
      if (g_state->Stream(stream)->queue.empty()) return cudaSuccess;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return Answer(cudaErrorLaunchTimeout);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int) {
  PEPNET_FAKE_CUDA(cudaEventCreateWithFlags);
  g_state->events.push_back(std::make_unique<CUevent_st>());
  *event = g_state->events.back().get();
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  PEPNET_FAKE_CUDA(cudaEventDestroy);
  if (!std::exchange(event->alive, false)) g_state->Misused("an event is destroyed twice");
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  PEPNET_FAKE_CUDA(cudaEventRecord);
  if (!event->alive) g_state->Misused("an event is used after its end");
  const int number = ++event->recorded;
  g_state->Stream(stream)->queue.push_back([event, number] {
    event->completed = number;
    return true;
  });
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  PEPNET_FAKE_CUDA(cudaEventQuery);
  g_state->Progress();
  return Answer(event->completed >= event->recorded ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaMalloc(void** data, size_t bytes) {
  PEPNET_FAKE_CUDA(cudaMalloc);
  *data = std::malloc(bytes);
  g_state->memory.insert(*data);
  ++g_state->allocations;
  return cudaSuccess;
}
cudaError_t cudaFree(void* data) {
  PEPNET_FAKE_CUDA(cudaFree);
  if (g_state->memory.erase(data) == 0) g_state->Misused("memory is freed that is none");
  std::free(data);
  return cudaSuccess;
}
cudaError_t cudaHostAlloc(void** data, size_t bytes, unsigned int) {
  PEPNET_FAKE_CUDA(cudaHostAlloc);
  *data = std::malloc(bytes);
  g_state->memory.insert(*data);
  ++g_state->allocations;
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* data) { return cudaFree(data); }
cudaError_t cudaHostRegister(void* data, size_t, unsigned int) {
  PEPNET_FAKE_CUDA(cudaHostRegister);
  if (g_state->devices == 0) return Answer(cudaErrorNoDevice);
  return Answer(g_state->pinned.insert(data).second ? cudaSuccess
                                                    : cudaErrorHostMemoryAlreadyRegistered);
}
cudaError_t cudaHostUnregister(void* data) {
  PEPNET_FAKE_CUDA(cudaHostUnregister);
  return Answer(g_state->pinned.erase(data) > 0 ? cudaSuccess : cudaErrorHostMemoryNotRegistered);
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
  PEPNET_FAKE_CUDA(cudaMemcpyAsync);
  g_state->Stream(stream)->queue.push_back([=] {
    std::memcpy(to, from, bytes);
    return true;
  });
  return cudaSuccess;
}

ncclResult_t ncclGetVersion(int* version) {
  PEPNET_FAKE_NCCL(ncclGetVersion);
  const auto of_device = g_state->versions.find(t_device);
  *version = of_device == g_state->versions.end() ? NCCL_VERSION_CODE : of_device->second;
  return ncclSuccess;
}
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  PEPNET_FAKE_NCCL(ncclGetUniqueId);
  *id = {};
  const std::string text = absl::StrCat("communicator ", ++g_state->ids);
  std::memcpy(id->internal, text.data(), text.size());
  return ncclSuccess;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* communicator, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  PEPNET_FAKE_NCCL(ncclCommInitRankConfig);
  if (config->blocking != 0) g_state->Misused("a communicator whose calls block");
  const char *algorithm = std::getenv("NCCL_ALGO"), *protocol = std::getenv("NCCL_PROTO");
  g_state->settings = absl::StrCat(algorithm == nullptr ? "-" : algorithm, " ",
                                   protocol == nullptr ? "-" : protocol);
  auto made = std::make_unique<ncclComm>();
  made->id = IdText(id);
  made->rank = rank;
  made->ranks = ranks;
  made->device = t_device;
  made->polls_left = g_state->polls;
  made->in_progress = [] {};
  for (const auto& other : g_state->communicators) {
    if (other->id != made->id || other->device != t_device) continue;
    for (ncclComm* both : {made.get(), other.get()}) {
      both->error = ncclInvalidUsage;
      both->last_error =
          absl::StrCat("Duplicate GPU detected : rank ", rank, " and rank ", other->rank);
    }
  }
  *communicator = made.get();
  g_state->communicators.push_back(std::move(made));
  return ncclInProgress;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t communicator, ncclResult_t* error) {
  PEPNET_FAKE_NCCL(ncclCommGetAsyncError);
  if (const ncclResult_t wrong = g_state->Usable(communicator, "ncclCommGetAsyncError");
      wrong != ncclSuccess) {
    return wrong;
  }
  *error = communicator->error;
  if (*error != ncclSuccess || communicator->in_progress == nullptr) return ncclSuccess;
  const auto joined =
      std::count_if(g_state->communicators.begin(), g_state->communicators.end(),
                    [&](const auto& other) { return other->id == communicator->id; });
  *error = ncclInProgress;
  if (joined < communicator->ranks || communicator->polls_left-- > 0) return ncclSuccess;
  std::exchange(communicator->in_progress, nullptr)();
  *error = ncclSuccess;
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t communicator) {
  PEPNET_FAKE_NCCL(ncclCommAbort);
  if (const ncclResult_t wrong = g_state->Usable(communicator, "ncclCommAbort");
      wrong != ncclSuccess)
    return wrong;
  communicator->aborted = true;
  ++g_state->aborts;
  return ncclSuccess;
}
ncclResult_t ncclAllReduce(const void* from, void* to, size_t elements, ncclDataType_t type,
                           ncclRedOp_t operation, ncclComm_t communicator, cudaStream_t stream) {
  PEPNET_FAKE_NCCL(ncclAllReduce);
  if (const ncclResult_t wrong = g_state->Usable(communicator, "ncclAllReduce");
      wrong != ncclSuccess)
    return wrong;
  if (communicator->in_progress != nullptr) {
    g_state->Misused("a sum is begun while the communicator is busy");
  }
  if (from != to || operation != ncclSum) g_state->Misused("the fake knows sums in place alone");
  if (communicator->device != t_device) {
    g_state->Misused("a sum is begun on a thread of another device");
  }
  ++g_state->sums_begun;
  const int number = communicator->next_sum++;
  return g_state->Begin(communicator, [=, on = g_state->Stream(stream)] {
    on->queue.push_back([=] {
      return g_state->RunSum(communicator, number, {to, elements, type});
    });
  });
}
const char* ncclGetErrorString(ncclResult_t error) {
  return error == ncclRemoteError ? "remote process exited or there was a network error"
                                  : "an error of the fake";
}
const char* ncclGetLastError(ncclComm_t communicator) {
  std::lock_guard lock(g_mutex);
  return communicator == nullptr ? "" : communicator->last_error.c_str();
}

}  // extern "C"
