// BatchNormLayer (worker/model/torch/layers.h). In training the rows of all workers are one batch,
// as law L2 wants it: forward sums (rows, x, x^2) of every channel over the workers, backward (dy,
// dy x^). Sums are made in double.
#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "common/base/mutant.h"
#include "common/net/collective.h"
#include "worker/model/guarded.h"
#include "worker/model/torch/device/transfer.h"
#include "worker/model/torch/layers.h"

namespace pepnet {
namespace {

constexpr double kEpsilon = 1e-5, kMomentum = 0.1;

// x without its bfloat16, [rows, channels].
at::Tensor Rows(const at::Tensor& x) {
  const at::Tensor rows = x.dim() == 2 ? x : x.flatten(0, -2);
  return rows.scalar_type() == at::kBFloat16 ? rows.to(at::kFloat) : rows;
}

at::Tensor Fitting(const std::vector<double>& values, const at::Tensor& like) {
  return AlignedTensor<double>(values, at::kDouble).to(like.device(), like.scalar_type());
}

void AppendColumnSums(const at::Tensor& rows, std::vector<double>* sums) {
  const at::Tensor columns = rows.to(at::kDouble).sum(0).to(at::kCPU).contiguous();
  // Sums are in double on the device, too: that over a global batch must not depend on how its rows
  // are cut over workers by more than rounding.
  sums->insert(sums->end(), columns.const_data_ptr<double>(),
               columns.const_data_ptr<double>() + columns.numel());
}

void SumOverWorkers(Collective* workers, std::vector<double>* sums) {
  // The mutant's statistics are those of the slice, which law L2's test must notice.
  if (workers == nullptr || workers->count() == 1 || MutantActive(Mutant::kStatisticsOfSlice)) {
    return;
  }
  const Status summed = workers->AllreduceSum(std::span<double>(*sums), "statistics of batch norm");
  if (!summed.ok()) throw StatusError(summed);
}

// Over the rows of the global batch.
struct BatchMoments {
  double rows = 0;
  std::vector<double> mean, variance;  // by channel; the variance is the biased one
};

BatchMoments MomentsOf(const at::Tensor& rows, Collective* workers) {
  const size_t channels = static_cast<size_t>(rows.size(1));
  // Each worker adds [rows, sum of x by channel, sum of x^2 by channel]. A worker without rows adds
  // zeros, and takes part in the collective operation all the same.
  std::vector<double> sums = {static_cast<double>(rows.size(0))};
  const at::Tensor precise = rows.detach().to(at::kDouble);
  AppendColumnSums(precise, &sums);
  AppendColumnSums(precise.mul(precise), &sums);
  SumOverWorkers(workers, &sums);
  BatchMoments moments = {sums[0], std::vector<double>(channels), std::vector<double>(channels)};
  for (size_t c = 0; c < channels && moments.rows > 0; ++c) {
    const double mean = sums[1 + c] / moments.rows;
    moments.mean[c] = mean;
    // Rounding may leave a little less than nothing.
    moments.variance[c] = std::max(0.0, sums[1 + channels + c] / moments.rows - mean * mean);
  }
  return moments;
}

std::vector<double> Rstds(const BatchMoments& moments) {
  std::vector<double> inverse;
  for (const double variance : moments.variance) {
    inverse.push_back(1 / std::sqrt(variance + kEpsilon));
  }
  return inverse;
}

// x^ = (x - mean) / deviation, with the gradient that goes through mean and deviation as well:
// dx = (dy - mean(dy) - x^ mean(dy x^)) / deviation
class Normalise : public torch::autograd::Function<Normalise> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& rows,
                            const BatchMoments* moments, Collective* workers) {
    const at::Tensor inverse = Fitting(Rstds(*moments), rows);
    at::Tensor normalised = rows.sub(Fitting(moments->mean, rows)).mul(inverse);
    // Backward needs x^ and the inverse deviation (rstd) alone; x itself can go.
    context->save_for_backward({normalised, inverse});
    context->saved_data["rows"] = moments->rows;
    context->saved_data["workers"] = reinterpret_cast<int64_t>(workers);
    return normalised;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const torch::autograd::variable_list saved = context->get_saved_variables();
    const at::Tensor &normalised = saved[0], &inverse = saved[1], &d = gradients[0];
    const int64_t channels = normalised.size(1);
    // These are sums of the global batch, as in forward: every row's mean and deviation depend on
    // all rows, so the gradient of a row does, too.
    std::vector<double> sums;
    AppendColumnSums(d, &sums);
    AppendColumnSums(d.mul(normalised), &sums);
    SumOverWorkers(reinterpret_cast<Collective*>(context->saved_data["workers"].toInt()), &sums);
    // The sums are zero if no worker has rows, and so is the quotient.
    const double rows = std::max(1.0, context->saved_data["rows"].toDouble());
    for (double& sum : sums) sum /= rows;
    const at::Tensor mean_d = Fitting({sums.begin(), sums.begin() + channels}, d);
    const at::Tensor mean_product = Fitting({sums.begin() + channels, sums.end()}, d);
    return {d.sub(mean_d).sub(normalised.mul(mean_product)).mul(inverse), {}, {}};
  }
};

// r = (1 - momentum) r + momentum * (mean, unbiased variance)
void MoveRunningValues(const BatchMoments& moments, std::span<float> mean,
                       std::span<float> variance) {
  // The unbiased variance of one row does not exist.
  if (moments.rows < 2) return;
  const double unbiased = moments.rows / (moments.rows - 1);
  for (size_t c = 0; c < mean.size(); ++c) {
    mean[c] = static_cast<float>((1 - kMomentum) * mean[c] + kMomentum * moments.mean[c]);
    variance[c] = static_cast<float>((1 - kMomentum) * variance[c] +
                                     kMomentum * moments.variance[c] * unbiased);
  }
}

}  // namespace

BatchNormLayer::BatchNormLayer(LeafMaker* maker, const std::string& module)
    : weight(maker->OptionalLeaf(module + ".weight")),
      bias(maker->OptionalLeaf(module + ".bias")),
      running_mean(maker->Statistics(module + ".running_mean", &host_mean)),
      running_var(maker->Statistics(module + ".running_var", &host_var)) {}

at::Tensor BatchNormLayer::operator()(const at::Tensor& x, const ForwardPass& pass) const {
  at::Tensor y = Rows(x);
  // The host's copies are the ones that are saved. Every worker moves them by the same moments, so
  // they stay equal.
  if (pass.training) {
    const BatchMoments moments = MomentsOf(y, pass.workers);
    y = Normalise::apply(y, &moments, pass.workers);
    MoveRunningValues(moments, host_mean, host_var);
  } else {
    y = y.sub(running_mean).mul(running_var.add(kEpsilon).rsqrt());
  }
  if (weight.defined()) y = y.mul(weight).add(bias);
  return y.view(x.sizes());
}

}  // namespace pepnet
