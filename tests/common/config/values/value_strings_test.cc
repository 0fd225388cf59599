#include "common/config/values/value_strings.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using ::testing::HasSubstr;

TEST(ShortestDecimalTest, IsTheDecimalThatWasWritten) {
  EXPECT_EQ(ShortestDecimal(0.001f), 0.001);
  EXPECT_EQ(ShortestDecimal(0.1f), 0.1);
  EXPECT_EQ(ShortestDecimal(1e-10f), 1e-10);
  EXPECT_EQ(ShortestDecimal(2.0f), 2.0);
  EXPECT_EQ(ShortestDecimal(-0.35f), -0.35);
  EXPECT_EQ(ShortestDecimal(0.0f), 0.0);
  EXPECT_EQ(ShortestDecimal(16777216.0f), 16777216.0);
  EXPECT_TRUE(std::isinf(ShortestDecimal(std::numeric_limits<float>::infinity())));
  EXPECT_TRUE(std::isnan(ShortestDecimal(std::numeric_limits<float>::quiet_NaN())));
}

TEST(ActivationTest, ParsesTorchNames) {
  EXPECT_EQ(ParseActivation("nn.ReLU")->kind, ActivationKind::kRelu);
  EXPECT_EQ(ParseActivation("nn.ReLU(inplace=True)")->kind, ActivationKind::kRelu);
  EXPECT_EQ(ParseActivation("nn.Sigmoid()")->kind, ActivationKind::kSigmoid);
  EXPECT_EQ(ParseActivation("nn.Tanh")->kind, ActivationKind::kTanh);
  EXPECT_EQ(ParseActivation("nn.SiLU")->kind, ActivationKind::kSilu);
  EXPECT_EQ(ParseActivation("nn.GELU(approximate='none')")->kind, ActivationKind::kGelu);
  EXPECT_EQ(ParseActivation("nn.Identity")->kind, ActivationKind::kIdentity);
  EXPECT_EQ(ParseActivation("nn.LeakyReLU")->parameter, 0.01);
  EXPECT_EQ(ParseActivation("nn.LeakyReLU( negative_slope = 0.2 )")->parameter, 0.2);
  EXPECT_EQ(ParseActivation("nn.ELU")->parameter, 1);
  EXPECT_EQ(ParseActivation("nn.ELU(alpha=0.5)")->parameter, 0.5);
  EXPECT_EQ(ParseActivation("nn.PReLU")->parameter, 0.25);
  EXPECT_EQ(ParseActivation("nn.PReLU(num_parameters=1,init=0.1)")->parameter, 0.1);
  EXPECT_EQ(ParseActivation("nn.PReLU(num_parameters=4, init=0.1)")->weights, 4);
  EXPECT_EQ(ParseActivation("nn.GELU(approximate='tanh')")->kind, ActivationKind::kGeluTanh);
  EXPECT_EQ(ParseActivation("torch.nn.Mish")->kind, ActivationKind::kMish);
  const auto softplus = ParseActivation("nn.Softplus(threshold=7, beta=2)");
  EXPECT_EQ(softplus->parameter, 2);
  EXPECT_EQ(softplus->parameter2, 7);
  EXPECT_EQ(ParseActivation("nn.Hardtanh(max_val=3)")->parameter, -1);
  EXPECT_EQ(ParseActivation(" Dice ")->kind, ActivationKind::kDice);
}

TEST(ActivationTest, RejectsWhatItCannotCompute) {
  for (const char* text : {"",
                           "relu",
                           "nn.Relu",
                           "Dice()x",
                           "nn.ReLU(",
                           "nn.GELU(approximate='erf')",
                           "nn.Tanh(x=1)",
                           "nn.LeakyReLU(0.2)",
                           "nn.LeakyReLU(negative_slope=a)",
                           "nn.PReLU(num_parameters=1.5)",
                           "nn.PReLU(num_parameters=0)",
                           "nn.Threshold(value=1)",
                           "nn.Hardtanh(min_val=2)",
                           "nn.Softplus(beta=0)",
                           "nn.CELU(alpha=0)",
                           "nn.Softshrink(lambd=-1)",
                           "nn.RReLU",
                           "nn.GLU",
                           "nn.Softmax(dim=1)",
                           "nn.ELU(alpha=1,alpha=2)",
                           "nn.ELU(alpha=inf)",
                           "nn.ReLU(inplace=banana)"}) {
    EXPECT_EQ(ParseActivation(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(InitializerTest, ParsesTorchInits) {
  const auto uniform = ParseInitializer("nn.init.uniform_,a=-0.01,b=0.01");
  EXPECT_EQ(uniform->kind, InitKind::kUniform);
  EXPECT_EQ(uniform->a, -0.01);
  EXPECT_EQ(uniform->b, 0.01);
  const auto normal = ParseInitializer("nn.init.normal_, std=0.02");
  EXPECT_EQ(normal->kind, InitKind::kNormal);
  EXPECT_EQ(normal->a, 0);
  EXPECT_EQ(normal->b, 0.02);
  EXPECT_EQ(ParseInitializer("nn.init.normal_")->b, 1);
  EXPECT_EQ(ParseInitializer("nn.init.constant_,val=0.5")->a, 0.5);
  EXPECT_EQ(ParseInitializer("nn.init.zeros_")->a, 0);
  EXPECT_EQ(ParseInitializer("nn.init.ones_")->a, 1);
  EXPECT_EQ(ParseInitializer("nn.init.ones_")->kind, InitKind::kConstant);
  for (const char* text :
       {"", "nn.init.xavier_uniform_", "nn.init.uniform_,a=1,b=0", "nn.init.normal_,std=-1", "nn.init.constant_",
        "nn.init.zeros_,a=1", "nn.init.uniform_,0,1", "nn.init.normal_,mean=x"}) {
    EXPECT_EQ(ParseInitializer(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(NormalizerTest, ParsesMethods) {
  const auto log10 = ParseNormalizer("method=log10,threshold=1e-10,default=-10");
  EXPECT_EQ(log10->kind, NormalizerKind::kLog10);
  EXPECT_EQ(log10->a, 1e-10);
  EXPECT_EQ(log10->b, -10);
  const auto zscore = ParseNormalizer("method=zscore,mean=1.5,standard_deviation=2");
  EXPECT_EQ(zscore->kind, NormalizerKind::kZscore);
  EXPECT_EQ(zscore->a, 1.5);
  EXPECT_EQ(zscore->b, 2);
  EXPECT_EQ(ParseNormalizer(" max=3, min=-1, method=minmax")->b, 3);
  const auto formula = ParseNormalizer("method=expression,expr=max(log(x+3), 1)");
  ASSERT_OK(formula.status());
  EXPECT_EQ(formula->kind, NormalizerKind::kExpression);
  const double x = 97;
  EXPECT_EQ(formula->expression.Compute({&x, 1}), std::log(100.0));
  EXPECT_EQ(ParseNormalizer(" method = expression , expr = x")->expression.text(), " x");
  for (const char* text : {"", "log10", "method=expression", "method=expression,expr=", "expr=x,method=expression",
                           "method=expression,expr=y", "method=expression,expr=len(x)", "method=log10,threshold=1",
                           "method=minmax,min=1,max=1", "method=zscore,mean=0,standard_deviation=0",
                           "method=log10,threshold=-1,default=0", "method=minmax,min=0,max=1,x=2"}) {
    EXPECT_EQ(ParseNormalizer(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_THAT(ParseNormalizer("method=log,expr=x"),
              IsError(HasSubstr("method is log10, zscore, minmax or expression")));
  EXPECT_THAT(ParseNormalizer("method=expression,expr=log(y)"), IsError(HasSubstr("\"y\" is no variable")));
}

}  // namespace
}  // namespace pepnet
