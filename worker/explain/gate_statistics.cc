#include "worker/explain/gate_statistics.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log_functions.h"
#include "worker/explain/feature_importance.h"
#include "worker/sparse/forward_inputs.h"

namespace pepnet {
namespace {

// y = W x + b of a layer of the network.
struct Linear {
  std::span<const float> weight, bias;
  size_t in = 0, out = 0;

  void Apply(const float* x, std::vector<float>* y) const {
    // Plain loops in the order of the columns are enough for kGateRows rows, and independent of the
    // engine that is explained.
    y->assign(bias.begin(), bias.end());
    for (size_t o = 0; o < out; ++o) {
      float sum = 0;
      for (size_t i = 0; i < in; ++i) sum += weight[o * in + i] * x[i];
      (*y)[o] += sum;
    }
  }
};

// The layer of a module by its names (docs/spec.md section 7); the shape of a weight is [out, in].
Linear LayerOf(const DenseParameters& parameters, const std::string& module) {
  const int weight = parameters.Find(module + ".weight"), bias = parameters.Find(module + ".bias");
  CheckOrDie(weight >= 0 && bias >= 0, "the parameter list lacks " + module);
  const std::vector<int64_t>& shape = parameters.specs()[weight].shape;
  return {parameters.value(weight), parameters.value(bias), static_cast<size_t>(shape[1]),
          static_cast<size_t>(shape[0])};
}

// gamma * sigmoid(second(relu(first(x)))) (spec 1).
class Gate {
 public:
  Gate(const DenseParameters& parameters, const std::string& module, double gamma)
      : first_(LayerOf(parameters, module + ".dense_layers.0")),
        second_(LayerOf(parameters, module + ".dense_layers.2")),
        gamma_(gamma) {}

  double gamma() const { return gamma_; }
  size_t width() const { return second_.out; }
  // Valid until the next call.
  const std::vector<float>& Of(const std::vector<float>& x) {
    // A gate of another width means that the parameters and the config are of two models.
    CheckOrDie(x.size() == first_.in, "a gate's input has another width");
    first_.Apply(x.data(), &hidden_);
    for (float& value : hidden_) value = std::max(value, 0.0f);
    second_.Apply(hidden_.data(), &gate_);
    for (float& value : gate_) {
      value = static_cast<float>(gamma_ / (1 + std::exp(-static_cast<double>(value))));
    }
    return gate_;
  }

 private:
  Linear first_, second_;
  double gamma_;
  std::vector<float> hidden_, gate_;
};

// Columns [begin, end) of one gate, summed over rows.
class Part {
 public:
  Part(GateStatistic named, size_t begin, size_t end)
      : result_(std::move(named)), begin_(begin), sums_(end - begin), squares_(end - begin) {}

  // Sums in double, in the order of the rows, on one worker: the numbers depend on rows and weights
  // alone.
  void Add(const std::vector<float>& gates, int64_t domain) {
    double from_one = 0;
    for (size_t i = 0; i < sums_.size(); ++i) {
      const double gate = gates[begin_ + i];
      sums_[i] += gate;
      squares_[i] += gate * gate;
      from_one += std::fabs(gate - 1);
      off_ += gate < kEdge * result_.gamma ? 1 : 0;
      full_ += gate > (1 - kEdge) * result_.gamma ? 1 : 0;
    }
    from_one_ += from_one;
    auto& [rows, sum] = domains_[domain];
    ++rows;
    sum += from_one / static_cast<double>(sums_.size());
  }

  GateStatistic Result(const JobConfig& config, int64_t rows) const {
    GateStatistic result = result_;
    const auto columns = static_cast<double>(sums_.size()), count = static_cast<double>(rows);
    result.columns = static_cast<int>(sums_.size());
    for (size_t i = 0; i < sums_.size(); ++i) {
      const double mean = sums_[i] / count;
      result.mean += mean / columns;
      // The variance is E[x^2] - E[x]^2; rounding may leave a little less than nothing.
      result.varies += std::sqrt(std::max(0.0, squares_[i] / count - mean * mean)) / columns;
    }
    result.from_one = from_one_ / (columns * count);
    result.off = static_cast<double>(off_) / (columns * count);
    result.full = static_cast<double>(full_) / (columns * count);
    std::vector<std::pair<int64_t, std::pair<int64_t, double>>> domains(domains_.begin(),
                                                                        domains_.end());
    std::stable_sort(domains.begin(), domains.end(),
                     [](const auto& a, const auto& b) { return a.second.first > b.second.first; });
    for (const auto& [key, sum] : domains) {
      if (key < 0) continue;  // rows without a domain
      result.domains.push_back(
          {DomainName(config, key), sum.second / static_cast<double>(sum.first)});
    }
    return result;
  }

 private:
  GateStatistic result_;
  size_t begin_;
  std::vector<double> sums_, squares_;  // by column
  double from_one_ = 0;
  int64_t off_ = 0, full_ = 0;
  // rows, and the sum of |gate - 1| averaged over columns
  std::map<int64_t, std::pair<int64_t, double>> domains_;
};

// A gate with the parts of its output that are told apart: EPNet's by feature, as it scales the
// columns of the main group; PPNet's as a whole.
struct GateParts {
  Gate gate;
  bool reads_uia = false;  // else the domain group
  std::vector<Part> parts;
};

// The gates in the order of the report: EPNet, then PPNet by task and layer.
std::vector<GateParts> PartsOf(const JobConfig& config, const DenseParameters& parameters) {
  const Model& model = config.model;
  std::vector<GateParts> list;
  if (model.domain.has_value()) {
    GateParts epnet{Gate(parameters, "model.epnet.gate_nu", model.epnet_gamma), false, {}};
    size_t column = 0;
    const auto add = [&](const std::string& name, int width) {
      epnet.parts.push_back(Part({"epnet", "", name, model.epnet_gamma}, column, column + width));
      column += width;
    };
    for (const int l : model.main.leaves) {
      const Leaf& leaf = config.leaves[l];
      add(config.features[leaf.feature].name,
          leaf.embedding < 0 ? leaf.dim : model.embeddings[leaf.embedding].width);
    }
    for (const int e : model.main.encoders) {
      const Encoder& encoder = model.encoders[e];
      add(absl::StrCat(TypeOf(encoder.kind).name, " of ",
                       model.sequence_groups[encoder.sequence_group].name),
          encoder.width);
    }
    // The parts are in the order of the group's columns, which is what the gate multiplies.
    CheckOrDie(column == epnet.gate.width(),
               "the main group and EPNet's gate have different widths");
    list.push_back(std::move(epnet));
  }
  if (!model.uia.has_value()) return list;
  const size_t layers = model.ppnet_hidden_units.size();
  for (size_t task = 0; task < model.towers.size(); ++task) {
    for (size_t layer = 0; layer < layers; ++layer) {
      GateParts ppnet{Gate(parameters, absl::StrCat("model.ppnet.gate_nus.", task * layers + layer),
                           model.ppnet_gamma),
                      true,
                      {}};
      ppnet.parts.push_back(
          Part({"ppnet", model.towers[task].name, absl::StrCat("layer ", layer), model.ppnet_gamma},
               0, ppnet.gate.width()));
      list.push_back(std::move(ppnet));
    }
  }
  return list;
}

}  // namespace

StatusOr<GateStatistics> MeasureGates(const WorkerContext& context, const InferenceModel& inference,
                                      RowBlocks* rows) {
  const RankStatus::Phase phase(context.status(), "gates");
  const JobConfig& config = *context.config;
  GateStatistics statistics;
  statistics.domain_column = DomainColumn(config);
  std::vector<GateParts> gates = PartsOf(config, *inference.parameters);
  if (gates.empty()) return statistics;
  ForwardInputs inputs(&config);
  for (size_t block = 0; block < rows->blocks.size() && statistics.rows < kGateRows; ++block) {
    const std::vector<int64_t> keys = DomainKeys(config, rows->blocks[block]);
    PreparedBatch prepared;
    prepared.batch = std::move(rows->blocks[block]);
    const Status run = [&]() -> Status {
      prepared.ids = FindUniqueIds(config, prepared.batch);
      PEPNET_ASSIGN_OR_RETURN(
          prepared.ticket,
          context.client->StartPull(prepared.ids, inference.finished_steps, /*read_only=*/true));
      PEPNET_ASSIGN_OR_RETURN(const ModelInput* input, inputs.Make(prepared, context.client));
      return inference.model->Forward(*input, nullptr).status();
    }();
    rows->blocks[block] = std::move(prepared.batch);
    PEPNET_RETURN_IF_ERROR(run);
    std::map<std::string, ModelOutput> layers;
    for (ModelOutput& layer : inference.model->intermediates()) {
      layers[layer.name] = std::move(layer);
    }
    const ModelOutput& main = layers["group_all"];
    // PPNet's gates read E, the output of EPNet, or the main group where there is no EPNet.
    const ModelOutput& shared = config.model.domain.has_value() ? layers["epnet_output"] : main;
    for (int64_t row = 0; row < rows->blocks[block].rows && statistics.rows < kGateRows;
         ++row, ++statistics.rows) {
      // [domain ; main] and [uia ; shared], as the gates read them.
      const auto joined = [&](const ModelOutput& a, const ModelOutput& b) {
        std::vector<float> x(a.values.begin() + row * a.width,
                             a.values.begin() + (row + 1) * a.width);
        x.insert(x.end(), b.values.begin() + row * b.width, b.values.begin() + (row + 1) * b.width);
        return x;
      };
      for (GateParts& gate : gates) {
        const std::vector<float>& values =
            gate.gate.Of(gate.reads_uia ? joined(layers["group_uia"], shared)
                                        : joined(layers["group_domain"], main));
        for (Part& part : gate.parts) part.Add(values, keys.empty() ? -1 : keys[row]);
      }
    }
  }
  for (const GateParts& gate : gates) {
    for (const Part& part : gate.parts) {
      statistics.gates.push_back(part.Result(config, statistics.rows));
    }
  }
  return statistics;
}

}  // namespace pepnet
