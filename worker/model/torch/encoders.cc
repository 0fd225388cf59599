#include "worker/model/torch/encoders.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/prelu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/mutant.h"
#include "common/net/collective.h"
#include "worker/model/dropout_mask.h"
#include "worker/model/guarded.h"
#include "worker/model/torch/device/transfer.h"

namespace pepnet {
namespace {

// [B, T] of type bool: the position exists, and is among the first `max_length` (0: all).
at::Tensor ValidPositions(const PaddedSequence& input, int max_length) {
  at::Tensor lengths = input.lengths;
  if (max_length > 0) lengths = lengths.clamp_max(max_length);
  if (MutantActive(Mutant::kPaddingIsAttended)) lengths = lengths.add(1);
  return at::arange(input.sequence.size(1), lengths.options())
      .unsqueeze(0)
      .lt(lengths.unsqueeze(1));
}

// Score of a position that is not there: its exponential is 0 beside any other, and bfloat16 holds
// it. It is not -infinity: a row without positions would give 0 / 0, and its NaN would go into all
// gradients.
constexpr double kHidden = -1e30;

at::Tensor AsFactor(const at::Tensor& valid, const at::Tensor& like) {
  return valid.to(like.scalar_type());
}

// The query as wide as a position.
at::Tensor PaddedQuery(const PaddedSequence& input) {
  return at::constant_pad_nd(input.query, {0, input.sequence.size(2) - input.query.size(1)});
}

// Softmax over the valid positions of each row; zero at the others and in rows without any. [B, T]
at::Tensor MaskedSoftmax(const at::Tensor& scores, const at::Tensor& valid) {
  // A row without valid positions has a softmax over hidden scores alone, which is uniform and not
  // zero: the product with `valid` makes it zero.
  const at::Tensor masked = scores.masked_fill(valid.logical_not(), kHidden);
  return at::softmax(masked, 1).mul(AsFactor(valid, scores));
}

// sum over positions of weights * sequence: [B, C]
at::Tensor WeightedSum(const at::Tensor& weights, const at::Tensor& sequence) {
  return at::bmm(weights.unsqueeze(1), sequence).squeeze(1);
}

// The MLP of an attention and the linear layer behind it: [B, T, in] -> [B, T].
struct AttentionMlp {
  AttentionMlp(const Encoder& encoder, LeafMaker* maker)
      : encoder(encoder), last(maker, encoder.module + ".linear") {
    for (size_t layer = 0; layer < encoder.attn_mlp.hidden_units.size(); ++layer) {
      layers.emplace_back(maker, absl::StrCat(encoder.module, ".mlp.mlp.", layer, ".perceptron."),
                          encoder.attn_mlp);
    }
  }
  at::Tensor operator()(at::Tensor x, const ForwardPass& pass) const {
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      x = layers[layer](x, pass);
      const double ratio = encoder.attn_mlp.dropout_ratio[layer];
      if (!pass.training || ratio == 0) continue;
      const int64_t number = encoder.dropout_layer + static_cast<int64_t>(layer);
      x = x.mul(PositionMask(x, DropoutKey(pass.seed, number, pass.step), ratio, pass.first_row));
    }
    return last(x).squeeze(2);
  }
  // The masks of worker/model/dropout_mask.h for x [B, T, h]: element e of position t is number t *
  // h + e of its row. Padding lies after a row's own positions, which so keep their masks for any
  // padding (law L2).
  static at::Tensor PositionMask(const at::Tensor& x, uint64_t key, double ratio,
                                 int64_t first_row) {
    at::Tensor mask = at::empty(x.sizes(), at::kFloat);
    FillDropoutMask(key, ratio, first_row, x.size(0), x.size(1) * x.size(2),
                    mask.mutable_data_ptr<float>());
    return mask.to(x.device(), x.scalar_type());
  }
  const Encoder& encoder;
  std::vector<PerceptronLayer> layers;
  LinearLayer last;
};

class PoolingLayer : public EncoderLayer {
 public:
  explicit PoolingLayer(const Encoder& encoder) : encoder_(encoder) {}
  at::Tensor operator()(const PaddedSequence& input, const ForwardPass&) const override {
    const at::Tensor valid = ValidPositions(input, encoder_.max_length);
    at::Tensor sum = WeightedSum(AsFactor(valid, input.sequence), input.sequence);
    if (!encoder_.mean) return sum;
    return sum.div(AsFactor(valid.sum(1, true).clamp_min(1), sum));
  }

 private:
  const Encoder& encoder_;
};

class SimpleAttentionLayer : public EncoderLayer {
 public:
  explicit SimpleAttentionLayer(const Encoder& encoder) : encoder_(encoder) {}
  at::Tensor operator()(const PaddedSequence& input, const ForwardPass&) const override {
    const at::Tensor scores = at::bmm(input.sequence, input.query.unsqueeze(2)).squeeze(2);
    return WeightedSum(MaskedSoftmax(scores, ValidPositions(input, encoder_.max_length)),
                       input.sequence);
  }

 private:
  const Encoder& encoder_;
};

class DinLayer : public EncoderLayer {
 public:
  DinLayer(const Encoder& encoder, LeafMaker* maker) : encoder_(encoder), mlp_(encoder, maker) {}
  at::Tensor operator()(const PaddedSequence& input, const ForwardPass& pass) const override {
    const at::Tensor& s = input.sequence;
    const at::Tensor q = PaddedQuery(input).unsqueeze(1).expand_as(s);
    const at::Tensor scores = mlp_(at::cat({q, s, q.sub(s), q.mul(s)}, 2), pass);
    return WeightedSum(MaskedSoftmax(scores, ValidPositions(input, encoder_.max_length)), s);
  }

 private:
  const Encoder& encoder_;
  const AttentionMlp mlp_;
};

class MultiWindowDinLayer : public EncoderLayer {
 public:
  MultiWindowDinLayer(const Encoder& encoder, LeafMaker* maker)
      : encoder_(encoder),
        mlp_(encoder, maker),
        slope_(maker->Leaf(encoder.module + ".active.weight")) {}
  at::Tensor operator()(const PaddedSequence& input, const ForwardPass& pass) const override {
    const at::Tensor& s = input.sequence;
    const at::Tensor query = PaddedQuery(input), q = query.unsqueeze(1).expand_as(s);
    const at::Tensor a =
        at::prelu(mlp_(at::cat({s, q.mul(s), q}, 2), pass), slope_.to(s.scalar_type()));
    const at::Tensor valid = ValidPositions(input, 0);
    std::vector<at::Tensor> parts;
    int64_t first = 0;
    for (const int window : encoder_.windows) {
      // Windows beyond the padded length are empty; narrow() needs legal bounds all the same.
      const int64_t begin = std::min(first, s.size(1)),
                    count = std::min<int64_t>(first + window, s.size(1)) - begin;
      const at::Tensor in_window = AsFactor(valid.narrow(1, begin, count), s);
      const at::Tensor sum =
          WeightedSum(a.narrow(1, begin, count).mul(in_window), s.narrow(1, begin, count));
      parts.push_back(sum.div(in_window.sum(1, true).clamp_min(1)));
      first += window;
    }
    parts.push_back(query);
    return at::cat(parts, 1);
  }

 private:
  const Encoder& encoder_;
  const AttentionMlp mlp_;
  const at::Tensor slope_;
};

class SelfAttentionLayer : public EncoderLayer {
 public:
  SelfAttentionLayer(const Encoder& encoder, LeafMaker* maker)
      : encoder_(encoder),
        query_(maker, encoder.module + "._query"),
        key_(maker, encoder.module + "._key"),
        value_(maker, encoder.module + "._value"),
        in_weight_(maker->Leaf(encoder.module + "._multihead_attn.in_proj_weight")),
        in_bias_(maker->Leaf(encoder.module + "._multihead_attn.in_proj_bias")),
        out_(maker, encoder.module + "._multihead_attn.out_proj") {}

  at::Tensor operator()(const PaddedSequence& input, const ForwardPass& pass) const override {
    const at::Tensor valid = ValidPositions(input, encoder_.max_length);  // [B, T]
    const at::Tensor& s = input.sequence;
    // [B, H, T, E/H]
    const at::Tensor q = Heads(query_(s), 0), k = Heads(key_(s), 1), v = Heads(value_(s), 2);
    const int head_width = encoder_.attention_width / encoder_.heads;
    const double scale = 1 / std::sqrt(static_cast<double>(head_width));
    const at::Tensor scores = q.mul(scale).matmul(k.transpose(2, 3));  // [B, H, T, T]
    // Keys are hidden, not queries: rows of padded queries are left out of the sum below.
    const at::Tensor keys = valid.unsqueeze(1).unsqueeze(2);
    at::Tensor weights = at::softmax(scores.masked_fill(keys.logical_not(), kHidden), 3);
    weights = weights.mul(AsFactor(keys, weights));
    if (pass.training && encoder_.dropout > 0) weights = weights.mul(Mask(input, weights, pass));
    const at::Tensor mixed = weights.matmul(v).transpose(1, 2).flatten(2);  // [B, T, E]
    const at::Tensor sum = WeightedSum(AsFactor(valid, s), out_(mixed));
    // The mean is over the row's whole length, also where max_length hides positions of it.
    return sum.div(AsFactor(input.lengths.clamp_min(1).unsqueeze(1), sum));
  }

 private:
  // One third of the input projection, cut into heads.
  at::Tensor Heads(const at::Tensor& x, int64_t part) const {
    const int64_t width = encoder_.attention_width;
    const at::Tensor projected = at::linear(x, in_weight_.narrow(0, part * width, width),
                                            in_bias_.narrow(0, part * width, width));
    return projected.unflatten(2, {encoder_.heads, width / encoder_.heads}).transpose(1, 2);
  }

  // The masks of worker/model/dropout_mask.h: element (head, i, j) of a row whose own length is T
  // is number (head * T + i) * T + j.
  at::Tensor Mask(const PaddedSequence& input, const at::Tensor& weights,
                  const ForwardPass& pass) const {
    const at::Tensor lengths = input.lengths.to(at::kCPU);
    at::Tensor mask = at::ones(weights.sizes(), at::kFloat);
    const uint64_t key = DropoutKey(pass.seed, encoder_.dropout_layer, pass.step);
    std::vector<float> row_mask;
    // Masks are made row by row: the numbering of a row's elements depends on its own length, and
    // rows of a batch are padded to the longest.
    for (int64_t b = 0; b < mask.size(0); ++b) {
      int64_t length = lengths[b].item<int64_t>();
      if (encoder_.max_length > 0) length = std::min<int64_t>(length, encoder_.max_length);
      row_mask.resize(encoder_.heads * length * length);
      FillDropoutMask(key, encoder_.dropout, pass.first_row + b, 1,
                      static_cast<int64_t>(row_mask.size()), row_mask.data());
      const at::Tensor made =
          AlignedTensor<float>(row_mask, at::kFloat).view({encoder_.heads, length, length});
      mask[b].narrow(1, 0, length).narrow(2, 0, length).copy_(made);
    }
    return mask.to(weights.device(), weights.scalar_type());
  }

  const Encoder& encoder_;
  const LinearLayer query_, key_, value_;
  const at::Tensor in_weight_, in_bias_;
  const LinearLayer out_;
};

}  // namespace

std::vector<SequenceIndex> IndexSequences(const JobConfig& config, const Batch& batch,
                                          at::Device device) {
  std::vector<SequenceIndex> indices;
  for (const SequenceGroup& group : config.model.sequence_groups) {
    const std::vector<int32_t>& first = batch.elements[config.leaves[group.sequence[0]].feature];
    SequenceIndex& index = indices.emplace_back();
    // The group's first leaf says how long a row is; others are cut or padded to it.
    index.lengths = at::empty({batch.rows}, at::kLong);
    int64_t longest = 0;
    for (int64_t b = 0; b < batch.rows; ++b) {
      const int64_t length = first[b + 1] - first[b];
      index.lengths.mutable_data_ptr<int64_t>()[b] = length;
      longest = std::max(longest, length);
    }
    for (const int leaf : group.sequence) {
      const std::vector<int32_t>& elements = batch.elements[config.leaves[leaf].feature];
      at::Tensor positions = at::empty({batch.rows, longest}, at::kLong);
      int64_t* at_position = positions.mutable_data_ptr<int64_t>();
      for (int64_t b = 0; b < batch.rows; ++b) {
        const int64_t length = std::min(first[b + 1] - first[b], elements[b + 1] - elements[b]);
        // The number elements.back() is one after the last element: the row of zeros that
        // PadSequence() puts there.
        for (int64_t t = 0; t < longest; ++t) {
          *at_position++ = t < length ? elements[b] + t : elements.back();
        }
      }
      index.positions.push_back(positions.to(device));
    }
    index.lengths = index.lengths.to(device);
  }
  return indices;
}

PaddedSequence PadSequence(const SequenceGroup& group, const std::vector<at::Tensor>& leaves,
                           const SequenceIndex& index) {
  PaddedSequence padded;
  padded.lengths = index.lengths;
  std::vector<at::Tensor> query, channels;
  for (const int leaf : group.query) query.push_back(leaves[leaf]);
  if (!query.empty()) padded.query = at::cat(query, 1);
  for (size_t i = 0; i < group.sequence.size(); ++i) {
    const at::Tensor& leaf = leaves[group.sequence[i]];
    // Padding is looked up like any position, in a row of zeros, whose gradient goes nowhere.
    const at::Tensor with_zero = at::cat({leaf, at::zeros({1, leaf.size(1)}, leaf.options())}, 0);
    const at::Tensor& positions = index.positions[i];
    channels.push_back(with_zero.index_select(0, positions.reshape({-1}))
                           .view({positions.size(0), positions.size(1), leaf.size(1)}));
  }
  padded.sequence = at::cat(channels, 2);
  return padded;
}

// Batch norm inside an encoder's MLP runs over padded positions as well, so its statistics depend
// on the padding: all workers must pad to the longest row of the global batch (law L2).
void PadToLongest(Collective* workers, std::vector<PaddedSequence>* sequences) {
  if (workers == nullptr || workers->count() == 1 || MutantActive(Mutant::kStatisticsOfSlice)) {
    return;
  }
  std::vector<int64_t> lengths;
  for (const PaddedSequence& sequence : *sequences) lengths.push_back(sequence.sequence.size(1));
  const std::string mine(reinterpret_cast<const char*>(lengths.data()),
                         lengths.size() * sizeof(int64_t));
  const StatusOr<std::vector<std::string>> all = workers->Allgather(mine, "lengths of sequences");
  if (!all.ok()) throw StatusError(all.status());
  for (const std::string& theirs : *all) {
    if (theirs.size() != mine.size()) {
      throw StatusError(absl::InternalError("a worker has other sequences"));
    }
    std::vector<int64_t> others(lengths.size());
    std::memcpy(others.data(), theirs.data(), theirs.size());
    for (size_t g = 0; g < lengths.size(); ++g) lengths[g] = std::max(lengths[g], others[g]);
  }
  for (size_t g = 0; g < lengths.size(); ++g) {
    at::Tensor& sequence = (*sequences)[g].sequence;
    sequence = at::constant_pad_nd(sequence, {0, 0, 0, lengths[g] - sequence.size(1)});
  }
}

std::unique_ptr<EncoderLayer> MakeEncoderLayer(const Encoder& encoder, LeafMaker* maker) {
  switch (encoder.kind) {
    case EncoderKind::kPooling:
      return std::make_unique<PoolingLayer>(encoder);
    case EncoderKind::kSimpleAttention:
      return std::make_unique<SimpleAttentionLayer>(encoder);
    case EncoderKind::kDin:
      return std::make_unique<DinLayer>(encoder, maker);
    case EncoderKind::kMultiWindowDin:
      return std::make_unique<MultiWindowDinLayer>(encoder, maker);
    case EncoderKind::kSelfAttention:
      return std::make_unique<SelfAttentionLayer>(encoder, maker);
  }
  return nullptr;
}

}  // namespace pepnet
