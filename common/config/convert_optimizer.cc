#include <cmath>

#include "common/config/convert.h"
#include "common/config/value_strings.h"

namespace pepnet {
namespace {

using google::protobuf::Message;

// Reads float fields of one message and keeps the first range error.
class FloatReader {
 public:
  FloatReader(const Message& message, const ConfigSource& source) : message_(message), source_(source) {}

  // field in [low, high) or, with closed, [low, high]; not infinite.
  double Between(const std::string& field, float value, double low, double high, bool closed = false) {
    const double decimal = ShortestDecimal(value);
    const bool good = std::isfinite(decimal) && decimal >= low && (decimal < high || (closed && decimal == high));
    if (!good && status_.ok()) {
      status_ = source_.Error(message_, field, decimal, "; expected ",
                              std::isinf(high) ? absl::StrCat("a number >= ", low)
                                               : absl::StrCat(low, " <= value ", closed ? "<= " : "< ", high));
    }
    return decimal;
  }
  double NotNegative(const std::string& field, float value) { return Between(field, value, 0, HUGE_VAL); }
  double Positive(const std::string& field, float value) {
    const double decimal = ShortestDecimal(value);
    if (!(std::isfinite(decimal) && decimal > 0) && status_.ok()) {
      status_ = source_.Error(message_, field, decimal, "; expected a number > 0");
    }
    return decimal;
  }
  const Status& status() const { return status_; }

 private:
  const Message& message_;
  const ConfigSource& source_;
  Status status_;
};

Status ConvertManualStep(const config::ManualStepLR& from, const ConfigSource& source, Schedule* out) {
  out->kind = ScheduleKind::kManualStep;
  if (from.schedule_sizes_size() == 0)
    return source.Error(from, "schedule_sizes", "is missing; expected at least one size");
  if (from.learning_rates_size() != from.schedule_sizes_size()) {
    return source.Error(from, "learning_rates", "has ", from.learning_rates_size(), " values, schedule_sizes has ",
                        from.schedule_sizes_size(), "; expected as many");
  }
  for (const uint32_t size : from.schedule_sizes()) {
    if (!out->schedule_sizes.empty() && size <= out->schedule_sizes.back()) {
      return source.Error(from, "schedule_sizes", size, " follows ", out->schedule_sizes.back(),
                          "; expected strictly increasing sizes");
    }
    out->schedule_sizes.push_back(size);
  }
  if (from.warmup() && out->schedule_sizes.front() == 0) {
    return source.Error(from, "schedule_sizes", "starts with 0; with warmup, expected a first size > 0");
  }
  FloatReader read(from, source);
  for (const float rate : from.learning_rates())
    out->learning_rates.push_back(read.NotNegative("learning_rates", rate));
  out->warmup = from.warmup();
  out->by_epoch = from.by_epoch();
  return read.status();
}

// The fields that the schedules with warm-up share.
template <typename ProtoSchedule>
Status ConvertWarmup(const ProtoSchedule& from, const ConfigSource& source, Schedule* out) {
  FloatReader read(from, source);
  out->warmup_learning_rate = read.NotNegative("warmup_learning_rate", from.warmup_learning_rate());
  out->min_learning_rate = read.NotNegative("min_learning_rate", from.min_learning_rate());
  out->warmup_size = from.warmup_size();
  out->by_epoch = from.by_epoch();
  return read.status();
}

Status CheckSize(const Message& message, const std::string& field, uint32_t value, const ConfigSource& source) {
  if (value > 0) return absl::OkStatus();
  return source.Error(message, field, "is missing or 0; expected a number of steps or epochs > 0");
}

// SparseOptimizer and DenseOptimizer carry the same oneof.
template <typename ProtoOptimizer>
Status ConvertSchedule(const ProtoOptimizer& optimizer, ConfigSource* source, Schedule* out) {
  switch (optimizer.learning_rate_case()) {
    case ProtoOptimizer::kExponentialDecayLearningRate: {
      const config::ExponentialDecayLR& from = optimizer.exponential_decay_learning_rate();
      out->kind = ScheduleKind::kExponentialDecay;
      PEPNET_RETURN_IF_ERROR(CheckSize(from, "decay_size", from.decay_size(), *source));
      out->decay_size = from.decay_size();
      FloatReader read(from, *source);
      out->decay_factor = read.Positive("decay_factor", from.decay_factor());
      PEPNET_RETURN_IF_ERROR(read.status());
      out->staircase = from.staircase();
      return ConvertWarmup(from, *source, out);
    }
    case ProtoOptimizer::kManualStepLearningRate:
      return ConvertManualStep(optimizer.manual_step_learning_rate(), *source, out);
    case ProtoOptimizer::kCosineAnnealingLearningRate: {
      const config::CosineAnnealingLR& from = optimizer.cosine_annealing_learning_rate();
      out->kind = ScheduleKind::kCosineAnnealing;
      PEPNET_RETURN_IF_ERROR(CheckSize(from, "T_max", from.t_max(), *source));
      out->t_max = from.t_max();
      return ConvertWarmup(from, *source, out);
    }
    case ProtoOptimizer::kCosineAnnealingWarmRestartsLearningRate: {
      const config::CosineAnnealingWarmRestartsLR& from = optimizer.cosine_annealing_warm_restarts_learning_rate();
      out->kind = ScheduleKind::kCosineWarmRestarts;
      PEPNET_RETURN_IF_ERROR(CheckSize(from, "T_0", from.t_0(), *source));
      PEPNET_RETURN_IF_ERROR(CheckSize(from, "T_mult", from.t_mult(), *source));
      out->t_0 = from.t_0();
      out->t_mult = from.t_mult();
      return ConvertWarmup(from, *source, out);
    }
    case ProtoOptimizer::kConstantLearningRate:
      return absl::OkStatus();
    default:
      source->Note(optimizer, "", "no learning-rate schedule is set; the rate is constant");
      return absl::OkStatus();
  }
}

// lr is required in every optimizer message.
template <typename ProtoOptimizer>
Status ConvertLr(const ProtoOptimizer& from, const ConfigSource& source, double* out) {
  if (!from.has_lr()) return source.Error(from, "lr", "is missing; expected the learning rate, for example 0.001");
  FloatReader read(from, source);
  *out = read.NotNegative("lr", from.lr());
  return read.status();
}

template <typename ProtoOptimizer>
Status ConvertClipping(const ProtoOptimizer& from, const ConfigSource& source, SparseOptimizer* out) {
  PEPNET_RETURN_IF_ERROR(ConvertLr(from, source, &out->lr));
  FloatReader read(from, source);
  out->gradient_clipping = from.gradient_clipping();
  out->max_gradient = read.Positive("max_gradient", from.max_gradient());
  return read.status();
}

Status ConvertFusedAdam(const config::FusedAdamOptimizer& from, const ConfigSource& source, SparseOptimizer* out) {
  PEPNET_RETURN_IF_ERROR(ConvertClipping(from, source, out));
  FloatReader read(from, source);
  out->beta1 = read.Between("beta1", from.beta1(), 0, 1);
  out->beta2 = read.Between("beta2", from.beta2(), 0, 1);
  out->weight_decay = read.NotNegative("weight_decay", from.weight_decay());
  return read.status();
}

Status ConvertRowwiseAdagrad(const config::FusedRowWiseAdagradOptimizer& from, ConfigSource* source,
                             SparseOptimizer* out) {
  PEPNET_RETURN_IF_ERROR(ConvertClipping(from, *source, out));
  FloatReader read(from, *source);
  out->weight_decay = read.NotNegative("weight_decay", from.weight_decay());
  out->weight_decay_mode = from.weight_decay_mode() == config::L2         ? WeightDecayMode::kL2
                           : from.weight_decay_mode() == config::DECOUPLE ? WeightDecayMode::kDecouple
                                                                          : WeightDecayMode::kNone;
  if (out->weight_decay > 0 && out->weight_decay_mode == WeightDecayMode::kNone) {
    source->Note(from, "weight_decay", "without effect: weight_decay_mode is NONE; L2 or DECOUPLE make it count");
  }
  return read.status();
}

Status ConvertSgd(const config::SGDOptimizer& from, const ConfigSource& source, DenseOptimizer* out) {
  PEPNET_RETURN_IF_ERROR(ConvertLr(from, source, &out->lr));
  FloatReader read(from, source);
  out->momentum = read.NotNegative("momentum", from.momentum());
  out->dampening = read.NotNegative("dampening", from.dampening());
  out->weight_decay = read.NotNegative("weight_decay", from.weight_decay());
  out->nesterov = from.nesterov();
  PEPNET_RETURN_IF_ERROR(read.status());
  if (out->nesterov && (out->momentum <= 0 || out->dampening != 0)) {
    return source.Error(from, "nesterov", "needs momentum > 0 and dampening 0, got momentum ", out->momentum,
                        " and dampening ", out->dampening);
  }
  return absl::OkStatus();
}

Status ConvertAdam(const config::AdamOptimizer& from, const ConfigSource& source, DenseOptimizer* out) {
  PEPNET_RETURN_IF_ERROR(ConvertLr(from, source, &out->lr));
  FloatReader read(from, source);
  out->beta1 = read.Between("beta1", from.beta1(), 0, 1);
  out->beta2 = read.Between("beta2", from.beta2(), 0, 1);
  out->weight_decay = read.NotNegative("weight_decay", from.weight_decay());
  out->eps = read.Positive("eps", from.eps());
  out->amsgrad = from.amsgrad();
  return read.status();
}

}  // namespace

Status ConvertSparseOptimizer(const config::SparseOptimizer& optimizer, ConfigSource* source, SparseOptimizer* out) {
  switch (optimizer.optimizer_case()) {
    case config::SparseOptimizer::kSgdOptimizer:
      out->kind = SparseOptimizerKind::kSgd;
      PEPNET_RETURN_IF_ERROR(ConvertClipping(optimizer.sgd_optimizer(), *source, out));
      break;
    case config::SparseOptimizer::kAdagradOptimizer: {
      const config::FusedAdagradOptimizer& from = optimizer.adagrad_optimizer();
      out->kind = SparseOptimizerKind::kAdagrad;
      PEPNET_RETURN_IF_ERROR(ConvertClipping(from, *source, out));
      FloatReader read(from, *source);
      out->initial_accumulator_value = read.NotNegative("initial_accumulator_value", from.initial_accumulator_value());
      PEPNET_RETURN_IF_ERROR(read.status());
      break;
    }
    case config::SparseOptimizer::kAdamOptimizer:
      out->kind = SparseOptimizerKind::kAdam;
      PEPNET_RETURN_IF_ERROR(ConvertFusedAdam(optimizer.adam_optimizer(), *source, out));
      break;
    case config::SparseOptimizer::kPartialRowwiseAdamOptimizer:
      out->kind = SparseOptimizerKind::kPartialRowwiseAdam;
      PEPNET_RETURN_IF_ERROR(ConvertFusedAdam(optimizer.partial_rowwise_adam_optimizer(), *source, out));
      break;
    case config::SparseOptimizer::kRowwiseAdagradOptimizer:
      out->kind = SparseOptimizerKind::kRowwiseAdagrad;
      PEPNET_RETURN_IF_ERROR(ConvertRowwiseAdagrad(optimizer.rowwise_adagrad_optimizer(), source, out));
      break;
    default:
      return source->Error(optimizer, "", "no optimizer is set; expected for example adagrad_optimizer { lr: 0.001 }");
  }
  return ConvertSchedule(optimizer, source, &out->schedule);
}

Status ConvertDenseOptimizer(const config::DenseOptimizer& optimizer, ConfigSource* source, DenseOptimizer* out) {
  switch (optimizer.optimizer_case()) {
    case config::DenseOptimizer::kSgdOptimizer:
      out->kind = DenseOptimizerKind::kSgd;
      PEPNET_RETURN_IF_ERROR(ConvertSgd(optimizer.sgd_optimizer(), *source, out));
      break;
    case config::DenseOptimizer::kAdagradOptimizer: {
      const config::AdagradOptimizer& from = optimizer.adagrad_optimizer();
      out->kind = DenseOptimizerKind::kAdagrad;
      PEPNET_RETURN_IF_ERROR(ConvertLr(from, *source, &out->lr));
      FloatReader read(from, *source);
      out->weight_decay = read.NotNegative("weight_decay", from.weight_decay());
      out->initial_accumulator_value = read.NotNegative("initial_accumulator_value", from.initial_accumulator_value());
      out->eps = read.Positive("eps", from.eps());
      PEPNET_RETURN_IF_ERROR(read.status());
      break;
    }
    case config::DenseOptimizer::kAdamOptimizer:
      out->kind = DenseOptimizerKind::kAdam;
      PEPNET_RETURN_IF_ERROR(ConvertAdam(optimizer.adam_optimizer(), *source, out));
      break;
    case config::DenseOptimizer::kAdamwOptimizer:
      out->kind = DenseOptimizerKind::kAdamW;
      PEPNET_RETURN_IF_ERROR(ConvertAdam(optimizer.adamw_optimizer(), *source, out));
      break;
    case config::DenseOptimizer::kAdadeltaOptimizer: {
      const config::AdadeltaOptimizer& from = optimizer.adadelta_optimizer();
      out->kind = DenseOptimizerKind::kAdadelta;
      PEPNET_RETURN_IF_ERROR(ConvertLr(from, *source, &out->lr));
      FloatReader read(from, *source);
      out->rho = read.Between("rho", from.rho(), 0, 1, /*closed=*/true);
      out->eps = read.Positive("eps", from.eps());
      out->weight_decay = read.NotNegative("weight_decay", from.weight_decay());
      PEPNET_RETURN_IF_ERROR(read.status());
      break;
    }
    case config::DenseOptimizer::kRmspropOptimizer: {
      const config::RMSpropOptimizer& from = optimizer.rmsprop_optimizer();
      out->kind = DenseOptimizerKind::kRmsprop;
      PEPNET_RETURN_IF_ERROR(ConvertLr(from, *source, &out->lr));
      FloatReader read(from, *source);
      out->alpha = read.Between("alpha", from.alpha(), 0, 1);
      out->eps = read.Positive("eps", from.eps());
      out->weight_decay = read.NotNegative("weight_decay", from.weight_decay());
      PEPNET_RETURN_IF_ERROR(read.status());
      break;
    }
    default:
      return source->Error(optimizer, "", "no optimizer is set; expected for example adam_optimizer { lr: 0.001 }");
  }
  return ConvertSchedule(optimizer, source, &out->schedule);
}

}  // namespace pepnet
