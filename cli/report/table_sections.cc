#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/report/chart.h"
#include "cli/report/config_fields.h"
#include "cli/report/html.h"
#include "cli/report/sections.h"
#include "cli/report/summary.h"
#include "worker/checkpoint/best_evaluation.h"

namespace pepnet {
namespace {

constexpr size_t kHottestShown = 5;
constexpr size_t kMostServerBars = 32;
constexpr size_t kMostFigures = 6;  // of a checkpoint: the first of each task

// Ids with most updates: the word where a vocabulary has one, and the steps that named the id.
std::string HottestText(const TableRecord& table) {
  std::string text;
  for (size_t i = 0; i < std::min(kHottestShown, table.hottest.size()); ++i) {
    const HotId& hot = table.hottest[i];
    absl::StrAppend(&text, i > 0 ? ", " : "", hot.id);
    if (!hot.word.empty()) absl::StrAppend(&text, " <b>", HtmlText(hot.word), "</b>");
    absl::StrAppend(&text, " <span class=\"soft\">", CountText(hot.updates), "</span>");
  }
  return text.empty() ? "-" : text;
}

// Rows gained between the oldest and the newest checkpoint, with a sign: tables with a policy also
// shrink.
std::string GrowthText(const TableRecord& table, bool several) {
  if (!several) return "-";
  return absl::StrCat(table.grown < 0 ? "" : "+", CountText(table.grown));
}

// Sums are doubles, since counts of a damaged manifest may add up to more than an int64.
std::string TablesOf(const RunRecord& run) {
  HtmlTable table;
  table.text_tail = true;
  // One checkpoint has no other to count growth from.
  const bool several = run.checkpoints.size() > 1;
  table.head = {
      "table", "rows", "of ids", "grown",         "width",
      "state", "file", "memory", "never updated", "hottest ids, with the steps that named them"};
  double rows = 0, file_bytes = 0, memory_bytes = 0;
  for (const TableRecord& one : run.tables) {
    rows += static_cast<double>(one.rows);
    file_bytes += static_cast<double>(one.file_bytes);
    memory_bytes += static_cast<double>(one.memory_bytes);
    table.rows.push_back(
        {HtmlText(one.name), CountText(one.rows),
         one.id_range > 0 ? absl::StrFormat("%.1f %%", 100.0 * static_cast<double>(one.rows) /
                                                           static_cast<double>(one.id_range))
                          : "-",
         GrowthText(one, several), NumbersText(one.dim, one.value_kind),
         NumbersText(one.state_dim, one.state_kind), BytesText(static_cast<double>(one.file_bytes)),
         BytesText(static_cast<double>(one.memory_bytes)),
         one.hottest.empty() ? "-" : CountText(one.dead_rows), HottestText(one)});
  }
  table.rows.push_back({"<b>all</b>", RoundedText(rows), "", "", "", "", BytesText(file_bytes),
                        BytesText(memory_bytes), "", ""});
  return absl::StrCat("<h3>", HtmlText(run.name), ", step ", run.tables_step, "</h3>\n",
                      TableHtml(table));
}

}  // namespace

std::string TablesSection(const std::vector<RunRecord>& runs) {
  std::string tables;
  std::vector<Curve> growth;
  bool grows = false;  // one checkpoint has no growth to show
  for (size_t i = 0; i < runs.size(); ++i) {
    const RunRecord& run = runs[i];
    if (run.checkpoints.empty() || run.tables.empty()) continue;
    tables += TablesOf(run);
    Curve curve;
    curve.label = run.name;
    curve.colour = static_cast<int>(i);
    curve.dots = true;
    curve.run = i;
    curve.name = "rows";
    curve.source = "manifest.json";
    for (const CheckpointRecord& checkpoint : run.checkpoints) {
      curve.points.emplace_back(static_cast<double>(checkpoint.step),
                                static_cast<double>(checkpoint.rows));
    }
    grows |= curve.points.size() > 1;
    growth.push_back(std::move(curve));
  }
  if (tables.empty()) return "";
  ChartLayout layout;
  layout.title = "rows of all tables";
  layout.subtitle = "in the checkpoints that are there";
  layout.y_name = "rows";
  return absl::StrCat(Heading("tables", "Tables"),
                      "<p class=\"soft\">Rows that were updated at least once exist; \"of ids\" is "
                      "their share of the "
                      "range, \"grown\" counts from the oldest checkpoint that is there to the "
                      "newest. Memory is that of the servers, "
                      "at most.</p>\n<div class=\"charts\">\n",
                      grows ? CurvesFigure(layout, growth) : "", "</div>\n", tables);
}

// The checkpoints that are there, with the figures of the evaluations at their steps.
std::string CheckpointsSection(const std::vector<RunRecord>& runs) {
  std::string html;
  for (const RunRecord& run : runs) {
    if (run.checkpoints.empty() && run.set_aside.empty()) continue;
    HtmlTable table;
    const std::string metric = run.best.has_value() ? run.best->metric : "";
    table.head = {"checkpoint", "", "rows", "files", "servers", "workers", "batch of a worker"};
    std::vector<FigureName> figures;
    // One figure per task is enough to tell checkpoints apart; the curves have them all.
    for (const FigureName& figure : FigureNames({run})) {
      const bool same_task =
          !figures.empty() && figures.back().task == figure.task && !figure.task.empty();
      if (!same_task && figures.size() < kMostFigures && LastResult(run, figure).has_value()) {
        figures.push_back(figure);
      }
    }
    for (const FigureName& figure : figures) table.head.push_back(HtmlText(figure.name));
    for (const CheckpointRecord& checkpoint : run.checkpoints) {
      const bool best = run.best.has_value() && run.best->step == checkpoint.step;
      const bool newest = checkpoint.step == run.checkpoints.back().step;
      std::string mark;
      if (best) {
        absl::StrAppend(&mark, "<span class=\"best\">&#9733; best ", HtmlText(metric), " ",
                        MetricText(run.best->value), "</span>");
      }
      if (newest) absl::StrAppend(&mark, mark.empty() ? "" : ", ", "newest");
      std::vector<std::string> row = {absl::StrCat("model.ckpt-", checkpoint.step),
                                      mark,
                                      CountText(checkpoint.rows),
                                      BytesText(static_cast<double>(checkpoint.bytes)),
                                      absl::StrCat(checkpoint.servers),
                                      absl::StrCat(checkpoint.workers),
                                      CountText(checkpoint.batch_size)};
      for (const FigureName& figure : figures) {
        std::string cell = "-";
        for (const LoggedEvaluation& evaluation : run.evaluations) {
          const auto found = evaluation.values.find(figure.name);
          // The later of two evaluations of one step counts (a job that had finished evaluates once
          // more).
          if (evaluation.step == checkpoint.step && found != evaluation.values.end()) {
            cell = MetricText(found->second);
          }
        }
        row.push_back(cell);
      }
      table.rows.push_back(std::move(row));
    }
    absl::StrAppend(&html, "<h3>", HtmlText(run.name), "</h3>\n", TableHtml(table));
    for (const std::string& name : run.set_aside) {
      absl::StrAppend(&html, "<p class=\"bad\">", HtmlText(name), " was set aside</p>\n");
    }
  }
  return html.empty() ? "" : Heading("checkpoints", "Checkpoints") + html;
}

// The newest checkpoint says who wrote it, also for a run in progress; the ranks come from the
// report of a failed job.
std::string ClusterSection(const std::vector<RunRecord>& runs) {
  HtmlTable table;
  table.head = {"run",          "servers", "workers",    "batch of a worker",
                "global batch", "seed",    "computed on"};
  std::string ranks, charts;
  for (const RunRecord& run : runs) {
    if (run.checkpoints.empty()) continue;
    const CheckpointRecord& last = run.checkpoints.back();
    table.rows.push_back({HtmlText(run.name), absl::StrCat(last.servers),
                          absl::StrCat(last.workers), CountText(last.batch_size),
                          RoundedText(static_cast<double>(last.batch_size) * last.workers),
                          absl::StrCat(last.seed), HtmlText(last.cpu)});
    std::vector<BarRow> bars;
    for (size_t k = 0; k < last.server_rows.size(); ++k) {
      bars.push_back({absl::StrCat("server ", k, ": ", CountText(last.server_rows[k]), " rows"),
                      {static_cast<double>(last.server_rows[k])}});
    }
    const auto [least, most] =
        std::minmax_element(last.server_rows.begin(), last.server_rows.end());
    // Buckets are partitioned by hash, so servers hold nearly equal parts; the chart shows when
    // they do not.
    if (bars.size() > kMostServerBars) {
      absl::StrAppend(&ranks, "<p>", HtmlText(run.name), ": the servers hold ", CountText(*least),
                      " to ", CountText(*most), " rows each.</p>\n");
    } else if (bars.size() > 1) {
      charts += BarsFigure(absl::StrCat(run.name, ": rows by server"), "rows", {"rows"}, bars);
    }
    if (!run.job.has_value() || run.job->ranks.empty()) continue;
    HtmlTable members;
    members.all_text = true;
    members.head = {"rank", "role", "host", "state", "step", "doing"};
    for (const JobState::Rank& rank : run.job->ranks) {
      const bool alive = rank.state == "alive" || rank.state == "left";
      members.rows.push_back(
          {absl::StrCat(rank.rank), HtmlText(rank.role), HtmlText(rank.host),
           alive ? HtmlText(rank.state)
                 : absl::StrCat("<span class=\"bad\">", HtmlText(rank.state), "</span>"),
           absl::StrCat(rank.step), HtmlText(rank.phase)});
    }
    absl::StrAppend(&ranks, "<h3>", HtmlText(run.name), ": the ranks when the job failed</h3>\n",
                    TableHtml(members));
  }
  if (table.rows.empty()) return "";
  return absl::StrCat(Heading("cluster", "Cluster"),
                      "<p class=\"soft\">Of the newest checkpoint.</p>\n", TableHtml(table),
                      charts.empty() ? "" : "<div class=\"charts\">\n" + charts + "</div>\n",
                      ranks);
}

// Differences come first and open; the whole configs are long and folded.
std::string ConfigSection(const std::vector<RunRecord>& runs) {
  std::string html;
  if (runs.size() > 1) {
    HtmlTable table;
    table.all_text = true;
    table.head = {"field"};
    for (const std::string& name : RunNames(runs)) table.head.push_back(HtmlText(name));
    for (const ConfigDifference& difference : DifferencesOf(runs)) {
      std::vector<std::string> row = {HtmlText(difference.path)};
      for (const std::string& value : difference.values) {
        row.push_back(value.empty() ? "<span class=\"soft\">-</span>" : HtmlText(value));
      }
      table.rows.push_back(std::move(row));
    }
    absl::StrAppend(&html, "<h3>where the configs differ</h3>\n",
                    table.rows.empty() ? "<p>In nothing but model_dir.</p>\n" : TableHtml(table));
  }
  for (const RunRecord& run : runs) {
    if (run.config_fields.empty()) continue;
    HtmlTable table;
    table.all_text = true;
    table.head = {"field", "value"};
    for (const ConfigField& field : run.config_fields) {
      table.rows.push_back({HtmlText(field.path), HtmlText(absl::StrJoin(field.values, ", "))});
    }
    absl::StrAppend(&html, "<details><summary>The effective config of ", HtmlText(run.name), ": ",
                    CountText(static_cast<int64_t>(table.rows.size())), " fields</summary>\n",
                    TableHtml(table), "</details>\n");
  }
  return html.empty() ? "" : Heading("config", "Config") + html;
}

}  // namespace pepnet
