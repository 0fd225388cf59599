#include "worker/model/pepnet_model.h"

#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "common/base/log_functions.h"
#include "common/base/trace.h"
#include "worker/model/fused_model.h"
#include "worker/model/guarded.h"
#include "worker/model/labels.h"
#include "worker/model/losses.h"
#include "worker/model/network.h"
#include "worker/model/output_rules.h"

namespace pepnet {
namespace {

// BF16 for the matrix products of a forward pass, where the config asks for it. The cache of cast weights must not
// outlive the pass: the optimizer changes the weights behind libtorch's back.
class MixedPrecisionScope {
 public:
  explicit MixedPrecisionScope(bool bf16) : bf16_(bf16) {
    if (!bf16_) return;
    at::autocast::increment_nesting();
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
    at::autocast::set_autocast_enabled(at::kCPU, true);
  }
  ~MixedPrecisionScope() {
    if (!bf16_) return;
    at::autocast::set_autocast_enabled(at::kCPU, false);
    at::autocast::decrement_nesting();
    at::autocast::clear_cache();
  }
  MixedPrecisionScope(const MixedPrecisionScope&) = delete;
  MixedPrecisionScope& operator=(const MixedPrecisionScope&) = delete;

 private:
  const bool bf16_;
};

ModelOutput ToOutput(const std::string& name, int width, const at::Tensor& tensor) {
  const at::Tensor values = tensor.detach().to(at::kFloat).contiguous();
  const float* const begin = values.const_data_ptr<float>();
  return {name, width, std::vector<float>(begin, begin + values.numel())};
}

// [rows] for one class, else [rows, C].
at::Tensor ApplyRule(const OutputRule& rule, const at::Tensor& tower) {
  const at::Tensor z = tower.size(1) == 1 ? tower.squeeze(1) : tower;
  switch (rule.kind) {
    case OutputRule::Kind::kRaw:
      return z;
    case OutputRule::Kind::kSigmoid:
      return at::sigmoid(z);
    case OutputRule::Kind::kSoftmax:
      return at::softmax(z, 1);
    case OutputRule::Kind::kSoftmaxColumn1:
      return at::softmax(z, 1).select(1, 1);
  }
  CheckOrDie(false, "unknown output rule");
  return z;
}

// sum_i l_i * scale_i in double, in row order.
double ScaledSum(const at::Tensor& losses, const std::vector<float>& scales) {
  const at::Tensor values = losses.detach().contiguous();
  const float* const l = values.const_data_ptr<float>();
  double sum = 0;
  for (size_t i = 0; i < scales.size(); ++i) sum += static_cast<double>(l[i]) * static_cast<double>(scales[i]);
  return sum;
}

class TorchModel : public PepnetModel {
 public:
  TorchModel(const JobConfig* config, DenseParameters* parameters, uint64_t seed)
      : config_(config), seed_(seed), network_(MakeNetwork(config, parameters)), rules_(OutputRules(*config)) {}

  StatusOr<LossReport> TrainStep(const ModelInput& input, double gradient_scale,
                                 std::vector<AlignedBuffer<float>>* feature_gradients) override {
    CheckOrDie(input.row_scales != nullptr, "TrainStep needs row scales");
    PEPNET_RETURN_IF_ERROR(CheckLabels(*config_, *input.batch));
    return Guarded("train step", [&]() -> StatusOr<LossReport> {
      const Batch& batch = *input.batch;
      const std::vector<at::Tensor> features = FeatureLeaves(input, feature_gradients);
      const at::AutoGradMode with_gradients(true);
      NetworkResult result;
      std::vector<RowLoss> losses;
      {
        const TraceScope scope("forward");
        result = RunNetwork(features, {true, seed_, input.step, batch.first_row});
        losses = RowLosses(*config_, batch, result.towers);
      }
      const TraceScope scope("backward");
      if (batch.rows > 0) Backward(losses, *input.row_scales, gradient_scale);
      LossReport report = Report(losses, *input.row_scales);
      if (AnyTrainMetrics(*config_)) {
        for (ModelOutput& output : SelectMetricInputs(*config_, batch, Outputs(result.towers))) {
          const bool wanted = !config_->model.towers[report.scores.size()].train_metrics.empty();
          report.scores.push_back(wanted ? std::move(output.values) : std::vector<float>());
        }
      }
      return report;
    });
  }

  StatusOr<std::vector<ModelOutput>> Forward(const ModelInput& input, LossReport* losses) override {
    if (losses != nullptr) {
      CheckOrDie(input.row_scales != nullptr, "Forward with losses needs row scales");
      PEPNET_RETURN_IF_ERROR(CheckLabels(*config_, *input.batch));
    }
    return Guarded("forward", [&]() -> StatusOr<std::vector<ModelOutput>> {
      const at::NoGradGuard no_grad;
      NetworkResult result = RunNetwork(FeatureLeaves(input, nullptr), {});
      std::vector<ModelOutput> outputs = Outputs(result.towers);
      if (losses != nullptr) *losses = Report(RowLosses(*config_, *input.batch, result.towers), *input.row_scales);
      intermediates_ = std::move(result.intermediates);
      return outputs;
    });
  }

  std::vector<ModelOutput> intermediates() const override {
    std::vector<ModelOutput> outputs;
    for (const auto& [name, tensor] : intermediates_) {
      outputs.push_back(ToOutput(name, static_cast<int>(tensor.size(1)), tensor));
    }
    return outputs;
  }

 private:
  std::vector<ModelOutput> Outputs(const std::vector<at::Tensor>& towers) const {
    std::vector<ModelOutput> outputs;
    for (const OutputRule& rule : rules_) {
      outputs.push_back(ToOutput(rule.name, rule.width, ApplyRule(rule, towers[rule.tower])));
    }
    return outputs;
  }

  static Network MakeNetwork(const JobConfig* config, DenseParameters* parameters) {
    LeafMaker maker(parameters);
    return Network(config, &maker);
  }

  NetworkResult RunNetwork(const std::vector<at::Tensor>& features, const DropoutState& dropout) const {
    const MixedPrecisionScope precision(config_->train.mixed_precision == "BF16");
    return network_.Forward(features, dropout);
  }

  // One leaf per feature in a group, over the caller's memory. With `gradients`, a feature with a table gets a zeroed
  // gradient that backward accumulates into.
  std::vector<at::Tensor> FeatureLeaves(const ModelInput& input, std::vector<AlignedBuffer<float>>* gradients) const {
    const size_t count = config_->features.size();
    const int64_t rows = input.batch->rows;
    CheckOrDie(input.features.size() == count, "one pointer per feature");
    if (gradients != nullptr) gradients->resize(count);
    std::vector<at::Tensor> leaves(count);
    for (size_t f = 0; f < count; ++f) {
      const Feature& feature = config_->features[f];
      if (gradients != nullptr) (*gradients)[f].Resize(0);
      if (!feature.in_group) continue;
      CheckOrDie(rows == 0 || input.features[f] != nullptr, "no values for feature " + feature.name);
      leaves[f] = View(input.features[f], rows, feature.dim);
      if (gradients == nullptr || feature.table < 0) continue;
      AlignedBuffer<float>& gradient = (*gradients)[f];
      gradient.ResizeZeroed(static_cast<size_t>(rows * feature.dim));
      leaves[f].set_requires_grad(true);
      leaves[f].mutable_grad() = View(gradient.data(), rows, feature.dim);
    }
    return leaves;
  }

  // libtorch has no type for constant memory; nothing writes to a feature's values.
  static at::Tensor View(const float* data, int64_t rows, int64_t dim) {
    if (rows == 0) return at::empty({0, dim}, at::kFloat);
    return at::from_blob(const_cast<float*>(data), {rows, dim});
  }

  // Backward of sum over losses and rows of l_i * scale_i * gradient_scale.
  static void Backward(const std::vector<RowLoss>& losses, const std::vector<std::vector<float>>& scales,
                       double gradient_scale) {
    std::vector<at::Tensor> roots, seeds;
    for (const RowLoss& loss : losses) {
      const std::vector<float>& scale = scales[loss.task];
      at::Tensor seed = at::empty({static_cast<int64_t>(scale.size())}, at::kFloat);
      std::transform(scale.begin(), scale.end(), seed.mutable_data_ptr<float>(),
                     [gradient_scale](float s) { return static_cast<float>(s * gradient_scale); });
      roots.push_back(loss.values);
      seeds.push_back(std::move(seed));
    }
    torch::autograd::backward(roots, seeds);
  }

  static LossReport Report(const std::vector<RowLoss>& losses, const std::vector<std::vector<float>>& scales) {
    LossReport report;
    for (const RowLoss& loss : losses) {
      report.names.push_back(loss.name);
      report.values.push_back(ScaledSum(loss.values, scales[loss.task]));
    }
    return report;
  }

  const JobConfig* const config_;
  const uint64_t seed_;
  const Network network_;
  const std::vector<OutputRule> rules_;
  std::vector<std::pair<std::string, at::Tensor>> intermediates_;
};

// libtorch's other pool would only steal cores from the readers. It can be set once per process.
void LimitInteropThreads() {
  static std::once_flag once;
  std::call_once(once, [] { at::set_num_interop_threads(1); });
}

}  // namespace

StatusOr<std::unique_ptr<PepnetModel>> PepnetModel::Create(const JobConfig* config, DenseParameters* parameters,
                                                           uint64_t seed, int threads, DenseEngine engine) {
  return Guarded("create the model", [&]() -> StatusOr<std::unique_ptr<PepnetModel>> {
    LimitInteropThreads();
    if (threads > 0) at::set_num_threads(threads);
    if (engine == DenseEngine::kFused && FusedEngineRuns(*config)) {
      return MakeFusedModel(config, parameters, seed, threads > 0 ? threads : at::get_num_threads(), {});
    }
    if (engine == DenseEngine::kFused) {
      LogInfo("dense engine: reference, because the fused one does not run with mixed_precision '" +
              config->train.mixed_precision + "'");
    }
    return std::unique_ptr<PepnetModel>(std::make_unique<TorchModel>(config, parameters, seed));
  });
}

}  // namespace pepnet
