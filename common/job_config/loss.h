// Loss: what a task tower minimises.
#pragma once

#include <string>

namespace pepnet {

enum class LossKind { kBinaryCrossEntropy, kBinaryFocal, kSoftmaxCrossEntropy, kL2 };
struct Loss {
  LossKind kind = LossKind::kBinaryCrossEntropy;
  std::string name;  // "<type>_<tower>", e.g. "binary_cross_entropy_ctr"
  double label_smoothing = 0;
  double focal_gamma = 2, focal_alpha = 0.5;
};

}  // namespace pepnet
