#include "worker/model/fused/fused_variational.h"

#include "worker/model/dropout_mask.h"
#include "worker/model/fused/kernels/layer_places.h"
#include "worker/model/fused/kernels/sized_buffer.h"
#include "worker/model/variational_dropout.h"

namespace pepnet {

FusedVariational::FusedVariational(const JobConfig* config, const DenseParameters& parameters) {
  const LayerPlacer place(&parameters);
  for (const FeatureGroup* group : Groups(config->model)) {
    if (!group->variational) continue;
    Layer& layer = layers_.emplace_back();
    layer.group = group;
    layer.place = place.Required(group->variational->parameter);
  }
}

GroupFactors FusedVariational::Factors(const FeatureGroup& group) {
  for (Layer& layer : layers_) {
    if (layer.group == &group) return {layer.factors.data(), layer.gradients.data()};
  }
  return {};
}

void FusedVariational::Begin(const ModelInput& input, bool train, uint64_t seed,
                             int64_t first_row) {
  in_ = &input;
  train_ = train;
  seed_ = seed;
  first_row_ = first_row;
  for (Layer& layer : layers_) {
    const int64_t size = input.batch->rows * static_cast<int64_t>(layer.group->sources());
    for (AlignedBuffer<float>* buffer : {&layer.factors, &layer.derivatives, &layer.gradients}) {
      Sized(buffer, size);
    }
  }
}

void FusedVariational::Forward(int64_t begin, int64_t end, const float* values) {
  std::vector<float> uniforms;
  for (Layer& layer : layers_) {
    const int64_t sources = static_cast<int64_t>(layer.group->sources());
    const float* const weights = values + layer.place;
    const uint64_t key = DropoutKey(seed_, layer.group->variational->layer, in_->step);
    uniforms.resize(static_cast<size_t>(sources));
    // The uniform u is drawn by the global row (law L2). Evaluation takes the expected factor 1 - p
    // and draws nothing.
    for (int64_t row = begin; row < end; ++row) {
      if (train_) FillUniforms(key, first_row_ + row, sources, uniforms.data());
      for (int64_t s = 0; s < sources; ++s) {
        // Backward needs d factor / dw at this u; it is a by-product of forward and costs one
        // array.
        const VariationalFactor factor =
            train_ ? TrainingFactor(weights[s], uniforms[s]) : EvaluationFactor(weights[s]);
        layer.factors[row * sources + s] = static_cast<float>(factor.factor);
        layer.derivatives[row * sources + s] = static_cast<float>(factor.derivative);
      }
    }
  }
}

void FusedVariational::Backward(int64_t begin, int64_t end, float* gradients) const {
  for (const Layer& layer : layers_) {
    const int64_t sources = static_cast<int64_t>(layer.group->sources());
    // Each source sums its rows in order and in double: its weight gathers all rows of the block.
    for (int64_t s = 0; s < sources; ++s) {
      double sum = 0;
      for (int64_t row = begin; row < end; ++row) {
        sum += static_cast<double>(layer.gradients[row * sources + s]) *
               static_cast<double>(layer.derivatives[row * sources + s]);
      }
      gradients[layer.place + s] += static_cast<float>(sum);
    }
  }
}

void FusedVariational::Penalties(const float* values, double gradient_scale, float* gradients,
                                 LossReport* report) const {
  for (const Layer& layer : layers_) {
    const VariationalDropout& dropout = *layer.group->variational;
    const double factor = dropout.lambda * PenaltyShare(in_->batch->rows, in_->batch->global_rows);
    // Each worker adds the share of its rows, so that the sum over the workers is the penalty of
    // the global batch once, however many workers there are (law L2).
    double sum = 0;
    for (size_t s = 0; s < layer.group->sources(); ++s) {
      const VariationalFactor kept =
          EvaluationFactor(values[layer.place + static_cast<int64_t>(s)]);
      sum += kept.factor;
      gradients[layer.place + static_cast<int64_t>(s)] +=
          static_cast<float>(gradient_scale * factor * kept.derivative);
    }
    report->names.push_back(dropout.loss);
    report->values.push_back(factor * sum);
  }
}

}  // namespace pepnet
