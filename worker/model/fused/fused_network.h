// FusedNetwork: forward and backward of blocks of rows on one thread, with the block's activations,
// hand-written.
//
// Use:       a forward call keeps what its backward call needs, until the thread's next forward of
//            the same part. Backward overwrites what forward kept.
// Gradients: added to the arena given by SetGradients(); input gradients go where the caller says.
// Memory:    buffers grow to the largest block seen and are kept.
// Threads:   one at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "worker/model/fused/fused_layers.h"
#include "worker/model/fused/kernels/fused_gemm.h"
#include "worker/model/fused/kernels/fused_kernels.h"

namespace pepnet {

// The description of a block's rows that forward needs for dropout.
struct FusedRows {
  int64_t count = 0;
  bool dropout = false;  // false: evaluation
  uint64_t seed = 0;
  int64_t step = 0;
  const int64_t* global = nullptr;  // global row of each
};

class FusedNetwork {
 public:
  // Borrows both; `values` is the arena of DenseParameters.
  FusedNetwork(const FusedLayers* layers, const float* values) : layers_(layers), values_(values) {}
  void SetGradients(float* gradients) { gradients_ = gradients; }

  // gate_input: [domain ; main], main in it from column `domain_width` on. hidden [rows, epnet
  // hidden] and gate [rows, main width] are the caller's and kept for backward. out = gate * main.
  void EpnetForward(int64_t rows, Matrix gate_input, int64_t domain_width, float* hidden,
                    float* gate, Matrix out);
  // `d`, the gradient of out, becomes that of main. domain_gradient [rows, domain_width] is
  // overwritten.
  void EpnetBackward(int64_t rows, Matrix gate_input, int64_t domain_width, const float* hidden,
                     float* gate, Matrix d, float* domain_gradient, bool gate_sees_gradient);

  // gate_input: [uia ; x], x in it from column `uia_width` on. Returns the task's output, [rows,
  // width].
  Matrix PpnetForward(int task, const FusedRows& rows, Matrix gate_input, int64_t uia_width);
  // d: gradient of the output. gate_input_gradient is overwritten (`fresh`) or added to.
  void PpnetBackward(int task, const FusedRows& rows, Matrix gate_input, int64_t uia_width,
                     Matrix d, Matrix gate_input_gradient, bool fresh, bool gate_sees_gradient);

  // Returns the raw output, [rows, num_class] dense.
  float* TowerForward(int tower, const FusedRows& rows, Matrix x);
  // d: gradient of the raw output. x_gradient = beta * x_gradient + gradient of x.
  void TowerBackward(int tower, const FusedRows& rows, Matrix x, const float* d, float beta,
                     Matrix x_gradient);

 private:
  struct PpnetBuffers {
    AlignedBuffer<float> linear, hidden, gate, out;
  };
  struct MlpBuffers {
    AlignedBuffer<float> linear, normalised, rstd, out;
    AlignedBuffer<uint8_t> kept;
  };

  KernelActivation Function(const FusedActivation& activation) const;
  KernelDropout Dropout(const FusedDropout& dropout, const FusedRows& rows);
  GateProduct ProductOf(const FusedPpnetLayer& layer, const FusedRows& rows, PpnetBuffers* buffers);
  Activated ActivatedOf(const FusedMlpLayer& layer, const FusedRows& rows, MlpBuffers* buffers);
  float* GradientAt(int64_t place) { return place < 0 ? nullptr : gradients_ + place; }
  const float* ValueAt(int64_t place) const { return place < 0 ? nullptr : values_ + place; }
  void LinearForward(const FusedLinear& linear, int64_t rows, ConstMatrix x, float* y);
  void WeightGradient(const FusedLinear& linear, int64_t rows, ConstMatrix x, const float* dy);
  // x_gradient = beta * x_gradient + dy W over the first `columns` of W's columns from `first` on.
  void InputGradient(const FusedLinear& linear, int64_t rows, const float* dy, int64_t first,
                     int64_t columns, float beta, Matrix x_gradient);
  // Before the sigmoid: gate = second(relu(first(x))) without second's bias.
  void GateForward(const FusedGate& gate, int64_t rows, ConstMatrix x, float* hidden, float* out);
  // Leaves the gradient of first's output in hidden_gradient_.
  void GateBackward(const FusedGate& gate, int64_t rows, ConstMatrix x, const float* hidden,
                    const float* d);

  const FusedLayers* const layers_;
  const float* const values_;
  float* gradients_ = nullptr;
  std::vector<PpnetBuffers> ppnet_;  // by layer; one task at a time
  std::vector<MlpBuffers> mlp_;      // by layer; one tower at a time
  AlignedBuffer<float> hidden_gradient_, logits_, mask_row_;
};

}  // namespace pepnet
