// The measured limits of this machine: those that a benchmark's figures are given as shares of.
// Each is the best of a few tries, because a limit is what remains when nothing disturbs.
//
// Threads: the caller's, and as many more as a function says, joined before it returns.
#pragma once

#include <cstdint>
#include <string>

#include "common/base/status.h"

namespace pepnet {

double SecondsNow();              // of a steady clock
double OwnProcessorSeconds();     // of all threads of this process
double ThreadProcessorSeconds();  // of the calling thread

// Processor time that other programs take from the construction on: figures mean what they say only
// where that is little.
class OtherPrograms {
 public:
  OtherPrograms();
  // Share of all processors' time so far, 0 to 1; negative where the system does not tell.
  double Share() const;

 private:
  const double start_, busy_, own_;
};

// GFLOP/s of one n x n x n float32 product per thread, all threads at once.
double MatrixPeak(int threads, int64_t n, int tries = 3);

// GB/s of a[i] = b[i] + s c[i] over arrays of `bytes` each, bytes read plus bytes written.
double MemoryBandwidth(int threads, int64_t bytes);

// Rows of `dim` values and as many optimizer values (huge pages where the system grants them),
// picked at random with prefetch on one thread. Million rows/s.
struct RandomRowRates {
  double read = 0;    // copying the values
  double update = 0;  // reading and writing values and state
};
RandomRowRates MeasureRandomRows(int64_t rows, int64_t dim = 16);

// MB/s of writing one file of `bytes` in `directory` from end to end once, fsync included: past the
// page cache where the file system allows it, else through it. The file is removed. A disk's rate
// changes from second to second: measure beside what is compared with it.
StatusOr<double> DiskWriteRate(const std::string& directory, int64_t bytes);

}  // namespace pepnet
