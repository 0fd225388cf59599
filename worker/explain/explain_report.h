// Reports of `pepnet explain`: tables for a terminal, and JSON with all digits (docs/formats.md).
#pragma once

#include <cstdint>
#include <string>

#include "worker/explain/feature_importance.h"
#include "worker/explain/gate_statistics.h"

namespace pepnet {

struct ExplainedRun {
  std::string checkpoint, input;
  int64_t step = 0;
  uint64_t seed = 0;
};

// The features by what they cost, a column pair for each task; then for each task a column for each
// of the kDomainColumns domains with most rows.
inline constexpr size_t kDomainColumns = 8;
std::string ImportanceTables(const Importance& importance);

// A line for each feature behind EPNet's gates, and for each of PPNet's layers; "" without gates.
std::string GateTable(const GateStatistics& statistics);

// One object, one line.
std::string ExplanationJson(const ExplainedRun& run, const Importance& importance,
                            const GateStatistics& gates);

}  // namespace pepnet
