#include "worker/model/torch/dense_embedding.h"

#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>

namespace pepnet {

DenseEmbeddingLayer::DenseEmbeddingLayer(const DenseEmbedding& embedding, LeafMaker* maker)
    : embedding(embedding), projection(maker->Leaf(embedding.projection)) {
  if (embedding.kind == DenseEmbeddingKind::kMlp) return;
  mixing = maker->Leaf(embedding.mixing);
  meta = maker->Leaf(embedding.meta);
}

at::Tensor DenseEmbeddingLayer::operator()(const at::Tensor& x) const {
  switch (embedding.kind) {
    case DenseEmbeddingKind::kMlp:
      // The weight of a single value is a vector (spec 3.12), so the product goes by broadcasting.
      return embedding.values == 1 ? x.mul(projection) : at::matmul(x, projection);
    case DenseEmbeddingKind::kAutoDis: {
      const at::Tensor h = at::leaky_relu(x.mul(projection), DenseEmbedding::kSlope);
      const at::Tensor z = at::matmul(h, mixing.t()).add(h.mul(embedding.keep_prob));
      return at::matmul(at::softmax(z.div(embedding.temperature), 1), meta);
    }
  }
  return x;
}

}  // namespace pepnet
