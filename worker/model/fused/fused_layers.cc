#include "worker/model/fused/fused_layers.h"

#include <algorithm>
#include <string>
#include <utility>

#include "common/base/log_functions.h"

namespace pepnet {
namespace {

class Placer {
 public:
  Placer(const DenseParameters& parameters, int64_t* widest) : parameters_(parameters), widest_(widest) {}

  int64_t Optional(const std::string& name) const {
    const int i = parameters_.Find(name);
    return i < 0 ? -1 : static_cast<int64_t>(parameters_.offset(i));
  }
  int64_t Required(const std::string& name) const {
    const int64_t place = Optional(name);
    CheckOrDie(place >= 0, "the parameter list lacks " + name);
    return place;
  }
  FusedLinear Linear(const std::string& module) const {
    const std::string name = module + ".weight";
    const int64_t place = Required(name);
    const std::vector<int64_t>& shape = parameters_.specs()[parameters_.Find(name)].shape;
    *widest_ = std::max(*widest_, shape[0]);
    return {place, Optional(module + ".bias"), shape[1], shape[0]};
  }
  FusedGate Gate(const std::string& module, double gamma) const {
    return {Linear(module + ".dense_layers.0"), Linear(module + ".dense_layers.2"), static_cast<float>(gamma)};
  }
  FusedActivation Function(const std::string& module, const Activation& activation) const {
    const bool trained = TypeOf(activation.kind).trained;
    return {activation.kind, static_cast<float>(activation.parameter), trained ? Required(module + ".weight") : -1};
  }

 private:
  const DenseParameters& parameters_;
  int64_t* const widest_;
};

}  // namespace

FusedLayers PlaceLayers(const JobConfig& config, const DenseParameters& parameters) {
  const Model& model = config.model;
  FusedLayers layers;
  const Placer place(parameters, &layers.widest);
  if (model.domain.has_value()) layers.epnet = place.Gate("model.epnet.gate_nu", model.epnet_gamma);
  int64_t number = 0;
  if (model.uia.has_value()) {
    for (size_t task = 0; task < model.towers.size(); ++task) {
      std::vector<FusedPpnetLayer>& list = layers.ppnet.emplace_back();
      for (size_t layer = 0; layer < model.ppnet_hidden_units.size(); ++layer, ++number) {
        const std::string k = std::to_string(number);  // task * layers + layer
        list.push_back({place.Linear("model.ppnet.linears." + k),
                        place.Function("model.ppnet.activations." + k, model.ppnet_activation),
                        place.Gate("model.ppnet.gate_nus." + k, model.ppnet_gamma),
                        {model.ppnet_dropout_ratio[layer], number}});
      }
    }
  }
  for (size_t i = 0; i < model.towers.size() * model.domain_count; ++i) {
    const std::string module = "model._task_tower." + std::to_string(i);
    const Tower& tower = model.towers[i / model.domain_count];
    FusedTower& net = layers.towers.emplace_back();
    const size_t count = tower.mlp.has_value() ? tower.mlp->hidden_units.size() : 0;
    for (size_t layer = 0; layer < count; ++layer, ++number) {
      const std::string perceptron = module + ".tower_mlp.mlp." + std::to_string(layer) + ".perceptron.";
      const bool norm = tower.mlp->use_ln;
      net.mlp.push_back({place.Linear(perceptron + "0"),
                         norm ? place.Required(perceptron + "1.weight") : -1,
                         norm ? place.Required(perceptron + "1.bias") : -1,
                         place.Function(perceptron + (norm ? "2" : "1"), tower.mlp->activation),
                         {tower.mlp->dropout_ratio[layer], number}});
    }
    net.linear = place.Linear(module + ".linear");
  }
  return layers;
}

}  // namespace pepnet
