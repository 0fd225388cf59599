#include "common/base/text.h"

#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

TEST(TextTest, NothingPrintedMovesACursorOrMakesALine) {
  EXPECT_EQ(Printable("plain, \"quoted\" and \xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80"),
            "plain, \"quoted\" and \xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80");
  EXPECT_EQ(Printable("a\x1b[2J\r\n\tb\x7f"), "a\\x1b[2J\\x0d\\n\\tb\\x7f");
  EXPECT_EQ(Printable("\xff\xc0\x80\xe4\xb8"), "\\xff\\xc0\\x80\\xe4\\xb8") << "not UTF-8";
  EXPECT_EQ(Printable("\xc2\x9b\xe2\x80\xae"), "\\xc2\\x9b\\xe2\\x80\\xae")
      << "C1 and a turned direction";
  EXPECT_EQ(Printable(std::string_view("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(PrintableMessage("one\ntwo\r", /*keep_lines=*/true), "one\ntwo\\x0d");
}

TEST(TextTest, LongTextIsCutBetweenCharacters) {
  EXPECT_EQ(Printable("abcdef", 3), "abc...");
  EXPECT_EQ(Printable("a\xe4\xb8\xad", 3), "a...");
}

TEST(TextTest, Utf8IsWhatTheStandardSays) {
  EXPECT_TRUE(IsUtf8("") && IsUtf8("\xed\x9f\xbf\xef\xbf\xbd\xf4\x8f\xbf\xbf"));
  for (const char* wrong : {"\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
                            "\xf4\x90\x80\x80"}) {
    EXPECT_FALSE(IsUtf8(wrong)) << Printable(wrong);
  }
}

TEST(TextTest, MarkdownKeepsNamesAsText) {
  EXPECT_EQ(MarkdownText("<img src=x>|a`b*\n"), "&lt;img src=x&gt;\\|a\\`b\\*\\\\n");
}

TEST(TextTest, JsonNestsToALimit) {
  const std::string open(kMaxJsonDepth, '['), close(kMaxJsonDepth, ']');
  EXPECT_OK(CheckJsonDepth(open + close));
  EXPECT_FALSE(CheckJsonDepth("[" + open + close + "]").ok());
  EXPECT_OK(CheckJsonDepth("\"" + open + open + "\\\"" + open + "\""))
      << "brackets in a text do not nest";
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "[],";
  EXPECT_OK(CheckJsonDepth(many));
}

}  // namespace
}  // namespace pepnet
