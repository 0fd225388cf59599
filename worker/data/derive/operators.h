// One maker per operator; each is in the file of its name. Internal to this folder.
#pragma once

#include <memory>

#include "common/base/status.h"
#include "worker/data/derive/column_operator.h"

namespace pepnet {

using OperatorOr = StatusOr<std::unique_ptr<ColumnOperator>>;

OperatorOr MakeBoolMask(const Feature& feature);
OperatorOr MakeCombine(const Feature& feature);
OperatorOr MakeCombo(const Feature& feature);
OperatorOr MakeEditDistance(const Feature& feature);
OperatorOr MakeExpr(const Feature& feature);
OperatorOr MakeKvDotProduct(const Feature& feature);
OperatorOr MakeLookup(const Feature& feature);
OperatorOr MakeMatch(const Feature& feature);
OperatorOr MakeOverlap(const Feature& feature);

}  // namespace pepnet
