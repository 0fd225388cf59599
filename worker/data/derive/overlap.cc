#include <algorithm>

#include "worker/data/derive/operators.h"

namespace pepnet {
namespace {

using Terms = std::span<const std::string_view>;

// The share of `of` that stands in `in`, too; a term that is repeated counts each time.
double CommonRatio(Terms of, Terms in) {
  if (of.empty()) return 0;
  // Terms are few: a search in a row of them beats a set that has to be built first.
  const auto common = std::count_if(of.begin(), of.end(), [in](std::string_view term) {
    return std::find(in.begin(), in.end(), term) != in.end();
  });
  return static_cast<double>(common) / static_cast<double>(of.size());
}

// Whether all terms of `part` stand in `whole` in their order, others between them or not.
bool Contains(Terms whole, Terms part) {
  // The search is greedy: the first place of each term leaves the most room for the next.
  size_t found = 0;
  for (size_t i = 0; i < whole.size() && found < part.size(); ++i) {
    found += whole[i] == part[found] ? 1 : 0;
  }
  return found == part.size();
}

class Overlap : public ColumnOperator {
 public:
  explicit Overlap(const Feature& feature)
      : method_(feature.op->method), separator_(feature.separator) {}

  InputForm FormOf(int) const override { return {InputForm::Kind::kTokens, separator_}; }

  Status Apply(std::span<const InputCell> inputs, OperatorOutput* out) const override {
    out->numbers.push_back(Measure(inputs[0].tokens(), inputs[1].tokens()));
    return absl::OkStatus();
  }

 private:
  double Measure(Terms query, Terms title) const {
    const bool is_empty = query.empty() || title.empty();
    switch (method_) {
      case OverlapMethod::kQueryCommonRatio:
        return CommonRatio(query, title);
      case OverlapMethod::kTitleCommonRatio:
        return CommonRatio(title, query);
      case OverlapMethod::kIsContain:
        return !is_empty && Contains(title, query) ? 1 : 0;
      case OverlapMethod::kIsEqual:
        return !is_empty && std::equal(query.begin(), query.end(), title.begin(), title.end()) ? 1
                                                                                               : 0;
      case OverlapMethod::kIndexOf: {
        const auto at = std::search(title.begin(), title.end(), query.begin(), query.end());
        return is_empty || at == title.end() ? -1 : static_cast<double>(at - title.begin());
      }
    }
    return 0;
  }

  const OverlapMethod method_;
  const std::string separator_;
};

}  // namespace

std::unique_ptr<ColumnOperator> MakeOverlap(const Feature& feature) {
  return std::make_unique<Overlap>(feature);
}

}  // namespace pepnet
