// Pieces of HTML that stand in a page of their own: no script runs in it, and nothing is fetched.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pepnet {

// Text of files in HTML, in attributes too: no character of it is markup, and what no browser shows
// is written out.
std::string HtmlText(std::string_view text);

// The beginning of each page of `pepnet report`, of any version: by it the command knows a page
// that it may replace.
inline constexpr char kPageBeginning[] =
    "<!doctype html>\n<html lang=\"en\"><!-- pepnet report -->";

// From the doctype to the open <main>. `title` is text, not HTML.
std::string PageHead(const std::string& title);
std::string PageEnd();

// A table; `head` and cells are HTML. The first column is text, the others are numbers
// unless it is said otherwise. Scrolls sideways where the screen is narrow.
struct HtmlTable {
  std::vector<std::string> head;
  std::vector<std::vector<std::string>> rows;
  bool all_text = false;
  bool text_tail = false;  // the last column is text, too, and may be long
};
std::string TableHtml(const HtmlTable& table);

// <h2> with an anchor.
std::string Heading(const std::string& id, const std::string& text);

// `text` cut between characters to `columns` columns of a terminal, "..." included; columns >= 4.
std::string Shortened(std::string text, size_t columns);
// "12 B", "3.4 MB": powers of 1000.
std::string BytesText(double bytes);
// "1,234,567".
std::string CountText(int64_t count);
// A number that is no count, in whole numbers: "161,448", "1e+30".
std::string RoundedText(double number);

}  // namespace pepnet
