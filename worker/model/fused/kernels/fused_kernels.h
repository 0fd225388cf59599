// Elementwise parts of the fused engine, without torch: each function is one pass over its arrays,
// forward or backward.
//
// Arrays:  [rows, width]; those without a stride of their own are dense. Sums (bias gradients, ...)
//          are *added to*, row after row, so that their order depends on the shape alone.
// Threads: none; functions of their arguments.
// NaN:     goes through, so that a run that diverges shows it in its loss.
#pragma once

#include <cstdint>

#include "common/job_config/activation.h"

namespace pepnet {

// An activation as the kernels see it: `parameter` is PReLU's current weight.
struct KernelActivation {
  ActivationKind kind = ActivationKind::kIdentity;
  float parameter = 0, parameter2 = 0;
};

// Dropout of a block of rows: row i is global row rows[i]. ratio 0: none. mask_row: scratch of one
// row.
struct KernelDropout {
  double ratio = 0;
  uint64_t key = 0;
  const int64_t* rows = nullptr;
  float* mask_row = nullptr;
};

// x = relu(x + bias)
void BiasRelu(int64_t rows, int64_t width, const float* bias, float* x);
// d = x > 0 ? d : 0, x being BiasRelu's result; bias_gradient += sum over rows of d.
void BiasReluBackward(int64_t rows, int64_t width, const float* x, float* d, float* bias_gradient);

// s = sigmoid(s + bias);  out = gamma * s * x
void GateForward(int64_t rows, int64_t width, const float* bias, float gamma, const float* x,
                 int64_t x_stride, float* s, float* out, int64_t out_stride);
// d is the gradient of out and becomes that of x by the product; s becomes the gradient of s's
// linear layer.
void GateBackward(int64_t rows, int64_t width, float gamma, const float* x, int64_t x_stride,
                  float* s, float* d, int64_t d_stride, float* bias_gradient);

// One PPNet layer behind its matrix products:
//   a = a + a_bias;  s = sigmoid(s + s_bias), 0 where dropped;
//   out = act(a) * gamma * s / (1 - ratio)
// A dropped element's gradients are products with s, so the zero in s is all that backward needs of
// the mask.
struct GateProduct {
  int64_t rows = 0, width = 0;
  KernelActivation activation;
  float gamma = 1;
  KernelDropout dropout;
  const float *a_bias = nullptr, *s_bias = nullptr;
  float *a = nullptr, *s = nullptr, *out = nullptr;
};
void GateProductForward(const GateProduct& layer);
// `d`, the gradient of out (rows d_stride apart), is read; a and s become the gradients of the two
// linear layers. activation_gradient: of PReLU's weight, else unused.
void GateProductBackward(const GateProduct& layer, const float* d, int64_t d_stride,
                         float* a_bias_gradient, float* s_bias_gradient,
                         float* activation_gradient);

// One MLP layer behind its matrix product: u = u + bias (bias null: none);  out = act(u), then
// dropout. With dropout, `kept` gets 1 for every kept element.
struct Activated {
  int64_t rows = 0, width = 0;
  KernelActivation activation;
  KernelDropout dropout;
  const float* bias = nullptr;
  float *u = nullptr, *out = nullptr;
  uint8_t* kept = nullptr;
};
void ActivatedForward(const Activated& layer);
// `d`, the gradient of out, is read; u becomes its own gradient. bias_gradient may be null.
void ActivatedBackward(const Activated& layer, const float* d, float* bias_gradient,
                       float* activation_gradient);

// x = (x - mean) / sqrt(var + 1e-5) per row, after adding bias (null: none);
// out = weight * x + beta
void LayerNormForward(int64_t rows, int64_t width, const float* bias, const float* weight,
                      const float* beta, float* x, float* rstd, float* out);
// `d`, the gradient of out, is read; x (normalised) becomes the gradient of LayerNormForward's
// input.
void LayerNormBackward(int64_t rows, int64_t width, const float* weight, const float* rstd,
                       const float* d, float* x, float* bias_gradient, float* weight_gradient,
                       float* beta_gradient);

// sums[c] += sum over rows of d[row, c]; x[row, c] += bias[c].
void AddColumnSums(int64_t rows, int64_t width, const float* d, float* sums);
void AddBias(int64_t rows, int64_t width, const float* bias, float* x);
// y += x
void AddTo(int64_t count, const float* x, float* y);

}  // namespace pepnet
