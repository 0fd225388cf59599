#include "worker/optim/averages.h"

#include <algorithm>

#include "common/base/logging.h"

namespace pepnet {

DenseAverages::DenseAverages(std::optional<double> decay, const DenseParameters& parameters)
    : decay_(decay) {
  if (!kept()) return;
  for (int i = 0; i < static_cast<int>(parameters.specs().size()); ++i) {
    trained_.push_back(parameters.specs()[i].trained);
    offsets_.push_back(parameters.offset(i));
    elements_.push_back(static_cast<size_t>(parameters.specs()[i].elements()));
  }
  runs_ = RunsOfParameters(parameters, [&](int i) { return parameters.specs()[i].trained; });
  // Runs hold the padding, too, which is zero in both arenas and stays so.
  floats_.ResizeZeroed(parameters.arena_floats());
  for (int i = 0; i < static_cast<int>(parameters.specs().size()); ++i) {
    if (Has(i)) std::copy_n(parameters.value(i).begin(), elements_[i], value(i).begin());
  }
}

void DenseAverages::StartFrom(std::span<const float> values) { Update(values, /*first=*/true); }

void DenseAverages::Update(std::span<const float> values, bool first) {
  if (!kept()) return;
  CHECK_EQ(values.size(), floats_.size());
  const float share = static_cast<float>(1 - *decay_);
  for (const ArenaRun& run : runs_) {
    const float* __restrict w = values.data() + run.begin;
    float* __restrict average = floats_.data() + run.begin;
    // The first step copies w: an average that began at zero would lag behind for about 1 / (1 -
    // decay) steps.
    if (first) {
      std::copy_n(w, run.size, average);
      continue;
    }
    for (size_t i = 0; i < run.size; ++i) average[i] += share * (w[i] - average[i]);
  }
}

void DenseAverages::Exchange(std::span<float> values) {
  if (!kept()) return;
  CHECK_EQ(values.size(), floats_.size());
  for (const ArenaRun& run : runs_) {
    std::swap_ranges(values.begin() + static_cast<std::ptrdiff_t>(run.begin),
                     values.begin() + static_cast<std::ptrdiff_t>(run.begin + run.size),
                     floats_.data() + run.begin);
  }
}

}  // namespace pepnet
