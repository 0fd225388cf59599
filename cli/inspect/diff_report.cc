#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/inspect/inspect_diff.h"
#include "common/base/text.h"
#include "worker/report/json_number.h"

namespace pepnet {
namespace {

// So much of a word is shown beside its id; two rows share a line.
constexpr size_t kWordBytes = 24;

// "by 3.2 % of their norm".
std::string Share(double relative_change) {
  if (std::isinf(relative_change)) return "from 0, or by a number that is none";
  return absl::StrFormat("by %.3g %% of their norm", 100 * relative_change);
}

// The names stand in the JSON, too, so programs read them: they do not change.
const char* NameOf(DiffPlace place) {
  switch (place) {
    case DiffPlace::kBoth:
      return "both";
    case DiffPlace::kOnlyLeft:
      return "only left";
    case DiffPlace::kOnlyRight:
      return "only right";
    case DiffPlace::kOtherShape:
      return "other shape";
  }
  return "";
}

// The rows that moved most, two on a line. Cells are padded to the widest, so that the second of a
// line begins in one column.
std::string MovedLines(const TableDiff& table, const TableWords& words) {
  std::vector<std::string> cells;
  size_t width = 0;
  for (const MovedRow& row : table.moved) {
    const std::string* const word = WordOf(words, table.table, row.id);
    cells.push_back(absl::StrFormat(
        "%d%s by %.4g (norm %.4g, then %.4g)", row.id,
        word == nullptr ? std::string() : absl::StrCat(" \"", Printable(*word, kWordBytes), "\""),
        row.distance, row.left_norm, row.right_norm));
    width = std::max(width, cells.back().size());
  }
  std::string text;
  for (size_t i = 0; i < cells.size(); i += 2) {
    if (i + 1 < cells.size()) {
      absl::StrAppendFormat(&text, "    %-*s   %s\n", width, cells[i], cells[i + 1]);
    } else {
      absl::StrAppend(&text, "    ", cells[i], "\n");
    }
  }
  return text;
}

// One line for a table that is equal, lacking or of another shape; else what differs, and below it
// the rows that moved most.
std::string TableLines(const TableDiff& table, const TableWords& words) {
  const std::string name = Printable(table.table, 80);
  switch (table.place) {
    case DiffPlace::kOnlyLeft:
    case DiffPlace::kOnlyRight:
      return absl::StrCat(name, ": ", NameOf(table.place), ", ", table.only_left + table.only_right,
                          " rows\n");
    case DiffPlace::kOtherShape:
      return absl::StrCat(name, ": dim ", table.left_dim, " and state ", table.left_state_dim,
                          " left, dim ", table.right_dim, " and state ", table.right_state_dim,
                          " right\n");
    case DiffPlace::kBoth:
      break;
  }
  if (table.equal()) return absl::StrCat(name, ": equal, ", table.left_rows, " rows\n");
  std::string text = absl::StrFormat(
      "%s: %d rows only left, %d only right, %d in both: %d with other values", name,
      table.only_left, table.only_right, table.left_rows - table.only_left, table.other_values);
  if (table.other_state > 0) {
    absl::StrAppend(&text, ", ", table.other_state,
                    " with other optimizer state or counters alone");
  }
  // A line below that of the table stands only for what differs.
  text += "\n";
  if (table.other_values > 0) {
    absl::StrAppendFormat(&text, "  other values: moved %s; largest difference %.6g\n",
                          Share(table.relative_change), table.largest_value);
  }
  if (table.largest_state > 0) {
    absl::StrAppendFormat(&text, "  optimizer state: largest difference %.6g\n",
                          table.largest_state);
  }
  if (!table.moved.empty()) {
    absl::StrAppend(&text, "  moved most, by distance:\n", MovedLines(table, words));
  }
  return text;
}

std::string FilterLine(const FilterDiff& filter) {
  const std::string name = absl::StrCat(Printable(filter.table, 80), ", admission filter: ");
  switch (filter.place) {
    case DiffPlace::kOnlyLeft:
    case DiffPlace::kOnlyRight:
      return absl::StrCat(name, NameOf(filter.place), ", ", filter.counters, " counters\n");
    case DiffPlace::kOtherShape:
      return absl::StrCat(name, "another size or other bits a counter\n");
    case DiffPlace::kBoth:
      break;
  }
  if (filter.equal()) return absl::StrCat(name, "equal, ", filter.counters, " counters\n");
  return absl::StrCat(name, filter.other_counters, " of ", filter.counters, " counters differ\n");
}

// Layers that moved, most first. Optimizer state is only counted: it changes with every step.
std::string DenseLines(const CheckpointDiff& diff) {
  if (!diff.has_dense) return "";
  if (diff.dense != DiffPlace::kBoth) {
    return absl::StrCat("dense layers: ", NameOf(diff.dense), "\n");
  }
  const auto changed = static_cast<int>(diff.tensors.size());
  std::string text =
      absl::StrCat("dense layers: ", diff.layers - changed, " of ", diff.layers, " equal");
  if (diff.states > 0) {
    absl::StrAppend(&text, "; optimizer state: ", diff.states - diff.states_changed, " of ",
                    diff.states, " equal");
  }
  absl::StrAppend(&text, "\n");
  for (size_t i = 0; i < std::min(diff.tensors.size(), kMovedNamed); ++i) {
    const TensorDiff& tensor = diff.tensors[i];
    const std::string name = Printable(tensor.name, 100);
    if (tensor.place != DiffPlace::kBoth) {
      absl::StrAppend(&text, "  ", name, ": ", NameOf(tensor.place), "\n");
    } else {
      absl::StrAppendFormat(&text, "  %s: moved %s; largest difference %.6g\n", name,
                            Share(tensor.relative_change), tensor.largest);
    }
  }
  // The list is sorted, so those that are left out moved less than those that stand there.
  if (diff.tensors.size() > kMovedNamed) {
    absl::StrAppend(&text, "  and ", diff.tensors.size() - kMovedNamed, " that moved less\n");
  }
  return text;
}

}  // namespace

// Tables that are equal have a line as well: a reader sees that they were compared.
std::string DiffToText(const CheckpointDiff& diff, const TableWords& words) {
  std::string text =
      absl::StrCat("left ", Printable(diff.left), " (step ", diff.left_step, ")\nright ",
                   Printable(diff.right), " (step ", diff.right_step, ")\n");
  for (const TableDiff& table : diff.tables) absl::StrAppend(&text, TableLines(table, words));
  for (const FilterDiff& filter : diff.filters) absl::StrAppend(&text, FilterLine(filter));
  if (diff.has_event_times) {
    absl::StrAppend(&text, "event times: ", diff.other_event_times ? "differ" : "equal", "\n");
  }
  absl::StrAppend(&text, DenseLines(diff), diff.equal() ? "equal\n" : "different\n");
  return text;
}

// The same figures as the text, with all digits and without the limit on tensors.
std::string DiffToJson(const CheckpointDiff& diff, const TableWords& words) {
  nlohmann::ordered_json json = {{"equal", diff.equal()},
                                 {"left", {{"path", diff.left}, {"step", diff.left_step}}},
                                 {"right", {{"path", diff.right}, {"step", diff.right_step}}},
                                 {"tables", nlohmann::ordered_json::array()}};
  for (const TableDiff& table : diff.tables) {
    nlohmann::ordered_json one = {{"table", table.table},
                                  {"in", NameOf(table.place)},
                                  {"equal", table.equal()},
                                  {"left_rows", table.left_rows},
                                  {"right_rows", table.right_rows},
                                  {"only_left", table.only_left},
                                  {"only_right", table.only_right},
                                  {"other_values", table.other_values},
                                  {"other_state", table.other_state},
                                  {"relative_change", JsonNumber(table.relative_change)},
                                  {"largest_value", JsonNumber(table.largest_value)},
                                  {"largest_state", JsonNumber(table.largest_state)},
                                  {"moved", nlohmann::ordered_json::array()}};
    for (const MovedRow& row : table.moved) {
      nlohmann::ordered_json moved = {{"id", row.id}};
      if (const std::string* word = WordOf(words, table.table, row.id)) moved["word"] = *word;
      // JSON has no infinity: JsonNumber() writes null for it.
      moved["distance"] = JsonNumber(row.distance);
      moved["left_norm"] = JsonNumber(row.left_norm);
      moved["right_norm"] = JsonNumber(row.right_norm);
      one["moved"].push_back(std::move(moved));
    }
    json["tables"].push_back(std::move(one));
  }
  // Only where one of the two has any.
  for (const FilterDiff& filter : diff.filters) {
    json["filters"].push_back({{"table", filter.table},
                               {"in", NameOf(filter.place)},
                               {"counters", filter.counters},
                               {"other_counters", filter.other_counters}});
  }
  if (diff.has_event_times) json["equal_event_times"] = !diff.other_event_times;
  if (diff.has_dense) {
    nlohmann::ordered_json dense = {{"in", NameOf(diff.dense)},
                                    {"layers", diff.layers},
                                    {"optimizer_states", diff.states},
                                    {"optimizer_states_changed", diff.states_changed},
                                    {"changed", nlohmann::ordered_json::array()}};
    for (const TensorDiff& tensor : diff.tensors) {
      dense["changed"].push_back({{"name", tensor.name},
                                  {"in", NameOf(tensor.place)},
                                  {"relative_change", JsonNumber(tensor.relative_change)},
                                  {"largest", JsonNumber(tensor.largest)}});
    }
    json["dense"] = std::move(dense);
  }
  // Paths and names of tables need not be UTF-8, which JSON is: what is none is replaced.
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

// The sentence for the error of a --diff. State of the optimizer is named only where nothing else
// differs.
std::string DiffInBrief(const CheckpointDiff& diff) {
  std::vector<std::string> parts;
  const auto tables = std::count_if(diff.tables.begin(), diff.tables.end(),
                                    [](const auto& t) { return !t.equal(); });
  if (tables > 0) parts.push_back(absl::StrCat(tables, " of ", diff.tables.size(), " tables"));
  const auto filters = std::count_if(diff.filters.begin(), diff.filters.end(),
                                     [](const auto& f) { return !f.equal(); });
  if (filters > 0) {
    parts.push_back(absl::StrCat(filters, " of ", diff.filters.size(), " admission filters"));
  }
  if (diff.other_event_times) parts.push_back("the event times");
  if (diff.dense != DiffPlace::kBoth) {
    parts.push_back(absl::StrCat("the dense layers, which are ", NameOf(diff.dense)));
  } else if (!diff.tensors.empty()) {
    parts.push_back(absl::StrCat(diff.tensors.size(), " of ", diff.layers, " dense layers"));
  } else if (diff.states_changed > 0 && parts.empty()) {
    return "the state of the dense optimizer differs";
  }
  return absl::StrCat(absl::StrJoin(parts, " and "), " differ");
}

}  // namespace pepnet
