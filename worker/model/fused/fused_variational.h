// FusedVariational: variational dropout of the groups over one batch
// (worker/model/variational_dropout.h), from the weights to a factor for each row and source of a
// group, and from the factors' gradients to those of the weights.
//
// Memory:  arrays grow to the largest batch seen and are kept.
// Threads: ranges of rows may be computed by different threads, between two calls of Begin(), which
//          one thread makes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "common/job_config/job_config.h"
#include "worker/model/parameters.h"
#include "worker/model/pepnet_model.h"

namespace pepnet {

// Factors of one group, by row of the batch: [rows, sources]. Null: the group has none.
struct GroupFactors {
  const float* values = nullptr;
  float* gradients = nullptr;
};

class FusedVariational {
 public:
  // Borrows the config.
  FusedVariational(const JobConfig* config, const DenseParameters& parameters);

  bool empty() const { return layers_.empty(); }
  // Of `group`, one of the model's. The gradients are to be filled before Backward().
  GroupFactors Factors(const FeatureGroup& group);

  // Starts a batch, which it borrows. `first_row`: global number of its first row.
  void Begin(const ModelInput& input, bool train, uint64_t seed, int64_t first_row);
  // Rows [begin, end). `values`: the arena of the parameters.
  void Forward(int64_t begin, int64_t end, const float* values);
  // `gradients`: an arena that is added to.
  void Backward(int64_t begin, int64_t end, float* gradients) const;
  // Adds the penalties of the batch, this worker's part, to the report, and their gradients times
  // `gradient_scale`.
  void Penalties(const float* values, double gradient_scale, float* gradients,
                 LossReport* report) const;

 private:
  struct Layer {
    const FeatureGroup* group;
    int64_t place = -1;                                    // of the weights in the arenas
    AlignedBuffer<float> factors, derivatives, gradients;  // [rows, sources]
  };

  std::vector<Layer> layers_;  // of the groups that have it
  const ModelInput* in_ = nullptr;
  bool train_ = false;
  uint64_t seed_ = 0;
  int64_t first_row_ = 0;
};

}  // namespace pepnet
