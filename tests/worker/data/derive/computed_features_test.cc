// Features computed from columns, from their config to ids and values. Where a test says
// "reference", the expected values are those of the reference's feature generator; the rest is what
// docs/spec.md 3.11 says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/config/load.h"
#include "common/file/file.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/with_mutant.h"
#include "tests/worker/data/data_files.h"
#include "worker/data/encode/feature_encoder.h"

namespace pepnet {
namespace {

using ::testing::HasSubstr;

constexpr char kJob[] = R"(
train_input_path: "train.csv"
model_dir: "model"
train_config {
  sparse_optimizer { sgd_optimizer { lr: 0.1 } constant_learning_rate {} }
  dense_optimizer { sgd_optimizer { lr: 0.1 } constant_learning_rate {} }
  num_steps: 5
}
data_config { batch_size: 4 fg_mode: FG_DAG label_fields: "clk" }
feature_configs { id_feature { feature_name: "uid" expression: "user:uid" num_buckets: 9 embedding_dim: 4 } }
FEATURES
model_config {
  feature_groups { group_name: "all" feature_names: ["uid"USED] }
  pepnet { task_towers { tower_name: "ctr" label_name: "clk" losses { binary_cross_entropy {} } } }
}
)";

StatusOr<JobConfig> Job(const std::string& features, const std::string& used = "",
                        const std::string& mode = "FG_DAG") {
  std::string text = kJob;
  text.replace(text.find("USED"), 4, used);
  text.replace(text.find("FG_DAG"), 6, mode);
  text.replace(text.find("FEATURES"), 8, features);
  return ParseJobConfig(text, "job.config", {});
}

std::string ConfigError(const std::string& features) {
  const auto job = Job(features, ", 'x'");  // what is not used may be wrong
  return job.ok() ? "OK" : std::string(job.status().message());
}

// "1,2;3|4": ids or values by row, element and place.
std::string ShowElements(const Feature& feature, const Batch& batch, int f) {
  const std::vector<int32_t>& elements = batch.elements[f];
  std::string text;
  for (size_t row = 0; row + 1 < elements.size(); ++row) {
    if (row > 0) text += "|";
    for (int32_t element = elements[row]; element < elements[row + 1]; ++element) {
      if (element > elements[row]) text += ";";
      if (feature.bucketizer == Bucketizer::kNone) {
        const float* values = batch.values[f].data() + int64_t{element} * feature.dim;
        absl::StrAppend(&text, absl::StrJoin(values, values + feature.dim, ","));
      } else {
        const IdColumn& ids = batch.ids[f];
        absl::StrAppend(&text, absl::StrJoin(ids.ids.begin() + ids.offsets[element],
                                             ids.ids.begin() + ids.offsets[element + 1], ","));
      }
    }
  }
  return text;
}

// The cells that the last feature of `features` makes of the columns, in any order; the error's
// text if there is one.
std::string Compute(const std::string& features, const std::vector<NamedColumn>& columns) {
  const auto job = Job(features);
  if (!job.ok()) return std::string(job.status().message());
  std::vector<Feature> used(job->features.begin() + 1, job->features.end());
  for (Feature& feature : used) {
    if (!feature.op.has_value()) continue;
    // Uid is not read.
    for (OperatorInput& input : feature.op->inputs) input.feature -= input.feature > 0 ? 1 : 0;
  }
  std::vector<int> numbers;
  for (const Feature& feature : used) {
    for (const std::string& name : ColumnsOf(feature)) {
      const auto found =
          std::find_if(columns.begin(), columns.end(),
                       [&](const NamedColumn& column) { return column.name == name; });
      if (found == columns.end()) return absl::StrCat("no column ", name);
      numbers.push_back(static_cast<int>(found - columns.begin()));
    }
  }
  const auto encoder = FeatureEncoder::Create(used, {});
  if (!encoder.ok()) return std::string(encoder.status().message());
  Batch batch;
  EncodeCounts counts;
  const Status status = (*encoder)->Encode(SelectAll(columns), numbers, &batch, &counts);
  if (!status.ok()) return std::string(status.message());
  const Feature& last = used.back();
  const int f = static_cast<int>(used.size()) - 1;
  if (last.sequence.has_value()) return ShowElements(last, batch, f);
  return last.bucketizer == Bucketizer::kNone ? ShowValues(batch.values[f], last.dim)
                                              : ShowIds(batch.ids[f]);
}

std::string Feature1(const std::string& kind, const std::string& fields) {
  return absl::StrCat("feature_configs { ", kind, " { feature_name: 'x' ", fields, " } }");
}

NamedColumn Texts(const std::string& name, const std::string& json) {
  return {name, JsonArray(arrow::utf8(), json)};
}
NamedColumn Lists(const std::string& name, const std::string& json) {
  return {name, JsonArray(arrow::list(arrow::utf8()), json)};
}
NamedColumn Reals(const std::string& name, const std::string& json) {
  return {name, JsonArray(arrow::float64(), json)};
}
NamedColumn Maps(const std::string& name, const std::string& json) {
  return {name, JsonArray(arrow::map(arrow::utf8(), arrow::int64()), json)};
}

// ---- combo ----

constexpr char kUsers[] =
    R"(["ua\u001dub", "uc\u001dud", "uee\u001duf", "ug", "uh", "uj", "", null, ""])";
constexpr char kItems[] = R"(["ia\u001dib", "ic", "", "id\u001die", "if", null, "ig", "ij", ""])";
constexpr char kComboInputs[] = "expression: ['user:u', 'item:i'] embedding_dim: 4 ";

TEST(ComboTest, HashesEveryCombinationAsTheReference) {
  const std::vector<NamedColumn> columns = {Texts("u", kUsers), Texts("i", kItems)};
  EXPECT_EQ(Compute(Feature1("combo_feature", absl::StrCat(kComboInputs, "hash_bucket_size: 100")),
                    columns),
            "37,90,5,97|60,56||40,57|55||||");
  EXPECT_EQ(
      Compute(Feature1("combo_feature",
                       absl::StrCat(kComboInputs, "hash_bucket_size: 100 default_value: 'xyz'")),
              columns),
      "37,90,5,97|60,56|13|40,57|55|13|13|13|13");
}

TEST(ComboTest, TheMutantOperatorByColumnIsNoticed) {
  PEPNET_NEEDS_MUTANTS();
  const WithMutant faulty(Mutant::kOperatorByColumn);
  EXPECT_NE(Compute(Feature1("combo_feature", absl::StrCat(kComboInputs, "hash_bucket_size: 100")),
                    {Texts("u", kUsers), Texts("i", kItems)}),
            "37,90,5,97|60,56||40,57|55||||");
}

TEST(ComboTest, TakesListsAndNumbersAndAnyNumberOfInputs) {
  const std::string vocabulary =
      Feature1("combo_feature",
               "expression: ['user:u', 'item:i', 'context:n'] embedding_dim: 4 vocab_list: "
               "['ua_ia_7', 'ua_ib_7', 'ub_ia_0.1']");
  EXPECT_EQ(Compute(vocabulary, {Lists("u", R"([["ua", "ub"], ["ub"], []])"),
                                 Lists("i", R"([["ia", "ib"], ["ia"], ["ia"]])"),
                                 {"n", JsonArray(arrow::float32(), "[7, 0.1, 7]")}}),
            "2,3,1,1|4|");
}

TEST(ComboTest, WorksOnEveryElementOfASequence) {
  const auto config = [](const std::string& more) {
    return absl::StrCat(
        "feature_configs { sequence_feature { sequence_name: 'click' sequence_length: 50 features "
        "{ "
        "combo_feature { feature_name: 'x' expression: ['user:u', 'item:i'] embedding_dim: 4 "
        "hash_bucket_size: 100 ",
        more, " } } } }");
  };
  const std::vector<NamedColumn> columns = {
      Texts("u", R"(["ua", "", "ub"])"), Texts("click__i", R"(["abc\u001defg;hij", "", "hij"])")};
  EXPECT_EQ(Compute(config("value_dim: 0"), columns), "2,42;3|26|23");  // reference
  EXPECT_EQ(Compute(config("value_dim: 0 default_value: 'xyz'"), columns), "2,42;3|13|23");
  EXPECT_EQ(Compute(config("value_dim: 1"), columns), "2;3|26|23");
  EXPECT_EQ(Compute(config(""), columns), "2;3|26|23");
  EXPECT_EQ(Compute(config("sequence_fields: 'i'"), columns), "2;3|26|23");
}

TEST(ComboTest, RefusesTooManyCombinations) {
  std::string many = "[\"";
  for (int i = 0; i < 300; ++i) absl::StrAppend(&many, i, "\x1d");
  many += "\"]";
  EXPECT_THAT(Compute(Feature1("combo_feature", absl::StrCat(kComboInputs, "hash_bucket_size: 9")),
                      {{"u", TextCells({many}).chunks[0].rows->column(0)},
                       {"i", TextCells({many}).chunks[0].rows->column(0)}}),
              HasSubstr("row 1, column 'x': the tokens have more than 65536 combinations"));
}

// ---- lookup ----

constexpr char kMap[] =
    R"(["ca:1\u001dcb:2", "ca:1\u001dcb:2", "ca:1\u001dcb:2", "ca:1\u001dcb:2", "ca:1\u001dcb:2", "", ""])";
constexpr char kKeys[] = R"(["ca\u001dcb", "ca", "ca\u001dcd", "cd", "", "ca", ""])";
constexpr char kLookupInputs[] = "map: 'user:kv' key: 'item:k' ";

TEST(LookupTest, CombinesNumbersAsTheReference) {
  const std::vector<NamedColumn> columns = {Texts("kv", kMap), Texts("k", kKeys)};
  const auto values = [&](const std::string& more) {
    return Compute(Feature1("lookup_feature", absl::StrCat(kLookupInputs, more)), columns);
  };
  EXPECT_EQ(values(""), "3|1|1|0|0|0|0");
  EXPECT_EQ(values("combiner: 'mean'"), "1.5|1|1|0|0|0|0");
  EXPECT_EQ(values("combiner: 'AVG'"), "1.5|1|1|0|0|0|0");
  EXPECT_EQ(values("combiner: 'min'"), "1|1|1|0|0|0|0");
  EXPECT_EQ(values("combiner: 'max'"), "2|1|1|0|0|0|0");
  EXPECT_EQ(values("combiner: 'count'"), "2|1|1|0|0|0|0");
  const std::string boundaries = "boundaries: [-0.5, 0.5, 1.5, 2.5] embedding_dim: 4 ";
  EXPECT_EQ(values(boundaries), "4|2|2|1|1|1|1");
  EXPECT_EQ(values(boundaries + "combiner: 'mean'"), "3|2|2|1|1|1|1");
  EXPECT_EQ(values(boundaries + "combiner: ''"), "2,3|2|2|1|1|1|1");
}

TEST(LookupTest, ReadsMapsAndListsAsTheReference) {
  EXPECT_EQ(Compute(Feature1("lookup_feature", kLookupInputs),
                    {Maps("kv", R"([[["ca", 1], ["cb", 2]], [["ca", 1]], [], null])"),
                     Lists("k", R"([["ca", "cb"], ["cd"], ["ca"], null])")}),
            "3|0|0|0");
}

TEST(LookupTest, GivesTokensWithABucketizerAsTheReference) {
  const std::string words =
      R"(["ca:x\u001dcb:y", "ca:x\u001dcb:y", "ca:x\u001dcb:y", "ca:x\u001dcb:y", "", "", ""])";
  const auto ids = [&](const std::string& map, const std::string& more) {
    return Compute(
        Feature1("lookup_feature", absl::StrCat(kLookupInputs, "embedding_dim: 4 ", more)),
        {Texts("kv", map), Texts("k", kKeys)});
  };
  EXPECT_EQ(ids(kMap, "num_buckets: 10 default_value: ''"), "1,2|1|1||||");
  EXPECT_EQ(ids(kMap, "num_buckets: 10"), "1,2|1|1|0|0|0|0");
  EXPECT_EQ(ids(words, "hash_bucket_size: 100 default_value: ''"), "35,30|35|35||||");
  EXPECT_EQ(ids(words, "hash_bucket_size: 100 default_value: 'z'"), "35,30|35|35|54|54|54|54");
  EXPECT_EQ(ids(words, "vocab_list: ['ca_x'] need_key: true default_value: ''"), "2,1|2|2||||");
}

TEST(LookupTest, AMapOfNumbersGivesTokensInTheirShortestForm) {
  EXPECT_EQ(
      Compute(
          Feature1("lookup_feature",
                   absl::StrCat(kLookupInputs, "embedding_dim: 4 vocab_list: ['0.1', '3']")),
          {{"kv", JsonArray(arrow::map(arrow::int32(), arrow::float32()), "[[[5, 0.1], [-6, 3]]]")},
           {"k", JsonArray(arrow::list(arrow::int64()), "[[5, -6, 7]]")}}),
      "2,3");
}

TEST(LookupTest, ReadsSeveralNumbersOfAValueAsTheReference) {
  const std::string config =
      Feature1("lookup_feature", absl::StrCat(kLookupInputs, "value_dim: 2 combiner: ''"));
  EXPECT_EQ(
      Compute(
          config,
          {Texts("kv", R"(["ca:1,2\u001dcb:3,4", "ca:1,2\u001dcb:3,4", "ca:1,2", "", "ca:1,2"])"),
           Texts("k", R"(["ca", "cd", "", "ca", "ca\u001dcb"])")}),
      "1 2|0 0|0 0|0 0|1 2");
  EXPECT_THAT(
      Compute(config, {Texts("kv", R"(["ca:1,2,3"])"), Texts("k", R"(["ca"])")}),
      HasSubstr("'f' row 1, column 'x': the cell holds 3 values, but feature 'x' has value_dim 2"));
}

TEST(LookupTest, InASequenceTheKeysAreTheElementsAsTheReference) {
  const auto config = [](const std::string& more) {
    return absl::StrCat(
        "feature_configs { sequence_feature { sequence_name: 'click' sequence_length: 50 features "
        "{ "
        "lookup_feature { feature_name: 'x' map: 'user:kv' key: 'item:k' ",
        more, " } } } }");
  };
  const std::vector<NamedColumn> columns = {
      Texts("kv", kMap),
      Texts("click__k", R"(["ca\u001dcb;ca", "ca", "ca\u001dcd;ce", "cd", "", "ca", ""])")};
  EXPECT_EQ(Compute(config(""), columns), "3;1|1|1;0|0|0|0|0");
  const std::string boundaries = "boundaries: [-0.5, 0.5, 1.5, 2.5] embedding_dim: 4 ";
  EXPECT_EQ(Compute(config(boundaries), columns), "4;2|2|2;1|1|1|1|1");
  EXPECT_EQ(Compute(config(boundaries + "combiner: ''"), columns), "2,3;2|2|2;1|1|1|1|1");
}

TEST(LookupTest, RefusesPairsWithoutKeyAndValuesThatAreNoNumbers) {
  const std::string config = Feature1("lookup_feature", kLookupInputs);
  EXPECT_EQ(Compute(config, {Texts("kv", R"(["ca:1", "ca"])"), Texts("k", R"(["ca", "ca"])")}),
            "'f' row 2, column 'kv': the pair 'ca' is not of the form 'key:value'");
  EXPECT_EQ(Compute(config, {Texts("kv", R"(["ca:one"])"), Texts("k", R"(["ca"])")}),
            "'f' row 1, column 'x': the value of key 'ca': 'one' is not a finite decimal number");
  EXPECT_THAT(Compute(config, {{"kv", JsonArray(arrow::int64(), "[1]")}, Texts("k", R"(["ca"])")}),
              HasSubstr("'f' column 'kv', read by feature 'x': keys with values are needed, but "
                        "the column has type int64"));
  EXPECT_THAT(
      Compute(config, {Texts("kv", R"(["ca:1"])"), Maps("k", R"([[["ca", 1]]])")}),
      HasSubstr(
          "column 'k', read by feature 'x': tokens are needed, but the column has type map<"));
}

// ---- match ----

constexpr char kNested[] =
    R"(["ca^ba:1,bb:2|cb^ba:3,bb:4", "ca^ba:1,bb:2|cb^ba:3,bb:4", "ca^ba:1", "", ""])";
constexpr char kMatchInputs[] = "nested_map: 'user:m' pkey: 'item:p' skey: 'item:s' ";

TEST(MatchTest, FindsTheValueOfTwoKeysAsTheReference) {
  const auto result = [&](const std::string& more) {
    return Compute(Feature1("match_feature", absl::StrCat(kMatchInputs, more)),
                   {Texts("m", kNested), Texts("p", R"(["ca", "ca", "", "ca", null])"),
                    Texts("s", R"(["ba", "", "", "ba", null])")});
  };
  EXPECT_EQ(result(""), "1|0|0|0|0");
  EXPECT_EQ(result("boundaries: [-0.5, 0.5, 1.5, 2.5] embedding_dim: 4"), "2|1|1|1|1");
  EXPECT_EQ(result("boundaries: [-0.5, 0.5, 1.5, 2.5] embedding_dim: 4 default_value: ''"),
            "2||||");
  EXPECT_EQ(result("num_buckets: 10 embedding_dim: 4 default_value: ''"), "1||||");
  EXPECT_EQ(result("num_buckets: 10 embedding_dim: 4"), "1|0|0|0|0");
}

TEST(MatchTest, HashesTheFeatureNameWithTheValueAsTheReference) {
  const std::string config =
      "feature_configs { match_feature { feature_name: 'match_feat' nested_map: 'user:m' pkey: "
      "'item:p' skey: 'item:s' "
      "hash_bucket_size: 100 embedding_dim: 4 default_value: 'z' } }";
  EXPECT_EQ(Compute(config, {Texts("m", kNested), Texts("p", R"(["ca", "ca", "", "ca", null])"),
                             Texts("s", R"(["ba", "", "", "ba", null])")}),
            "71|54|54|54|54");
}

TEST(MatchTest, AllTakesEveryKeyAndKeysMayBeShown) {
  const std::vector<NamedColumn> columns = {Texts("m", R"(["ca^ba:1,bb:2|cb^ba:3"])"),
                                            Texts("p", R"(["ca"])"), Texts("s", R"(["ba"])")};
  const std::string words =
      "embedding_dim: 4 vocab_list: ['x_ca_1', 'x_cb_3', 'x_ba_1', 'x_bb_2', 'x_ca_ba_1'] "
      "default_value: '' ";
  EXPECT_EQ(Compute(Feature1("match_feature",
                             absl::StrCat(
                                 "nested_map: 'user:m' pkey: 'ALL' skey: 'item:s' show_pkey: true ",
                                 words)),
                    columns),
            "2,3");
  EXPECT_EQ(Compute(Feature1("match_feature",
                             absl::StrCat(
                                 "nested_map: 'user:m' pkey: 'item:p' skey: 'ALL' show_skey: true ",
                                 words)),
                    columns),
            "4,5");
  EXPECT_EQ(Compute(Feature1("match_feature",
                             absl::StrCat(kMatchInputs, "show_pkey: true show_skey: true ", words)),
                    columns),
            "6");
}

TEST(MatchTest, ReadsMapsOfTexts) {
  EXPECT_EQ(Compute(Feature1("match_feature", kMatchInputs),
                    {{"m", JsonArray(arrow::map(arrow::int64(), arrow::utf8()),
                                     R"([[[3, "ba:1,bb:2"], [4, null]]])")},
                     {"p", JsonArray(arrow::int32(), "[3]")},
                     Texts("s", R"(["bb"])")}),
            "2");
}

// ---- expr ----

TEST(ExprTest, ComputesValuesAsTheReference) {
  const auto result = [](const std::string& more, const std::vector<NamedColumn>& columns) {
    return Compute(
        Feature1("expr_feature",
                 absl::StrCat("expression: 'a+b' variables: ['user:a', 'item:b'] ", more)),
        columns);
  };
  EXPECT_EQ(result("default_value: '0.1'",
                   {Texts("a", R"(["0.2", "", "0.3", null])"), Reals("b", "[0.2, 0.2, 0.2, 0.2]")}),
            "0.4|0.1|0.5|0.1");
  EXPECT_EQ(result("default_value: '0.1' boundaries: [0.15, 0.25, 0.35] embedding_dim: 4",
                   {Reals("a", "[0.2, 0.1, 0.3, null]"), Reals("b", "[0.2, 0.2, 0.2, 0.2]")}),
            "3|2|3|0");
  EXPECT_EQ(result("default_value: '' boundaries: [0.15, 0.25, 0.35] embedding_dim: 4",
                   {Texts("a", R"(["0.2", "", "0.3"])"), Reals("b", "[0.2, 0.2, 0.2]")}),
            "3||3");
}

TEST(ExprTest, CellsOfSeveralValuesAreVectors) {
  const std::vector<NamedColumn> columns = {Texts("a", R"(["1\u001d2\u001d3", "5"])"),
                                            Texts("b", R"(["10\u001d20", "1"])")};
  const std::string boundaries =
      "boundaries: [5, 15, 25] embedding_dim: 4 variables: ['user:a', 'item:b'] ";
  EXPECT_EQ(Compute(Feature1("expr_feature", boundaries + "expression: 'a + b' fill_missing: 100"),
                    columns),
            "1,2,3|1");
  EXPECT_THAT(Compute(Feature1("expr_feature", boundaries + "expression: 'a + b'"), columns),
              HasSubstr("'f' row 1, column 'x': the value nan is not a finite number"));
  EXPECT_EQ(
      Compute(Feature1("expr_feature",
                       "expression: 'reduce_sum(a) / len(b)' variables: ['user:a', 'item:b']"),
              columns),
      "3|5");
}

TEST(ExprTest, WorksOnEveryElementOfASequence) {
  const std::string config =
      "feature_configs { sequence_feature { sequence_name: 's' sequence_length: 9 features { "
      "expr_feature { "
      "feature_name: "
      "'x' expression: 'now - t' variables: ['user:now', 'item:t'] default_value: '7' } } } }";
  EXPECT_EQ(Compute(config, {Reals("now", "[10, 20]"), Texts("s__t", R"(["1;;3", ""])")}),
            "9;7;7|7");
}

TEST(ExprTest, AFormulaThatDoesNotParseIsRefusedWithItsPlace) {
  EXPECT_THAT(ConfigError(Feature1("expr_feature", "expression: 'a + c' variables: 'user:a'")),
              HasSubstr("feature_configs[1].expr_feature.expression: column 5 of \"a + c\": \"c\" "
                        "is no variable"));
  EXPECT_THAT(ConfigError(Feature1("expr_feature", "expression: 'a'")),
              HasSubstr("expr_feature.variables: is missing"));
  EXPECT_THAT(ConfigError(Feature1("expr_feature", "variables: 'user:a'")),
              HasSubstr("expr_feature.expression: is missing"));
}

// ---- overlap ----

TEST(OverlapTest, MeasuresTermsAsTheReference) {
  const auto measure = [](const std::string& method, const std::string& query,
                          const std::string& title) {
    return Compute(Feature1("overlap_feature",
                            absl::StrCat("query: 'user:q' title: 'item:t' method: '", method, "'")),
                   {Texts("q", query), Texts("t", title)});
  };
  const std::string query = R"(["abc\u001defg", "abc\u001defg", "", null])";
  const std::string title =
      R"(["abc\u001dqwe\u001drty\u001duio", "abc\u001defg\u001drty", "", null])";
  EXPECT_EQ(measure("query_common_ratio", query, title), "0.5|1|0|0");
  EXPECT_EQ(measure("title_common_ratio", query,
                    R"(["abc\u001dqwe\u001drty\u001duio", "abc", "", null])"),
            "0.25|1|0|0");
  EXPECT_EQ(measure("is_contain", query, title), "0|1|0|0");
  EXPECT_EQ(measure("is_equal", query, R"(["abc\u001defg\u001drty", "abc\u001defg", "", null])"),
            "0|1|0|0");
  EXPECT_EQ(
      measure("index_of", R"(["b\u001dc", "b", ""])", R"(["a\u001db\u001db\u001dc", "c", "b"])"),
      "2|-1|-1");
  EXPECT_EQ(measure("is_contain", R"(["a\u001dc", "c\u001da"])",
                    R"(["a\u001db\u001dc", "a\u001db\u001dc"])"),
            "1|0");
}

TEST(OverlapTest, BoundariesAsTheReference) {
  EXPECT_EQ(Compute(Feature1("overlap_feature",
                             "query: 'user:q' title: 'item:t' method: 'query_common_ratio' "
                             "embedding_dim: 4 boundaries: [0.25, 0.75]"),
                    {Lists("q", R"([["abc", "efg"], ["abc", "efg"], [], null])"),
                     Lists("t", R"([["abc", "qwe"], ["abc", "efg", "rty"], [], null])")}),
            "1|2|0|0");
}

// ---- kv_dot_product ----

TEST(KvDotProductTest, SumsProductsAsTheReference) {
  const std::string config = Feature1(
      "kv_dot_product", "query: 'user:q' document: 'item:d' separator: '|' default_value: '0.1'");
  EXPECT_EQ(Compute(config, {Texts("q", R"(["a:0.5|b:0.5", "a|b|c", "a|b", null])"),
                             Texts("d", R"(["a:0.5|b:0.5", "a|b", "", ""])")}),
            "0.5|2|0.1|0.1");
  EXPECT_EQ(Compute(config, {Lists("q", R"([["a:0.5", "b:0.5"], ["a", "b", "c"]])"),
                             Texts("d", R"(["d:0.5|b:0.5", "a|b|d"])")}),
            "0.25|2");
  EXPECT_EQ(Compute(config, {Lists("q", R"([["a", "b", "c"]])"),
                             {"d", JsonArray(arrow::map(arrow::utf8(), arrow::float32()),
                                             R"([[["a", 0.5], ["b", 0.5]]])")}}),
            "1");
  const std::string boundaries =
      Feature1("kv_dot_product",
               "query: 'user:q' document: 'item:d' separator: '|' default_value: '' "
               "boundaries: [0.05, 0.15, 1.0] embedding_dim: 4");
  EXPECT_EQ(Compute(boundaries, {Texts("q", R"(["a:0.5|b:0.5", "a|b|c", "a|b", null])"),
                                 Texts("d", R"(["a:0.5|b:0.5", "a|b", "", ""])")}),
            "2|3|0|0");
}

// ---- bool_mask ----

TEST(BoolMaskTest, KeepsTokensAsTheReference) {
  const std::string config =
      Feature1("bool_mask_feature",
               "expression: ['user:v', 'user:m'] embedding_dim: 4 num_buckets: 10 separator: ','");
  EXPECT_EQ(
      Compute(config, {Texts("v", R"(["1,2,3,4"])"), Texts("m", R"(["true,false,true,false"])")}),
      "1,3");
  EXPECT_EQ(Compute(config, {Texts("v", R"(["1", "2", null])"),
                             Texts("m", R"(["true", "false", "true"])")}),
            "1||");
  EXPECT_EQ(Compute(config, {{"v", JsonArray(arrow::list(arrow::int64()), "[[1, 2, 3, 4]]")},
                             {"m", JsonArray(arrow::list(arrow::int8()), "[[1, 0, 1, 0]]")}}),
            "1,3");
  EXPECT_EQ(Compute(config, {Texts("v", R"(["1,2"])"), Texts("m", R"(["true"])")}),
            "'f' row 1, column 'x': the values are 2, but the mask has 1; expected one true or "
            "false per value");
  EXPECT_EQ(Compute(config, {Texts("v", R"(["1"])"), Texts("m", R"(["yes"])")}),
            "'f' row 1, column 'x': the mask holds 'yes'; expected true, false, 1 or 0");
}

// ---- combine ----

TEST(CombineTest, MakesOneNumberAsTheReference) {
  const auto result = [](const std::string& more, const std::string& cells) {
    return Compute(
        Feature1("combine_feature", absl::StrCat("expression: 'user:c' default_value: '0' ", more)),
        {Texts("c", cells)});
  };
  const std::string numbers = R"(["1\u001d2", "3", "", null])";
  EXPECT_EQ(result("", numbers), "3|3|0|0");
  EXPECT_EQ(result("combiner: 'mean'", numbers), "1.5|3|0|0");
  EXPECT_EQ(result("num_buckets: 10 embedding_dim: 4", numbers), "3|3|0|0");
  EXPECT_EQ(result("num_buckets: 10 embedding_dim: 4 combiner: 'mean'", numbers), "1|3|0|0");
  EXPECT_EQ(result("boundaries: [-0.5, 0.5, 1.5, 2.5] embedding_dim: 4",
                   R"(["1.0\u001d2.0", "0.0", "", null])"),
            "4|1|1|1");
  const std::string words =
      "value_map { key: 'tag1' value: 1 } value_map { key: 'tag2' value: 2 } value_map { key: "
      "'tag3' "
      "value: 3 } ";
  EXPECT_EQ(result(words + "num_buckets: 10 embedding_dim: 4 combiner: 'mean'",
                   R"(["tag1\u001dtag2", "tag3", "other", null])"),
            "1|3|0|0");
}

TEST(CombineTest, InASequenceAsTheReference) {
  const auto config = [](const std::string& more) {
    return absl::StrCat(
        "feature_configs { sequence_combine_feature { feature_name: 'x' expression: 'user:c' "
        "sequence_length: 50 ",
        more, " } }");
  };
  const std::vector<NamedColumn> columns = {Texts("c", R"(["1\u001d2;3", "4", ""])")};
  EXPECT_EQ(Compute(config("num_buckets: 10 embedding_dim: 4"), columns), "3;3|4|0");
  EXPECT_EQ(Compute(config("num_buckets: 10 embedding_dim: 4 combiner: 'mean'"), columns),
            "1;3|4|0");
  EXPECT_EQ(Compute(config("combiner: 'mean'"), columns), "1.5;3|4|0");
}

// ---- custom ----

constexpr char kDistanceOf[] =
    "operator_name: 'EditDistance' operator_lib_file: 'pyfg/lib/libedit_distance.so' expression: "
    "['user:q', 'item:t'] ";

TEST(CustomTest, EditDistanceCountsCharactersOrBytes) {
  const std::string bytes =
      "operator_params { fields { key: 'encoding' value { string_value: 'latin' } } } ";
  const std::vector<NamedColumn> columns = {
      Texts("q", R"(["裙子", "kitten", "a\u001db", "", "same"])"),
      Texts("t", R"(["连衣裙", "sitting", "b", "x", "same"])")};
  // The first as the reference.
  EXPECT_EQ(Compute(Feature1("custom_feature", kDistanceOf), columns), "3|3|2|0|0");
  EXPECT_EQ(Compute(Feature1("custom_feature", kDistanceOf + bytes), columns), "8|3|2|0|0");
  EXPECT_EQ(Compute(Feature1("custom_feature",
                             absl::StrCat(kDistanceOf,
                                          "num_buckets: 9 embedding_dim: 4 default_value: '8'")),
                    columns),
            "3|3|2|8|0");
  EXPECT_THAT(Compute(Feature1("custom_feature", kDistanceOf),
                      {Lists("q", R"([["a", "b"]])"), Texts("t", R"(["a"])")}),
              HasSubstr("row 1, column 'x': a cell holds 2 texts"));
  EXPECT_THAT(Compute(Feature1("custom_feature", kDistanceOf),
                      {Texts("q", "[\"" + std::string(5000, 'a') + "\"]"), Texts("t", R"(["a"])")}),
              HasSubstr("a text has 5000 characters; expected at most 4096"));
}

std::string SeqExpr(const std::string& formula, const std::string& more) {
  return absl::StrCat(
      "feature_configs { sequence_feature { sequence_name: 's' sequence_length: 50 sequence_delim: "
      "'|' "
      "features { custom_feature { feature_name: 'x' operator_name: 'SeqExpr' operator_params { "
      "fields { key: "
      "'formula' value { string_value: '",
      formula, "' } } } ", more, " } } } }");
}

TEST(CustomTest, SeqExprIsAFormulaOverElementsAsTheReference) {
  const std::vector<NamedColumn> columns = {Texts("now", R"(["10", null, null])"),
                                            Texts("s__t", R"(["2|3", "4", null])")};
  const std::string inputs = "expression: ['user:now', 'item:t']";
  EXPECT_EQ(Compute(SeqExpr("now-t", inputs), columns), "8;7|0|0");
  EXPECT_EQ(Compute(SeqExpr("s__now-s__t", inputs), columns), "8;7|0|0");
  EXPECT_EQ(Compute(SeqExpr("spherical_distance",
                            "expression: ['user:lng', 'user:lat', 'user:ulng', 'user:ulat'] "
                            "sequence_fields: ['lng', 'lat'] boundaries: [0, 150, 1500] "
                            "embedding_dim: 4"),
                    {Texts("s__lng", R"(["113.728|116.4074", "121.4737", null])"),
                     Texts("s__lat", R"(["23.002|39.9042", "31.2304", null])"),
                     Texts("ulng", R"(["113.1057", "116.4074", null])"),
                     Texts("ulat", R"(["22.5614", "39.9042", null])")}),
            "1;3|2|1");
  EXPECT_THAT(
      Job(SeqExpr("now-then", inputs), ", 's__x'"),
      IsError(HasSubstr(
          "custom_feature.operator_params: column 5 of \"now-then\": \"then\" is no variable")));
}

// ---- tokenize ----

// A tokenizer.json of five words, with `parts` in the place of the usual ones.
class TokenizeTest : public ::testing::Test {
 protected:
  static constexpr char kModel[] =
      R"("model": {"type": "WordLevel", "unk_token": "[UNK]",
                   "vocab": {"[UNK]": 0, "red": 1, "shoes": 2, "0": 3, "big": 4}})";
  static constexpr char kSplit[] = R"("pre_tokenizer": {"type": "Whitespace"})";

  std::string Fields(const std::string& more = "",
                     const std::string& parts = absl::StrCat(kSplit, ", ", kModel)) {
    EXPECT_OK(WriteFileAtomically(directory_ / "tokenizer.json", absl::StrCat("{", parts, "}")));
    return absl::StrCat("expression: 'user:t' embedding_dim: 4 vocab_file: '",
                        directory_ / "tokenizer.json", "' ", more);
  }
  std::string Tokens(const std::string& more, const std::string& texts,
                     const std::string& parts = absl::StrCat(kSplit, ", ", kModel)) {
    return Compute(Feature1("tokenize_feature", Fields(more, parts)), {Texts("t", texts)});
  }

  TemporaryDirectory directory_;
};

TEST_F(TokenizeTest, GivesTheRowsOfTheWords) {
  const std::string texts = R"(["red shoes", "Red, shoes!", "", null, "big big red"])";
  EXPECT_EQ(Tokens("", texts), "1,2|0,0,2,0|||4,4,1");
  const std::string lower =
      absl::StrCat(R"("normalizer": {"type": "Lowercase"}, )", kSplit, ", ", kModel);
  EXPECT_EQ(Tokens("", texts, lower), "1,2|1,0,2,0|||4,4,1");
  EXPECT_EQ(Tokens("default_value: 'big shoes'", texts), "1,2|0,0,2,0|4,2|4,2|4,4,1");
  EXPECT_EQ(Tokens("text_normalizer { norm_options: TEXT_UPPER2LOWER }", texts),
            "1,2|1,0,2,0|||4,4,1");
  EXPECT_EQ(
      Tokens(
          "text_normalizer { norm_options: [TEXT_UPPER2LOWER, TEXT_REMOVE_SPACE] max_length: 8 }",
          R"(["r E\td", "red shoes"])"),
      "1|1,2");
}

TEST_F(TokenizeTest, WithoutAnUnknownWordOthersHaveNoRow) {
  const std::string parts = R"("pre_tokenizer": {"type": "WhitespaceSplit"},
    "model": {"type": "WordLevel", "vocab": {"red": 1, "shoes": 0}, "unk_token": "[UNK]"})";
  EXPECT_EQ(Tokens("", R"(["red big shoes", "big"])", parts), "1,0|");
  EXPECT_EQ(Tokens("default_value: 'big shoes'", R"(["red big", "big"])", parts), "1|0");
  const auto job = Job(Feature1("tokenize_feature", Fields("", parts)), ", 'x'");
  ASSERT_OK(job);
  EXPECT_THAT(absl::StrJoin(job->notes, "\n"),
              HasSubstr("its unk_token \"[UNK]\" is none of its words"));
}

TEST_F(TokenizeTest, AddedTokensAreCutOutAndCountAsRows) {
  const std::string parts = absl::StrCat(
      R"("added_tokens": [{"id": 5, "content": "[X]", "normalized": false}, {"id": 0, "content": "[UNK]"}], )",
      kSplit, ", ", kModel);
  EXPECT_EQ(Tokens("", R"(["red[X]shoes [UNK]", "[x]"])", parts), "1,5,2,0|0,0,0");
  const auto job = Job(Feature1("tokenize_feature", Fields("", parts)), ", 'x'");
  ASSERT_OK(job);
  EXPECT_EQ(job->features[1].rows, 6);
  EXPECT_EQ(job->tables[1].rows, 6);
}

TEST_F(TokenizeTest, AListHasTheWordsOfAllItsTexts) {
  EXPECT_EQ(Compute(Feature1("tokenize_feature", Fields()),
                    {Lists("t", R"([["red shoes", "big"], []])")}),
            "1,2,4|");
}

TEST_F(TokenizeTest, TokensCanBeTheElementsOfASequence) {
  const std::string texts = R"(["red shoes", "", "big big red shoes"])";
  const std::string elements = "tokens_as_sequence: true sequence_length: 3 ";
  EXPECT_EQ(Tokens(elements, texts), "1;2|3|4;4;1");  // of an empty text those of "0"
  EXPECT_EQ(Tokens(elements + "default_value: 'red big'", texts), "1;2|1;4|4;4;1");
}

TEST_F(TokenizeTest, ASequenceOfTextsPoolsEachOfThem) {
  const std::string grouped = absl::StrCat(
      "feature_configs { sequence_feature { sequence_name: 'q' sequence_length: 2 features { "
      "tokenize_feature { "
      "feature_name: "
      "'x' ",
      Fields(), " } } } }");
  const std::vector<NamedColumn> columns = {Texts("q__t", R"(["red shoes;big", "", "red;;big"])")};
  EXPECT_EQ(Compute(grouped, columns), "1,2;4|3|1;3");
  EXPECT_EQ(Compute(Feature1("sequence_tokenize_feature", Fields("default_value: 'big red'")),
                    {Texts("t", R"(["red shoes;big", "", "red;;big"])")}),
            "1,2;4|4,1|1;4,1;4");
}

TEST_F(TokenizeTest, InFgNoneTheColumnHoldsTheRows) {
  ASSERT_OK_AND_ASSIGN(const JobConfig job,
                       Job(Feature1("tokenize_feature", Fields()), ", 'x'", "FG_NONE"));
  EXPECT_FALSE(job.features[1].op.has_value());
  EXPECT_EQ(job.features[1].rows, 5);
  EXPECT_EQ(job.features[1].bucketizer, Bucketizer::kIdentity);
}

TEST_F(TokenizeTest, WrongConfigsAndFilesAreRefusedWithTheirPlace) {
  const struct {
    std::string fields, error;
  } fields[] = {
      {"tokenizer_type: 'sentencepiece'",
       "tokenizer_type: \"sentencepiece\"; expected bpe, which stands for a tokenizer.json"},
      {"tokens_as_sequence: true",
       "sequence_length: is missing; expected the largest number of tokens"},
      {"sequence_length: 3", "sequence_length: only applies to sequences"},
      {"text_normalizer {}", "text_normalizer.norm_options: is missing; expected TEXT_LOWER2UPPER"},
      {"text_normalizer { norm_options: TEXT_FILTER }",
       "text_normalizer.norm_options: TEXT_FILTER is not supported"},
      {"text_normalizer { norm_options: [TEXT_LOWER2UPPER, TEXT_UPPER2LOWER] }",
       "undo each other; remove one of them"},
      {"text_normalizer { norm_options: TEXT_REMOVE_SPACE stop_char_file: 'x' }",
       "text_normalizer.stop_char_file: \"x\" is not supported; remove such characters"},
      {"use_mask: true", "use_mask: true is not supported"},
  };
  for (const auto& one : fields) {
    EXPECT_THAT(ConfigError(Feature1("tokenize_feature", Fields(one.fields))),
                HasSubstr(one.error));
  }
  EXPECT_THAT(
      ConfigError(Feature1("sequence_tokenize_feature",
                           Fields("tokens_as_sequence: true sequence_length: 3"))),
      HasSubstr(
          "tokens_as_sequence: true; of a sequence of texts, each of which is pooled, remove it"));
  EXPECT_THAT(
      ConfigError(Feature1("tokenize_feature",
                           "embedding_dim: 4 vocab_file: 'gone.json' expression: 'user:t'")),
      HasSubstr("vocab_file: cannot open gone.json"));
  EXPECT_THAT(ConfigError(Feature1("tokenize_feature", "embedding_dim: 4 expression: 'user:t'")),
              HasSubstr("vocab_file: is missing; expected a tokenizer.json"));
  const struct {
    std::string parts, error;
  } files[] = {
      {"", "its model is missing or has no type; expected WordLevel"},
      {R"("model")", "expected a JSON object such as"},
      {R"("model": {"type": "BPE", "vocab": {}})",
       "its model is \"BPE\"; expected WordLevel. Of other tokenizers compute the ids beforehand "
       "into a column"},
      {kModel, "its pre_tokenizer is missing; expected Whitespace or WhitespaceSplit. Of other"},
      {absl::StrCat(R"("pre_tokenizer": {"type": "BertPreTokenizer"}, )", kModel),
       "BertPreTokenizer"},
      {absl::StrCat(R"("normalizer": {"type": "NFC"}, )", kSplit, ", ", kModel),
       "its normalizer is {\"type\":\"NFC\"}"},
      {absl::StrCat(R"("post_processor": {"type": "X"}, )", kSplit, ", ", kModel),
       "\"post_processor\" is set"},
      {absl::StrCat(R"("tokens": 1, )", kSplit, ", ", kModel),
       "\"tokens\" is no part of a tokenizer.json"},
      {absl::StrCat(kSplit, R"(, "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 0}})"),
       "\"a\" and \"b\" have the same id, 0"},
      {absl::StrCat(kSplit, R"(, "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 2}})"),
       "the id of \"b\" is 2, but the vocabulary has 2 words; expected ids from 0 to 1"},
      {absl::StrCat(kSplit, R"(, "model": {"type": "WordLevel", "vocab": {"a": 0, "a": 1}})"),
       "\"a\" is given twice"},
      {absl::StrCat(kSplit, R"(, "model": {"type": "WordLevel", "vocab": {"a": -1}})"),
       "the id of \"a\" is -1; expected an integer from 0"},
      {absl::StrCat(kSplit, R"(, "model": {"type": "WordLevel", "vocab": {}})"),
       "the vocabulary is empty"},
      {absl::StrCat(R"("added_tokens": [{"id": 3, "content": "red"}], )", kSplit, ", ", kModel),
       "the added token \"red\" has the id 3, but 1 in the vocabulary"},
      {absl::StrCat(R"("added_tokens": [{"id": 5, "content": "x", "lstrip": true}], )", kSplit,
                    ", ", kModel),
       "the added token \"x\" has lstrip true; expected false"},
  };
  for (const auto& one : files) {
    EXPECT_THAT(
        ConfigError(Feature1("tokenize_feature", Fields("", one.parts))),
        testing::AllOf(HasSubstr("job.config:11: feature_configs[1].tokenize_feature.vocab_file: "),
                       HasSubstr("tokenizer.json: "), HasSubstr(one.error)));
  }
}

TEST_F(TokenizeTest, ATextThatIsNotKnownIsAnErrorWithItsPlace) {
  EXPECT_THAT(
      Tokens("", "[\"red\", \"\u0e01\"]"),
      HasSubstr(
          "row 2, column 'x': the text \"\u0e01\" holds the character U+0E01, of which the kind"));
}

// ---- inputs ----

TEST(ComputedFeaturesTest, AFeatureCanBeAnInput) {
  const std::string config =
      "feature_configs { raw_feature { feature_name: 'bucket' expression: 'item:r' boundaries: [1, "
      "2] embedding_dim: 4 "
      "default_value: '2.5' } }" +
      Feature1("lookup_feature", "map: 'user:kv' key: 'feature:bucket'");
  EXPECT_EQ(Compute(config, {Reals("r", "[0.5, null]"), Texts("kv", R"(["0.5:7", "2.5:8"])")}),
            "7|8");
}

TEST(ComputedFeaturesTest, AComputedFeatureCanBeAnInput) {
  const std::string config =
      "feature_configs { combine_feature { feature_name: 'sum' expression: 'item:r' } }" +
      Feature1("lookup_feature", "map: 'user:kv' key: 'feature:sum' default_value: '9'");
  EXPECT_EQ(Compute(config, {Texts("r", R"(["1\u001d2", ""])"), Texts("kv", R"(["3:7", "0:8"])")}),
            "7|8");
}

TEST(ComputedFeaturesTest, AComputedInputHasTheTypeThatIsNeeded) {
  const std::string features =
      "feature_configs { combine_feature { feature_name: 'y' expression: 'user:t' } }" +
      Feature1("lookup_feature", "map: 'feature:y' key: 'item:k'");
  EXPECT_THAT(Compute(features, {Texts("t", R"(["1"])"), Texts("k", R"(["1"])")}),
              HasSubstr("the computed column 'y', read by feature 'x': keys with values are "
                        "needed, but the column has "
                        "type list<item: double>"));
}

TEST(ComputedFeaturesTest, InputsOfASequenceHaveAsManyElements) {
  const std::string config =
      "feature_configs { sequence_feature { sequence_name: 's' sequence_length: 2 features { "
      "kv_dot_product { "
      "feature_name: "
      "'x' query: 'item:a' document: 'item:b' } } } }";
  EXPECT_EQ(Compute(config, {Texts("s__a", R"(["a;b;c", ""])"),
                             Lists("s__b", R"([["a", "b", "c"], null])")}),
            "1;1|0");
  EXPECT_EQ(Compute(config, {Texts("s__a", R"(["a;b;c"])"), Texts("s__b", R"(["a;b"])")}),
            "'f' row 1, column 's__b': the cell holds 2 elements, but column 's__a' 3; feature "
            "'s__x' needs as many in both");
  EXPECT_EQ(Compute(config, {Texts("s__a", R"(["a;b:x"])"), Texts("s__b", R"(["a;b"])")}),
            "'f' row 1, column 's__x': element 2: the value of key 'b': 'x' is not a finite "
            "decimal number");
}

TEST(ComputedFeaturesTest, InFgNoneTheColumnHoldsTheResult) {
  ASSERT_OK_AND_ASSIGN(const JobConfig job,
                       Job(Feature1("lookup_feature", "num_buckets: 10 embedding_dim: 4") +
                               "feature_configs { expr_feature { feature_name: 'y' } }",
                           ", 'x', 'y'", "FG_NONE"));
  EXPECT_FALSE(job.features[1].op.has_value());
  EXPECT_EQ(job.features[1].column, "x");
  EXPECT_EQ(job.features[1].bucketizer, Bucketizer::kIdentity);
  EXPECT_EQ(job.features[2].bucketizer, Bucketizer::kNone);
}

TEST(ComputedFeaturesTest, WrongConfigsAreRefusedWithTheirPlace) {
  const struct {
    std::string kind, fields, error;
  } cases[] = {
      {"combo_feature", "expression: 'user:u' embedding_dim: 4 hash_bucket_size: 9",
       "combo_feature.expression: has 1 inputs; expected 2 or more"},
      {"combo_feature", "expression: ['user:u', 'item'] embedding_dim: 4 hash_bucket_size: 9",
       "combo_feature.expression: \"item\"; expected user:, item: or context: and an input column"},
      {"combo_feature", kComboInputs, "combo_feature: does not say how tokens become rows"},
      {"combo_feature", "expression: ['user:u', 'item:i'] hash_bucket_size: 9",
       "combo_feature.embedding_dim: is missing"},
      {"combo_feature", absl::StrCat(kComboInputs, "hash_bucket_size: 9 use_mask: true"),
       "combo_feature.use_mask: true"},
      {"combo_feature", absl::StrCat(kComboInputs, "vocab_list: ['a', 'a']"),
       "combo_feature.vocab_list: \"a\" is listed"},
      {"combo_feature", absl::StrCat(kComboInputs, "vocab_dict { key: 'a' }"),
       "combo_feature.vocab_dict[0]: an entry needs both key and value"},
      {"combo_feature", absl::StrCat(kComboInputs, "hash_bucket_size: 9 sequence_length: 3"),
       "combo_feature.sequence_length: only applies to sequences; remove it, or make the feature a "
       "sequence_combo_feature"},
      {"lookup_feature", "key: 'user:k'", "lookup_feature.map: is missing"},
      {"lookup_feature", "map: 'user:kv'", "lookup_feature.key: is missing"},
      {"lookup_feature", absl::StrCat(kLookupInputs, "combiner: 'gap_min'"),
       "lookup_feature.combiner: \"gap_min\"; expected sum, mean, min, max, count or \"\""},
      {"lookup_feature", absl::StrCat(kLookupInputs, "need_discrete: true"),
       "lookup_feature.need_discrete: true; tokens need"},
      {"lookup_feature",
       absl::StrCat(kLookupInputs, "num_buckets: 3 boundaries: 1 embedding_dim: 4"),
       "lookup_feature.boundaries: a way from tokens to rows is set as well"},
      {"match_feature", absl::StrCat(kMatchInputs, "value_dim: 2"),
       "match_feature.value_dim: 2; expected 1"},
      {"match_feature", "nested_map: 'user:m' pkey: 'item:p'", "match_feature.skey: is missing"},
      {"overlap_feature", "query: 'user:q' title: 'item:t' method: 'proximity_min_dist'",
       "overlap_feature.method: \"proximity_min_dist\"; expected query_common_ratio, title"},
      {"overlap_feature", "query: 'user:q' title: 'item:t'", "overlap_feature.method: is missing"},
      {"kv_dot_product", "query: 'user:q' document: 'item:d' kv_delimiter: 3",
       "kv_dot_product.kv_delimiter: 3; keys"},
      {"bool_mask_feature", "expression: 'user:v' embedding_dim: 4 num_buckets: 4",
       "bool_mask_feature.expression: has 1 inputs; expected 2"},
      {"combine_feature",
       "expression: 'user:c' value_map { key: 'a' value: 1 } value_map { key: 'a' value: 2 }",
       "combine_feature.value_map[1].key: \"a\" is given twice"},
      {"combine_feature", "expression: 'user:c' combiner: ''",
       "combine_feature.combiner: \"\"; expected sum"},
      {"combine_feature", "expression: 'feature:gone'",
       "combine_feature: the input feature:gone is no feature"},
      {"combine_feature", "expression: 'feature:x'", "combine_feature: feature x reads itself"},
      {"custom_feature", "operator_name: 'Regex'",
       "custom_feature.operator_name: \"Regex\"; expected EditDistance or SeqExpr"},
      {"custom_feature", "operator_name: 'EditDistance' expression: 'user:a'",
       "custom_feature.expression: has 1 inputs"},
      {"custom_feature",
       absl::StrCat(kDistanceOf,
                    "operator_params { fields { key: 'encoding' value { string_value: 'x' } } }"),
       "custom_feature.operator_params: encoding \"x\"; expected utf-8 or latin"},
      {"custom_feature", "operator_name: 'SeqExpr' expression: 'user:a'",
       "custom_feature.operator_params: has no formula"},
      {"sequence_lookup_feature", absl::StrCat("map: 'user:kv' key: 'user:k'"),
       "sequence_lookup_feature: none of the inputs is a sequence; expected one of side item"},
  };
  for (const auto& one : cases) {
    EXPECT_THAT(ConfigError(Feature1(one.kind, one.fields)),
                HasSubstr(absl::StrCat("job.config:11: feature_configs[1].", one.error)));
  }
}

TEST(ComputedFeaturesTest, AnInputFeatureIsWhatItsCellsHold) {
  const std::string reads = Feature1("combine_feature", "expression: 'feature:y'");
  EXPECT_THAT(
      ConfigError(
          reads +
          "feature_configs { raw_feature { feature_name: 'y' expression: 'user:y' normalizer: "
          "'method=log10,threshold=1,default=0' } }"),
      HasSubstr("the input feature:y has a normalizer, which changes what it reads"));
  EXPECT_THAT(
      ConfigError(
          reads +
          "feature_configs { sequence_raw_feature { feature_name: 'y' expression: 'user:y' } }"),
      HasSubstr("the input feature:y is a sequence"));
  EXPECT_THAT(
      ConfigError(
          reads +
          "feature_configs { id_feature { feature_name: 'y' expression: 'user:y' weighted: true "
          "num_buckets: 3 embedding_dim: 4 } }"),
      HasSubstr("the input feature:y is weighted"));
  std::string chain = Feature1("combine_feature", "expression: 'feature:y1'");
  for (int i = 1; i < 200; ++i) {
    absl::StrAppend(&chain, "feature_configs { combine_feature { feature_name: 'y", i,
                    "' expression: '", i < 199 ? absl::StrCat("feature:y", i + 1) : "user:c",
                    "' } }");
  }
  EXPECT_THAT(ConfigError(chain),
              HasSubstr("is computed from features 199 deep; expected at most 100"));
}

}  // namespace
}  // namespace pepnet
