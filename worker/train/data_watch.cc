#include "worker/train/data_watch.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace pepnet {

DataWatch::DataWatch(const JobConfig* config)
    : config_(config),
      is_target_(config->data.labels.size()),
      positives_(config->data.labels.size()),
      first_(config->features.size()),
      changed_(config->features.size()) {
  for (const Tower& tower : config->model.towers) {
    const bool values = TypeOf(tower.losses.front().kind).label == LabelRule::kNumber;
    if (tower.num_class <= 2 && !values) is_target_[tower.label] = true;
  }
}

DataWatch::Cell DataWatch::CellOf(const Batch& batch, size_t feature, int64_t row) const {
  Cell cell;
  const int64_t dim = config_->features[feature].dim;
  const bool is_sequence = config_->features[feature].sequence.has_value();
  if (!batch.values[feature].empty()) {
    const int64_t first = is_sequence ? batch.elements[feature][row] : row;
    const int64_t last = is_sequence ? batch.elements[feature][row + 1] : row + 1;
    cell.numbers.assign(batch.values[feature].data() + first * dim, batch.values[feature].data() + last * dim);
    return cell;
  }
  const IdColumn& column = batch.ids[feature];
  if (column.offsets.empty()) return cell;
  const std::span<const int64_t> ids = batch.RowIds(feature, row);
  cell.ids.assign(ids.begin(), ids.end());
  if (!column.weights.empty()) {
    const auto first = column.weights.begin() + (ids.data() - column.ids.data());
    cell.numbers.assign(first, first + ids.size());
  }
  return cell;
}

void DataWatch::Observe(const Batch& batch) {
  if (batch.rows == 0) return;
  for (size_t l = 0; l < positives_.size(); ++l) {
    for (int64_t row = 0; is_target_[l] && row < batch.rows; ++row)
      positives_[l] += batch.labels[l].values[row] == 1.0f ? 1 : 0;
  }
  for (size_t f = 0; f < first_.size(); ++f) {
    if (changed_[f] || !config_->features[f].is_read) continue;
    int64_t row = 0;
    if (rows_ == 0) first_[f] = CellOf(batch, f, row++);
    for (; row < batch.rows && !changed_[f]; ++row) changed_[f] = !(CellOf(batch, f, row) == first_[f]);
  }
  rows_ += batch.rows;
}

StatusOr<std::vector<std::string>> DataWatch::Warnings(Collective* collective) const {
  // What one worker saw: {"rows", "positives", "features": the constant cell of each feature, null if it has changed}.
  nlohmann::json mine = {{"rows", rows_}, {"positives", positives_}, {"features", nlohmann::json::array()}};
  for (size_t f = 0; f < first_.size(); ++f) {
    mine["features"].push_back(changed_[f] ? nlohmann::json() : nlohmann::json({first_[f].ids, first_[f].numbers}));
  }
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> all,
                          collective->GatherToFirst(mine.dump(), "what the data look like"));
  std::vector<std::string> warnings;
  if (collective->index() != 0) return warnings;
  std::vector<nlohmann::json> seen;
  for (const std::string& text : all) {
    nlohmann::json one = nlohmann::json::parse(text);
    if (one["rows"] > 0) seen.push_back(std::move(one));
  }
  int64_t rows = 0;
  for (const auto& one : seen) rows += one["rows"].get<int64_t>();
  if (rows < 100) return warnings;  // too few to say anything
  for (size_t l = 0; l < positives_.size(); ++l) {
    int64_t positives = 0;
    for (const auto& one : seen) positives += one["positives"][l].get<int64_t>();
    if (!is_target_[l] || (positives > 0 && positives < rows)) continue;
    warnings.push_back(absl::StrCat("label ", config_->data.labels[l], " was ", positives == 0 ? "never" : "always",
                                    " 1 in ", rows, " rows: nothing can be learnt from it; is it the right column?"));
  }
  for (size_t f = 0; f < first_.size(); ++f) {
    if (!config_->features[f].is_read || seen.empty()) continue;
    bool constant = true;
    for (const auto& one : seen)
      constant = constant && !one["features"][f].is_null() && one["features"][f] == seen[0]["features"][f];
    if (!constant) continue;
    warnings.push_back(absl::StrCat("feature ", config_->features[f].name, " (column ", config_->features[f].column,
                                    ") was the same in all of ", rows, " rows: the model learns nothing from it"));
  }
  return warnings;
}

std::vector<std::string> TableWarnings(const JobConfig& config, const std::map<std::string, int64_t>& rows_seen) {
  constexpr int64_t kLarge = 100000;
  std::vector<std::string> warnings;
  for (const Table& table : config.tables) {
    const auto found = rows_seen.find(table.name);
    if (found == rows_seen.end() || table.grows() || table.rows < kLarge || found->second * 100 >= table.rows) continue;
    warnings.push_back(
        absl::StrCat("table ", table.name, " may have ", table.rows, " rows, training met ", found->second,
                     " ids: exports hold all rows, so a smaller num_buckets or hash_bucket_size would do"));
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
