#include <unordered_map>

#include "worker/data/derive/operators.h"

namespace pepnet {
namespace {

class KvDotProduct : public ColumnOperator {
 public:
  explicit KvDotProduct(const Feature& feature) : separator_(feature.separator) {}

  InputForm FormOf(int) const override { return {InputForm::Kind::kPairs, separator_, ':', false}; }

  Status Apply(std::span<const InputCell> inputs, OperatorOutput* out) const override {
    if (inputs[0].empty() || inputs[1].empty()) return absl::OkStatus();
    // The products are summed in the order of the first cell, so that the result does not depend on
    // the map's order.
    // A repeated key has the sum of its weights.
    std::unordered_map<std::string_view, double> document;
    for (const Pair& pair : inputs[1].pairs()) {
      PEPNET_ASSIGN_OR_RETURN(const double weight, WeightOf(pair));
      document[pair.key] += weight;
    }
    double sum = 0;
    for (const Pair& pair : inputs[0].pairs()) {
      PEPNET_ASSIGN_OR_RETURN(const double weight, WeightOf(pair));
      const auto found = document.find(pair.key);
      if (found != document.end()) sum += weight * found->second;
    }
    out->numbers.push_back(sum);
    return absl::OkStatus();
  }

 private:
  static StatusOr<double> WeightOf(const Pair& pair) {
    if (!pair.has_value) return 1.0;
    return pair.Number();
  }

  const std::string separator_;
};

}  // namespace

std::unique_ptr<ColumnOperator> MakeKvDotProduct(const Feature& feature) {
  return std::make_unique<KvDotProduct>(feature);
}

}  // namespace pepnet
