// A snapshot of tables that stand still: takes it and waits for its end.
#pragma once

#include <future>

#include "ps/snapshot.h"

namespace pepnet {

inline StatusOr<std::vector<PartEntry>> SaveNow(const ServerPlan& plan, const std::vector<TableShard>& tables,
                                                int64_t step, const std::string& directory) {
  std::promise<StatusOr<std::vector<PartEntry>>> result;
  auto future = result.get_future();
  Snapshot snapshot(
      plan, tables, step, directory, Snapshot::DefaultCopyBytes(tables),
      [&](const StatusOr<std::vector<PartEntry>>& parts, const SnapshotCost&) { result.set_value(parts); });
  return future.get();
}

}  // namespace pepnet
