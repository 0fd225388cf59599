// TableStatistics: what the rows of one table look like, collected in one pass.
//
// Threads: one. Memory: constant, but for the histogram's and the hottest rows' few entries.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "common/checkpoint/table_part.h"

namespace pepnet {

struct TableStatistics {
  static constexpr size_t kHottest = 10;

  // Euclidean norms of the rows' values; 0 without rows. Rows with a NaN or infinity are counted
  // and left out.
  double norm_min = 0, norm_max = 0, norm_sum = 0;
  int64_t finite_rows = 0, non_finite_rows = 0;
  int64_t zero_rows = 0;  // every value 0
  int64_t dead_rows = 0;  // frequency 0: never updated
  // rows by e, 2^e <= norm < 2^(e+1); rows of norm 0 are not in it
  std::map<int, int64_t> norm_histogram;
  struct HotRow {
    int64_t id = 0, frequency = 0;
  };
  // The most frequent ids, descending; of equal ones the smaller id first.
  std::vector<HotRow> hottest;
  // By part, that is by server of the run that saved.
  struct PartLoad {
    int64_t rows = 0, bytes = 0;
    int64_t updates = 0;  // sum of the frequencies
  };
  std::vector<PartLoad> parts;

  void Add(const RowColumns& rows, int dim);  // rows of the last part
  double norm_mean() const {
    return finite_rows > 0 ? norm_sum / static_cast<double>(finite_rows) : 0;
  }

 private:
  void AddHot(const HotRow& row);
};

}  // namespace pepnet
