#include "worker/model/fused/encoders/sequence_encoder.h"

#include "common/base/log_functions.h"
#include "worker/model/fused/encoders/make_encoder.h"

namespace pepnet {

std::unique_ptr<SequenceEncoder> MakeSequenceEncoder(const Encoder& encoder, int64_t channels,
                                                     const DenseParameters& parameters) {
  CheckOrDie(channels > 0, encoder.module + " has a sequence without channels");
  switch (encoder.kind) {
    case EncoderKind::kPooling:
      return MakePoolingEncoder(encoder, channels);
    case EncoderKind::kSimpleAttention:
      return MakeSimpleAttention(encoder, channels);
    case EncoderKind::kDin:
    case EncoderKind::kMultiWindowDin:
      return MakeDinEncoder(encoder, channels, parameters);
    case EncoderKind::kSelfAttention:
      return MakeSelfAttention(encoder, channels, parameters);
  }
  CheckOrDie(false, encoder.module + " is of no kind of encoder");
  return nullptr;
}

}  // namespace pepnet
