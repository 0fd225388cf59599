#include "cli/export/onnx/encoders.h"

#include <cmath>
#include <limits>
#include <string>

namespace pepnet {
namespace {

using Value = OnnxGraph::Value;
using Type = OnnxGraph::Type;

// One sequence group: T positions of C channels.
struct GroupValues {
  Value query;     // [batch, C], padded with zeros; "" without query
  Value sequence;  // [batch, T, C], zeros where there is no position
  Value lengths;   // [batch] int64
};

// The formulas are those of docs/spec.md 3.10. A graph has no loops over rows of different lengths:
// sequences are padded to the longest of the batch, and masks of the row's length take the padding
// out.
class EncoderGraph {
 public:
  EncoderGraph(const JobConfig& config, OnnxLayers* layers)
      : config_(config), layers_(*layers), graph_(layers->graph()) {}

  GroupValues Group(const SequenceGroup& group, const std::vector<OnnxLeaf>& leaves) {
    GroupValues values;
    const OnnxLeaf& first = leaves[group.sequence[0]];
    values.lengths = first.lengths;
    // The sequence that is listed first gives the number of positions; zeros stand behind, for the
    // rows of the others that are shorter.
    const Value count = PositionCount(first.values);
    const Value exists = layers_.Unsqueeze(Below(first.values, values.lengths), 2);
    std::vector<Value> channels;
    for (const int leaf : group.sequence) {
      // As many positions as the first one has, whether by cutting or by padding.
      const Value zeros =
          layers_.Zeros(first.values, {count, layers_.Integers({config_.leaves[leaf].dim})});
      const Value padded = layers_.Concat({leaves[leaf].values, zeros}, 1);
      const Value cut = layers_.Slice(padded, layers_.Integers({0}), count, 1);
      channels.push_back(graph_.Apply("Where", {exists, cut, layers_.Number(0)}));
    }
    values.sequence = layers_.Concat(channels, 2);
    std::vector<Value> query;
    for (const int leaf : group.query) query.push_back(leaves[leaf].values);
    // A pooling encoder needs no query, and a wider one has been refused for all others.
    if (query.empty() || group.query_width > group.width) return values;
    if (group.query_width < group.width) {
      query.push_back(
          layers_.Zeros(first.values, {layers_.Integers({group.width - group.query_width})}));
    }
    values.query = layers_.Concat(query, 1);
    return values;
  }

  StatusOr<Value> Encode(const Encoder& encoder, const GroupValues& group) {
    switch (encoder.kind) {
      case EncoderKind::kPooling: {
        const Value sum = WeightedSum(AsFactor(Valid(group, encoder.max_length)), group.sequence);
        return encoder.mean
                   ? graph_.Apply("Div", {sum, Divisor(Lengths(group, encoder.max_length))})
                   : sum;
      }
      case EncoderKind::kSimpleAttention: {
        const Value scores =
            graph_.Apply("MatMul", {group.sequence, layers_.Unsqueeze(group.query, 2)});
        return Attention(Flat(scores), encoder, group);
      }
      case EncoderKind::kDin: {
        const Value& s = group.sequence;
        const Value q = Expanded(group);
        // [q ; s_i ; q - s_i ; q * s_i] for every position.
        const Value input =
            layers_.Concat({q, s, graph_.Apply("Sub", {q, s}), graph_.Apply("Mul", {q, s})}, 2);
        PEPNET_ASSIGN_OR_RETURN(const Value scores, Scores(encoder, input));
        return Attention(Flat(scores), encoder, group);
      }
      case EncoderKind::kMultiWindowDin:
        return MultiWindowDin(encoder, group);
      case EncoderKind::kSelfAttention:
        return SelfAttention(encoder, group);
    }
    return absl::InternalError("unknown encoder");
  }

 private:
  // [1] int64: T of [batch, T, ...].
  Value PositionCount(const Value& x) {
    return layers_.Slice(graph_.Apply("Shape", {x}), layers_.Integers({1}), layers_.Integers({2}),
                         0);
  }

  // [batch, T] bool, for x [batch, T, ...]: the position's number is below the row's length.
  Value Below(const Value& x, const Value& lengths) {
    return graph_.Apply("Less", {layers_.Positions(x, 1), layers_.Unsqueeze(lengths, 1)});
  }

  // [batch] int64: positions that take part; max_length 0 means all.
  Value Lengths(const GroupValues& group, int max_length) {
    if (max_length == 0) return group.lengths;
    return graph_.Apply("Min", {group.lengths, layers_.Scalar(max_length)});
  }

  // [batch, T] bool: the position exists and is among the first max_length.
  Value Valid(const GroupValues& group, int max_length) {
    return Below(group.sequence, Lengths(group, max_length));
  }

  Value AsFactor(const Value& valid) { return graph_.Cast(valid, Type::kFloat); }

  // [batch, 1] float: max(lengths, 1).
  Value Divisor(const Value& lengths) {
    return layers_.Unsqueeze(
        graph_.Apply("Max", {graph_.Cast(lengths, Type::kFloat), layers_.Number(1)}), 1);
  }

  // [batch, T] from [batch, T, 1].
  Value Flat(const Value& scores) {
    return graph_.Apply("Squeeze", {scores, layers_.Integers({2})});
  }

  // [batch, C] from weights [batch, T].
  Value WeightedSum(const Value& weights, const Value& sequence) {
    return layers_.Sum(graph_.Apply("Mul", {layers_.Unsqueeze(weights, 2), sequence}), 1);
  }

  // The query beside every position: [batch, T, C].
  Value Expanded(const GroupValues& group) {
    return graph_.Apply(
        "Expand", {layers_.Unsqueeze(group.query, 1), graph_.Apply("Shape", {group.sequence})});
  }

  // [batch, T, 1]
  StatusOr<Value> Scores(const Encoder& encoder, const Value& input) {
    PEPNET_ASSIGN_OR_RETURN(const Value hidden, layers_.HiddenLayers(encoder.module + ".mlp.mlp",
                                                                     encoder.attn_mlp, input, 3));
    return layers_.Linear(encoder.module + ".linear", hidden, 3);
  }

  Value Attention(const Value& scores, const Encoder& encoder, const GroupValues& group) {
    const Value valid = Valid(group, encoder.max_length);
    // Positions behind a row's end get the lowest float before the softmax and a factor of 0 behind
    // it, so that a row without any position gives zeros and not the mean of nothing.
    const Value masked = graph_.Apply(
        "Where", {valid, scores, layers_.Number(std::numeric_limits<float>::lowest())});
    const Value weights = graph_.Apply("Softmax", {masked}, {{"axis", int64_t{1}}});
    return WeightedSum(graph_.Apply("Mul", {weights, AsFactor(valid)}), group.sequence);
  }

  StatusOr<Value> MultiWindowDin(const Encoder& encoder, const GroupValues& group) {
    const Value& s = group.sequence;
    const Value q = Expanded(group);
    PEPNET_ASSIGN_OR_RETURN(
        const Value scores,
        Scores(encoder, layers_.Concat({s, graph_.Apply("Mul", {q, s}), q}, 2)));
    PEPNET_ASSIGN_OR_RETURN(const Value slope,
                            layers_.Parameter(encoder.module + ".active.weight"));
    const Value a = Flat(graph_.Apply("PRelu", {scores, slope}));
    std::vector<Value> parts;
    int64_t end = 0;
    Value before;  // positions of earlier windows
    for (const int window : encoder.windows) {
      end += window;
      const Value until = AsFactor(Valid(group, static_cast<int>(end)));
      // Windows follow each other without overlap: positions [0, w1), [w1, w1 + w2), ...; each is
      // the difference of two masks that begin at 0.
      const Value in_window = before.empty() ? until : graph_.Apply("Sub", {until, before});
      const Value count = graph_.Apply("Max", {layers_.Sum(in_window, 1, true), layers_.Number(1)});
      parts.push_back(
          graph_.Apply("Div", {WeightedSum(graph_.Apply("Mul", {a, in_window}), s), count}));
      before = until;
    }
    parts.push_back(group.query);
    return layers_.Concat(parts, 1);
  }

  StatusOr<Value> SelfAttention(const Encoder& encoder, const GroupValues& group) {
    std::vector<Value> parts;  // query, key, value: [batch, heads, T, E / heads]
    const std::string attention = encoder.module + "._multihead_attn.";
    PEPNET_ASSIGN_OR_RETURN(const Value weight, layers_.Parameter(attention + "in_proj_weight"));
    PEPNET_ASSIGN_OR_RETURN(const Value bias, layers_.Parameter(attention + "in_proj_bias"));
    const int64_t width = encoder.attention_width, heads = encoder.heads,
                  head_width = width / heads;
    for (const char* name : {"._query", "._key", "._value"}) {
      PEPNET_ASSIGN_OR_RETURN(const Value x,
                              layers_.Linear(encoder.module + name, group.sequence, 3));
      // torch keeps the three projections in one matrix [3 E, E]; rows first to first + E are this
      // one's.
      const int64_t first = static_cast<int64_t>(parts.size()) * width;
      const Value begin = layers_.Integers({first}), end = layers_.Integers({first + width});
      const Value product = graph_.Apply(
          "MatMul", {x, graph_.Apply("Transpose", {layers_.Slice(weight, begin, end, 0)})});
      const Value projected = graph_.Apply("Add", {product, layers_.Slice(bias, begin, end, 0)});
      const Value split =
          graph_.Apply("Reshape", {projected, layers_.Integers({0, 0, heads, head_width})});
      parts.push_back(
          graph_.Apply("Transpose", {split}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}}));
    }
    // The queries are scaled and not the scores, as torch does it.
    const float scale = static_cast<float>(1 / std::sqrt(static_cast<double>(head_width)));
    const Value keys =
        graph_.Apply("Transpose", {parts[1]}, {{"perm", std::vector<int64_t>{0, 1, 3, 2}}});
    const Value scores =
        graph_.Apply("MatMul", {graph_.Apply("Mul", {parts[0], layers_.Number(scale)}), keys});
    const Value valid = Valid(group, encoder.max_length);
    // The keys alone are masked. Queries at positions that do not exist give rows that the sum at
    // the end leaves out.
    const Value of_keys = layers_.Unsqueeze(layers_.Unsqueeze(valid, 1), 2);  // [batch, 1, 1, T]
    const Value masked = graph_.Apply(
        "Where", {of_keys, scores, layers_.Number(std::numeric_limits<float>::lowest())});
    const Value weights = graph_.Apply(
        "Mul", {graph_.Apply("Softmax", {masked}, {{"axis", int64_t{3}}}), AsFactor(of_keys)});
    const Value mixed = graph_.Apply("Transpose", {graph_.Apply("MatMul", {weights, parts[2]})},
                                     {{"perm", std::vector<int64_t>{0, 2, 1, 3}}});
    PEPNET_ASSIGN_OR_RETURN(
        const Value out,
        layers_.Linear(attention + "out_proj",
                       graph_.Apply("Reshape", {mixed, layers_.Integers({0, 0, width})}), 3));
    // The divisor is the whole length T, also where max_seq_length cuts the sum (docs/spec.md
    // 3.10).
    return graph_.Apply("Div", {WeightedSum(AsFactor(valid), out), Divisor(group.lengths)});
  }

  const JobConfig& config_;
  OnnxLayers& layers_;
  OnnxGraph& graph_;
};

}  // namespace

StatusOr<std::vector<Value>> AddEncoders(const JobConfig& config,
                                         const std::vector<OnnxLeaf>& leaves, OnnxLayers* layers) {
  EncoderGraph graph(config, layers);
  std::vector<GroupValues> groups;
  layers->graph().BeginPart("sequences");
  for (const SequenceGroup& group : config.model.sequence_groups) {
    groups.push_back(graph.Group(group, leaves));
  }
  std::vector<Value> encoded;
  for (const Encoder& encoder : config.model.encoders) {
    layers->graph().BeginPart(encoder.module);
    PEPNET_ASSIGN_OR_RETURN(encoded.emplace_back(),
                            graph.Encode(encoder, groups[encoder.sequence_group]));
  }
  return encoded;
}

}  // namespace pepnet
