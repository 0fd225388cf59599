#include "cli/export/onnx/features.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/export/onnx/expression.h"
#include "cli/export/onnx/initial_rows.h"
#include "cli/export/onnx/ops.h"
#include "worker/data/encode/feature_encoder.h"

namespace pepnet {
namespace {

using Value = OnnxGraph::Value;
using Type = OnnxGraph::Type;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

OnnxTokens TokensOf(const Feature& feature) { return TypeOf(feature.bucketizer).onnx; }

Type InputType(const Feature& feature) {
  switch (TokensOf(feature)) {
    case OnnxTokens::kIds:
      return Type::kInt64;
    case OnnxTokens::kWords:
      return Type::kString;
    case OnnxTokens::kReals:
    case OnnxTokens::kValues:
      return Type::kDouble;
  }
  return Type::kInt64;
}

// The properties that must be equal for two features to read the same input.
std::string InputKind(const Feature& feature) {
  // Ids that are made outside the graph are those of one bucketizer with one number of rows.
  const bool made =
      TokensOf(feature) == OnnxTokens::kIds && feature.bucketizer != Bucketizer::kIdentity;
  return absl::StrCat(
      static_cast<int>(InputType(feature)), feature.weighted ? " weighted" : "",
      made ? absl::StrCat(" ", TypeOf(feature.bucketizer).name, " ", feature.rows) : "",
      TokensOf(feature) == OnnxTokens::kValues ? absl::StrCat(" values ", feature.dim) : "", " ",
      feature.separator, feature.sequence ? absl::StrCat(" ", feature.sequence->delimiter) : "");
}

// Doubles in order as integers in order. Negative doubles are ordered by their size, against the
// order of their bits; the subtraction turns them around. -0 and 0 become the same integer.
int64_t Ordered(double x) {
  const int64_t bits = std::bit_cast<int64_t>(x);
  return bits >= 0 ? bits : std::numeric_limits<int64_t>::min() - bits;
}
double FromOrdered(int64_t n) {
  return std::bit_cast<double>(n >= 0 ? n : std::numeric_limits<int64_t>::min() - n);
}

// The tensors of one input that several features may share.
struct Cells {
  Value values, mask;  // [batch, n]; mask: bool, true where there is a token
  Value weights;       // [batch, n] float; "" if the feature is not weighted
  Value count;         // [batch, 1] float: tokens
  Value is_empty;      // [batch, 1] bool
  // Of a sequence, values and mask are [batch, n, m], and instead of the last two:
  Value lengths;  // [batch] int64: elements
  Value counts;   // [batch, n] int64: tokens of each element
};

// A table in the graph.
struct GraphTable {
  GraphTable(const Table& table, uint64_t seed, const TableRows& rows)
      : table(table), seed(seed), finder(table, seed, rows) {}

  const Table& table;
  const uint64_t seed;
  const RowFinder finder;
  Value constant;  // [rows, dim]; of a table that grows one row more, of zeros
  // Of a table that grows: its ids, the rows of `constant` they have, and that row more, of an id
  // without a row.
  std::vector<int64_t> keys, places;
  int64_t no_place = 0;
};

// The least int64 is no id, and makes a list of keys that is never empty.
constexpr int64_t kNoKey = std::numeric_limits<int64_t>::min();
constexpr int64_t kMostKeys = 50'000'000;  // which stand in the model file, of 2 GiB at most

// Adds inputs first, then one leaf after the other. Leaves that read the same column share its
// input and mask.
class FeatureGraph {
 public:
  FeatureGraph(const JobConfig& config, const FeatureEncoder& encoder, OnnxGraph* graph)
      : config_(config), encoder_(encoder), graph_(*graph), ops_(graph) {}

  // One set of tensors per input name; see the header for their shapes.
  void DeclareInputs() {
    for (const OnnxInput& input : OnnxInputs(config_)) {
      const Feature& feature = config_.features[input.feature];
      inputs_[input.feature] = input.name;
      if (cells_.count(input.name) > 0) continue;
      Cells& cells = cells_[input.name];
      const bool is_sequence = feature.sequence.has_value();
      const OnnxGraph::Dimension batch{"batch", 0}, elements{input.name + "_n", 0};
      const OnnxGraph::Dimension width =
          TokensOf(feature) == OnnxTokens::kValues
              ? OnnxGraph::Dimension{"", feature.dim}
              : OnnxGraph::Dimension{input.name + (is_sequence ? "_m" : "_n"), 0};
      OnnxGraph::Shape shape = {batch, width};
      if (is_sequence) shape.insert(shape.begin() + 1, elements);
      cells.values = graph_.Input(input.name, input.type, shape,
                                  TypeOf(feature.bucketizer).onnx_comment(feature.rows));
      const Value lengths =
          graph_.Input(input.name + ".lengths", Type::kInt64, {batch},
                       is_sequence ? "elements of the cell" : "tokens of the cell");
      cells.lengths = lengths;
      if (is_sequence) {
        cells.counts = graph_.Input(input.name + ".counts", Type::kInt64, {batch, elements},
                                    "tokens of each element");
      }
      const int64_t last = is_sequence ? 2 : 1;
      const Value limit = ops_.Unsqueeze(is_sequence ? cells.counts : lengths, last);
      // Cells are padded at the end with anything, so whatever is read there is multiplied by 0 or
      // replaced.
      cells.mask = graph_.Apply("Less", {ops_.Positions(cells.values, last), limit});
      if (input.type == Type::kString) {  // an empty token is skipped
        const Value named = graph_.Apply("LabelEncoder", {cells.values},
                                         {{"keys_strings", std::vector<std::string>{""}},
                                          {"values_int64s", std::vector<int64_t>{0}},
                                          {"default_int64", int64_t{1}}},
                                         "ai.onnx.ml");
        cells.mask = graph_.Apply("And", {cells.mask, graph_.Cast(named, Type::kBool)});
      }
      if (feature.weighted) {
        cells.weights = graph_.Input(input.name + ".weights", Type::kFloat, {batch, width},
                                     "weights of the tokens");
      }
      if (is_sequence) continue;
      cells.count =
          graph_.Apply("ReduceSum", {graph_.Cast(cells.mask, Type::kFloat), ops_.Integers({1})});
      cells.is_empty = graph_.Apply("Less", {cells.count, ops_.Number(0.5f)});
    }
  }

  // A leaf of plain values.
  StatusOr<OnnxLeaf> Raw(const Leaf& leaf) {
    const int f = leaf.feature;
    const Feature& feature = config_.features[f];
    const Cells& cells = cells_.at(inputs_.at(f));
    // Normalizers compute in double and the result is cast once, as in training.
    PEPNET_ASSIGN_OR_RETURN(const Value normalized, Normalized(feature, cells.values));
    const Value normal = graph_.Cast(normalized, Type::kFloat);
    const EmptyCell& empty = encoder_.empty_cell(f);
    std::vector<float> values = empty.values;
    // predict refuses an empty cell without a default; a graph cannot refuse, and NaN is seen by
    // whoever looks at the output, unlike a 0.
    if (!empty.has_default) values.assign(feature.dim, std::numeric_limits<float>::quiet_NaN());
    if (feature.sequence) return Elements(feature, cells, normal, values, 1, empty.has_default);
    PEPNET_ASSIGN_OR_RETURN(const Value fallback, graph_.Floats("", {1, feature.dim}, values));
    return OnnxLeaf{graph_.Apply("Where", {cells.is_empty, fallback, normal}), ""};
  }

  // The pooled rows of a leaf.
  StatusOr<OnnxLeaf> Lookup(const Leaf& leaf, const GraphTable& table) {
    const int f = leaf.feature;
    const Feature& feature = config_.features[f];
    const Cells& cells = cells_.at(inputs_.at(f));
    Value found;  // [batch, n, dim]; of a sequence [batch, n, m, dim]
    if (table.table.grows()) {
      PEPNET_ASSIGN_OR_RETURN(found, FindRows(table, cells));
    } else {
      PEPNET_ASSIGN_OR_RETURN(Value ids, Ids(feature, cells));
      // Padding reads row 0, which exists in every table and is multiplied by 0 below.
      ids = graph_.Apply("Where", {cells.mask, ids, ops_.Scalar(0)});
      found = graph_.Apply("Gather", {table.constant, ids});
    }
    if (feature.sequence) return LookupSequence(leaf, cells, found, table.finder);
    Value factor = graph_.Cast(cells.mask, Type::kFloat);
    if (feature.weighted) {
      // The operator is Where and not a product: a weight behind the end may be NaN.
      factor = graph_.Apply("Where", {cells.mask, cells.weights, ops_.Number(0)});
    }
    if (feature.pooling == Pooling::kMean) {
      factor = graph_.Apply("Div", {factor, graph_.Apply("Max", {cells.count, ops_.Number(1)})});
    }
    const Value scaled = graph_.Apply("Mul", {found, ops_.Unsqueeze(factor, 2)});
    const Value pooled = ops_.Sum(scaled, 1);
    const EmptyCell& empty = encoder_.empty_cell(f);
    // The vector of an empty cell is a constant of the model: default_value does not change after
    // export.
    if (empty.ids.empty()) return OnnxLeaf{pooled, ""};
    const std::vector<float> fallback = DefaultVector(feature, empty, table.finder);
    PEPNET_ASSIGN_OR_RETURN(const Value constant, graph_.Floats("", {1, feature.dim}, fallback));
    return OnnxLeaf{graph_.Apply("Where", {cells.is_empty, constant, pooled}), ""};
  }

 private:
  // The rows of a table that grows: those it has, and initial values where it has none.
  StatusOr<Value> FindRows(const GraphTable& table, const Cells& cells) {
    const Value place = graph_.Apply("LabelEncoder", {cells.values},
                                     {{"keys_int64s", table.keys},
                                      {"values_int64s", table.places},
                                      {"default_int64", table.no_place}},
                                     "ai.onnx.ml");
    const Value found = graph_.Apply("Gather", {table.constant, place});
    const Value is_new = graph_.Apply(
        "And", {graph_.Apply("Equal", {place, ops_.Scalar(table.no_place)}), cells.mask});
    // Those are few in most batches, and alone cost the work of making initial values.
    const Value at = graph_.Apply("Transpose", {graph_.Apply("NonZero", {is_new})});
    const Value ids = graph_.Apply("GatherND", {cells.values, at});
    PEPNET_ASSIGN_OR_RETURN(const Value initial,
                            AddInitialRows(table.table, table.seed, ids, &ops_));
    return graph_.Apply("ScatterND", {found, at, initial});
  }

  // The pooled rows of the default_value's ids.
  static std::vector<float> DefaultVector(const Feature& feature, const EmptyCell& empty,
                                          const RowFinder& rows) {
    std::vector<float> vector(feature.dim, 0), row(feature.dim);
    for (size_t i = 0; i < empty.ids.size(); ++i) {
      float weight = feature.weighted ? empty.weights[i] : 1.0f;
      if (feature.pooling == Pooling::kMean) weight /= static_cast<float>(empty.ids.size());
      rows.Copy(empty.ids[i], row.data());
      for (int d = 0; d < feature.dim; ++d) vector[d] += weight * row[d];
    }
    return vector;
  }

  // The elements of a sequence as a leaf. `vectors`: [batch, n, dim]; `fallback`: the vector of an
  // element without tokens, which counts as `fallback_count` tokens. `counts_out`: [batch, n, 1]
  // float, tokens of the leaf's elements.
  StatusOr<OnnxLeaf> Elements(const Feature& feature, const Cells& cells, const Value& vectors,
                              const std::vector<float>& fallback, int64_t fallback_count,
                              bool has_default, Value* counts_out = nullptr) {
    // One element more, so that a cell without elements has room for the default.
    const Value one = ops_.Integers({1});
    Value values =
        ops_.Concat({vectors, ops_.Zeros(cells.lengths, {one, ops_.Integers({feature.dim})})}, 1);
    const Value none = graph_.Cast(ops_.Zeros(cells.lengths, {one}), Type::kInt64);
    Value counts = ops_.Concat({cells.counts, none}, 1);
    const Value lengths =
        has_default ? graph_.Apply("Max", {cells.lengths, ops_.Scalar(1)}) : cells.lengths;
    if (has_default) {
      const Value is_empty = graph_.Apply("Less", {counts, ops_.Scalar(1)});
      PEPNET_ASSIGN_OR_RETURN(const Value constant,
                              graph_.Floats("", {1, 1, feature.dim}, fallback));
      values = graph_.Apply("Where", {ops_.Unsqueeze(is_empty, 2), constant, values});
      counts = graph_.Apply("Where", {is_empty, ops_.Scalar(fallback_count), counts});
    }
    Value exists = graph_.Apply("Less", {ops_.Positions(counts, 1), ops_.Unsqueeze(lengths, 1)});
    exists = ops_.Unsqueeze(exists, 2);
    if (counts_out != nullptr) {
      const Value floats = graph_.Cast(ops_.Unsqueeze(counts, 2), Type::kFloat);
      *counts_out = graph_.Apply("Where", {exists, floats, ops_.Number(0)});
    }
    return OnnxLeaf{graph_.Apply("Where", {exists, values, ops_.Number(0)}), lengths};
  }

  // `found`: [batch, n, m, dim]
  StatusOr<OnnxLeaf> LookupSequence(const Leaf& leaf, const Cells& cells, const Value& found,
                                    const RowFinder& rows) {
    const Feature& feature = config_.features[leaf.feature];
    const EmptyCell& empty = encoder_.empty_cell(leaf.feature);
    // Sums, from which the mean follows over elements or over the whole cell.
    Feature summed = feature;
    summed.pooling = Pooling::kSum;
    const Value factor = ops_.Unsqueeze(graph_.Cast(cells.mask, Type::kFloat), 3);
    const Value sums = ops_.Sum(graph_.Apply("Mul", {found, factor}), 2);
    Value counts;
    PEPNET_ASSIGN_OR_RETURN(
        OnnxLeaf made,
        Elements(feature, cells, sums, DefaultVector(summed, empty, rows),
                 static_cast<int64_t>(empty.ids.size()), empty.has_default, &counts));
    if (!leaf.sequence) {
      made.values = ops_.Sum(made.values, 1);
      counts = ops_.Sum(counts, 1);
      made.lengths.clear();
    }
    if (feature.pooling == Pooling::kMean) {
      made.values =
          graph_.Apply("Div", {made.values, graph_.Apply("Max", {counts, ops_.Number(1)})});
    }
    return made;
  }

  Value Real(double x) { return graph_.Doubles({}, {&x, 1}); }

  // The normalizer of a raw feature, in double as in training.
  StatusOr<Value> Normalized(const Feature& feature, const Value& x) {
    const Normalizer& normalizer = feature.normalizer;
    switch (normalizer.kind) {
      case NormalizerKind::kNone:
        return x;
      case NormalizerKind::kLog10: {
        const Value log = graph_.Apply("Div", {graph_.Apply("Log", {x}), Real(std::log(10.0))});
        return graph_.Apply(
            "Where", {graph_.Apply("Greater", {x, Real(normalizer.a)}), log, Real(normalizer.b)});
      }
      case NormalizerKind::kZscore:
        return graph_.Apply("Div",
                            {graph_.Apply("Sub", {x, Real(normalizer.a)}), Real(normalizer.b)});
      case NormalizerKind::kMinmax:
        return graph_.Apply("Div", {graph_.Apply("Sub", {x, Real(normalizer.a)}),
                                    Real(normalizer.b - normalizer.a)});
      case NormalizerKind::kExpression: {
        const Value variables[] = {x};
        auto value = AddExpression(normalizer.expression, variables, &graph_);
        if (!value.ok()) {
          return Annotate(value.status(),
                          absl::StrCat("the normalizer of feature '", feature.name, "'"));
        }
        return value;
      }
    }
    return x;
  }

  // [batch, n] int64: row numbers where there is a token.
  StatusOr<Value> Ids(const Feature& feature, const Cells& cells) {
    switch (TokensOf(feature)) {
      case OnnxTokens::kIds:
        // Gather counts negative numbers from the end; here they must be as wrong as numbers that
        // are too large.
        return graph_.Apply("Where", {graph_.Apply("Less", {cells.values, ops_.Scalar(0)}),
                                      ops_.Scalar(feature.rows), cells.values});
      case OnnxTokens::kWords: {
        std::vector<std::string> words;
        std::vector<int64_t> ids;
        for (const auto& [word, id] : feature.vocabulary) {
          words.push_back(word);
          ids.push_back(id);
        }
        return graph_.Apply("LabelEncoder", {cells.values},
                            {{"keys_strings", words},
                             {"values_int64s", ids},
                             {"default_int64", feature.unknown_id}},
                            "ai.onnx.ml");
      }
      case OnnxTokens::kReals:
        return Bucket(feature, cells.values);
      case OnnxTokens::kValues:
        break;
    }
    return absl::InternalError(absl::StrCat("feature ", feature.name, " has no ids"));
  }

  // Number of boundaries <= normalized x.
  StatusOr<Value> Bucket(const Feature& feature, const Value& x) {
    // A formula need not grow with x: its value is compared, which may differ from training in a
    // last bit.
    const bool is_formula = feature.normalizer.kind == NormalizerKind::kExpression;
    std::vector<double> thresholds = feature.boundaries;
    Value compared = x;
    if (is_formula) {
      PEPNET_ASSIGN_OR_RETURN(compared, Normalized(feature, x));
    } else {
      PEPNET_ASSIGN_OR_RETURN(thresholds, RawThresholds(feature));
    }
    // x is compared with all boundaries at once; the sum of what it has reached is its bucket.
    const Value limits = graph_.Doubles({static_cast<int64_t>(thresholds.size())}, thresholds);
    const int64_t last = feature.sequence ? 3 : 2;
    const Value reached = graph_.Apply("GreaterOrEqual", {ops_.Unsqueeze(compared, last), limits});
    const Value bucket = ops_.Sum(graph_.Cast(reached, Type::kInt64), last);
    if (feature.normalizer.kind != NormalizerKind::kLog10) return bucket;
    const std::vector<double>& b = feature.boundaries;
    // Values up to log10's threshold become the constant b, whose bucket is known here.
    const int64_t below = std::upper_bound(b.begin(), b.end(), feature.normalizer.b) - b.begin();
    return graph_.Apply("Where", {graph_.Apply("Greater", {x, Real(feature.normalizer.a)}), bucket,
                                  ops_.Scalar(below)});
  }

  const JobConfig& config_;
  const FeatureEncoder& encoder_;
  OnnxGraph& graph_;
  std::map<int, std::string> inputs_;   // feature -> input
  std::map<std::string, Cells> cells_;  // by input
  OnnxOps ops_;
};

}  // namespace

std::vector<OnnxInput> OnnxInputs(const JobConfig& config) {
  // Features share the input of a column only if all features of that column read it in one way;
  // else each has an input of its own, so that no name means two things.
  std::map<std::string, std::string> kinds;  // by column; "" if features disagree
  for (const Feature& feature : config.features) {
    if (!feature.is_read) continue;
    const auto [found, is_new] = kinds.emplace(feature.column, InputKind(feature));
    if (!is_new && found->second != InputKind(feature)) found->second.clear();
  }
  std::vector<OnnxInput> inputs;
  for (size_t f = 0; f < config.features.size(); ++f) {
    const Feature& feature = config.features[f];
    if (!feature.is_read) continue;
    const bool shared = !kinds.at(feature.column).empty();
    inputs.push_back(
        {static_cast<int>(f), shared ? feature.column : feature.name, InputType(feature)});
  }
  return inputs;
}

StatusOr<std::vector<double>> RawThresholds(const Feature& feature) {
  const Normalizer& g = feature.normalizer;
  const bool decreasing = (g.kind == NormalizerKind::kZscore && g.b < 0) ||
                          (g.kind == NormalizerKind::kMinmax && g.b < g.a);
  // The search needs a function that grows. log10 of a negative number is NaN, which no order
  // holds.
  if (decreasing || (g.kind == NormalizerKind::kLog10 && g.a < 0)) {
    return InvalidInput("feature '", feature.name, "': boundaries behind a normalizer that ",
                        decreasing ? "decreases" : "takes logarithms of negative numbers",
                        " cannot be exported as onnx");
  }
  // log10 is asked for values above its threshold alone.
  const double lowest = g.kind == NormalizerKind::kLog10 ? std::nextafter(g.a, kInfinity)
                                                         : std::numeric_limits<double>::lowest();
  std::vector<double> thresholds;
  for (const double boundary : feature.boundaries) {
    // A binary search over all doubles for the least x whose normalized value reaches the boundary:
    // the graph then compares raw values and agrees with training to the last bit, whatever its own
    // logarithm or division rounds to.
    int64_t low = Ordered(lowest), high = Ordered(kInfinity);
    while (low < high) {  // the answer is in [low, high]
      const int64_t middle =
          low +
          static_cast<int64_t>((static_cast<uint64_t>(high) - static_cast<uint64_t>(low)) / 2);
      if (Normalize(g, FromOrdered(middle)) >= boundary) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    thresholds.push_back(FromOrdered(low));
  }
  return thresholds;
}

namespace {

StatusOr<GraphTable> AddTable(const Table& table, uint64_t seed, TableRows* rows,
                              OnnxGraph* graph) {
  GraphTable made(table, seed, *rows);
  int64_t count = table.rows;
  if (table.grows()) {
    // Ids without a row get the place behind the last one, a row of zeros, which FindRows()
    // overwrites with their initial values.
    made.no_place = static_cast<int64_t>(rows->ids.size());
    if (made.no_place > kMostKeys) {
      return InvalidInput("--format onnx: table ", table.name, " has ", made.no_place,
                          " ids, and model.onnx holds at most ", kMostKeys,
                          "; set max_rows, or export with --format parquet,safetensors");
    }
    made.keys = rows->ids;
    made.keys.push_back(kNoKey);
    made.places.resize(made.keys.size());
    std::iota(made.places.begin(), made.places.end(), 0);
    const AlignedBuffer<float> values = std::exchange(rows->values, AlignedBuffer<float>());
    count = made.no_place + 1;
    rows->values.Resize(count * table.dim);
    std::copy(values.begin(), values.end(), rows->values.begin());
    std::fill(rows->values.end() - table.dim, rows->values.end(), 0.0f);
  }
  PEPNET_ASSIGN_OR_RETURN(made.constant,
                          graph->Floats(TableParameterName(table), {count, table.dim},
                                        {rows->values.data(), rows->values.size()}));
  return made;
}

}  // namespace

StatusOr<std::vector<OnnxLeaf>> AddFeatures(const JobConfig& config, const FeatureEncoder& encoder,
                                            const TableSource& tables, OnnxGraph* graph) {
  FeatureGraph features(config, encoder, graph);
  graph->BeginPart("inputs");
  features.DeclareInputs();
  std::vector<OnnxLeaf> leaves(config.leaves.size());
  for (size_t l = 0; l < leaves.size(); ++l) {
    if (config.leaves[l].table >= 0) continue;
    graph->BeginPart(config.features[config.leaves[l].feature].name);
    PEPNET_ASSIGN_OR_RETURN(leaves[l], features.Raw(config.leaves[l]));
  }
  // The loop goes by table and not by leaf: a table is read once, made into a constant, and freed
  // before the next one is read.
  for (size_t t = 0; t < config.tables.size(); ++t) {
    PEPNET_ASSIGN_OR_RETURN(TableRows rows, tables.read(config.tables[t]));
    PEPNET_ASSIGN_OR_RETURN(const GraphTable table,
                            AddTable(config.tables[t], tables.seed, &rows, graph));
    for (size_t l = 0; l < leaves.size(); ++l) {
      if (config.leaves[l].table != static_cast<int>(t)) continue;
      graph->BeginPart(config.features[config.leaves[l].feature].name);
      PEPNET_ASSIGN_OR_RETURN(leaves[l], features.Lookup(config.leaves[l], table));
    }
  }
  return leaves;
}

}  // namespace pepnet
