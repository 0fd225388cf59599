#include "worker/explain/explain_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/text.h"
#include "worker/report/json_number.h"

namespace pepnet {
namespace {

constexpr size_t kNameBytes = 40;

// Cells with the first column to the left and the others to the right, each as wide as its widest
// cell.
class TextTable {
 public:
  void AddLine(std::vector<std::string> cells) { lines_.push_back(std::move(cells)); }
  std::string ToString() const {
    std::vector<size_t> widths;
    for (const std::vector<std::string>& line : lines_) {
      widths.resize(std::max(widths.size(), line.size()));
      for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
    }
    std::string text;
    for (const std::vector<std::string>& line : lines_) {
      absl::StrAppend(&text, text.empty() ? "" : "\n");
      for (size_t i = 0; i < line.size(); ++i) {
        if (i == 0) {
          absl::StrAppendFormat(&text, "%-*s", widths[i], line[i]);
        } else {
          absl::StrAppendFormat(&text, "  %*s", widths[i], line[i]);
        }
      }
    }
    return text;
  }

 private:
  std::vector<std::vector<std::string>> lines_;
};

std::string Cell(const std::optional<double>& value) {
  return value.has_value() ? absl::StrFormat("%.4f", *value) : "-";
}

// The way that the value moves, with its sign.
std::string Change(const std::optional<double>& base, const std::optional<double>& shuffled) {
  if (!base.has_value() || !shuffled.has_value()) return "-";
  const double change = *shuffled - *base;
  // A zero has no sign here: -0.0000 would read as a loss.
  return absl::StrFormat("%+.4f", change == 0 ? 0.0 : change);
}

// "click (click__iid, click__age)" of a sequence group.
std::string NameOf(const FeatureImportance& feature) {
  std::string name = Printable(feature.name, kNameBytes);
  if (feature.features.size() > 1) {
    absl::StrAppend(&name, " (", Printable(absl::StrJoin(feature.features, ", "), kNameBytes), ")");
  }
  return name;
}

nlohmann::ordered_json QualityJson(const TaskQuality& quality) {
  nlohmann::ordered_json json = {{"task", quality.task}};
  json["domain"] = quality.domain.has_value() ? nlohmann::ordered_json(*quality.domain)
                                              : nlohmann::ordered_json();
  json["rows"] = quality.rows;
  json["positives"] = quality.positives;
  json["auc"] = JsonNumber(quality.auc);
  json["logloss"] = JsonNumber(quality.logloss);
  return json;
}

// The cost of dealing out: positive where it hurts.
nlohmann::ordered_json Difference(const std::optional<double>& larger,
                                  const std::optional<double>& smaller) {
  if (!larger.has_value() || !smaller.has_value()) return nullptr;
  return *larger - *smaller;
}

}  // namespace

// First all tasks on all rows, then a table for each task with its domains: one table of all would
// be too wide for a terminal.
std::string ImportanceTables(const Importance& importance) {
  const std::vector<TaskQuality>& base = importance.base;
  std::string text = absl::StrCat("what ", importance.rows,
                                  " rows lose when the values of a feature are permuted among ",
                                  "them: change of auc and logloss, most auc first\n");
  TextTable tasks;
  std::vector<std::string> head = {"feature"}, as_is = {"(as it is)"};
  for (const TaskQuality& quality : base) {
    if (quality.domain.has_value()) continue;
    const std::string task = Printable(quality.task, kNameBytes);
    head.insert(head.end(), {absl::StrCat("auc ", task), absl::StrCat("logloss ", task)});
    as_is.insert(as_is.end(), {Cell(quality.auc), Cell(quality.logloss)});
  }
  tasks.AddLine(head);
  tasks.AddLine(as_is);
  for (const FeatureImportance& feature : importance.features) {
    std::vector<std::string> line = {NameOf(feature)};
    for (size_t i = 0; i < base.size(); ++i) {
      if (base[i].domain.has_value()) continue;
      line.push_back(Change(base[i].auc, feature.shuffled[i].auc));
      line.push_back(Change(base[i].logloss, feature.shuffled[i].logloss));
    }
    tasks.AddLine(std::move(line));
  }
  absl::StrAppend(&text, tasks.ToString());

  // `base` has all rows of a task in front of its domains, so an entry without a domain begins the
  // next task.
  for (size_t begin = 0, end = 0; begin < base.size(); begin = end) {
    for (end = begin + 1; end < base.size() && base[end].domain.has_value();) ++end;
    const size_t last = std::min(end, begin + 1 + kDomainColumns);
    if (last - begin < 3) continue;  // one domain says what all rows do
    absl::StrAppend(&text, "\n\nchange of auc ", Printable(base[begin].task, kNameBytes), " by ",
                    Printable(importance.domain_column, kNameBytes));
    if (last < end) {
      absl::StrAppend(&text, " (the ", last - begin - 1, " with most rows of ", end - begin - 1,
                      ")");
    }
    TextTable domains;
    std::vector<std::string> names = {"feature"}, rows = {"(rows)"}, values = {"(as it is)"};
    for (size_t i = begin; i < last; ++i) {
      names.push_back(i == begin ? "(all)" : Printable(*base[i].domain, 16));
      rows.push_back(absl::StrCat(base[i].rows));
      values.push_back(Cell(base[i].auc));
    }
    for (auto& line : {names, rows, values}) domains.AddLine(line);
    for (const FeatureImportance& feature : importance.features) {
      std::vector<std::string> line = {NameOf(feature)};
      for (size_t i = begin; i < last; ++i) {
        line.push_back(Change(base[i].auc, feature.shuffled[i].auc));
      }
      domains.AddLine(std::move(line));
    }
    absl::StrAppend(&text, "\n", domains.ToString());
  }
  return text;
}

// One line for each gate and part; with several domains, the distance from 1 in each as well.
std::string GateTable(const GateStatistics& statistics) {
  if (statistics.gates.empty()) return "";
  TextTable table;
  const auto head = [&](const std::vector<std::pair<std::string, double>>& domains) {
    std::vector<std::string> line = {"gate", "mean", "from 1", "varies", "off", "full"};
    for (size_t i = 0; i < std::min(domains.size(), kDomainColumns) && domains.size() > 1; ++i) {
      line.push_back(Printable(domains[i].first, 16));
    }
    return line;
  };
  // All gates are measured on the same rows, so the domains of the first are those of all.
  table.AddLine(head(statistics.gates[0].domains));
  for (const GateStatistic& gate : statistics.gates) {
    const auto percent = [](double share) { return absl::StrFormat("%.1f %%", 100 * share); };
    std::vector<std::string> line = {
        Printable(
            absl::StrCat(gate.network, gate.task.empty() ? "" : " ", gate.task, " ", gate.part),
            2 * kNameBytes),
        absl::StrFormat("%.3f", gate.mean),
        absl::StrFormat("%.3f", gate.from_one),
        absl::StrFormat("%.3f", gate.varies),
        percent(gate.off),
        percent(gate.full)};
    for (size_t i = 0; i < std::min(gate.domains.size(), kDomainColumns) && gate.domains.size() > 1;
         ++i) {
      line.push_back(absl::StrFormat("%.3f", gate.domains[i].second));
    }
    table.AddLine(std::move(line));
  }
  const bool by_domain = statistics.gates[0].domains.size() > 1;
  return absl::StrCat(
      "the gates on the first ", statistics.rows,
      " rows: 1 lets a value pass as it is, 0 holds it back",
      by_domain ? absl::StrCat("; from 1 by ", Printable(statistics.domain_column, kNameBytes),
                               " in the last columns")
                : "",
      "\n", table.ToString());
}

// All domains and all digits, whatever the tables had room for (format: docs/explain.md).
std::string ExplanationJson(const ExplainedRun& run, const Importance& importance,
                            const GateStatistics& gates) {
  nlohmann::ordered_json json = {{"checkpoint", run.checkpoint},
                                 {"step", run.step},
                                 {"input", run.input},
                                 {"rows", importance.rows},
                                 {"seed", run.seed},
                                 {"domain_column", importance.domain_column},
                                 {"tasks", nlohmann::ordered_json::array()},
                                 {"features", nlohmann::ordered_json::array()}};
  for (const TaskQuality& quality : importance.base) json["tasks"].push_back(QualityJson(quality));
  for (const FeatureImportance& feature : importance.features) {
    nlohmann::ordered_json one = {{"name", feature.name}, {"features", feature.features}};
    one["tasks"] = nlohmann::ordered_json::array();
    for (size_t i = 0; i < importance.base.size(); ++i) {
      const TaskQuality &base = importance.base[i], &shuffled = feature.shuffled[i];
      nlohmann::ordered_json quality = QualityJson(shuffled);
      // Both are positive where the feature is worth something.
      quality["auc_drop"] = Difference(base.auc, shuffled.auc);
      quality["logloss_rise"] = Difference(shuffled.logloss, base.logloss);
      one["tasks"].push_back(std::move(quality));
    }
    json["features"].push_back(std::move(one));
  }
  json["gate_rows"] = gates.rows;
  json["gates"] = nlohmann::ordered_json::array();
  for (const GateStatistic& gate : gates.gates) {
    nlohmann::ordered_json one = {{"network", gate.network}};
    one["task"] = gate.task.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(gate.task);
    one["part"] = gate.part;
    one["columns"] = gate.columns;
    one["gamma"] = gate.gamma;
    one["mean"] = gate.mean;
    one["from_one"] = gate.from_one;
    one["varies"] = gate.varies;
    one["off"] = gate.off;
    one["full"] = gate.full;
    one["domains"] = nlohmann::ordered_json::array();
    for (const auto& [domain, from_one] : gate.domains) {
      one["domains"].push_back({{"domain", domain}, {"from_one", from_one}});
    }
    json["gates"].push_back(std::move(one));
  }
  // Names are any bytes; what is not UTF-8 is replaced, so that the file stays JSON.
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace pepnet
