// Encoder: what makes one vector per row of a sequence of vectors, and the description of each
// kind. The formulas and their derivatives are in worker/model/fused/encoders.
//
// Sequence:  T positions of `channels` floats (C) in a row, T from row to row another; T may be 0,
//            and the output is zero then. A query is one vector of the row, at most C wide, padded
//            on the right with zeros to C.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/job_config/mlp.h"
#include "common/job_config/type_table.h"

namespace pepnet {

enum class EncoderKind { kPooling, kSimpleAttention, kDin, kMultiWindowDin, kSelfAttention };

struct Encoder {
  EncoderKind kind = EncoderKind::kPooling;
  // Prefix of its parameters' names in DenseParameters, without a final dot:
  // "model.embedding_group._group_name_to_seq_encoders.all.0".
  std::string module;
  int sequence_group = -1;  // whose sequence, and query, it reads
  int channels = 0;         // C
  int width = 0;            // of the output, EncoderOutputWidth()
  int max_length = 0;       // only so many first positions exist; 0: all. Not of kMultiWindowDin
  bool mean = true;         // kPooling: the mean, else the sum
  // kDin, kMultiWindowDin: the hidden layers in front of the score of a position. Layer i drops as
  // dropout layer dropout_layer + i.
  Mlp attn_mlp;
  std::vector<int> windows;   // kMultiWindowDin: positions of each window; they follow one another
  int attention_width = 512;  // kSelfAttention: E, a multiple of `heads`
  int heads = 8;              // kSelfAttention
  double dropout = 0;         // kSelfAttention: of the attention weights, in training
  // Number of its first dropout layer, as in worker/model/dropout_mask.h.
  int64_t dropout_layer = 0;
};

struct EncoderType {
  const char* name;   // in checkpoints: never changes
  const char* field;  // of config::SeqEncoderConfig
  bool needs_query;   // false: a query is ignored
};

namespace encoder_types {

inline constexpr EncoderType kPooling = {"pooling", "pooling_encoder", false};
inline constexpr EncoderType kSimpleAttention = {"simple_attention", "simple_attention", true};
inline constexpr EncoderType kDin = {"din", "din_encoder", true};
inline constexpr EncoderType kMultiWindowDin = {"multi_window_din", "multi_window_din_encoder",
                                                true};
inline constexpr EncoderType kSelfAttention = {"self_attention", "self_attention_encoder", false};

}  // namespace encoder_types

constexpr const EncoderType* FindType(EncoderKind kind) {
  switch (kind) {
    case EncoderKind::kPooling:
      return &encoder_types::kPooling;
    case EncoderKind::kSimpleAttention:
      return &encoder_types::kSimpleAttention;
    case EncoderKind::kDin:
      return &encoder_types::kDin;
    case EncoderKind::kMultiWindowDin:
      return &encoder_types::kMultiWindowDin;
    case EncoderKind::kSelfAttention:
      return &encoder_types::kSelfAttention;
  }
  return nullptr;
}

// Width of the encoder's output on a sequence of `channels` channels. Reads kind, windows and
// attention_width.
inline int EncoderOutputWidth(const Encoder& encoder, int channels) {
  switch (encoder.kind) {
    case EncoderKind::kPooling:
    case EncoderKind::kSimpleAttention:
    case EncoderKind::kDin:
      return channels;
    case EncoderKind::kMultiWindowDin:  // one part per window, and the query
      return (static_cast<int>(encoder.windows.size()) + 1) * channels;
    case EncoderKind::kSelfAttention:
      return encoder.attention_width;
  }
  return 0;
}

}  // namespace pepnet
