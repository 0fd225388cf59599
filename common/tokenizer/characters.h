// Characters as Unicode divides them, of those parts of it that texts of logs are mostly made of:
// Latin, Greek, Cyrillic, Chinese, Japanese and Korean letters, and the usual punctuation. Others
// are kUnknown: a guess would make other words than the reference's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pepnet {

enum class CharacterKind {
  kWord,     // of \w: letters, digits, connectors
  kBlank,    // White_Space; known of all characters
  kOther,    // neither: punctuation, symbols
  kUnknown,  // kWord or kOther
};

struct Character {
  uint32_t code = 0;
  CharacterKind kind = CharacterKind::kUnknown;
  std::optional<uint32_t> lower;  // its lower case; nullopt: not known
  std::string_view bytes;         // UTF-8, of the text
};

// The character at the beginning of `text`, which is not empty; nullopt: it is not UTF-8.
std::optional<Character> FirstCharacter(std::string_view text);

void AppendUtf8(uint32_t code, std::string* out);

}  // namespace pepnet
