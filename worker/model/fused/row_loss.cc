#include "worker/model/fused/row_loss.h"

#include <algorithm>
#include <cmath>

namespace pepnet {
namespace {

// Callers write 1 - sigmoid(x) as Sigmoid(-x): in double the difference is 0 for x above 37.
double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// max(z, 0) - z y + log(1 + exp(-|z|)), whose exp() cannot overflow;  d/dz = sigmoid(z) - y
double CrossEntropy(double z, double y) {
  return std::max(z, 0.0) - z * y + std::log1p(std::exp(-std::abs(z)));
}

// -sum_c q_c log p_c, p = softmax(z), q = s / C everywhere and 1 - s more at y;  d/dz_c = p_c - q_c
double Softmax(const Loss& loss, int classes, const float* z, int64_t y, double factor, float* dz) {
  const double largest = *std::max_element(z, z + classes);
  double sum = 0;
  for (int c = 0; c < classes; ++c) sum += std::exp(z[c] - largest);
  const double log_sum = largest + std::log(sum), s = loss.label_smoothing;
  double l = 0;
  for (int c = 0; c < classes; ++c) {
    const double log_p = z[c] - log_sum, q = s / classes + (c == y ? 1 - s : 0);
    l -= q * log_p;
    if (dz != nullptr) dz[c] += static_cast<float>(factor * (std::exp(log_p) - q));
  }
  return l;
}

}  // namespace

double RowLossAndGradient(const Loss& loss, int classes, const float* z, const LabelColumn& label,
                          int64_t row, double factor, float* dz) {
  double l = 0, derivative = 0;
  const double x = z[0];
  switch (loss.kind) {
    case LossKind::kBinaryCrossEntropy: {
      const double s = loss.label_smoothing, y = label.values[row] * (1 - s) + s / 2;
      l = CrossEntropy(x, y);
      derivative = Sigmoid(x) - y;
      break;
    }
    case LossKind::kBinaryFocal: {
      // The modulation stands behind a stop-gradient, as in the reference: the derivative is that
      // of the cross-entropy alone, times it.
      const double y = label.values[row], p = Sigmoid(x), not_p = Sigmoid(-x);
      const double modulation = loss.focal_alpha * y * std::pow(not_p, loss.focal_gamma) +
                                (1 - loss.focal_alpha) * (1 - y) * std::pow(p, loss.focal_gamma);
      l = modulation * CrossEntropy(x, y);
      derivative = modulation * (p - y);
      break;
    }
    case LossKind::kSoftmaxCrossEntropy:
      return Softmax(loss, classes, z, label.integers[row], factor, dz);
    case LossKind::kL2:
      l = (x - label.values[row]) * (x - label.values[row]);
      derivative = 2 * (x - label.values[row]);
      break;
    case LossKind::kJrc: {
      const double share = loss.jrc_alpha;
      return share * Softmax(loss, classes, z, label.integers[row], share * factor, dz);
    }
  }
  if (dz != nullptr) dz[0] += static_cast<float>(factor * derivative);
  return l;
}

}  // namespace pepnet
