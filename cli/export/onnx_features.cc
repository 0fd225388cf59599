#include "cli/export/onnx_features.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>

#include "absl/strings/str_cat.h"
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

// What must be equal for two features to read the same input.
std::string InputKind(const Feature& feature) {
  // Ids that are made outside the graph are those of one bucketizer with one number of rows.
  const bool made = TokensOf(feature) == OnnxTokens::kIds && feature.bucketizer != Bucketizer::kIdentity;
  return absl::StrCat(static_cast<int>(InputType(feature)), feature.weighted ? " weighted" : "",
                      made ? absl::StrCat(" ", TypeOf(feature.bucketizer).name, " ", feature.rows) : "",
                      TokensOf(feature) == OnnxTokens::kValues ? absl::StrCat(" values ", feature.dim) : "", " ",
                      feature.separator);
}

// Doubles in order as integers in order.
int64_t Ordered(double x) {
  const int64_t bits = std::bit_cast<int64_t>(x);
  return bits >= 0 ? bits : std::numeric_limits<int64_t>::min() - bits;
}
double FromOrdered(int64_t n) { return std::bit_cast<double>(n >= 0 ? n : std::numeric_limits<int64_t>::min() - n); }

// The tensors of one input that several features may share.
struct Cells {
  Value values, mask;  // [batch, n]; mask: bool, true where there is a token
  Value weights;       // [batch, n] float; "" if the feature is not weighted
  Value count;         // [batch, 1] float: tokens
  Value is_empty;      // [batch, 1] bool
};

class FeatureGraph {
 public:
  FeatureGraph(const JobConfig& config, const FeatureEncoder& encoder, OnnxGraph* graph)
      : config_(config), encoder_(encoder), graph_(*graph) {}

  void DeclareInputs() {
    for (const OnnxInput& input : OnnxInputs(config_)) {
      const Feature& feature = config_.features[input.feature];
      inputs_[input.feature] = input.name;
      if (cells_.count(input.name) > 0) continue;
      Cells& cells = cells_[input.name];
      const OnnxGraph::Dimension batch{"batch", 0};
      const OnnxGraph::Dimension width = TokensOf(feature) == OnnxTokens::kValues
                                             ? OnnxGraph::Dimension{"", feature.dim}
                                             : OnnxGraph::Dimension{input.name + "_n", 0};
      cells.values =
          graph_.Input(input.name, input.type, {batch, width}, TypeOf(feature.bucketizer).onnx_comment(feature.rows));
      const Value lengths = graph_.Input(input.name + ".lengths", Type::kInt64, {batch}, "tokens of the cell");
      const Value columns = graph_.Apply("Gather", {graph_.Apply("Shape", {cells.values}), Scalar(1)});
      const Value position = graph_.Apply("Range", {Scalar(0), columns, Scalar(1)});
      const Value limit = graph_.Apply("Unsqueeze", {lengths, Axes({1})});
      cells.mask = graph_.Apply("Less", {graph_.Apply("Unsqueeze", {position, Axes({0})}), limit});
      if (input.type == Type::kString) {  // an empty token is passed over
        const Value named = graph_.Apply("LabelEncoder", {cells.values},
                                         {{"keys_strings", std::vector<std::string>{""}},
                                          {"values_int64s", std::vector<int64_t>{0}},
                                          {"default_int64", int64_t{1}}},
                                         "ai.onnx.ml");
        cells.mask = graph_.Apply("And", {cells.mask, graph_.Cast(named, Type::kBool)});
      }
      if (feature.weighted) {
        cells.weights = graph_.Input(input.name + ".weights", Type::kFloat, {batch, width}, "weights of the tokens");
      }
      cells.count = graph_.Apply("ReduceSum", {graph_.Cast(cells.mask, Type::kFloat), Axes({1})});
      cells.is_empty = graph_.Apply("Less", {cells.count, Number(0.5f)});
    }
  }

  // [batch, dim] of a raw feature without table.
  StatusOr<Value> Raw(int f) {
    const Feature& feature = config_.features[f];
    const Cells& cells = cells_.at(inputs_.at(f));
    const Value normal = graph_.Cast(Normalized(feature.normalizer, cells.values), Type::kFloat);
    const FeatureEncoder::EmptyCell& empty = encoder_.empty_cell(f);
    std::vector<float> values = empty.values;
    if (!empty.has_default) values.assign(feature.dim, std::numeric_limits<float>::quiet_NaN());
    PEPNET_ASSIGN_OR_RETURN(const Value fallback, graph_.Floats("", {1, feature.dim}, values));
    return graph_.Apply("Where", {cells.is_empty, fallback, normal});
  }

  // [batch, dim]: the pooled rows of a feature. `table` is [rows, dim], with the values `rows`.
  StatusOr<Value> Lookup(int f, const Value& table, const AlignedBuffer<float>& rows) {
    const Feature& feature = config_.features[f];
    const Cells& cells = cells_.at(inputs_.at(f));
    PEPNET_ASSIGN_OR_RETURN(Value ids, Ids(feature, cells));
    ids = graph_.Apply("Where", {cells.mask, ids, Scalar(0)});
    const Value found = graph_.Apply("Gather", {table, ids});  // [batch, n, dim]
    Value factor = graph_.Cast(cells.mask, Type::kFloat);
    if (feature.weighted) factor = graph_.Apply("Where", {cells.mask, cells.weights, Number(0)});
    if (feature.pooling == Pooling::kMean) {
      factor = graph_.Apply("Div", {factor, graph_.Apply("Max", {cells.count, Number(1)})});
    }
    const Value scaled = graph_.Apply("Mul", {found, graph_.Apply("Unsqueeze", {factor, Axes({2})})});
    const Value pooled = graph_.Apply("ReduceSum", {scaled, Axes({1})}, {{"keepdims", int64_t{0}}});
    const FeatureEncoder::EmptyCell& empty = encoder_.empty_cell(f);
    if (empty.ids.empty()) return pooled;
    std::vector<float> fallback(feature.dim, 0);
    for (size_t i = 0; i < empty.ids.size(); ++i) {
      float weight = feature.weighted ? empty.weights[i] : 1.0f;
      if (feature.pooling == Pooling::kMean) weight /= static_cast<float>(empty.ids.size());
      for (int d = 0; d < feature.dim; ++d) fallback[d] += weight * rows[empty.ids[i] * feature.dim + d];
    }
    PEPNET_ASSIGN_OR_RETURN(const Value constant, graph_.Floats("", {1, feature.dim}, fallback));
    return graph_.Apply("Where", {cells.is_empty, constant, pooled});
  }

 private:
  Value Scalar(int64_t n) { return Shared(&scalars_, n, {}); }
  Value Axes(const std::vector<int64_t>& axes) { return Shared(&axes_, axes[0], {1}); }
  Value Shared(std::map<int64_t, Value>* made, int64_t n, const std::vector<int64_t>& dims) {
    Value& value = (*made)[n];
    if (value.empty()) value = graph_.Integers(dims, {&n, 1});
    return value;
  }
  Value Number(float x) {
    Value& value = numbers_[x];
    if (value.empty()) value = *graph_.Floats("", {}, {&x, 1});  // too small to go to another file, so it cannot fail
    return value;
  }
  Value Real(double x) { return graph_.Doubles({}, {&x, 1}); }

  Value Normalized(const Normalizer& normalizer, const Value& x) {
    switch (normalizer.kind) {
      case NormalizerKind::kNone:
        return x;
      case NormalizerKind::kLog10: {
        const Value log = graph_.Apply("Div", {graph_.Apply("Log", {x}), Real(std::log(10.0))});
        return graph_.Apply("Where", {graph_.Apply("Greater", {x, Real(normalizer.a)}), log, Real(normalizer.b)});
      }
      case NormalizerKind::kZscore:
        return graph_.Apply("Div", {graph_.Apply("Sub", {x, Real(normalizer.a)}), Real(normalizer.b)});
      case NormalizerKind::kMinmax:
        return graph_.Apply("Div", {graph_.Apply("Sub", {x, Real(normalizer.a)}), Real(normalizer.b - normalizer.a)});
    }
    return x;
  }

  // [batch, n] int64: row numbers where there is a token.
  StatusOr<Value> Ids(const Feature& feature, const Cells& cells) {
    switch (TokensOf(feature)) {
      case OnnxTokens::kIds:
        // Gather counts negative numbers from the end; here they must be as wrong as numbers that are too large.
        return graph_.Apply("Where",
                            {graph_.Apply("Less", {cells.values, Scalar(0)}), Scalar(feature.rows), cells.values});
      case OnnxTokens::kWords: {
        std::vector<std::string> words;
        std::vector<int64_t> ids;
        for (const auto& [word, id] : feature.vocabulary) {
          words.push_back(word);
          ids.push_back(id);
        }
        return graph_.Apply("LabelEncoder", {cells.values},
                            {{"keys_strings", words}, {"values_int64s", ids}, {"default_int64", feature.unknown_id}},
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
    PEPNET_ASSIGN_OR_RETURN(const std::vector<double> thresholds, RawThresholds(feature));
    const Value limits = graph_.Doubles({static_cast<int64_t>(thresholds.size())}, thresholds);
    const Value reached = graph_.Apply("GreaterOrEqual", {graph_.Apply("Unsqueeze", {x, Axes({2})}), limits});
    const Value bucket =
        graph_.Apply("ReduceSum", {graph_.Cast(reached, Type::kInt64), Axes({2})}, {{"keepdims", int64_t{0}}});
    if (feature.normalizer.kind != NormalizerKind::kLog10) return bucket;
    const std::vector<double>& b = feature.boundaries;
    const int64_t below = std::upper_bound(b.begin(), b.end(), feature.normalizer.b) - b.begin();
    return graph_.Apply("Where", {graph_.Apply("Greater", {x, Real(feature.normalizer.a)}), bucket, Scalar(below)});
  }

  const JobConfig& config_;
  const FeatureEncoder& encoder_;
  OnnxGraph& graph_;
  std::map<int, std::string> inputs_;   // feature -> input
  std::map<std::string, Cells> cells_;  // by input
  std::map<int64_t, Value> scalars_, axes_;
  std::map<float, Value> numbers_;
};

}  // namespace

std::vector<OnnxInput> OnnxInputs(const JobConfig& config) {
  std::map<std::string, std::string> kinds;  // by column; "" if features disagree
  for (const Feature& feature : config.features) {
    if (!feature.in_group) continue;
    const auto [found, is_new] = kinds.emplace(feature.column, InputKind(feature));
    if (!is_new && found->second != InputKind(feature)) found->second.clear();
  }
  std::vector<OnnxInput> inputs;
  for (size_t f = 0; f < config.features.size(); ++f) {
    const Feature& feature = config.features[f];
    if (!feature.in_group) continue;
    const bool shared = !kinds.at(feature.column).empty();
    inputs.push_back({static_cast<int>(f), shared ? feature.column : feature.name, InputType(feature)});
  }
  return inputs;
}

StatusOr<std::vector<double>> RawThresholds(const Feature& feature) {
  const Normalizer& g = feature.normalizer;
  const bool decreasing =
      (g.kind == NormalizerKind::kZscore && g.b < 0) || (g.kind == NormalizerKind::kMinmax && g.b < g.a);
  if (decreasing || (g.kind == NormalizerKind::kLog10 && g.a < 0)) {
    return InvalidInput("feature '", feature.name, "': boundaries behind a normalizer that ",
                        decreasing ? "decreases" : "takes logarithms of negative numbers",
                        " cannot be exported as onnx");
  }
  // log10 is asked for values above its threshold alone.
  const double lowest =
      g.kind == NormalizerKind::kLog10 ? std::nextafter(g.a, kInfinity) : std::numeric_limits<double>::lowest();
  std::vector<double> thresholds;
  for (const double boundary : feature.boundaries) {
    int64_t low = Ordered(lowest), high = Ordered(kInfinity);
    while (low < high) {  // the answer is in [low, high]
      const int64_t middle = low + static_cast<int64_t>((static_cast<uint64_t>(high) - static_cast<uint64_t>(low)) / 2);
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

StatusOr<std::vector<Value>> AddFeatures(const JobConfig& config, const FeatureEncoder& encoder,
                                         const TableSource& tables, OnnxGraph* graph) {
  FeatureGraph features(config, encoder, graph);
  features.DeclareInputs();
  std::vector<Value> values(config.features.size());
  for (size_t f = 0; f < config.features.size(); ++f) {
    const Feature& feature = config.features[f];
    if (!feature.in_group || feature.table >= 0) continue;
    PEPNET_ASSIGN_OR_RETURN(values[f], features.Raw(static_cast<int>(f)));
  }
  for (size_t t = 0; t < config.tables.size(); ++t) {
    const Table& table = config.tables[t];
    PEPNET_ASSIGN_OR_RETURN(const AlignedBuffer<float> rows, tables(table));
    PEPNET_ASSIGN_OR_RETURN(const Value constant, graph->Floats(TableParameterName(table.name), {table.rows, table.dim},
                                                                {rows.data(), rows.size()}));
    for (size_t f = 0; f < config.features.size(); ++f) {
      if (!config.features[f].in_group || config.features[f].table != static_cast<int>(t)) continue;
      PEPNET_ASSIGN_OR_RETURN(values[f], features.Lookup(static_cast<int>(f), constant, rows));
    }
  }
  return values;
}

}  // namespace pepnet
