#include "worker/model/fused/fused_embeddings.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "worker/model/fused/kernels/layer_places.h"
#include "worker/model/fused/kernels/sized_buffer.h"

namespace pepnet {
namespace {

constexpr float kSlope = static_cast<float>(DenseEmbedding::kSlope);

// y[c] += a * x[c]
void AddScaled(int64_t n, float a, const float* x, float* y) {
  for (int64_t c = 0; c < n; ++c) y[c] += a * x[c];
}

float Dot(int64_t n, const float* x, const float* y) {
  float sum = 0;
  for (int64_t c = 0; c < n; ++c) sum += x[c] * y[c];
  return sum;
}

}  // namespace

FusedEmbeddings::FusedEmbeddings(const JobConfig* config, const DenseParameters& parameters) {
  const LayerPlacer place(&parameters);
  for (const DenseEmbedding& embedding : config->model.embeddings) {
    Layer& layer = layers_.emplace_back();
    layer.embedding = embedding;
    layer.projection = place.Required(embedding.projection);
    if (embedding.kind == DenseEmbeddingKind::kMlp) continue;
    layer.mixing = place.Required(embedding.mixing);
    layer.meta = place.Required(embedding.meta);
  }
  outputs_.resize(layers_.size());
  output_gradients_.resize(layers_.size());
}

std::vector<const float*> FusedEmbeddings::Outputs() const {
  std::vector<const float*> outputs;
  for (const AlignedBuffer<float>& output : outputs_) outputs.push_back(output.data());
  return outputs;
}

std::vector<float*> FusedEmbeddings::OutputGradients() {
  std::vector<float*> gradients;
  for (size_t e = 0; e < layers_.size(); ++e) {
    gradients.push_back(
        Sized(&output_gradients_[e], in_->batch->rows * layers_[e].embedding.width));
  }
  return gradients;
}

void FusedEmbeddings::Begin(const ModelInput& input) {
  in_ = &input;
  for (size_t e = 0; e < layers_.size(); ++e) {
    Sized(&outputs_[e], input.batch->rows * layers_[e].embedding.width);
  }
}

void FusedEmbeddings::AutoDisWeights(const Layer& layer, float x, const float* values,
                                     Scratch* scratch) const {
  const DenseEmbedding& embedding = layer.embedding;
  const int64_t n = embedding.channels;
  scratch->hidden.resize(n);
  scratch->weights.resize(n);
  // The weights p of the channels are (AutoDis):
  //   h = leaky_relu(x w)      z = (M h + keep_prob h) / temperature      p = softmax(z)
  const float* const w = values + layer.projection;
  for (int64_t c = 0; c < n; ++c) {
    const float h = x * w[c];
    scratch->hidden[c] = h >= 0 ? h : kSlope * h;
  }
  const float keep = static_cast<float>(embedding.keep_prob);
  const float scale = static_cast<float>(1 / embedding.temperature);
  float largest = -std::numeric_limits<float>::infinity(), sum = 0;
  for (int64_t c = 0; c < n; ++c) {
    const float z =
        Dot(n, values + layer.mixing + c * n, scratch->hidden.data()) + keep * scratch->hidden[c];
    scratch->weights[c] = z * scale;
    largest = std::max(largest, scratch->weights[c]);
  }
  // The largest element is taken off before exp() against overflow: the default temperature of 0.1
  // makes z ten times as large.
  for (float& weight : scratch->weights) {
    weight = std::exp(weight - largest);
    sum += weight;
  }
  for (float& weight : scratch->weights) weight /= sum;
}

void FusedEmbeddings::Forward(int64_t begin, int64_t end, const float* values, Scratch* scratch) {
  for (size_t e = 0; e < layers_.size(); ++e) {
    const Layer& layer = layers_[e];
    const int64_t width = layer.embedding.width, reads = layer.embedding.values;
    const float* const x = in_->leaves[layer.embedding.leaf];
    for (int64_t row = begin; row < end; ++row) {
      float* const y = outputs_[e].data() + row * width;
      std::fill_n(y, width, 0.0f);
      // The output is y = sum over the values v of x_v W_v. Each term is a row of W times one
      // number, so no matrix product is worth its call.
      if (layer.embedding.kind == DenseEmbeddingKind::kMlp) {
        for (int64_t v = 0; v < reads; ++v) {
          AddScaled(width, x[row * reads + v], values + layer.projection + v * width, y);
        }
        continue;
      }
      AutoDisWeights(layer, x[row], values, scratch);
      for (int64_t c = 0; c < layer.embedding.channels; ++c) {
        AddScaled(width, scratch->weights[c], values + layer.meta + c * width, y);
      }
    }
  }
}

// With dy the gradient of y:
//   dE_c = p_c dy      dp_c = E_c . dy      dz_c = p_c (dp_c - sum_k p_k dp_k) / temperature
//   dM = dz h^T      dh = M^T dz + keep_prob dz      dw_c = dh_c leaky_relu'(x w_c) x
void FusedEmbeddings::Backward(int64_t begin, int64_t end, const float* values, float* gradients,
                               Scratch* scratch) {
  for (size_t e = 0; e < layers_.size(); ++e) {
    const Layer& layer = layers_[e];
    const int64_t width = layer.embedding.width, reads = layer.embedding.values,
                  n = layer.embedding.channels;
    const float* const x = in_->leaves[layer.embedding.leaf];
    const float keep = static_cast<float>(layer.embedding.keep_prob);
    const float scale = static_cast<float>(1 / layer.embedding.temperature);
    for (int64_t row = begin; row < end; ++row) {
      const float* const dy = output_gradients_[e].data() + row * width;
      // The gradient is dW_v += x_v dy. The values are the input's own and take none.
      if (layer.embedding.kind == DenseEmbeddingKind::kMlp) {
        for (int64_t v = 0; v < reads; ++v) {
          AddScaled(width, x[row * reads + v], dy, gradients + layer.projection + v * width);
        }
        continue;
      }
      // Forward kept no weights: they are one number a channel, and cost little to compute again.
      AutoDisWeights(layer, x[row], values, scratch);
      scratch->gradient.resize(n);
      scratch->hidden_gradient.assign(n, 0);
      float mean = 0;
      for (int64_t c = 0; c < n; ++c) {
        AddScaled(width, scratch->weights[c], dy, gradients + layer.meta + c * width);
        scratch->gradient[c] = Dot(width, values + layer.meta + c * width, dy);
        mean += scratch->weights[c] * scratch->gradient[c];
      }
      // dz needs `mean` = sum over k of p_k dp_k, hence a second loop.
      for (int64_t c = 0; c < n; ++c) {
        const float dz = scratch->weights[c] * (scratch->gradient[c] - mean) * scale;
        AddScaled(n, dz, scratch->hidden.data(), gradients + layer.mixing + c * n);
        AddScaled(n, dz, values + layer.mixing + c * n, scratch->hidden_gradient.data());
        scratch->hidden_gradient[c] += keep * dz;
      }
      float* const dw = gradients + layer.projection;
      for (int64_t c = 0; c < n; ++c) {
        // At h = 0 the derivative is the slope, as PyTorch has it, though forward takes the other
        // branch, where both give 0.
        const float slope = scratch->hidden[c] > 0 ? 1 : kSlope;
        dw[c] += scratch->hidden_gradient[c] * slope * x[row];
      }
    }
  }
}

}  // namespace pepnet
