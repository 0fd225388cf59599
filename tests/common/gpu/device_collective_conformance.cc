#include "tests/common/gpu/device_collective_conformance.h"

#include <cuda_runtime_api.h>

#include <memory>
#include <numeric>

#include "common/base/logging.h"

namespace pepnet {
namespace {

constexpr double kPatience = 60;

class Stream {
 public:
  Stream() { CHECK_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// Buckets of a step, one of them empty, begun behind the copies that fill them.
Status SumOfBuckets(DeviceCollective* c, void* stream, const std::string& step) {
  std::vector<std::unique_ptr<DeviceArray>> buckets;
  for (const size_t n : {size_t{1}, size_t{0}, size_t{7}, size_t{100003}, size_t{64}}) {
    buckets.push_back(std::make_unique<DeviceArray>(n));
    buckets.back()->Fill(c->index(), stream);
    PEPNET_RETURN_IF_ERROR(c->BeginSum(buckets.back()->data(), n, stream,
                                       absl::StrCat("bucket ", buckets.size() - 1)));
  }
  PEPNET_RETURN_IF_ERROR(c->FinishSums(stream, step));
  for (const auto& bucket : buckets) {
    PEPNET_ASSIGN_OR_RETURN(const std::vector<float> sums, bucket->Read(stream));
    PEPNET_RETURN_IF_ERROR(CheckSums<float>(c, sums, /*worker_order=*/false));
  }
  return absl::OkStatus();
}

Status SumsOfSteps(DeviceCollective* c) {
  const Stream stream;
  for (int step = 0; step < 5; ++step) {
    PEPNET_RETURN_IF_ERROR(SumOfBuckets(c, stream.get(), absl::StrCat("step ", step)));
  }
  return absl::OkStatus();
}

Status SumsOnTheDefaultStream(DeviceCollective* c) { return SumOfBuckets(c, nullptr, "step 0"); }

Status NothingBegunIsNothingToWaitFor(DeviceCollective* c) {
  PEPNET_RETURN_IF_ERROR(c->FinishSums(nullptr, "step 0"));
  PEPNET_RETURN_IF_ERROR(c->BeginSum(nullptr, 0, nullptr, "an empty bucket"));
  return c->FinishSums(nullptr, "step 1");
}

// A step's sums over the GPUs and what the host sums meanwhile, short and long.
Status HostSumsBetweenDeviceSums(DeviceCollective* c) {
  const Stream stream;
  DeviceArray bucket(5000);
  bucket.Fill(c->index(), stream.get());
  PEPNET_RETURN_IF_ERROR(c->BeginSum(bucket.data(), bucket.size(), stream.get(), "bucket 0"));
  for (const size_t n : {size_t{2}, size_t{3000}}) {
    std::vector<int64_t> counts(n);
    for (size_t i = 0; i < n; ++i) counts[i] = TestValue<int64_t>(c->index(), i);
    PEPNET_RETURN_IF_ERROR(c->AllreduceSum(std::span<int64_t>(counts), "counts"));
    PEPNET_RETURN_IF_ERROR(CheckSums<int64_t>(c, counts, /*worker_order=*/true));
  }
  PEPNET_RETURN_IF_ERROR(c->FinishSums(stream.get(), "step 0"));
  PEPNET_ASSIGN_OR_RETURN(const std::vector<float> sums, bucket.Read(stream.get()));
  return CheckSums<float>(c, sums, /*worker_order=*/false);
}

// The page-locked buffer between host and GPU is used several times.
Status LongSumOfTheHost(DeviceCollective* c) {
  std::vector<double> data(1'300'000);  // 10.4 MB
  for (size_t i = 0; i < data.size(); ++i) data[i] = TestValue<double>(c->index(), i);
  PEPNET_RETURN_IF_ERROR(c->AllreduceSum(std::span<double>(data), "a long sum"));
  return CheckSums<double>(c, data, /*worker_order=*/false);
}

}  // namespace

DeviceArray::DeviceArray(size_t size) : host_(size) {
  if (size == 0) return;
  void* data = nullptr;
  CHECK_EQ(cudaMalloc(&data, size * sizeof(float)), cudaSuccess);
  data_ = static_cast<float*>(data);
}
DeviceArray::~DeviceArray() {
  if (data_ != nullptr) cudaFree(data_);
}
void DeviceArray::Fill(int worker, void* stream) {
  for (size_t i = 0; i < host_.size(); ++i) host_[i] = TestValue<float>(worker, i);
  if (host_.empty()) return;
  CHECK_EQ(cudaMemcpyAsync(data_, host_.data(), host_.size() * sizeof(float),
                           cudaMemcpyHostToDevice, static_cast<cudaStream_t>(stream)),
           cudaSuccess);
}
StatusOr<std::vector<float>> DeviceArray::Read(void* stream) {
  std::vector<float> values(host_.size());
  if (values.empty()) return values;
  PEPNET_REQUIRE(cudaMemcpyAsync(values.data(), data_, values.size() * sizeof(float),
                                 cudaMemcpyDeviceToHost,
                                 static_cast<cudaStream_t>(stream)) == cudaSuccess);
  PEPNET_REQUIRE(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)) == cudaSuccess);
  return values;
}

CollectiveKind NcclKind(double timeout_s) {
  CollectiveKind kind;
  kind.worker_order = false;
  kind.make = [=](Collective* host) -> StatusOr<std::unique_ptr<Collective>> {
    NcclOptions options;
    options.timeout_s = timeout_s;
    return MakeNcclCollective(host, host->index(), options);
  };
  return kind;
}

Status OnGpus(Transport* transport, const NcclOptions& options, double host_timeout_s,
              const std::function<Status(DeviceCollective*)>& body) {
  std::vector<int> ranks(static_cast<size_t>(transport->size()));
  std::iota(ranks.begin(), ranks.end(), 0);
  const std::unique_ptr<Collective> host =
      MakeCollective(transport, Channel::kDense, ranks, host_timeout_s);
  cudaSetDevice(transport->rank());
  PEPNET_ASSIGN_OR_RETURN(const std::unique_ptr<DeviceCollective> made,
                          MakeNcclCollective(host.get(), host->index(), options));
  return body(made.get());
}

std::vector<RankCase> DeviceCollectiveCases(int workers) {
  std::vector<RankCase> cases;
  const auto add = [&](const std::string& name,
                       const std::function<Status(DeviceCollective*)>& body) {
    cases.push_back(
        OnWorkers(name, workers, kPatience, NcclKind(kPatience), [=](Collective* c) -> Status {
          auto* const on_device = static_cast<DeviceCollective*>(c);
          cudaSetDevice(on_device->device());
          PEPNET_RETURN_IF_ERROR(body(on_device));
          return c->Barrier("end of the case");
        }));
  };
  add("SumsOfSteps", SumsOfSteps);
  add("SumsOnTheDefaultStream", SumsOnTheDefaultStream);
  add("NothingBegunIsNothingToWaitFor", NothingBegunIsNothingToWaitFor);
  add("HostSumsBetweenDeviceSums", HostSumsBetweenDeviceSums);
  add("LongSumOfTheHost", LongSumOfTheHost);
  return cases;
}

}  // namespace pepnet
