#include "worker/data/derive/column_operator.h"

#include <algorithm>

#include "worker/data/derive/operators.h"

namespace pepnet {

std::unique_ptr<ColumnOperator> MakeOperator(const Feature& feature) {
  switch (feature.op->kind) {
    case OperatorKind::kCombo:
      return MakeCombo(feature);
    case OperatorKind::kLookup:
      return MakeLookup(feature);
    case OperatorKind::kMatch:
      return MakeMatch(feature);
    case OperatorKind::kExpr:
      return MakeExpr(feature);
    case OperatorKind::kOverlap:
      return MakeOverlap(feature);
    case OperatorKind::kKvDotProduct:
      return MakeKvDotProduct(feature);
    case OperatorKind::kBoolMask:
      return MakeBoolMask(feature);
    case OperatorKind::kCombine:
      return MakeCombine(feature);
    case OperatorKind::kEditDistance:
      return MakeEditDistance(feature);
    case OperatorKind::kTokenize:
      return MakeTokenize(feature);
  }
  return nullptr;
}

double Combine(Combiner combiner, std::span<const double> numbers) {
  double sum = 0;
  for (const double number : numbers) sum += number;
  switch (combiner) {
    case Combiner::kSum:
      return sum;
    case Combiner::kMean:
      return sum / static_cast<double>(numbers.size());
    case Combiner::kMin:
      return *std::min_element(numbers.begin(), numbers.end());
    case Combiner::kMax:
      return *std::max_element(numbers.begin(), numbers.end());
    case Combiner::kCount:
      return static_cast<double>(numbers.size());
  }
  return sum;
}

}  // namespace pepnet
