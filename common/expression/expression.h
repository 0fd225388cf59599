// Expression: a formula over named numbers (docs/expressions.md), parsed once and computed for
// every cell.
//
// Threads:   immutable; any number of threads may compute with one. Ownership: copies share the
//            parsed formula.
// Values:    all in double, in the order in which the formula is written; no result depends on the
//            machine beyond what its mathematical library does.
// Limits:    a formula has at most kMaxLength characters and kMaxNodes parts, kMaxDepth within one
//            another.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/expression/function.h"

namespace pepnet {

class Expression {
 public:
  static constexpr size_t kMaxLength = 4096, kMaxNodes = 1024;
  static constexpr int kMaxDepth = 100;

  // A part of a formula. The arguments of a part stand before it, so that one pass over the parts
  // computes it; the last part is the whole.
  struct Node {
    enum class Kind { kNumber, kVariable, kCall };
    Kind kind = Kind::kNumber;
    double number = 0;                             // of kNumber
    int variable = 0;                              // of kVariable: index into variables()
    const ExpressionFunction* function = nullptr;  // of kCall
    std::vector<int> arguments;                    // of kCall: numbers of parts
  };

  // An expression that computes nothing, to be assigned to.
  Expression() = default;
  // Error: a text that is no formula over `variables`; the message gives the column, counted from
  // 1.
  static StatusOr<Expression> Parse(std::string_view text, std::vector<std::string> variables);

  // One value per variable. Precondition: parsed, and !reads_cells().
  double Compute(std::span<const double> values) const;
  // A whole cell per variable, each with one value or more. A cell of one value counts for every
  // place of the others; where two longer ones differ in length, `fill` stands for what the shorter
  // lacks. *out gets one value per place.
  void ComputeCells(std::span<const std::span<const double>> cells, double fill,
                    std::vector<double>* out) const;
  // Whether it holds a function of whole cells.
  bool reads_cells() const;

  bool empty() const { return program_ == nullptr; }
  const std::string& text() const { return program_->text; }
  const std::vector<std::string>& variables() const { return program_->variables; }
  const std::vector<Node>& nodes() const { return program_->nodes; }

 private:
  struct Program {
    std::string text;
    std::vector<std::string> variables;
    std::vector<Node> nodes;
  };
  class Parser;

  std::shared_ptr<const Program> program_;
};

}  // namespace pepnet
