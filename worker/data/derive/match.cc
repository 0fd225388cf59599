#include "worker/data/derive/operators.h"
#include "worker/data/files/cell_text.h"
#include "worker/data/files/number_text.h"

namespace pepnet {
namespace {

// Whatever the feature's separator is.
constexpr char kOuterSeparator[] = "|", kInnerSeparator[] = ",";

class Match : public ColumnOperator {
 public:
  explicit Match(const Feature& feature) : op_(*feature.op), separator_(feature.separator) {}

  InputForm FormOf(int input) const override {
    if (input == 0) return {InputForm::Kind::kPairs, kOuterSeparator, '^', true};
    return {InputForm::Kind::kTokens, separator_};
  }

  Status Apply(std::span<const InputCell> inputs, OperatorOutput* out) const override {
    // A key that takes all is no input: the inputs are the nested cell, and then the keys that are
    // given.
    const InputCell* const pkeys = op_.takes_all[0] ? nullptr : &inputs[1];
    const InputCell* const skeys = op_.takes_all[1] ? nullptr : &inputs.back();
    std::vector<Pair> inner;
    return ForEachTaken(pkeys, inputs[0].pairs(), [&](const Pair& outer) -> Status {
      PEPNET_RETURN_IF_ERROR(ReadInner(outer, &inner));
      return ForEachTaken(skeys, inner,
                          [&](const Pair& pair) { return Add(outer.key, pair, out); });
    });
  }

 private:
  // Calls visit(pair) for all pairs, or for the first pair of each of the keys.
  template <typename Visit>
  static Status ForEachTaken(const InputCell* keys, std::span<const Pair> pairs, Visit visit) {
    if (keys == nullptr) {
      for (const Pair& pair : pairs) PEPNET_RETURN_IF_ERROR(visit(pair));
      return absl::OkStatus();
    }
    // Pairs are taken in the order of the keys, not of the cell, so that equal keys give equal
    // tokens.
    for (const std::string_view key : keys->tokens()) {
      const Pair* const found = FindPair(pairs, key);
      if (found != nullptr) PEPNET_RETURN_IF_ERROR(visit(*found));
    }
    return absl::OkStatus();
  }

  static Status ReadInner(const Pair& outer, std::vector<Pair>* pairs) {
    pairs->clear();
    return ForEachToken(outer.text, kInnerSeparator, [&](std::string_view text) -> Status {
      pairs->push_back(SplitPair(text, ':'));
      if (!pairs->back().has_value) {
        return InvalidInput("the pair ", QuoteCell(text), " of key ", QuoteCell(outer.key),
                            " is not of the form 'key:value'");
      }
      return absl::OkStatus();
    });
  }

  Status Add(std::string_view pkey, const Pair& pair, OperatorOutput* out) const {
    if (!op_.gives_tokens) {
      PEPNET_ASSIGN_OR_RETURN(const double number, pair.Number());
      out->numbers.push_back(number);
      return absl::OkStatus();
    }
    std::string& token = out->tokens.emplace_back(op_.prefix);
    if (op_.shows_key[0]) (token += pkey) += '_';
    if (op_.shows_key[1]) (token += pair.key) += '_';
    token += pair.text;
    return absl::OkStatus();
  }

  const FeatureOperator op_;
  const std::string separator_;
};

}  // namespace

std::unique_ptr<ColumnOperator> MakeMatch(const Feature& feature) {
  return std::make_unique<Match>(feature);
}

}  // namespace pepnet
