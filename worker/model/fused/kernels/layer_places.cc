#include "worker/model/fused/kernels/layer_places.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "common/base/log_functions.h"

namespace pepnet {

int64_t LayerPlacer::Optional(const std::string& name) const {
  const int i = parameters_.Find(name);
  return i < 0 ? -1 : static_cast<int64_t>(parameters_.offset(i));
}

int64_t LayerPlacer::Required(const std::string& name) const {
  const int64_t place = Optional(name);
  CheckOrDie(place >= 0, "the parameter list lacks " + name);
  return place;
}

FusedLinear LayerPlacer::Linear(const std::string& module) const {
  const std::string name = module + ".weight";
  const int64_t place = Required(name);
  const std::vector<int64_t>& shape = parameters_.specs()[parameters_.Find(name)].shape;
  if (widest_ != nullptr) *widest_ = std::max(*widest_, shape[0]);
  return {place, Optional(module + ".bias"), shape[1], shape[0]};
}

FusedActivation LayerPlacer::Function(const std::string& module,
                                      const Activation& activation) const {
  const char* const weight = TypeOf(activation.kind).weight;
  return {activation.kind, static_cast<float>(activation.parameter),
          static_cast<float>(activation.parameter2),
          weight != nullptr ? Required(absl::StrCat(module, ".", weight)) : -1};
}

std::vector<FusedMlpLayer> LayerPlacer::HiddenLayers(const std::string& module, const Mlp& mlp,
                                                     int64_t first_number) const {
  std::vector<FusedMlpLayer> layers;
  for (size_t layer = 0; layer < mlp.hidden_units.size(); ++layer) {
    const std::string perceptron = module + ".mlp." + std::to_string(layer) + ".perceptron.";
    layers.push_back(
        {Linear(perceptron + "0"),
         mlp.use_ln ? Required(absl::StrCat(perceptron, NormName(mlp), ".weight")) : -1,
         mlp.use_ln ? Required(absl::StrCat(perceptron, NormName(mlp), ".bias")) : -1,
         Function(perceptron + ActivationName(mlp), mlp.activation),
         {mlp.dropout_ratio[layer], first_number + static_cast<int64_t>(layer)}});
  }
  return layers;
}

}  // namespace pepnet
