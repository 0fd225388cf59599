#include "cli/plan/machine.h"

#include <cmath>
#include <map>

#include "absl/strings/numbers.h"
#include "common/base/text.h"
#include "common/file/file.h"
#include "nlohmann/json.hpp"

namespace pepnet {
namespace {

constexpr int64_t kMaxReportBytes = int64_t{64} << 20;

using Json = nlohmann::json;

// A cell is a number or a spread.
StatusOr<double> Cell(const Json& row, const std::string& column) {
  if (!row.contains(column)) {
    return InvalidInput("it has no column '", column,
                        "'; was it written by this version's pepnet bench?");
  }
  const Json& cell = row[column];
  if (cell.is_number()) return cell.get<double>();
  if (cell.is_object() && cell.contains("median") && cell["median"].is_number()) {
    return cell["median"].get<double>();
  }
  return InvalidInput("column '", column, "' is ", Printable(cell.dump(), 200),
                      ", expected a number or a spread");
}

// The row whose `column` is nearest to `wanted`, as a ratio. Sizes differ by factors, so distances
// are those of logarithms.
StatusOr<Json> NearestRow(const Json& report, const std::string& column, double wanted) {
  if (!report.contains("rows") || !report["rows"].is_array() || report["rows"].empty()) {
    return InvalidInput("it has no rows");
  }
  Json best;
  double distance = 0;
  for (const Json& row : report["rows"]) {
    PEPNET_ASSIGN_OR_RETURN(const double value, Cell(row, column));
    const double away = std::abs(std::log(std::max(value, 1.0) / std::max(wanted, 1.0)));
    if (!best.is_null() && away >= distance) continue;
    best = row;
    distance = away;
  }
  return best;
}

// Columns and settings are those of `pepnet bench train` (cli/bench/train_bench.cc).
Status ReadTrain(const Json& report, double batch_size, Machine* machine) {
  PEPNET_ASSIGN_OR_RETURN(const Json row, NearestRow(report, "batch", batch_size));
  PEPNET_ASSIGN_OR_RETURN(const double speed, Cell(row, "speed"));
  double own = 0;  // the shares of a step that the worker spends on its own
  for (const char* stage : {"read", "pool", "compute", "update"}) {
    PEPNET_ASSIGN_OR_RETURN(const double percent, Cell(row, stage));
    own += percent / 100;
  }
  // Both are divided by below, and reports are files that may have been edited.
  if (speed <= 0 || own <= 0) return InvalidInput("a speed of ", speed, " samples/s");
  std::string text = "1";
  if (const auto settings = report.find("settings"); settings != report.end()) {
    if (!settings->is_object()) return InvalidInput("its settings are no object");
    if (const auto setting = settings->find("workers"); setting != settings->end()) {
      text = setting->is_string() ? setting->get<std::string>() : Printable(setting->dump(), 200);
    }
  }
  double workers = 0;
  if (!absl::SimpleAtod(text, &workers) || workers < 1) {
    return InvalidInput("its setting 'workers' is '", Printable(text, 200),
                        "', expected a number from 1");
  }
  // speed / workers is that of a worker with all its waits; of a step it uses the share `own` for
  // itself, so alone it would be faster by 1 / own.
  machine->worker_samples_per_second = speed / workers / own;
  return absl::OkStatus();
}

// "pull x2": training has the next pull under way, too.
Status ReadService(const Json& report, Machine* machine) {
  PEPNET_ASSIGN_OR_RETURN(const Json row, NearestRow(report, "table", 1e12));  // the largest table
  PEPNET_ASSIGN_OR_RETURN(const double pull, Cell(row, "pull x2"));
  PEPNET_ASSIGN_OR_RETURN(const double push, Cell(row, "push"));
  // The report has millions of rows a second.
  machine->pull_rows_per_second = 1e6 * pull;
  machine->push_rows_per_second = 1e6 * push;
  return absl::OkStatus();
}

Status ReadReader(Json report, double batch_size, Machine* machine) {
  // Only rows of a job of one worker: what others cost is the model's part.
  if (report.contains("rows") && report["rows"].is_array()) {
    Json alone = Json::array();
    for (const Json& row : report["rows"]) {
      PEPNET_ASSIGN_OR_RETURN(const double workers, Cell(row, "workers"));
      if (workers == 1) alone.push_back(row);
    }
    if (alone.empty()) return InvalidInput("it has no row for --workers 1");
    report["rows"] = alone;
  }
  PEPNET_ASSIGN_OR_RETURN(const Json row, NearestRow(report, "batch", batch_size));
  PEPNET_ASSIGN_OR_RETURN(const double rows, Cell(row, "per core"));
  PEPNET_ASSIGN_OR_RETURN(const double decode, Cell(row, "decode alone"));
  PEPNET_ASSIGN_OR_RETURN(const double pass, Cell(row, "pass over alone"));
  machine->reader_rows_per_second = 1e6 * rows;
  machine->decode_rows_per_second = 1e6 * decode;
  machine->pass_rows_per_second = 1e6 * pass;
  return absl::OkStatus();
}

// The name in the report says which benchmark it is of, so the files may come in any order.
Status ReadReport(const std::string& path, double batch_size, Machine* machine) {
  PEPNET_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxReportBytes));
  PEPNET_RETURN_IF_ERROR(CheckJsonDepth(text));
  const Json report = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!report.is_object() || !report.contains("bench") || !report["bench"].is_string()) {
    return InvalidInput("it is no report of pepnet bench");
  }
  const std::string name = report["bench"];
  if (name == "train") return ReadTrain(report, batch_size, machine);
  if (name == "service") return ReadService(report, machine);
  if (name == "reader") {
    return ReadReader(report, batch_size, machine);
  }
  if (name == "allreduce") {
    PEPNET_ASSIGN_OR_RETURN(const Json row, NearestRow(report, "array", 1e12));
    PEPNET_ASSIGN_OR_RETURN(const double rate, Cell(row, "bus rate"));
    machine->sum_bytes_per_second = 1e9 * rate;
    return absl::OkStatus();
  }
  return InvalidInput("it is a report of 'pepnet bench ", Printable(name, 200),
                      "', expected one of train, service, reader, allreduce");
}

}  // namespace

StatusOr<Machine> ReadMachine(const std::vector<std::string>& paths, int64_t batch_size) {
  Machine machine;
  for (const std::string& path : paths) {
    PEPNET_RETURN_IF_ERROR(
        Annotate(ReadReport(path, static_cast<double>(batch_size), &machine), path));
  }
  const std::pair<double, const char*> needed[] = {
      {machine.worker_samples_per_second, "train --pipeline_config_path F"},
      {machine.pull_rows_per_second, "service"},
      {machine.reader_rows_per_second, "reader --pipeline_config_path F"},
      {machine.sum_bytes_per_second, "allreduce"}};
  for (const auto& [value, command] : needed) {
    if (value > 0) continue;
    return InvalidInput("--calibration has no figures of 'pepnet bench ", command,
                        "': run it with --json on one of the hosts and add the "
                        "file (a comma list)");
  }
  return machine;
}

}  // namespace pepnet
