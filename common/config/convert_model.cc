#include <cmath>

#include "common/config/convert.h"
#include "common/config/convert_parameters.h"
#include "common/config/parse/text_parser.h"
#include "common/config/values/value_strings.h"

namespace pepnet {
namespace {

constexpr uint32_t kMaxWidth = 1 << 24;

// gamma is the upper bound of a Gate NU's factors, gamma * sigma(...) (docs/spec.md 1.2). With
// gamma 2 an untrained gate, whose sigma is near 1/2, changes little.
Status ConvertGamma(const config::PEPNet& pepnet, const std::string& field, float value,
                    const ConfigSource& source, double* out) {
  *out = ShortestDecimal(value);
  if (!std::isfinite(*out) || *out <= 0) {
    return source.Error(pepnet, field, *out, "; expected a number > 0");
  }
  return absl::OkStatus();
}

// The width of the gate's hidden layer follows the main input where it is not set, hence behind
// ConvertGroups().
Status ConvertEpnet(const config::PEPNet& pepnet, ConfigSource* source, Model* model) {
  PEPNET_RETURN_IF_ERROR(
      ConvertGamma(pepnet, "epnet_gamma", pepnet.epnet_gamma(), *source, &model->epnet_gamma));
  model->epnet_hidden_unit = model->main.width;
  if (!pepnet.has_epnet_hidden_unit()) return absl::OkStatus();
  if (pepnet.epnet_hidden_unit() == 0 || pepnet.epnet_hidden_unit() > kMaxWidth) {
    return source->Error(pepnet, "epnet_hidden_unit", pepnet.epnet_hidden_unit(),
                         "; expected 1 to ", kMaxWidth,
                         ", or remove it to use the width of group all");
  }
  model->epnet_hidden_unit = static_cast<int>(pepnet.epnet_hidden_unit());
  if (!model->domain) {
    source->Note(pepnet, "epnet_hidden_unit",
                 "without effect: there is no domain group, so no EPNet");
  }
  return absl::OkStatus();
}

// Activation and gamma are checked even without a uia group, since a typing error is one either
// way.
Status ConvertPpnet(const config::PEPNet& pepnet, ConfigSource* source, Model* model) {
  const auto activation = ParseActivation(pepnet.ppnet_activation());
  if (!activation.ok()) {
    return Annotate(activation.status(), source->Where(pepnet, "ppnet_activation"));
  }
  model->ppnet_activation = *activation;
  PEPNET_RETURN_IF_ERROR(
      ConvertGamma(pepnet, "ppnet_gamma", pepnet.ppnet_gamma(), *source, &model->ppnet_gamma));
  if (!model->uia) {
    if (pepnet.ppnet_hidden_units_size() > 0) {
      source->Note(pepnet, "ppnet_hidden_units",
                   "without effect: there is no uia group, so no PPNet");
    }
    return absl::OkStatus();
  }
  if (pepnet.ppnet_hidden_units_size() == 0) {
    return source->Error(
        pepnet, "ppnet_hidden_units",
        "is missing, but there is a uia group; set the layer widths or remove the group");
  }
  PEPNET_RETURN_IF_ERROR(ConvertWidths(pepnet, "ppnet_hidden_units", pepnet.ppnet_hidden_units(),
                                       *source, &model->ppnet_hidden_units));
  PEPNET_RETURN_IF_ERROR(CheckWeights(pepnet, "ppnet_activation", model->ppnet_activation,
                                      model->ppnet_hidden_units, *source));
  return ConvertDropout(pepnet, "ppnet_dropout_ratio", pepnet.ppnet_dropout_ratio(),
                        model->ppnet_hidden_units.size(), *source, &model->ppnet_dropout_ratio);
}

// The bound on domains limits the towers: each domain has one per task.
Status ConvertDomain(const config::PEPNet& pepnet, const DataConfig& data, ConfigSource* source,
                     Model* model) {
  if (pepnet.task_domain_num() == 0 || pepnet.task_domain_num() > 4096) {
    return source->Error(pepnet, "task_domain_num", pepnet.task_domain_num(),
                         "; expected 1 to 4096 domains");
  }
  if (!pepnet.has_domain_input_name()) {
    if (pepnet.task_domain_num() > 1) {
      source->Note(pepnet, "task_domain_num", "without effect: domain_input_name is not set");
    }
    return absl::OkStatus();
  }
  model->domain_label = IndexOf(pepnet.domain_input_name(), data.labels);
  if (model->domain_label < 0) {
    return source->Error(pepnet, "domain_input_name", "\"", pepnet.domain_input_name(),
                         "\" is not in data_config.label_fields; add it there, the row's domain is "
                         "read as a label column");
  }
  model->domain_count = static_cast<int>(pepnet.task_domain_num());
  return absl::OkStatus();
}

// Random numbers of variational dropout: layers behind those of any network and its encoders
// (worker/model/dropout_mask.h), one for each group.
constexpr int64_t kFirstVariationalLayer = int64_t{1} << 30;

Status ConvertVariationalDropout(const config::ModelConfig& from, ConfigSource* source,
                                 Model* model) {
  if (!from.has_variational_dropout()) return absl::OkStatus();
  const config::VariationalDropout& dropout = from.variational_dropout();
  const double lambda = ShortestDecimal(dropout.regularization_lambda());
  if (!(lambda >= 0) || std::isinf(lambda)) {
    return source->Error(dropout, "regularization_lambda", lambda, "; expected a number >= 0");
  }
  int64_t layer = kFirstVariationalLayer;
  bool any = false;
  for (FeatureGroup* group : {&model->main, model->domain ? &*model->domain : nullptr,
                              model->uia ? &*model->uia : nullptr}) {
    ++layer;
    // The layer counts on for absent groups, too: the numbers of `uia` must not depend on whether
    // there is a domain group.
    if (group == nullptr || group->sources() < 2) continue;
    any = true;
    group->variational = VariationalDropout{
        absl::StrCat("model.group_variational_dropouts.", group->name, ".feature_p"),
        absl::StrCat(group->name, "_feature_p_loss"), lambda, layer};
  }
  if (!any) {
    source->Note(from, "variational_dropout", "without effect: no group has more than one feature");
  }
  return absl::OkStatus();
}

// The least weights of all losses leave something to divide.
Status ConvertPareto(const config::ModelConfig& from, ConfigSource* source, Model* model) {
  // The weights of all losses add up to 1 (docs/spec.md 2.3): least weights that reach 1 would
  // leave the solver no freedom.
  model->pareto_weights = from.use_pareto_loss_weight();
  double least = 0;
  for (int task = 0; task < from.pepnet().task_towers_size(); ++task) {
    const config::TaskTower& tower = from.pepnet().task_towers(task);
    if (!tower.has_pareto_min_loss_weight()) continue;
    const double weight = ShortestDecimal(tower.pareto_min_loss_weight());
    if (!model->pareto_weights) {
      source->Note(tower, "pareto_min_loss_weight",
                   "without effect: model_config.use_pareto_loss_weight is not set");
      continue;
    }
    if (!(weight >= 0 && weight < 1)) {
      return source->Error(tower, "pareto_min_loss_weight", weight, "; expected 0 <= weight < 1");
    }
    model->towers[task].pareto_min_weight = weight;
    least += weight * static_cast<double>(model->towers[task].losses.size());
    if (least < 1) continue;
    return source->Error(tower, "pareto_min_loss_weight", weight,
                         " brings the least weights of all losses to ", least,
                         "; expected a sum below 1");
  }
  return absl::OkStatus();
}

}  // namespace

int IndexOf(const std::string& name, const std::vector<std::string>& names) {
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return static_cast<int>(i);
  }
  return -1;
}

Status ConvertWidths(const google::protobuf::Message& message, const std::string& field,
                     const google::protobuf::RepeatedField<uint32_t>& widths,
                     const ConfigSource& source, std::vector<int>* out) {
  if (widths.empty()) {
    return source.Error(message, field, "is missing; expected at least one layer width");
  }
  for (const uint32_t width : widths) {
    if (width == 0 || width > kMaxWidth) {
      return source.Error(message, field, width, "; expected layer widths from 1 to ", kMaxWidth);
    }
    out->push_back(static_cast<int>(width));
  }
  return absl::OkStatus();
}

Status ConvertDropout(const google::protobuf::Message& message, const std::string& field,
                      const google::protobuf::RepeatedField<float>& ratios, size_t layers,
                      const ConfigSource& source, std::vector<double>* out) {
  if (ratios.size() > 1 && static_cast<size_t>(ratios.size()) != layers) {
    return source.Error(message, field, "has ", ratios.size(), " values for ", layers,
                        " layers; expected none, one for all layers, or one per layer");
  }
  // A ratio of 1 would drop everything and divide by 1 - ratio = 0.
  for (const float ratio : ratios) {
    if (!(ratio >= 0 && ratio < 1)) {
      return source.Error(message, field, ratio, "; expected 0 <= ratio < 1");
    }
    out->push_back(ShortestDecimal(ratio));
  }
  const double fill = out->empty() ? 0 : out->front();
  out->resize(layers, fill);
  return absl::OkStatus();
}

// The order follows what a part needs from those before it: groups give widths, domains give the
// names of towers' outputs, and Pareto weights count the towers' losses.
Status ConvertModel(const config::EasyRecConfig& config, ConfigSource* source, JobConfig* out) {
  const config::ModelConfig& from = config.model_config();
  if (!from.has_pepnet()) {
    return source->Error(from, "pepnet", "is missing; it is the only model supported");
  }
  const config::PEPNet& pepnet = from.pepnet();
  Model* model = &out->model;
  PEPNET_RETURN_IF_ERROR(ConvertGroups(config, source, out));
  PEPNET_RETURN_IF_ERROR(ConvertVariationalDropout(from, source, model));
  PEPNET_RETURN_IF_ERROR(ConvertEpnet(pepnet, source, model));
  PEPNET_RETURN_IF_ERROR(ConvertPpnet(pepnet, source, model));
  PEPNET_RETURN_IF_ERROR(ConvertDomain(pepnet, out->data, source, model));
  PEPNET_RETURN_IF_ERROR(ConvertTowers(pepnet, *source, out));
  PEPNET_RETURN_IF_ERROR(ConvertPareto(from, source, model));
  for (const config::TaskTower& tower : pepnet.task_towers()) {
    for (const char* field : {"in_task_space_weight", "out_task_space_weight"}) {
      if (!tower.has_task_space_indicator_label() && HasField(tower, field)) {
        source->Note(tower, field, "without effect: task_space_indicator_label is not set");
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace pepnet
