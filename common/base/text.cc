#include "common/base/text.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace pepnet {
namespace {

// Bytes of the UTF-8 character that `text` begins with; 0 if it begins with none.
size_t CharacterBytes(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(0);
  if (first < 0x80) return 1;
  const size_t bytes = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < bytes) return 0;
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  if (first == 0xe0 && byte(1) < 0xa0) return 0;  // a longer form of a shorter one
  if (first == 0xed && byte(1) > 0x9f) return 0;  // half of a pair of UTF-16
  if (first == 0xf0 && byte(1) < 0x90) return 0;
  if (first == 0xf4 && byte(1) > 0x8f) return 0;
  return bytes;
}

// C0, DEL and C1, and the marks that turn the direction of a line around.
bool IsControl(std::string_view character) {
  const auto first = static_cast<uint8_t>(character[0]);
  if (character.size() == 1) return first < 0x20 || first == 0x7f;
  if (character.size() == 2) return first == 0xc2 && static_cast<uint8_t>(character[1]) < 0xa0;
  if (character.size() != 3 || first != 0xe2) return false;
  const auto second = static_cast<uint8_t>(character[1]),
             third = static_cast<uint8_t>(character[2]);
  return (second == 0x80 && third >= 0xa8 && third <= 0xae) ||
         (second == 0x81 && third >= 0xa6 && third <= 0xa9);
}

}  // namespace

// Whole characters are kept, whatever their script; bytes that are no UTF-8 and controls become
// \xNN.
std::string PrintableMessage(std::string_view message, bool keep_lines) {
  std::string result;
  while (!message.empty()) {
    const size_t bytes = CharacterBytes(message);
    const std::string_view character = message.substr(0, std::max<size_t>(bytes, 1));
    if (bytes > 0 && (!IsControl(character) || (keep_lines && character == "\n"))) {
      result += character;
    } else if (character == "\n") {
      result += "\\n";
    } else if (character == "\t") {
      result += "\\t";
    } else {
      for (const char c : character) {
        absl::StrAppendFormat(&result, "\\x%02x", static_cast<uint8_t>(c));
      }
    }
    message.remove_prefix(character.size());
  }
  return result;
}

std::string Printable(std::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return PrintableMessage(text, /*keep_lines=*/false);
  size_t end = max_bytes;
  // A text is cut between two characters, not within one.
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xc0) == 0x80) --end;
  return PrintableMessage(text.substr(0, end), /*keep_lines=*/false) + "...";
}

bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const size_t bytes = CharacterBytes(text);
    if (bytes == 0) return false;
    text.remove_prefix(bytes);
  }
  return true;
}

std::string MarkdownText(std::string_view text) {
  std::string result;
  for (const char c : Printable(text)) {
    if (c == '<') {
      result += "&lt;";
    } else if (c == '>') {
      result += "&gt;";
    } else if (c == '&') {
      result += "&amp;";
    } else {
      if (std::string_view("\\`*[]|!").find(c) != std::string_view::npos) result += '\\';
      result += c;
    }
  }
  return result;
}

Status CheckJsonDepth(std::string_view json) {
  int depth = 0;
  bool inside_text = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (inside_text) {
      // Only depth is checked here, since the parser recurses: whatever else is wrong it says
      // itself. A backslash hides the next byte, so that \" does not end a text.
      if (c == '\\') ++i;
      if (c == '"') inside_text = false;
    } else if (c == '"') {
      inside_text = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxJsonDepth) {
        return absl::DataLossError(absl::StrCat("the JSON nests lists and objects deeper than ",
                                                kMaxJsonDepth, " levels, at byte ", i + 1));
      }
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return absl::OkStatus();
}

std::string JsonErrorText(std::string_view what) {
  const size_t end =
      what.rfind("[json.exception.", 0) == 0 ? what.find("] ") : std::string_view::npos;
  return Printable(end == std::string_view::npos ? what : what.substr(end + 2), 400);
}

}  // namespace pepnet
