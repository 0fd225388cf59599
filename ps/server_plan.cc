#include "ps/server_plan.h"

#include <set>

#include "common/base/partition.h"
#include "proto/wire.pb.h"

namespace pepnet {
namespace {

template <typename Enum>
Status ReadEnum(int32_t number, Enum last, const char* field, Enum* out) {
  if (number < 0 || number > static_cast<int32_t>(last)) {
    return InvalidInput("server plan: ", field, " is ", number, ", expected 0 to ", static_cast<int32_t>(last));
  }
  *out = static_cast<Enum>(number);
  return absl::OkStatus();
}

StatusOr<Table> ReadTable(const wire::TablePlan& in) {
  Table table;
  table.name = in.name();
  table.rows = in.rows();
  table.dim = in.dim();
  if (table.name.empty()) return InvalidInput("server plan: a table has no name");
  if (table.rows <= 0)
    return InvalidInput("server plan: table ", table.name, " has ", table.rows, " rows, expected at least 1");
  if (table.dim <= 0)
    return InvalidInput("server plan: table ", table.name, " has width ", table.dim, ", expected at least 1");
  PEPNET_RETURN_IF_ERROR(ReadEnum(in.init_kind(), InitKind::kConstant, "init_kind", &table.initializer.kind));
  table.initializer.a = in.init_a();
  table.initializer.b = in.init_b();
  table.trainable = in.trainable();
  return table;
}

}  // namespace

StatusOr<ServerPlan> ParseServerPlan(const std::string& body, int rank_count) {
  wire::ServerPlan in;
  if (!in.ParseFromString(body)) return InvalidInput("server plan: not a wire::ServerPlan (", body.size(), " bytes)");
  ServerPlan plan;
  std::set<std::string> names;
  for (const wire::TablePlan& table_plan : in.tables()) {
    PEPNET_ASSIGN_OR_RETURN(Table table, ReadTable(table_plan));
    if (!names.insert(table.name).second) return InvalidInput("server plan: table ", table.name, " occurs twice");
    plan.tables.push_back(std::move(table));
  }
  const wire::SparseOptimizerPlan& optimizer = in.optimizer();
  PEPNET_RETURN_IF_ERROR(
      ReadEnum(optimizer.kind(), SparseOptimizerKind::kPartialRowwiseAdam, "optimizer kind", &plan.optimizer.kind));
  PEPNET_RETURN_IF_ERROR(ReadEnum(optimizer.weight_decay_mode(), WeightDecayMode::kDecouple, "weight_decay_mode",
                                  &plan.optimizer.weight_decay_mode));
  plan.optimizer.initial_accumulator_value = optimizer.initial_accumulator_value();
  plan.optimizer.beta1 = optimizer.beta1();
  plan.optimizer.beta2 = optimizer.beta2();
  plan.optimizer.weight_decay = optimizer.weight_decay();
  plan.seed = in.seed();
  plan.server_index = in.server_index();
  plan.server_count = in.server_count();
  if (plan.server_count < 1 || plan.server_count > kBucketCount || plan.server_index < 0 ||
      plan.server_index >= plan.server_count) {
    return InvalidInput("server plan: server ", plan.server_index, " of ", plan.server_count, ", expected 1 to ",
                        kBucketCount, " servers counted from 0");
  }
  plan.first_bucket = FirstBucket(plan.server_index, plan.server_count);
  plan.end_bucket = FirstBucket(plan.server_index + 1, plan.server_count);
  plan.worker_ranks.assign(in.worker_ranks().begin(), in.worker_ranks().end());
  if (plan.worker_ranks.empty()) return InvalidInput("server plan: no workers");
  std::set<int> ranks;
  for (int rank : plan.worker_ranks) {
    if (rank < 0 || rank >= rank_count || !ranks.insert(rank).second) {
      return InvalidInput("server plan: worker rank ", rank, " is outside 0 to ", rank_count - 1, " or occurs twice");
    }
  }
  plan.finished_steps = in.finished_steps();
  plan.shared_file = in.shared_file();
  plan.timeout_s = in.timeout_s();
  plan.phase_timeout_s = in.phase_timeout_s();
  if (plan.finished_steps < 0) return InvalidInput("server plan: finished_steps is ", plan.finished_steps);
  return plan;
}

}  // namespace pepnet
