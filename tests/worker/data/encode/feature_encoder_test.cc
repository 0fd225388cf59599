#include "worker/data/encode/feature_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "tests/support/with_mutant.h"
#include "tests/worker/data/data_files.h"
#include "worker/data/files/number_text.h"

namespace pepnet {
namespace {

using ::testing::HasSubstr;

// The encoding of the rows by feature `feature`, as text; the error's text if there is one.
std::string Encode(const Feature& feature, const RowSelection& rows, EncoderOptions options = {},
                   int64_t* clamped = nullptr, VocabularyCounts* vocabulary = nullptr) {
  const auto encoder = FeatureEncoder::Create({feature}, options);
  if (!encoder.ok()) return std::string(encoder.status().message());
  Batch batch;
  EncodeCounts counts;
  const int columns[] = {0};
  const Status status = (*encoder)->Encode(rows, columns, &batch, &counts);
  if (clamped != nullptr) *clamped = counts.clamped;
  if (vocabulary != nullptr) *vocabulary = counts.vocabulary[0];
  if (!status.ok()) return std::string(status.message());
  if (feature.bucketizer == Bucketizer::kNone) {
    EXPECT_EQ(static_cast<int64_t>(batch.values[0].size()), rows.rows * feature.dim);
    return ShowValues(batch.values[0], feature.dim);
  }
  EXPECT_EQ(static_cast<int64_t>(batch.ids[0].offsets.size()), rows.rows + 1);
  EXPECT_EQ(batch.ids[0].offsets.back(), static_cast<int32_t>(batch.ids[0].ids.size()));
  EXPECT_EQ(batch.ids[0].weights.size(), feature.weighted ? batch.ids[0].ids.size() : 0);
  return ShowIds(batch.ids[0]);
}

std::string EncodeTexts(const Feature& feature, const std::vector<std::string>& cells,
                        EncoderOptions options = {}) {
  return Encode(feature, TextCells(cells), options);
}

RowSelection Column(const std::shared_ptr<arrow::DataType>& type, const std::string& json) {
  return SelectAll({{"c", JsonArray(type, json)}});
}

enum class RowOrder { kWhole, kRuns, kSingles };

Feature Hash(int64_t rows) {
  Feature feature = IdFeature("c", rows);
  feature.bucketizer = Bucketizer::kHash;
  return feature;
}

Feature Vocabulary(std::map<std::string, int64_t> words, int64_t unknown) {
  Feature feature = IdFeature("c", 10);
  feature.bucketizer = Bucketizer::kVocabulary;
  feature.vocabulary = std::move(words);
  feature.unknown_id = unknown;
  return feature;
}

Feature Boundaries(std::vector<double> boundaries) {
  Feature feature = RawFeature("c", 4);
  feature.value_dim = 1;
  feature.bucketizer = Bucketizer::kBoundaries;
  feature.rows = static_cast<int64_t>(boundaries.size()) + 1;
  feature.boundaries = std::move(boundaries);
  return feature;
}

TEST(FeatureEncoderTest, AFormulaNormalizesValues) {
  Feature feature = RawFeature("c", 1);
  feature.normalizer.kind = NormalizerKind::kExpression;
  feature.normalizer.expression = *Expression::Parse("x > 10 ? 1 : log(x + 3)", {"x"});
  feature.default_value = "5";
  EXPECT_EQ(EncodeTexts(feature, {"-2", "11", ""}), "0|1|5");  // the default value as it is
  EXPECT_THAT(EncodeTexts(feature, {"-3"}),
              HasSubstr("row 1, column 'c': the normalized value -inf is not a finite float32"));
  Feature buckets = Boundaries({0.5, 2});
  buckets.normalizer = feature.normalizer;
  EXPECT_EQ(EncodeTexts(buckets, {"-2", "11", "6"}), "0|1|2");
  EXPECT_THAT(EncodeTexts(buckets, {"-4"}),
              HasSubstr("of -4 is not a finite number; correct the data or the normalizer"));
}

// ---- ids as they are ----

TEST(FeatureEncoderTest, IntegerTokensAreTheirOwnIds) {
  EXPECT_EQ(EncodeTexts(IdFeature("c", 10), {"3", "", "007",
                                             "1\x1d"
                                             "2\x1d"
                                             "1"}),
            "3||7|1,2,1");
}

TEST(FeatureEncoderTest, EmptyTokensInsideAListAreSkipped) {
  EXPECT_EQ(EncodeTexts(IdFeature("c", 10), {"1\x1d\x1d"
                                             "3",
                                             "\x1d"
                                             "2\x1d",
                                             "\x1d"}),
            "1,3|2|");
  EXPECT_EQ(Encode(IdFeature("c", 10),
                   Column(arrow::list(arrow::utf8()), R"([["1", "", null, "3"], []])")),
            "1,3|");
}

TEST(FeatureEncoderTest, SeparatorMayBeAnyString) {
  Feature feature = IdFeature("c", 10);
  feature.separator = "||";
  EXPECT_EQ(EncodeTexts(feature, {"1||2", "||3||"}), "1,2|3");
}

TEST(FeatureEncoderTest, ColumnTypesOfIds) {
  const Feature feature = IdFeature("c", 200);
  for (const auto& type :
       {arrow::int8(), arrow::uint8(), arrow::int32(), arrow::int64(), arrow::uint64()}) {
    EXPECT_EQ(Encode(feature, Column(type, "[5, null, 7]")), "5||7") << type->ToString();
  }
  EXPECT_EQ(Encode(feature, Column(arrow::list(arrow::int64()), "[[5, null, 7], null, [], [1]]")),
            "5,7|||1");
  EXPECT_EQ(Encode(feature, Column(arrow::large_utf8(), R"(["5", null, "7"])")), "5||7");
  EXPECT_EQ(Encode(feature,
                   Column(arrow::dictionary(arrow::int8(), arrow::utf8()), R"(["5", null, "7"])")),
            "5||7");
  EXPECT_EQ(Encode(feature, Column(arrow::float64(), "[1.0]")),
            "'f' column 'c': feature 'c' needs ids as integers or texts, but the column has type "
            "double; write the column "
            "as integers");
  EXPECT_EQ(Encode(feature, Column(arrow::boolean(), "[true, null, false]")), "1||0");
  EXPECT_THAT(Encode(feature, Column(arrow::time32(arrow::TimeUnit::SECOND), "[5]")),
              HasSubstr("'f' column 'c': the type time32[s]"));
}

TEST(FeatureEncoderTest, TextInAnIntegerColumnIsAnErrorWithFileRowColumnAndValue) {
  for (const char* cell : {"+5", "1e3", "true", " 5", "0x1F", "5.0", "2024-01-01", "NA"}) {
    EXPECT_EQ(EncodeTexts(IdFeature("c", 10), {"1", cell}),
              absl::StrCat("'f' row 2, column 'c': '", cell,
                           "' is not an integer, and feature 'c' takes ids as they are, 0 to 9; "
                           "correct the data, or "
                           "give the feature a hash_bucket_size or a vocabulary",
                           NumberRemedy(cell)));
  }
}

TEST(FeatureEncoderTest, InFgNoneMessagesNameTheMode) {
  EncoderOptions options;
  options.finished_ids = true;
  EXPECT_EQ(EncodeTexts(IdFeature("c", 10), {"1", "u7"}, options),
            "'f' row 2, column 'c': 'u7' is not an integer, and feature 'c' takes ids as they are, "
            "0 to 9; "
            "data_config.fg_mode is FG_NONE, by which the columns hold finished ids: if this one "
            "holds raw values, set "
            "fg_mode: FG_DAG, else correct the data");
  EXPECT_EQ(
      EncodeTexts(IdFeature("c", 10), {"12"}, options),
      "'f' row 1, column 'c': id 12 is out of range: feature 'c' has 10 rows, legal ids are 0 to "
      "9; give the "
      "feature more rows, correct the data, set fg_mode: FG_DAG if the column holds raw values "
      "(data_config.fg_mode is FG_NONE, by which it holds finished ids), or let such ids read row "
      "0 with "
      "--clamp_out_of_range");
  EXPECT_THAT(Encode(IdFeature("c", 10), Column(arrow::float64(), "[1.0]"), options),
              HasSubstr("is FG_NONE"));
}

// Law L7; the mutant clamp_to_row_zero must turn this red.
TEST(FeatureEncoderTest, LawL7IdOutOfRangeIsAnError) {
  const std::string expected =
      "'f' row 3, column 'c': id 10 is out of range: feature 'c' has 10 rows, legal ids are 0 to "
      "9; give the feature "
      "more "
      "rows, correct the data, or let such ids read row 0 with --clamp_out_of_range";
  EXPECT_EQ(EncodeTexts(IdFeature("c", 10), {"0", "9", "10"}), expected);
  EXPECT_EQ(Encode(IdFeature("c", 10), Column(arrow::int32(), "[0, 9, 10]")), expected);
  EXPECT_THAT(EncodeTexts(IdFeature("c", 10), {"-1"}), HasSubstr("id -1 is out of range"));
  EXPECT_THAT(EncodeTexts(IdFeature("c", 10), {"99999999999999999999"}),
              HasSubstr("id 99999999999999999999 is out of"));
  EXPECT_THAT(Encode(IdFeature("c", 10), Column(arrow::uint64(), "[18446744073709551615]")),
              HasSubstr("id 18446744073709551615 is out of range"));
}

TEST(FeatureEncoderTest, ClampIsOptInAndCounted) {
  EncoderOptions options;
  options.clamp_out_of_range = true;
  int64_t clamped = 0;
  EXPECT_EQ(Encode(IdFeature("c", 10),
                   TextCells({"10", "3",
                              "-1\x1d"
                              "4"}),
                   options, &clamped),
            "0|3|0,4");
  EXPECT_EQ(clamped, 2);
  EXPECT_THAT(Encode(IdFeature("c", 10), TextCells({"x"}), options),
              HasSubstr("is not an integer"));
}

TEST(FeatureEncoderTest, MutantClampsSilently) {
  PEPNET_NEEDS_MUTANTS();
  const WithMutant mutant(Mutant::kClampToRowZero);
  int64_t clamped = 0;
  EXPECT_EQ(Encode(IdFeature("c", 10), TextCells({"10", "3"}), {}, &clamped), "0|3");
  EXPECT_EQ(clamped, 0);
}

TEST(FeatureEncoderTest, EmptyCellReadsAsTheDefault) {
  Feature feature = IdFeature("c", 10);
  feature.default_value = "";
  EXPECT_EQ(EncodeTexts(feature, {"", "1"}), "|1") << "an empty default is no id";
  feature.default_value =
      "4\x1d"
      "5";
  EXPECT_EQ(EncodeTexts(feature, {"", "1"}), "4,5|1");
  EXPECT_EQ(Encode(feature, Column(arrow::list(arrow::int32()), "[[], null, [1]]")), "4,5|4,5|1");
  feature.default_value = "11";
  EXPECT_THAT(EncodeTexts(feature, {"1"}),
              HasSubstr("feature 'c', default_value: id 11 is out of range"));
}

// Columns of int64 without nulls are taken over as they lie in memory; they must read like the same
// numbers stored in any other way.
TEST(FeatureEncoderTest, PlainIntegersReadLikeOtherIntegers) {
  const std::string lists = "[[1, 2], [], [9], [0, 0, 3], [4]]", numbers = "[5, 0, 9, 1, 2]";
  for (const RowOrder order : {RowOrder::kWhole, RowOrder::kRuns, RowOrder::kSingles}) {
    const auto encode = [&](const std::shared_ptr<arrow::DataType>& type, const std::string& json) {
      RowSelection rows = Column(type, json);
      const std::vector<std::vector<RowRun>> runs = {
          {{0, 0, 5}}, {{0, 3, 2}, {0, 0, 2}}, {{0, 4, 1}, {0, 1, 1}, {0, 3, 1}, {0, 0, 1}}};
      rows.runs = runs[static_cast<size_t>(order)];
      rows.rows = 0;
      for (const RowRun& run : rows.runs) rows.rows += run.count;
      return Encode(IdFeature("c", 10), rows);
    };
    EXPECT_EQ(encode(arrow::list(arrow::int64()), lists),
              encode(arrow::list(arrow::int32()), lists));
    EXPECT_EQ(encode(arrow::int64(), numbers), encode(arrow::int16(), numbers));
    EXPECT_EQ(encode(arrow::list(arrow::int64()), lists).find("out of range"), std::string::npos);
  }
  for (const char* wrong : {"[[1], [2, 10]]", "[[1], [-1, 3]]", "[[1], [-9223372036854775808]]"}) {
    EXPECT_EQ(Encode(IdFeature("c", 10), Column(arrow::list(arrow::int64()), wrong)),
              Encode(IdFeature("c", 10), Column(arrow::large_list(arrow::int64()), wrong)));
    EXPECT_THAT(Encode(IdFeature("c", 10), Column(arrow::list(arrow::int64()), wrong)),
                HasSubstr("row 2"));
  }
  EXPECT_EQ(
      Encode(IdFeature("c", 10), Column(arrow::list(arrow::int64()), "[[1], null, [2, null]]")),
      Encode(IdFeature("c", 10), Column(arrow::list(arrow::int32()), "[[1], null, [2, null]]")));
}

TEST(FeatureEncoderTest, ValueDimOneRefusesLists) {
  Feature feature = IdFeature("c", 10);
  feature.value_dim = 1;
  EXPECT_EQ(EncodeTexts(feature, {"3", ""}), "3|");
  EXPECT_EQ(EncodeTexts(feature, {"3",
                                  "1\x1d"
                                  "2"}),
            "'f' row 2, column 'c': the cell holds 2 ids, but feature 'c' has value_dim 1");
}

// ---- hash, vocabulary, boundaries ----

// Expected values of the reference (spec 3.2).
TEST(FeatureEncoderTest, HashValuesAreTheReferences) {
  EXPECT_EQ(EncodeTexts(Hash(100), {"abc", "efg", "hij", "xyz", "1", "2", "3", "4"}),
            "33|44|66|13|95|70|13|56");
  EXPECT_EQ(EncodeTexts(Hash(100), {"abc\x1d"
                                    "efg",
                                    "", "xyz"}),
            "33,44||13");
  EncoderOptions farm;
  farm.farm_hash = true;
  EXPECT_EQ(EncodeTexts(Hash(100), {"1", "2", "3"}, farm), "49|59|21");
}

TEST(FeatureEncoderTest, HashOfAnIntegerCellIsThatOfItsDecimalText) {
  EXPECT_EQ(Encode(Hash(100), Column(arrow::int32(), "[1, 2, null, 4]")), "95|70||56");
  EXPECT_EQ(Encode(Hash(100), Column(arrow::list(arrow::int64()), "[[1, 2], [3]]")), "95,70|13");
  EXPECT_EQ(Encode(Hash(100), Column(arrow::uint64(), "[18446744073709551615]")),
            EncodeTexts(Hash(100), {"18446744073709551615"}));
  EXPECT_NE(EncodeTexts(Hash(100000), {"07"}), EncodeTexts(Hash(100000), {"7"}))
      << "the token is the text as it stands";
}

TEST(FeatureEncoderTest, HashBucketisesTheDefault) {
  Feature feature = Hash(100);
  feature.default_value = "xyz";
  EXPECT_EQ(EncodeTexts(feature, {"abc", ""}), "33|13");
}

TEST(FeatureEncoderTest, VocabularyWithReservedRows) {
  // vocab_list [a, b], default_value "x": default 0, unknown 1, words from 2.
  Feature feature = Vocabulary({{"x", 0}, {"a", 2}, {"b", 3}}, 1);
  feature.default_value = "x";
  EXPECT_EQ(EncodeTexts(feature, {"a", "b", "zzz", "", "a\x1d?"}), "2|3|1|0|2,1");
  // The default inside the list maps to the list's index.
  feature = Vocabulary({{"a", 2}, {"b", 3}}, 1);
  feature.default_value = "b";
  EXPECT_EQ(EncodeTexts(feature, {"a", ""}), "2|3");
}

TEST(FeatureEncoderTest, TokensThatAVocabularyLacksAreCounted) {
  Feature feature = Vocabulary({{"a", 2}, {"b", 3}}, 1);
  feature.default_value = "nowhere";
  VocabularyCounts counts;
  EXPECT_EQ(Encode(feature, TextCells({"a", "", "Ulm", "b", "Bonn"}), {}, nullptr, &counts),
            "2|1|1|3|1");
  EXPECT_EQ(counts.tokens, 4) << "the default value of an empty cell is no token";
  EXPECT_EQ(counts.unknown, 2);
  EXPECT_EQ(counts.example, "Ulm");
  VocabularyCounts sum{3, 0, ""};
  sum.Add(counts);
  sum.Add({5, 1, "Kiel"});
  EXPECT_EQ(sum.tokens, 12);
  EXPECT_EQ(sum.unknown, 3);
  EXPECT_EQ(sum.example, "Ulm");
  EXPECT_EQ(Encode(IdFeature("c", 10), TextCells({"7"}), {}, nullptr, &counts).size(), 1u);
  EXPECT_EQ(counts.tokens, 0);
}

TEST(FeatureEncoderTest, VocabularyWithDefaultBucketizeValue) {
  EXPECT_EQ(EncodeTexts(Vocabulary({{"p", 0}, {"q", 1}, {"r", 2}}, 1), {"p", "zzz", "", "r"}),
            "0|1||2");
  EXPECT_EQ(Encode(Vocabulary({{"12", 4}}, 0), Column(arrow::int64(), "[12, 13]")), "4|0");
}

TEST(FeatureEncoderTest, BoundaryIdIsTheNumberOfBoundariesNotAbove) {
  Feature feature = Boundaries({0.2, 0.5, 0.8});
  EXPECT_EQ(EncodeTexts(feature, {"0.1", "0.3", "0.9", "0.2", "0.5", "0.8", "-1e3", ""}),
            "0|1|3|1|2|3|0|");
  EXPECT_EQ(EncodeTexts(feature, {"0.1\x1d"
                                  "0.6",
                                  "0.9"}),
            "0,2|3")
      << "a list pools";
  EXPECT_EQ(Encode(feature, Column(arrow::float64(), "[0.2, 0.1, null]")), "1|0|");
  EXPECT_EQ(Encode(feature, Column(arrow::int32(), "[0, 1]")), "0|3");
  feature.default_value = "0.5";
  EXPECT_EQ(EncodeTexts(feature, {""}), "2");
  EXPECT_THAT(EncodeTexts(feature, {"nan"}),
              HasSubstr("'f' row 1, column 'c': 'nan' is not a finite decimal number"));
  EXPECT_THAT(Encode(feature, Column(arrow::float32(), "[1, NaN]")),
              HasSubstr("'f' row 2, column 'c': the value nan"));
}

TEST(FeatureEncoderTest, BoundariesSeeTheNormalizedValueButTheDefaultAsItIs) {
  Feature feature = Boundaries({0.2, 0.55, 0.8});
  feature.normalizer = {NormalizerKind::kMinmax, 10, 60};
  feature.default_value = "0.6";
  EXPECT_EQ(EncodeTexts(feature, {"10", "40", "60", ""}), "0|2|3|2");
}

TEST(FeatureEncoderTest, HashedWholeNumbersWithAPointAreCounted) {
  VocabularyCounts counts;
  Encode(Hash(100), TextCells({"5", "5.0", "-12.0", "5.5", "a.0", ".0", "1.2.0", "", "v1.0"}), {},
         nullptr, &counts);
  EXPECT_EQ(counts.tokens, 8);
  EXPECT_EQ(counts.unknown, 2);
  EXPECT_EQ(counts.example, "5.0");
}

// ---- weighted ----

TEST(FeatureEncoderTest, WeightedTokens) {
  Feature feature = IdFeature("c", 10);
  feature.weighted = true;
  EXPECT_EQ(EncodeTexts(feature, {"1:0.5\x1d"
                                  "2:2",
                                  "", "3:0", "4:-1e-1"}),
            "1:0.5,2:2||3:0|4:-0.1");
  EXPECT_EQ(Encode(feature, Column(arrow::list(arrow::utf8()), R"([["1:0.5", "2:1"], []])")),
            "1:0.5,2:1|");
  EXPECT_EQ(Encode(feature, Column(arrow::map(arrow::int64(), arrow::float32()),
                                   "[[[1, 0.5], [2, 1]], null]")),
            "1:0.5,2:1|");
  const auto texts = arrow::map(arrow::utf8(), arrow::utf8());
  EXPECT_EQ(Encode(feature, Column(texts, R"([[["1", "0.5"], ["2", "1"]], null])")), "1:0.5,2:1|");
  EXPECT_THAT(Encode(feature, Column(texts, R"([[["1", "x"]]])")),
              HasSubstr("'x' is not a finite decimal number"));
  EXPECT_THAT(Encode(feature, Column(texts, R"([[["1", ""]]])")),
              HasSubstr("the weight of id 1 is empty"));
  EXPECT_EQ(EncodeTexts(feature, {"1"}),
            "'f' row 1, column 'c': the token '1' of weighted feature 'c' is not of the form "
            "'id:weight'");
  EXPECT_THAT(EncodeTexts(feature, {"1:x"}), HasSubstr("'x' is not a finite decimal number"));
  EXPECT_THAT(EncodeTexts(feature, {"1:nan"}), HasSubstr("'nan' is not a finite"));
  EXPECT_THAT(EncodeTexts(feature, {"1:1e39"}), HasSubstr("not a finite float32"));
  EXPECT_THAT(EncodeTexts(feature, {":1"}), HasSubstr("'' is not an integer"));
  EXPECT_THAT(Encode(feature, Column(arrow::int32(), "[1]")),
              HasSubstr("needs texts like 'id:weight' or a map"));
  feature.default_value = "7";
  EXPECT_EQ(EncodeTexts(feature, {"", "1:3"}), "7:1|1:3");
  Feature hashed = Hash(100);
  hashed.weighted = true;
  EXPECT_EQ(EncodeTexts(hashed, {"abc:0.5"}), "33:0.5");
  feature.weighted = false;
  EXPECT_THAT(Encode(feature, Column(arrow::map(arrow::int64(), arrow::float32()), "[[[1, 0.5]]]")),
              HasSubstr("set weighted: true"));
}

// ---- raw values ----

TEST(FeatureEncoderTest, RawValuesGoStraightThrough) {
  EXPECT_EQ(EncodeTexts(RawFeature("c", 1), {"0.5", "-2", "1e3"}), "0.5|-2|1000");
  EXPECT_EQ(EncodeTexts(RawFeature("c", 2), {"1\x1d"
                                             "2",
                                             "3\x1d"
                                             "4"}),
            "1 2|3 4");
  EXPECT_EQ(Encode(RawFeature("c", 2), Column(arrow::list(arrow::float64()), "[[1, 2], [3, 4]]")),
            "1 2|3 4");
  EXPECT_EQ(Encode(RawFeature("c", 2), Column(arrow::list(arrow::utf8()), R"([["1", "2"]])")),
            "1 2");
  EXPECT_EQ(Encode(RawFeature("c", 1), Column(arrow::int16(), "[1, -2]")), "1|-2");
  EXPECT_EQ(Encode(RawFeature("c", 1), Column(arrow::float32(), "[0.5]")), "0.5");
}

TEST(FeatureEncoderTest, RawErrors) {
  EXPECT_EQ(EncodeTexts(RawFeature("c", 2), {"1\x1d"
                                             "2",
                                             "1"}),
            "'f' row 2, column 'c': the cell holds 1 values, but feature 'c' has value_dim 2");
  EXPECT_THAT(EncodeTexts(RawFeature("c", 2), {"1\x1d"
                                               "2\x1d"
                                               "3"}),
              HasSubstr("the cell holds 3 values"));
  EXPECT_EQ(EncodeTexts(RawFeature("c", 1), {"1", ""}),
            "'f' row 2, column 'c': the cell is empty, and feature 'c' has no default_value");
  for (const char* cell : {"nan", "inf", "x", "+1", "1 "}) {
    EXPECT_EQ(EncodeTexts(RawFeature("c", 1), {cell}),
              absl::StrCat("'f' row 1, column 'c': '", cell, "' is not a finite decimal number",
                           NumberRemedy(cell)));
  }
  EXPECT_THAT(EncodeTexts(RawFeature("c", 1), {"1e300"}), HasSubstr("is not a finite float32"));
  EXPECT_THAT(Encode(RawFeature("c", 1), Column(arrow::float64(), "[Inf]")),
              HasSubstr("the value inf is not a finite"));
}

TEST(FeatureEncoderTest, NormalizersWorkInDouble) {
  Feature feature = RawFeature("c", 1);
  feature.normalizer = {NormalizerKind::kLog10, 0.01, -2};
  EXPECT_EQ(EncodeTexts(feature, {"100", "0.01", "0"}), "2|-2|-2");
  feature.normalizer = {NormalizerKind::kZscore, 3, 2};
  EXPECT_EQ(EncodeTexts(feature, {"3", "7"}), "0|2");
  feature.normalizer = {NormalizerKind::kMinmax, 1, 5};
  EXPECT_EQ(EncodeTexts(feature, {"1", "5", "9"}), "0|1|2");
  // In float32, 100000001 - 100000000 is 0.
  feature.normalizer = {NormalizerKind::kZscore, 100000000, 1};
  EXPECT_EQ(EncodeTexts(feature, {"100000001"}), "1");
  feature.normalizer = {NormalizerKind::kMinmax, 1, 1};
  EXPECT_THAT(EncodeTexts(feature, {"2"}), HasSubstr("the normalized value inf"));
}

TEST(FeatureEncoderTest, RawDefaultIsNotNormalized) {
  Feature feature = RawFeature("c", 1);
  feature.normalizer = {NormalizerKind::kMinmax, 0, 10};
  feature.default_value = "5";
  EXPECT_EQ(EncodeTexts(feature, {"", "5"}), "5|0.5");
  feature = RawFeature("c", 3);
  feature.default_value =
      "1\x1d"
      "2\x1d"
      "3";
  EXPECT_EQ(EncodeTexts(feature, {""}), "1 2 3");
  feature.default_value = "0";
  EXPECT_EQ(EncodeTexts(feature, {""}), "0 0 0");
  feature.default_value =
      "1\x1d"
      "2";
  EXPECT_THAT(EncodeTexts(feature, {}),
              HasSubstr("feature 'c', default_value: the cell holds 2 values"));
}

TEST(FeatureEncoderTest, NoRowsIsLegal) {
  EXPECT_EQ(EncodeTexts(IdFeature("c", 10), {}), "");
  EXPECT_EQ(Encode(RawFeature("c", 3), RowSelection()), "");
}

TEST(FeatureEncoderTest, RowsMayComeFromSeveralChunksInAnyOrder) {
  RowSelection rows = TextCells({"0", "1", "2"});
  rows.chunks.push_back(Column(arrow::int32(), "[3, 4, 50]").chunks[0]);
  rows.chunks[1].first_row = 1000;
  rows.runs.clear();
  rows.rows = 0;
  rows.AddRun(1, 1, 1);
  rows.AddRun(0, 2, 1);
  rows.AddRun(0, 0, 2);
  rows.AddRun(1, 0, 1);
  EXPECT_EQ(Encode(IdFeature("c", 10), rows), "4|2|0|1|3");
  rows.AddRun(1, 2, 1);
  EXPECT_THAT(Encode(IdFeature("c", 10), rows), HasSubstr("'f' row 1003, column 'c': id 50"));
}

// So many single rows that cells are asked for ahead of their use, with nulls and empty cells, of
// an array that begins inside its buffers.
TEST(FeatureEncoderTest, ShuffledRowsReadAsInTheirOwnOrder) {
  constexpr int64_t kRows = 97, kCut = 3;
  const auto json = [](const std::function<std::string(int64_t)>& cell) {
    std::string text = "[";
    for (int64_t i = 0; i < kRows + kCut; ++i) {
      absl::StrAppend(&text, i > 0 ? ", " : "", i % 7 == 5 ? "null" : cell(i));
    }
    return text + "]";
  };
  const std::string integers = json([](int64_t i) { return absl::StrCat(i); });
  const std::string texts = json([](int64_t i) {
    return i % 5 == 0 ? "\"\"" : absl::StrCat("\"a rather long text ", i, "\"");
  });
  const std::string few = json([](int64_t i) { return absl::StrCat("\"", i % 3, "\""); });
  const std::string lists =
      json([](int64_t i) { return i % 5 == 0 ? "[]" : absl::StrCat("[", i, ", ", i + 1, "]"); });
  const std::string nulls = json([](int64_t) { return "null"; });
  struct Case {
    Feature feature;
    std::shared_ptr<arrow::DataType> type;
    std::string json;
  };
  const Feature id = IdFeature("c", 200);
  for (const Case& one :
       std::vector<Case>{{id, arrow::int64(), integers},
                         {id, arrow::int8(), integers},
                         {Hash(1000), arrow::utf8(), texts},
                         {Hash(1000), arrow::large_utf8(), texts},
                         {Hash(1000), arrow::utf8_view(), texts},
                         {id, arrow::dictionary(arrow::int8(), arrow::utf8()), few},
                         {id, arrow::list(arrow::int64()), lists},
                         {id, arrow::large_list(arrow::int64()), lists},
                         {id, arrow::null(), nulls},
                         {Boundaries({10, 20, 50}), arrow::float64(), integers}}) {
    RowSelection rows = SelectAll({{"c", JsonArray(one.type, one.json)->Slice(kCut)}});
    const std::vector<std::string> in_order = absl::StrSplit(Encode(one.feature, rows), '|');
    ASSERT_EQ(in_order.size(), static_cast<size_t>(kRows))
        << one.type->ToString() << ": " << in_order[0];
    std::vector<std::string> expected;
    rows.runs.clear();
    rows.rows = 0;
    for (int64_t i = 0; i < kRows; ++i) {
      rows.AddRun(0, i * 35 % kRows, 1);
      expected.push_back(in_order[static_cast<size_t>(i * 35 % kRows)]);
    }
    EXPECT_EQ(Encode(one.feature, rows), absl::StrJoin(expected, "|")) << one.type->ToString();
  }
}

}  // namespace
}  // namespace pepnet
