// The constructors of the kinds of encoders, for MakeSequenceEncoder().
#pragma once

#include <cstdint>
#include <memory>

#include "worker/model/fused/encoders/sequence_encoder.h"

namespace pepnet {

std::unique_ptr<SequenceEncoder> MakePoolingEncoder(const Encoder& encoder, int64_t channels);
std::unique_ptr<SequenceEncoder> MakeSimpleAttention(const Encoder& encoder, int64_t channels);
// kDin and kMultiWindowDin
std::unique_ptr<SequenceEncoder> MakeDinEncoder(const Encoder& encoder, int64_t channels,
                                                const DenseParameters& parameters);
std::unique_ptr<SequenceEncoder> MakeSelfAttention(const Encoder& encoder, int64_t channels,
                                                   const DenseParameters& parameters);

}  // namespace pepnet
