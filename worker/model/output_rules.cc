#include "worker/model/output_rules.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log_functions.h"
#include "worker/model/labels.h"
#include "worker/model/pepnet_model.h"

namespace pepnet {
namespace {

using Kind = OutputRule::Kind;

void AddRules(const Tower& tower, const std::string& suffix, int index,
              std::map<std::string, OutputRule>* rules) {
  auto add = [&](const std::string& stem, int width, Kind kind) {
    rules->insert({stem + suffix, OutputRule{stem + suffix, width, index, kind}});
  };
  for (const Loss& loss : tower.losses) {
    const LossType& type = TypeOf(loss.kind);
    CheckOrDie(HasClasses(type) ? tower.num_class > 1 : tower.num_class == 1,
               "num_class of tower " + tower.name + " does not fit " + loss.name);
    switch (type.output) {
      case TowerOutput::kProbability:
        add("logits", 0, Kind::kRaw);
        add("probs", 0, Kind::kSigmoid);
        break;
      case TowerOutput::kClassProbabilities:
        add("logits", tower.num_class, Kind::kRaw);
        add("probs", tower.num_class, Kind::kSoftmax);
        if (tower.num_class == 2) add("probs1", 0, Kind::kSoftmaxColumn1);
        break;
      case TowerOutput::kValue:
        add("y", 0, Kind::kRaw);
        break;
    }
  }
}

}  // namespace

std::vector<OutputRule> OutputRules(const JobConfig& config) {
  const Model& model = config.model;
  // The map sorts the outputs by name and lets losses with the same output share it.
  std::map<std::string, OutputRule> by_name;
  for (size_t task = 0; task < model.towers.size(); ++task) {
    for (int domain = 0; domain < model.domain_count; ++domain) {
      std::string suffix = absl::StrCat("_", model.towers[task].name);
      if (model.domain_label >= 0) absl::StrAppend(&suffix, "_", domain);
      AddRules(model.towers[task], suffix, static_cast<int>(task) * model.domain_count + domain,
               &by_name);
    }
  }
  std::vector<OutputRule> rules;
  for (auto& [name, rule] : by_name) rules.push_back(std::move(rule));
  return rules;
}

StatusOr<std::vector<OwnDomainOutput>> OwnDomainOutputs(const JobConfig& config) {
  const Model& model = config.model;
  if (model.domain_label < 0) return std::vector<OwnDomainOutput>();
  const std::vector<OutputRule> rules = OutputRules(config);
  std::set<std::string> taken;
  std::map<std::string, OwnDomainOutput> by_name;
  for (size_t i = 0; i < rules.size(); ++i) {
    taken.insert(rules[i].name);
    const int domain = rules[i].tower % model.domain_count;
    // The suffix "_<domain>" makes the own domain's name; see AddRules().
    const std::string name =
        rules[i].name.substr(0, rules[i].name.size() - absl::StrCat("_", domain).size());
    OwnDomainOutput& own = by_name[name];
    own.name = name;
    own.width = rules[i].width;
    own.outputs.resize(static_cast<size_t>(model.domain_count));
    own.outputs[domain] = static_cast<int>(i);
  }
  std::vector<OwnDomainOutput> outputs;
  for (auto& [name, own] : by_name) {
    // The name would stand twice among the columns of a prediction.
    if (taken.count(name) > 0) {
      return InvalidInput(
          "the output ", name,
          " of each row's own domain would have the name of another tower's; rename "
          "one of the two towers");
    }
    outputs.push_back(std::move(own));
  }
  return outputs;
}

ModelOutput SelectOwnDomain(const JobConfig& config, const Batch& batch, const OwnDomainOutput& own,
                            const std::vector<ModelOutput>& outputs) {
  CheckOrDie(CheckDomains(config, batch).ok(),
             "domain labels must be checked before outputs are chosen by them");
  ModelOutput selected{own.name, own.width, {}};
  const int64_t width = std::max(own.width, 1);
  selected.values.resize(static_cast<size_t>(batch.rows * width));
  for (int64_t row = 0; row < batch.rows; ++row) {
    const ModelOutput& source =
        outputs[own.outputs[batch.labels[config.model.domain_label].integers[row]]];
    std::copy_n(source.values.begin() + row * width, width, selected.values.begin() + row * width);
  }
  return selected;
}

Kind MetricOutputKind(const Tower& tower) {
  // The first loss decides, as in the reference.
  switch (TypeOf(tower.losses.front().kind).output) {
    case TowerOutput::kProbability:
      return Kind::kSigmoid;
    case TowerOutput::kClassProbabilities:
      return tower.num_class == 2 ? Kind::kSoftmaxColumn1 : Kind::kSoftmax;
    case TowerOutput::kValue:
      return Kind::kRaw;
  }
  return Kind::kRaw;
}

std::string MetricOutput(const Tower& tower) {
  switch (MetricOutputKind(tower)) {
    case Kind::kSigmoid:
    case Kind::kSoftmax:
      return "probs";
    case Kind::kSoftmaxColumn1:
      return "probs1";
    case Kind::kRaw:
      return "y";
  }
  return "";
}

bool AnyTrainMetrics(const JobConfig& config) {
  const std::vector<Tower>& towers = config.model.towers;
  return std::any_of(towers.begin(), towers.end(),
                     [](const Tower& tower) { return !tower.train_metrics.empty(); });
}

std::vector<ModelOutput> OutputList(const JobConfig& config) {
  std::vector<ModelOutput> list;
  for (const OutputRule& rule : OutputRules(config)) list.push_back({rule.name, rule.width, {}});
  return list;
}

std::vector<ModelOutput> SelectMetricInputs(const JobConfig& config, const Batch& batch,
                                            const std::vector<ModelOutput>& outputs) {
  auto find = [&outputs](const std::string& name) -> const ModelOutput& {
    const auto found = std::find_if(outputs.begin(), outputs.end(),
                                    [&](const ModelOutput& o) { return o.name == name; });
    CheckOrDie(found != outputs.end(), "no model output named " + name);
    return *found;
  };
  const Model& model = config.model;
  std::vector<ModelOutput> selected;
  for (const Tower& tower : model.towers) {
    const std::string name = MetricOutput(tower) + "_" + tower.name;
    if (model.domain_label < 0) {
      selected.push_back(find(name));
      continue;
    }
    OwnDomainOutput own{name, 0, {}};
    for (int d = 0; d < model.domain_count; ++d) {
      const ModelOutput& output = find(absl::StrCat(name, "_", d));
      own.width = output.width;
      own.outputs.push_back(static_cast<int>(&output - outputs.data()));
    }
    selected.push_back(SelectOwnDomain(config, batch, own, outputs));
  }
  return selected;
}

void AppendOutputs(OutputRule::Kind kind, int64_t rows, int classes, const float* z,
                   std::vector<float>* out) {
  const bool softmax =
      kind == OutputRule::Kind::kSoftmax || kind == OutputRule::Kind::kSoftmaxColumn1;
  for (int64_t row = 0; row < rows; ++row, z += classes) {
    double sum = 0;
    // Probabilities are computed in double, with the largest logit taken off: they are the same for
    // every engine and command (law L5).
    const double largest = softmax ? *std::max_element(z, z + classes) : 0;
    for (int c = 0; softmax && c < classes; ++c) sum += std::exp(z[c] - largest);
    for (int c = 0; c < classes; ++c) {
      switch (kind) {
        case OutputRule::Kind::kRaw:
          out->push_back(z[c]);
          break;
        case OutputRule::Kind::kSigmoid:
          out->push_back(static_cast<float>(1 / (1 + std::exp(-static_cast<double>(z[c])))));
          break;
        case OutputRule::Kind::kSoftmax:
          out->push_back(static_cast<float>(std::exp(z[c] - largest) / sum));
          break;
        case OutputRule::Kind::kSoftmaxColumn1:
          if (c == 1) out->push_back(static_cast<float>(std::exp(z[c] - largest) / sum));
          break;
      }
    }
  }
}

}  // namespace pepnet
