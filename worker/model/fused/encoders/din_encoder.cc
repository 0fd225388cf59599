// DIN and multi-window DIN: each position that exists gets a score z_i from AttentionMlp, and the
// scores make weights of the positions.
//   DIN:          w = softmax(z);  out = sum over i of w_i s_i
//   multi-window: a = PReLU(z);  r_w = sum of a_i s_i / max(n_w, 1) over the n_w positions i of
//                 window w;  out = [r_0 ; ... ; r_{L-1} ; q]
#include <algorithm>
#include <numeric>
#include <vector>

#include "common/base/log_functions.h"
#include "worker/model/fused/encoders/attention_mlp.h"
#include "worker/model/fused/encoders/make_encoder.h"
#include "worker/model/fused/kernels/row_kernels.h"

namespace pepnet {
namespace {

// Both kinds run tiles of rows through the MLP.
class ScoredEncoder : public SequenceEncoder {
 public:
  ScoredEncoder(const Encoder& encoder, AttentionMlp::Input input, int64_t limit, int64_t channels,
                const DenseParameters& parameters)
      : channels_(channels), limit_(limit), mlp_(encoder, input, channels, parameters) {}

  size_t SavedBytes(int64_t positions) const override {
    return static_cast<size_t>(MostPacked(positions, mlp_.tile_positions()) *
                               (mlp_.kept_floats() + 1)) *
           sizeof(float);
  }

  void Forward(const float* values, const SequenceBlock& block, const EncoderPass& pass, float* out,
               int64_t out_stride, Saved* saved) const override {
    // Rows without positions are not visited below, and their output is zero.
    for (int64_t b = 0; b < block.rows; ++b) {
      std::fill_n(out + b * out_stride, width(), 0.0f);
    }
    EncoderBuffers own;
    AttentionMlp::Call call = StartCall(values, block, pass, saved, &own, nullptr);
    ForEachTile(block, limit_, mlp_.tile_positions(), [&](RowTile tile) {
      float* const scores = TileScores(call, saved, &tile);
      if (tile.positions == 0) return;
      mlp_.Forward(call, tile, scores);
      ForEachRow(tile, [&](const TileRow& row) {
        Weigh(values, row.length, scores + row.start);
        RowForward(values, row, scores + row.start, out + row.row * out_stride);
      });
    });
  }

  void Backward(const float* values, const SequenceBlock& block, const EncoderPass& pass,
                const float* d_out, int64_t d_out_stride, Saved* saved, float* d_sequence,
                float* d_query, float* gradients) const override {
    EncoderBuffers own;
    AttentionMlp::Call call = StartCall(values, block, pass, saved, &own, gradients);
    ForEachTile(block, limit_, mlp_.tile_positions(), [&](RowTile tile) {
      float* const scores = TileScores(call, saved, &tile);
      if (tile.positions == 0) return;
      // Forward kept nothing: the tile's scores and activations are computed once more, to the same
      // bits, because tiles are cut in the same way.
      if (saved == nullptr) {
        mlp_.Forward(call, tile, scores);
        ForEachRow(tile,
                   [&](const TileRow& row) { Weigh(values, row.length, scores + row.start); });
      }
      float* const d_scores = call.scratch->Get(kScoreGradient, tile.positions);
      ForEachRow(tile, [&](const TileRow& row) {
        RowBackward(values, row, scores + row.start, d_out + row.row * d_out_stride,
                    d_scores + row.start, d_sequence + row.source, gradients);
      });
      AddBiasGradient(call, tile.positions, d_scores);
      mlp_.Backward(call, tile, d_scores, d_sequence, d_query);
    });
    mlp_.Finish(call);
  }

 protected:
  // Scores become what is kept of them.
  virtual void Weigh(const float* values, int64_t length, float* scores) const = 0;
  // out is zero. weights: what Weigh left.
  virtual void RowForward(const float* values, const TileRow& row, const float* weights,
                          float* out) const = 0;
  // Adds to d_row, the gradient of the row's positions; d_scores is overwritten by the gradient of
  // the scores.
  virtual void RowBackward(const float* values, const TileRow& row, const float* weights,
                           const float* d_out, float* d_scores, float* d_row,
                           float* gradients) const = 0;
  virtual void AddBiasGradient(const AttentionMlp::Call& call, int64_t positions,
                               const float* d_scores) const = 0;

  const int64_t channels_, limit_;
  const AttentionMlp mlp_;

 private:
  AttentionMlp::Call StartCall(const float* values, const SequenceBlock& block,
                               const EncoderPass& pass, Saved* saved, EncoderBuffers* own,
                               float* gradients) const {
    CheckOrDie(block.query != nullptr, "an encoder with an attention MLP, without a query");
    const PackedSize size = PackedSizeOf(block, limit_, mlp_.tile_positions());
    AttentionMlp::Call call;
    call.values = values;
    call.pass = pass;
    call.scratch = pass.scratch != nullptr ? pass.scratch : own;
    call.kept = saved != nullptr ? saved : call.scratch;
    call.kept_positions = saved != nullptr ? size.block : size.tile;
    call.gradients = gradients;
    mlp_.Begin(&call);
    return call;
  }

  // The place of the tile's scores. Where nothing is kept, each tile begins where the one before
  // did.
  float* TileScores(const AttentionMlp::Call& call, const Saved* saved, RowTile* tile) const {
    if (saved == nullptr) tile->first_position = 0;
    return call.kept->Get(kScores, call.kept_positions) + tile->first_position;
  }
};

class DinEncoder final : public ScoredEncoder {
 public:
  DinEncoder(const Encoder& encoder, int64_t channels, const DenseParameters& parameters)
      : ScoredEncoder(encoder, AttentionMlp::Input::kWithDifference, PositionLimit(encoder),
                      channels, parameters) {}

  int64_t width() const override { return channels_; }

 private:
  void Weigh(const float*, int64_t length, float* scores) const override {
    Softmax(length, scores);
  }

  void RowForward(const float*, const TileRow& row, const float* weights,
                  float* out) const override {
    WeightedSum(row.length, channels_, weights, row.sequence, out);
  }

  void RowBackward(const float*, const TileRow& row, const float* weights, const float* d_out,
                   float* d_scores, float* d_row, float*) const override {
    // With w = softmax(z) and out = sum of w_i s_i:
    //   dw_i = d_out . s_i      dz = w (dw - w . dw)      ds_i = w_i d_out
    // The gradient of s_i through z_i follows from the MLP.
    Dots(row.length, channels_, row.sequence, d_out, d_scores);
    SoftmaxBackward(row.length, weights, d_scores);
    AddOuter(row.length, channels_, weights, d_out, d_row);
  }

  // Softmax forgets the bias, which shifts all scores alike: its gradient is exactly zero.
  void AddBiasGradient(const AttentionMlp::Call&, int64_t, const float*) const override {}
};

class MultiWindowDin final : public ScoredEncoder {
 public:
  MultiWindowDin(const Encoder& encoder, int64_t channels, const DenseParameters& parameters)
      : ScoredEncoder(encoder, AttentionMlp::Input::kWithoutDifference,
                      std::accumulate(encoder.windows.begin(), encoder.windows.end(), int64_t{0}),
                      channels, parameters),
        windows_(encoder.windows),
        slope_(LayerPlacer(&parameters).Required(encoder.module + ".active.weight")) {}

  int64_t width() const override { return (static_cast<int64_t>(windows_.size()) + 1) * channels_; }

  void Forward(const float* values, const SequenceBlock& block, const EncoderPass& pass, float* out,
               int64_t out_stride, Saved* saved) const override {
    ScoredEncoder::Forward(values, block, pass, out, out_stride, saved);
    for (int64_t b = 0; b < block.rows; ++b) {
      std::copy_n(block.query + b * channels_, channels_, out + b * out_stride + QueryColumn());
    }
  }

  void Backward(const float* values, const SequenceBlock& block, const EncoderPass& pass,
                const float* d_out, int64_t d_out_stride, Saved* saved, float* d_sequence,
                float* d_query, float* gradients) const override {
    ScoredEncoder::Backward(values, block, pass, d_out, d_out_stride, saved, d_sequence, d_query,
                            gradients);
    if (d_query == nullptr) return;
    for (int64_t b = 0; b < block.rows; ++b) {
      AddTo(channels_, d_out + b * d_out_stride + QueryColumn(), d_query + b * channels_);
    }
  }

 private:
  int64_t QueryColumn() const { return static_cast<int64_t>(windows_.size()) * channels_; }

  // Calls body(window, its first position, its number of positions) for each window that is not
  // empty.
  template <typename Body>
  void ForEachWindow(int64_t length, const Body& body) const {
    // Windows cover the positions from the first one on; a short row leaves the last ones empty,
    // and their r_w stays 0.
    int64_t first = 0;
    for (size_t window = 0; window < windows_.size() && first < length; ++window) {
      const int64_t count = std::min<int64_t>(windows_[window], length - first);
      if (count > 0) body(static_cast<int64_t>(window), first, count);
      first += count;
    }
  }

  // The scores themselves are kept: PReLU's gradient needs them.
  void Weigh(const float*, int64_t, float*) const override {}

  void RowForward(const float* values, const TileRow& row, const float* scores,
                  float* out) const override {
    ForEachWindow(row.length, [&](int64_t window, int64_t first, int64_t count) {
      PreluWeightedMean(count, channels_, values[slope_], scores + first,
                        row.sequence + first * channels_, out + window * channels_);
    });
  }

  void RowBackward(const float* values, const TileRow& row, const float* scores, const float* d_out,
                   float* d_scores, float* d_row, float* gradients) const override {
    float slope_gradient = 0;
    ForEachWindow(row.length, [&](int64_t window, int64_t first, int64_t count) {
      slope_gradient += PreluWeightedMeanBackward(
          count, channels_, values[slope_], scores + first, row.sequence + first * channels_,
          d_out + window * channels_, d_scores + first, d_row + first * channels_);
    });
    gradients[slope_] += slope_gradient;
  }

  void AddBiasGradient(const AttentionMlp::Call& call, int64_t positions,
                       const float* d_scores) const override {
    mlp_.AddBiasGradient(call, Sum(positions, d_scores));
  }

  const std::vector<int> windows_;
  const int64_t slope_;  // place of PReLU's weight
};

}  // namespace

std::unique_ptr<SequenceEncoder> MakeDinEncoder(const Encoder& encoder, int64_t channels,
                                                const DenseParameters& parameters) {
  if (encoder.kind == EncoderKind::kDin) {
    return std::make_unique<DinEncoder>(encoder, channels, parameters);
  }
  return std::make_unique<MultiWindowDin>(encoder, channels, parameters);
}

}  // namespace pepnet
