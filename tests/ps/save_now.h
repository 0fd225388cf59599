// A snapshot of tables that stand still: takes it and waits for its end.
#pragma once

#include <future>

#include "ps/snapshot.h"

namespace pepnet {

inline StatusOr<SavedParts> SaveNow(const ServerPlan& plan, const std::vector<TableShard>& tables,
                                    int64_t step, const std::string& directory) {
  std::promise<StatusOr<SavedParts>> result;
  auto future = result.get_future();
  Snapshot snapshot(
      plan, tables, step, directory, Snapshot::DefaultCopyBytes(tables),
      [&](const StatusOr<SavedParts>& parts, const SnapshotCost&) { result.set_value(parts); });
  return future.get();
}

}  // namespace pepnet
