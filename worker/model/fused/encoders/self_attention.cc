// Self attention over the n positions that exist, its mean over the whole length L of the row:
//   q_i = Pq (Wq s_i + bq) + pq, likewise k and v;  per head h of width d = E / H:
//   a_hij = softmax over j of q_hi . k_hj / sqrt(d), then dropout;
//   out = sum over i of (O [sum_j a_hij v_hj]_h + o) / L
//
// The same is computed with fewer products:
//   - Two linear layers behind one another are one: q_i = Vq s_i + vq with Vq = Pq Wq [E, C] and
//     vq = Pq bq + pq.
//   - The scores are left_hi . right_hj, with left_hi = A_h s_i + a_h, each of width r. vk adds the
//     same to all j, and softmax forgets it. With C <= d,
//       right_hj = s_j, r = C, A_h = Vk_h^T Vq_h / sqrt(d), a_h = Vk_h^T vq_h / sqrt(d);
//     else
//       right_hj = Vk_h s_j, r = d, A_h = Vq_h / sqrt(d), a_h = vq_h / sqrt(d).
//   - Only the sum over i is asked for: with w_hj = sum over i of a_hij / L,
//     mixed_h = sum over j of w_hj s_j [C] and weight_h = sum over j of w_hj, the context is
//     [Vv_h mixed_h + weight_h vv_h]_h, once a row, and out = O context + (n / L) o.
// Backward goes the same way; da_hij is the same for all i, but for dropout.
#include <algorithm>
#include <cmath>
#include <string>

#include "common/base/log_functions.h"
#include "worker/model/dropout_mask.h"
#include "worker/model/fused/encoders/make_encoder.h"
#include "worker/model/fused/encoders/row_tiles.h"
#include "worker/model/fused/kernels/fused_gemm.h"
#include "worker/model/fused/kernels/fused_kernels.h"
#include "worker/model/fused/kernels/layer_places.h"
#include "worker/model/fused/kernels/row_kernels.h"

namespace pepnet {
namespace {

enum Array : size_t {
  kComposed,
  kComposedGradient,
  kLeft,
  kLeftGradient,
  kRight,
  kRightGradient,
  kWeights,
  kMask,
  kColumns,
  kMixed,
  kMixedGradient,
  kContext,
  kContextGradient,
  kRowSum,
};

// Positions of a tile, whose rows share the products behind the attention.
constexpr int64_t kTilePositions = 1024;

class SelfAttention final : public SequenceEncoder {
 public:
  SelfAttention(const Encoder& encoder, int64_t channels, const DenseParameters& parameters);

  int64_t width() const override { return width_; }
  size_t SavedBytes(int64_t) const override { return 0; }
  void Forward(const float* values, const SequenceBlock& block, const EncoderPass& pass, float* out,
               int64_t out_stride, Saved* saved) const override;
  void Backward(const float* values, const SequenceBlock& block, const EncoderPass& pass,
                const float* d_out, int64_t d_out_stride, Saved* saved, float* d_sequence,
                float* d_query, float* gradients) const override;

 private:
  // The composed weights, or their gradients. [E, C] or [E] each, but left [H r, C] and left_shift
  // [H r].
  struct Composed {
    float *query, *key, *value, *query_shift, *value_shift, *left, *left_shift;
  };
  // A block under way.
  struct Call {
    const float* values = nullptr;
    const SequenceBlock* block = nullptr;
    EncoderPass pass;
    EncoderBuffers* scratch = nullptr;
    Composed composed, gradient;
    float* gradients = nullptr;
  };

  bool HasRight() const { return rank_ != channels_; }
  Composed Carve(float* arrays) const;
  int64_t ComposedFloats() const {
    return 3 * width_ * channels_ + 2 * width_ + heads_ * rank_ * (channels_ + 1);
  }
  void Compose(Call* call) const;
  void ComposeBackward(const Call& call) const;
  // weight [E, C] and shift [E] (null: none) of part `index` of in_proj behind `linear`.
  void ComposePart(const Call& call, int64_t index, const FusedLinear& linear, float* weight,
                   float* shift) const;
  void ComposePartBackward(const Call& call, int64_t index, const FusedLinear& linear,
                           const float* weight, const float* shift) const;

  // left [n, H r] and right [n, stride], of one row.
  struct Factors {
    float* left;
    ConstMatrix right;  // of head h: from column h * right_step on
    int64_t right_step;
  };
  Factors FactorsOf(const Call& call, const TileRow& row) const;
  // The head's weights [n, n] before dropout. mask: gets the dropout mask; null without dropout.
  float* WeightsOf(const Call& call, const TileRow& row, const Factors& factors, int64_t head,
                   float** mask) const;
  // columns[h, j] = w_hj;  mixed [H, C] and sums [H], weight_h, follow.
  void Mix(const Call& call, const TileRow& row, const Factors& factors, float* columns,
           float* mixed, float* sums) const;
  void MixBackward(const Call& call, const TileRow& row, const float* d_mixed, const float* d_sums,
                   float* mixed, float* sums, float* d_sequence) const;
  // context [rows, E] of a tile from mixed [rows, H, C] and sums [rows, H].
  void Contexts(const Call& call, int64_t rows, const float* mixed, const float* sums,
                float* context) const;

  // 1 / L of a row that is not empty, and n / L, 0 of an empty row. L counts positions beyond the
  // limit too.
  static float InverseLength(const SequenceBlock& block, int64_t b) {
    return 1.0f / static_cast<float>(block.offsets[b + 1] - block.offsets[b]);
  }
  float Share(const SequenceBlock& block, int64_t b) const {
    const int64_t length = RowLength(block, b, limit_);
    return length == 0 ? 0.0f : static_cast<float>(length) * InverseLength(block, b);
  }

  const int64_t channels_, limit_, width_, heads_, head_width_;
  const int64_t rank_;  // r
  const float scale_;   // 1 / sqrt(d)
  const FusedDropout dropout_;
  FusedLinear query_, key_, value_, out_;
  int64_t in_weight_, in_bias_;
};

SelfAttention::SelfAttention(const Encoder& encoder, int64_t channels,
                             const DenseParameters& parameters)
    : channels_(channels),
      limit_(PositionLimit(encoder)),
      width_(encoder.attention_width),
      heads_(encoder.heads),
      head_width_(width_ / heads_),
      rank_(std::min(channels_, head_width_)),
      scale_(static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_width_)))),
      dropout_{encoder.dropout, encoder.dropout_layer} {
  CheckOrDie(head_width_ * heads_ == width_, encoder.module + " has heads of unequal widths");
  const LayerPlacer place(&parameters);
  query_ = place.Linear(encoder.module + "._query");
  key_ = place.Linear(encoder.module + "._key");
  value_ = place.Linear(encoder.module + "._value");
  const std::string attention = encoder.module + "._multihead_attn.";
  in_weight_ = place.Required(attention + "in_proj_weight");
  in_bias_ = place.Required(attention + "in_proj_bias");
  out_ = place.Linear(attention + "out_proj");
  for (const FusedLinear* linear : {&query_, &key_, &value_}) {
    CheckOrDie(linear->in == channels && linear->out == width_,
               encoder.module + " has layers of another width");
  }
}

// ---- the weights --------------------------------------------------------------------------------

SelfAttention::Composed SelfAttention::Carve(float* arrays) const {
  const int64_t size = width_ * channels_;
  Composed composed;
  composed.query = arrays;
  composed.key = composed.query + size;
  composed.value = composed.key + size;
  composed.left = composed.value + size;
  composed.left_shift = composed.left + heads_ * rank_ * channels_;
  composed.query_shift = composed.left_shift + heads_ * rank_;
  composed.value_shift = composed.query_shift + width_;
  return composed;
}

void SelfAttention::ComposePart(const Call& call, int64_t index, const FusedLinear& linear,
                                float* weight, float* shift) const {
  // V = P W [E, C] and v = P b + p [E] are products of weights alone, made once a block instead of
  // once a position.
  const float* const outer = call.values + in_weight_ + index * width_ * width_;
  GemmNN(width_, channels_, width_, {outer, width_}, {call.values + linear.weight, channels_}, 0,
         {weight, channels_});
  if (shift == nullptr) return;
  Dots(width_, width_, outer, call.values + linear.bias, shift);
  AddTo(width_, call.values + in_bias_ + index * width_, shift);
}

// With dW the gradient of P W and dw that of P b + p:
//   dP += dW W^T + dw b^T      dW' += P^T dW      db += P^T dw      dp += dw
void SelfAttention::ComposePartBackward(const Call& call, int64_t index, const FusedLinear& linear,
                                        const float* weight, const float* shift) const {
  const int64_t place = in_weight_ + index * width_ * width_;
  const float* const outer = call.values + place;
  float* const outer_gradient = call.gradients + place;
  GemmNT(width_, width_, channels_, {weight, channels_}, {call.values + linear.weight, channels_},
         1, {outer_gradient, width_});
  GemmTN(width_, channels_, width_, {outer, width_}, {weight, channels_}, 1,
         {call.gradients + linear.weight, channels_});
  if (shift == nullptr) return;
  AddOuter(width_, width_, shift, call.values + linear.bias, outer_gradient);
  AddWeightedSum(width_, width_, shift, outer, call.gradients + linear.bias);
  AddTo(width_, shift, call.gradients + in_bias_ + index * width_);
}

void SelfAttention::Compose(Call* call) const {
  const Composed to = call->composed = Carve(call->scratch->Get(kComposed, ComposedFloats()));
  ComposePart(*call, 0, query_, to.query, to.query_shift);
  ComposePart(*call, 1, key_, to.key, nullptr);
  ComposePart(*call, 2, value_, to.value, to.value_shift);
  // With r = min(C, d) the scores' factors are as thin as they can be. For C <= d the keys' weights
  // move over to the left side and right_j is s_j itself, so nothing has to be computed for it.
  if (HasRight()) {
    std::copy_n(to.query, width_ * channels_, to.left);
    std::copy_n(to.query_shift, width_, to.left_shift);
  } else {
    for (int64_t head = 0; head < heads_; ++head) {
      const int64_t first = head * head_width_;
      const ConstMatrix key(to.key + first * channels_, channels_);
      GemmTN(channels_, channels_, head_width_, key, {to.query + first * channels_, channels_}, 0,
             {to.left + head * channels_ * channels_, channels_});
      WeightedSum(head_width_, channels_, to.query_shift + first, key.data,
                  to.left_shift + head * channels_);
    }
  }
  // The factor 1 / sqrt(d) goes into the left factors, once a block, and not into n x n scores for
  // every head and row.
  Scale(heads_ * rank_ * channels_, scale_, to.left);
  Scale(heads_ * rank_, scale_, to.left_shift);
  // The gradients of the composed weights gather all tiles; ComposeBackward() hands them on to the
  // parameters at the end.
  if (call->gradients == nullptr) return;
  call->gradient = Carve(call->scratch->GetZeroed(kComposedGradient, ComposedFloats()));
}

void SelfAttention::ComposeBackward(const Call& call) const {
  const Composed &at = call.composed, &d = call.gradient;
  Scale(heads_ * rank_ * channels_, scale_, d.left);
  Scale(heads_ * rank_, scale_, d.left_shift);
  if (HasRight()) {
    AddTo(width_ * channels_, d.left, d.query);
    AddTo(width_, d.left_shift, d.query_shift);
  } else {
    for (int64_t head = 0; head < heads_; ++head) {
      const int64_t first = head * head_width_;
      const float *const key = at.key + first * channels_, *const query =
                                                               at.query + first * channels_;
      const float *const left = d.left + head * channels_ * channels_, *const shift =
                                                                           d.left_shift +
                                                                           head * channels_;
      GemmNN(head_width_, channels_, channels_, {key, channels_}, {left, channels_}, 1,
             {d.query + first * channels_, channels_});
      GemmNT(head_width_, channels_, channels_, {query, channels_}, {left, channels_}, 1,
             {d.key + first * channels_, channels_});
      AddOuter(head_width_, channels_, at.query_shift + first, shift, d.key + first * channels_);
      Dots(head_width_, channels_, key, shift, d.query_shift + first);
    }
  }
  ComposePartBackward(call, 0, query_, d.query, d.query_shift);
  ComposePartBackward(call, 1, key_, d.key, nullptr);
  ComposePartBackward(call, 2, value_, d.value, d.value_shift);
}

// ---- one row ------------------------------------------------------------------------------------

SelfAttention::Factors SelfAttention::FactorsOf(const Call& call, const TileRow& row) const {
  const int64_t columns = heads_ * rank_;
  float* const left = call.scratch->Get(kLeft, row.length * columns);
  GemmNT(row.length, columns, channels_, {row.sequence, channels_}, {call.composed.left, channels_},
         0, {left, columns});
  AddBias(row.length, columns, call.composed.left_shift, left);
  if (!HasRight()) return {left, {row.sequence, channels_}, 0};
  float* const right = call.scratch->Get(kRight, row.length * columns);
  GemmNT(row.length, columns, channels_, {row.sequence, channels_}, {call.composed.key, channels_},
         0, {right, columns});
  return {left, {right, columns}, rank_};
}

float* SelfAttention::WeightsOf(const Call& call, const TileRow& row, const Factors& factors,
                                int64_t head, float** mask) const {
  const int64_t n = row.length, size = n * n;
  float* const weights = call.scratch->Get(kWeights, size);
  GemmNT(n, n, rank_, {factors.left + head * rank_, heads_ * rank_},
         {factors.right.data + head * factors.right_step, factors.right.stride}, 0, {weights, n});
  SoftmaxRows(n, n, weights);
  *mask = nullptr;
  // Weights are kept without the mask: softmax's backward needs them so.
  if (!call.pass.train || dropout_.ratio <= 0) return weights;
  *mask = call.scratch->Get(kMask, size);
  // Head h's part of the row's mask begins at element h n n; one head's is made at a time.
  FillDropoutMaskFrom(DropoutKey(call.pass.seed, dropout_.number, call.pass.step), dropout_.ratio,
                      call.block->global_rows[row.row], head * size, size, *mask);
  return weights;
}

void SelfAttention::Mix(const Call& call, const TileRow& row, const Factors& factors,
                        float* columns, float* mixed, float* sums) const {
  const int64_t n = row.length;
  const float share = InverseLength(*call.block, row.row);
  for (int64_t head = 0; head < heads_; ++head) {
    float* mask;
    float* const weights = WeightsOf(call, row, factors, head, &mask);
    // The n x n weights of a head are used up here: only their column sums go on, so no array grows
    // with heads * n * n.
    MaskedColumnMeans(n, share, weights, mask, columns + head * n);
    sums[head] = Sum(n, columns + head * n);
  }
  GemmNN(heads_, channels_, n, {columns, n}, {row.sequence, channels_}, 0, {mixed, channels_});
}

// With dw_hj = (d_mixed_h . s_j + d_sums_h) / L and the dropout mask m:
//   dz_hij = a_hij (m_hij dw_hj - sum over k of a_hik m_hik dw_hk)
void SelfAttention::MixBackward(const Call& call, const TileRow& row, const float* d_mixed,
                                const float* d_sums, float* mixed, float* sums,
                                float* d_sequence) const {
  const int64_t n = row.length, columns = heads_ * rank_;
  const float share = InverseLength(*call.block, row.row);
  // The factors and weights are computed again, row by row: keeping them would take n x n floats
  // for every head and row.
  const Factors factors = FactorsOf(call, row);
  float* const means = call.scratch->Get(kColumns, 2 * heads_ * n);
  float* const d_means = means + heads_ * n;
  const ConstMatrix sequence(row.sequence, channels_);
  const Matrix d_row = {d_sequence + row.source, channels_};
  GemmNT(heads_, n, channels_, {d_mixed, channels_}, sequence, 0, {d_means, n});

  float* const d_left = call.scratch->Get(kLeftGradient, n * columns);
  float* const d_right = HasRight() ? call.scratch->Get(kRightGradient, n * columns) : nullptr;
  for (int64_t head = 0; head < heads_; ++head) {
    float *mask, *const mean = means + head * n, *const d_mean = d_means + head * n;
    float* const weights = WeightsOf(call, row, factors, head, &mask);
    MaskedColumnMeans(n, share, weights, mask, mean);
    sums[head] = Sum(n, mean);
    // All rows i of the weights have the same gradient, since the output is a mean over i.
    for (int64_t j = 0; j < n; ++j) d_mean[j] = (d_mean[j] + d_sums[head]) * share;
    MaskedSoftmaxBackward(n, d_mean, mask, weights);
    // Without right factors right_j is s_j, and its gradient is added there.
    const float* const right = factors.right.data + head * factors.right_step;
    GemmNN(n, rank_, n, {weights, n}, {right, factors.right.stride}, 0,
           {d_left + head * rank_, columns});
    GemmTN(n, rank_, n, {weights, n}, {factors.left + head * rank_, columns}, HasRight() ? 0 : 1,
           HasRight() ? Matrix{d_right + head * rank_, columns} : d_row);
  }
  GemmNN(heads_, channels_, n, {means, n}, sequence, 0, {mixed, channels_});
  GemmTN(n, channels_, heads_, {means, n}, {d_mixed, channels_}, 1, d_row);

  const Composed& d = call.gradient;
  GemmTN(columns, channels_, n, {d_left, columns}, sequence, 1, {d.left, channels_});
  AddColumnSums(n, columns, d_left, d.left_shift);
  GemmNN(n, channels_, columns, {d_left, columns}, {call.composed.left, channels_}, 1, d_row);
  if (!HasRight()) return;
  GemmTN(columns, channels_, n, {d_right, columns}, sequence, 1, {d.key, channels_});
  GemmNN(n, channels_, columns, {d_right, columns}, {call.composed.key, channels_}, 1, d_row);
}

// ---- a tile -------------------------------------------------------------------------------------

void SelfAttention::Contexts(const Call& call, int64_t rows, const float* mixed, const float* sums,
                             float* context) const {
  for (int64_t head = 0; head < heads_; ++head) {
    const int64_t first = head * head_width_;
    GemmNT(rows, head_width_, channels_, {mixed + head * channels_, heads_ * channels_},
           {call.composed.value + first * channels_, channels_}, 0, {context + first, width_});
  }
  for (int64_t b = 0; b < rows; ++b) {
    for (int64_t head = 0; head < heads_; ++head) {
      const int64_t first = head * head_width_;
      AddScaled(head_width_, sums[b * heads_ + head], call.composed.value_shift + first,
                context + b * width_ + first);
    }
  }
}

void SelfAttention::Forward(const float* values, const SequenceBlock& block,
                            const EncoderPass& pass, float* out, int64_t out_stride, Saved*) const {
  EncoderBuffers own;
  Call call;
  call.values = values;
  call.block = &block;
  call.pass = pass;
  call.scratch = pass.scratch != nullptr ? pass.scratch : &own;
  Compose(&call);
  ForEachTile(block, limit_, kTilePositions, [&](const RowTile& tile) {
    const int64_t mixed_width = heads_ * channels_;
    // Empty rows are not visited and need their zeros: a context of zero gives an output of zero.
    float* const mixed = call.scratch->GetZeroed(kMixed, tile.rows * mixed_width);
    float* const sums = call.scratch->GetZeroed(kRowSum, tile.rows * heads_);
    ForEachRow(tile, [&](const TileRow& row) {
      const int64_t b = row.row - tile.first_row;
      float* const columns = call.scratch->Get(kColumns, heads_ * row.length);
      Mix(call, row, FactorsOf(call, row), columns, mixed + b * mixed_width, sums + b * heads_);
    });
    float* const context = call.scratch->Get(kContext, tile.rows * width_);
    Contexts(call, tile.rows, mixed, sums, context);
    float* const tile_out = out + tile.first_row * out_stride;
    GemmNT(tile.rows, width_, width_, {context, width_}, {values + out_.weight, width_}, 0,
           {tile_out, out_stride});
    for (int64_t b = 0; b < tile.rows; ++b) {
      AddScaled(width_, Share(block, tile.first_row + b), values + out_.bias,
                tile_out + b * out_stride);
    }
  });
}

void SelfAttention::Backward(const float* values, const SequenceBlock& block,
                             const EncoderPass& pass, const float* d_out, int64_t d_out_stride,
                             Saved*, float* d_sequence, float*, float* gradients) const {
  EncoderBuffers own;
  Call call;
  call.values = values;
  call.block = &block;
  call.pass = pass;
  call.scratch = pass.scratch != nullptr ? pass.scratch : &own;
  call.gradients = gradients;
  Compose(&call);
  const Composed& at = call.composed;
  ForEachTile(block, limit_, kTilePositions, [&](const RowTile& tile) {
    const int64_t rows = tile.rows, mixed_width = heads_ * channels_;
    const ConstMatrix d_tile(d_out + tile.first_row * d_out_stride, d_out_stride);
    // The gradient of the context comes first, for all rows of the tile at once: out = O context +
    // (n / L) o.
    float* const d_context = call.scratch->Get(kContextGradient, rows * width_);
    GemmNN(rows, width_, width_, d_tile, {values + out_.weight, width_}, 0, {d_context, width_});
    // Of `mixed` and its sums; both are computed with the weights' gradients.
    float* const d_mixed = call.scratch->Get(kMixedGradient, rows * mixed_width);
    float* const mixed = call.scratch->GetZeroed(kMixed, rows * mixed_width);
    float* const sums = call.scratch->GetZeroed(kRowSum, 2 * rows * heads_);
    float* const d_sums = sums + rows * heads_;
    for (int64_t head = 0; head < heads_; ++head) {
      const int64_t first = head * head_width_;
      const ConstMatrix d_head(d_context + first, width_);
      GemmNN(rows, channels_, head_width_, d_head, {at.value + first * channels_, channels_}, 0,
             {d_mixed + head * channels_, mixed_width});
      for (int64_t b = 0; b < rows; ++b) {
        Dots(1, head_width_, d_context + b * width_ + first, at.value_shift + first,
             d_sums + b * heads_ + head);
      }
    }
    ForEachRow(tile, [&](const TileRow& row) {
      const int64_t b = row.row - tile.first_row;
      MixBackward(call, row, d_mixed + b * mixed_width, d_sums + b * heads_,
                  mixed + b * mixed_width, sums + b * heads_, d_sequence);
    });
    float* const context = call.scratch->Get(kContext, rows * width_);
    Contexts(call, rows, mixed, sums, context);
    GemmTN(width_, width_, rows, d_tile, {context, width_}, 1, {gradients + out_.weight, width_});
    for (int64_t head = 0; head < heads_; ++head) {
      const int64_t first = head * head_width_;
      GemmTN(head_width_, channels_, rows, {d_context + first, width_},
             {mixed + head * channels_, mixed_width}, 1,
             {call.gradient.value + first * channels_, channels_});
    }
    for (int64_t b = 0; b < rows; ++b) {
      AddScaled(width_, Share(block, tile.first_row + b), d_tile.data + b * d_out_stride,
                gradients + out_.bias);
      for (int64_t head = 0; head < heads_; ++head) {
        const int64_t first = head * head_width_;
        AddScaled(head_width_, sums[b * heads_ + head], d_context + b * width_ + first,
                  call.gradient.value_shift + first);
      }
    }
  });
  ComposeBackward(call);
}

}  // namespace

std::unique_ptr<SequenceEncoder> MakeSelfAttention(const Encoder& encoder, int64_t channels,
                                                   const DenseParameters& parameters) {
  return std::make_unique<SelfAttention>(encoder, channels, parameters);
}

}  // namespace pepnet
