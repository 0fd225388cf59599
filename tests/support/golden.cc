#include "tests/support/golden.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include <nlohmann/json.hpp>

#include "common/config/load.h"
#include "common/file/file.h"
#include "tests/support/paths.h"

namespace pepnet {
namespace {

template <typename T>
T ValueOrDie(StatusOr<T> result) {
  if (!result.ok()) {
    fprintf(stderr, "golden: %s\n", std::string(result.status().message()).c_str());
    abort();
  }
  return std::move(result).value();
}

nlohmann::json LossJson(const std::string& name) {
  return nlohmann::json::parse(ValueOrDie(ReadFile(GoldenPath(name, "loss.json")))).at("float64");
}

std::vector<std::string> Split(const std::string& line, char delimiter) {
  std::vector<std::string> cells(1);
  for (char c : line) {
    if (c == delimiter) {
      cells.emplace_back();
    } else {
      cells.back() += c;
    }
  }
  return cells;
}

}  // namespace

const std::vector<std::string>& GoldenCases() {
  static const std::vector<std::string> cases = [] {
    std::vector<std::string> all = PooledGoldenCases();
    all.insert(all.end(),
               {"raw_embed", "seq_attention", "seq_din", "seq_pooling", "seq_standalone"});
    return all;
  }();
  return cases;
}

const std::vector<std::string>& PooledGoldenCases() {
  static const std::vector<std::string> cases = {
      "features", "losses_metrics", "mixed",      "multi_domain", "no_domain", "no_uia",
      "optim",    "pareto",         "seed_small", "suffix",       "towers"};
  return cases;
}

std::string GoldenPath(const std::string& name, const std::string& file) {
  return SourceDir() + "/tests/golden/" + name + "/" + file;
}

JobConfig LoadGoldenConfig(const std::string& name) {
  ConfigOverrides overrides;
  overrides.train_input_path = overrides.eval_input_path = GoldenPath(name, "train.csv");
  return ValueOrDie(LoadJobConfig(GoldenPath(name, "pipeline.config"), overrides));
}

std::unique_ptr<SafetensorsReader> OpenGolden(const std::string& name, const std::string& file) {
  return ValueOrDie(SafetensorsReader::Open(GoldenPath(name, file)));
}

std::vector<float> GoldenFloats(const SafetensorsReader& reader, const std::string& tensor) {
  return ValueOrDie(reader.ReadFloats(tensor));
}

std::vector<double> GoldenDoubles(const SafetensorsReader& reader, const std::string& tensor) {
  return ValueOrDie(reader.ReadDoubles(tensor));
}

std::map<std::string, double> GoldenFirstLosses(const std::string& name) {
  return LossJson(name).at("batch0").get<std::map<std::string, double>>();
}

std::vector<std::map<std::string, double>> GoldenStepLosses(const std::string& name) {
  return LossJson(name).at("steps").get<std::vector<std::map<std::string, double>>>();
}

std::map<std::string, std::vector<std::string>> GoldenColumns(const std::string& name,
                                                              const JobConfig& config) {
  std::istringstream lines(ValueOrDie(ReadFile(GoldenPath(name, "train.csv"))));
  std::vector<std::string> header;
  for (const InputField& field : config.data.input_fields) header.push_back(field.name);
  std::map<std::string, std::vector<std::string>> columns;
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty()) continue;
    const std::vector<std::string> cells = Split(line, config.data.delimiter);
    if (config.data.with_header && columns.empty() && header.empty()) {
      header = cells;
      continue;
    }
    if (cells.size() != header.size()) {
      fprintf(stderr, "golden: %s/train.csv has a line of %zu cells, not %zu\n", name.c_str(),
              cells.size(), header.size());
      abort();
    }
    for (size_t i = 0; i < cells.size(); ++i) columns[header[i]].push_back(cells[i]);
  }
  return columns;
}

std::vector<IdColumn> GoldenSessions(const JobConfig& config,
                                     const std::map<std::string, std::vector<std::string>>& columns,
                                     int64_t rows) {
  std::vector<IdColumn> ids(config.features.size());
  for (const Tower& tower : config.model.towers) {
    for (const Loss& loss : tower.losses) {
      if (loss.session_feature < 0) continue;
      const std::vector<std::string>& cells =
          columns.at(config.features[loss.session_feature].column);
      IdColumn& column = ids[loss.session_feature] = {};
      column.offsets.push_back(0);
      for (int64_t row = 0; row < rows; ++row) {
        const std::string& cell = cells[row % cells.size()];
        if (!cell.empty()) column.ids.push_back(std::strtoll(cell.c_str(), nullptr, 10));
        column.offsets.push_back(static_cast<int32_t>(column.ids.size()));
      }
    }
  }
  return ids;
}

std::string Difference(const std::string& what, std::span<const float> values,
                       std::span<const double> reference, Tolerance tolerance, bool exact_zeros) {
  std::ostringstream out;
  out.precision(9);
  if (values.size() != reference.size()) {
    out << what << " has " << values.size() << " elements, the reference " << reference.size();
    return out.str();
  }
  size_t outside = 0, worst = 0;
  double worst_ratio = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double allowed = exact_zeros && reference[i] == 0
                               ? 0
                               : tolerance.absolute + tolerance.relative * std::abs(reference[i]);
    const double difference = std::abs(static_cast<double>(values[i]) - reference[i]);
    if (difference <= allowed) continue;  // false for NaN
    ++outside;
    const double ratio = difference >= 0 && allowed > 0 ? difference / allowed : HUGE_VAL;
    if (ratio > worst_ratio) {
      worst_ratio = ratio;
      worst = i;
    }
  }
  if (outside == 0) return "";
  out << what << ": " << outside << " of " << values.size() << " elements differ; worst is element "
      << worst << ": " << values[worst] << ", the reference is " << reference[worst] << " ("
      << worst_ratio << " times the tolerance)";
  return out.str();
}

}  // namespace pepnet
