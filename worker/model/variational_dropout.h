// Variational dropout (spec 1.10), the formulas of one feature. Without torch.
//
//   p = sigma(w)                                              the share that is dropped
//   evaluation: x (1 - p)
//   training:   x (1 - d), d = sigma((ln(p + e) - ln(1 - p + e) + ln(u + e) - ln(1 - u + e)) / 0.1)
//   penalty of a group: lambda / n * sum of (1 - p)           n = rows of the global batch
//
// u is a function of (seed, step, group, global row, feature): FillUniforms() of
// worker/model/dropout_mask.h at the key of VariationalDropout::layer.
#pragma once

#include <cmath>
#include <cstdint>

namespace pepnet {

inline constexpr double kVariationalTemperature = 0.1;
inline constexpr double kVariationalEpsilon = 0x1p-23;

inline double VariationalShare(double w) { return 1 / (1 + std::exp(-w)); }

struct VariationalFactor {
  double factor = 1;      // 1 - d
  double derivative = 0;  // of the factor by w
};

// d(1 - d)/dw = -d (1 - d) / 0.1 * (1 / (p + e) + 1 / (1 - p + e)) * p (1 - p)
inline VariationalFactor TrainingFactor(double w, double u) {
  constexpr double e = kVariationalEpsilon;
  const double p = VariationalShare(w);
  const double odds = std::log(p + e) - std::log(1 - p + e) + std::log(u + e) - std::log(1 - u + e);
  const double d = 1 / (1 + std::exp(-odds / kVariationalTemperature));
  return {1 - d,
          -d * (1 - d) / kVariationalTemperature * (1 / (p + e) + 1 / (1 - p + e)) * p * (1 - p)};
}

inline VariationalFactor EvaluationFactor(double w) {
  const double p = VariationalShare(w);
  return {1 - p, -p * (1 - p)};
}

// The share of this worker in the penalty, as a factor of lambda * sum of (1 - p): the workers' add
// up to 1 / n.
inline double PenaltyShare(int64_t rows, int64_t global_rows) {
  if (rows == 0) return 0;
  const double n = static_cast<double>(global_rows);
  return static_cast<double>(rows) / n / n;
}

}  // namespace pepnet
