#include "worker/report/hyperparameters.h"

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace pepnet {
namespace {

// The kind of an optimizer and the parameters that it has.
template <typename Optimizer>
void AddOptimizer(const std::string& name, const Optimizer& optimizer,
                  std::vector<Hyperparameter>* list) {
  const auto& type = TypeOf(optimizer.kind);
  list->push_back({name, std::string(type.name)});
  // The rate comes first, whatever its place among the parameters.
  list->push_back({name + ".lr", optimizer.lr});
  for (const auto& parameter : type.parameters) {
    if (std::string(parameter.name) == "lr") continue;
    const double value = parameter.get(optimizer);
    const bool is_choice = parameter.form == ParameterInfo::Form::kChoice ||
                           parameter.form == ParameterInfo::Form::kWord;
    const auto choice = static_cast<size_t>(value);
    if (is_choice && choice < parameter.choices.size()) {
      list->push_back(
          {absl::StrCat(name, ".", parameter.name), std::string(parameter.choices[choice])});
    } else {
      list->push_back({absl::StrCat(name, ".", parameter.name), value});
    }
  }
}

}  // namespace

// Numbers stay numbers, so that TensorBoard can plot a metric over them; lists become texts.
std::vector<Hyperparameter> HyperparametersOf(const JobConfig& config, int workers, uint64_t seed) {
  const TrainConfig& train = config.train;
  const Model& model = config.model;
  std::vector<Hyperparameter> list;
  const auto number = [&](const std::string& name, auto value) {
    list.push_back({name, static_cast<double>(value)});
  };
  number("batch_size", config.data.batch_size);
  number("workers", workers);
  // The product stands beside its factors, since it is what training depends on (law L2).
  number("global_batch_size", config.data.batch_size * workers);
  number("gradient_accumulation_steps", train.gradient_accumulation_steps);
  if (train.num_epochs > 0) number("num_epochs", train.num_epochs);
  if (train.num_steps > 0) number("num_steps", train.num_steps);
  number("seed", seed);
  AddOptimizer("sparse_optimizer", train.sparse_optimizer, &list);
  AddOptimizer("dense_optimizer", train.dense_optimizer, &list);
  for (size_t i = 0; i < train.part_optimizers.size(); ++i) {
    AddOptimizer(absl::StrCat("part_optimizers.", i), train.part_optimizers[i].optimizer, &list);
  }
  if (train.ema_decay.has_value()) number("ema_decay", *train.ema_decay);
  // Tables often share a width; the set shows each once.
  std::set<int> dims;
  for (const Table& table : config.tables) dims.insert(table.dim);
  list.push_back({"embedding_dim", absl::StrJoin(dims, ", ")});
  if (model.domain.has_value()) {
    number("epnet_hidden_unit", model.epnet_hidden_unit);
    number("epnet_gamma", model.epnet_gamma);
  }
  if (model.uia.has_value()) {
    list.push_back({"ppnet_hidden_units", absl::StrJoin(model.ppnet_hidden_units, ", ")});
    list.push_back({"ppnet_dropout_ratio", absl::StrJoin(model.ppnet_dropout_ratio, ", ")});
    number("ppnet_gamma", model.ppnet_gamma);
  }
  for (const Tower& tower : model.towers) {
    number(tower.name + ".weight", tower.weight);
    if (!tower.mlp.has_value()) continue;
    list.push_back({tower.name + ".hidden_units", absl::StrJoin(tower.mlp->hidden_units, ", ")});
    list.push_back({tower.name + ".dropout_ratio", absl::StrJoin(tower.mlp->dropout_ratio, ", ")});
  }
  return list;
}

}  // namespace pepnet
