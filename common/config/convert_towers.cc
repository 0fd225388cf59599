#include <cmath>
#include <optional>
#include <set>

#include "common/config/convert.h"
#include "common/config/convert_parameters.h"
#include "common/config/parse/text_parser.h"
#include "common/config/values/value_strings.h"

namespace pepnet {

// PReLU has one weight or one per channel. One activation serves all layers of an MLP, so a weight
// per channel asks for layers of one width.
Status CheckWeights(const google::protobuf::Message& from, const std::string& field,
                    const Activation& activation, const std::vector<int>& widths,
                    const ConfigSource& source) {
  for (const int width : widths) {
    if (activation.weights == 1 || activation.weights == width) continue;
    return source.Error(from, field, "num_parameters=", activation.weights, " at a layer of width ",
                        width, "; expected 1 or that width");
  }
  return absl::OkStatus();
}

Status ConvertMlp(const config::MLP& from, const ConfigSource& source, Mlp* out) {
  PEPNET_RETURN_IF_ERROR(
      ConvertWidths(from, "hidden_units", from.hidden_units(), source, &out->hidden_units));
  PEPNET_RETURN_IF_ERROR(ConvertDropout(from, "dropout_ratio", from.dropout_ratio(),
                                        out->hidden_units.size(), source, &out->dropout_ratio));
  if (from.activation().empty()) {
    out->activation = {ActivationKind::kIdentity, 0};
  } else {
    // The MLPs of attentions work on [rows, positions, channels], where an axis has another number.
    const auto activation = ParseActivation(from.activation(), out->of_positions ? 3 : 2);
    if (!activation.ok()) return Annotate(activation.status(), source.Where(from, "activation"));
    out->activation = *activation;
  }
  if (from.use_bn() && from.use_ln()) {
    return source.Error(from, "use_bn", "true beside use_ln; expected at most one of the two");
  }
  out->use_ln = from.use_ln();
  out->use_bn = from.use_bn();
  // Batch norm subtracts the mean, which would cancel a bias in front of it; the reference leaves
  // it out, so its checkpoints have no such parameter.
  out->bias = from.bias() && !from.use_bn();
  return CheckWeights(from, "activation", out->activation, out->hidden_units, source);
}

namespace {

// The losses whose towers put out values, for messages.
std::string ValueLosses() {
  std::vector<std::string> names;
  for (const LossKind kind : AllKinds<LossKind>()) {
    if (!HasProbabilities(TypeOf(kind))) names.emplace_back(TypeOf(kind).name);
  }
  return JoinNames(names, " or ");
}

// The feature that the field `field` of `from` names; its first id is a key of the row.
Status ConvertKeyFeature(const google::protobuf::Message& from, const std::string& field,
                         const std::vector<Feature>& features, const ConfigSource& source,
                         int* out) {
  std::vector<std::string> names;
  for (const Feature& feature : features) names.push_back(feature.name);
  const std::string key =
      from.GetReflection()->GetString(from, from.GetDescriptor()->FindFieldByName(field));
  if (key.empty()) {
    return source.Error(from, field, "is missing; expected the name of an id feature");
  }
  *out = IndexOf(key, names);
  if (*out < 0) {
    return source.Error(from, field, "no feature is named \"", key, "\"", Suggestion(key, names));
  }
  if (features[*out].bucketizer == Bucketizer::kNone) {
    return source.Error(from, field, "\"", key, "\" has no ids; expected an id feature");
  }
  return absl::OkStatus();
}

// "2 or more", or the numbers that the loss has.
std::string ClassesOf(const LossType& type) {
  if (type.num_class > 0) return absl::StrCat(type.num_class);
  return HasClasses(type) ? "2 or more" : "1";
}

Status ConvertLoss(const config::LossConfig& from, const config::TaskTower& tower,
                   const std::vector<Feature>& features, const ConfigSource& source, Loss* out) {
  // The name of the oneof's member is the name of the loss: descriptions.cc proves at start that
  // both lists are the same.
  const google::protobuf::FieldDescriptor* const member = SetMember(from, "loss");
  const std::optional<LossKind> kind =
      member == nullptr ? std::nullopt : FindKind<LossKind>(&LossType::name, member->name());
  if (!kind.has_value()) {
    return source.Error(from, "", "is empty; expected ",
                        ListOfKinds<LossKind>(&LossType::name, " or "));
  }
  out->kind = *kind;
  const LossType& type = TypeOf(*kind);
  const google::protobuf::Message& settings = from.GetReflection()->GetMessage(from, member);
  PEPNET_RETURN_IF_ERROR(ConvertParameters(settings, type.parameters, source, out));
  // A loss either fixes the number of outputs (jrc_loss: 2), or wants several, or one.
  const int num_class = static_cast<int>(tower.num_class());
  if (type.num_class > 0 ? num_class != type.num_class : (num_class > 1) != HasClasses(type)) {
    return source.Error(tower, "num_class", num_class, " does not fit ", type.name, "; expected ",
                        ClassesOf(type));
  }
  if (HasSessions(type)) {
    PEPNET_RETURN_IF_ERROR(
        ConvertKeyFeature(settings, type.session_field, features, source, &out->session_feature));
  }
  out->name = absl::StrCat(type.name, "_", tower.tower_name());
  return absl::OkStatus();
}

// The num_class that a metric needs; "": this one fits.
std::string ClassesThatDoNotFit(const MetricType& type, uint32_t num_class) {
  switch (type.input) {
    case MetricInput::kScore:
      return num_class > 2 ? "1 or 2" : "";
    case MetricInput::kOneScore:
      return num_class > 1 ? "1" : "";
    case MetricInput::kClasses:
      return num_class < 2 ? "2 or more" : "";
    case MetricInput::kProbabilities:
    case MetricInput::kValue:
      return "";
  }
  return "";
}

// Metrics of probabilities need a tower with a classifying loss, metrics of values one with a loss
// of values.
// Config: MetricConfig or TrainMetricConfig.
template <typename Config>
Status ConvertMetric(const Config& from, const config::TaskTower& tower, bool has_probabilities,
                     bool has_value, const std::vector<Feature>& features,
                     const ConfigSource& source, Metric* out) {
  const google::protobuf::FieldDescriptor* const member = SetMember(from, "metric");
  const std::optional<MetricKind> kind =
      member == nullptr ? std::nullopt : FindKind<MetricKind>(&MetricType::name, member->name());
  if (!kind.has_value()) {
    std::vector<std::string> names;  // those that this message has
    for (const MetricKind known : AllKinds<MetricKind>()) {
      if (from.GetDescriptor()->FindFieldByName(TypeOf(known).name) != nullptr) {
        names.emplace_back(TypeOf(known).name);
      }
    }
    return source.Error(from, "", "is empty; expected ", JoinNames(names, " or "));
  }
  out->kind = *kind;
  const MetricType& type = TypeOf(*kind);
  const google::protobuf::Message& settings = from.GetReflection()->GetMessage(from, member);
  PEPNET_RETURN_IF_ERROR(ConvertParameters(settings, type.parameters, source, out));
  if (type.grouping_field != nullptr) {
    PEPNET_RETURN_IF_ERROR(
        ConvertKeyFeature(settings, type.grouping_field, features, source, &out->grouping_feature));
  }
  const bool of_value = type.input == MetricInput::kValue;
  if (of_value ? !has_value : !has_probabilities) {
    return source.Error(from, type.name, "needs a tower with ",
                        of_value ? ValueLosses() : "a classifying loss", ", but tower ",
                        tower.tower_name(), " has none");
  }
  if (const std::string needed = ClassesThatDoNotFit(type, tower.num_class()); !needed.empty()) {
    return source.Error(from, type.name, "needs num_class ", needed, ", but tower ",
                        tower.tower_name(), " has ", tower.num_class());
  }
  if (out->top_k > 1 && static_cast<uint32_t>(out->top_k) > tower.num_class()) {
    return source.Error(settings, "top_k", out->top_k, "; expected at most num_class of tower ",
                        tower.tower_name(), ", ", tower.num_class());
  }
  // Every class has counts of its own at every threshold, which the workers sum after an
  // evaluation; the bound keeps that sum in memory.
  constexpr uint64_t kMostCounts = uint64_t{1} << 24;
  if (type.input == MetricInput::kClasses &&
      out->thresholds * uint64_t{tower.num_class()} > kMostCounts) {
    return source.Error(settings, "thresholds", out->thresholds, " for each of ", tower.num_class(),
                        " classes; expected at most ", kMostCounts, " in all");
  }
  out->name = absl::StrCat(type.name, "_", tower.tower_name());
  return absl::OkStatus();
}

// A metric that needs its rows one by one keeps those of a window, which the length of a window
// must therefore bound.
Status CheckRowsOfWindow(const config::TrainMetricConfig& from, const TrainMetric& metric,
                         int64_t batch_size, const ConfigSource& source) {
  constexpr int64_t kMostRows = int64_t{1} << 26;  // on each worker: 1 GiB
  if (!TypeOf(metric.metric.kind).needs_rows || metric.decay_step <= kMostRows / batch_size) {
    return absl::OkStatus();
  }
  return source.Error(from, "decay_step", metric.decay_step, " steps of batch_size ", batch_size,
                      " make a window of more rows than ", TypeOf(metric.metric.kind).name,
                      " keeps; expected at most ", kMostRows, " on each worker, so lower it");
}

// The metrics of the batches that are trained on, each with its own decay. A name may stand once:
// it is the key in logs and files.
Status ConvertTrainMetrics(const config::TaskTower& tower, bool has_probabilities, bool has_value,
                           const JobConfig& job, const ConfigSource& source, Tower* out) {
  std::set<std::string> names;
  for (const config::TrainMetricConfig& from : tower.train_metrics()) {
    if (from.has_recall_at_k() || from.has_xauc()) continue;  // noted by field_support
    TrainMetric train_metric;
    PEPNET_RETURN_IF_ERROR(ConvertMetric(from, tower, has_probabilities, has_value, job.features,
                                         source, &train_metric.metric));
    if (!names.insert(train_metric.metric.name).second) {
      return source.Error(from, "", "a second ", train_metric.metric.name, "; keep one");
    }
    train_metric.decay_rate = ShortestDecimal(from.decay_rate());
    if (!(train_metric.decay_rate >= 0 && train_metric.decay_rate < 1)) {
      return source.Error(from, "decay_rate", train_metric.decay_rate, "; expected 0 <= value < 1");
    }
    train_metric.decay_step = from.decay_step();
    if (train_metric.decay_step == 0) {
      return source.Error(from, "decay_step", "0; expected at least 1 step");
    }
    PEPNET_RETURN_IF_ERROR(CheckRowsOfWindow(from, train_metric, job.data.batch_size, source));
    out->train_metrics.push_back(std::move(train_metric));
  }
  return absl::OkStatus();
}

// The weights of a row's loss (docs/spec.md section 2). Presence alone makes a task weighted,
// whatever the values: its loss is then normalised by the sum of the weights instead of the number
// of rows.
Status ConvertWeights(const config::TaskTower& from, const DataConfig& data,
                      const ConfigSource& source, Tower* out) {
  out->weighted =
      from.has_weight() || from.has_sample_weight_name() || from.has_task_space_indicator_label();
  out->weight = ShortestDecimal(from.weight());
  out->in_task_space_weight = ShortestDecimal(from.in_task_space_weight());
  out->out_task_space_weight = ShortestDecimal(from.out_task_space_weight());
  const std::pair<const char*, double> weights[] = {
      {"weight", out->weight},
      {"in_task_space_weight", out->in_task_space_weight},
      {"out_task_space_weight", out->out_task_space_weight}};
  for (const auto& [field, value] : weights) {
    if (!(value >= 0) || std::isinf(value)) {
      return source.Error(from, field, value, "; expected a number >= 0");
    }
  }
  if (from.has_sample_weight_name()) {
    out->sample_weight = IndexOf(from.sample_weight_name(), data.sample_weights);
    if (out->sample_weight < 0) {
      return source.Error(from, "sample_weight_name", "\"", from.sample_weight_name(),
                          "\" is not in data_config.sample_weight_fields; add it there",
                          Suggestion(from.sample_weight_name(), data.sample_weights));
    }
  }
  if (from.has_task_space_indicator_label()) {
    out->task_space_indicator = IndexOf(from.task_space_indicator_label(), data.labels);
    if (out->task_space_indicator < 0) {
      return source.Error(from, "task_space_indicator_label", "\"",
                          from.task_space_indicator_label(),
                          "\" is not in data_config.label_fields; add it there",
                          Suggestion(from.task_space_indicator_label(), data.labels));
    }
  }
  return absl::OkStatus();
}

Status ConvertTower(const config::TaskTower& from, const ConfigSource& source, const JobConfig& job,
                    Tower* out) {
  out->name = from.tower_name();
  if (out->name.empty()) return source.Error(from, "tower_name", "is missing; expected a name");
  if (from.label_name().empty()) {
    return source.Error(from, "label_name", "is missing; expected one of label_fields");
  }
  out->label = IndexOf(from.label_name(), job.data.labels);
  if (out->label < 0) {
    return source.Error(from, "label_name", "\"", from.label_name(),
                        "\" is not in data_config.label_fields; add it there",
                        Suggestion(from.label_name(), job.data.labels));
  }
  // The upper bound only catches typing errors and keeps later products in range.
  if (from.num_class() == 0 || from.num_class() > (1u << 20)) {
    return source.Error(from, "num_class", from.num_class(), "; expected 1 or more");
  }
  out->num_class = static_cast<int>(from.num_class());
  if (out->num_class > 1 && job.model.domain_label >= 0) {
    return source.Error(from, "num_class", out->num_class,
                        " together with domain_input_name is not supported; expected 1");
  }
  if (from.has_mlp()) PEPNET_RETURN_IF_ERROR(ConvertMlp(from.mlp(), source, &out->mlp.emplace()));

  if (from.losses_size() == 0) {
    return source.Error(from, "losses", "tower ", out->name, " has no loss; expected at least one");
  }
  std::set<std::string> names;
  // A tower has one output, which its losses share: it cannot be a logit and a value at once.
  bool has_probabilities = false, has_value = false;
  for (const config::LossConfig& loss : from.losses()) {
    PEPNET_RETURN_IF_ERROR(
        ConvertLoss(loss, from, job.features, source, &out->losses.emplace_back()));
    const Loss& converted = out->losses.back();
    if (!names.insert(converted.name).second) {
      return source.Error(loss, "", "a second ", converted.name, "; keep one");
    }
    (HasProbabilities(TypeOf(converted.kind)) ? has_probabilities : has_value) = true;
    if (has_value && has_probabilities) {
      return source.Error(loss, "", "tower ", out->name, " mixes ", ValueLosses(),
                          " with a classifying loss; give each its own tower");
    }
  }
  for (const config::MetricConfig& metric : from.metrics()) {
    PEPNET_RETURN_IF_ERROR(ConvertMetric(metric, from, has_probabilities, has_value, job.features,
                                         source, &out->metrics.emplace_back()));
    if (!names.insert(out->metrics.back().name).second) {
      return source.Error(metric, "", "a second ", out->metrics.back().name, "; keep one");
    }
  }
  PEPNET_RETURN_IF_ERROR(ConvertTrainMetrics(from, has_probabilities, has_value, job, source, out));
  return ConvertWeights(from, job.data, source, out);
}

}  // namespace

Status ConvertTowers(const config::PEPNet& pepnet, const ConfigSource& source, JobConfig* out) {
  if (pepnet.task_towers_size() == 0) {
    return source.Error(pepnet, "task_towers", "is missing; expected at least one tower");
  }
  std::set<std::string> suffixes;  // of the outputs
  for (const config::TaskTower& from : pepnet.task_towers()) {
    Tower tower;
    PEPNET_RETURN_IF_ERROR(ConvertTower(from, source, *out, &tower));
    // A tower with domains writes one output per domain, named <tower>_<domain>: a tower "ctr" with
    // two domains and another one called "ctr_1" would write the same column.
    for (int d = 0; d < out->model.domain_count; ++d) {
      const std::string suffix =
          out->model.domain_label < 0 ? tower.name : absl::StrCat(tower.name, "_", d);
      if (!suffixes.insert(suffix).second) {
        return source.Error(from, "tower_name", "\"", tower.name,
                            "\": two towers would write the outputs *_", suffix, "; rename one");
      }
    }
    out->model.towers.push_back(std::move(tower));
  }
  return absl::OkStatus();
}

}  // namespace pepnet
