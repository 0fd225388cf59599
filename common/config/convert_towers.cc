#include <cmath>
#include <set>
#include <type_traits>

#include "common/config/convert.h"
#include "common/config/text_parser.h"
#include "common/config/value_strings.h"

namespace pepnet {
namespace {

Status ConvertMlp(const config::MLP& from, const ConfigSource& source, Mlp* out) {
  PEPNET_RETURN_IF_ERROR(ConvertWidths(from, "hidden_units", from.hidden_units(), source, &out->hidden_units));
  PEPNET_RETURN_IF_ERROR(ConvertDropout(from, "dropout_ratio", from.dropout_ratio(), out->hidden_units.size(), source,
                                        &out->dropout_ratio));
  if (from.activation().empty()) {
    out->activation = {ActivationKind::kIdentity, 0};
  } else {
    const auto activation = ParseActivation(from.activation());
    if (!activation.ok()) return Annotate(activation.status(), source.Where(from, "activation"));
    out->activation = *activation;
  }
  out->bias = from.bias();
  out->use_ln = from.use_ln();
  return absl::OkStatus();
}

Status ConvertSmoothing(const google::protobuf::Message& message, float value, const ConfigSource& source,
                        double* out) {
  *out = ShortestDecimal(value);
  if (!(*out >= 0 && *out < 1)) return source.Error(message, "label_smoothing", *out, "; expected 0 <= value < 1");
  return absl::OkStatus();
}

Status ConvertLoss(const config::LossConfig& from, const config::TaskTower& tower, const ConfigSource& source,
                   Loss* out) {
  std::string type;
  bool fits = tower.num_class() == 1;
  switch (from.loss_case()) {
    case config::LossConfig::kBinaryCrossEntropy:
      type = "binary_cross_entropy";
      out->kind = LossKind::kBinaryCrossEntropy;
      PEPNET_RETURN_IF_ERROR(ConvertSmoothing(
          from.binary_cross_entropy(), from.binary_cross_entropy().label_smoothing(), source, &out->label_smoothing));
      break;
    case config::LossConfig::kSoftmaxCrossEntropy:
      type = "softmax_cross_entropy";
      out->kind = LossKind::kSoftmaxCrossEntropy;
      fits = tower.num_class() > 1;
      PEPNET_RETURN_IF_ERROR(ConvertSmoothing(
          from.softmax_cross_entropy(), from.softmax_cross_entropy().label_smoothing(), source, &out->label_smoothing));
      break;
    case config::LossConfig::kL2Loss:
      type = "l2_loss";
      out->kind = LossKind::kL2;
      break;
    case config::LossConfig::kBinaryFocalLoss: {
      const config::BinaryFocalLoss& focal = from.binary_focal_loss();
      type = "binary_focal_loss";
      out->kind = LossKind::kBinaryFocal;
      out->focal_gamma = ShortestDecimal(focal.gamma());
      out->focal_alpha = ShortestDecimal(focal.alpha());
      if (!(out->focal_alpha > 0 && out->focal_alpha < 1)) {
        return source.Error(focal, "alpha", out->focal_alpha, "; expected 0 < alpha < 1");
      }
      if (!(out->focal_gamma >= 0) || std::isinf(out->focal_gamma)) {
        return source.Error(focal, "gamma", out->focal_gamma, "; expected a number >= 0");
      }
      break;
    }
    default:
      return source.Error(from, "",
                          "is empty; expected binary_cross_entropy, binary_focal_loss, softmax_cross_entropy "
                          "or l2_loss");
  }
  if (!fits) {
    return source.Error(tower, "num_class", tower.num_class(), " does not fit ", type, "; expected ",
                        type == "softmax_cross_entropy" ? "2 or more" : "1");
  }
  out->name = absl::StrCat(type, "_", tower.tower_name());
  return absl::OkStatus();
}

Status ConvertGroupedAuc(const config::GroupedAUC& from, const std::vector<Feature>& features,
                         const ConfigSource& source, Metric* out) {
  out->kind = MetricKind::kGroupedAuc;
  std::vector<std::string> names;
  for (const Feature& feature : features) names.push_back(feature.name);
  const std::string& key = from.grouping_key();
  out->grouping_feature = IndexOf(key, names);
  if (out->grouping_feature < 0) {
    return source.Error(from, "grouping_key", "no feature is named \"", key, "\"", Suggestion(key, names));
  }
  if (features[out->grouping_feature].bucketizer == Bucketizer::kNone) {
    return source.Error(from, "grouping_key", "\"", key, "\" has no ids; expected an id feature");
  }
  return absl::OkStatus();
}

// Metrics of probabilities need a tower with a classifying loss, metrics of values one with l2_loss.
// Config: MetricConfig, or TrainMetricConfig, whose members are a subset.
template <typename Config>
Status ConvertMetric(const Config& from, const config::TaskTower& tower, bool has_probabilities, bool has_value,
                     const std::vector<Feature>& features, const ConfigSource& source, Metric* out) {
  constexpr bool kTraining = std::is_same_v<Config, config::TrainMetricConfig>;
  std::string type;
  bool binary = false;
  switch (from.metric_case()) {
    case Config::kAuc:
      type = "auc";
      binary = true;
      out->kind = MetricKind::kAuc;
      if (from.auc().thresholds() < 2 || from.auc().thresholds() > (1u << 24)) {
        return source.Error(from.auc(), "thresholds", from.auc().thresholds(), "; expected 2 or more");
      }
      out->thresholds = static_cast<int>(from.auc().thresholds());
      break;
    case Config::kAccuracy:
      type = "accuracy";
      out->kind = MetricKind::kAccuracy;
      out->threshold = ShortestDecimal(from.accuracy().threshold());
      if (!(out->threshold >= 0 && out->threshold <= 1)) {
        return source.Error(from.accuracy(), "threshold", out->threshold, "; expected a probability");
      }
      break;
    case Config::kMeanAbsoluteError:
      type = "mean_absolute_error";
      out->kind = MetricKind::kMeanAbsoluteError;
      break;
    case Config::kMeanSquaredError:
      type = "mean_squared_error";
      out->kind = MetricKind::kMeanSquaredError;
      break;
    default:
      if constexpr (!kTraining) {
        if (from.metric_case() == Config::kGroupedAuc) {
          type = "grouped_auc";
          binary = true;
          PEPNET_RETURN_IF_ERROR(ConvertGroupedAuc(from.grouped_auc(), features, source, out));
          break;
        }
      }
      return source.Error(from, "", "is empty; expected auc, ", kTraining ? "" : "grouped_auc, ",
                          "accuracy, mean_absolute_error or mean_squared_error");
  }
  const bool of_value = out->kind == MetricKind::kMeanAbsoluteError || out->kind == MetricKind::kMeanSquaredError;
  if (of_value ? !has_value : !has_probabilities) {
    return source.Error(from, type, "needs a tower with ", of_value ? "l2_loss" : "a classifying loss", ", but tower ",
                        tower.tower_name(), " has none");
  }
  if (binary && tower.num_class() > 2) {
    return source.Error(from, type, "needs num_class 1 or 2, but tower ", tower.tower_name(), " has ",
                        tower.num_class());
  }
  out->name = absl::StrCat(type, "_", tower.tower_name());
  return absl::OkStatus();
}

Status ConvertTrainMetrics(const config::TaskTower& tower, bool has_probabilities, bool has_value,
                           const std::vector<Feature>& features, const ConfigSource& source, Tower* out) {
  std::set<std::string> names;
  for (const config::TrainMetricConfig& from : tower.train_metrics()) {
    if (from.has_recall_at_k() || from.has_xauc()) continue;  // noted by field_support
    TrainMetric train_metric;
    PEPNET_RETURN_IF_ERROR(
        ConvertMetric(from, tower, has_probabilities, has_value, features, source, &train_metric.metric));
    if (!names.insert(train_metric.metric.name).second) {
      return source.Error(from, "", "a second ", train_metric.metric.name, "; keep one");
    }
    train_metric.decay_rate = ShortestDecimal(from.decay_rate());
    if (!(train_metric.decay_rate >= 0 && train_metric.decay_rate < 1)) {
      return source.Error(from, "decay_rate", train_metric.decay_rate, "; expected 0 <= value < 1");
    }
    train_metric.decay_step = from.decay_step();
    if (train_metric.decay_step == 0) return source.Error(from, "decay_step", "0; expected at least 1 step");
    out->train_metrics.push_back(std::move(train_metric));
  }
  return absl::OkStatus();
}

Status ConvertWeights(const config::TaskTower& from, const DataConfig& data, const ConfigSource& source, Tower* out) {
  out->weighted = from.has_weight() || from.has_sample_weight_name() || from.has_task_space_indicator_label();
  out->weight = ShortestDecimal(from.weight());
  out->in_task_space_weight = ShortestDecimal(from.in_task_space_weight());
  out->out_task_space_weight = ShortestDecimal(from.out_task_space_weight());
  const std::pair<const char*, double> weights[] = {{"weight", out->weight},
                                                    {"in_task_space_weight", out->in_task_space_weight},
                                                    {"out_task_space_weight", out->out_task_space_weight}};
  for (const auto& [field, value] : weights) {
    if (!(value >= 0) || std::isinf(value)) return source.Error(from, field, value, "; expected a number >= 0");
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
      return source.Error(from, "task_space_indicator_label", "\"", from.task_space_indicator_label(),
                          "\" is not in data_config.label_fields; add it there",
                          Suggestion(from.task_space_indicator_label(), data.labels));
    }
  }
  return absl::OkStatus();
}

Status ConvertTower(const config::TaskTower& from, const ConfigSource& source, const JobConfig& job, Tower* out) {
  out->name = from.tower_name();
  if (out->name.empty()) return source.Error(from, "tower_name", "is missing; expected a name");
  if (from.label_name().empty()) return source.Error(from, "label_name", "is missing; expected one of label_fields");
  out->label = IndexOf(from.label_name(), job.data.labels);
  if (out->label < 0) {
    return source.Error(from, "label_name", "\"", from.label_name(),
                        "\" is not in data_config.label_fields; add it there",
                        Suggestion(from.label_name(), job.data.labels));
  }
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
  bool has_probabilities = false, has_value = false;
  for (const config::LossConfig& loss : from.losses()) {
    PEPNET_RETURN_IF_ERROR(ConvertLoss(loss, from, source, &out->losses.emplace_back()));
    const Loss& converted = out->losses.back();
    if (!names.insert(converted.name).second) return source.Error(loss, "", "a second ", converted.name, "; keep one");
    (converted.kind == LossKind::kL2 ? has_value : has_probabilities) = true;
    if (has_value && has_probabilities) {
      return source.Error(loss, "", "tower ", out->name,
                          " mixes l2_loss with a classifying loss; give each its own tower");
    }
  }
  for (const config::MetricConfig& metric : from.metrics()) {
    PEPNET_RETURN_IF_ERROR(
        ConvertMetric(metric, from, has_probabilities, has_value, job.features, source, &out->metrics.emplace_back()));
    if (!names.insert(out->metrics.back().name).second) {
      return source.Error(metric, "", "a second ", out->metrics.back().name, "; keep one");
    }
  }
  PEPNET_RETURN_IF_ERROR(ConvertTrainMetrics(from, has_probabilities, has_value, job.features, source, out));
  return ConvertWeights(from, job.data, source, out);
}

}  // namespace

Status ConvertTowers(const config::PEPNet& pepnet, const ConfigSource& source, JobConfig* out) {
  if (pepnet.task_towers_size() == 0)
    return source.Error(pepnet, "task_towers", "is missing; expected at least one tower");
  std::set<std::string> suffixes;  // of the outputs
  for (const config::TaskTower& from : pepnet.task_towers()) {
    Tower tower;
    PEPNET_RETURN_IF_ERROR(ConvertTower(from, source, *out, &tower));
    for (int d = 0; d < out->model.domain_count; ++d) {
      const std::string suffix = out->model.domain_label < 0 ? tower.name : absl::StrCat(tower.name, "_", d);
      if (!suffixes.insert(suffix).second) {
        return source.Error(from, "tower_name", "\"", tower.name, "\": two towers would write the outputs *_", suffix,
                            "; rename one");
      }
    }
    out->model.towers.push_back(std::move(tower));
  }
  return absl::OkStatus();
}

}  // namespace pepnet
