#include <limits>

#include "common/expression/expression.h"
#include "worker/data/derive/operators.h"

namespace pepnet {
namespace {

class Expr : public ColumnOperator {
 public:
  explicit Expr(const Feature& feature)
      : expression_(feature.op->formula),
        reads_cells_(expression_.reads_cells()),
        fill_(feature.op->fill_missing.value_or(std::numeric_limits<double>::quiet_NaN())),
        separator_(feature.separator) {}

  InputForm FormOf(int) const override { return {InputForm::Kind::kNumbers, separator_}; }

  Status Apply(std::span<const InputCell> inputs, OperatorOutput* out) const override {
    // One number in each cell is the usual case, computed without the arithmetic of whole cells.
    bool single = !reads_cells_;
    for (const InputCell& input : inputs) {
      if (input.empty()) return absl::OkStatus();
      single = single && input.numbers().size() == 1;
    }
    if (single) {
      std::vector<double> values;
      for (const InputCell& input : inputs) values.push_back(input.numbers()[0]);
      out->numbers.push_back(expression_.Compute(values));
      return absl::OkStatus();
    }
    std::vector<std::span<const double>> cells;
    for (const InputCell& input : inputs) cells.push_back(input.numbers());
    expression_.ComputeCells(cells, fill_, &out->numbers);
    return absl::OkStatus();
  }

 private:
  const Expression expression_;
  const bool reads_cells_;
  const double fill_;
  const std::string separator_;
};

}  // namespace

std::unique_ptr<ColumnOperator> MakeExpr(const Feature& feature) {
  return std::make_unique<Expr>(feature);
}

}  // namespace pepnet
