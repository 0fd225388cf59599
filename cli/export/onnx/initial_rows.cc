#include "cli/export/onnx/initial_rows.h"

#include <array>
#include <cmath>
#include <numbers>
#include <utility>

#include "common/base/hash.h"
#include "common/base/random.h"
#include "ps/table/row_initializer.h"

namespace pepnet {
namespace {

using Value = OnnxGraph::Value;
using Type = OnnxGraph::Type;

constexpr int64_t kLow16 = 0xffff, kLow32 = 0xffffffff, kTo16 = 0x10000;

// Counter-based random numbers are a function of key and counter alone, so a graph can compute them
// for any id; a server makes the same numbers (common/base/random.h). ONNX has integers of 64 bits
// with sign, in which everything here stays below 2^63.
class InitialRows {
 public:
  InitialRows(const Table& table, uint64_t seed, OnnxOps* ops)
      : table_(table),
        key_(RandomKey(seed, RandomPurpose::kTableInit, HashName(table.name))),
        blocks_((table.dim + 3) / 4),
        ops_(*ops),
        graph_(ops->graph()) {}

  StatusOr<Value> Make(const Value& ids) {
    PEPNET_ASSIGN_OR_RETURN(const Value exact, Exact(ids));
    return Rounded(exact);
  }

 private:
  StatusOr<Value> Exact(const Value& ids) {
    const Initializer& init = table_.initializer;
    switch (init.kind) {
      case InitKind::kConstant:
        return graph_.Apply("Expand", {ops_.Number(static_cast<float>(init.a)), Shape(ids)});
      case InitKind::kUniform:
      case InitKind::kDefault:
        return Uniform(ids, UniformRange(table_));
      case InitKind::kNormal:
        return Normal(ids, init.a, init.b);
      case InitKind::kTruncatedNormal:
      case InitKind::kEye:
      case InitKind::kSparse:
        break;
    }
    return InvalidInput(
        "--format onnx: the initial values of table ", table_.name, ", which grows, are those of ",
        TypeOf(init.kind).function,
        "; expected nn.init.uniform_, normal_ or constant_, or --format parquet,safetensors");
  }

  // To the nearest value that a row of the table can have, by Dekker's splitting: with c = x (2^s +
  // 1), rounded to float, c - (c - x) is x to 24 - s bits. Which of two values that are equally
  // near is taken may differ from a server's.
  StatusOr<Value> Rounded(const Value& x) {
    switch (table_.value_kind) {
      case ValueKind::kFp32:
        return x;
      case ValueKind::kFp16:
        return ToBits(11, x);
      case ValueKind::kBf16:
        return ToBits(8, x);
      case ValueKind::kInt8:
        break;
    }
    return InvalidInput(
        "--format onnx: table ", table_.name,
        " grows and has rows of INT8, whose initial values the graph "
        "does not make; expected another data_type, or --format parquet,safetensors");
  }
  // `bits` is the length of the type's mantissa with its leading 1.
  Value ToBits(int bits, const Value& x) {
    const Value c = graph_.Apply("Mul", {x, ops_.Number(std::ldexp(1.0f, 24 - bits) + 1)});
    return graph_.Apply("Sub", {c, graph_.Apply("Sub", {c, x})});
  }

  // [k, dim]
  Value Shape(const Value& ids) {
    return ops_.Concat({graph_.Apply("Shape", {ids}), ops_.Integers({table_.dim})}, 0);
  }

  Value And(const Value& x, int64_t bits) {
    return graph_.Apply("BitwiseAnd", {x, ops_.Scalar(bits)});
  }
  Value Xor(const Value& x, const Value& y) { return graph_.Apply("BitwiseXor", {x, y}); }
  Value Times(const Value& x, int64_t factor) {
    return graph_.Apply("Mul", {x, ops_.Scalar(factor)});
  }
  // Of numbers that are not negative.
  Value ShiftedBy16(const Value& x) { return graph_.Apply("Div", {x, ops_.Scalar(kTo16)}); }

  // The upper and the lower half of the product of two numbers below 2^32, in steps that stay below
  // 2^63.
  std::pair<Value, Value> Product(int64_t factor, const Value& x) {
    // ONNX has no unsigned 64-bit product. With x below 2^32 and halves f1 2^16 + f0 of the factor:
    // x f0 and x f1 stay below 2^48, and the carry goes from the first to the second.
    const Value low = Times(x, factor & kLow16);
    const Value sum = graph_.Apply("Add", {ShiftedBy16(low), Times(x, factor >> 16)});
    return {ShiftedBy16(sum),
            graph_.Apply("Add", {Times(And(sum, kLow16), kTo16), And(low, kLow16)})};
  }

  // Philox4x32 of counters (id, block): four numbers below 2^32, each [k, blocks].
  std::array<Value, 4> Words(const Value& ids) {
    const Value column = ops_.Unsqueeze(ids, 1);
    std::vector<int64_t> numbers;
    for (int64_t block = 0; block < blocks_; ++block) numbers.push_back(block);
    // The upper half of an id is what is left without the lower one, and is not negative with its
    // 32 bits alone.
    const Value lower = And(column, kLow32);
    const Value upper = And(
        graph_.Apply("Div", {graph_.Apply("Sub", {column, lower}), ops_.Scalar(int64_t{1} << 32)}),
        kLow32);
    std::array<Value, 4> c = {ops_.Integers(numbers), ops_.Scalar(0), lower, upper};
    uint32_t k0 = static_cast<uint32_t>(key_), k1 = static_cast<uint32_t>(key_ >> 32);
    // The constants are those of Philox4x32-10 (Salmon et al., 2011). The key's schedule is
    // computed now; only counters are values of the graph.
    for (int round = 0; round < 10; ++round) {
      const auto [high0, low0] = Product(0xD2511F53, c[0]);
      const auto [high1, low1] = Product(0xCD9E8D57, c[2]);
      c = {Xor(Xor(high1, c[1]), ops_.Scalar(k0)), low1, Xor(Xor(high0, c[3]), ops_.Scalar(k1)),
           low0};
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    return c;
  }

  // [k, dim] from four numbers of each block.
  Value InOrder(const std::array<Value, 4>& words) {
    std::vector<Value> columns;
    for (const Value& word : words) columns.push_back(ops_.Unsqueeze(word, 2));
    const Value flat =
        graph_.Apply("Reshape", {ops_.Concat(columns, 2), ops_.Integers({0, 4 * blocks_})});
    return table_.dim == 4 * blocks_
               ? flat
               : ops_.Slice(flat, ops_.Integers({0}), ops_.Integers({table_.dim}), 1);
  }

  // k * 2^-24 in [0, 1), exact in float and in double: k is the upper 24 of the 32 bits, as many as
  // a float's mantissa holds.
  Value Unit(const Value& word, Type type) {
    const Value upper = graph_.Cast(graph_.Apply("Div", {word, ops_.Scalar(256)}), type);
    const double scale = 0x1.0p-24;
    return graph_.Apply("Mul", {upper, type == Type::kFloat ? ops_.Number(0x1.0p-24f)
                                                            : graph_.Doubles({}, {&scale, 1})});
  }

  // low + span * u in float, the operations of RowInitializer in its order, hence the same bits.
  Value Uniform(const Value& ids, const FloatRange& range) {
    std::array<Value, 4> words = Words(ids);
    for (Value& word : words) word = Unit(word, Type::kFloat);
    return graph_.Apply("Add", {ops_.Number(range.low),
                                graph_.Apply("Mul", {ops_.Number(range.span), InOrder(words)})});
  }

  // mean + deviation * sqrt(-2 ln u1) * cos or sin(2 pi u2), in double
  Value Normal(const Value& ids, double mean, double deviation) {
    const auto number = [&](double x) { return graph_.Doubles({}, {&x, 1}); };
    const std::array<Value, 4> words = Words(ids);
    std::array<Value, 4> values;
    for (size_t pair = 0; pair < 4; pair += 2) {
      // 1 - u is in (0, 1], where the logarithm is finite.
      const Value u1 = graph_.Apply("Sub", {number(1), Unit(words[pair], Type::kDouble)});
      const Value angle =
          graph_.Apply("Mul", {number(2 * std::numbers::pi), Unit(words[pair + 1], Type::kDouble)});
      const Value radius =
          graph_.Apply("Sqrt", {graph_.Apply("Mul", {number(-2), graph_.Apply("Log", {u1})})});
      const Value scaled = graph_.Apply("Mul", {number(deviation), radius});
      for (size_t i = 0; i < 2; ++i) {
        const Value wave = graph_.Apply(i == 0 ? "Cos" : "Sin", {angle});
        const Value sum = graph_.Apply("Add", {number(mean), graph_.Apply("Mul", {scaled, wave})});
        values[pair + i] = graph_.Cast(sum, Type::kFloat);
      }
    }
    return InOrder(values);
  }

  const Table& table_;
  const uint64_t key_;
  const int64_t blocks_;  // of four numbers, in a row
  OnnxOps& ops_;
  OnnxGraph& graph_;
};

}  // namespace

StatusOr<Value> AddInitialRows(const Table& table, uint64_t seed, const Value& ids, OnnxOps* ops) {
  ops->graph().RequireOpset(18);
  return InitialRows(table, seed, ops).Make(ids);
}

}  // namespace pepnet
