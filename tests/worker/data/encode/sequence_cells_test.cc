// Cells of sequence features, through FeatureEncoder: the rules of docs/spec.md for FG_NONE and for
// the other modes.
#include "worker/data/encode/sequence_cells.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/support/with_mutant.h"
#include "tests/worker/data/data_files.h"
#include "worker/data/encode/feature_encoder.h"

namespace pepnet {
namespace {

using ::testing::HasSubstr;

// Rows separated by '|', elements by ';', what an element holds by ','.
std::string Show(const Batch& batch, const Feature& feature) {
  std::vector<std::string> rows;
  const std::vector<int32_t>& elements = batch.elements[0];
  for (size_t row = 0; row + 1 < elements.size(); ++row) {
    std::vector<std::string> shown;
    for (int32_t e = elements[row]; e < elements[row + 1]; ++e) {
      if (feature.bucketizer == Bucketizer::kNone) {
        const float* const values = batch.values[0].data() + e * feature.dim;
        shown.push_back(absl::StrJoin(values, values + feature.dim, ","));
      } else {
        const IdColumn& column = batch.ids[0];
        shown.push_back(absl::StrJoin(column.ids.begin() + column.offsets[e],
                                      column.ids.begin() + column.offsets[e + 1], ","));
      }
    }
    rows.push_back(absl::StrJoin(shown, ";"));
  }
  return absl::StrJoin(rows, "|");
}

std::string Encode(const Feature& feature, const RowSelection& rows) {
  const auto encoder = FeatureEncoder::Create({feature}, {});
  if (!encoder.ok()) return std::string(encoder.status().message());
  Batch batch;
  batch.rows = rows.rows;
  EncodeCounts counts;
  const int columns[] = {0};
  const Status status = (*encoder)->Encode(rows, columns, &batch, &counts);
  if (!status.ok()) return std::string(status.message());
  EXPECT_EQ(static_cast<int64_t>(batch.elements[0].size()), rows.rows + 1);
  return Show(batch, feature);
}

std::string EncodeTexts(const Feature& feature, const std::vector<std::string>& cells) {
  return Encode(feature, TextCells(cells));
}

std::string EncodeColumn(const Feature& feature, const std::shared_ptr<arrow::DataType>& type,
                         const std::string& json) {
  return Encode(feature, SelectAll({{"c", JsonArray(type, json)}}));
}

// FG_NONE: whole cells of finished ids.
Feature FinishedIds(int value_dim) {
  Feature feature = IdFeature("c", 10);
  feature.separator = "\x03";
  feature.value_dim = value_dim;
  feature.sequence = Sequence{";", 0, false};
  return feature;
}

Feature FinishedValues(int dim) {
  Feature feature = RawFeature("c", dim);
  feature.separator = "\x03";
  feature.sequence = Sequence{";", 0, false};
  return feature;
}

// The other modes: at most three elements, empty ones are "0".
Feature Filled(Feature feature) {
  feature.separator = "\x1d";
  feature.default_value = "0";
  feature.sequence = Sequence{";", 3, true};
  return feature;
}

TEST(SequenceCellsTest, ATextIsSplitIntoElements) {
  EXPECT_EQ(EncodeTexts(FinishedIds(1), {"3;1;4", "", "9"}), "3;1;4||9");
  EXPECT_EQ(EncodeTexts(FinishedValues(2), {"1\x03"
                                            "2;3\x03"
                                            "4",
                                            ""}),
            "1,2;3,4|");
}

TEST(SequenceCellsTest, FinishedCellsAreReadWholeAndAnEmptyOneReadsItsDefault) {
  Feature feature = FinishedIds(1);
  feature.default_value = "7";
  EXPECT_EQ(EncodeTexts(feature, {"1;2;3;4;5;6", ""}), "1;2;3;4;5;6|7");
}

TEST(SequenceCellsTest, ElementsOfSeveralIds) {
  EXPECT_EQ(EncodeTexts(FinishedIds(0), {"1\x03"
                                         "2;3"}),
            "1,2;3");
  EXPECT_THAT(
      EncodeTexts(FinishedIds(1), {"5",
                                   "4;1\x03"
                                   "2"}),
      HasSubstr(
          "row 2, column 'c': element 2: an element holds 2 ids, but feature 'c' has value_dim 1"));
  // The other modes take the first one.
  EXPECT_EQ(EncodeTexts(Filled(FinishedIds(1)), {"1\x1d"
                                                 "2;3"}),
            "1;3");
}

TEST(SequenceCellsTest, AnEmptyElementIsAnErrorOrTheDefault) {
  EXPECT_THAT(EncodeTexts(FinishedIds(1), {"1;;2"}), HasSubstr("element 2: an element is empty"));
  EXPECT_THAT(EncodeTexts(FinishedIds(0), {"1;"}), HasSubstr("element 2: an element is empty"));
  EXPECT_THAT(EncodeTexts(FinishedValues(1), {";1"}), HasSubstr("element 1: an element is empty"));
  EXPECT_EQ(EncodeTexts(Filled(FinishedIds(1)), {"1;;2", "3;", ""}), "1;0;2|3;0|0");
  EXPECT_EQ(EncodeTexts(Filled(FinishedValues(1)), {"1.5;", ""}), "1.5;0|0");
}

TEST(SequenceCellsTest, LongCellsKeepTheirFirstElements) {
  EXPECT_EQ(EncodeTexts(Filled(FinishedIds(1)), {"1;2;3;4;5"}), "1;2;3");
  EXPECT_EQ(EncodeColumn(Filled(FinishedIds(1)), arrow::list(arrow::int64()), "[[9, 8, 7, 6], []]"),
            "9;8;7|0");
}

TEST(SequenceCellsTest, ListsAreElementsEach) {
  EXPECT_EQ(EncodeColumn(FinishedIds(1), arrow::list(arrow::int32()), "[[1, 2], null, [3]]"),
            "1;2||3");
  EXPECT_EQ(EncodeColumn(FinishedIds(0), arrow::list(arrow::utf8()), R"([["1", "2\u00033"]])"),
            "1;2,3");
  EXPECT_EQ(
      EncodeColumn(FinishedIds(1), arrow::fixed_size_list(arrow::int64(), 2), "[[1, 2], [3, 4]]"),
      "1;2|3;4");
  EXPECT_EQ(EncodeColumn(FinishedIds(1), arrow::int64(), "[4, null]"), "4|");
}

TEST(SequenceCellsTest, AFlatListOfValuesIsCutIntoElements) {
  EXPECT_EQ(EncodeColumn(FinishedValues(2), arrow::list(arrow::float32()), "[[1, 2, 3, 4], []]"),
            "1,2;3,4|");
  EXPECT_THAT(
      EncodeColumn(FinishedValues(2), arrow::list(arrow::float32()), "[[1, 2, 3]]"),
      HasSubstr("the list holds 3 values, which is no multiple of the value_dim 2 of feature 'c'"));
}

TEST(SequenceCellsTest, ListsOfLists) {
  const auto nested = arrow::list(arrow::list(arrow::int64()));
  EXPECT_EQ(EncodeColumn(FinishedIds(0), nested, "[[[1, 2], [3]], [], null, [[4]]]"), "1,2;3|||4");
  EXPECT_EQ(EncodeColumn(FinishedValues(2), arrow::list(arrow::list(arrow::float64())),
                         "[[[1, 2], [3, 4]]]"),
            "1,2;3,4");
  EXPECT_EQ(EncodeColumn(Filled(FinishedIds(1)), nested, "[[[], [5, 6]]]"), "0;5");
  EXPECT_THAT(EncodeColumn(FinishedIds(1), arrow::list(nested), "[[[[1]]]]"),
              HasSubstr("is not supported"));
  // Features that are no sequences do not read them.
  EXPECT_THAT(EncodeColumn(IdFeature("c", 10), nested, "[[[1]]]"), HasSubstr("is not supported"));
}

// Law L1; the mutant sequence_by_row must turn this red, and the golden cases with sequences.
TEST(SequenceCellsTest, TheMutantSequenceByRowIsNoticed) {
  EXPECT_EQ(EncodeTexts(FinishedIds(1), {"1;2", "", "3", "4;5"}), "1;2||3|4;5");
  PEPNET_NEEDS_MUTANTS();
  const WithMutant faulty(Mutant::kSequenceByRow);
  EXPECT_NE(EncodeTexts(FinishedIds(1), {"1;2", "", "3", "4;5"}), "1;2||3|4;5");
}

TEST(SequenceCellsTest, ValuesOfAnElementAreCounted) {
  EXPECT_THAT(EncodeTexts(FinishedValues(2), {"1\x03"
                                              "2;3"}),
              HasSubstr("element 2: an element holds 1 values, but feature 'c' has value_dim 2"));
}

TEST(SequenceCellsTest, IdsOutOfRangeAndWrongTokensNameTheElement) {
  EXPECT_THAT(EncodeTexts(FinishedIds(1), {"1;10"}), HasSubstr("element 2: id 10 is out of range"));
  EXPECT_THAT(EncodeTexts(FinishedIds(1), {"1;x"}), HasSubstr("element 2: 'x' is not an integer"));
  EXPECT_THAT(
      EncodeColumn(FinishedIds(1), arrow::map(arrow::utf8(), arrow::float32()), R"([[["1", 2]]])"),
      HasSubstr("needs texts, numbers, lists of them or lists of lists"));
}

TEST(SequenceCellsTest, BoundariesMakeAnIdOfEachValue) {
  Feature feature = RawFeature("c", 4);
  feature.value_dim = 1;
  feature.bucketizer = Bucketizer::kBoundaries;
  feature.boundaries = {1, 2};
  feature.rows = 3;
  EXPECT_EQ(EncodeTexts(Filled(feature), {"0.5;1\x1d"
                                          "2.5;",
                                          ""}),
            "0;1,2;0|0");
}

}  // namespace
}  // namespace pepnet
