// Descriptions and schema say the same, and every described kind is converted from its own message.
#include "common/config/descriptions.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/config/convert.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

TEST(DescriptionsTest, SchemaAndDescriptionsAgree) {
  const Status status = CheckDescriptions();
  EXPECT_OK(status);
}

// Sets every parameter to a legal value that is no default.
template <typename Owner>
void SetUnusual(std::span<const Parameter<Owner>> parameters, Message* message,
                std::map<std::string, double>* values) {
  for (const Parameter<Owner>& parameter : parameters) {
    const FieldDescriptor* const field = message->GetDescriptor()->FindFieldByName(parameter.name);
    ASSERT_NE(field, nullptr) << parameter.name;
    const auto* const reflection = message->GetReflection();
    switch (parameter.form) {
      case ParameterInfo::Form::kReal:
        (*values)[parameter.name] = 0.375;
        reflection->SetFloat(message, field, 0.375f);
        break;
      case ParameterInfo::Form::kWhole:
        (*values)[parameter.name] = 7;
        reflection->SetUInt32(message, field, 7);
        break;
      case ParameterInfo::Form::kSwitch:
        (*values)[parameter.name] = 1;
        reflection->SetBool(message, field, true);
        break;
      case ParameterInfo::Form::kChoice:
        (*values)[parameter.name] = static_cast<double>(parameter.choices.size()) - 1;
        reflection->SetEnum(message, field,
                            field->enum_type()->FindValueByName(parameter.choices.back()));
        break;
      case ParameterInfo::Form::kWord:
        (*values)[parameter.name] = static_cast<double>(parameter.choices.size()) - 1;
        reflection->SetString(message, field, parameter.choices.back());
        break;
    }
  }
}

template <typename Type, typename Config, typename Optimizer, typename Convert>
void ExpectConverted(const Convert& convert) {
  using Kind = decltype(Optimizer::kind);
  for (const Kind kind : AllKinds<Kind>()) {
    const Type& type = TypeOf(kind);
    Config config;
    Message* const message = config.GetReflection()->MutableMessage(
        &config, config.GetDescriptor()->FindFieldByName(type.field));
    std::map<std::string, double> values;
    SetUnusual(type.parameters, message, &values);
    if (values.count("nesterov") > 0) {  // which needs a dampening of 0
      values["dampening"] = 0;
      message->GetReflection()->SetFloat(message,
                                         message->GetDescriptor()->FindFieldByName("dampening"), 0);
    }
    ConfigSource source("test");
    Optimizer optimizer;
    const Status status = convert(config, &source, &optimizer);
    ASSERT_OK(status) << type.name;
    EXPECT_EQ(optimizer.kind, kind);
    EXPECT_EQ(ParameterValues(type.parameters, optimizer), values) << type.name;
  }
}

TEST(DescriptionsTest, EveryOptimizerIsConvertedWithAllItsParameters) {
  ExpectConverted<SparseOptimizerType, config::SparseOptimizer, SparseOptimizer>(
      ConvertSparseOptimizer);
  ExpectConverted<DenseOptimizerType, config::DenseOptimizer, DenseOptimizer>(
      ConvertDenseOptimizer);
  const auto part = [](config::PartOptimizer part, ConfigSource* source,
                       DenseOptimizer* out) -> Status {
    part.set_regex_pattern(".*");
    config::DenseOptimizer dense;
    *dense.add_part_optimizers() = std::move(part);
    TrainConfig train;
    PEPNET_RETURN_IF_ERROR(ConvertPartOptimizers(dense, source, &train));
    *out = train.part_optimizers.at(0).optimizer;
    return absl::OkStatus();
  };
  ExpectConverted<DenseOptimizerType, config::PartOptimizer, DenseOptimizer>(part);
}

}  // namespace
}  // namespace pepnet
