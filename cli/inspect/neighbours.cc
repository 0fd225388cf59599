#include "cli/inspect/neighbours.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/text.h"
#include "common/checkpoint/checkpoint.h"

namespace pepnet {
namespace {

// Calls `body` with each row of the table; false if there is no such table.
StatusOr<bool> ForEachRow(
    const std::string& directory, const Manifest& manifest, const std::string& table,
    const std::function<void(int64_t id, std::span<const float> value, int64_t frequency)>& body) {
  bool known = false;
  for (const PartEntry& part : manifest.parts) {
    if (part.table != table) continue;
    known = true;
    PEPNET_ASSIGN_OR_RETURN(const auto reader, TablePartReader::Open(directory, part));
    PEPNET_RETURN_IF_ERROR(reader->Read(0, part.rows, [&](const RowColumns& rows) {
      for (size_t i = 0; i < rows.ids.size(); ++i) {
        body(rows.ids[i], std::span<const float>(rows.values).subspan(i * part.dim, part.dim),
             rows.frequency[i]);
      }
      return absl::OkStatus();
    }));
  }
  return known;
}

// The sum is a double, since squares of small floats would vanish in float.
double NormOf(std::span<const float> value) {
  double sum = 0;
  for (const float x : value) sum += static_cast<double>(x) * x;
  return std::sqrt(sum);
}

// Ids decide between equal cosines, so that the answer does not depend on the number of servers.
bool ComesFirst(const Neighbour& a, const Neighbour& b) {
  return a.cosine != b.cosine ? a.cosine > b.cosine : a.id < b.id;
}

}  // namespace

StatusOr<Neighbours> FindNeighbours(const std::string& directory, const std::string& table,
                                    int64_t id, int64_t count) {
  PEPNET_ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(directory));
  // Two passes: the row may stand at the end of the last part, and the table may not fit into
  // memory.
  std::vector<float> own;
  bool found = false;
  PEPNET_ASSIGN_OR_RETURN(const bool known,
                          ForEachRow(directory, manifest, table,
                                     [&](int64_t row, std::span<const float> value, int64_t) {
                                       if (row != id) return;
                                       own.assign(value.begin(), value.end());
                                       found = true;
                                     }));
  if (!known) return absl::NotFoundError(absl::StrCat(directory, " has no table ", table));
  if (!found) {
    return absl::NotFoundError(
        absl::StrCat("table ", table, " of ", directory, " has no row ", id,
                     ": training has not met this id, so it has no neighbours"));
  }
  Neighbours result;
  result.norm = NormOf(own);
  if (!(result.norm > 0) || !std::isfinite(result.norm)) {
    return absl::FailedPreconditionError(
        absl::StrCat("row ", id, " of table ", table, " has the norm ", result.norm,
                     ", and without a direction there are no neighbours"));
  }
  // The mean cosine over all rows is the yardstick: in a table whose rows all point one way, a
  // cosine of 0.9 says nothing.
  double sum = 0;
  const auto keep = [&] {
    std::sort(result.nearest.begin(), result.nearest.end(), ComesFirst);
    if (static_cast<int64_t>(result.nearest.size()) > count) result.nearest.resize(count);
  };
  PEPNET_RETURN_IF_ERROR(
      ForEachRow(directory, manifest, table,
                 [&](int64_t row, std::span<const float> value, int64_t frequency) {
                   const double norm = NormOf(value);
                   // NaN fails every comparison, so !(norm > 0) holds for it.
                   if (row == id || !(norm > 0) || !std::isfinite(norm)) return;
                   double product = 0;
                   for (size_t i = 0; i < value.size(); ++i) {
                     product += static_cast<double>(own[i]) * value[i];
                   }
                   // Rounding may bring the quotient slightly beyond 1.
                   const double cosine = std::clamp(product / (norm * result.norm), -1.0, 1.0);
                   sum += cosine;
                   ++result.rows;
                   result.nearest.push_back({row, cosine, norm, frequency});
                   // The list is cut when it has grown to a multiple of its size, so that sorting
                   // costs little a row.
                   if (static_cast<int64_t>(result.nearest.size()) >= 2 * count + 1024) keep();
                 })
          .status());
  keep();
  if (result.rows > 0) result.mean_cosine = sum / static_cast<double>(result.rows);
  return result;
}

std::string NeighboursToText(const std::string& table, const Neighbours& neighbours,
                             const TableWords& words) {
  std::string text = absl::StrFormat("  norm %.4g; nearest of %d rows by cosine (on average %.3f):",
                                     neighbours.norm, neighbours.rows, neighbours.mean_cosine);
  std::vector<std::string> names;
  size_t width = 0;
  for (const Neighbour& one : neighbours.nearest) {
    const std::string* const word = WordOf(words, table, one.id);
    names.push_back(absl::StrCat(
        one.id, word == nullptr ? "" : absl::StrCat(" \"", Printable(*word, 40), "\"")));
    width = std::max(width, names.back().size());
  }
  for (size_t i = 0; i < names.size(); ++i) {
    const Neighbour& one = neighbours.nearest[i];
    absl::StrAppendFormat(&text, "\n    %-*s  %6.3f  norm %.4g, %d updates", width, names[i],
                          one.cosine, one.norm, one.frequency);
  }
  return text;
}

std::string NeighboursToJson(const std::string& table, int64_t id, const Neighbours& neighbours,
                             const TableWords& words) {
  const auto named = [&](int64_t row) {
    nlohmann::ordered_json json = {{"id", row}};
    if (const std::string* word = WordOf(words, table, row)) json["word"] = *word;
    return json;
  };
  nlohmann::ordered_json json = named(id);
  json["table"] = table;
  json["norm"] = neighbours.norm;
  json["rows"] = neighbours.rows;
  json["mean_cosine"] = neighbours.mean_cosine;
  json["neighbours"] = nlohmann::ordered_json::array();
  for (const Neighbour& one : neighbours.nearest) {
    nlohmann::ordered_json row = named(one.id);
    row["cosine"] = one.cosine;
    row["norm"] = one.norm;
    row["frequency"] = one.frequency;
    json["neighbours"].push_back(std::move(row));
  }
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace pepnet
