// AttentionMlp: the score of each position s of a row with query q: a linear layer behind hidden
// layers over [q ; s ; q - s ; q * s] or [s ; q * s ; q]. Internal to this folder.
//
// First layer: W [q ; s ; q - s ; q * s] = (Wq + Wd) q + (Ws - Wd) s + Wp (q * s). The term of q is
//            computed once a row. A long row joins the other two, (Ws - Wd + Wp diag(q)) s, so that
//            a position costs one product with s alone; short rows are packed to [s ; q * s]. The
//            three weights are composed, transposed, once a block.
// Kept:      arrays per position, at the tile's place in them; the same arrays for Forward and
//            Backward of a tile.
// Threads:   const, as SequenceEncoder; a Call belongs to one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "worker/model/fused/encoders/row_tiles.h"
#include "worker/model/fused/kernels/fused_kernels.h"
#include "worker/model/fused/kernels/layer_places.h"

namespace pepnet {

// The numbers of the arrays in EncoderBuffers, kept ones and scratch. The layers' arrays follow
// from kLayerArray on.
enum AttentionArray : size_t {
  kScores,
  kScoreGradient,
  kComposed,
  kComposedGradient,
  kRowTerm,
  kJoined,
  kPacked,
  kMask,
  kEvenGradient,
  kOddGradient,
  kLayerArray
};

class AttentionMlp {
 public:
  enum class Input {
    kWithDifference /* [q ; s ; q - s ; q * s] */,
    kWithoutDifference /* [s ; q * s ; q] */
  };

  AttentionMlp(const Encoder& encoder, Input input, int64_t channels,
               const DenseParameters& parameters);

  // One block under way. Its pointers are borrowed.
  struct Call {
    const float* values = nullptr;
    EncoderPass pass;
    EncoderBuffers* scratch = nullptr;
    EncoderBuffers* kept = nullptr;
    int64_t kept_positions = 0;  // room in the kept arrays
    float* gradients = nullptr;  // null: forward alone
    // Composed, [C, h] each: `own` times s and `product` times q * s, one behind the other, and
    // `query` times q.
    float *own = nullptr, *product = nullptr, *query = nullptr;
    float *own_gradient = nullptr, *product_gradient = nullptr, *query_gradient = nullptr;
  };

  // Floats kept per position.
  int64_t kept_floats() const { return kept_floats_; }
  // Positions of a tile, so that it stays in the second-level cache.
  int64_t tile_positions() const;

  // Composes the weights of call->values. With gradients, Finish() must follow the last Backward.
  void Begin(Call* call) const;
  // scores [tile.positions], packed.
  void Forward(const Call& call, const RowTile& tile, float* scores) const;
  // After Forward of the same tile, once; overwrites what it kept. d_scores: gradient of the
  // scores. d_query null: none. The gradient of the bias behind the scores is the caller's, see
  // AddBiasGradient().
  void Backward(const Call& call, const RowTile& tile, const float* d_scores, float* d_sequence,
                float* d_query) const;
  void AddBiasGradient(const Call& call, float gradient) const;
  void Finish(const Call& call) const;

 private:
  // The arrays of a layer, from one position on. ReLU works in place: linear and out are one array,
  // and the gradients are one of scratch. Else the gradient of a value takes its place:
  // out_gradient is out, and gradient, that of the product, is linear. Without layer norm,
  // deviation and normalised are null.
  struct LayerArrays {
    float *linear = nullptr, *deviation = nullptr, *normalised = nullptr, *out = nullptr;
    float *out_gradient = nullptr, *gradient = nullptr;
  };

  static bool InPlace(const FusedMlpLayer& layer) {
    return layer.norm_weight < 0 && layer.activation.kind == ActivationKind::kRelu;
  }
  LayerArrays ArraysOf(const Call& call, size_t layer, const RowTile& tile) const;
  static LayerArrays From(const LayerArrays& at, int64_t position, int64_t width);
  Activated ActivatedOf(const Call& call, const FusedMlpLayer& layer, int64_t positions,
                        const LayerArrays& at) const;
  // Applies norm and activation to the product of a layer, which holds the bias, for `positions`
  // positions.
  void Activate(const Call& call, const FusedMlpLayer& layer, int64_t positions,
                const LayerArrays& at) const;
  // at.out_gradient becomes at.gradient.
  void ActivateBackward(const Call& call, const FusedMlpLayer& layer, int64_t positions,
                        float* bias_gradient, const LayerArrays& at) const;
  // x *= the dropout mask of the layer, the tile's rows in x.
  void Drop(const Call& call, const FusedMlpLayer& layer, const RowTile& tile, float* x) const;
  void FirstLayer(const Call& call, const RowTile& tile, const LayerArrays& at) const;
  void FirstLayerBackward(const Call& call, const RowTile& tile, const LayerArrays& at,
                          float* d_sequence, float* d_query) const;

  const int64_t channels_;
  // First columns, in the first layer's weight, of q, s, q - s (-1: none) and q * s.
  const int64_t query_column_, own_column_, difference_column_, product_column_;
  std::vector<FusedMlpLayer> layers_;
  FusedLinear linear_;
  int64_t kept_floats_ = 0, tile_floats_ = 0;
};

}  // namespace pepnet
