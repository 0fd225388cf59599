#include "common/base/mutant.h"
#include "worker/data/derive/operators.h"

namespace pepnet {
namespace {

// Two cells of a few thousand tokens have millions of combinations: no sense, and much memory.
constexpr size_t kMaxCombinations = 1 << 16;

class Combo : public ColumnOperator {
 public:
  explicit Combo(const Feature& feature) : separator_(feature.separator) {}

  InputForm FormOf(int) const override { return {InputForm::Kind::kTokens, separator_}; }

  Status Apply(std::span<const InputCell> inputs, OperatorOutput* out) const override {
    size_t count = 1;
    for (const InputCell& input : inputs) {
      if (input.empty()) return absl::OkStatus();
      // The bound is divided, because the product might overflow.
      if (input.tokens().size() > kMaxCombinations / count) {
        return InvalidInput("the tokens have more than ", kMaxCombinations,
                            " combinations; shorten the cells");
      }
      count *= input.tokens().size();
    }
    // The combination is a number in mixed radix: digit `place` is an index into the tokens of that
    // input.
    for (size_t combination = 0; combination < count; ++combination) {
      std::string& token = out->tokens.emplace_back();
      size_t left = combination, below = count;
      for (size_t place = 0; place < inputs.size(); ++place) {  // the first input is the outermost
        const bool reversed = MutantActive(Mutant::kOperatorByColumn);
        const InputCell& input = inputs[reversed ? inputs.size() - 1 - place : place];
        below /= input.tokens().size();
        if (place > 0) token += '_';
        token += input.tokens()[left / below];
        left %= below;
      }
    }
    return absl::OkStatus();
  }

 private:
  const std::string separator_;
};

}  // namespace

std::unique_ptr<ColumnOperator> MakeCombo(const Feature& feature) {
  return std::make_unique<Combo>(feature);
}

}  // namespace pepnet
