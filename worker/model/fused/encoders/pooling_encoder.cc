// Pooling: sum over the n positions that exist of s_i, or that divided by max(n, 1).
#include "common/base/mutant.h"
#include "worker/model/fused/encoders/make_encoder.h"
#include "worker/model/fused/encoders/row_tiles.h"
#include "worker/model/fused/kernels/row_kernels.h"

namespace pepnet {
namespace {

class PoolingEncoder final : public SequenceEncoder {
 public:
  PoolingEncoder(const Encoder& encoder, int64_t channels)
      : channels_(channels), limit_(PositionLimit(encoder)), mean_(encoder.mean) {}

  int64_t width() const override { return channels_; }
  size_t SavedBytes(int64_t) const override { return 0; }

  void Forward(const float*, const SequenceBlock& block, const EncoderPass&, float* out,
               int64_t out_stride, Saved*) const override {
    // An empty row is a sum of nothing: ScaledSum() still writes its zeros.
    for (int64_t b = 0; b < block.rows; ++b) {
      const int64_t length = RowLength(block, b, limit_);
      ScaledSum(length, channels_, FactorOf(length), block.sequence + block.offsets[b] * channels_,
                out + b * out_stride);
    }
  }

  void Backward(const float*, const SequenceBlock& block, const EncoderPass&, const float* d_out,
                int64_t d_out_stride, Saved*, float* d_sequence, float*, float*) const override {
    for (int64_t b = 0; b < block.rows; ++b) {
      const int64_t length = RowLength(block, b, limit_);
      AddScaledToEach(length, channels_, FactorOf(length), d_out + b * d_out_stride,
                      d_sequence + block.offsets[b] * channels_);
    }
  }

 private:
  float FactorOf(int64_t length) const {
    if (MutantActive(Mutant::kPaddingIsAttended)) ++length;
    return mean_ && length > 0 ? 1.0f / static_cast<float>(length) : 1.0f;
  }

  const int64_t channels_, limit_;
  const bool mean_;
};

}  // namespace

std::unique_ptr<SequenceEncoder> MakePoolingEncoder(const Encoder& encoder, int64_t channels) {
  return std::make_unique<PoolingEncoder>(encoder, channels);
}

}  // namespace pepnet
