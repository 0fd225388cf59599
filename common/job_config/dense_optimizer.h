// DenseOptimizer: how a worker updates the dense parameters, and the description of each kind. The
// formulas are in worker/optim/dense_optimizer.cc.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/job_config/parameter.h"
#include "common/job_config/schedule.h"
#include "common/job_config/type_table.h"

namespace pepnet {

enum class DenseOptimizerKind { kSgd, kAdagrad, kAdam, kAdamW, kAdadelta, kRmsprop };
struct DenseOptimizer {
  DenseOptimizerKind kind = DenseOptimizerKind::kAdam;
  double lr = 0.002;
  double momentum = 0.9, dampening = 0;  // sgd
  bool nesterov = false;
  double weight_decay = 0;
  double initial_accumulator_value = 0;  // adagrad
  double beta1 = 0.9, beta2 = 0.999;     // adam, adamw
  bool amsgrad = false;
  double eps = 1e-8;    // adagrad default 1e-10, adadelta 1e-6
  double rho = 0.95;    // adadelta
  double alpha = 0.99;  // rmsprop
  Schedule schedule;
};

// The optimizer of the dense parameters whose whole name matches `pattern`
// (common/expression/name_pattern.h), in place of the job's. A parameter belongs to the first of
// several that match.
struct PartOptimizer {
  std::string pattern;
  DenseOptimizer optimizer;
};

struct DenseOptimizerType {
  const char* name;   // in checkpoints: never changes
  const char* field;  // of config::DenseOptimizer
  // Names of the state arenas, as in torch's state dict and so in checkpoints.
  std::vector<std::string> (*slots)(const DenseOptimizer&);
  std::span<const Parameter<DenseOptimizer>> parameters;
  double (*initial_state)(const DenseOptimizer&) = nullptr;          // null: 0
  std::optional<Finding> (*check)(const DenseOptimizer&) = nullptr;  // null: nothing to check
};

namespace dense_optimizer_types {

using Slots = std::vector<std::string>;

inline constexpr auto kLr = Number<&DenseOptimizer::lr>("lr", kNotNegative, true);
inline constexpr auto kWeightDecay =
    Number<&DenseOptimizer::weight_decay>("weight_decay", kNotNegative);
inline constexpr auto kEps = Number<&DenseOptimizer::eps>("eps", kPositive);

inline constexpr Parameter<DenseOptimizer> kSgdParameters[] = {
    kLr, Number<&DenseOptimizer::momentum>("momentum", kNotNegative),
    Number<&DenseOptimizer::dampening>("dampening", kNotNegative), kWeightDecay,
    Switch<&DenseOptimizer::nesterov>("nesterov")};
inline std::optional<Finding> CheckSgd(const DenseOptimizer& optimizer) {
  if (!optimizer.nesterov || (optimizer.momentum > 0 && optimizer.dampening == 0)) {
    return std::nullopt;
  }
  return Finding{true, "nesterov",
                 absl::StrCat("needs momentum > 0 and dampening 0, got momentum ",
                              optimizer.momentum, " and dampening ", optimizer.dampening)};
}
inline constexpr DenseOptimizerType kSgd = {
    "sgd",
    "sgd_optimizer",
    [](const DenseOptimizer& optimizer) {
      return optimizer.momentum != 0 ? Slots{"momentum_buffer"} : Slots{};
    },
    kSgdParameters,
    nullptr,
    CheckSgd};

inline constexpr Parameter<DenseOptimizer> kAdagradParameters[] = {
    kLr, kWeightDecay,
    Number<&DenseOptimizer::initial_accumulator_value>("initial_accumulator_value", kNotNegative),
    kEps};
inline constexpr DenseOptimizerType kAdagrad = {
    "adagrad", "adagrad_optimizer", [](const DenseOptimizer&) { return Slots{"sum"}; },
    kAdagradParameters,
    [](const DenseOptimizer& optimizer) { return optimizer.initial_accumulator_value; }};

inline constexpr Parameter<DenseOptimizer> kAdamParameters[] = {
    kLr,
    Number<&DenseOptimizer::beta1>("beta1", kBelowOne),
    Number<&DenseOptimizer::beta2>("beta2", kBelowOne),
    kWeightDecay,
    kEps,
    Switch<&DenseOptimizer::amsgrad>("amsgrad")};
inline Slots AdamSlots(const DenseOptimizer& optimizer) {
  return optimizer.amsgrad ? Slots{"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}
                           : Slots{"exp_avg", "exp_avg_sq"};
}
inline constexpr DenseOptimizerType kAdam = {"adam", "adam_optimizer", AdamSlots, kAdamParameters};
inline constexpr DenseOptimizerType kAdamW = {"adamw", "adamw_optimizer", AdamSlots,
                                              kAdamParameters};

inline constexpr Parameter<DenseOptimizer> kAdadeltaParameters[] = {
    kLr, Number<&DenseOptimizer::rho>("rho", kUpToOne), kEps, kWeightDecay};
inline constexpr DenseOptimizerType kAdadelta = {"adadelta", "adadelta_optimizer",
                                                 [](const DenseOptimizer&) {
                                                   return Slots{"square_avg", "acc_delta"};
                                                 },
                                                 kAdadeltaParameters};

inline constexpr Parameter<DenseOptimizer> kRmspropParameters[] = {
    kLr, Number<&DenseOptimizer::alpha>("alpha", kBelowOne), kEps, kWeightDecay};
inline constexpr DenseOptimizerType kRmsprop = {
    "rmsprop", "rmsprop_optimizer", [](const DenseOptimizer&) { return Slots{"square_avg"}; },
    kRmspropParameters};

}  // namespace dense_optimizer_types

constexpr const DenseOptimizerType* FindType(DenseOptimizerKind kind) {
  switch (kind) {
    case DenseOptimizerKind::kSgd:
      return &dense_optimizer_types::kSgd;
    case DenseOptimizerKind::kAdagrad:
      return &dense_optimizer_types::kAdagrad;
    case DenseOptimizerKind::kAdam:
      return &dense_optimizer_types::kAdam;
    case DenseOptimizerKind::kAdamW:
      return &dense_optimizer_types::kAdamW;
    case DenseOptimizerKind::kAdadelta:
      return &dense_optimizer_types::kAdadelta;
    case DenseOptimizerKind::kRmsprop:
      return &dense_optimizer_types::kRmsprop;
  }
  return nullptr;
}

}  // namespace pepnet
