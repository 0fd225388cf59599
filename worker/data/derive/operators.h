// One maker per operator; each is in the file of its name. Internal to this folder.
#pragma once

#include <memory>

#include "worker/data/derive/column_operator.h"

namespace pepnet {

std::unique_ptr<ColumnOperator> MakeBoolMask(const Feature& feature);
std::unique_ptr<ColumnOperator> MakeCombine(const Feature& feature);
std::unique_ptr<ColumnOperator> MakeCombo(const Feature& feature);
std::unique_ptr<ColumnOperator> MakeEditDistance(const Feature& feature);
std::unique_ptr<ColumnOperator> MakeExpr(const Feature& feature);
std::unique_ptr<ColumnOperator> MakeKvDotProduct(const Feature& feature);
std::unique_ptr<ColumnOperator> MakeLookup(const Feature& feature);
std::unique_ptr<ColumnOperator> MakeMatch(const Feature& feature);
std::unique_ptr<ColumnOperator> MakeOverlap(const Feature& feature);
std::unique_ptr<ColumnOperator> MakeTokenize(const Feature& feature);

}  // namespace pepnet
