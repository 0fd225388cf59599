#include <optional>

#include "common/config/convert.h"
#include "common/config/convert_parameters.h"
#include "common/config/values/value_strings.h"
#include "common/expression/name_pattern.h"

namespace pepnet {
namespace {

using google::protobuf::Message;

// Reads float fields of one message and keeps the first range error. A caller reads all its fields
// first and asks for status() once, so conversions read like assignments.
class FloatReader {
 public:
  FloatReader(const Message& message, const ConfigSource& source)
      : message_(message), source_(source) {}

  double NotNegative(const std::string& field, float value) {
    return In(kNotNegative, field, value);
  }
  double Positive(const std::string& field, float value) { return In(kPositive, field, value); }
  const Status& status() const { return status_; }

 private:
  // The value is the decimal that the user wrote, not the float that protobuf keeps: 0.1f is
  // 0.100000001490116.
  double In(const ValueRange& range, const std::string& field, float value) {
    const double decimal = ShortestDecimal(value);
    if (!range.Contains(decimal) && status_.ok()) {
      status_ = source_.Error(message_, field, decimal, "; expected ", range.expected);
    }
    return decimal;
  }

  const Message& message_;
  const ConfigSource& source_;
  Status status_;
};

Status ConvertManualStep(const config::ManualStepLR& from, const ConfigSource& source,
                         Schedule* out) {
  out->kind = ScheduleKind::kManualStep;
  if (from.schedule_sizes_size() == 0) {
    return source.Error(from, "schedule_sizes", "is missing; expected at least one size");
  }
  if (from.learning_rates_size() != from.schedule_sizes_size()) {
    return source.Error(from, "learning_rates", "has ", from.learning_rates_size(),
                        " values, schedule_sizes has ", from.schedule_sizes_size(),
                        "; expected as many");
  }
  for (const uint32_t size : from.schedule_sizes()) {
    if (!out->schedule_sizes.empty() && size <= out->schedule_sizes.back()) {
      return source.Error(from, "schedule_sizes", size, " follows ", out->schedule_sizes.back(),
                          "; expected strictly increasing sizes");
    }
    out->schedule_sizes.push_back(size);
  }
  // The warm-up rises over the first size, by which it divides.
  if (from.warmup() && out->schedule_sizes.front() == 0) {
    return source.Error(from, "schedule_sizes",
                        "starts with 0; with warmup, expected a first size > 0");
  }
  FloatReader read(from, source);
  for (const float rate : from.learning_rates()) {
    out->learning_rates.push_back(read.NotNegative("learning_rates", rate));
  }
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

// Schedules divide by these fields, and what is not set is 0.
Status CheckSize(const Message& message, const std::string& field, uint32_t value,
                 const ConfigSource& source) {
  if (value > 0) return absl::OkStatus();
  return source.Error(message, field, "is missing or 0; expected a number of steps or epochs > 0");
}

Status ConvertLinearDecay(const config::LinearDecayLR& from, const ConfigSource& source,
                          Schedule* out) {
  out->kind = ScheduleKind::kLinearDecay;
  PEPNET_RETURN_IF_ERROR(CheckSize(from, "num_training_steps", from.num_training_steps(), source));
  out->num_training_steps = from.num_training_steps();
  if (from.warmup_size() >= from.num_training_steps()) {
    return source.Error(from, "warmup_size", from.warmup_size(),
                        "; expected less than num_training_steps, which is ",
                        from.num_training_steps(), " and counts the warm-up");
  }
  return ConvertWarmup(from, source, out);
}

// SparseOptimizer, DenseOptimizer and PartOptimizer carry the same oneof. Without a schedule *out
// becomes `otherwise`.
template <typename ProtoOptimizer>
Status ConvertSchedule(const ProtoOptimizer& optimizer, const Schedule* otherwise,
                       ConfigSource* source, Schedule* out) {
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
    case ProtoOptimizer::kLinearDecayLearningRate:
      return ConvertLinearDecay(optimizer.linear_decay_learning_rate(), *source, out);
    case ProtoOptimizer::kCosineAnnealingLearningRate: {
      const config::CosineAnnealingLR& from = optimizer.cosine_annealing_learning_rate();
      out->kind = ScheduleKind::kCosineAnnealing;
      PEPNET_RETURN_IF_ERROR(CheckSize(from, "T_max", from.t_max(), *source));
      out->t_max = from.t_max();
      return ConvertWarmup(from, *source, out);
    }
    case ProtoOptimizer::kCosineAnnealingWarmRestartsLearningRate: {
      const config::CosineAnnealingWarmRestartsLR& from =
          optimizer.cosine_annealing_warm_restarts_learning_rate();
      out->kind = ScheduleKind::kCosineWarmRestarts;
      PEPNET_RETURN_IF_ERROR(CheckSize(from, "T_0", from.t_0(), *source));
      PEPNET_RETURN_IF_ERROR(CheckSize(from, "T_mult", from.t_mult(), *source));
      out->t_0 = from.t_0();
      out->t_mult = from.t_mult();
      return ConvertWarmup(from, *source, out);
    }
    case ProtoOptimizer::kConstantLearningRate:
      return absl::OkStatus();
    case ProtoOptimizer::LEARNING_RATE_NOT_SET:
      break;
  }
  if (otherwise != nullptr) {
    *out = *otherwise;
  } else {
    source->Note(optimizer, "", "no learning-rate schedule is set; the rate is constant");
  }
  return absl::OkStatus();
}

// Says which defaults stand in for fields that a config normally sets (law L7).
template <typename Owner>
void NoteDefaults(const Message& from, std::span<const Parameter<Owner>> parameters,
                  ConfigSource* source) {
  for (const Parameter<Owner>& parameter : parameters) {
    // Parameters that are marked as `told` are noted: the learning rate, say, not every epsilon.
    if (!parameter.told || HasField(from, parameter.name)) continue;
    const auto* const field = from.GetDescriptor()->FindFieldByName(parameter.name);
    std::string value;
    google::protobuf::TextFormat::PrintFieldValueToString(from, field, -1, &value);
    source->Note(from, parameter.name,
                 absl::StrCat("is not set; the schema's default ", value, " is used"));
  }
}

// One of the optimizers that Type describes: `optimizer` is config::SparseOptimizer,
// config::DenseOptimizer or config::PartOptimizer, whose oneof "optimizer" names the kind.
// `schedule`: if it has none of its own; null: constant.
template <typename Type, typename ProtoOptimizer, typename Optimizer>
Status ConvertOptimizer(const ProtoOptimizer& optimizer, const std::string& example,
                        const Schedule* schedule, ConfigSource* source, Optimizer* out) {
  using Kind = decltype(out->kind);
  const google::protobuf::FieldDescriptor* const member = SetMember(optimizer, "optimizer");
  const std::optional<Kind> kind =
      member == nullptr ? std::nullopt : FindKind<Kind>(&Type::field, member->name());
  if (!kind.has_value()) {
    return source->Error(optimizer, "", "no optimizer is set; expected for example ", example);
  }
  out->kind = *kind;
  const Type& type = TypeOf(*kind);
  const Message& from = optimizer.GetReflection()->GetMessage(optimizer, member);
  PEPNET_RETURN_IF_ERROR(ConvertParameters(from, type.parameters, *source, out));
  NoteDefaults(from, type.parameters, source);
  // Single fields are checked by their ranges; this check sees combinations, of which some are an
  // error and some only worth a note.
  if (type.check != nullptr) {
    if (const std::optional<Finding> finding = type.check(*out); finding.has_value()) {
      if (finding->is_error) return source->Error(from, finding->field, finding->text);
      source->Note(from, finding->field, finding->text);
    }
  }
  return ConvertSchedule(optimizer, schedule, source, &out->schedule);
}

}  // namespace

Status ConvertSparseOptimizer(const config::SparseOptimizer& optimizer, ConfigSource* source,
                              SparseOptimizer* out) {
  PEPNET_RETURN_IF_ERROR(ConvertOptimizer<SparseOptimizerType>(
      optimizer, "adagrad_optimizer { lr: 0.001 }", nullptr, source, out));
  const std::string& name = optimizer.state_data_type();
  const SparseOptimizerType& type = TypeOf(out->kind);
  const std::optional<ValueKind> kind = FindKind<ValueKind>(&ValueType::name, name);
  const std::string fault = StateKindFault(type, kind);
  if (!fault.empty()) {
    return source->Error(optimizer, "state_data_type", "\"", name, "\"", fault);
  }
  out->state_kind = *kind;
  if (out->state_kind == ValueKind::kFp32) return absl::OkStatus();
  constexpr int kAnyWidth = 8;
  const ValueType &wide = TypeOf(ValueKind::kFp32), &narrow = TypeOf(out->state_kind);
  const int numbers = type.state_dim(kAnyWidth);
  if (narrow.value_bytes(numbers) == wide.value_bytes(numbers)) {
    source->Note(optimizer, "state_data_type",
                 absl::StrCat(name, " saves nothing: ", type.field, " keeps ",
                              numbers == 0 ? "no state" : "one number of state a row, in 4 bytes"));
  }
  return absl::OkStatus();
}

Status ConvertDenseOptimizer(const config::DenseOptimizer& optimizer, ConfigSource* source,
                             DenseOptimizer* out) {
  return ConvertOptimizer<DenseOptimizerType>(optimizer, "adam_optimizer { lr: 0.001 }", nullptr,
                                              source, out);
}

// Part optimizers are converted after the main one, whose schedule they take where they have none.
// Patterns are only parsed here; the trainer matches them once the parameters have names.
Status ConvertPartOptimizers(const config::DenseOptimizer& optimizer, ConfigSource* source,
                             TrainConfig* out) {
  for (const config::PartOptimizer& part : optimizer.part_optimizers()) {
    if (part.regex_pattern().empty()) {
      return source->Error(part, "regex_pattern",
                           "is missing; expected an expression that matches whole names of ",
                           "parameters, for example \"model\\\\.epnet\\\\..*\"");
    }
    if (const auto pattern = NamePattern::Parse(part.regex_pattern()); !pattern.ok()) {
      return source->Error(part, "regex_pattern", pattern.status().message());
    }
    PartOptimizer& to = out->part_optimizers.emplace_back();
    to.pattern = part.regex_pattern();
    PEPNET_RETURN_IF_ERROR(ConvertOptimizer<DenseOptimizerType>(
        part, "adam_optimizer { lr: 0.001 }", &out->dense_optimizer.schedule, source,
        &to.optimizer));
  }
  return absl::OkStatus();
}

Status ConvertEma(const config::DenseOptimizer& optimizer, const ConfigSource& source,
                  TrainConfig* out) {
  if (!optimizer.has_ema()) return absl::OkStatus();
  const double decay = ShortestDecimal(optimizer.ema().decay());
  if (!kUpToOne.Contains(decay)) {
    return source.Error(optimizer.ema(), "decay", decay, "; expected ", kUpToOne.expected);
  }
  out->ema_decay = decay;
  return absl::OkStatus();
}

}  // namespace pepnet
