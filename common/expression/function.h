// The functions and operators of expressions: what stands in docs/expressions.md, one entry each.
//
// Threads:   constant data and pure functions.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pepnet {

struct ExpressionFunction {
  const char* name;  // as it is called, or the sign of an operator
  int arity;         // arguments; kAny: one or more
  // Of single values: computed place by place of its arguments. args has `count` numbers.
  double (*of_values)(const double* args, size_t count);
  // Of whole cells: one number for all their values. Not null instead of of_values; lists have one
  // length.
  double (*of_cells)(std::span<const std::span<const double>> cells);
  const char* meaning;  // in docs/expressions.md; "" of an operator that needs no words
  // The ONNX operator that computes the same in double; null: none, or several.
  const char* onnx = nullptr;

  static constexpr int kAny = -1;
};

// Binary and unary operators, and the functions "?:" and "-x" that no name calls.
enum class ExpressionOperator {
  kOr,
  kAnd,
  kBitOr,
  kBitAnd,
  kLessEqual,
  kGreaterEqual,
  kNotEqual,
  kEqual,
  kGreater,
  kLess,
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kPower,
  kNegate,
  kChoose,
};

const ExpressionFunction& OperatorFunction(ExpressionOperator op);

// Null: there is no such function.
const ExpressionFunction* FindFunction(std::string_view name);
std::vector<std::string> FunctionNames();

}  // namespace pepnet
