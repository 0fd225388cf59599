#include "cli/report/page.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "cli/report/html.h"
#include "cli/report/sections.h"
#include "cli/report/summary.h"
#include "worker/checkpoint/best_evaluation.h"

namespace pepnet {
namespace {

// The values of a config field as they stand in the file; "" where the run has none.
std::string ValueOfField(const RunRecord& run, const std::string& path) {
  for (const ConfigField& field : run.config_fields) {
    if (field.path == path) return absl::StrJoin(field.values, ", ");
  }
  return "";
}

// The optimizer of "train_config.sparse_optimizer.": "adagrad, lr 0.02".
std::string OptimizerText(const RunRecord& run, const std::string& prefix) {
  for (const ConfigField& field : run.config_fields) {
    if (field.path.rfind(prefix, 0) != 0) continue;
    const std::string rest = field.path.substr(prefix.size());
    const size_t end = rest.find("_optimizer.");
    // The first field that is an optimizer's names the kind: "adagrad_optimizer.lr" gives
    // "adagrad".
    if (end == std::string::npos) continue;
    const std::string rate =
        ValueOfField(run, absl::StrCat(prefix, rest.substr(0, end), "_optimizer.lr"));
    return absl::StrCat(rest.substr(0, end), rate.empty() ? "" : ", lr " + rate);
  }
  return "";
}

// A cell with a figure and, softer, its step. A star marks the best besides the colour, for prints
// and for readers who do not tell colours apart.
std::string Result(const std::optional<ResultAt>& result, bool best, bool with_step) {
  if (!result.has_value()) return "-";
  std::string text = MetricText(result->value);
  if (with_step) absl::StrAppend(&text, " <span class=\"soft\">@", result->step, "</span>");
  return best ? absl::StrCat("<span class=\"best\">", text, " *</span>") : text;
}

// One column per run: what it is, how far it got, what it reached.
std::string SummaryTable(const std::vector<RunRecord>& runs) {
  HtmlTable table;
  table.head = {""};
  for (const RunRecord& run : runs) table.head.push_back(HtmlText(run.name));
  // A row that no run has anything for is left out.
  const auto add = [&](const std::string& name, const auto& text) {
    std::vector<std::string> row = {name};
    bool any = false;
    for (const RunRecord& run : runs) {
      row.push_back(HtmlText(text(run)));
      any |= !row.back().empty();
      if (row.back().empty()) row.back() = "-";
    }
    if (any) table.rows.push_back(std::move(row));
  };
  add("state",
      [](const RunRecord& run) { return run.job.has_value() ? run.job->status : std::string(); });
  add("steps", [](const RunRecord& run) { return CountText(LastStep(run)); });
  add("finished passes",
      [](const RunRecord& run) { return run.steps.empty() ? "" : CountText(LastEpoch(run)); });
  add("servers, workers", [](const RunRecord& run) {
    if (run.checkpoints.empty()) return std::string();
    return absl::StrCat(run.checkpoints.back().servers, ", ", run.checkpoints.back().workers);
  });
  add("batch of a worker",
      [](const RunRecord& run) { return ValueOfField(run, "data_config.batch_size"); });
  add("optimizer of the tables",
      [](const RunRecord& run) { return OptimizerText(run, "train_config.sparse_optimizer."); });
  add("optimizer of the network",
      [](const RunRecord& run) { return OptimizerText(run, "train_config.dense_optimizer."); });
  add("features, tasks", [](const RunRecord& run) {
    if (!run.config.has_value()) return std::string();
    return absl::StrCat(run.config->features.size(), ", ", run.config->model.towers.size());
  });
  add("rows of all tables", [](const RunRecord& run) {
    return run.checkpoints.empty() ? "" : CountText(run.checkpoints.back().rows);
  });
  add("samples/s, median", [](const RunRecord& run) {
    const std::optional<double> speed = MedianSpeed(run);
    return speed.has_value() ? RoundedText(*speed) : std::string();
  });
  // Best and last stand in one cell: a last value far from the best one is the sign of overfitting
  // that a reader looks for.
  for (const FigureName& figure : FigureNames(runs)) {
    std::vector<std::optional<ResultAt>> best, last;
    bool any = false;
    for (const RunRecord& run : runs) {
      best.push_back(BestResult(run, figure));
      last.push_back(LastResult(run, figure));
      any |= best.back().has_value();
    }
    if (!any) continue;
    const std::vector<bool> is_best = BestOf(best, figure.larger_is_better);
    std::vector<std::string> row = {HtmlText(figure.name)};
    for (size_t i = 0; i < runs.size(); ++i) {
      row.push_back(
          absl::StrCat(Result(best[i], is_best[i], true), ", ", Result(last[i], false, false)));
    }
    table.rows.push_back(std::move(row));
  }
  return absl::StrCat(
      TableHtml(table),
      "<p class=\"soft\">Of losses and metrics: the best evaluation @ its step, and the last one",
      runs.size() > 1 ? "; * best of the runs" : "", ".</p>\n");
}

// "Nothing stands out" is said, so that an empty section is not taken for a missing one.
std::string RemarksSection(const std::vector<RunRecord>& runs) {
  std::string html;
  for (const RunRecord& run : runs) {
    const std::vector<Remark> remarks = RemarksOf(run);
    absl::StrAppend(&html,
                    runs.size() > 1 ? absl::StrCat("<h3>", HtmlText(run.name), "</h3>\n") : "");
    if (remarks.empty()) {
      html += "<p class=\"soft\">Nothing stands out.</p>\n";
      continue;
    }
    html += "<ul class=\"remarks\">\n";
    for (const Remark& remark : remarks) {
      absl::StrAppend(&html, "<li", remark.is_warning ? " class=\"bad\"" : "", ">",
                      HtmlText(remark.text), "</li>\n");
    }
    html += "</ul>\n";
  }
  return Heading("remarks", "What stands out") + html;
}

}  // namespace

std::string ReportPage(const std::vector<RunRecord>& runs) {
  const std::string title =
      absl::StrCat(runs.size() == 1 ? "Run " : "Runs ", absl::StrJoin(RunNames(runs), ", "));
  struct Section {
    const char* anchor;
    const char* link;
    std::string html;
  };
  // The order goes from the question that is asked first to the one that is asked last. Sections
  // without content have no link either.
  const Section sections[] = {{"remarks", "What stands out", RemarksSection(runs)},
                              {"domains", "Domains", SlicesSection(runs)},
                              {"curves", "Losses and metrics", CurvesSection(runs)},
                              {"train_domains", "Training by domain", TrainSlicesSection(runs)},
                              {"calibration", "Calibration", CalibrationSection(runs)},
                              {"speed", "Speed", SpeedSection(runs)},
                              {"tables", "Tables", TablesSection(runs)},
                              {"explained", "The model", ExplainSection(runs)},
                              {"checkpoints", "Checkpoints", CheckpointsSection(runs)},
                              {"cluster", "Cluster", ClusterSection(runs)},
                              {"config", "Config", ConfigSection(runs)}};
  std::string html = PageHead(title);
  std::string links, body;
  for (const Section& section : sections) {
    if (section.html.empty()) continue;
    absl::StrAppend(&links, "<a href=\"#", section.anchor, "\">", section.link, "</a>");
    body += section.html;
  }
  absl::StrAppend(&html, "<p class=\"soft\">");
  for (size_t i = 0; i < runs.size(); ++i) {
    absl::StrAppend(&html, i > 0 ? ", " : "", HtmlText(runs[i].directory));
  }
  absl::StrAppend(&html, "; written by pepnet ", PEPNET_VERSION, "</p>\n<nav>", links, "</nav>\n",
                  SummaryTable(runs), body);
  // "<" would end the element, or begin a comment in it.
  absl::StrAppend(&html, "<script type=\"application/json\" id=\"pepnet-data\">",
                  absl::StrReplaceAll(ReportData(runs), {{"<", "\\u003c"}}), "</script>\n",
                  PageEnd());
  return html;
}

}  // namespace pepnet
