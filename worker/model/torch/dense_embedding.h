// A dense embedding (common/job_config/dense_embedding.h) as libtorch expressions. Internal to this
// folder: includes torch.
#pragma once

#include <ATen/core/Tensor.h>

#include "common/job_config/dense_embedding.h"
#include "worker/model/torch/layers.h"

namespace pepnet {

struct DenseEmbeddingLayer {
  DenseEmbeddingLayer(const DenseEmbedding& embedding, LeafMaker* maker);
  // x: [rows, values]. The result is [rows, width].
  at::Tensor operator()(const at::Tensor& x) const;

  DenseEmbedding embedding;
  at::Tensor projection, mixing, meta;
};

}  // namespace pepnet
