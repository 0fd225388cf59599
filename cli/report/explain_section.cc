#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/report/chart.h"
#include "cli/report/html.h"
#include "cli/report/sections.h"
#include "worker/checkpoint/best_evaluation.h"

namespace pepnet {
namespace {

constexpr size_t kMostDomains = 8;  // columns of a table
constexpr size_t kMostBars = 20;    // features of a chart
// Share of gates that are dead or saturated, from which it is marked.
constexpr double kMost = 0.9;

// A change has its sign, and "-" stands where there is none: for an AUC of one class, for example.
std::string ChangeText(const std::optional<double>& change) {
  return change.has_value() ? absl::StrFormat("%+.4f", *change) : "-";
}

// The AUC that each feature is worth, task by task.
std::string FeatureBars(const RunRecord& run) {
  const ExplainRecord& record = *run.explained;
  std::vector<std::string> tasks;
  std::vector<size_t> places;  // of the tasks' rows of all domains
  for (size_t i = 0; i < record.base.size(); ++i) {
    if (record.base[i].domain.has_value()) continue;
    tasks.push_back(record.base[i].task);
    places.push_back(i);
  }
  std::vector<BarRow> bars;
  for (const ExplainRecord::Feature& feature : record.features) {
    if (bars.size() == kMostBars) break;
    BarRow bar{feature.name, {}};
    for (const size_t place : places) {
      // A feature whose loss raises the AUC is noise or harm; a bar cannot point backwards, and the
      // table has the number.
      bar.parts.push_back(std::max(0.0, feature.tasks[place].auc_drop.value_or(0)));
    }
    bars.push_back(std::move(bar));
  }
  return BarsFigure(run.name + ": what the features are worth",
                    "AUC that is lost without the feature", tasks, bars);
}

// One table a task: all rows, then the domains with most rows.
std::string FeatureTables(const RunRecord& run) {
  const ExplainRecord& record = *run.explained;
  std::string html;
  // The file lists the rows of all domains of a task and then each domain, most rows first; `all`
  // is the place of the former.
  for (size_t all = 0; all < record.base.size(); ++all) {
    if (record.base[all].domain.has_value()) continue;
    const std::string& task = record.base[all].task;
    HtmlTable table;
    table.head = {"feature", "change of log loss", "change of AUC"};
    std::vector<size_t> columns = {all};
    for (size_t i = 0; i < record.base.size() && columns.size() <= kMostDomains; ++i) {
      if (record.base[i].task == task && record.base[i].domain.has_value()) columns.push_back(i);
    }
    for (size_t c = 1; c < columns.size(); ++c) {
      table.head.push_back(
          HtmlText(absl::StrCat(record.domain_column, " ", *record.base[columns[c]].domain)));
    }
    // Absolute AUCs of the unchanged model head the columns, whose other cells are changes.
    table.rows.push_back({"(as it is)", ""});
    for (const size_t column : columns) {
      const std::optional<double>& auc = record.base[column].auc;
      table.rows.back().push_back(auc.has_value() ? MetricText(*auc) : "-");
    }
    for (const ExplainRecord::Feature& feature : record.features) {
      table.rows.push_back({HtmlText(feature.name), ChangeText(feature.tasks[all].logloss_rise)});
      for (const size_t column : columns) {
        const std::optional<double>& drop = feature.tasks[column].auc_drop;
        table.rows.back().push_back(
            // The file has drops; here both columns are changes, so a worse AUC is negative.
            ChangeText(drop.has_value() ? std::optional<double>(-*drop) : std::nullopt));
      }
    }
    absl::StrAppend(&html, "<h3>", HtmlText(run.name), ", task ", HtmlText(task),
                    ": without a feature</h3>\n", TableHtml(table));
  }
  return html;
}

// One line per gate and layer. Gates that are nearly all off or full tell domains or users apart no
// longer, and their gradient is near 0: such shares are marked.
std::string GateTable(const RunRecord& run) {
  const ExplainRecord& record = *run.explained;
  if (record.gates.empty()) return "";
  HtmlTable table;
  table.head = {"gate", "mean", "from 1", "varies", "off", "full"};
  const auto share = [](double value) {
    const std::string text = absl::StrFormat("%.1f %%", 100 * value);
    return value >= kMost ? absl::StrCat("<span class=\"bad\">", text, "</span>") : text;
  };
  for (const ExplainRecord::Gate& gate : record.gates) {
    table.rows.push_back({HtmlText(absl::StrCat(gate.network, gate.task.empty() ? "" : " ",
                                                gate.task, " ", gate.part)),
                          absl::StrFormat("%.3f", gate.mean),
                          absl::StrFormat("%.3f", gate.from_one),
                          absl::StrFormat("%.3f", gate.varies), share(gate.off), share(gate.full)});
  }
  return absl::StrCat("<h3>", HtmlText(run.name), ": the gates on the first ",
                      CountText(record.gate_rows),
                      " rows</h3>\n<p class=\"soft\">1 lets a value pass as it is, 0 (off) holds "
                      "it back; full gates hardly ",
                      "move any more.</p>\n", TableHtml(table));
}

// The hottest id of each table with its nearest rows: a plain check that embeddings mean something.
std::string LearntTable(const RunRecord& run) {
  if (run.learnt.empty()) return "";
  HtmlTable table;
  table.text_tail = true;
  table.head = {"table", "hottest id", "norm", "mean cosine of all rows",
                "nearest rows, by cosine"};
  for (const LearntId& learnt : run.learnt) {
    std::string near;
    for (const LearntId::Near& one : learnt.nearest) {
      absl::StrAppend(&near, near.empty() ? "" : ", ", one.id);
      if (!one.word.empty()) absl::StrAppend(&near, " <b>", HtmlText(one.word), "</b>");
      absl::StrAppendFormat(&near, " <span class=\"soft\">%.3f</span>", one.cosine);
    }
    table.rows.push_back({HtmlText(learnt.table),
                          absl::StrCat(learnt.id.id, " ", HtmlText(learnt.id.word)),
                          MetricText(learnt.norm), absl::StrFormat("%.3f", learnt.mean_cosine),
                          near.empty() ? "-" : near});
  }
  return absl::StrCat("<h3>", HtmlText(run.name), ", step ", run.tables_step,
                      ": what the hottest ids have learnt</h3>\n", TableHtml(table));
}

}  // namespace

std::string ExplainSection(const std::vector<RunRecord>& runs) {
  std::string charts, tables, learnt;
  bool explained = false;
  for (const RunRecord& run : runs) {
    learnt += LearntTable(run);
    if (!run.explained.has_value()) continue;
    explained = true;
    charts += FeatureBars(run);
    tables += FeatureTables(run) + GateTable(run);
  }
  if (!explained && learnt.empty()) return "";
  std::string html = Heading("explained", "What the model goes by");
  if (explained) {
    absl::StrAppend(&html, "<div class=\"charts\">\n", charts,
                    "</div>\n<details><summary>The figures as tables</summary>\n", tables,
                    "</details>\n");
  } else {
    html +=
        "<p class=\"soft\">What each feature is worth and what the gates do stands here once "
        "<code>pepnet explain "
        "... --output RUN/explained.json</code> has been run.</p>\n";
  }
  return html + learnt;
}

}  // namespace pepnet
