#include "common/config/convert_table.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/base/partition.h"
#include "common/config/convert_parameters.h"
#include "common/config/values/value_strings.h"
#include "proto/feature.pb.h"

namespace pepnet {
namespace {

using google::protobuf::Message;

constexpr double kDynamicBound = 0.01;  // of the initial values of a dynamic_table

// A message in the field `name`, null if it is not set or there is no such field.
template <typename Sub>
const Sub* SubMessage(const Message& feature, const char* name) {
  if (!HasField(feature, name)) return nullptr;
  return static_cast<const Sub*>(&feature.GetReflection()->GetMessage(
      feature, feature.GetDescriptor()->FindFieldByName(name)));
}

// RowPolicyFault() begins with the name of the field.
Status PolicyError(const Message& table, const std::string& fault, const ConfigSource& source) {
  const size_t colon = fault.find(": ");
  return source.Error(table, fault.substr(0, colon), fault.substr(colon + 2));
}

// The row counts of the config are unsigned 64-bit numbers, ids are signed: kMaxRows also keeps a
// counted table apart from one that takes any id (kAnyId).
Status CheckRows(const Message& table, const char* field, uint64_t rows,
                 const ConfigSource& source) {
  if (rows > 0 && rows <= kMaxRows) return absl::OkStatus();
  return source.Error(table, field, rows, "; expected 1 to ", kMaxRows, " rows");
}

// The filter counts candidates in memory of a fixed size. Without halving its counters only grow,
// and in the end every id would pass, so 0 is refused instead of being read as "never".
Status ReadFilter(const config::AdmissionFilter& from, const ConfigSource& source,
                  RowPolicy* policy) {
  // 1 TiB, so that the shift by 20 below cannot overflow.
  constexpr uint64_t kMostMib = uint64_t{1} << 20;
  if (from.memory_mb() == 0 || from.memory_mb() > kMostMib) {
    return source.Error(from, "memory_mb", from.memory_mb(), "; expected 1 to ", kMostMib,
                        " MiB of counters");
  }
  if (from.halve_every_steps() == 0 || from.halve_every_steps() > kMaxRows) {
    return source.Error(from, "halve_every_steps", from.halve_every_steps(), "; expected 1 to ",
                        kMaxRows, ", or the counters fill up");
  }
  policy->filter_bytes = static_cast<int64_t>(from.memory_mb()) << 20;
  policy->filter_halve_steps = static_cast<int64_t>(from.halve_every_steps());
  return absl::OkStatus();
}

StatusOr<GrowingTable> ReadDynamicTable(const config::DynamicTable& from,
                                        const ConfigSource& source) {
  GrowingTable table;
  table.initializer = {InitKind::kUniform, -kDynamicBound, kDynamicBound};
  // All counts are compared before any is cast: the policy holds signed numbers, of which the sum
  // of two must still fit. The budget is in MiB, so its bound is smaller by that unit.
  const std::pair<const char*, uint64_t> counts[] = {
      {"admit_after_steps", from.admit_after_steps()},
      {"ttl_steps", from.ttl_steps()},
      {"ttl_seconds", from.ttl_seconds()},
      {"max_rows", from.max_rows()},
      {"half_life_steps", from.half_life_steps()},
      {"expected_rows", from.expected_rows()},
      {"memory_budget_mb", from.memory_budget_mb()}};
  for (const auto& [name, count] : counts) {
    const uint64_t most = std::string_view(name) == "memory_budget_mb" ? kMaxRows >> 20 : kMaxRows;
    if (count > most) return source.Error(from, name, count, "; expected at most ", most);
  }
  RowPolicy& policy = table.policy;
  policy.admit_after_steps = static_cast<int64_t>(from.admit_after_steps());
  policy.admit_probability = from.admit_probability();
  policy.ttl_steps = static_cast<int64_t>(from.ttl_steps());
  policy.max_rows = static_cast<int64_t>(from.max_rows());
  policy.memory_budget_bytes = static_cast<int64_t>(from.memory_budget_mb()) << 20;
  policy.half_life_steps = static_cast<int64_t>(from.half_life_steps());
  policy.ttl_seconds = static_cast<int64_t>(from.ttl_seconds());
  if (from.has_admission_filter()) {
    PEPNET_RETURN_IF_ERROR(ReadFilter(from.admission_filter(), source, &policy));
  }
  const std::optional<EvictionKind> eviction =
      FindKind<EvictionKind>(&EvictionType::name, from.eviction());
  if (!eviction.has_value()) {
    return source.Error(from, "eviction", "\"", from.eviction(), "\"; expected ",
                        ListOfKinds<EvictionKind>(&EvictionType::name, " or "));
  }
  policy.eviction = *eviction;
  policy.show_weight = from.show_weight();
  policy.click_weight = from.click_weight();
  policy.click_label = from.click_label();
  // A weight without a label would count nothing, and a label without a weight would be counted for
  // nothing; neither is silent (law L7).
  if (policy.counts_clicks() != !policy.click_label.empty()) {
    return source.Error(from, policy.click_label.empty() ? "click_weight" : "click_label",
                        policy.click_label.empty()
                            ? absl::StrCat(from.click_weight(), "; expected a click_label with it")
                            : absl::StrCat("\"", from.click_label(),
                                           "\"; expected a click_weight above 0 with it"));
  }
  // The expected rows are planned with, not enforced: they give fan_out to init_fn and a share of
  // the common budget. A limit is the best guess where the config gives no number.
  table.expected_rows =
      static_cast<int64_t>(from.has_expected_rows() ? from.expected_rows() : from.max_rows());
  if (table.expected_rows == 0) {
    return source.Error(from, "expected_rows",
                        "is missing; expected the number of rows to plan memory for, or max_rows");
  }
  return table;
}

// The limit of another system. A table has at least a row for each bucket.
int64_t LimitOf(uint64_t rows) {
  return std::max<int64_t>(static_cast<int64_t>(rows), kBucketCount);
}

// A zch maps ids to a fixed number of rows without collisions and gives the rows of evicted ids to
// new ones. A dynamic_table with max_rows does the same; of the eviction policies only the order
// (LRU or LFU) is kept.
StatusOr<GrowingTable> ReadZch(const config::ZeroCollisionHash& zch, const ConfigSource& source) {
  PEPNET_RETURN_IF_ERROR(CheckRows(zch, "zch_size", zch.zch_size(), source));
  GrowingTable table;
  table.expected_rows = static_cast<int64_t>(zch.zch_size());
  table.policy.max_rows = LimitOf(zch.zch_size());
  if (zch.has_lfu() || zch.has_distance_lfu()) table.policy.eviction = EvictionKind::kLfu;
  // The initial values are those of a table of this size in the reference, though the table here
  // grows.
  const double bound = std::sqrt(1.0 / static_cast<double>(zch.zch_size()));
  table.initializer = {InitKind::kUniform, -bound, bound};
  return table;
}

// The distribution by which a dynamicemb table begins its rows. `bound`: half of the uniform range
// where the config gives none, sqrt(1/rows). `width`: of a row, for the default deviation
// sqrt(1/width).
StatusOr<Initializer> ReadInitializer(const config::DynamicEmbInitializerArgs& args, double bound,
                                      double width, const ConfigSource& source) {
  Initializer initializer;
  if (args.mode().empty() || args.mode() == "UNIFORM") {
    initializer = {InitKind::kUniform, args.has_lower() ? ShortestDecimal(args.lower()) : -bound,
                   args.has_upper() ? ShortestDecimal(args.upper()) : bound};
  } else if (args.mode() == "NORMAL") {
    initializer = {InitKind::kNormal, ShortestDecimal(args.mean()),
                   args.has_std_dev() ? ShortestDecimal(args.std_dev()) : std::sqrt(1.0 / width)};
  } else if (args.mode() == "CONSTANT") {
    initializer = {InitKind::kConstant, ShortestDecimal(args.value()), 0};
  } else {
    return source.Error(args, "mode", "\"", args.mode(),
                        "\"; expected UNIFORM, NORMAL or CONSTANT");
  }
  // The check of init_fn, too, so that a range or a deviation is refused here and not by a server,
  // which would only name its plan.
  const auto& check = TypeOf(initializer.kind).check;
  const std::string fault = check != nullptr ? check(initializer) : "";
  if (!fault.empty()) return source.Error(args, "", fault);
  return initializer;
}

StatusOr<GrowingTable> ReadDynamicEmbedding(const config::DynamicEmbedding& from, double width,
                                            const ConfigSource& source) {
  PEPNET_RETURN_IF_ERROR(CheckRows(from, "max_capacity", from.max_capacity(), source));
  GrowingTable table;
  table.expected_rows = static_cast<int64_t>(from.max_capacity());
  table.policy.max_rows = LimitOf(from.max_capacity());
  if (from.score_strategy() == "LFU") table.policy.eviction = EvictionKind::kLfu;
  const uint64_t threshold = from.frequency_admission_strategy().threshold();
  if (threshold > kMaxRows) {
    return source.Error(from.frequency_admission_strategy(), "threshold", threshold,
                        "; expected at most ", kMaxRows);
  }
  // A threshold of 0, which is also what is not set, admits at once; a policy says 1 for that.
  table.policy.admit_after_steps = std::max<int64_t>(1, static_cast<int64_t>(threshold));
  const double bound = std::sqrt(1.0 / static_cast<double>(from.max_capacity()));
  PEPNET_ASSIGN_OR_RETURN(table.initializer,
                          ReadInitializer(from.initializer_args(), bound, width, source));
  return table;
}

// Features of kinds without data_type have no such field at all, hence the look through the
// descriptor.
StatusOr<ValueKind> ReadValueKind(const Message& feature, const Feature& converted,
                                  ConfigSource* source) {
  const auto* const field = feature.GetDescriptor()->FindFieldByName("data_type");
  if (field == nullptr) return ValueKind::kFp32;
  const std::string name = feature.GetReflection()->GetString(feature, field);
  const std::optional<ValueKind> kind = FindKind<ValueKind>(&ValueType::name, name);
  if (!kind.has_value()) {
    return source->Error(feature, "data_type", "\"", name, "\" is not supported; expected ",
                         ListOfKinds<ValueKind>(&ValueType::name, " or "));
  }
  if (*kind != ValueKind::kFp32 && converted.bucketizer == Bucketizer::kNone) {
    source->Note(feature, "data_type",
                 absl::StrCat(name, " has no effect: the feature has no table"));
  }
  return *kind;
}

}  // namespace

StatusOr<std::optional<GrowingTable>> ReadGrowingTable(const Message& feature,
                                                       ConfigSource* source) {
  StatusOr<GrowingTable> table = absl::UnknownError("");
  const Message* from = nullptr;
  const char* of_other_system = nullptr;
  if (const auto* dynamic = SubMessage<config::DynamicTable>(feature, "dynamic_table");
      dynamic != nullptr) {
    from = dynamic;
    table = ReadDynamicTable(*dynamic, *source);
  } else if (const auto* zch = SubMessage<config::ZeroCollisionHash>(feature, "zch");
             zch != nullptr) {
    from = zch;
    of_other_system = "zch";
    table = ReadZch(*zch, *source);
  } else if (const auto* embedding = SubMessage<config::DynamicEmbedding>(feature, "dynamicemb");
             embedding != nullptr) {
    from = embedding;
    of_other_system = "dynamicemb";
    const auto* const width = feature.GetDescriptor()->FindFieldByName("embedding_dim");
    table = ReadDynamicEmbedding(*embedding, feature.GetReflection()->GetUInt32(feature, width),
                                 *source);
  } else {
    return std::nullopt;
  }
  if (!table.ok()) return table.status();
  // The size of a row, which a budget depends on, is not known yet; CheckPolicies() in load.cc
  // checks the budget.
  RowPolicy without_budget = table->policy;
  without_budget.memory_budget_bytes = 0;
  if (const std::string fault = RowPolicyFault(without_budget, sizeof(float)); !fault.empty()) {
    return PolicyError(*from, fault, *source);
  }
  if (of_other_system != nullptr) {
    source->Note(feature, of_other_system,
                 absl::StrCat("read as a dynamic_table: ", RowPolicyText(table->policy)));
  }
  return std::optional(*table);
}

StatusOr<TableFields> ReadTableFields(const Message& feature, const Feature& converted,
                                      ConfigSource* source) {
  const auto* const reflection = feature.GetReflection();
  const auto* const descriptor = feature.GetDescriptor();
  TableFields fields;
  fields.embedding_name =
      reflection->GetString(feature, descriptor->FindFieldByName("embedding_name"));
  fields.trainable = reflection->GetBool(feature, descriptor->FindFieldByName("trainable"));
  PEPNET_ASSIGN_OR_RETURN(fields.value_kind, ReadValueKind(feature, converted, source));
  PEPNET_ASSIGN_OR_RETURN(const std::optional<GrowingTable> growing,
                          ReadGrowingTable(feature, source));
  if (growing.has_value()) {
    fields.expected_rows = growing->expected_rows;
    fields.policy = growing->policy;
    fields.initializer = growing->initializer;
  }
  const std::string init_fn =
      reflection->GetString(feature, descriptor->FindFieldByName("init_fn"));
  if (init_fn.empty()) return fields;
  // init_fn comes last and wins over the initial values that zch, dynamicemb and dynamic_table
  // bring along. fan_out is the number of rows that will exist; the `rows` of a table that grows
  // are the range of its ids, 2^62, with which every deviation would be near 0.
  const auto parsed = ParseInitializer(
      init_fn, fields.expected_rows > 0 ? fields.expected_rows : converted.rows, converted.dim);
  if (!parsed.ok()) return Annotate(parsed.status(), source->Where(feature, "init_fn"));
  fields.initializer = *parsed;
  return fields;
}

}  // namespace pepnet
