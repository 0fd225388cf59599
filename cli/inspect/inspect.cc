#include "cli/inspect/inspect.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <span>
#include <utility>

#include "absl/strings/str_format.h"

#include "common/checkpoint/safetensors.h"
#include "common/checkpoint/strict_json.h"

namespace pepnet {
namespace {

// Smallest and largest of finite numbers; counts the others.
struct Range {
  double low = 0, high = 0;
  int64_t count = 0, non_finite = 0;
  void Add(double value) {
    if (!std::isfinite(value)) {
      ++non_finite;
      return;
    }
    low = count == 0 ? value : std::min(low, value);
    high = count == 0 ? value : std::max(high, value);
    ++count;
  }
};

// "[16, 8]", as Python writes it.
std::string JoinShape(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) absl::StrAppend(&text, i > 0 ? ", " : "", shape[i]);
  return text + "]";
}

// The width of the first column.
size_t WidestName(const std::vector<std::string>& names) {
  size_t width = 5;  // "table", "total"
  for (const std::string& name : names) width = std::max(width, name.size());
  return width;
}

// The details behind the table's line. The histogram and the list of hot ids each stand on one
// line, so that `grep` keeps them whole.
void AppendDetails(const TableSummary& table, std::string* text) {
  const TableStatistics& s = table.statistics;
  if (table.candidates > 0) {
    absl::StrAppend(text, "  ", table.table, ": ", table.candidates,
                    " candidates, ids without a row yet\n");
  }
  if (table.filter_bytes > 0) {
    absl::StrAppend(text, "  ", table.table, ": ids without a row are counted in a filter of ",
                    table.filter_bytes, " bytes\n");
  }
  if (table.value_kind != ValueKind::kFp32 || table.state_kind != ValueKind::kFp32) {
    absl::StrAppend(text, "  ", table.table, ": values kept in ", TypeOf(table.value_kind).name,
                    table.state_kind == ValueKind::kFp32
                        ? ""
                        : absl::StrCat(", state in ", TypeOf(table.state_kind).name),
                    ", ", table.row_bytes, " bytes per row with state on a server\n");
  }
  if (table.rows == 0) return;
  absl::StrAppend(text, "  ", table.table, ": ", s.dead_rows, " rows never updated, ", s.zero_rows,
                  " rows all zero, ", s.non_finite_rows, " rows with NaN or infinity\n");
  const char* separator = "    norms (rows): ";
  for (const auto& [exponent, rows] : s.norm_histogram) {
    absl::StrAppendFormat(text, "%s%.3g to %.3g: %d", separator, std::ldexp(1.0, exponent),
                          std::ldexp(1.0, exponent + 1), rows);
    separator = ", ";
  }
  if (!s.norm_histogram.empty()) text->push_back('\n');
  separator = "    hottest ids (updates): ";
  for (const TableStatistics::HotRow& row : s.hottest) {
    absl::StrAppend(text, separator, row.id, " (", row.frequency, ")");
    separator = ", ";
  }
  if (!s.hottest.empty()) text->push_back('\n');
  for (size_t k = 0; s.parts.size() > 1 && k < s.parts.size(); ++k) {
    absl::StrAppend(text, "    server ", k, ": ", s.parts[k].rows, " rows, ", s.parts[k].bytes,
                    " bytes, ", s.parts[k].updates, " updates\n");
  }
}

}  // namespace

// One pass over the parts in the order of the manifest. The sizes of all files count, also of
// tables that were not asked for: `bytes` is the checkpoint's.
StatusOr<CheckpointSummary> SummarizeCheckpoint(const std::string& directory,
                                                const std::string& table) {
  CheckpointSummary summary;
  summary.directory = directory;
  PEPNET_ASSIGN_OR_RETURN(summary.manifest, ReadManifest(directory));
  std::map<std::string, TableSummary> tables;
  for (const FileEntry& file : summary.manifest.files) summary.bytes += file.bytes;
  for (const PartEntry& part : summary.manifest.parts) {
    summary.bytes += part.bytes;
    if (!table.empty() && part.table != table) continue;
    TableSummary& entry = tables[part.table];
    entry.table = part.table;
    entry.dim = part.dim;
    entry.state_dim = part.state_dim;
    entry.value_kind = part.value_kind;
    entry.state_kind = part.state_kind;
    entry.row_bytes = part.shape().bytes();
    // A part is one server's rows of the table; Add() counts its updates.
    entry.statistics.parts.push_back({part.rows, part.bytes, 0});
    entry.rows += part.rows;
    entry.bytes += part.bytes;
    // The table's digest is the sum of its buckets' (mod 2^128), which are in the manifest: it is
    // the same for any number of servers, so two checkpoints are compared by eye.
    for (const BucketEntry& bucket : part.buckets) entry.digest.Add(bucket.digest);
    PEPNET_ASSIGN_OR_RETURN(const auto reader, TablePartReader::Open(directory, part));
    PEPNET_RETURN_IF_ERROR(reader->Read(0, part.rows, [&](const RowColumns& rows) {
      entry.statistics.Add(rows, part.dim);
      return absl::OkStatus();
    }));
  }
  // Candidates are rows of width 0 (decision 0023): they have no norms and are only counted.
  for (const PartEntry& part : summary.manifest.candidates) {
    summary.bytes += part.bytes;
    if (const auto entry = tables.find(part.table); entry != tables.end()) {
      entry->second.candidates += part.rows;
    }
  }
  for (const FilterEntry& filter : summary.manifest.filters) {
    summary.bytes += filter.bytes;
    if (const auto entry = tables.find(filter.table); entry != tables.end()) {
      entry->second.filter_bytes +=
          (filter.end_bucket - filter.first_bucket) * filter.bucket_words * kFilterWordBytes;
    }
  }
  if (!table.empty() && tables.empty()) {
    return absl::NotFoundError(absl::StrCat(directory, " has no table ", table));
  }
  for (auto& [name, entry] : tables) summary.tables.push_back(std::move(entry));
  return summary;
}

// First the checkpoint, then a line for each table so that columns can be compared, then the
// details of each.
std::string SummaryToText(const CheckpointSummary& summary) {
  const Manifest& manifest = summary.manifest;
  std::string text = absl::StrCat(
      summary.directory, "\n  step ", manifest.step, ", seed ", manifest.seed, ", ",
      manifest.server_count, " servers, ", manifest.worker_count, " workers, batch size ",
      manifest.batch_size, ", cpu ", manifest.cpu, ", ", summary.bytes, " bytes\n");
  for (const FileEntry& file : manifest.files) {
    absl::StrAppend(&text, "  ", file.file, ": ", file.bytes, " bytes, crc32c ",
                    Crc32cToHex(file.crc32c), "\n");
  }
  if (!manifest.event_times.empty()) {
    absl::StrAppend(&text, "  event time ", manifest.event_times.back().time, " s since 1970; ",
                    manifest.event_times.size(), " times known, from ",
                    manifest.event_times.front().time, " at the end of step ",
                    manifest.event_times.front().step, "\n");
  }
  std::vector<std::string> names;
  for (const TableSummary& table : summary.tables) names.push_back(table.table);
  const int width = static_cast<int>(WidestName(names));
  absl::StrAppendFormat(&text, "  %-*s %12s %5s %5s %5s %14s %12s %12s %12s  %s\n", width, "table",
                        "rows", "dim", "state", "parts", "bytes", "norm min", "norm mean",
                        "norm max", "digest");
  int64_t rows = 0, bytes = 0;
  for (const TableSummary& table : summary.tables) {
    absl::StrAppendFormat(&text, "  %-*s %12d %5d %5d %5d %14d %12.6g %12.6g %12.6g  %s\n", width,
                          table.table, table.rows, table.dim, table.state_dim,
                          table.statistics.parts.size(), table.bytes, table.statistics.norm_min,
                          table.statistics.norm_mean(), table.statistics.norm_max,
                          table.digest.ToString());
    rows += table.rows;
    bytes += table.bytes;
  }
  absl::StrAppendFormat(&text, "  %-*s %12d %5s %5s %5s %14d\n", width, "total", rows, "", "", "",
                        bytes);
  for (const TableSummary& table : summary.tables) AppendDetails(table, &text);
  return text;
}

// Members that only some tables have (candidates, filter_bytes) are absent elsewhere; all others
// are always there.
std::string SummaryToJson(const CheckpointSummary& summary) {
  const Manifest& manifest = summary.manifest;
  nlohmann::ordered_json root;
  root["directory"] = summary.directory;
  root["step"] = manifest.step;
  root["seed"] = manifest.seed;
  root["servers"] = manifest.server_count;
  root["workers"] = manifest.worker_count;
  root["batch_size"] = manifest.batch_size;
  root["cpu"] = manifest.cpu;
  root["bytes"] = summary.bytes;
  if (!manifest.event_times.empty()) root["event_time"] = manifest.event_times.back().time;
  root["tables"] = nlohmann::ordered_json::array();
  for (const TableSummary& table : summary.tables) {
    nlohmann::ordered_json item;
    item["table"] = table.table;
    item["rows"] = table.rows;
    if (table.candidates > 0) item["candidates"] = table.candidates;
    if (table.filter_bytes > 0) item["filter_bytes"] = table.filter_bytes;
    item["dim"] = table.dim;
    item["state_dim"] = table.state_dim;
    item["data_type"] = TypeOf(table.value_kind).name;
    item["state_data_type"] = TypeOf(table.state_kind).name;
    item["row_bytes"] = table.row_bytes;
    item["parts"] = table.statistics.parts.size();
    item["bytes"] = table.bytes;
    const TableStatistics& statistics = table.statistics;
    item["norm_min"] = statistics.norm_min;
    item["norm_mean"] = statistics.norm_mean();
    item["norm_max"] = statistics.norm_max;
    item["non_finite_rows"] = statistics.non_finite_rows;
    item["zero_rows"] = statistics.zero_rows;
    item["dead_rows"] = statistics.dead_rows;
    item["norm_histogram"] = nlohmann::ordered_json::array();
    for (const auto& [exponent, rows] : statistics.norm_histogram) {
      item["norm_histogram"].push_back({{"from", std::ldexp(1.0, exponent)}, {"rows", rows}});
    }
    item["hottest"] = nlohmann::ordered_json::array();
    for (const TableStatistics::HotRow& row : statistics.hottest) {
      item["hottest"].push_back({{"id", row.id}, {"updates", row.frequency}});
    }
    item["servers"] = nlohmann::ordered_json::array();
    for (const TableStatistics::PartLoad& part : statistics.parts) {
      item["servers"].push_back(
          {{"rows", part.rows}, {"bytes", part.bytes}, {"updates", part.updates}});
    }
    item["digest"] = table.digest.ToString();
    root["tables"].push_back(std::move(item));
  }
  // A directory name need not be UTF-8; everything else here comes from a manifest, which is.
  return root.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

// Text and JSON are made in one pass: a file may be larger than memory, and tensors are read piece
// by piece.
StatusOr<std::string> SummarizeSafetensors(const std::string& path, bool json) {
  PEPNET_ASSIGN_OR_RETURN(const auto reader, SafetensorsReader::Open(path));
  std::vector<std::string> names;
  uint64_t bytes = 0;
  for (const auto& [name, info] : reader->tensors()) {
    names.push_back(name);
    bytes += info.end - info.begin;
  }
  const int width = static_cast<int>(WidestName(names));
  std::string text =
      absl::StrCat(path, "\n  ", names.size(), " tensors, ", bytes, " bytes of data\n");
  nlohmann::ordered_json root = {
      {"file", path}, {"bytes", bytes}, {"tensors", nlohmann::ordered_json::array()}};
  for (const auto& [name, info] : reader->tensors()) {
    absl::StrAppendFormat(&text, "  %-*s %-4s %-16s %12d bytes", width, name, info.dtype,
                          JoinShape(info.shape), info.end - info.begin);
    nlohmann::ordered_json item = {{"name", name},
                                   {"dtype", info.dtype},
                                   {"shape", info.shape},
                                   {"bytes", info.end - info.begin}};
    Range range;
    double squares = 0;
    const Status read = reader->VisitDoubles(name, [&](std::span<const double> values) {
      for (const double x : values) {
        range.Add(x);
        // The norm is that of the finite elements; the others are counted beside it.
        squares += std::isfinite(x) ? x * x : 0;
      }
    });
    // That is a dtype we only list.
    if (!read.ok() && read.code() != absl::StatusCode::kInvalidArgument) return read;
    if (read.ok()) {
      absl::StrAppendFormat(&text, "  min %.6g  max %.6g  norm %.6g", range.low, range.high,
                            std::sqrt(squares));
      if (range.non_finite > 0) {
        absl::StrAppend(&text, "  ", range.non_finite, " elements NaN or infinite");
      }
      item.update({{"min", range.low},
                   {"max", range.high},
                   {"norm", std::sqrt(squares)},
                   {"non_finite", range.non_finite}});
    }
    text += "\n";
    root["tensors"].push_back(std::move(item));
  }
  if (json) return root.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  return text;
}

}  // namespace pepnet
