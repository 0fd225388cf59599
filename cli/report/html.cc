#include "cli/report/html.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "common/base/screen.h"
#include "common/base/text.h"

namespace pepnet {
namespace {

// Colours: Okabe and Ito's, which most people with colour blindness tell apart; lighter ones on a
// dark screen.
constexpr char kStyle[] = R"css(
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--soft:#5b6570;--line:#d8dee4;--band:#f5f7f9;--bad:#b3261e;
--good:#1a7f37;--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#aa4499;--c4:#b8860b;--c5:#56b4e9;--c6:#661100;--c7:#7a7a7a;
--c8:#332288;--c9:#88aa22}
@media(prefers-color-scheme:dark){:root{--paper:#15191e;--ink:#e6eaee;--soft:#9aa6b2;--line:#333b44;--band:#1d232a;
--bad:#ff8a80;--good:#6fdc8c;--c0:#58a6ff;--c1:#ff9e4a;--c2:#3ddc9a;--c3:#e07be0;--c4:#e3c25a;--c5:#9ad7ff;--c6:#d98c8c;
--c7:#b0b0b0;--c8:#a99cff;--c9:#c2dd5a}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.45 system-ui,"Segoe UI","DejaVu Sans",sans-serif}
main{max-width:88rem;margin:0 auto;padding:1rem clamp(.7rem,2vw,2rem) 4rem}
h1{font-size:1.5rem;margin:.4rem 0}h2{font-size:1.2rem;margin:2.2rem 0 .5rem;padding-top:.5rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.2rem 0 .3rem}p{margin:.3rem 0;max-width:70rem}a{color:var(--c0)}
nav{display:flex;flex-wrap:wrap;gap:.2rem .9rem;font-size:.9rem}
.soft{color:var(--soft)}.bad{color:var(--bad);font-weight:600}.best{color:var(--good);font-weight:600}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,25rem),1fr));gap:1rem 1.4rem;align-items:start}
figure{margin:0;min-width:0}figcaption{font-weight:600;font-size:.92rem;overflow-wrap:anywhere}
figcaption .soft{font-weight:400}
svg{display:block;width:100%;height:auto;font:12px system-ui,"DejaVu Sans",sans-serif}
svg text{fill:var(--soft)}svg text.name{fill:var(--ink)}svg text.bad{fill:var(--bad);font-weight:600}
.grid{stroke:var(--line);stroke-width:1}.axis{stroke:var(--soft);stroke-width:1}
.guide{stroke:var(--soft);stroke-width:1;stroke-dasharray:4 3}
.series{fill:none;stroke-width:2;stroke-linejoin:round}.thin{stroke-width:1.2;opacity:.75}.bold{stroke-width:3}
.dashed{stroke-dasharray:6 3}
ul.legend{display:flex;flex-wrap:wrap;gap:.1rem .9rem;list-style:none;margin:.1rem 0 0;padding:0;font-size:.82rem}
ul.legend li{overflow-wrap:anywhere}
ul.legend i{display:inline-block;width:1.4em;height:0;border-top-width:3px;border-top-style:solid;margin-right:.35em;vertical-align:.25em}
ul.legend i.dashed{border-top-style:dashed}
.scroll{overflow-x:auto;max-width:100%;margin:.7rem 0}
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}
td,th{padding:.22rem .7rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap;vertical-align:top}
td:first-child,th:first-child,table.tail td:last-child,table.tail th:last-child,table.text td,table.text th{text-align:left}
table.text td{white-space:normal;overflow-wrap:anywhere;min-width:6rem}th{background:var(--band)}
table.tail td:last-child{white-space:normal;min-width:18rem}svg.square{max-width:24rem}
@media(max-width:40rem){td,th{padding:.2rem .45rem}td:first-child{white-space:normal;min-width:8rem;overflow-wrap:anywhere}}
ul.remarks{margin:.4rem 0;padding-left:1.2rem}ul.remarks li{margin:.15rem 0;overflow-wrap:anywhere}
details{margin:.5rem 0}summary{cursor:pointer;color:var(--c0)}
)css";

// The empty icon keeps browsers from asking a server for one.
constexpr char kHead[] =
    "<head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, "
    "initial-scale=1\">"
    "<link rel=\"icon\" href=\"data:,\"><title>";

// Classes c0 to c9 (lines) and f0 to f9 (areas), one per colour of the style sheet.
std::string Colours() {
  std::string css;
  for (int i = 0; i < 10; ++i) {
    absl::StrAppendFormat(&css,
                          ".c%d{stroke:var(--c%d);border-color:var(--c%d)}.f%d{fill:var(--c%d)}", i,
                          i, i, i, i);
  }
  return css;
}

}  // namespace

// Quotes are escaped, too, since texts stand in attributes. Printable() has written out what
// browsers hide or reorder, such as marks of right-to-left text.
std::string HtmlText(std::string_view text) {
  return absl::StrReplaceAll(
      Printable(text, 100000),
      {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

// Style and all else stand in the page itself: it is sent by mail and opened from disk.
std::string PageHead(const std::string& title) {
  return absl::StrCat(kPageBeginning, kHead, HtmlText(title), "</title>\n<style>", kStyle,
                      Colours(), "</style></head>\n<body><main>\n<h1>", HtmlText(title), "</h1>\n");
}

std::string PageEnd() { return "</main></body></html>\n"; }

std::string TableHtml(const HtmlTable& table) {
  std::string html = absl::StrCat("<div class=\"scroll\"><table",
                                  table.all_text    ? " class=\"text\""
                                  : table.text_tail ? " class=\"tail\""
                                                    : "",
                                  ">\n<tr>");
  for (const std::string& cell : table.head) absl::StrAppend(&html, "<th>", cell, "</th>");
  html += "</tr>\n";
  for (const std::vector<std::string>& row : table.rows) {
    html += "<tr>";
    for (const std::string& cell : row) absl::StrAppend(&html, "<td>", cell, "</td>");
    html += "</tr>\n";
  }
  return html + "</table></div>\n";
}

std::string Heading(const std::string& id, const std::string& text) {
  return absl::StrCat("<h2 id=\"", id, "\">", text, "</h2>\n");
}

std::string Shortened(std::string text, size_t columns) {
  const auto width = [&text] { return static_cast<size_t>(DisplayWidth(text)); };
  if (width() <= columns) return text;
  // Bytes 10xxxxxx continue a character of UTF-8; they go together with its first byte.
  while (!text.empty() && width() + 3 > columns) {
    while (text.size() > 1 && (static_cast<unsigned char>(text.back()) & 0xC0) == 0x80) {
      text.pop_back();
    }
    text.pop_back();
  }
  return text + "...";
}

std::string BytesText(double bytes) {
  const char* const units[] = {"B", "kB", "MB", "GB", "TB"};
  int unit = 0;
  // 999.5 and 9.95 are where rounding would show one digit more ("1000 kB", "10.0 MB").
  for (; bytes >= 999.5 && unit < 4; ++unit) bytes /= 1000;
  return absl::StrFormat("%.*f %s", bytes < 9.95 && unit > 0 ? 1 : 0, bytes, units[unit]);
}

std::string CountText(int64_t count) {
  std::string text = absl::StrCat(count);
  for (auto at = static_cast<int64_t>(text.size()) - 3; at > (count < 0 ? 1 : 0); at -= 3) {
    text.insert(at, ",");
  }
  return text;
}

std::string RoundedText(double number) {
  // Doubles have no units beyond 1e15; NaN takes this way, too.
  if (!(std::fabs(number) < 1e15)) return absl::StrFormat("%.3g", number);
  return CountText(static_cast<int64_t>(std::round(number)));
}

}  // namespace pepnet
