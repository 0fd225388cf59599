#include "worker/model/torch/pareto.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_pinv.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "common/base/aligned_buffer.h"
#include "common/net/collective.h"

namespace pepnet {
namespace {

// The point of { x >= 0, sum x = total } that is nearest to w: w less a constant, cut at 0 (Held,
// Wolfe and Crowder, "Validation of subgradient optimization", 1974).
std::vector<double> NearestOfSimplex(const std::vector<double>& w, double total) {
  std::vector<double> sorted = w;
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  // The constant is the one for which exactly the values above it stay positive: with the k largest
  // kept it is (their sum - total) / k.
  double sum = 0, constant = 0;
  for (size_t k = 0; k < sorted.size(); ++k) {
    sum += sorted[k];
    const double candidate = (sum - total) / static_cast<double>(k + 1);
    if (sorted[k] <= candidate) break;
    constant = candidate;
  }
  std::vector<double> x;
  for (const double value : w) x.push_back(std::max(0.0, value - constant));
  return x;
}

// By loss, the gradients by all parameters one behind the other, summed over the workers.
StatusOr<AlignedBuffer<float>> GradientsByLoss(const std::vector<LossRoots>& losses,
                                               const std::vector<at::Tensor>& parameters,
                                               Collective* workers) {
  int64_t size = 0;
  for (const at::Tensor& parameter : parameters) size += parameter.numel();
  AlignedBuffer<float> all;
  all.ResizeZeroed(losses.size() * static_cast<size_t>(size));
  float* out = all.data();
  // Each loss has a pass of backward of its own, over a graph that is kept for the next.
  for (const LossRoots& loss : losses) {
    const torch::autograd::variable_list gradients = torch::autograd::grad(
        loss.values, parameters, loss.gradients, /*retain_graph=*/true, /*create_graph=*/false,
        /*allow_unused=*/true);
    for (size_t p = 0; p < parameters.size(); out += parameters[p].numel(), ++p) {
      if (!gradients[p].defined()) continue;  // the loss does not use it
      const at::Tensor values = gradients[p].to(at::kCPU, at::kFloat).contiguous();
      std::copy(values.const_data_ptr<float>(), values.const_data_ptr<float>() + values.numel(),
                out);
    }
  }
  // The gradients are those of the global batch, so that every worker gets the same weights (law
  // L2).
  if (workers != nullptr) {
    PEPNET_RETURN_IF_ERROR(workers->AllreduceSum(all.span(), "gradients of each loss"));
  }
  return all;
}

}  // namespace

std::vector<double> ParetoWeights(const std::vector<double>& gram,
                                  const std::vector<double>& least) {
  const int64_t count = static_cast<int64_t>(least.size());
  const double total = 1 - std::accumulate(least.begin(), least.end(), 0.0);
  // The system is that of the header, row by row: K stationarity conditions and the sum.
  at::Tensor system = at::empty({count + 1, count + 1}, at::kDouble),
             right = at::empty({count + 1, 1}, at::kDouble);
  double* const m = system.mutable_data_ptr<double>();
  double* const r = right.mutable_data_ptr<double>();
  for (int64_t k = 0; k < count; ++k) {
    r[k] = 0;
    for (int64_t j = 0; j < count; ++j) {
      m[k * (count + 1) + j] = gram[k * count + j];
      r[k] -= gram[k * count + j] * least[j];
    }
    // The ones beside and below A belong to the multiplier mu of the condition sum w = total.
    m[k * (count + 1) + count] = m[count * (count + 1) + k] = 1;
  }
  m[count * (count + 1) + count] = 0;
  r[count] = total;
  // The system is singular where two gradients are parallel or zero; the pseudo-inverse then gives
  // the solution of the least norm.
  const at::Tensor solution =
      at::linalg_pinv(system, /*rcond=*/1e-12, /*hermitian=*/true).matmul(right).contiguous();
  const double* const w = solution.const_data_ptr<double>();
  std::vector<double> weights = NearestOfSimplex({w, w + count}, total);
  for (int64_t k = 0; k < count; ++k) weights[k] += least[k];
  return weights;
}

StatusOr<std::vector<double>> WeighLosses(const std::vector<double>& least,
                                          const std::vector<at::Tensor>& parameters,
                                          Collective* workers, std::vector<LossRoots>* losses) {
  PEPNET_ASSIGN_OR_RETURN(const AlignedBuffer<float> gradients,
                          GradientsByLoss(*losses, parameters, workers));
  const size_t count = losses->size(), size = gradients.size() / count;
  std::vector<double> gram(count * count);
  double largest = 0;
  for (size_t k = 0; k < count; ++k) {
    // A is symmetric; the products are made in double, in the order of the parameters.
    for (size_t j = 0; j <= k; ++j) {
      const float *const a = gradients.data() + k * size, *const b = gradients.data() + j * size;
      double product = 0;
      for (size_t i = 0; i < size; ++i) {
        product += static_cast<double>(a[i]) * static_cast<double>(b[i]);
      }
      gram[k * count + j] = gram[j * count + k] = product;
    }
    largest = std::max(largest, gram[k * count + k]);
  }
  // A gradient that is no number has no weight; the check of the step's losses says so.
  if (!std::isfinite(std::accumulate(gram.begin(), gram.end(), 0.0))) {
    return std::vector<double>(count, 1);
  }
  // The scale of the gradients changes no weight; of size 1 they fit the ones beside them.
  for (double& product : gram) product = largest > 0 ? product / largest : 0;
  std::vector<double> weights = ParetoWeights(gram, least);
  // The weights scale the roots of backward: one more pass then makes the weighted sum of all
  // gradients.
  for (size_t k = 0; k < count; ++k) {
    for (at::Tensor& gradient : (*losses)[k].gradients) gradient = gradient.mul(weights[k]);
  }
  return weights;
}

}  // namespace pepnet
