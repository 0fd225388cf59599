#include <cmath>
#include <cstdint>

#include "worker/data/derive/operators.h"

namespace pepnet {
namespace {

class CombineCell : public ColumnOperator {
 public:
  explicit CombineCell(const Feature& feature) : op_(*feature.op), separator_(feature.separator) {}

  InputForm FormOf(int) const override {
    return {op_.value_map.empty() ? InputForm::Kind::kNumbers : InputForm::Kind::kTokens,
            separator_};
  }

  Status Apply(std::span<const InputCell> inputs, OperatorOutput* out) const override {
    std::vector<double> mapped;
    for (const std::string_view word : inputs[0].tokens()) {
      const auto found = op_.value_map.find(std::string(word));
      if (found != op_.value_map.end()) mapped.push_back(found->second);
    }
    const std::span<const double> numbers =
        op_.value_map.empty() ? inputs[0].numbers() : std::span<const double>(mapped);
    if (numbers.empty()) return absl::OkStatus();
    const double number = pepnet::Combine(*op_.combiner, numbers);
    if (!op_.to_integer) {
      out->numbers.push_back(number);
      return absl::OkStatus();
    }
    // 2^63 is a double, and the largest int64 is not, so the comparison is with a number that is
    // one. It is negated, so that NaN is refused, too.
    constexpr double kBeyondInt64 = 9223372036854775808.0;
    if (!(std::abs(number) < kBeyondInt64)) {
      return InvalidInput("the number ", number, " is too large for a row number");
    }
    out->tokens.push_back(absl::StrCat(static_cast<int64_t>(number)));
    return absl::OkStatus();
  }

 private:
  const FeatureOperator op_;
  const std::string separator_;
};

}  // namespace

std::unique_ptr<ColumnOperator> MakeCombine(const Feature& feature) {
  return std::make_unique<CombineCell>(feature);
}

}  // namespace pepnet
