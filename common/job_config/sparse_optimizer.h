// SparseOptimizer: how a server updates a row, and the description of each kind. The formulas are
// in ps/table/sparse_optimizer.cc; docs/extending.md shows how a kind is added.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/job_config/parameter.h"
#include "common/job_config/schedule.h"
#include "common/job_config/table.h"
#include "common/job_config/type_table.h"

namespace pepnet {

enum class SparseOptimizerKind {
  kSgd,
  kAdagrad,
  kRowwiseAdagrad,
  kAdam,
  kPartialRowwiseAdam,
  kFtrl,
  kAdagradDecay,
  kLarsSgd,
  kLamb,
  kPartialRowwiseLamb,
  kAdadelta,
  kRmsprop
};
enum class WeightDecayMode { kNone, kL2, kDecouple };
struct SparseOptimizer {
  SparseOptimizerKind kind = SparseOptimizerKind::kAdagrad;
  double lr = 0.002;
  double initial_accumulator_value = 0;
  double beta1 = 0.9, beta2 = 0.999;
  double weight_decay = 0;
  WeightDecayMode weight_decay_mode = WeightDecayMode::kNone;
  double momentum = 0.9;                     // of lars_sgd
  double beta = 1, l1 = 0, l2 = 0, l21 = 0;  // of ftrl
  double decay_steps = 100000, decay_rate = 0.9;
  double rho = 0.95, alpha = 0.99;  // of adadelta, of rmsprop
  // Of adadelta, whose default is 1e-6, and of rmsprop; of others it is fixed.
  double eps = 1e-8;
  ValueKind state_kind = ValueKind::kFp32;  // kFp32 or kBf16
  bool gradient_clipping = false;
  double max_gradient = 1;
  Schedule schedule;
};

struct SparseOptimizerType {
  const char* name;                                 // in checkpoints and on the wire: never changes
  const char* field;                                // of config::SparseOptimizer
  int (*state_dim)(int dim);                        // numbers of state of a row
  double (*initial_state)(const SparseOptimizer&);  // what each of them is before the first update
  std::span<const Parameter<SparseOptimizer>> parameters;
  std::optional<Finding> (*check)(const SparseOptimizer&) = nullptr;  // null: nothing to check
  // Whether moments are corrected by the steps of the whole job: cannot begin afresh.
  bool corrects_by_steps = false;
  // Whether the state holds counts, which the 8 significant bits of BF16 cannot go on with.
  bool counts_in_state = false;
};

namespace sparse_optimizer_types {

inline constexpr auto kLr = Number<&SparseOptimizer::lr>("lr", kNotNegative, true);
inline constexpr auto kClipping = Switch<&SparseOptimizer::gradient_clipping>("gradient_clipping");
inline constexpr auto kMaxGradient =
    Number<&SparseOptimizer::max_gradient>("max_gradient", kPositive);
inline constexpr auto kWeightDecay =
    Number<&SparseOptimizer::weight_decay>("weight_decay", kNotNegative);
inline constexpr auto kInitialAccumulator =
    Number<&SparseOptimizer::initial_accumulator_value>("initial_accumulator_value", kNotNegative);
inline constexpr const char* kDecayModes[] = {"NONE", "L2", "DECOUPLE"};

inline constexpr double NoState(const SparseOptimizer&) { return 0; }
inline constexpr double Accumulator(const SparseOptimizer& optimizer) {
  return optimizer.initial_accumulator_value;
}

inline constexpr Parameter<SparseOptimizer> kSgdParameters[] = {kLr, kClipping, kMaxGradient};
inline constexpr SparseOptimizerType kSgd = {"sgd", "sgd_optimizer", [](int) { return 0; }, NoState,
                                             kSgdParameters};

// State: s[dim].
inline constexpr Parameter<SparseOptimizer> kAdagradParameters[] = {kLr, kClipping, kMaxGradient,
                                                                    kInitialAccumulator};
inline constexpr SparseOptimizerType kAdagrad = {
    "adagrad", "adagrad_optimizer", [](int dim) { return dim; }, Accumulator, kAdagradParameters};

// State: one s.
inline constexpr Parameter<SparseOptimizer> kRowwiseAdagradParameters[] = {
    kLr, kClipping, kMaxGradient, kWeightDecay,
    Choice<&SparseOptimizer::weight_decay_mode>("weight_decay_mode", kDecayModes)};
inline std::optional<Finding> CheckRowwiseAdagrad(const SparseOptimizer& optimizer) {
  if (optimizer.weight_decay == 0 || optimizer.weight_decay_mode != WeightDecayMode::kNone) {
    return std::nullopt;
  }
  return Finding{false, "weight_decay",
                 "without effect: weight_decay_mode is NONE; L2 or DECOUPLE make it count"};
}
inline constexpr SparseOptimizerType kRowwiseAdagrad = {
    "rowwise_adagrad", "rowwise_adagrad_optimizer", [](int) { return 1; },
    Accumulator,       kRowwiseAdagradParameters,   CheckRowwiseAdagrad};

// State: exp_avg[dim], exp_avg_sq[dim].
inline constexpr Parameter<SparseOptimizer> kAdamParameters[] = {
    kLr,
    kClipping,
    kMaxGradient,
    Number<&SparseOptimizer::beta1>("beta1", kBelowOne),
    Number<&SparseOptimizer::beta2>("beta2", kBelowOne),
    kWeightDecay};
inline constexpr SparseOptimizerType kAdam = {
    "adam", "adam_optimizer", [](int dim) { return 2 * dim; }, NoState, kAdamParameters, nullptr,
    true};

// State: exp_avg[dim], then one exp_avg_sq.
inline constexpr SparseOptimizerType kPartialRowwiseAdam = {"partial_rowwise_adam",
                                                            "partial_rowwise_adam_optimizer",
                                                            [](int dim) { return dim + 1; },
                                                            NoState,
                                                            kAdamParameters,
                                                            nullptr,
                                                            true};

// State: s[dim], z[dim].
inline constexpr Parameter<SparseOptimizer> kFtrlParameters[] = {
    kLr,
    kClipping,
    kMaxGradient,
    Number<&SparseOptimizer::beta>("beta", kPositive),
    Number<&SparseOptimizer::l1>("l1_regularization", kNotNegative),
    Number<&SparseOptimizer::l2>("l2_regularization", kNotNegative),
    Number<&SparseOptimizer::l21>("l21_regularization", kNotNegative)};
inline constexpr SparseOptimizerType kFtrl = {
    "ftrl", "ftrl_optimizer", [](int dim) { return 2 * dim; }, NoState, kFtrlParameters};

// State: s[dim], then the number of decays that s has had.
inline constexpr Parameter<SparseOptimizer> kAdagradDecayParameters[] = {
    kLr,
    kClipping,
    kMaxGradient,
    kInitialAccumulator,
    WholeNumber<&SparseOptimizer::decay_steps>("decay_steps", kPositive),
    Number<&SparseOptimizer::decay_rate>("decay_rate", kUpToOne)};
inline constexpr SparseOptimizerType kAdagradDecay = {"adagrad_decay",
                                                      "adagrad_decay_optimizer",
                                                      [](int dim) { return dim + 1; },
                                                      NoState,
                                                      kAdagradDecayParameters,
                                                      nullptr,
                                                      false,
                                                      true};

// State: momentum[dim].
inline constexpr Parameter<SparseOptimizer> kLarsSgdParameters[] = {
    kLr, kClipping, kMaxGradient, Number<&SparseOptimizer::momentum>("momentum", kBelowOne),
    kWeightDecay};
inline constexpr SparseOptimizerType kLarsSgd = {
    "lars_sgd", "lars_sgd_optimizer", [](int dim) { return dim; }, NoState, kLarsSgdParameters};

// State: exp_avg[dim], exp_avg_sq[dim].
inline constexpr SparseOptimizerType kLamb = {
    "lamb", "lamb_optimizer", [](int dim) { return 2 * dim; }, NoState, kAdamParameters, nullptr,
    true};

// State: exp_avg[dim], then one exp_avg_sq.
inline constexpr SparseOptimizerType kPartialRowwiseLamb = {"partial_rowwise_lamb",
                                                            "partial_rowwise_lamb_optimizer",
                                                            [](int dim) { return dim + 1; },
                                                            NoState,
                                                            kAdamParameters,
                                                            nullptr,
                                                            true};

// State: square_avg[dim], acc_delta[dim].
inline constexpr auto kEps = Number<&SparseOptimizer::eps>("eps", kPositive);
inline constexpr Parameter<SparseOptimizer> kAdadeltaParameters[] = {
    kLr, kClipping, kMaxGradient, kWeightDecay, Number<&SparseOptimizer::rho>("rho", kUpToOne),
    kEps};
inline constexpr SparseOptimizerType kAdadelta = {"adadelta", "adadelta_optimizer",
                                                  [](int dim) { return 2 * dim; }, NoState,
                                                  kAdadeltaParameters};

// State: square_avg[dim].
inline constexpr Parameter<SparseOptimizer> kRmspropParameters[] = {
    kLr, kClipping, kMaxGradient, kWeightDecay, Number<&SparseOptimizer::alpha>("alpha", kBelowOne),
    kEps};
inline constexpr SparseOptimizerType kRmsprop = {
    "rmsprop", "rmsprop_optimizer", [](int dim) { return dim; }, NoState, kRmspropParameters};

}  // namespace sparse_optimizer_types

constexpr const SparseOptimizerType* FindType(SparseOptimizerKind kind) {
  switch (kind) {
    case SparseOptimizerKind::kSgd:
      return &sparse_optimizer_types::kSgd;
    case SparseOptimizerKind::kAdagrad:
      return &sparse_optimizer_types::kAdagrad;
    case SparseOptimizerKind::kRowwiseAdagrad:
      return &sparse_optimizer_types::kRowwiseAdagrad;
    case SparseOptimizerKind::kAdam:
      return &sparse_optimizer_types::kAdam;
    case SparseOptimizerKind::kPartialRowwiseAdam:
      return &sparse_optimizer_types::kPartialRowwiseAdam;
    case SparseOptimizerKind::kFtrl:
      return &sparse_optimizer_types::kFtrl;
    case SparseOptimizerKind::kAdagradDecay:
      return &sparse_optimizer_types::kAdagradDecay;
    case SparseOptimizerKind::kLarsSgd:
      return &sparse_optimizer_types::kLarsSgd;
    case SparseOptimizerKind::kLamb:
      return &sparse_optimizer_types::kLamb;
    case SparseOptimizerKind::kPartialRowwiseLamb:
      return &sparse_optimizer_types::kPartialRowwiseLamb;
    case SparseOptimizerKind::kAdadelta:
      return &sparse_optimizer_types::kAdadelta;
    case SparseOptimizerKind::kRmsprop:
      return &sparse_optimizer_types::kRmsprop;
  }
  return nullptr;
}

// Why the state of this optimizer cannot be of the kind (nullopt: an unknown one), as the end of a
// sentence that names it; "": it can.
inline std::string StateKindFault(const SparseOptimizerType& type, std::optional<ValueKind> kind) {
  if (kind == ValueKind::kFp32) return "";
  if (kind != ValueKind::kBf16) return " is not supported; expected FP32 or BF16";
  return type.counts_in_state ? absl::StrCat(" cannot hold the counts in the state of ", type.name,
                                             "; expected FP32")
                              : "";
}

// Numbers of optimizer state per row.
constexpr int SparseStateDim(SparseOptimizerKind kind, int dim) {
  return TypeOf(kind).state_dim(dim);
}

// Numbers behind a row's values: the optimizer's state and, where the table counts clicks, their
// number.
inline int RowStateDim(SparseOptimizerKind kind, const Table& table) {
  return SparseStateDim(kind, table.dim) + (table.policy.counts_clicks() ? 1 : 0);
}
// A row of the table with its optimizer state.
inline RowShape ShapeOf(const SparseOptimizer& optimizer, const Table& table) {
  return {table.dim, SparseStateDim(optimizer.kind, table.dim), table.value_kind,
          optimizer.state_kind, table.policy.counts_clicks()};
}

}  // namespace pepnet
