// Text of others in messages: file names, columns, cells, JSON. A terminal obeys control
// characters, and a line end would make a line of its own out of what somebody wrote into a file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace pepnet {

constexpr int kMaxJsonDepth = 64;

// `text` with control characters and bytes that are not UTF-8 as "\x1b"; at most `max_bytes` of it,
// then "...".
std::string Printable(std::string_view text, size_t max_bytes = 1000);
// The same for whole messages, whose line ends stay where `keep_lines`.
std::string PrintableMessage(std::string_view message, bool keep_lines);
bool IsUtf8(std::string_view text);

// For Markdown, in running text and in table cells: nothing in `text` begins a tag, a link, a cell
// or a line.
std::string MarkdownText(std::string_view text);

// DataLoss if arrays and objects of a JSON text stand in each other more than kMaxJsonDepth levels
// deep: what reads them recurses.
Status CheckJsonDepth(std::string_view json);
// nlohmann-json's text without its "[json.exception.parse_error.101] ".
std::string JsonErrorText(std::string_view what);

}  // namespace pepnet
