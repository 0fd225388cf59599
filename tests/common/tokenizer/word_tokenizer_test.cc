#include "common/tokenizer/word_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/file/file.h"
#include "common/job_config/type_table.h"
#include "common/tokenizer/characters.h"
#include "tests/support/paths.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Vocabulary = std::map<std::string, int64_t>;

StatusOr<std::vector<std::string>> Words(const Tokenizer& description, const Vocabulary& vocabulary,
                                         const std::string& text) {
  std::vector<std::string> tokens;
  PEPNET_RETURN_IF_ERROR(WordTokenizer(description, &vocabulary).Append(text, &tokens));
  return tokens;
}

// A word that is not in the vocabulary is a token here, which its reader finds to be the unknown
// one.
TEST(WordTokenizerTest, GivesTheTokensOfTheLibrary) {
  const nlohmann::json cases =
      nlohmann::json::parse(*ReadFile(SourceDir() + "/tests/common/tokenizer/recorded_words.json"));
  ASSERT_GT(cases.size(), 500u);
  for (const nlohmann::json& one : cases) {
    Tokenizer description;
    description.split = *FindKind<WordSplit>(&WordSplitType::name, one["split"].get<std::string>());
    description.lower_case = one["lower"];
    description.has_unknown = true;
    description.added = {"[UNK]", "[A]", "[AB]", "[AB"};
    Vocabulary vocabulary;
    for (const std::string word : one["vocabulary"]) {
      vocabulary.emplace(word, static_cast<int64_t>(vocabulary.size()));
    }
    ASSERT_OK_AND_ASSIGN(std::vector<std::string> tokens,
                         Words(description, vocabulary, one["text"]));
    for (std::string& token : tokens) {
      if (vocabulary.count(token) == 0) token = "[UNK]";
    }
    EXPECT_EQ(tokens, one["tokens"].get<std::vector<std::string>>()) << one.dump();
  }
}

TEST(WordTokenizerTest, WithoutAnUnknownWordOnlyThoseOfTheVocabularyAreTokens) {
  Tokenizer description;
  EXPECT_THAT(*Words(description, {{"red", 0}, {"shoes", 1}}, "red big shoes red"),
              ElementsAre("red", "shoes", "red"));
  description.has_unknown = true;
  EXPECT_THAT(*Words(description, {{"red", 0}}, "red big"), ElementsAre("red", "big"));
}

TEST(WordTokenizerTest, TextsAreNormalizedUpToTheirMaximalLength) {
  Tokenizer description;
  description.has_unknown = true;
  TextNormalization& options = description.text.emplace();
  options.to_upper = true;
  EXPECT_THAT(*Words(description, {}, "Red caf\u00e9"), ElementsAre("RED", "CAF\u00e9"));
  options = {false, true};
  EXPECT_THAT(*Words(description, {}, "Red CAF\u00c9"), ElementsAre("red", "caf\u00c9"));
  options.removes_blanks = true;
  // A blank of ASCII alone.
  EXPECT_THAT(*Words(description, {}, " R e\td\u3000X "), ElementsAre("red", "x"));
  options.most_characters = 4;
  EXPECT_THAT(*Words(description, {}, "\u00c9 BC"), ElementsAre("\u00c9bc"));
  EXPECT_THAT(*Words(description, {}, "\u00c9 BCD"), ElementsAre("\u00c9", "BCD"));
}

TEST(WordTokenizerTest, WhatItDoesNotKnowIsAnErrorWhereItMatters) {
  Tokenizer description;
  description.has_unknown = true;
  // Between blanks it does not.
  EXPECT_THAT(*Words(description, {}, "\u0e01 \u0100"), ElementsAre("\u0e01", "\u0100"));
  description.lower_case = true;
  EXPECT_THAT(Words(description, {}, "a \u0100"),
              IsError(HasSubstr("holds the character U+0100, of which the lower case is not known "
                                "here; compute the ids")));
  description.lower_case = false;
  description.split = WordSplit::kWhitespace;
  EXPECT_THAT(Words(description, {}, "a\u0e01"),
              IsError(HasSubstr("U+0E01, of which the kind (letter or punctuation)")));
  for (const char* text :
       {"\xff", "a\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe4\xb8", "\x80"}) {
    EXPECT_THAT(Words(description, {}, text), IsError(HasSubstr("is not UTF-8"))) << text;
  }
}

TEST(CharactersTest, EveryCodeIsReadBack) {
  for (uint32_t code = 1; code <= 0x10ffff; code += code < 0x3000 ? 1 : 97) {
    if (code >= 0xd800 && code <= 0xdfff) continue;
    std::string text;
    AppendUtf8(code, &text);
    const std::string followed = text + "x";  // the character's bytes are a view of it
    const std::optional<Character> character = FirstCharacter(followed);
    ASSERT_TRUE(character.has_value()) << code;
    EXPECT_EQ(character->code, code);
    EXPECT_EQ(character->bytes, text);
  }
}

}  // namespace
}  // namespace pepnet
