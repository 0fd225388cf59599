#include "worker/model/fused/encoders/attention_mlp.h"

#include <algorithm>

#include "common/base/log_functions.h"
#include "worker/model/dropout_mask.h"
#include "worker/model/fused/kernels/fused_gemm.h"
#include "worker/model/fused/kernels/row_kernels.h"

namespace pepnet {
namespace {

// Floats of a tile's layers, at most: half of a second-level cache of 512 KiB.
constexpr int64_t kTileFloats = 64 * 1024;

// The kept arrays of a layer, from kLayerArray + layer * kArraysOfLayer on.
enum ArrayOfLayer : size_t { kLinear, kDeviation, kNormalised, kOut, kArraysOfLayer };

float* GradientAt(const AttentionMlp::Call& call, int64_t place) {
  return place < 0 ? nullptr : call.gradients + place;
}
const float* ValueAt(const AttentionMlp::Call& call, int64_t place) {
  return place < 0 ? nullptr : call.values + place;
}

}  // namespace

AttentionMlp::AttentionMlp(const Encoder& encoder, Input input, int64_t channels,
                           const DenseParameters& parameters)
    : channels_(channels),
      query_column_(input == Input::kWithDifference ? 0 : 2 * channels),
      own_column_(input == Input::kWithDifference ? channels : 0),
      difference_column_(input == Input::kWithDifference ? 2 * channels : -1),
      product_column_(input == Input::kWithDifference ? 3 * channels : channels) {
  const LayerPlacer place(&parameters);
  layers_ = place.HiddenLayers(encoder.module + ".mlp", encoder.attn_mlp, encoder.dropout_layer);
  linear_ = place.Linear(encoder.module + ".linear");
  CheckOrDie(!layers_.empty(), encoder.module + " has no hidden layer");
  CheckOrDie(layers_[0].linear.in == (input == Input::kWithDifference ? 4 : 3) * channels,
             encoder.module + " has an MLP of another width");
  // A layer that works in place keeps one array per position instead of two.
  for (const FusedMlpLayer& layer : layers_) {
    const int64_t norm_floats = layer.norm_weight >= 0 ? layer.linear.out + 1 : 0;
    kept_floats_ += (InPlace(layer) ? 1 : 2) * layer.linear.out + norm_floats;
    tile_floats_ += 2 * layer.linear.out + norm_floats;
  }
}

// Few hidden units make long tiles and many make short ones; below 64 positions a product is not
// worth its call.
int64_t AttentionMlp::tile_positions() const {
  return std::clamp<int64_t>(kTileFloats / tile_floats_, 64, 1024);
}

// ---- one layer ----------------------------------------------------------------------------------

AttentionMlp::LayerArrays AttentionMlp::ArraysOf(const Call& call, size_t index,
                                                 const RowTile& tile) const {
  const FusedMlpLayer& layer = layers_[index];
  const int64_t width = layer.linear.out, size = call.kept_positions * width,
                first = tile.first_position * width;
  const size_t number = kLayerArray + index * kArraysOfLayer;
  // Kept arrays of all tiles lie side by side, each tile at its own place; where nothing is kept,
  // every tile begins at 0.
  LayerArrays at;
  at.linear = call.kept->Get(number + kLinear, size) + first;
  if (InPlace(layer)) {
    at.out = at.linear;
    if (call.gradients == nullptr) return at;
    // Two scratch arrays take turns: the gradient of layer i is read while that of layer i - 1 is
    // written.
    at.gradient =
        call.scratch->Get(index % 2 == 0 ? kEvenGradient : kOddGradient, tile.positions * width);
    at.out_gradient = at.gradient;
    return at;
  }
  // Elsewhere the gradient takes the place of the value. Backward goes from the last layer to the
  // first and reads a layer's value before it overwrites it.
  at.out = call.kept->Get(number + kOut, size) + first;
  at.out_gradient = at.out;
  at.gradient = at.linear;
  if (layer.norm_weight < 0) return at;
  at.deviation = call.kept->Get(number + kDeviation, call.kept_positions) + tile.first_position;
  at.normalised = call.kept->Get(number + kNormalised, size) + first;
  return at;
}

AttentionMlp::LayerArrays AttentionMlp::From(const LayerArrays& at, int64_t position,
                                             int64_t width) {
  LayerArrays from = at;
  for (float** array :
       {&from.linear, &from.normalised, &from.out, &from.out_gradient, &from.gradient}) {
    if (*array != nullptr) *array += position * width;
  }
  if (from.deviation != nullptr) from.deviation += position;
  return from;
}

Activated AttentionMlp::ActivatedOf(const Call& call, const FusedMlpLayer& layer, int64_t positions,
                                    const LayerArrays& at) const {
  const FusedActivation& function = layer.activation;
  Activated activated;
  activated.rows = positions;
  activated.width = layer.linear.out;
  activated.activation = {function.kind,
                          function.weight >= 0 ? call.values[function.weight] : function.parameter,
                          function.parameter2};
  activated.u = at.normalised != nullptr ? at.normalised : at.linear;
  activated.out = at.out;
  return activated;
}

void AttentionMlp::Activate(const Call& call, const FusedMlpLayer& layer, int64_t positions,
                            const LayerArrays& at) const {
  if (InPlace(layer)) return Relu(positions * layer.linear.out, at.linear);
  if (at.normalised != nullptr) {
    LayerNormForward(positions, layer.linear.out, nullptr, ValueAt(call, layer.norm_weight),
                     ValueAt(call, layer.norm_bias), at.linear, at.deviation, at.normalised);
  }
  ActivatedForward(ActivatedOf(call, layer, positions, at));
}

void AttentionMlp::ActivateBackward(const Call& call, const FusedMlpLayer& layer, int64_t positions,
                                    float* bias_gradient, const LayerArrays& at) const {
  if (InPlace(layer)) {
    return ReluBackward(positions, layer.linear.out, at.linear, at.gradient, bias_gradient);
  }
  const bool norm = at.normalised != nullptr;
  ActivatedBackward(ActivatedOf(call, layer, positions, at), at.out_gradient,
                    norm ? nullptr : bias_gradient, GradientAt(call, layer.activation.weight));
  if (!norm) return;
  LayerNormBackward(positions, layer.linear.out, ValueAt(call, layer.norm_weight), at.deviation,
                    at.normalised, at.linear, bias_gradient, GradientAt(call, layer.norm_weight),
                    GradientAt(call, layer.norm_bias));
}

// The mask of a row: element e of position i is element i * width + e of the global row.
void AttentionMlp::Drop(const Call& call, const FusedMlpLayer& layer, const RowTile& tile,
                        float* x) const {
  if (!call.pass.train || layer.dropout.ratio <= 0) return;
  // Forward and backward draw the same mask: it is a function of the row and the element, so it is
  // never kept.
  const uint64_t key = DropoutKey(call.pass.seed, layer.dropout.number, call.pass.step);
  const int64_t width = layer.linear.out;
  ForEachRow(tile, [&](const TileRow& row) {
    const int64_t count = row.length * width;
    float* const mask = call.scratch->Get(kMask, count);
    FillDropoutMask(key, layer.dropout.ratio, tile.block->global_rows[row.row], 1, count, mask);
    MultiplyBy(count, mask, x + row.start * width);
  });
}

// ---- the first layer ----------------------------------------------------------------------------

void AttentionMlp::Begin(Call* call) const {
  const int64_t width = layers_[0].linear.out, in = layers_[0].linear.in, size = channels_ * width;
  call->own = call->scratch->Get(kComposed, 3 * size);
  call->product = call->own + size;
  call->query = call->product + size;
  // The columns of W [h, in], in one of the two inputs' orders, become three matrices [C, h]:
  //   own = (Ws - Wd)^T      product = Wp^T      query = (Wq + Wd)^T
  // `own` and `product` lie one behind the other, so that together they are one matrix [2 C, h].
  const float* const weight = call->values + layers_[0].linear.weight;
  for (int64_t c = 0; c < channels_; ++c) {
    for (int64_t j = 0; j < width; ++j) {
      const float* const from = weight + j * in + c;
      const float difference = difference_column_ < 0 ? 0.0f : from[difference_column_];
      call->own[c * width + j] = from[own_column_] - difference;
      call->product[c * width + j] = from[product_column_];
      call->query[c * width + j] = from[query_column_] + difference;
    }
  }
  if (call->gradients == nullptr) return;
  call->own_gradient = call->scratch->GetZeroed(kComposedGradient, 3 * size);
  call->product_gradient = call->own_gradient + size;
  call->query_gradient = call->product_gradient + size;
}

void AttentionMlp::Finish(const Call& call) const {
  const int64_t width = layers_[0].linear.out, in = layers_[0].linear.in;
  // This is Begin() backwards: Wd had a part in two of the three, with opposite signs.
  float* const gradient = call.gradients + layers_[0].linear.weight;
  for (int64_t j = 0; j < width; ++j) {
    for (int64_t c = 0; c < channels_; ++c) {
      const float own = call.own_gradient[c * width + j],
                  query = call.query_gradient[c * width + j];
      float* const to = gradient + j * in + c;
      to[own_column_] += own;
      to[product_column_] += call.product_gradient[c * width + j];
      to[query_column_] += query;
      if (difference_column_ >= 0) to[difference_column_] += query - own;
    }
  }
}

void AttentionMlp::FirstLayer(const Call& call, const RowTile& tile, const LayerArrays& at) const {
  const FusedMlpLayer& layer = layers_[0];
  const int64_t width = layer.linear.out;
  const float* const query = tile.block->query + tile.first_row * channels_;
  float* const term = call.scratch->Get(kRowTerm, tile.rows * width);
  // The query's term and the bias are computed once a row: [rows, h].
  GemmNN(tile.rows, width, channels_, {query, channels_}, {call.query, width}, 0, {term, width});
  if (layer.linear.bias >= 0) AddBias(tile.rows, width, ValueAt(call, layer.linear.bias), term);

  float* const joined = call.scratch->Get(kJoined, channels_ * width);
  float* const packed =
      call.scratch->Get(kPacked, (tile.positions - tile.long_positions) * 2 * channels_);
  // Long rows stand first in the tile, so the packed short ones are one range after them.
  ForEachRow(tile, [&](const TileRow& row) {
    const int64_t b = row.row - tile.first_row;
    const float* const q = query + b * channels_;
    const LayerArrays here = From(at, row.start, width);
    // The products add to the row's term.
    FillRows(row.length, width, term + b * width, here.linear);
    if (row.length < kLongRow) {
      return PackWithProduct(row.length, channels_, row.sequence, q,
                             packed + (row.start - tile.long_positions) * 2 * channels_);
    }
    JoinedWeight(channels_, width, call.own, call.product, q, joined);
    GemmNN(row.length, width, channels_, {row.sequence, channels_}, {joined, width}, 1,
           {here.linear, width});
    Activate(call, layer, row.length, here);
  });
  const LayerArrays rest = From(at, tile.long_positions, width);
  // All short rows share one product [positions, 2 C] x [2 C, h] instead of many small ones.
  const int64_t short_positions = tile.positions - tile.long_positions;
  GemmNN(short_positions, width, 2 * channels_, {packed, 2 * channels_}, {call.own, width}, 1,
         {rest.linear, width});
  if (short_positions > 0) Activate(call, layer, short_positions, rest);
}

void AttentionMlp::FirstLayerBackward(const Call& call, const RowTile& tile, const LayerArrays& at,
                                      float* d_sequence, float* d_query) const {
  const FusedMlpLayer& layer = layers_[0];
  const int64_t width = layer.linear.out, size = channels_ * width;
  const float* const query = tile.block->query + tile.first_row * channels_;
  float* const query_gradient = d_query == nullptr ? nullptr : d_query + tile.first_row * channels_;
  auto gradient_of = [&](const TileRow& row) {
    return query_gradient == nullptr ? nullptr
                                     : query_gradient + (row.row - tile.first_row) * channels_;
  };
  // The gradient of the query's term is the sum of d over the row's positions, and so is the
  // bias's: the activation's backward leaves it in `term`.
  float* const term = call.scratch->GetZeroed(kRowTerm, tile.rows * width);
  float* const joined = call.scratch->Get(kJoined, 2 * size);
  float* const joined_gradient = joined + size;
  const int64_t short_positions = tile.positions - tile.long_positions;
  float* const packed = call.scratch->Get(kPacked, short_positions * 2 * channels_);
  ForEachRow(tile, [&](const TileRow& row) {
    const float* const q = query + (row.row - tile.first_row) * channels_;
    ActivateBackward(call, layer, row.length, term + (row.row - tile.first_row) * width,
                     From(at, row.start, width));
    if (row.length < kLongRow) {
      return PackWithProduct(row.length, channels_, row.sequence, q,
                             packed + (row.start - tile.long_positions) * 2 * channels_);
    }
    // For a long row, with J = own + diag(q) product [C, h]:
    //   ds += d J^T      dJ = s^T d
    // JoinedWeightBackward() takes dJ apart.
    const ConstMatrix d(at.gradient + row.start * width, width);
    JoinedWeight(channels_, width, call.own, call.product, q, joined);
    GemmNT(row.length, channels_, width, d, {joined, width}, 1,
           {d_sequence + row.source, channels_});
    GemmTN(channels_, width, row.length, {row.sequence, channels_}, d, 0, {joined_gradient, width});
    JoinedWeightBackward(channels_, width, joined_gradient, call.product, q, call.own_gradient,
                         call.product_gradient, gradient_of(row));
  });
  if (short_positions > 0) {
    // For the short rows `packed` is read for the weights' gradient first, and then holds its own
    // gradient.
    const ConstMatrix d(at.gradient + tile.long_positions * width, width);
    const Matrix in = {packed, 2 * channels_};
    GemmTN(2 * channels_, width, short_positions, in, d, 1, {call.own_gradient, width});
    GemmNT(short_positions, 2 * channels_, width, d, {call.own, width}, 0, in);
    ForEachRow(tile, [&](const TileRow& row) {
      if (row.length >= kLongRow) return;
      PackWithProductBackward(row.length, channels_, row.sequence,
                              query + (row.row - tile.first_row) * channels_,
                              packed + (row.start - tile.long_positions) * 2 * channels_,
                              d_sequence + row.source, gradient_of(row));
    });
  }
  if (layer.linear.bias >= 0) {
    AddColumnSums(tile.rows, width, term, GradientAt(call, layer.linear.bias));
  }
  GemmTN(channels_, width, tile.rows, {query, channels_}, {term, width}, 1,
         {call.query_gradient, width});
  if (query_gradient == nullptr) return;
  GemmNT(tile.rows, channels_, width, {term, width}, {call.query, width}, 1,
         {query_gradient, channels_});
}

// ---- all layers ---------------------------------------------------------------------------------

void AttentionMlp::Forward(const Call& call, const RowTile& tile, float* scores) const {
  LayerArrays at = ArraysOf(call, 0, tile);
  FirstLayer(call, tile, at);
  Drop(call, layers_[0], tile, at.out);
  for (size_t i = 1; i < layers_.size(); ++i) {
    const FusedMlpLayer& layer = layers_[i];
    const FusedLinear& linear = layer.linear;
    const ConstMatrix in(at.out, linear.in);
    at = ArraysOf(call, i, tile);
    // The bias is there before the product, which adds to it: this saves a pass.
    if (linear.bias >= 0) {
      FillRows(tile.positions, linear.out, call.values + linear.bias, at.linear);
    }
    GemmNT(tile.positions, linear.out, linear.in, in, {call.values + linear.weight, linear.in},
           linear.bias >= 0 ? 1 : 0, {at.linear, linear.out});
    Activate(call, layer, tile.positions, at);
    Drop(call, layer, tile, at.out);
  }
  Dots(tile.positions, linear_.in, at.out, call.values + linear_.weight, scores);
  const float bias = call.values[linear_.bias];
  for (int64_t i = 0; i < tile.positions; ++i) scores[i] += bias;
}

void AttentionMlp::Backward(const Call& call, const RowTile& tile, const float* d_scores,
                            float* d_sequence, float* d_query) const {
  if (tile.positions == 0) return;
  LayerArrays at = ArraysOf(call, layers_.size() - 1, tile);
  // The last linear layer has one output: dw += sum of dz_i x_i and dx_i = dz_i w.
  AddWeightedSum(tile.positions, linear_.in, d_scores, at.out, call.gradients + linear_.weight);
  Outer(tile.positions, linear_.in, d_scores, call.values + linear_.weight, at.out_gradient);
  for (size_t i = layers_.size(); i-- > 1;) {
    const FusedMlpLayer& layer = layers_[i];
    const FusedLinear& linear = layer.linear;
    Drop(call, layer, tile, at.out_gradient);
    ActivateBackward(call, layer, tile.positions, GradientAt(call, linear.bias), at);
    const ConstMatrix d(at.gradient, linear.out);
    // From here on `at` is the layer below: its output is this layer's input.
    at = ArraysOf(call, i - 1, tile);
    GemmTN(linear.out, linear.in, tile.positions, d, {at.out, linear.in}, 1,
           {call.gradients + linear.weight, linear.in});
    GemmNN(tile.positions, linear.in, linear.out, d, {call.values + linear.weight, linear.in}, 0,
           {at.out_gradient, linear.in});
  }
  Drop(call, layers_[0], tile, at.out_gradient);
  FirstLayerBackward(call, tile, at, d_sequence, d_query);
}

void AttentionMlp::AddBiasGradient(const Call& call, float gradient) const {
  call.gradients[linear_.bias] += gradient;
}

}  // namespace pepnet
