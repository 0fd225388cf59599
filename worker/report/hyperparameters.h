// Hyperparameters: what a training was set to, by name, as TensorBoard's HParams plugin lays runs
// side by side: optimizers and their rates, batch size, passes or steps, the widths of tables and
// layers, dropout, and how many ranks.
//
// Threads: no state.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "common/job_config/job_config.h"

namespace pepnet {

struct Hyperparameter {
  std::string name;  // "dense_optimizer.lr"
  std::variant<double, std::string> value;
};

// The same names in the same order for jobs of one shape. Widths of several layers are one text:
// "64, 32".
std::vector<Hyperparameter> HyperparametersOf(const JobConfig& config, int workers, uint64_t seed);

}  // namespace pepnet
