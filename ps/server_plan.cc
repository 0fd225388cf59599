#include "ps/server_plan.h"

#include <cmath>
#include <optional>
#include <set>

#include "common/base/partition.h"
#include "proto/wire.pb.h"

namespace pepnet {
namespace {

constexpr int kMaxDim = 1 << 24;                 // as in a config
constexpr int64_t kMaxSteps = int64_t{1} << 62;  // sums of two still fit
constexpr double kMaxSeconds = 1e9;              // a clock can count so far

// Deadlines of the job. NaN and infinity are numbers of a protobuf, too, and no clock can wait for
// them.
Status CheckSeconds(const char* field, double seconds) {
  if (std::isfinite(seconds) && seconds >= 0 && seconds <= kMaxSeconds) return absl::OkStatus();
  return InvalidInput("server plan: ", field, " is ", seconds, ", expected 0 to ", kMaxSeconds,
                      " seconds");
}

// The kind whose description has this name.
template <typename Type, typename Kind>
Status ReadKind(const std::string& name, const char* field, Kind* out) {
  const std::optional<Kind> kind = FindKind<Kind>(&Type::name, name);
  if (!kind.has_value()) {
    return InvalidInput("server plan: ", field, " is ", name, ", expected ",
                        ListOfKinds<Kind>(&Type::name, " or "));
  }
  *out = *kind;
  return absl::OkStatus();
}

// Ranges are left to RowPolicyFault(), which knows the size of a row.
StatusOr<RowPolicy> ReadPolicy(const wire::RowPolicyPlan& in) {
  RowPolicy policy;
  policy.admit_after_steps = in.admit_after_steps();
  policy.admit_probability = in.admit_probability();
  policy.ttl_steps = in.ttl_steps();
  policy.max_rows = in.max_rows();
  policy.memory_budget_bytes = in.memory_budget_bytes();
  policy.half_life_steps = in.half_life_steps();
  policy.ttl_seconds = in.ttl_seconds();
  policy.filter_bytes = in.filter_bytes();
  policy.filter_halve_steps = in.filter_halve_steps();
  policy.show_weight = in.show_weight();
  policy.click_weight = in.click_weight();
  PEPNET_RETURN_IF_ERROR(ReadKind<EvictionType>(in.eviction(), "eviction", &policy.eviction));
  return policy;
}

// Every field that sizes memory or divides is checked here: a server allocates by it.
StatusOr<Table> ReadTable(const wire::TablePlan& in, const SparseOptimizer& optimizer) {
  Table table;
  table.name = in.name();
  table.rows = in.rows();
  table.dim = in.dim();
  if (table.name.empty()) return InvalidInput("server plan: a table has no name");
  if (table.rows <= 0) {
    return InvalidInput("server plan: table ", table.name, " has ", table.rows,
                        " rows, expected at least 1");
  }
  if (table.dim < 1 || table.dim > kMaxDim) {
    return InvalidInput("server plan: table ", table.name, " has width ", table.dim,
                        ", expected 1 to ", kMaxDim);
  }
  PEPNET_RETURN_IF_ERROR(
      ReadKind<InitializerType>(in.init_kind(), "init_kind", &table.initializer.kind));
  table.initializer.a = in.init_a();
  table.initializer.b = in.init_b();
  table.initializer.low = in.init_low();
  table.initializer.high = in.init_high();
  const auto& check = TypeOf(table.initializer.kind).check;
  const std::string fault = check != nullptr ? check(table.initializer) : "";
  if (!fault.empty()) {
    return InvalidInput("server plan: table ", table.name, ": ", in.init_kind(), " ", fault);
  }
  table.trainable = in.trainable();
  // A plan without data_type means FP32, the default of Table.
  if (!in.data_type().empty()) {
    PEPNET_RETURN_IF_ERROR(ReadKind<ValueType>(in.data_type(), "data_type", &table.value_kind));
  }
  if (in.has_policy()) {
    PEPNET_ASSIGN_OR_RETURN(table.policy, ReadPolicy(in.policy()));
    const std::string why = RowPolicyFault(table.policy, ShapeOf(optimizer, table).bytes());
    if (!why.empty()) return InvalidInput("server plan: table ", table.name, ": ", why);
  }
  return table;
}

}  // namespace

// The plan comes from another process, perhaps of another build (pepnet_ps is a binary of its own),
// so it is checked like input although its sender has checked the config.
StatusOr<ServerPlan> ParseServerPlan(const std::string& body, int rank_count) {
  wire::ServerPlan in;
  if (!in.ParseFromString(body)) {
    return InvalidInput("server plan: not a wire::ServerPlan (", body.size(), " bytes)");
  }
  ServerPlan plan;
  const wire::SparseOptimizerPlan& optimizer = in.optimizer();
  PEPNET_RETURN_IF_ERROR(
      ReadKind<SparseOptimizerType>(optimizer.kind(), "optimizer kind", &plan.optimizer.kind));
  const SparseOptimizerType& type = TypeOf(plan.optimizer.kind);
  PEPNET_RETURN_IF_ERROR(Annotate(
      SetParameters(type.parameters, {optimizer.parameters().begin(), optimizer.parameters().end()},
                    &plan.optimizer),
      absl::StrCat("server plan: optimizer ", type.name)));
  if (!optimizer.state_data_type().empty()) {
    PEPNET_RETURN_IF_ERROR(ReadKind<ValueType>(optimizer.state_data_type(), "state_data_type",
                                               &plan.optimizer.state_kind));
  }
  const std::string fault = StateKindFault(type, plan.optimizer.state_kind);
  if (!fault.empty()) {
    return InvalidInput("server plan: state_data_type ", optimizer.state_data_type(), fault);
  }
  std::set<std::string> names;
  for (const wire::TablePlan& table_plan : in.tables()) {
    PEPNET_ASSIGN_OR_RETURN(Table table, ReadTable(table_plan, plan.optimizer));
    // Rows are hashed with the name of their table: two tables of one name would be one.
    if (!names.insert(table.name).second) {
      return InvalidInput("server plan: table ", table.name, " occurs twice");
    }
    plan.tables.push_back(std::move(table));
  }
  plan.seed = in.seed();
  plan.server_index = in.server_index();
  plan.server_count = in.server_count();
  // A server without a bucket would own no row, so there are at most as many servers as buckets.
  if (plan.server_count < 1 || plan.server_count > kBucketCount || plan.server_index < 0 ||
      plan.server_index >= plan.server_count) {
    return InvalidInput("server plan: server ", plan.server_index, " of ", plan.server_count,
                        ", expected 1 to ", kBucketCount, " servers counted from 0");
  }
  // Servers compute their ranges themselves, by the rule that workers route ids with
  // (common/base/partition.h), so that no two of them can disagree.
  plan.first_bucket = FirstBucket(plan.server_index, plan.server_count);
  plan.end_bucket = FirstBucket(plan.server_index + 1, plan.server_count);
  plan.worker_ranks.assign(in.worker_ranks().begin(), in.worker_ranks().end());
  if (plan.worker_ranks.empty()) return InvalidInput("server plan: no workers");
  // A worker that is listed twice would be waited for twice in every step.
  std::set<int> ranks;
  for (int rank : plan.worker_ranks) {
    if (rank < 0 || rank >= rank_count || !ranks.insert(rank).second) {
      return InvalidInput("server plan: worker rank ", rank, " is outside 0 to ", rank_count - 1,
                          " or occurs twice");
    }
  }
  plan.finished_steps = in.finished_steps();
  plan.shared_file = in.shared_file();
  plan.timeout_s = in.timeout_s();
  plan.phase_timeout_s = in.phase_timeout_s();
  if (plan.finished_steps < 0 || plan.finished_steps > kMaxSteps) {
    return InvalidInput("server plan: finished_steps is ", plan.finished_steps, ", expected 0 to ",
                        kMaxSteps);
  }
  plan.max_event_time_jump = in.max_event_time_jump();
  if (plan.max_event_time_jump < 0 || plan.max_event_time_jump > kMaxSteps) {
    return InvalidInput("server plan: max_event_time_jump is ", plan.max_event_time_jump,
                        ", expected 0 to ", kMaxSteps);
  }
  // A job whose jump is 0 keeps no event time, so no row of such a table would ever expire.
  for (const Table& table : plan.tables) {
    if (table.policy.ttl_seconds == 0 || plan.max_event_time_jump > 0) continue;
    return InvalidInput("server plan: table ", table.name, " has ttl_seconds ",
                        table.policy.ttl_seconds,
                        ", but max_event_time_jump is 0: rows have no time");
  }
  PEPNET_RETURN_IF_ERROR(CheckSeconds("timeout_s", plan.timeout_s));
  PEPNET_RETURN_IF_ERROR(CheckSeconds("phase_timeout_s", plan.phase_timeout_s));
  return plan;
}

}  // namespace pepnet
