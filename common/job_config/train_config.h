// The settings of training, evaluation and export.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/job_config/best_rule.h"
#include "common/job_config/dense_optimizer.h"
#include "common/job_config/sparse_optimizer.h"

namespace pepnet {

enum class ClippingType { kNone, kNorm, kValue };

struct TrainConfig {
  SparseOptimizer sparse_optimizer;
  DenseOptimizer dense_optimizer;  // of the parameters that no part optimizer takes
  std::vector<PartOptimizer> part_optimizers;
  // Of the averages of the dense parameters; unset: there are none.
  std::optional<double> ema_decay;
  int64_t num_steps = 0;  // exactly one of num_steps and num_epochs is > 0
  int64_t num_epochs = 0;
  int64_t save_checkpoints_steps = 1000;  // ignored if save_checkpoints_epochs > 0
  int64_t save_checkpoints_epochs = 0;
  int64_t keep_checkpoint_max = 0;  // 0: keep all
  std::string fine_tune_checkpoint;
  // Name in this model -> name in the checkpoint.
  std::map<std::string, std::string> fine_tune_param_map;
  int64_t log_step_count_steps = 100;
  bool use_tensorboard = true;
  // The parts of a logged step that go to TensorBoard; metrics and speed always do.
  bool summarize_loss = true, summarize_learning_rate = true;
  bool summarize_global_gradient_norm = false, summarize_gradient_norm = false;
  int64_t gradient_accumulation_steps = 1;  // 1: none
  ClippingType clipping = ClippingType::kNone;
  double clip_max_gradient = 1;
  double clip_norm_type = 2;
  std::string mixed_precision;  // "" or "BF16"
  BestRule best;                // keep_best and patience, or what ExportConfig::best asks for
};

// A column whose values cut an evaluation into slices. Exactly one of the two is >= 0.
struct SliceColumn {
  std::string name;
  int feature = -1;  // index of a feature with ids: the first id of a row
  int label = -1;    // index into DataConfig::labels, of a column of whole numbers
};

struct EvalConfig {
  int64_t num_steps = 0;  // 0: all
  int64_t log_step_count_steps = 10;
  bool uses_averages = false;  // in place of the dense parameters
  std::vector<SliceColumn> slice_by;
  int slice_top = 20;  // values of a column with slices of their own
};

// The choice of `export` and `predict`: the checkpoint, when none is named, and which of its
// weights.
struct ExportConfig {
  bool best = false;  // the best by TrainConfig::best; false: the newest
  // With best: why no evaluation can be the best, a sentence; "" if one can.
  std::string no_best;
  bool uses_averages = false;  // in place of the dense parameters
};

}  // namespace pepnet
