#include "common/tokenizer/word_tokenizer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"

#include "common/base/text.h"
#include "common/tokenizer/characters.h"

namespace pepnet {
namespace {

constexpr char kRemedy[] =
    "; compute the ids beforehand into a column, and read that as an id_feature with num_buckets";

Status NotUtf8(std::string_view text) {
  return InvalidInput("the text \"", Printable(std::string(text), 100), "\" is not UTF-8");
}

// Characters, as far as they are UTF-8: a byte and the bytes 10xxxxxx behind it.
int64_t CharactersIn(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

// ASCII alone, as the reference's text_normalizer: bytes of other characters stay.
std::string Normalized(const TextNormalization& options, std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (options.removes_blanks && absl::ascii_isspace(static_cast<unsigned char>(c))) continue;
    result.push_back(options.to_upper   ? absl::ascii_toupper(static_cast<unsigned char>(c))
                     : options.to_lower ? absl::ascii_tolower(static_cast<unsigned char>(c))
                                        : c);
  }
  return result;
}

}  // namespace

WordTokenizer::WordTokenizer(Tokenizer description,
                             const std::map<std::string, int64_t>* vocabulary)
    : description_(std::move(description)), vocabulary_(*vocabulary) {}

// Added tokens are cut out first and wherever they stand, also within a word; what lies between
// them is split into words, as the library does.
Status WordTokenizer::Append(std::string_view text, std::vector<std::string>* tokens) const {
  std::string normalized;
  const std::optional<TextNormalization>& options = description_.text;
  if (options.has_value() &&
      // A longer text is left as it is, neither cut nor normalised.
      (options->most_characters == 0 || CharactersIn(text) <= options->most_characters)) {
    normalized = Normalized(*options, text);
    text = normalized;
  }
  size_t begin = 0;  // of what lies between added tokens
  for (size_t at = 0; at < text.size();) {
    const std::string_view added = AddedTokenAt(text.substr(at));
    if (added.empty()) {
      ++at;
      continue;
    }
    PEPNET_RETURN_IF_ERROR(AppendWords(text.substr(begin, at - begin), tokens));
    tokens->emplace_back(added);
    at += added.size();
    begin = at;
  }
  return AppendWords(text.substr(begin), tokens);
}

// The longest one wins, so that "[ABC]" is not read as "[A" and a rest.
std::string_view WordTokenizer::AddedTokenAt(std::string_view text) const {
  std::string_view longest;
  for (const std::string& added : description_.added) {
    if (added.size() > longest.size() && text.starts_with(added)) longest = added;
  }
  return longest;
}

// Runs of one kind are words: letters and digits, or punctuation (the library's \w+|[^\w\s]+);
// blanks separate. WhitespaceSplit knows blanks and all else.
Status WordTokenizer::AppendWords(std::string_view text, std::vector<std::string>* tokens) const {
  const std::string_view whole = text;
  std::string word;
  CharacterKind last = CharacterKind::kBlank;
  while (!text.empty()) {
    const std::optional<Character> character = FirstCharacter(text);
    if (!character.has_value()) return NotUtf8(whole);
    text.remove_prefix(character->bytes.size());
    CharacterKind kind = character->kind;
    if (kind != CharacterKind::kBlank && description_.split == WordSplit::kWhitespaceSplit) {
      kind = CharacterKind::kWord;
    }
    const auto unknown = [&](const char* what) {
      return InvalidInput("the text \"", Printable(std::string(whole), 100),
                          "\" holds the character U+", absl::StrFormat("%04X", character->code),
                          ", ", what, " is not known here", kRemedy);
    };
    if (kind == CharacterKind::kUnknown) {
      return unknown("of which the kind (letter or punctuation)");
    }
    if (description_.lower_case && !character->lower.has_value()) {
      return unknown("of which the lower case");
    }
    // A word ends where the kind changes.
    if (kind != last) AppendWord(&word, tokens);
    last = kind;
    if (kind == CharacterKind::kBlank) continue;
    AppendUtf8(description_.lower_case ? *character->lower : character->code, &word);
  }
  AppendWord(&word, tokens);
  return absl::OkStatus();
}

void WordTokenizer::AppendWord(std::string* word, std::vector<std::string>* tokens) const {
  // A word outside of the vocabulary gives nothing where there is no unknown token.
  if (!word->empty() && (description_.has_unknown || vocabulary_.count(*word) > 0)) {
    tokens->push_back(*word);
  }
  word->clear();
}

}  // namespace pepnet
