// The descriptions of all kinds: complete, unique, and their names as checkpoints have them.
#include "common/job_config/type_table.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/job_config/job_config.h"
#include "common/job_config/parameter.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

template <typename Kind, typename Type>
std::vector<std::string> Texts(const char* const Type::*member) {
  std::vector<std::string> texts;
  for (const Kind kind : AllKinds<Kind>()) texts.emplace_back(TypeOf(kind).*member);
  return texts;
}

// ShapeDescription() writes them into checkpoints, which later programs compare.
TEST(TypeTableTest, NamesInCheckpointsStayAsTheyAre) {
  EXPECT_THAT((Texts<SparseOptimizerKind>(&SparseOptimizerType::name)),
              ElementsAre("sgd", "adagrad", "rowwise_adagrad", "adam", "partial_rowwise_adam",
                          "ftrl", "adagrad_decay", "lars_sgd", "lamb", "partial_rowwise_lamb",
                          "adadelta", "rmsprop"));
  EXPECT_THAT((Texts<DenseOptimizerKind>(&DenseOptimizerType::name)),
              ElementsAre("sgd", "adagrad", "adam", "adamw", "adadelta", "rmsprop"));
  EXPECT_THAT((Texts<LossKind>(&LossType::name)),
              ElementsAre("binary_cross_entropy", "binary_focal_loss", "softmax_cross_entropy",
                          "l2_loss", "jrc_loss"));
  EXPECT_THAT((Texts<MetricKind>(&MetricType::name)),
              ElementsAre("auc", "grouped_auc", "accuracy", "mean_absolute_error",
                          "mean_squared_error", "normalized_entropy", "pcoc", "ece", "logloss",
                          "multiclass_auc", "xauc", "grouped_xauc"));
  EXPECT_THAT((Texts<ActivationKind>(&ActivationType::name)),
              ElementsAre("relu", "sigmoid", "tanh", "leaky_relu", "silu", "gelu", "identity",
                          "elu", "prelu", "gelu_tanh", "mish", "softplus", "hardswish",
                          "hardsigmoid", "selu", "celu", "relu6", "hardtanh", "softsign",
                          "softshrink", "hardshrink", "tanhshrink", "log_sigmoid", "threshold",
                          "dice", "rrelu", "softmax", "softmin", "log_softmax"));
  EXPECT_THAT((Texts<FeatureKind>(&FeatureType::name)), ElementsAre("id", "raw"));
  EXPECT_THAT((Texts<Bucketizer>(&BucketizerType::name)),
              ElementsAre("identity", "hash", "vocabulary", "boundaries", "none"));
  EXPECT_THAT((Texts<NormalizerKind>(&NormalizerType::name)),
              ElementsAre("none", "log10", "zscore", "minmax", "expression"));
  EXPECT_THAT((Texts<OperatorKind>(&OperatorType::name)),
              ElementsAre("combo", "lookup", "match", "expr", "overlap", "kv_dot_product",
                          "bool_mask", "combine", "edit_distance", "tokenize"));
  EXPECT_THAT((Texts<Combiner>(&CombinerType::name)),
              ElementsAre("sum", "mean", "min", "max", "count"));
  EXPECT_THAT((Texts<OverlapMethod>(&OverlapMethodType::name)),
              ElementsAre("query_common_ratio", "title_common_ratio", "is_contain", "is_equal",
                          "index_of"));
  EXPECT_THAT((Texts<WordSplit>(&WordSplitType::name)),
              ElementsAre("Whitespace", "WhitespaceSplit"));
  EXPECT_THAT(
      (Texts<InitKind>(&InitializerType::name)),
      ElementsAre("default", "uniform", "normal", "constant", "truncated_normal", "eye", "sparse"));
  EXPECT_THAT((Texts<DatasetType>(&FileFormatType::name)), ElementsAre("CSV", "Parquet"));
}

template <typename Kind, typename Type>
void ExpectUnique(const char* const Type::*member) {
  const std::vector<std::string> texts = Texts<Kind>(member);
  EXPECT_EQ(std::set<std::string>(texts.begin(), texts.end()).size(), texts.size());
  for (const std::string& text : texts) EXPECT_NE(text, "");
}

TEST(TypeTableTest, NoTwoKindsShareWhatTheyAreFoundBy) {
  ExpectUnique<SparseOptimizerKind>(&SparseOptimizerType::field);
  ExpectUnique<DenseOptimizerKind>(&DenseOptimizerType::field);
  ExpectUnique<ActivationKind>(&ActivationType::function);
  ExpectUnique<FeatureKind>(&FeatureType::field);
  ExpectUnique<OperatorKind>(&OperatorType::field);
  ExpectUnique<Bucketizer>(&BucketizerType::card_name);
  ExpectUnique<DatasetType>(&FileFormatType::dataset);
  ExpectUnique<DatasetType>(&FileFormatType::ending);
}

TEST(TypeTableTest, EveryEnumeratorIsFoundAndNoOtherNumber) {
  EXPECT_EQ(AllKinds<SparseOptimizerKind>().back(), SparseOptimizerKind::kRmsprop);
  EXPECT_EQ(FindType(static_cast<SparseOptimizerKind>(-1)), nullptr);
  EXPECT_EQ(FindType(static_cast<SparseOptimizerKind>(12)), nullptr);
  EXPECT_EQ(FindKind<LossKind>(&LossType::name, "l2_loss"), LossKind::kL2);
  EXPECT_EQ(FindKind<LossKind>(&LossType::name, "l2"), std::nullopt);
  EXPECT_DEATH(TypeOf(static_cast<LossKind>(17)), "");
}

TEST(TypeTableTest, ListsReadAsSentences) {
  EXPECT_EQ(JoinNames({}, " and "), "");
  EXPECT_EQ(JoinNames({"a"}, " and "), "a");
  EXPECT_EQ(JoinNames({"a", "b", "c"}, " and "), "a, b and c");
  EXPECT_EQ(ListOfKinds<LossKind>(&LossType::name, " or "),
            "binary_cross_entropy, binary_focal_loss, softmax_cross_entropy, l2_loss or jrc_loss");
}

// A legal value that no default is.
double Unusual(const ParameterInfo& parameter, double value) {
  switch (parameter.form) {
    case ParameterInfo::Form::kReal:
      return parameter.range.high == kNoLimit ? value + 0.125 : 0.375;
    case ParameterInfo::Form::kWhole:
      return value + 1;
    case ParameterInfo::Form::kSwitch:
      return 1 - value;
    case ParameterInfo::Form::kChoice:
    case ParameterInfo::Form::kWord:
      return static_cast<double>(parameter.choices.size()) - 1;
  }
  return 0;
}

template <typename Owner>
void ExpectRoundTrip(std::span<const Parameter<Owner>> parameters) {
  Owner from;
  for (const Parameter<Owner>& parameter : parameters) {
    const double value = Unusual(parameter, parameter.get(from));
    ASSERT_NE(value, parameter.get(from)) << parameter.name;
    ASSERT_TRUE(parameter.Accepts(value)) << parameter.name;
    parameter.set(&from, value);
  }
  const auto values = ParameterValues(parameters, from);
  EXPECT_EQ(values.size(), parameters.size()) << "two parameters of one name";
  Owner to;
  ASSERT_OK(SetParameters(parameters, values, &to));
  EXPECT_EQ(ParameterValues(parameters, to), values);
  for (const Parameter<Owner>& parameter : parameters) {
    auto wrong = values;
    wrong.erase(parameter.name);
    EXPECT_THAT(SetParameters(parameters, wrong, &to), IsError(HasSubstr(parameter.name)));
    wrong[parameter.name] = -2;
    EXPECT_THAT(SetParameters(parameters, wrong, &to),
                IsError(HasSubstr(
                    absl::StrCat(parameter.name, " is -2, expected ", parameter.range.expected))));
    wrong[parameter.name] = std::nan("");
    EXPECT_FALSE(SetParameters(parameters, wrong, &to).ok()) << parameter.name;
  }
  auto more = values;
  more["surprise"] = 1;
  EXPECT_THAT(SetParameters(parameters, more, &to), IsError(HasSubstr("no parameter surprise")));
}

TEST(ParameterTest, EveryParameterOfEveryKindSurvivesTheWayThereAndBack) {
  for (const SparseOptimizerKind kind : AllKinds<SparseOptimizerKind>()) {
    ExpectRoundTrip(TypeOf(kind).parameters);
  }
  for (const DenseOptimizerKind kind : AllKinds<DenseOptimizerKind>()) {
    ExpectRoundTrip(TypeOf(kind).parameters);
  }
  for (const LossKind kind : AllKinds<LossKind>()) ExpectRoundTrip(TypeOf(kind).parameters);
  for (const MetricKind kind : AllKinds<MetricKind>()) ExpectRoundTrip(TypeOf(kind).parameters);
}

TEST(ParameterTest, RangesKnowTheirEnds) {
  EXPECT_TRUE(kNotNegative.Contains(0));
  EXPECT_FALSE(kNotNegative.Contains(kNoLimit));
  EXPECT_FALSE(kPositive.Contains(0));
  EXPECT_FALSE(kBelowOne.Contains(1));
  EXPECT_TRUE(kUpToOne.Contains(1));
  EXPECT_FALSE(kUpToOne.Contains(std::nan("")));
}

TEST(SparseOptimizerTypeTest, StateHasTheFloatsOfItsFormula) {
  EXPECT_EQ(SparseStateDim(SparseOptimizerKind::kSgd, 8), 0);
  EXPECT_EQ(SparseStateDim(SparseOptimizerKind::kAdagrad, 8), 8);
  EXPECT_EQ(SparseStateDim(SparseOptimizerKind::kRowwiseAdagrad, 8), 1);
  EXPECT_EQ(SparseStateDim(SparseOptimizerKind::kAdam, 8), 16);
  EXPECT_EQ(SparseStateDim(SparseOptimizerKind::kPartialRowwiseAdam, 8), 9);
  EXPECT_EQ(SparseStateDim(SparseOptimizerKind::kLarsSgd, 8), 8);
  EXPECT_EQ(SparseStateDim(SparseOptimizerKind::kLamb, 8), 16);
  EXPECT_EQ(SparseStateDim(SparseOptimizerKind::kPartialRowwiseLamb, 8), 9);
  EXPECT_EQ(SparseStateDim(SparseOptimizerKind::kAdadelta, 8), 16);
  EXPECT_EQ(SparseStateDim(SparseOptimizerKind::kRmsprop, 8), 8);
}

// Every node's inputs are the pre-activation, the weight of a trained activation, a parameter, an
// earlier node or a constant.
TEST(ActivationTypeTest, OnnxGraphsAreWellFormed) {
  for (const ActivationKind kind : AllKinds<ActivationKind>()) {
    const ActivationType& type = TypeOf(kind);
    EXPECT_LE(type.arguments.size(), 2u) << type.name;
    EXPECT_TRUE(!type.normalises || (type.weight != nullptr && type.onnx.empty())) << type.name;
    for (size_t i = 0; i < type.onnx.size(); ++i) {
      const OnnxNode& node = type.onnx[i];
      EXPECT_STRNE(node.inputs, "") << type.name;
      for (const char input : std::string(node.inputs)) {
        const bool known =
            input == 'x' || (input == 'w' && type.weight != nullptr) ||
            (input == 'p' && !type.arguments.empty()) ||
            (input == 'q' && type.arguments.size() > 1) ||
            (input >= '0' && input < static_cast<char>('0' + i)) ||
            (input >= 'A' && input < static_cast<char>('A' + type.onnx_constants.size()));
        EXPECT_TRUE(known) << type.name << ": " << node.op << " reads " << input;
      }
      EXPECT_TRUE(node.attribute == nullptr || !type.arguments.empty()) << type.name;
    }
  }
}

}  // namespace
}  // namespace pepnet
