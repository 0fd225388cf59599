#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "cli/inspect/inspect.h"

namespace pepnet {
namespace {

constexpr char kStyle[] =
    "body{font:14px sans-serif;margin:2em;max-width:70em}table{border-collapse:collapse}"
    "td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid "
    "#ddd}td:first-child,th:first-child{text-align:left}"
    ".bar{display:inline-block;height:.8em;background:#47a}.warn{color:#b00}";

// Names of tables and directories are texts of users: none of their characters may be markup.
std::string Escape(const std::string& text) {
  return absl::StrReplaceAll(text,
                             {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

// A row of a small chart: a label, a bar of at most 20 em, and the number.
std::string Bar(const std::string& label, int64_t value, int64_t largest) {
  const double width =
      largest > 0 ? 20.0 * static_cast<double>(value) / static_cast<double>(largest) : 0;
  return absl::StrFormat(
      "<tr><td>%s</td><td style=\"text-align:left\"><span class=\"bar\" "
      "style=\"width:%.2fem\"></span> %d</td></tr>\n",
      label, width, value);
}

// Bars share one scale, that of the largest; "" without bars.
std::string Chart(const std::string& title,
                  const std::vector<std::pair<std::string, int64_t>>& bars) {
  if (bars.empty()) return "";
  int64_t largest = 0;
  for (const auto& [label, value] : bars) largest = std::max(largest, value);
  std::string text = absl::StrCat("<h3>", title, "</h3>\n<table>\n");
  for (const auto& [label, value] : bars) text += Bar(label, value, largest);
  return text + "</table>\n";
}

// Rows and updates by server show at a glance whether the load is even.
void AppendTable(const TableSummary& table, std::string* html) {
  const TableStatistics& s = table.statistics;
  absl::StrAppend(html, "<h2>", Escape(table.table), "</h2>\n<p>", s.dead_rows,
                  " rows never updated, ", s.zero_rows, " rows all zero, ",
                  s.non_finite_rows > 0 ? "<span class=\"warn\">" : "<span>", s.non_finite_rows,
                  " rows with NaN or infinity</span></p>\n");
  // The histogram has a bar for each power of two: norms of trained rows spread over orders of
  // magnitude.
  std::vector<std::pair<std::string, int64_t>> norms, hottest, rows, updates;
  for (const auto& [exponent, count] : s.norm_histogram) {
    norms.push_back(
        {absl::StrFormat("%.3g to %.3g", std::ldexp(1.0, exponent), std::ldexp(1.0, exponent + 1)),
         count});
  }
  for (const TableStatistics::HotRow& row : s.hottest) {
    hottest.push_back({absl::StrCat(row.id), row.frequency});
  }
  for (size_t k = 0; k < s.parts.size(); ++k) {
    rows.push_back({absl::StrCat("server ", k), s.parts[k].rows});
    updates.push_back({absl::StrCat("server ", k), s.parts[k].updates});
  }
  absl::StrAppend(html, Chart("rows by norm", norms), Chart("hottest ids, updates", hottest),
                  Chart("rows by server", rows), Chart("updates by server", updates));
}

}  // namespace

// The page shows what the text does, with bars for the distributions; `pepnet report` shows a whole
// run.
std::string SummaryToHtml(const CheckpointSummary& summary) {
  const Manifest& manifest = summary.manifest;
  std::string html = absl::StrCat(
      kHtmlBeginning, Escape(summary.directory), "</title><style>", kStyle,
      "</style></head><body>\n<h1>", Escape(summary.directory), "</h1>\n<p>step ", manifest.step,
      ", ", manifest.worker_count, " workers of batch ", manifest.batch_size, ", ",
      manifest.server_count, " servers, seed ", manifest.seed, ", ", summary.bytes,
      " bytes</p>\n<table>\n<tr><th>table</th><th>rows</th><th>dim</th><th>state</th><th>bytes</th>"
      "<th>norm min</th><th>mean</th><th>max</th></tr>\n");
  for (const TableSummary& table : summary.tables) {
    absl::StrAppendFormat(&html,
                          "<tr><td>%s</td><td>%d</td><td>%s</td><td>%s</td><td>%d</td><td>%.4g</"
                          "td><td>%.4g</td><td>%.4g</td></tr>\n",
                          Escape(table.table), table.rows, NumbersText(table.dim, table.value_kind),
                          NumbersText(table.state_dim, table.state_kind), table.bytes,
                          table.statistics.norm_min, table.statistics.norm_mean(),
                          table.statistics.norm_max);
  }
  html += "</table>\n";
  for (const TableSummary& table : summary.tables) AppendTable(table, &html);
  return html + "</body></html>\n";
}

}  // namespace pepnet
