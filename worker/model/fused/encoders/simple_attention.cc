// Simple attention: w = softmax(s_i . q) over the positions i that exist;  out = sum of w_i s_i
// With dw_i = d_out . s_i and dz the gradient of softmax's input:
//   ds_i = w_i d_out + dz_i q;  dq = sum over i of dz_i s_i
#include <algorithm>

#include "common/base/log_functions.h"
#include "worker/model/fused/encoders/make_encoder.h"
#include "worker/model/fused/encoders/row_tiles.h"
#include "worker/model/fused/kernels/row_kernels.h"

namespace pepnet {
namespace {

class SimpleAttention final : public SequenceEncoder {
 public:
  SimpleAttention(const Encoder& encoder, int64_t channels)
      : channels_(channels), limit_(PositionLimit(encoder)) {}

  int64_t width() const override { return channels_; }
  size_t SavedBytes(int64_t positions) const override {
    return static_cast<size_t>(positions) * sizeof(float);
  }

  void Forward(const float*, const SequenceBlock& block, const EncoderPass& pass, float* out,
               int64_t out_stride, Saved* saved) const override {
    CheckOrDie(block.query != nullptr, "simple attention without a query");
    EncoderBuffers own;
    float* const weights = Weights(block, pass, saved, &own);
    int64_t first = 0;
    // Kept weights of all rows lie packed, in the order of the rows; without `saved` one row's are
    // enough.
    for (int64_t b = 0; b < block.rows; ++b) {
      const int64_t length = RowLength(block, b, limit_);
      float* const w = weights + (saved != nullptr ? first : 0);
      if (length > 0) RowWeights(block, b, length, w);
      WeightedSum(length, channels_, w, block.sequence + block.offsets[b] * channels_,
                  out + b * out_stride);
      first += length;
    }
  }

  void Backward(const float*, const SequenceBlock& block, const EncoderPass& pass,
                const float* d_out, int64_t d_out_stride, Saved* saved, float* d_sequence,
                float* d_query, float*) const override {
    EncoderBuffers own;
    EncoderBuffers* const scratch = pass.scratch != nullptr ? pass.scratch : &own;
    float* const weights = Weights(block, pass, saved, &own);
    float* const d = scratch->Get(kGradient, LongestRow(block));
    int64_t first = 0;
    for (int64_t b = 0; b < block.rows; ++b) {
      const int64_t length = RowLength(block, b, limit_), source = block.offsets[b] * channels_;
      if (length == 0) continue;
      float* const w = weights + (saved != nullptr ? first : 0);
      if (saved == nullptr) RowWeights(block, b, length, w);
      const float* const d_row = d_out + b * d_out_stride;
      // The gradient of the weights is d_i = d_out . s_i; through softmax it becomes dz_i = w_i
      // (d_i - sum of w_k d_k).
      Dots(length, channels_, block.sequence + source, d_row, d);
      SoftmaxBackward(length, w, d);
      // The position s_i has two ways to the output: through the sum and through its own score.
      AddOuter(length, channels_, w, d_row, d_sequence + source);
      AddOuter(length, channels_, d, block.query + b * channels_, d_sequence + source);
      if (d_query != nullptr) {
        AddWeightedSum(length, channels_, d, block.sequence + source, d_query + b * channels_);
      }
      first += length;
    }
  }

 private:
  enum Array : size_t { kWeights, kGradient };

  // Of all positions if they are kept, else of one row.
  float* Weights(const SequenceBlock& block, const EncoderPass& pass, Saved* saved,
                 EncoderBuffers* own) const {
    if (saved != nullptr) return saved->Get(kWeights, block.offsets[block.rows] - block.offsets[0]);
    return (pass.scratch != nullptr ? pass.scratch : own)->Get(kWeights, LongestRow(block));
  }

  int64_t LongestRow(const SequenceBlock& block) const {
    int64_t longest = 0;
    for (int64_t b = 0; b < block.rows; ++b) {
      longest = std::max(longest, RowLength(block, b, limit_));
    }
    return longest;
  }

  void RowWeights(const SequenceBlock& block, int64_t b, int64_t length, float* w) const {
    Dots(length, channels_, block.sequence + block.offsets[b] * channels_,
         block.query + b * channels_, w);
    Softmax(length, w);
  }

  const int64_t channels_, limit_;
};

}  // namespace

std::unique_ptr<SequenceEncoder> MakeSimpleAttention(const Encoder& encoder, int64_t channels) {
  return std::make_unique<SimpleAttention>(encoder, channels);
}

}  // namespace pepnet
