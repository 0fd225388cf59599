#include "cli/export/onnx/network.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/export/onnx/encoders.h"
#include "cli/export/onnx/layers.h"
#include "worker/model/output_rules.h"

namespace pepnet {
namespace {

using Value = OnnxGraph::Value;

// The formulas are those of docs/spec.md section 1, for one batch. Dropout is left out: it does
// nothing when a model serves.
class NetworkGraph {
 public:
  NetworkGraph(const JobConfig& config, OnnxLayers* layers)
      : model_(config.model), layers_(*layers), graph_(layers->graph()) {}

  StatusOr<Value> Group(const FeatureGroup& group, const std::vector<OnnxLeaf>& leaves,
                        const std::vector<Value>& encoded) {
    std::vector<Value> columns;
    for (const int leaf : group.leaves) columns.push_back(leaves[leaf].values);
    for (const int encoder : group.encoders) columns.push_back(encoded[encoder]);
    if (group.variational) {  // worker/model/variational_dropout.h: each source times 1 - sigma(w)
      PEPNET_ASSIGN_OR_RETURN(const Value weights, layers_.Parameter(group.variational->parameter));
      const Value kept =
          graph_.Apply("Sub", {layers_.Number(1.0f), graph_.Apply("Sigmoid", {weights})});
      for (size_t s = 0; s < columns.size(); ++s) {
        const int64_t place = static_cast<int64_t>(s);
        columns[s] = graph_.Apply(
            "Mul", {columns[s], graph_.Apply("Gather", {kept, graph_.Integers({}, {&place, 1})})});
      }
    }
    return layers_.Concat(columns, 1);
  }

  // common/job_config/dense_embedding.h; x [batch, values].
  StatusOr<Value> Embedding(const DenseEmbedding& embedding, const Value& x) {
    PEPNET_ASSIGN_OR_RETURN(const Value projection, layers_.Parameter(embedding.projection));
    if (embedding.kind == DenseEmbeddingKind::kMlp) {
      return graph_.Apply(embedding.values == 1 ? "Mul" : "MatMul", {x, projection});
    }
    PEPNET_ASSIGN_OR_RETURN(const Value mixing, layers_.Parameter(embedding.mixing));
    PEPNET_ASSIGN_OR_RETURN(const Value meta, layers_.Parameter(embedding.meta));
    const Value h = graph_.Apply("LeakyRelu", {graph_.Apply("Mul", {x, projection})},
                                 {{"alpha", static_cast<float>(DenseEmbedding::kSlope)}});
    const Value mixed = graph_.Apply("MatMul", {h, graph_.Apply("Transpose", {mixing})});
    const Value kept =
        graph_.Apply("Mul", {h, layers_.Number(static_cast<float>(embedding.keep_prob))});
    const Value z =
        graph_.Apply("Div", {graph_.Apply("Add", {mixed, kept}),
                             layers_.Number(static_cast<float>(embedding.temperature))});
    return graph_.Apply("MatMul", {graph_.Apply("Softmax", {z}, {{"axis", int64_t{1}}}), meta});
  }

  // gamma * sigma(W2 relu(W1 x + b1) + b2)
  StatusOr<Value> Gate(const std::string& module, const Value& x, double gamma) {
    PEPNET_ASSIGN_OR_RETURN(const Value first, layers_.Linear(module + ".dense_layers.0", x));
    PEPNET_ASSIGN_OR_RETURN(const Value second, layers_.Linear(module + ".dense_layers.2",
                                                               graph_.Apply("Relu", {first})));
    return graph_.Apply(
        "Mul", {graph_.Apply("Sigmoid", {second}), layers_.Number(static_cast<float>(gamma))});
  }

  StatusOr<Value> Ppnet(size_t task, const Value& shared, const Value& gate_input) {
    // The reference numbers the layers of all tasks in one list: k = task * layers + layer.
    const size_t layers = model_.ppnet_hidden_units.size();
    Value x = shared;
    for (size_t layer = 0; layer < layers; ++layer) {
      const std::string k = absl::StrCat(task * layers + layer);
      PEPNET_ASSIGN_OR_RETURN(const Value linear, layers_.Linear("model.ppnet.linears." + k, x));
      PEPNET_ASSIGN_OR_RETURN(
          const Value active,
          layers_.Activate("model.ppnet.activations." + k, model_.ppnet_activation, linear));
      PEPNET_ASSIGN_OR_RETURN(const Value gate,
                              Gate("model.ppnet.gate_nus." + k, gate_input, model_.ppnet_gamma));
      x = graph_.Apply("Mul", {active, gate});
    }
    return x;
  }

  // [batch, num_class]: the raw output of tower i (task * domain_count + domain).
  StatusOr<Value> TowerOutput(size_t i, Value x) {
    const std::optional<Mlp>& mlp = model_.towers[i / model_.domain_count].mlp;
    const std::string module = absl::StrCat("model._task_tower.", i);
    if (mlp.has_value()) {
      PEPNET_ASSIGN_OR_RETURN(x, layers_.HiddenLayers(module + ".tower_mlp.mlp", *mlp, x));
    }
    return layers_.Linear(module + ".linear", x);
  }

  // Adds the outputs of each row's own domain, of `values` by rule, each [batch]: a domain's tower
  // has one class.
  Status ChooseOwnDomain(const JobConfig& config, const std::vector<Value>& values,
                         std::map<std::string, std::pair<Value, int>>* outputs) {
    PEPNET_ASSIGN_OR_RETURN(const std::vector<OwnDomainOutput> own_outputs,
                            OwnDomainOutputs(config));
    const Value domain =
        graph_.Input(OwnDomainInput(config), OnnxGraph::Type::kInt64, {{"batch", 0}},
                     absl::StrCat("the row's domain, 0 to ", model_.domain_count - 1));
    // GatherElements counts negative numbers from the end; here they must be as wrong as numbers
    // that are too large.
    const Value is_negative = graph_.Apply("Less", {domain, layers_.Scalar(0)});
    const Value checked =
        graph_.Apply("Where", {is_negative, layers_.Scalar(model_.domain_count), domain});
    const Value place = layers_.Unsqueeze(checked, 1);
    for (const OwnDomainOutput& own : own_outputs) {
      std::vector<Value> columns;
      for (const int output : own.outputs) columns.push_back(layers_.Unsqueeze(values[output], 1));
      const Value chosen = graph_.Apply("GatherElements", {layers_.Concat(columns, 1), place},
                                        {{"axis", int64_t{1}}});
      (*outputs)[own.name] = {Squeezed(chosen), own.width};
    }
    return absl::OkStatus();
  }

  // Softmax and column 1 keep the class axis or take one of it; the others drop it where there is
  // one class.
  Value Rule(const OutputRule& rule, const Value& z) {
    switch (rule.kind) {
      case OutputRule::Kind::kRaw:
        return rule.width == 0 ? Squeezed(z) : z;
      case OutputRule::Kind::kSigmoid:
        return Squeezed(graph_.Apply("Sigmoid", {z}));
      case OutputRule::Kind::kSoftmax:
        return graph_.Apply("Softmax", {z}, {{"axis", int64_t{1}}});
      case OutputRule::Kind::kSoftmaxColumn1: {
        const int64_t one = 1;
        const Value all = graph_.Apply("Softmax", {z}, {{"axis", int64_t{1}}});
        return graph_.Apply("Gather", {all, graph_.Integers({}, {&one, 1})},
                            {{"axis", int64_t{1}}});
      }
    }
    return z;
  }

 private:
  Value Squeezed(const Value& z) {
    const int64_t axis = 1;
    return graph_.Apply("Squeeze", {z, graph_.Integers({1}, {&axis, 1})});
  }
  const Model& model_;
  OnnxLayers& layers_;
  OnnxGraph& graph_;
};

}  // namespace

Status AddNetwork(const JobConfig& config, const DenseParameters& parameters,
                  const std::vector<OnnxLeaf>& leaves, bool own_domain, OnnxGraph* graph) {
  const Model& model = config.model;
  OnnxLayers layers(parameters, graph);
  PEPNET_ASSIGN_OR_RETURN(const std::vector<Value> encoded, AddEncoders(config, leaves, &layers));
  NetworkGraph network(config, &layers);
  // Sequence encoders read the leaves themselves, groups the dense embeddings of raw features;
  // hence two lists.
  std::vector<OnnxLeaf> listed = leaves;  // as groups read them
  for (const DenseEmbedding& embedding : model.embeddings) {
    graph->BeginPart(config.features[config.leaves[embedding.leaf].feature].name);
    PEPNET_ASSIGN_OR_RETURN(listed[embedding.leaf].values,
                            network.Embedding(embedding, leaves[embedding.leaf].values));
  }
  // sg() of the spec concerns gradients only and leaves no trace here: `shared` is M first, and E
  // behind EPNet.
  graph->BeginPart("embedding");
  PEPNET_ASSIGN_OR_RETURN(Value shared, network.Group(model.main, listed, encoded));
  if (model.domain.has_value()) {
    graph->BeginPart("epnet");
    PEPNET_ASSIGN_OR_RETURN(const Value domain, network.Group(*model.domain, listed, encoded));
    const Value input = layers.Concat({domain, shared}, 1);
    PEPNET_ASSIGN_OR_RETURN(const Value gate,
                            network.Gate("model.epnet.gate_nu", input, model.epnet_gamma));
    shared = graph->Apply("Mul", {gate, shared});
  }
  std::vector<Value> tasks(model.towers.size(), shared);
  if (model.uia.has_value()) {
    graph->BeginPart("ppnet");
    PEPNET_ASSIGN_OR_RETURN(const Value uia, network.Group(*model.uia, listed, encoded));
    const Value gate_input = layers.Concat({uia, shared}, 1);
    for (size_t task = 0; task < tasks.size(); ++task) {
      graph->BeginPart("ppnet/" + model.towers[task].name);
      PEPNET_ASSIGN_OR_RETURN(tasks[task], network.Ppnet(task, shared, gate_input));
    }
  }
  std::vector<Value> raw;
  for (size_t i = 0; i < model.towers.size() * model.domain_count; ++i) {
    graph->BeginPart("tower/" + model.towers[i / model.domain_count].name);
    PEPNET_ASSIGN_OR_RETURN(raw.emplace_back(),
                            network.TowerOutput(i, tasks[i / model.domain_count]));
  }
  const auto declare = [&](const std::string& name, const Value& value, int width) {
    OnnxGraph::Shape shape = {{"batch", 0}};
    if (width > 0) shape.push_back({"", width});
    graph->Output(value, name, OnnxGraph::Type::kFloat, shape);
  };
  std::vector<Value> values;                             // by rule
  std::map<std::string, std::pair<Value, int>> outputs;  // with their widths
  graph->BeginPart("outputs");
  for (const OutputRule& rule : OutputRules(config)) {
    values.push_back(network.Rule(rule, raw[rule.tower]));
    outputs[rule.name] = {values.back(), rule.width};
    // A graph without the domain stays as it was.
    if (!own_domain) declare(rule.name, values.back(), rule.width);
  }
  if (!own_domain) return absl::OkStatus();
  PEPNET_RETURN_IF_ERROR(network.ChooseOwnDomain(config, values, &outputs));
  for (const auto& [name, output] : outputs) declare(name, output.first, output.second);
  return absl::OkStatus();
}

std::string OwnDomainInput(const JobConfig& config) {
  const std::string& column = config.data.labels[config.model.domain_label];
  for (const OnnxInput& input : OnnxInputs(config)) {
    if (input.name == column) return column + ".domain";
  }
  return column;
}

}  // namespace pepnet
