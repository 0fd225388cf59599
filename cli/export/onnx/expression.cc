#include "cli/export/onnx/expression.h"

#include <algorithm>
#include <numbers>
#include <string>
#include <string_view>
#include <vector>

namespace pepnet {
namespace {

using Value = OnnxGraph::Value;
using Type = OnnxGraph::Type;

// The operators of one formula.
class FormulaGraph {
 public:
  explicit FormulaGraph(OnnxGraph* graph) : graph_(*graph) {}

  Value Number(double x) { return graph_.Doubles({}, {&x, 1}); }

  // Most functions are one ONNX operator, named by their description; the others are built here
  // from operators that runtimes compute in double. Truth is 1.0 or 0.0, as in the evaluator, so
  // comparisons are cast back.
  StatusOr<Value> Call(const ExpressionFunction& function, const std::vector<Value>& in) {
    const std::string_view name = function.name;
    if (function.onnx != nullptr) {
      const Value out = graph_.Apply(function.onnx, in);
      const bool is_truth = name == "isnan" || name == "<=" || name == ">=" || name == "==" ||
                            name == ">" || name == "<";
      return is_truth ? graph_.Cast(out, Type::kDouble) : out;
    }
    if (name == "!=") return Truth(graph_.Apply("Not", {graph_.Apply("Equal", in)}));
    if (name == "&&") return Truth(graph_.Apply("And", {IsNotZero(in[0]), IsNotZero(in[1])}));
    if (name == "||") return Truth(graph_.Apply("Or", {IsNotZero(in[0]), IsNotZero(in[1])}));
    if (name == "?:") return graph_.Apply("Where", {IsNotZero(in[0]), in[1], in[2]});
    if (name == "log2") {
      return graph_.Apply("Div", {graph_.Apply("Log", in), Number(std::numbers::ln2)});
    }
    if (name == "log10") {
      return graph_.Apply("Div", {graph_.Apply("Log", in), Number(std::numbers::ln10)});
    }
    if (name == "avg") {
      return graph_.Apply("Div", {graph_.Apply("Sum", in), Number(static_cast<double>(in.size()))});
    }
    if (name == "mod") return graph_.Apply("Mod", in, {{"fmod", int64_t{1}}});
    if (name == "tan") {
      return graph_.Apply("Div", {graph_.Apply("Sin", in), graph_.Apply("Cos", in)});
    }
    // Truncation goes toward zero: it is the floor of the size, with the sign put back.
    if (name == "trunc") return Signed(in[0], graph_.Apply("Floor", {graph_.Apply("Abs", in)}));
    if (name == "round") {  // |x| + 0.5 would round itself
      const Value size = graph_.Apply("Abs", in), below = graph_.Apply("Floor", {size});
      const Value rises =
          graph_.Apply("GreaterOrEqual", {graph_.Apply("Sub", {size, below}), Number(0.5)});
      return Signed(in[0], graph_.Apply("Add", {below, Truth(rises)}));
    }
    return InvalidInput("uses ", name == "-x" ? "-" : std::string(name),
                        ", which model.onnx cannot compute in double; leave onnx out of --format, "
                        "or compute the value "
                        "beforehand");
  }

 private:
  Value IsNotZero(const Value& x) {
    return graph_.Apply("Not", {graph_.Apply("Equal", {x, Number(0)})});
  }
  Value Truth(const Value& x) { return graph_.Cast(x, Type::kDouble); }
  Value Signed(const Value& sign, const Value& size) {
    return graph_.Apply("Mul", {graph_.Apply("Sign", {sign}), size});
  }

  OnnxGraph& graph_;
};

}  // namespace

StatusOr<Value> AddExpression(const Expression& expression, std::span<const Value> variables,
                              OnnxGraph* graph) {
  FormulaGraph formula(graph);
  // Nodes stand behind their arguments, so one pass makes them all and the last one is the result.
  std::vector<Value> values;
  for (const Expression::Node& node : expression.nodes()) {
    switch (node.kind) {
      case Expression::Node::Kind::kNumber:
        values.push_back(formula.Number(node.number));
        break;
      case Expression::Node::Kind::kVariable:
        values.push_back(variables[node.variable]);
        break;
      case Expression::Node::Kind::kCall: {
        std::vector<Value> in;
        for (const int argument : node.arguments) in.push_back(values[argument]);
        PEPNET_ASSIGN_OR_RETURN(values.emplace_back(), formula.Call(*node.function, in));
        break;
      }
    }
  }
  const bool has_variable = std::any_of(
      expression.nodes().begin(), expression.nodes().end(),
      [](const Expression::Node& node) { return node.kind == Expression::Node::Kind::kVariable; });
  if (has_variable) return values.back();
  // One number, which gets the variables' shape.
  const Value nothing = graph->Apply("Mul", {variables[0], formula.Number(0)});
  return graph->Apply("Add", {values.back(), nothing});
}

}  // namespace pepnet
