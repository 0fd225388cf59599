
#include "worker/data/derive/operators.h"
#include "worker/data/files/cell_text.h"
#include "worker/data/files/number_text.h"

namespace pepnet {
namespace {

constexpr char kPairSeparator[] = "\x1d";  // whatever the feature's separator is

class Lookup : public ColumnOperator {
 public:
  explicit Lookup(const Feature& feature) : op_(*feature.op), separator_(feature.separator) {}

  InputForm FormOf(int input) const override {
    if (input == 0) return {InputForm::Kind::kPairs, kPairSeparator, ':', true};
    return {InputForm::Kind::kTokens, separator_};
  }

  Status Apply(std::span<const InputCell> inputs, OperatorOutput* out) const override {
    std::vector<double> numbers;
    // The keys' order decides that of the tokens; keys that are not there give nothing.
    for (const std::string_view key : inputs[1].tokens()) {
      const Pair* const pair = FindPair(inputs[0].pairs(), key);
      if (pair == nullptr) continue;
      if (op_.gives_tokens) {
        std::string& token = out->tokens.emplace_back();
        if (op_.shows_key[0]) (token += key) += '_';
        token += pair->text;
      } else if (op_.value_dim > 1) {
        return AddParts(*pair, out);  // the first value that is found
      } else {
        PEPNET_ASSIGN_OR_RETURN(const double number, pair->Number());
        numbers.push_back(number);
      }
    }
    if (!op_.combiner.has_value()) {
      out->numbers.insert(out->numbers.end(), numbers.begin(), numbers.end());
    } else if (!numbers.empty()) {
      out->numbers.push_back(Combine(*op_.combiner, numbers));
    }
    return absl::OkStatus();
  }

 private:
  Status AddParts(const Pair& pair, OperatorOutput* out) const {
    return ForEachToken(pair.text, op_.value_separator, [&](std::string_view part) -> Status {
      PEPNET_ASSIGN_OR_RETURN(const double number, ReadReal(part));
      out->numbers.push_back(number);
      return absl::OkStatus();
    });
  }

  const FeatureOperator op_;
  const std::string separator_;
};

}  // namespace

std::unique_ptr<ColumnOperator> MakeLookup(const Feature& feature) {
  return std::make_unique<Lookup>(feature);
}

}  // namespace pepnet
