#include "worker/watch/table_watch.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace pepnet {

std::vector<Warning> TableWarnings(const JobConfig& config, const std::map<std::string, int64_t>& rows_seen) {
  constexpr int64_t kLarge = 100000;
  std::vector<Warning> warnings;
  for (const Table& table : config.tables) {
    const auto found = rows_seen.find(table.name);
    if (found == rows_seen.end() || table.grows() || table.rows < kLarge || found->second * 100 >= table.rows) continue;
    warnings.push_back(
        {warning_kinds::kTable, table.name,
         absl::StrCat("table ", table.name, " may have ", table.rows, " rows, training met ", found->second,
                      " ids: exports hold all rows, so a smaller num_buckets or hash_bucket_size would do")});
  }
  return warnings;
}

namespace {

// Member `name` of the statistics of each server that has it.
std::vector<nlohmann::json> MembersOf(const std::vector<std::string>& stats, const char* name) {
  std::vector<nlohmann::json> members;
  for (const std::string& text : stats) {
    const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (json.is_object() && json.contains(name)) members.push_back(json[name]);
  }
  return members;
}

}  // namespace

std::map<std::string, int64_t> RowsOfServers(const std::vector<std::string>& stats) {
  std::map<std::string, int64_t> rows;
  for (const nlohmann::json& of_server : MembersOf(stats, "rows")) {
    for (const auto& [table, count] : of_server.items()) rows[table] += count.get<int64_t>();
  }
  return rows;
}

std::vector<std::string> DynamicTableLines(const std::vector<std::string>& stats) {
  std::map<std::string, std::map<std::string, int64_t>> tables;
  for (const nlohmann::json& of_server : MembersOf(stats, "lifecycle")) {
    for (const auto& [table, counts] : of_server.items()) {
      for (const auto& [name, count] : counts.items()) {
        if (count.is_number_integer()) tables[table][name] += count.get<int64_t>();
      }
    }
  }
  const std::map<std::string, int64_t> rows = RowsOfServers(stats);
  std::vector<std::string> lines;
  for (auto& [table, counts] : tables) {
    const auto of_table = rows.find(table);
    lines.push_back(absl::StrCat(table, ": ", of_table == rows.end() ? 0 : of_table->second, " rows and ",
                                 counts["candidates"], " candidates; ", counts["admitted"], " rows were made, ",
                                 counts["expired"], " expired, ", counts["evicted"], " were evicted; steps named ids ",
                                 counts["refused"], " times without giving them a row"));
  }
  return lines;
}

}  // namespace pepnet
