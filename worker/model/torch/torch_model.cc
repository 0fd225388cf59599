#include "worker/model/torch/torch_model.h"

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <c10/core/DeviceGuard.h>
#include <torch/csrc/autograd/autograd.h>

#include <iterator>
#include <optional>
#include <utility>

#include "common/base/log_functions.h"
#include "common/health/rank_status.h"
#include "common/process/trace.h"
#include "worker/model/guarded.h"
#include "worker/model/labels.h"
#include "worker/model/output_rules.h"
#include "worker/model/session_loss.h"
#include "worker/model/torch/batch_tensors.h"
#include "worker/model/torch/bucket_sums.h"
#include "worker/model/torch/device/torch_device.h"
#include "worker/model/torch/device_parameters.h"
#include "worker/model/torch/losses.h"
#include "worker/model/torch/network.h"
#include "worker/model/torch/pareto.h"
#include "worker/model/variational_dropout.h"

namespace pepnet {
namespace {

// BF16 for the matrix products of a forward pass. The cache of cast weights must not outlive the
// pass: the optimizer changes the weights behind libtorch's back.
class MixedPrecisionScope {
 public:
  MixedPrecisionScope(bool bf16, at::DeviceType device) : bf16_(bf16), device_(device) {
    if (!bf16_) return;
    at::autocast::increment_nesting();
    at::autocast::set_autocast_dtype(device_, at::kBFloat16);
    at::autocast::set_autocast_enabled(device_, true);
  }
  ~MixedPrecisionScope() {
    if (!bf16_) return;
    at::autocast::set_autocast_enabled(device_, false);
    at::autocast::decrement_nesting();
    at::autocast::clear_cache();
  }
  MixedPrecisionScope(const MixedPrecisionScope&) = delete;
  MixedPrecisionScope& operator=(const MixedPrecisionScope&) = delete;

 private:
  const bool bf16_;
  const at::DeviceType device_;
};

ModelOutput ToOutput(const std::string& name, int width, const at::Tensor& tensor) {
  const at::Tensor values = tensor.detach().to(at::kCPU, at::kFloat).contiguous();
  const float* const begin = values.const_data_ptr<float>();
  return {name, width, std::vector<float>(begin, begin + values.numel())};
}

// [rows] for one class, else [rows, C].
at::Tensor ApplyRule(const OutputRule& rule, const at::Tensor& tower) {
  at::Tensor z = tower.size(1) == 1 ? tower.squeeze(1) : tower;
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
  const at::Tensor values = losses.detach().cpu().contiguous();
  const float* const l = values.const_data_ptr<float>();
  // The sum goes in the order of the rows and in double, as in the fused engine.
  double sum = 0;
  for (size_t i = 0; i < scales.size(); ++i) {
    sum += static_cast<double>(l[i]) * static_cast<double>(scales[i]);
  }
  return sum;
}

// `sessions` as SessionParts() gives them.
LossReport Report(const std::vector<RowLoss>& losses, const std::vector<SessionPart>& sessions,
                  const std::vector<std::vector<float>>& scales) {
  LossReport report;
  for (size_t i = 0; i < losses.size(); ++i) {
    const std::vector<float>& scale = scales[losses[i].task];
    double value = ScaledSum(losses[i].values, scale);
    for (size_t row = 0; row < sessions[i].losses.size(); ++row) {
      value += sessions[i].losses[row] * static_cast<double>(scale[row]);
    }
    report.names.push_back(losses[i].name);
    report.values.push_back(value);
  }
  return report;
}

// The arrays of a network that does not compute on the host's.
struct DeviceSide {
  DeviceSide(const JobConfig* config, DenseParameters* parameters, at::Device device)
      : parameters(parameters, device), batch(config, device) {}

  DeviceParameters parameters;
  DeviceBatch batch;
};

class TorchModel : public PepnetModel {
 public:
  TorchModel(const JobConfig* config, DenseParameters* parameters, const ModelOptions& options)
      : config_(config),
        seed_(options.seed),
        bf16_(options.bf16),
        device_(TorchDevice(options.device)),
        workers_(options.workers),
        status_(options.status),
        timeout_s_(options.timeout_s),
        slots_(LossSlots(*config)),
        normalises_(NormalisesOverRows(config->model)) {
    const c10::DeviceGuard guard(device_);
    // The environment may ask libtorch for TF32, whose rounding is outside of the promised
    // tolerances.
    if (!device_.is_cpu()) at::globalContext().setFloat32MatmulPrecision("highest");
    if (options.device.kind != ComputeDevice::Kind::kHost) {
      device_side_.emplace(config, parameters, device_);
    }
    // Leaves are views of the arenas, here or on the device, so that backward writes where the
    // optimizers and the sums read.
    LeafMaker maker = device_side_ ? LeafMaker(parameters, device_side_->parameters.arenas())
                                   : LeafMaker(parameters);
    network_.emplace(config, &maker);
    if (config->model.pareto_weights) {
      for (const auto& [name, leaf] : maker.leaves()) dense_.push_back(leaf);
    }
    if (device_side_ && options.gradient_sums != nullptr) {
      sums_.emplace(*parameters, device_side_->parameters.arenas().gradients, maker.leaves(),
                    options.gradient_sums, options.bucket_bytes);
    }
    rules_ = OutputRules(*config);
  }

  // After an error copies may still be under way into memory that is freed here. A destructor must
  // not throw, and there is nobody left to tell but the log.
  ~TorchModel() override {
    try {
      SynchronizeDevice(device_);
    } catch (const std::exception& error) {
      LogWarning(absl::StrCat("at the end of the model: ", error.what()));
    }
  }

  bool sums_gradients() const override { return sums_.has_value(); }

  StatusOr<LossReport> TrainStep(const ModelInput& input, double gradient_scale,
                                 std::vector<AlignedBuffer<float>>* leaf_gradients) override {
    PEPNET_RETURN_IF_ERROR(CheckLossInput(*config_, input, "TrainStep"));
    if (normalises_ && input.batch->global_rows == 1) {
      return InvalidInput("batch norm and Dice need at least 2 rows in a global batch, this one (",
                          input.batch->origin,
                          ") has 1; set data_config.drop_remainder or another batch_size");
    }
    return Guarded("train step", [&]() -> StatusOr<LossReport> {
      const c10::DeviceGuard guard(device_);
      const Batch& batch = *input.batch;
      const BatchTensors tensors =
          TakeBatch(input, BatchUse::kTraining, gradient_scale, leaf_gradients);
      // Some caller may have switched gradients off for this thread.
      const at::AutoGradMode with_gradients(true);
      NetworkResult result;
      std::vector<RowLoss> losses;
      {
        const TraceScope scope("forward");
        result = RunNetwork(tensors, {true, seed_, input.step, batch.first_row,
                                      device_side_.has_value(), workers_});
        losses = RowLosses(*config_, tensors.labels, result.towers);
      }
      // This comes between forward and backward: the rows of a session meet among all workers, by
      // their raw outputs.
      PEPNET_ASSIGN_OR_RETURN(const std::vector<SessionPart> sessions,
                              CompareSessions(input, result.towers));
      std::vector<double> weights;
      {
        const TraceScope scope("backward");
        std::vector<LossRoots> roots =
            RootsOf(losses, sessions, result, tensors.seeds, gradient_scale);
        if (config_->model.pareto_weights) {
          PEPNET_ASSIGN_OR_RETURN(weights, WeighLosses(LeastWeights(), dense_, workers_, &roots));
        }
        // The sums are collective: every worker begins them for every step, with rows or without.
        if (sums_) sums_->Begin(CurrentStreamHandle(device_));
        // A worker without rows has a part in the sums that batch norm makes on the way back.
        if (batch.rows > 0 || normalises_) {
          Backward(std::move(roots), result,
                   gradient_scale * PenaltyShare(batch.rows, batch.global_rows));
        }
      }
      // On the host backward has written into the caller's buffers already.
      if (device_side_) PEPNET_RETURN_IF_ERROR(GiveGradients(leaf_gradients));
      LossReport report = Report(losses, sessions, *input.row_scales);
      report.weights = std::move(weights);
      for (const auto& [name, penalty] : result.penalties) {
        report.names.push_back(name);
        report.values.push_back(PenaltyShare(batch.rows, batch.global_rows) *
                                penalty.item<double>());
        if (!report.weights.empty()) report.weights.push_back(1);
      }
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
      PEPNET_RETURN_IF_ERROR(CheckLossInput(*config_, input, "Forward with losses"));
    }
    return Guarded("forward", [&]() -> StatusOr<std::vector<ModelOutput>> {
      const c10::DeviceGuard guard(device_);
      const at::NoGradGuard no_grad;
      // On a device the parameters go up anew for each evaluation batch, too: the averages may
      // stand in their place.
      const BatchTensors tensors =
          TakeBatch(input, losses != nullptr ? BatchUse::kLosses : BatchUse::kOutputs, 0, nullptr);
      NetworkResult result = RunNetwork(tensors, {});
      std::vector<SessionPart> sessions;
      if (losses != nullptr) {
        PEPNET_ASSIGN_OR_RETURN(sessions, CompareSessions(input, result.towers));
      }
      // Reading the outputs waits for the GPU; the watchdog must be able to see that.
      const RankStatus::Wait wait(device_.is_cpu() ? nullptr : status_, kAnyRank, GpuDeadline(),
                                  kGpuWait);
      std::vector<ModelOutput> outputs = Outputs(result.towers);
      if (losses != nullptr) {
        *losses =
            Report(RowLosses(*config_, tensors.labels, result.towers), sessions, *input.row_scales);
      }
      intermediates_ = std::move(result.intermediates);
      SynchronizeDevice(device_);
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

  // The parts of losses that need the raw outputs of all rows, of all workers. They meet on the
  // host.
  StatusOr<std::vector<SessionPart>> CompareSessions(const ModelInput& input,
                                                     const std::vector<at::Tensor>& towers) {
    std::vector<at::Tensor> outputs(config_->model.towers.size());
    std::vector<const float*> raw_outputs(outputs.size(), nullptr);
    for (size_t task = 0; task < outputs.size(); ++task) {
      if (!HasSessions(config_->model.towers[task])) continue;
      const RankStatus::Wait wait(device_.is_cpu() ? nullptr : status_, kAnyRank, GpuDeadline(),
                                  kGpuWait);
      // Config refuses domain towers with more than one class.
      outputs[task] = towers[task].detach().to(at::kCPU, at::kFloat).contiguous();
      raw_outputs[task] = outputs[task].const_data_ptr<float>();
    }
    return SessionParts(*config_, slots_, input, raw_outputs, workers_);
  }

  // From the rows' losses, and from the raw outputs whose gradient is that of a session.
  static std::vector<LossRoots> RootsOf(const std::vector<RowLoss>& losses,
                                        const std::vector<SessionPart>& sessions,
                                        const NetworkResult& result,
                                        const std::vector<at::Tensor>& seeds,
                                        double gradient_scale) {
    std::vector<LossRoots> all;
    for (size_t i = 0; i < losses.size(); ++i) {
      LossRoots& roots = all.emplace_back();
      roots.values.push_back(losses[i].values);
      roots.gradients.push_back(seeds[losses[i].task]);
      if (sessions[i].losses.empty()) continue;
      const at::Tensor& output = result.towers[losses[i].task];
      roots.values.push_back(output);
      roots.gradients.push_back(AlignedTensor<float>(sessions[i].gradient, at::kFloat)
                                    .view(output.sizes())
                                    .to(output.device(), output.scalar_type())
                                    .mul(gradient_scale));
    }
    return all;
  }

  // By loss, as RootsOf() lists them.
  std::vector<double> LeastWeights() const {
    std::vector<double> weights;
    for (const LossSlot& slot : slots_) {
      weights.push_back(config_->model.towers[slot.task].pareto_min_weight);
    }
    return weights;
  }

  static void Backward(std::vector<LossRoots> losses, const NetworkResult& result,
                       double penalty_scale) {
    std::vector<at::Tensor> roots, gradients;
    for (LossRoots& loss : losses) {
      std::move(loss.values.begin(), loss.values.end(), std::back_inserter(roots));
      std::move(loss.gradients.begin(), loss.gradients.end(), std::back_inserter(gradients));
    }
    for (const auto& [name, penalty] : result.penalties) {
      roots.push_back(penalty);
      gradients.push_back(at::full_like(penalty, penalty_scale));
    }
    torch::autograd::backward(roots, gradients);
  }

  NetworkResult RunNetwork(const BatchTensors& tensors, const ForwardPass& pass) const {
    const MixedPrecisionScope precision(bf16_, device_.type());
    return network_->Forward(tensors.leaves, tensors.sequences, pass);
  }

  // The batch where the network computes, and there the parameters as they are now.
  BatchTensors TakeBatch(const ModelInput& input, BatchUse use, double gradient_scale,
                         std::vector<AlignedBuffer<float>>* leaf_gradients) {
    if (!device_side_) return BatchInPlace(*config_, input, use, gradient_scale, leaf_gradients);
    const TraceScope scope("upload");
    device_side_->parameters.UploadValues();
    if (use == BatchUse::kTraining) device_side_->parameters.ZeroGradients();
    return device_side_->batch.Upload(input, use, gradient_scale);
  }

  // Behind backward: the gradients to the host, the dense ones summed over the workers if asked
  // for.
  Status GiveGradients(std::vector<AlignedBuffer<float>>* leaf_gradients) {
    // Leaf gradients are final already and travel while the last buckets are summed.
    device_side_->batch.BeginDownload();
    if (sums_) {
      const TraceScope scope("gradient sums");
      PEPNET_RETURN_IF_ERROR(sums_->Finish());
    }
    const TraceScope scope("download");
    device_side_->parameters.DownloadGradients();
    {
      const RankStatus::Wait wait(device_.is_cpu() ? nullptr : status_, kAnyRank, GpuDeadline(),
                                  kGpuWait);
      SynchronizeDevice(device_);
    }
    // The buffers are read only after the synchronisation: the downloads above were only begun.
    device_side_->batch.TakeGradients(leaf_gradients);
    device_side_->parameters.AddGradientsToHost();
    return absl::OkStatus();
  }

  // A GPU that hangs in a call of its driver is ended by the watchdog, which looks at the table of
  // open waits.
  static constexpr char kGpuWait[] = "this worker's own GPU";
  Deadline GpuDeadline() const { return After(std::chrono::duration<double>(timeout_s_)); }

  const JobConfig* const config_;
  const uint64_t seed_;
  const bool bf16_;
  const at::Device device_;
  Collective* const workers_;
  RankStatus* const status_;
  const double timeout_s_;
  const std::vector<LossSlot> slots_;
  const bool normalises_;
  std::vector<at::Tensor> dense_;          // with Pareto weights: all trained dense parameters
  std::optional<DeviceSide> device_side_;  // unset on the host
  std::optional<Network> network_;         // set from construction on
  std::optional<BucketSums> sums_;         // its hooks are on network_'s leaves
  std::vector<OutputRule> rules_;
  std::vector<std::pair<std::string, at::Tensor>> intermediates_;
};

}  // namespace

std::unique_ptr<PepnetModel> MakeTorchModel(const JobConfig* config, DenseParameters* parameters,
                                            const ModelOptions& options) {
  return std::make_unique<TorchModel>(config, parameters, options);
}

}  // namespace pepnet
