#include "cli/report/json_lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/file/file.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace pepnet {
namespace {

using testing::HasSubstr;

class JsonLinesTest : public ::testing::Test {
 protected:
  // The values of "a", line by line, or the error.
  std::string Read(const std::string& text) const {
    EXPECT_OK(WriteFileAtomically(directory_ / "log.jsonl", text));
    std::string seen;
    const Status status =
        ReadJsonLines(directory_ / "log.jsonl", [&seen](const nlohmann::json& json) -> Status {
          if (!json.contains("a")) return absl::DataLossError("there is no a");
          absl::StrAppend(&seen, json["a"].dump(), ";");
          return absl::OkStatus();
        });
    return status.ok() ? seen : std::string(status.message());
  }
  const TemporaryDirectory directory_;
};

TEST_F(JsonLinesTest, NoFileHasNoLines) {
  EXPECT_OK(ReadJsonLines(directory_ / "none",
                          [](const nlohmann::json&) { return absl::InternalError("a line"); }));
}

TEST_F(JsonLinesTest, ALastLineThatIsBeingWrittenIsPassedOver) {
  EXPECT_EQ(Read(""), "");
  EXPECT_EQ(Read("{\"a\":1}\n{\"a\":2}\n"), "1;2;");
  for (const char* begun : {"{", "{\"a\":3", "{\"a\":3,\"b\""}) {
    EXPECT_EQ(Read(absl::StrCat("{\"a\":1}\n{\"a\":2}\n", begun)), "1;2;") << begun;
  }
  EXPECT_EQ(Read("{\"a\":1}\n{\"a\":2}"), "1;2;") << "whole, but for its line end";
}

TEST_F(JsonLinesTest, ADamagedLineIsNamed) {
  EXPECT_THAT(Read("{\"a\":1}\n{\"a\":\n{\"a\":3}\n"),
              HasSubstr("log.jsonl is damaged: line 2 is no JSON object"));
  EXPECT_THAT(Read("{\"a\":1}\n{\"a\":\n"), HasSubstr("line 2"));
  EXPECT_THAT(Read("{\"a\":1}\n\n3\n"), HasSubstr("line 3 is no JSON object: a JSON number"));
  EXPECT_THAT(Read("{\"a\":1,\"a\":2}\n"), HasSubstr("line 1"));
  EXPECT_THAT(Read("{\"b\":1}\n"),
              HasSubstr("line 1 is not what a training writes: there is no a"));
  EXPECT_THAT(Read(std::string(100000, '[') + "\n"), HasSubstr("line 1"));
}

}  // namespace
}  // namespace pepnet
