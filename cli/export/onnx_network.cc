#include "cli/export/onnx_network.h"

#include "absl/strings/str_cat.h"
#include "worker/model/output_rules.h"

namespace pepnet {
namespace {

using Value = OnnxGraph::Value;

class NetworkGraph {
 public:
  NetworkGraph(const JobConfig& config, const DenseParameters& parameters, OnnxGraph* graph)
      : model_(config.model), parameters_(parameters), graph_(*graph) {}

  Value Group(const FeatureGroup& group, const std::vector<Value>& features) {
    std::vector<Value> columns;
    for (const int f : group.features) columns.push_back(features[f]);
    return Concat(columns);
  }

  Value Concat(const std::vector<Value>& values) { return graph_.Apply("Concat", values, {{"axis", int64_t{1}}}); }

  // gamma * sigma(W2 relu(W1 x + b1) + b2)
  StatusOr<Value> Gate(const std::string& module, const Value& x, double gamma) {
    PEPNET_ASSIGN_OR_RETURN(const Value first, Linear(module + ".dense_layers.0", x));
    PEPNET_ASSIGN_OR_RETURN(const Value second, Linear(module + ".dense_layers.2", graph_.Apply("Relu", {first})));
    PEPNET_ASSIGN_OR_RETURN(const Value scale, Number(static_cast<float>(gamma)));
    return graph_.Apply("Mul", {graph_.Apply("Sigmoid", {second}), scale});
  }

  StatusOr<Value> Linear(const std::string& module, const Value& x) {
    std::vector<Value> inputs = {x};
    PEPNET_ASSIGN_OR_RETURN(inputs.emplace_back(), Parameter(module + ".weight"));
    if (parameters_.Find(module + ".bias") >= 0) {
      PEPNET_ASSIGN_OR_RETURN(inputs.emplace_back(), Parameter(module + ".bias"));
    }
    return graph_.Apply("Gemm", inputs, {{"transB", int64_t{1}}});
  }

  StatusOr<Value> Activate(const std::string& module, const Activation& activation, const Value& x) {
    const ActivationType& type = TypeOf(activation.kind);
    std::vector<Value> constants, made;
    for (const float constant : type.onnx_constants) {
      PEPNET_ASSIGN_OR_RETURN(constants.emplace_back(), Number(constant));
    }
    for (const OnnxNode& node : type.onnx) {
      std::vector<Value> inputs;
      for (const char* input = node.inputs; *input != '\0'; ++input) {
        if (*input == 'x') {
          inputs.push_back(x);
        } else if (*input == 'w') {
          PEPNET_ASSIGN_OR_RETURN(inputs.emplace_back(), Parameter(module + ".weight"));
        } else {
          inputs.push_back(*input >= 'A' ? constants.at(*input - 'A') : made.at(*input - '0'));
        }
      }
      if (node.attribute == nullptr) {
        made.push_back(graph_.Apply(node.op, inputs));
      } else {
        made.push_back(graph_.Apply(node.op, inputs, {{node.attribute, static_cast<float>(activation.parameter)}}));
      }
    }
    return made.empty() ? x : made.back();
  }

  StatusOr<Value> Ppnet(size_t task, const Value& shared, const Value& gate_input) {
    const size_t layers = model_.ppnet_hidden_units.size();
    Value x = shared;
    for (size_t layer = 0; layer < layers; ++layer) {
      const std::string k = absl::StrCat(task * layers + layer);
      PEPNET_ASSIGN_OR_RETURN(const Value linear, Linear("model.ppnet.linears." + k, x));
      PEPNET_ASSIGN_OR_RETURN(const Value active,
                              Activate("model.ppnet.activations." + k, model_.ppnet_activation, linear));
      PEPNET_ASSIGN_OR_RETURN(const Value gate, Gate("model.ppnet.gate_nus." + k, gate_input, model_.ppnet_gamma));
      x = graph_.Apply("Mul", {active, gate});
    }
    return x;
  }

  // [batch, num_class]: the raw output of tower i (task * domain_count + domain).
  StatusOr<Value> TowerOutput(size_t i, Value x) {
    const std::optional<Mlp>& mlp = model_.towers[i / model_.domain_count].mlp;
    const std::string module = absl::StrCat("model._task_tower.", i);
    for (size_t layer = 0; mlp.has_value() && layer < mlp->hidden_units.size(); ++layer) {
      const std::string perceptron = absl::StrCat(module, ".tower_mlp.mlp.", layer, ".perceptron.");
      PEPNET_ASSIGN_OR_RETURN(x, Linear(perceptron + "0", x));
      if (mlp->use_ln) {
        PEPNET_ASSIGN_OR_RETURN(const Value scale, Parameter(perceptron + "1.weight"));
        PEPNET_ASSIGN_OR_RETURN(const Value bias, Parameter(perceptron + "1.bias"));
        x = graph_.Apply("LayerNormalization", {x, scale, bias}, {{"epsilon", 1e-5f}});
      }
      PEPNET_ASSIGN_OR_RETURN(x, Activate(perceptron + (mlp->use_ln ? "2" : "1"), mlp->activation, x));
    }
    return Linear(module + ".linear", x);
  }

  // Softmax and column 1 keep the class axis or take one of it; the others drop it where there is one class.
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
        return graph_.Apply("Gather", {all, graph_.Integers({}, {&one, 1})}, {{"axis", int64_t{1}}});
      }
    }
    return z;
  }

 private:
  Value Squeezed(const Value& z) {
    const int64_t axis = 1;
    return graph_.Apply("Squeeze", {z, graph_.Integers({1}, {&axis, 1})});
  }
  StatusOr<Value> Number(float x) { return graph_.Floats("", {}, {&x, 1}); }
  StatusOr<Value> Parameter(const std::string& name) {
    const int i = parameters_.Find(name);
    if (i < 0) return absl::InternalError(absl::StrCat("there is no parameter ", name));
    return graph_.Floats(name, parameters_.specs()[i].shape, parameters_.value(i));
  }

  const Model& model_;
  const DenseParameters& parameters_;
  OnnxGraph& graph_;
};

}  // namespace

Status AddNetwork(const JobConfig& config, const DenseParameters& parameters, const std::vector<Value>& features,
                  OnnxGraph* graph) {
  const Model& model = config.model;
  NetworkGraph network(config, parameters, graph);
  Value shared = network.Group(model.main, features);
  if (model.domain.has_value()) {
    const Value input = network.Concat({network.Group(*model.domain, features), shared});
    PEPNET_ASSIGN_OR_RETURN(const Value gate, network.Gate("model.epnet.gate_nu", input, model.epnet_gamma));
    shared = graph->Apply("Mul", {gate, shared});
  }
  std::vector<Value> tasks(model.towers.size(), shared);
  if (model.uia.has_value()) {
    const Value gate_input = network.Concat({network.Group(*model.uia, features), shared});
    for (size_t task = 0; task < tasks.size(); ++task) {
      PEPNET_ASSIGN_OR_RETURN(tasks[task], network.Ppnet(task, shared, gate_input));
    }
  }
  std::vector<Value> raw;
  for (size_t i = 0; i < model.towers.size() * model.domain_count; ++i) {
    PEPNET_ASSIGN_OR_RETURN(raw.emplace_back(), network.TowerOutput(i, tasks[i / model.domain_count]));
  }
  for (const OutputRule& rule : OutputRules(config)) {
    OnnxGraph::Shape shape = {{"batch", 0}};
    if (rule.width > 0) shape.push_back({"", rule.width});
    graph->Output(network.Rule(rule, raw[rule.tower]), rule.name, OnnxGraph::Type::kFloat, shape);
  }
  return absl::OkStatus();
}

}  // namespace pepnet
