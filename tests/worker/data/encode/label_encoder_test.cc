#include "worker/data/encode/label_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"
#include "tests/worker/data/data_files.h"

namespace pepnet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// One label "c" read by a tower "t" with the given loss.
JobConfig LabelConfig(LossKind kind, int num_class = 1) {
  JobConfig config;
  config.data.labels = {"c"};
  Tower tower;
  tower.name = "t";
  tower.label = 0;
  tower.num_class = num_class;
  tower.losses.push_back({});
  tower.losses[0].kind = kind;
  config.model.towers.push_back(tower);
  return config;
}

StatusOr<LabelColumn> EncodeLabel(const JobConfig& config, const RowSelection& rows,
                                  DatasetType type = DatasetType::kCsv) {
  PEPNET_ASSIGN_OR_RETURN(const auto encoder, LabelEncoder::Create(config, type));
  Batch batch;
  const int columns[] = {0};
  PEPNET_RETURN_IF_ERROR(encoder->Encode(rows, columns, {}, &batch));
  return std::move(batch.labels[0]);
}

std::string ErrorOf(const JobConfig& config, const RowSelection& rows,
                    DatasetType type = DatasetType::kCsv) {
  return std::string(EncodeLabel(config, rows, type).status().message());
}

RowSelection Column(const std::shared_ptr<arrow::DataType>& type, const std::string& json) {
  return SelectAll({{"c", JsonArray(type, json)}});
}

TEST(LabelEncoderTest, BinaryLabelsAreZeroOrOne) {
  const JobConfig config = LabelConfig(LossKind::kBinaryCrossEntropy);
  ASSERT_OK_AND_ASSIGN(const auto labels, EncodeLabel(config, TextCells({"0", "1"})));
  EXPECT_THAT(labels.values, ElementsAre(0, 1));
  EXPECT_THAT(labels.integers, ElementsAre(0, 1));
  EXPECT_THAT(EncodeLabel(config, TextCells({"0.0", "1"}))->values, ElementsAre(0, 1));
  EXPECT_THAT(
      EncodeLabel(config, Column(arrow::float32(), "[1, 0]"), DatasetType::kParquet)->values,
      ElementsAre(1, 0));
  EXPECT_EQ(ErrorOf(config, TextCells({"0", "2"})),
            "'f' row 2, column 'c': the label of the binary loss of tower 't' must be 0 or 1, but "
            "the value is '2'");
  EXPECT_THAT(ErrorOf(LabelConfig(LossKind::kBinaryFocal), TextCells({"0.5"})),
              HasSubstr("must be 0 or 1"));
}

TEST(LabelEncoderTest, SoftmaxLabelsAreClasses) {
  const JobConfig config = LabelConfig(LossKind::kSoftmaxCrossEntropy, 3);
  EXPECT_THAT(EncodeLabel(config, TextCells({"0", "2"}))->integers, ElementsAre(0, 2));
  EXPECT_EQ(ErrorOf(config, TextCells({"3"})),
            "'f' row 1, column 'c': the softmax label of tower 't' must be an integer from 0 to 2, "
            "but the value is '3'");
  EXPECT_THAT(ErrorOf(config, TextCells({"-1"})), HasSubstr("from 0 to 2"));
  EXPECT_THAT(ErrorOf(config, TextCells({"1.0"})), HasSubstr("must be an integer"));
  EXPECT_THAT(ErrorOf(config, Column(arrow::float32(), "[1]"), DatasetType::kParquet),
              HasSubstr("'f' column 'c': the softmax label of tower 't' needs a column of "
                        "integers, but it has type float"));
}

TEST(LabelEncoderTest, DomainLabelIsADomain) {
  JobConfig config = LabelConfig(LossKind::kL2);
  config.model.domain_label = 0;
  config.model.domain_count = 2;
  EXPECT_THAT(EncodeLabel(config, TextCells({"1", "0"}))->integers, ElementsAre(1, 0));
  EXPECT_THAT(ErrorOf(config, TextCells({"0", "2"})),
              HasSubstr("row 2, column 'c': the domain label (domain_input_name) must be an "
                        "integer from 0 to 1"));
}

TEST(LabelEncoderTest, BinaryLabelsMayBeWords) {
  JobConfig config = LabelConfig(LossKind::kBinaryCrossEntropy);
  EXPECT_THAT(
      EncodeLabel(config, TextCells({"true", "FALSE", "Yes", "no", "T", "n", "1"}))->integers,
      ElementsAre(1, 0, 1, 0, 1, 0, 1));
  const RowSelection texts = Column(arrow::utf8(), R"(["yes", "no", "0"])");
  EXPECT_THAT(EncodeLabel(config, texts, DatasetType::kParquet)->values, ElementsAre(1, 0, 0));
  EXPECT_THAT(EncodeLabel(config, Column(arrow::boolean(), "[true, false]"), DatasetType::kParquet)
                  ->integers,
              ElementsAre(1, 0));
  EXPECT_EQ(ErrorOf(config, TextCells({"yes", "gold"})),
            "'f' row 2, column 'c': the label 'gold' is not a finite number, nor a word: true or "
            "false, yes or no");
  config.data.input_fields = {{"c", ColumnType::kString}};
  EXPECT_THAT(EncodeLabel(config, TextCells({"yes", "no"}))->integers, ElementsAre(1, 0));
  // Of other losses, words are no labels.
  EXPECT_THAT(ErrorOf(LabelConfig(LossKind::kL2), TextCells({"yes"})),
              HasSubstr("'yes' is not a finite number"));
  EXPECT_THAT(ErrorOf(LabelConfig(LossKind::kSoftmaxCrossEntropy, 2), TextCells({"yes"})),
              HasSubstr("'yes'"));
}

TEST(LabelEncoderTest, DomainsMayBeWordsOfAVocabulary) {
  JobConfig config = LabelConfig(LossKind::kL2);
  config.model.domain_label = 0;
  config.model.domain_count = 3;
  Feature& feature = config.features.emplace_back();
  feature.name = "scene";
  feature.column = "c";
  feature.bucketizer = Bucketizer::kVocabulary;
  feature.vocabulary = {{"none", 0}, {"home", 4}, {"feed", 2}, {"301", 3}};
  feature.unknown_id = 1;
  feature.default_value = "none";
  EXPECT_THAT(DomainWords(config), ElementsAre("feed", "301", "home"));
  EXPECT_THAT(EncodeLabel(config, TextCells({"home", "301", "feed", "1"}))->integers,
              ElementsAre(2, 1, 0, 1));
  EXPECT_THAT(
      EncodeLabel(config, Column(arrow::int64(), "[301, 2]"), DatasetType::kParquet)->integers,
      ElementsAre(1, 2));
  EXPECT_THAT(
      EncodeLabel(config, Column(arrow::utf8(), R"(["home"])"), DatasetType::kParquet)->integers,
      ElementsAre(2));
  EXPECT_THAT(ErrorOf(config, TextCells({"shop"})),
              HasSubstr("the domain label (domain_input_name) must be an integer from 0 to 2 or a "
                        "word of the feature's "
                        "vocabulary (feed, 301, home), but the value is 'shop'"));
  config.model.domain_count = 2;  // one word too many
  EXPECT_THAT(ErrorOf(config, TextCells({"home"})),
              HasSubstr("must be an integer from 0 to 1, but the value is 'home'"));
  feature.column = "other";
  EXPECT_THAT(ErrorOf(config, TextCells({"feed"})),
              HasSubstr("the label 'feed' is not a finite number"));
}

TEST(LabelEncoderTest, OtherLabelsAreAnyFiniteNumber) {
  const JobConfig config = LabelConfig(LossKind::kL2);
  const auto labels = EncodeLabel(config, TextCells({"-1.5", "3"}));
  EXPECT_THAT(labels->values, ElementsAre(-1.5, 3));
  EXPECT_TRUE(labels->integers.empty());
  for (const char* cell : {"nan", "inf", "x", "1e39"}) {
    EXPECT_EQ(
        ErrorOf(config, TextCells({cell})),
        std::string("'f' row 1, column 'c': the label '") + cell + "' is not a finite number");
  }
  EXPECT_THAT(ErrorOf(config, TextCells({"1", ""})),
              HasSubstr("row 2, column 'c': the label is empty"));
  EXPECT_THAT(ErrorOf(config, Column(arrow::float64(), "[NaN]"), DatasetType::kParquet),
              HasSubstr("not a finite"));
  EXPECT_THAT(ErrorOf(config, Column(arrow::int32(), "[null]"), DatasetType::kParquet),
              HasSubstr("is empty"));
}

TEST(LabelEncoderTest, ListsAndTextsAreNoLabels) {
  const JobConfig config = LabelConfig(LossKind::kL2);
  EXPECT_THAT(ErrorOf(config, Column(arrow::list(arrow::int32()), "[[1]]"), DatasetType::kParquet),
              HasSubstr("needs a column of numbers, but it has type list"));
  EXPECT_THAT(ErrorOf(config, Column(arrow::utf8(), R"(["1"])"), DatasetType::kParquet),
              HasSubstr("needs a column of numbers, but it has type string"));
}

TEST(LabelEncoderTest, DeclaredTypesHold) {
  JobConfig config = LabelConfig(LossKind::kL2);
  config.data.input_fields = {{"c", ColumnType::kInteger}};
  EXPECT_THAT(ErrorOf(config, TextCells({"0.5"})),
              HasSubstr("'0.5' is not an integer, which input_fields declares"));
  config.data.input_fields[0].type = ColumnType::kFloating;
  EXPECT_TRUE(EncodeLabel(config, TextCells({"1"}))->integers.empty());
  config.data.input_fields[0].type = ColumnType::kString;
  EXPECT_THAT(ErrorOf(config, TextCells({"1"})), HasSubstr("declares the label 'c' as a string"));
  config = LabelConfig(LossKind::kSoftmaxCrossEntropy, 3);
  config.data.input_fields = {{"c", ColumnType::kFloating}};
  EXPECT_THAT(ErrorOf(config, TextCells({"1"})), HasSubstr("as a floating point column"));
}

StatusOr<std::vector<float>> EncodeWeights(const RowSelection& rows, DatasetType type,
                                           ColumnType declared = ColumnType::kUnspecified) {
  JobConfig config;
  config.data.sample_weights = {"c"};
  config.data.input_fields = {{"c", declared}};
  PEPNET_ASSIGN_OR_RETURN(const auto encoder, LabelEncoder::Create(config, type));
  Batch batch;
  const int columns[] = {0};
  PEPNET_RETURN_IF_ERROR(encoder->Encode(rows, {}, columns, &batch));
  return std::move(batch.sample_weights[0]);
}

TEST(LabelEncoderTest, SampleWeightsAreFloatingPoint) {
  EXPECT_THAT(*EncodeWeights(TextCells({"0.5", "2"}), DatasetType::kCsv), ElementsAre(0.5, 2));
  EXPECT_THAT(*EncodeWeights(Column(arrow::float64(), "[0.25]"), DatasetType::kParquet),
              ElementsAre(0.25));
  EXPECT_THAT(
      EncodeWeights(Column(arrow::int64(), "[1]"), DatasetType::kParquet),
      IsError(HasSubstr(
          "a sample weight needs a column of floating point numbers, but it has type int64")));
  EXPECT_THAT(EncodeWeights(TextCells({"1"}), DatasetType::kCsv, ColumnType::kInteger),
              IsError(HasSubstr("declares the sample weight 'c' as an integer")));
  EXPECT_THAT(EncodeWeights(TextCells({"1", ""}), DatasetType::kCsv),
              IsError(HasSubstr("row 2, column 'c': the sample weight is empty")));
  EXPECT_THAT(EncodeWeights(TextCells({"nan"}), DatasetType::kCsv),
              IsError(HasSubstr("the sample weight 'nan' is not a finite number")));
}

}  // namespace
}  // namespace pepnet
