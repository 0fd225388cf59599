// The sequence encoders of spec 3.10 in plain double, written as the text has them: rows padded
// with zeros to the longest one, a mask over the padding, one loop per index.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/job_config/encoder.h"

namespace pepnet {

using Vector = std::vector<double>;

struct NaiveInput {
  std::vector<std::vector<Vector>> sequence;  // [row][position], of C each
  std::vector<Vector> query;                  // [row], of C each, padded; empty: none
  std::vector<int64_t> global_rows;
  bool train = false;
  uint64_t seed = 0;
  int64_t step = 0;
};

// By their names in DenseParameters, row-major.
using NaiveParameters = std::map<std::string, Vector>;

// [row][channel of the output]
std::vector<Vector> NaiveEncode(const Encoder& encoder, const NaiveInput& input,
                                const NaiveParameters& parameters);

}  // namespace pepnet
