#include "cli/bench/limits.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "common/base/hash.h"
#include "common/base/processor.h"
#include "common/file/owned_fd.h"
#include "worker/model/fused/kernels/fused_gemm.h"

namespace pepnet {
namespace {

constexpr int kTries = 3;

// Busy seconds of all processors since the system started; negative if it does not tell.
double BusySeconds() {
  std::ifstream file("/proc/stat");
  std::string name;
  double user = 0, nice = 0, system = 0, idle = 0, io_wait = 0, interrupts = 0, soft_interrupts = 0,
         stolen = 0;
  if (!(file >> name >> user >> nice >> system >> idle >> io_wait >> interrupts >>
        soft_interrupts >> stolen))
    return -1;
  // Time that the host took from a virtual machine counts as busy: it was not there for the
  // benchmark either.
  return (user + nice + system + interrupts + soft_interrupts + stolen) /
         static_cast<double>(sysconf(_SC_CLK_TCK));
}

// Runs `body(thread)` on all threads at once, several times; the shortest time from the common
// start to the last end.
double BestSeconds(int threads, const std::function<void(int)>& body, int tries = kTries) {
  double best = 1e30;
  for (int attempt = 0; attempt < tries; ++attempt) {
    std::atomic<int> ready = 0;
    // Set once all threads are ready, so that starting them does not count.
    std::atomic<bool> go = false;
    std::vector<std::thread> pool;
    for (int t = 0; t < threads; ++t) {
      pool.emplace_back([&, t] {
        ++ready;
        while (!go) std::this_thread::yield();
        body(t);
      });
    }
    while (ready < threads) std::this_thread::yield();
    const double start = SecondsNow();
    go = true;
    for (std::thread& thread : pool) thread.join();
    best = std::min(best, SecondsNow() - start);
  }
  return best;
}

// Memory of aligned_alloc() must be freed by free().
struct FreeDeleter {
  void operator()(void* memory) const { std::free(memory); }
};
constexpr size_t kHugePage = size_t{2} << 20;

// Writes a file from end to end in blocks of 4 MiB, `direct` past the page cache, and removes it.
// MB/s, with fdatasync().
StatusOr<double> WriteOnce(const std::string& path, int64_t bytes, bool direct) {
  constexpr int64_t kBlock = int64_t{4} << 20;
  OwnedFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | (direct ? O_DIRECT : 0), 0644));
  if (!fd.valid()) {
    return absl::InternalError(absl::StrCat("cannot open ", path, ": ", std::strerror(errno)));
  }
  // O_DIRECT wants memory, offsets and lengths in multiples of a block of the device.
  std::unique_ptr<char, FreeDeleter> block(static_cast<char*>(std::aligned_alloc(4096, kBlock)));
  for (int64_t i = 0; i < kBlock; i += 8) {  // nothing that a file system could compress
    const uint64_t word = Mix64(static_cast<uint64_t>(i));
    std::memcpy(block.get() + i, &word, 8);
  }
  const double start = SecondsNow();
  int error = 0;
  int64_t written = 0;
  // Whole blocks are written, so the file may be up to one block longer; the rate is of what was
  // written.
  while (written < bytes && error == 0) {
    const ssize_t n = write(fd.get(), block.get(), kBlock);
    if (n < 0) error = errno;
    written += std::max<ssize_t>(n, 0);
  }
  if (error == 0 && fdatasync(fd.get()) != 0) error = errno;
  const double seconds = SecondsNow() - start;
  (void)fd.Close();
  unlink(path.c_str());
  if (error != 0) {
    return absl::InternalError(absl::StrCat("cannot write ", path, ": ", std::strerror(error)));
  }
  return 1e-6 * static_cast<double>(written) / seconds;
}

}  // namespace

double SecondsNow() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double OwnProcessorSeconds() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double ThreadProcessorSeconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

OtherPrograms::OtherPrograms()
    : start_(SecondsNow()), busy_(BusySeconds()), own_(OwnProcessorSeconds()) {}

double OtherPrograms::Share() const {
  if (busy_ < 0) return -1;
  const double others = BusySeconds() - busy_ - (OwnProcessorSeconds() - own_);
  const double all = (SecondsNow() - start_) * static_cast<double>(sysconf(_SC_NPROCESSORS_ONLN));
  // The two clocks are read one after the other and count in coarse ticks, so a difference may be
  // slightly below 0.
  return std::clamp(others / std::max(all, 1e-9), 0.0, 1.0);
}

double MatrixPeak(int threads, int64_t n, int tries) {
  // Each thread has three matrices of its own: sharing them would measure the cache.
  std::vector<AlignedBuffer<float>> memory(3 * threads);
  for (auto& buffer : memory) {
    buffer.Resize(n * n);
    for (size_t i = 0; i < buffer.size(); ++i) buffer[i] = static_cast<float>(i % 17) * 0.1f;
  }
  const double seconds = BestSeconds(
      threads,
      [&](int t) {
        const OwnThreadScope own_thread;
        GemmNN(n, n, n, {memory[3 * t].data(), n}, {memory[3 * t + 1].data(), n}, 0,
               {memory[3 * t + 2].data(), n});
      },
      tries);
  // A product of n x n matrices has n^3 multiplications and as many additions.
  return 2e-9 * static_cast<double>(n) * n * n * threads / seconds;
}

double MemoryBandwidth(int threads, int64_t bytes) {
  const int64_t count = bytes / static_cast<int64_t>(sizeof(float));
  AlignedBuffer<float> a, b, c;
  for (auto* buffer : {&a, &b, &c}) buffer->ResizeZeroed(count);
  const double seconds = BestSeconds(threads, [&](int t) {
    const int64_t end = count * (t + 1) / threads;
    float* const out = a.data();
    const float *const x = b.data(), *const y = c.data();
    for (int64_t i = count * t / threads; i < end; ++i) out[i] = x[i] + 0.5f * y[i];
  });
  // Two arrays are read and one is written.
  return 3e-9 * static_cast<double>(bytes) / seconds;
}

namespace {

// fixed_dim: `dim` where it is not 0, so that loops over a row of a usual width cost no more than
// those of the tables.
template <int64_t fixed_dim>
RandomRowRates MeasureRows(int64_t rows, int64_t any_dim) {
  const int64_t dim = fixed_dim > 0 ? fixed_dim : any_dim, floats = 2 * dim;
  constexpr int64_t kAhead = 16;
  const int64_t message = std::max<int64_t>(1, 320000 / dim);  // rows that go to one place
  const size_t bytes = (rows * floats * sizeof(float) + kHugePage - 1) / kHugePage * kHugePage;
  std::unique_ptr<float, FreeDeleter> table(
      static_cast<float*>(std::aligned_alloc(kHugePage, bytes)));
  // Only a hint; without it the rates are those of small pages.
  madvise(table.get(), bytes, MADV_HUGEPAGE);
  // Pages are made before the measurement, which would otherwise be of the kernel.
  std::memset(static_cast<void*>(table.get()), 0, bytes);
  std::vector<int64_t> picks(std::max<int64_t>(std::min<int64_t>(rows, 4000000), 10000));
  for (size_t i = 0; i < picks.size(); ++i) {
    picks[i] = static_cast<int64_t>(Mix64(i + 1) % rows) * floats;
  }
  const int64_t count = static_cast<int64_t>(picks.size());
  AlignedBuffer<float> values(message * dim);
  RandomRowRates rates;
  rates.read =
      1e-6 * count / BestSeconds(1, [&](int) {
        for (int64_t i = 0, at = 0; i < count; ++i, at = at + 1 < message ? at + 1 : 0) {
          if (i + kAhead < count) {
            PrefetchRead(table.get() + picks[i + kAhead], dim * sizeof(float));
          }
          std::memcpy(values.data() + at * dim, table.get() + picks[i], dim * sizeof(float));
        }
      });
  rates.update = 1e-6 * count / BestSeconds(1, [&](int) {
                   for (int64_t i = 0; i < count; ++i) {
                     if (i + kAhead < count) {
                       PrefetchWrite(table.get() + picks[i + kAhead], floats * sizeof(float));
                     }
                     float* const row = table.get() + picks[i];
                     for (int64_t e = 0; e < floats; ++e) row[e] += 1.0f;
                   }
                 });
  return rates;
}

}  // namespace

RandomRowRates MeasureRandomRows(int64_t rows, int64_t dim) {
  switch (dim) {
    case 4:
      return MeasureRows<4>(rows, dim);
    case 8:
      return MeasureRows<8>(rows, dim);
    case 16:
      return MeasureRows<16>(rows, dim);
    case 32:
      return MeasureRows<32>(rows, dim);
    case 64:
      return MeasureRows<64>(rows, dim);
    default:
      return MeasureRows<0>(rows, dim);
  }
}

StatusOr<double> DiskWriteRate(const std::string& directory, int64_t bytes) {
  const std::string path = directory + "/.bench_disk_write";
  const StatusOr<double> rate = WriteOnce(path, bytes, /*direct=*/true);
  // tmpfs and some network file systems refuse O_DIRECT.
  return rate.ok() ? rate : WriteOnce(path, bytes, /*direct=*/false);
}

}  // namespace pepnet
