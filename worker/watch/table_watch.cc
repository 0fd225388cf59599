#include "worker/watch/table_watch.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace pepnet {

std::vector<Warning> TableWarnings(const JobConfig& config,
                                   const std::map<std::string, int64_t>& rows_seen) {
  // Small tables cost nothing, so only large ones that are nearly empty are worth a word.
  constexpr int64_t kLarge = 100000;
  std::vector<Warning> warnings;
  for (const Table& table : config.tables) {
    const auto found = rows_seen.find(table.name);
    // A table that grows has no size that could be too large.
    if (found == rows_seen.end() || table.grows() || table.rows < kLarge ||
        found->second * 100 >= table.rows)
      continue;
    warnings.push_back({warning_kinds::kTable, table.name,
                        absl::StrCat("table ", table.name, " may have ", table.rows,
                                     " rows, training met ", found->second,
                                     " ids: exports hold all rows, so a smaller num_buckets or "
                                     "hash_bucket_size would do")});
  }
  return warnings;
}

namespace {

// Member `name` of the statistics of each server that has it.
std::vector<nlohmann::json> MembersOf(const std::vector<std::string>& stats, const char* name) {
  std::vector<nlohmann::json> members;
  for (const std::string& text : stats) {
    // A reply that is no JSON has no members: this is a report, not a check.
    const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (json.is_object() && json.contains(name)) members.push_back(json[name]);
  }
  return members;
}

}  // namespace

// Rows of a table, summed over the servers that hold its buckets.
std::map<std::string, int64_t> RowsOfServers(const std::vector<std::string>& stats) {
  std::map<std::string, int64_t> rows;
  for (const nlohmann::json& of_server : MembersOf(stats, "rows")) {
    for (const auto& [table, count] : of_server.items()) rows[table] += count.get<int64_t>();
  }
  return rows;
}

// Each server counts its own buckets, so the sums are those of the table.
std::vector<DynamicTableCounts> DynamicTablesOf(const JobConfig& config,
                                                const std::vector<std::string>& stats) {
  const std::map<std::string, int64_t> rows = RowsOfServers(stats);
  const std::vector<nlohmann::json> lifecycles = MembersOf(stats, "lifecycle");
  std::vector<DynamicTableCounts> tables;
  for (const Table& table : config.tables) {
    if (!table.grows()) continue;
    DynamicTableCounts counts;
    counts.table = table.name;
    counts.has_policy = table.policy.is_active();
    if (const auto found = rows.find(table.name); found != rows.end()) counts.rows = found->second;
    for (const nlohmann::json& of_server : lifecycles) {
      const auto found = of_server.find(table.name);
      if (found == of_server.end()) continue;
      counts.candidates += found->value("candidates", int64_t{0});
      counts.admitted += found->value("admitted", int64_t{0});
      counts.refused += found->value("refused", int64_t{0});
      counts.expired += found->value("expired", int64_t{0});
      counts.evicted += found->value("evicted", int64_t{0});
    }
    tables.push_back(std::move(counts));
  }
  return tables;
}

std::string EventTimeLine(const JobConfig& config, const std::vector<std::string>& stats) {
  // Of all servers the same.
  const std::vector<nlohmann::json> clocks = MembersOf(stats, "event_time");
  if (!config.data.event_time.has_value() || clocks.empty()) return "";
  const int64_t now = clocks[0].value("now", int64_t{0}),
                limited = clocks[0].value("limited_steps", int64_t{0});
  if (now == 0) {
    return absl::StrCat("event time: no row had one in column ", config.data.event_time->name,
                        ", so none expired by it");
  }
  std::string line = absl::StrCat("event time: ", now, " s since 1970");
  if (limited > 0) {
    absl::StrAppend(&line, "; ", limited,
                    " steps named times further ahead than max_jump_seconds, ",
                    config.data.event_time->max_jump_seconds, ", and moved it on by no more");
  }
  return line;
}

std::string DynamicTableLine(const DynamicTableCounts& counts) {
  if (!counts.has_policy) return absl::StrCat(counts.table, ": ", counts.rows, " rows");
  return absl::StrCat(counts.table, ": ", counts.rows, " rows and ", counts.candidates,
                      " candidates; ", counts.admitted, " rows were made, ", counts.expired,
                      " expired, ", counts.evicted, " were evicted; steps named ids ",
                      counts.refused, " times without giving them a row");
}

}  // namespace pepnet
