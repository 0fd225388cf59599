#include "common/expression/expression.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <numbers>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"

#include "common/base/spelling.h"
#include "common/base/text.h"

namespace pepnet {
namespace {

struct BinaryOperator {
  ExpressionOperator op;
  int precedence;  // higher binds tighter

  std::string_view sign() const { return OperatorFunction(op).name; }
};

// Longer signs before those that they begin with.
constexpr BinaryOperator kBinary[] = {
    {ExpressionOperator::kOr, 1},        {ExpressionOperator::kAnd, 2},
    {ExpressionOperator::kBitOr, 3},     {ExpressionOperator::kBitAnd, 4},
    {ExpressionOperator::kLessEqual, 5}, {ExpressionOperator::kGreaterEqual, 5},
    {ExpressionOperator::kNotEqual, 5},  {ExpressionOperator::kEqual, 5},
    {ExpressionOperator::kGreater, 5},   {ExpressionOperator::kLess, 5},
    {ExpressionOperator::kAdd, 6},       {ExpressionOperator::kSubtract, 6},
    {ExpressionOperator::kMultiply, 7},  {ExpressionOperator::kDivide, 7},
    {ExpressionOperator::kPower, 8},
};
// A pair of brackets is four calls of the parser.
constexpr int kMaxCalls = 4 * Expression::kMaxDepth;
constexpr int kPowerPrecedence = 8, kUnaryPrecedence = 7;  // -x^2 is -(x^2)

// Bytes from 0x80 on belong to names: columns may be called in any script.
bool StartsName(char c) {
  return absl::ascii_isalpha(c) || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool ContinuesName(char c) { return StartsName(c) || absl::ascii_isdigit(c); }

}  // namespace

// Recursive descent by precedence. Every level of recursion counts against kMaxCalls. A node is
// added when its arguments are there, so the order of the nodes is that of computing them.
class Expression::Parser {
 public:
  Parser(std::string_view text, Program* program) : text_(text), program_(*program) {}

  Status Parse() {
    PEPNET_RETURN_IF_ERROR(ParseChoice(0).status());
    SkipBlanks();
    if (at_ < text_.size()) return Error("an operator or the end");
    return absl::OkStatus();
  }

 private:
  // condition ? value : value
  StatusOr<int> ParseChoice(int depth) {
    if (depth > kMaxCalls) return TooDeep();
    PEPNET_ASSIGN_OR_RETURN(const int condition, ParseBinary(1, depth + 1));
    if (!Take("?")) return condition;
    PEPNET_ASSIGN_OR_RETURN(const int yes, ParseChoice(depth + 1));
    if (!Take(":")) return Error("':' and the value for 'else'");
    PEPNET_ASSIGN_OR_RETURN(const int no, ParseChoice(depth + 1));
    return AddCall(OperatorFunction(ExpressionOperator::kChoose), {condition, yes, no});
  }

  // Operators of at least this precedence, from left to right; ^ from right to left.
  StatusOr<int> ParseBinary(int precedence, int depth) {
    if (depth > kMaxCalls) return TooDeep();
    PEPNET_ASSIGN_OR_RETURN(int left, ParseUnary(depth + 1));
    for (;;) {
      const BinaryOperator* const found = PeekBinary();
      if (found == nullptr || found->precedence < precedence) return left;
      at_ += found->sign().size();
      // Precedence climbing: the right operand takes operators that bind tighter, so equal ones
      // group from the left, a - b - c as (a - b) - c; only ^ takes its own kind, and groups from
      // the right.
      const int least =
          found->precedence == kPowerPrecedence ? kPowerPrecedence : found->precedence + 1;
      PEPNET_ASSIGN_OR_RETURN(const int right, ParseBinary(least, depth + 1));
      PEPNET_ASSIGN_OR_RETURN(left, AddCall(OperatorFunction(found->op), {left, right}));
    }
  }

  StatusOr<int> ParseUnary(int depth) {
    if (depth > kMaxCalls) return TooDeep();
    SkipBlanks();
    if (Take("+")) return ParseUnary(depth + 1);
    if (!Take("-")) return ParseOperand(depth + 1);
    // The operand may be a power and nothing looser: -x^2 is -(x^2), and -x * y is (-x) * y.
    PEPNET_ASSIGN_OR_RETURN(const int operand, ParseBinary(kUnaryPrecedence + 1, depth + 1));
    return AddCall(OperatorFunction(ExpressionOperator::kNegate), {operand});
  }

  StatusOr<int> ParseOperand(int depth) {
    SkipBlanks();
    if (Take("(")) {
      PEPNET_ASSIGN_OR_RETURN(const int inner, ParseChoice(depth + 1));
      if (!Take(")")) return Error("')'");
      return inner;
    }
    if (at_ == text_.size()) return Error("a number, a variable, a function or '('");
    if (absl::ascii_isdigit(text_[at_]) || text_[at_] == '.') return ParseNumber();
    if (StartsName(text_[at_])) return ParseName(depth + 1);
    return Error("a number, a variable, a function or '('");
  }

  StatusOr<int> ParseNumber() {
    Node node;
    // from_chars() reads with a point whatever the locale, which strtod() would not.
    const auto [end, error] =
        std::from_chars(text_.data() + at_, text_.data() + text_.size(), node.number);
    if (error == std::errc::result_out_of_range) return Error("a number that a double can hold");
    if (error != std::errc()) return Error("a number");
    at_ = end - text_.data();
    return Add(std::move(node));
  }

  // A name is a function where a bracket follows, else a variable or a constant. Variables win over
  // constants, since the config names them.
  StatusOr<int> ParseName(int depth) {
    const size_t start = at_;
    while (at_ < text_.size() && ContinuesName(text_[at_])) ++at_;
    const std::string name(text_.substr(start, at_ - start));
    if (Take("(")) return ParseCall(name, start, depth);
    Node node;
    const auto variable = std::find(program_.variables.begin(), program_.variables.end(), name);
    if (variable != program_.variables.end()) {
      node.kind = Node::Kind::kVariable;
      node.variable = static_cast<int>(variable - program_.variables.begin());
      return Add(std::move(node));
    }
    if (name == "_pi" || name == "_e") {
      node.number = name == "_pi" ? std::numbers::pi : std::numbers::e;
      return Add(std::move(node));
    }
    if (FindFunction(name) != nullptr) {
      return At(start,
                absl::StrCat("the function ", name, " has no arguments; expected ", name, "(...)"));
    }
    std::vector<std::string> known = program_.variables;
    known.insert(known.end(), {"_pi", "_e"});
    return At(start,
              absl::StrCat("\"", Printable(name, 100), "\" is no variable", Suggestion(name, known),
                           "; expected ", absl::StrJoin(known, ", ")));
  }

  StatusOr<int> ParseCall(const std::string& name, size_t start, int depth) {
    if (name == "rnd") {
      return At(start,
                "rnd() draws another number every time, and a training can be repeated; remove it");
    }
    const ExpressionFunction* const function = FindFunction(name);
    if (function == nullptr) {
      return At(start, absl::StrCat("there is no function \"", Printable(name, 100), "\"",
                                    Suggestion(name, FunctionNames()),
                                    "; docs/expressions.md lists them"));
    }
    std::vector<int> arguments;
    if (!Take(")")) {
      do {
        PEPNET_ASSIGN_OR_RETURN(arguments.emplace_back(), ParseChoice(depth + 1));
      } while (Take(","));
      if (!Take(")")) return Error("',' or ')'");
    }
    const bool fits = function->arity == ExpressionFunction::kAny
                          ? !arguments.empty()
                          : static_cast<int>(arguments.size()) == function->arity;
    if (fits) return AddCall(*function, std::move(arguments));
    return At(start, absl::StrCat(name, " has ", arguments.size(), " argument(s); expected ",
                                  function->arity == ExpressionFunction::kAny
                                      ? "1 or more"
                                      : absl::StrCat(function->arity)));
  }

  StatusOr<int> AddCall(const ExpressionFunction& function, std::vector<int> arguments) {
    Node node;
    node.kind = Node::Kind::kCall;
    node.function = &function;
    node.arguments = std::move(arguments);
    return Add(std::move(node));
  }

  StatusOr<int> Add(Node node) {
    // Compute() keeps a double per node on the stack.
    if (program_.nodes.size() == kMaxNodes) {
      return At(at_, absl::StrCat("the formula has more than ", kMaxNodes,
                                  " parts; expected a shorter one"));
    }
    program_.nodes.push_back(std::move(node));
    return static_cast<int>(program_.nodes.size()) - 1;
  }

  // The first sign that fits is taken, hence the order of kBinary.
  const BinaryOperator* PeekBinary() {
    SkipBlanks();
    for (const BinaryOperator& binary : kBinary) {
      if (text_.substr(at_).rfind(binary.sign(), 0) == 0) return &binary;
    }
    return nullptr;
  }

  bool Take(std::string_view sign) {
    SkipBlanks();
    if (text_.substr(at_).rfind(sign, 0) != 0) return false;
    at_ += sign.size();
    return true;
  }

  void SkipBlanks() {
    while (at_ < text_.size() && absl::ascii_isspace(text_[at_])) ++at_;
  }

  Status TooDeep() const {
    return At(at_, absl::StrCat("the formula nests more than ", kMaxDepth,
                                " deep; expected a flatter one"));
  }
  Status Error(std::string_view expected) {
    SkipBlanks();
    const std::string seen =
        at_ == text_.size()
            ? "the end"
            : absl::StrCat("\"", Printable(std::string(text_.substr(at_, 20)), 20), "\"");
    return At(at_, absl::StrCat("found ", seen, "; expected ", std::string(expected)));
  }
  // Columns are counted in bytes, from 1.
  Status At(size_t place, const std::string& what) const {
    return InvalidInput("column ", place + 1, " of \"", Printable(std::string(text_), 200),
                        "\": ", what);
  }

  const std::string_view text_;
  Program& program_;
  size_t at_ = 0;
};

StatusOr<Expression> Expression::Parse(std::string_view text, std::vector<std::string> variables) {
  if (text.size() > kMaxLength) {
    return InvalidInput("the formula has ", text.size(), " characters; expected at most ",
                        kMaxLength);
  }
  auto program = std::make_shared<Program>();
  program->text = std::string(text);
  program->variables = std::move(variables);
  PEPNET_RETURN_IF_ERROR(Parser(program->text, program.get()).Parse());
  Expression expression;
  expression.program_ = std::move(program);
  return expression;
}

bool Expression::reads_cells() const {
  return std::any_of(nodes().begin(), nodes().end(), [](const Node& node) {
    return node.kind == Node::Kind::kCall && node.function->of_cells != nullptr;
  });
}

// One pass over the nodes: arguments stand before their call. No memory is taken but for calls of
// many arguments, since this runs once per cell.
double Expression::Compute(std::span<const double> values) const {
  std::array<double, kMaxNodes> results;  // only the first nodes().size() are written and read
  std::vector<double> many;
  const std::vector<Node>& nodes = program_->nodes;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const Node& node = nodes[i];
    switch (node.kind) {
      case Node::Kind::kNumber:
        results[i] = node.number;
        break;
      case Node::Kind::kVariable:
        results[i] = values[node.variable];
        break;
      case Node::Kind::kCall: {
        // Nearly all functions have a few arguments, which need no memory from the heap for every
        // cell.
        constexpr size_t kFew = 8;
        const size_t count = node.arguments.size();
        std::array<double, kFew> few;
        double* arguments = few.data();
        if (count > kFew) {
          many.resize(count);
          arguments = many.data();
        }
        for (size_t a = 0; a < count; ++a) arguments[a] = results[node.arguments[a]];
        results[i] = node.function->of_values(arguments, count);
        break;
      }
    }
  }
  return results[nodes.size() - 1];
}

// Values are arrays here, of which one of length 1 counts for every place (broadcasting). First the
// lengths of all variables are settled, then the nodes are computed as in Compute().
void Expression::ComputeCells(std::span<const std::span<const double>> cells, double fill,
                              std::vector<double>* out) const {
  const std::vector<Node>& nodes = program_->nodes;
  struct Result {
    std::vector<double> owned;
    std::span<const double> values;  // of a cell, or owned
  };
  std::vector<Result> results(nodes.size());
  std::vector<double> arguments;
  // A variable belongs to the function of cells that is closest around it, or to the whole. As long
  // as the longest variable of its owner, so long is every one.
  const size_t whole = nodes.size();
  std::vector<size_t> owners(nodes.size(), whole), longest_of(nodes.size() + 1, 0);
  // Arguments stand before their function, so that going backwards meets every owner before the
  // variables within it.
  for (size_t i = nodes.size(); i-- > 0;) {
    const Node& node = nodes[i];
    if (node.kind == Node::Kind::kVariable) {
      longest_of[owners[i]] = std::max(longest_of[owners[i]], cells[node.variable].size());
    } else if (node.kind == Node::Kind::kCall) {
      for (const int argument : node.arguments) {
        owners[argument] = node.function->of_cells != nullptr ? i : owners[i];
      }
    }
  }
  for (size_t i = 0; i < nodes.size(); ++i) {
    const Node& node = nodes[i];
    Result& result = results[i];
    if (node.kind == Node::Kind::kNumber) {
      result.values = {&node.number, 1};
      continue;
    }
    if (node.kind == Node::Kind::kVariable) {
      result.values = cells[node.variable];
      // A cell of one value counts for every place and stays as it is; a longer one that is too
      // short is filled.
      const size_t longest = longest_of[owners[i]], size = result.values.size();
      if (size == 1 || size == longest) continue;
      result.owned.assign(result.values.begin(), result.values.end());
      result.owned.resize(longest, fill);
      result.values = result.owned;
      continue;
    }
    size_t longest = 0;
    for (const int argument : node.arguments) {
      longest = std::max(longest, results[argument].values.size());
    }
    // The value of an argument at a place.
    const auto value = [&](int argument, size_t place) {
      const std::span<const double> values = results[argument].values;
      return values.size() == 1 ? values[0] : values[place];
    };
    if (node.function->of_cells != nullptr) {
      // A function of cells sees all its arguments at the same length, like one that works place by
      // place.
      std::vector<std::vector<double>> filled;
      for (const int argument : node.arguments) {
        std::vector<double>& whole = filled.emplace_back();
        for (size_t place = 0; place < longest; ++place) whole.push_back(value(argument, place));
      }
      const std::vector<std::span<const double>> spans(filled.begin(), filled.end());
      result.owned = {node.function->of_cells(spans)};
    } else {
      for (size_t place = 0; place < longest; ++place) {
        arguments.clear();
        for (const int argument : node.arguments) arguments.push_back(value(argument, place));
        result.owned.push_back(node.function->of_values(arguments.data(), arguments.size()));
      }
    }
    result.values = result.owned;
    // A part is the argument of one other.
    for (const int argument : node.arguments) results[argument] = {};
  }
  out->assign(results.back().values.begin(), results.back().values.end());
}

}  // namespace pepnet
