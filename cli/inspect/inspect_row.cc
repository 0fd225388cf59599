#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/inspect/inspect.h"
#include "common/base/text.h"
#include "common/checkpoint/strict_json.h"

namespace pepnet {
namespace {

// A row as the checkpoint holds it, and the file that it lies in.
struct Row {
  std::string file;
  std::vector<float> value, state;
  int64_t frequency = 0, last_step = 0;
  std::optional<float> clicks;  // of tables that count them
};

// Nine digits, with which a float reads back exactly.
std::string Floats(const std::vector<float>& values) {
  return absl::StrCat(
      "[",
      absl::StrJoin(values, ", ",
                    [](std::string* out, float x) { absl::StrAppendFormat(out, "%.9g", x); }),
      "]");
}

}  // namespace

StatusOr<std::string> DescribeRow(const std::string& directory, const std::string& table,
                                  int64_t id, bool json, const TableWords& words) {
  PEPNET_ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(directory));
  bool known = false;
  std::optional<Row> found;
  for (const PartEntry& part : manifest.parts) {
    if (part.table != table) continue;
    known = true;
    PEPNET_ASSIGN_OR_RETURN(const auto reader, TablePartReader::Open(directory, part));
    // The parts are searched from end to end: a bucket could be looked up, but one row is asked for
    // now and then.
    PEPNET_RETURN_IF_ERROR(reader->Read(0, part.rows, [&](const RowColumns& rows) {
      for (size_t i = 0; i < rows.ids.size(); ++i) {
        if (rows.ids[i] != id) continue;
        // Row i of a matrix whose rows are `width` wide.
        const auto cut = [i](std::span<const float> all, int width) {
          const std::span<const float> one = all.subspan(i * width, width);
          return std::vector<float>(one.begin(), one.end());
        };
        found = Row{part.file,         cut(rows.values, part.dim), cut(rows.states, part.state_dim),
                    rows.frequency[i], rows.last_step[i],          {}};
        if (part.counts_clicks) {
          // The count of clicks is the last float of the state in such tables; it is shown apart.
          found->clicks = part.ClicksOf(rows, i);
          found->state.resize(static_cast<size_t>(part.optimizer_state_dim()));
        }
      }
      return absl::OkStatus();
    }));
    if (found.has_value()) break;
  }
  if (!known) return absl::NotFoundError(absl::StrCat(directory, " has no table ", table));
  if (!found.has_value()) {
    return absl::NotFoundError(
        absl::StrCat("table ", table, " of ", directory, " has no row ", id,
                     ": training has not met this id, so it reads its initial value"));
  }
  const std::string* const word = WordOf(words, table, id);
  if (json) {
    nlohmann::json row = {{"table", table},
                          {"id", id},
                          {"value", found->value},
                          {"state", found->state},
                          {"frequency", found->frequency},
                          {"last_step", found->last_step},
                          {"file", found->file}};
    if (found->clicks.has_value()) row["clicks"] = *found->clicks;
    if (word != nullptr) row["word"] = Printable(*word);
    return DumpJson(row);
  }
  return absl::StrCat(
      "table ", table, ", id ", id,
      word == nullptr ? "" : absl::StrCat(" \"", Printable(*word), "\""), ", in ", found->file,
      "\n  updates ", found->frequency, ", the last at step ", found->last_step,
      found->clicks.has_value() ? absl::StrCat(", ", *found->clicks, " with a positive label") : "",
      "\n  value ", Floats(found->value),
      found->state.empty() ? "" : absl::StrCat("\n  state ", Floats(found->state)));
}

}  // namespace pepnet
