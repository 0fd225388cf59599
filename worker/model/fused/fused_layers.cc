#include "worker/model/fused/fused_layers.h"

#include <string>

namespace pepnet {
namespace {

FusedGate PlaceGate(const LayerPlacer& place, const std::string& module, double gamma) {
  return {place.Linear(module + ".dense_layers.0"), place.Linear(module + ".dense_layers.2"),
          static_cast<float>(gamma)};
}

}  // namespace

FusedLayers PlaceLayers(const JobConfig& config, const DenseParameters& parameters) {
  const Model& model = config.model;
  FusedLayers layers;
  const LayerPlacer place(&parameters, &layers.widest);
  if (model.domain.has_value()) {
    layers.epnet = PlaceGate(place, "model.epnet.gate_nu", model.epnet_gamma);
  }
  // Dropout layers are numbered in the reference's order: PPNet's by task and layer, then the
  // towers'. The number is part of the mask's key, so it must not depend on which layers have
  // dropout.
  int64_t number = 0;
  if (model.uia.has_value()) {
    for (size_t task = 0; task < model.towers.size(); ++task) {
      std::vector<FusedPpnetLayer>& list = layers.ppnet.emplace_back();
      for (size_t layer = 0; layer < model.ppnet_hidden_units.size(); ++layer, ++number) {
        const std::string k = std::to_string(number);  // task * layers + layer
        list.push_back({place.Linear("model.ppnet.linears." + k),
                        place.Function("model.ppnet.activations." + k, model.ppnet_activation),
                        PlaceGate(place, "model.ppnet.gate_nus." + k, model.ppnet_gamma),
                        {model.ppnet_dropout_ratio[layer], number}});
      }
    }
  }
  // The number is task * domain_count + domain, as in the reference's list of towers.
  for (size_t i = 0; i < model.towers.size() * model.domain_count; ++i) {
    const std::string module = "model._task_tower." + std::to_string(i);
    const Tower& tower = model.towers[i / model.domain_count];
    FusedTower& net = layers.towers.emplace_back();
    if (tower.mlp.has_value()) {
      net.mlp = place.HiddenLayers(module + ".tower_mlp", *tower.mlp, number);
    }
    number += static_cast<int64_t>(net.mlp.size());
    net.linear = place.Linear(module + ".linear");
  }
  return layers;
}

}  // namespace pepnet
