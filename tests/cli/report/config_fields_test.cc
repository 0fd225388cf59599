#include "cli/report/config_fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_join.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::HasSubstr;

std::string Flat(const std::string& text) {
  const auto fields = FieldsOfConfig(text);
  if (!fields.ok()) return std::string(fields.status().message());
  std::string lines;
  for (const ConfigField& field : *fields) {
    absl::StrAppend(&lines, field.path, " = ", absl::StrJoin(field.values, ", "), "\n");
  }
  return lines;
}

RunRecord RunWith(const std::string& text) {
  RunRecord run;
  run.config_fields = *FieldsOfConfig(text);
  return run;
}

std::string Differences(const std::vector<RunRecord>& runs) {
  std::string lines;
  for (const ConfigDifference& one : DifferencesOf(runs)) {
    absl::StrAppend(&lines, one.path, ": ", absl::StrJoin(one.values, " | "), "\n");
  }
  return lines;
}

TEST(ConfigFieldsTest, NamesTellMessagesApart) {
  EXPECT_EQ(Flat("# a comment\n"
                 "feature_configs {\n  id_feature {\n    feature_name: \"uid\"\n    num_buckets: "
                 "50\n  }\n}\n"
                 "feature_configs {\n  raw_feature {\n    feature_name: \"age\"\n  }\n}\n"
                 "model_config {\n  losses {\n  }\n  losses {\n    weight: 2\n  }\n}\n"),
            "feature_configs[uid].id_feature.feature_name = \"uid\"\n"
            "feature_configs[uid].id_feature.num_buckets = 50\n"
            "feature_configs[age].raw_feature.feature_name = \"age\"\n"
            "model_config.losses[0] = {}\n"
            "model_config.losses[1].weight = 2\n");
}

TEST(ConfigFieldsTest, RepeatedFieldsKeepAllValuesAndTextsTheirBrackets) {
  EXPECT_EQ(Flat("label_fields: \"a: {\"\nlabel_fields: \"}\"\n"),
            "label_fields = \"a: {\", \"}\"\n");
}

TEST(ConfigFieldsTest, AnotherFormIsNamed) {
  EXPECT_THAT(Flat("a {\n"), HasSubstr("the message a is not closed"));
  EXPECT_THAT(Flat("b: 1\n}\n"), HasSubstr("line 2 is \"}\""));
  EXPECT_THAT(Flat("nonsense\n"), HasSubstr("line 1 is \"nonsense\""));
  std::string deep;
  for (int i = 0; i < 1000; ++i) deep += "a {\n";
  EXPECT_THAT(Flat(deep), HasSubstr("stands in more than"));
}

TEST(ConfigFieldsTest, OnlyDifferencesAreListed) {
  const RunRecord a = RunWith("model_dir: \"a\"\nx: 1\ny: 1\nlist: 1\nlist: 2\n");
  const RunRecord b = RunWith("model_dir: \"b\"\nx: 1\ny: 2\nlist: 1\nlist: 3\nlist: 4\nz: 5\n");
  EXPECT_EQ(Differences({a, b}), "y: 1 | 2\nlist: 1 in common, 2 | 1 in common, 3, 4\nz:  | 5\n");
  EXPECT_EQ(Differences({a, a}), "");
  EXPECT_EQ(Differences({RunWith("l: 1\nl: 2\n"), RunWith("l: 2\nl: 1\n")}), "l: 1, 2 | 2, 1\n");
}

TEST(ConfigFieldsTest, AMessageThatARunLacksIsOneLine) {
  const std::string uid =
      "feature_configs {\n  id_feature {\n    feature_name: \"uid\"\n    dim: 4\n  }\n}\n";
  const std::string iid =
      "feature_configs {\n  id_feature {\n    feature_name: \"iid\"\n    dim: 8\n  }\n}\n";
  EXPECT_EQ(Differences({RunWith(uid), RunWith(uid + iid)}), "feature_configs[iid]:  | 2 fields\n");
}

}  // namespace
}  // namespace pepnet
