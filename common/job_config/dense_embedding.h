// DenseEmbedding: turns the values of a raw feature into a vector with trained weights
// (docs/spec.md 3.12). A group that lists the feature reads the vector; a sequence group reads the
// values themselves.
//
// kMlp:     y = x W, W [values, width]
// kAutoDis: h = leaky_relu(x w), slope 0.01; z = M h + keep_prob h; p = softmax(z / temperature); y
//           = p^T E, with w [channels], M [channels, channels], E [channels, width], of one value x
#pragma once

#include <string>

#include "common/job_config/type_table.h"

namespace pepnet {

enum class DenseEmbeddingKind { kMlp, kAutoDis };

struct DenseEmbeddingType {
  const char* name;  // in checkpoints, and field of config::RawFeature: never changes
};

namespace dense_embedding_types {

inline constexpr DenseEmbeddingType kMlp = {"mlp"};
inline constexpr DenseEmbeddingType kAutoDis = {"autodis"};

}  // namespace dense_embedding_types

constexpr const DenseEmbeddingType* FindType(DenseEmbeddingKind kind) {
  switch (kind) {
    case DenseEmbeddingKind::kMlp:
      return &dense_embedding_types::kMlp;
    case DenseEmbeddingKind::kAutoDis:
      return &dense_embedding_types::kAutoDis;
  }
  return nullptr;
}

struct DenseEmbedding {
  static constexpr double kSlope = 0.01;  // of autodis' leaky_relu

  DenseEmbeddingKind kind = DenseEmbeddingKind::kMlp;
  // Index into JobConfig::leaves: the values that it reads.
  int leaf = -1;
  int values = 1;                             // of a row: the leaf's width
  int width = 0;                              // of the vector
  int channels = 0;                           // of autodis
  double temperature = 0.1, keep_prob = 0.8;  // of autodis
  // Names of the parameters in checkpoints: of W or w; of M and E of autodis.
  std::string projection, mixing, meta;
};

}  // namespace pepnet
