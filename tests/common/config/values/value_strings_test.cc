#include "common/config/values/value_strings.h"

#include <cmath>
#include <limits>
#include <string>
#include <tuple>

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
                           "nn.RReLU(lower=0.5,upper=0.1)",
                           "nn.GLU",
                           "nn.Softmax(dim=0)",
                           "nn.Softmin(dim=2)",
                           "nn.LogSoftmax(dim=-2)",
                           "nn.ELU(alpha=1,alpha=2)",
                           "nn.ELU(alpha=inf)",
                           "nn.ReLU(inplace=banana)"}) {
    EXPECT_EQ(ParseActivation(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

// Both ways to name the last axis are the same activation; what torch does without dim depends on
// the axes.
TEST(ActivationTest, ChannelsAreTheLastAxis) {
  for (const char* text : {"nn.Softmax", "nn.Softmax(dim=1)", "nn.Softmax(dim=-1)"}) {
    EXPECT_EQ(ParseActivation(text)->kind, ActivationKind::kSoftmax) << text;
    EXPECT_EQ(ParseActivation(text)->parameter, -1) << text;
  }
  EXPECT_EQ(ParseActivation("nn.LogSoftmax(dim=2)", 3)->parameter, -1);
  EXPECT_THAT(ParseActivation("nn.Softmax(dim=1)", 3).status().message(),
              HasSubstr("expected dim=-1 or dim=2"));
  EXPECT_THAT(ParseActivation("nn.Softmin", 3).status().message(), HasSubstr("without dim"));
}

TEST(ActivationTest, RandomSlopesHaveTorchsRange) {
  const auto activation = ParseActivation("nn.RReLU");
  EXPECT_EQ(activation->parameter, 0.125);
  EXPECT_EQ(activation->parameter2, 1.0 / 3);
}

// Of a table of 1000 rows and 24 columns.
StatusOr<Initializer> Initial(const std::string& text) { return ParseInitializer(text, 1000, 24); }

TEST(InitializerTest, ParsesTorchInits) {
  const auto uniform = Initial("nn.init.uniform_,a=-0.01,b=0.01");
  EXPECT_EQ(uniform->kind, InitKind::kUniform);
  EXPECT_EQ(uniform->a, -0.01);
  EXPECT_EQ(uniform->b, 0.01);
  const auto normal = Initial("nn.init.normal_, std=0.02");
  EXPECT_EQ(normal->kind, InitKind::kNormal);
  EXPECT_EQ(normal->a, 0);
  EXPECT_EQ(normal->b, 0.02);
  EXPECT_EQ(Initial("nn.init.normal_")->b, 1);
  EXPECT_EQ(Initial("nn.init.constant_,val=0.5")->a, 0.5);
  EXPECT_EQ(Initial("nn.init.zeros_")->a, 0);
  EXPECT_EQ(Initial("nn.init.ones_")->a, 1);
  EXPECT_EQ(Initial("nn.init.ones_")->kind, InitKind::kConstant);
  for (const char* text : {"", "nn.init.xavier_", "nn.init.uniform_,a=1,b=0",
                           "nn.init.normal_,std=-1", "nn.init.constant_", "nn.init.zeros_,a=1",
                           "nn.init.uniform_,0,1", "nn.init.normal_,mean=x"}) {
    EXPECT_EQ(Initial(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(InitializerTest, ParsesThoseThatDependOnTheElement) {
  EXPECT_EQ(*Initial("nn.init.trunc_normal_"),
            (Initializer{InitKind::kTruncatedNormal, 0, 1, -2, 2}));
  EXPECT_EQ(*Initial("nn.init.trunc_normal_,mean=0.5,std=0.02,a=0.4,b=0.6"),
            (Initializer{InitKind::kTruncatedNormal, 0.5, 0.02, 0.4, 0.6}));
  EXPECT_EQ(Initial("nn.init.eye_")->kind, InitKind::kEye);
  EXPECT_EQ(*Initial("nn.init.sparse_,sparsity=0.3"), (Initializer{InitKind::kSparse, 0.3, 0.01}));
  EXPECT_EQ(*Initial("nn.init.sparse_,sparsity=0,std=2"), (Initializer{InitKind::kSparse, 0, 2}));
}

// The figures are those of torch.nn.init for a tensor [1000, 24]: fan_in 24, fan_out 1000.
TEST(InitializerTest, XavierAndKaimingTakeTheirRangeFromTheTable) {
  const double xavier = std::sqrt(2.0 / 1024);
  const std::tuple<const char*, InitKind, double> cases[] = {
      // deviation
      {"nn.init.xavier_uniform_", InitKind::kUniform, xavier},
      {"nn.init.xavier_uniform_,gain=0.5", InitKind::kUniform, xavier / 2},
      {"nn.init.xavier_normal_,gain=2", InitKind::kNormal, xavier * 2},
      {"nn.init.kaiming_uniform_", InitKind::kUniform, std::sqrt(2.0 / 24)},
      {"nn.init.kaiming_uniform_,a=3", InitKind::kUniform, std::sqrt(0.2 / 24)},
      {"nn.init.kaiming_uniform_,a=3,mode='fan_in',nonlinearity='relu'", InitKind::kUniform,
       std::sqrt(2.0 / 24)},
      {"nn.init.kaiming_normal_,mode=\"fan_out\", nonlinearity=\"leaky_relu\"", InitKind::kNormal,
       std::sqrt(2.0 / 1000)},
      {"nn.init.kaiming_normal_,nonlinearity='linear'", InitKind::kNormal, std::sqrt(1.0 / 24)},
      {"nn.init.kaiming_normal_,nonlinearity='conv_transpose3d'", InitKind::kNormal,
       std::sqrt(1.0 / 24)},
      {"nn.init.kaiming_normal_,nonlinearity='sigmoid'", InitKind::kNormal, std::sqrt(1.0 / 24)},
      {"nn.init.kaiming_normal_,nonlinearity='tanh'", InitKind::kNormal, 5 / 3.0 / std::sqrt(24.0)},
      {"nn.init.kaiming_normal_,nonlinearity='selu'", InitKind::kNormal, 0.75 / std::sqrt(24.0)},
  };
  for (const auto& [text, kind, deviation] : cases) {
    ASSERT_OK_AND_ASSIGN(const Initializer init, Initial(text));
    EXPECT_EQ(init.kind, kind) << text;
    if (kind == InitKind::kNormal) {
      EXPECT_EQ(init.a, 0) << text;
      EXPECT_NEAR(init.b, deviation, 1e-15) << text;
    } else {  // U(-h, h) has the variance h^2 / 3
      EXPECT_EQ(init.a, -init.b) << text;
      EXPECT_NEAR(init.b / std::sqrt(3.0), deviation, 1e-15) << text;
    }
  }
}

TEST(InitializerTest, SaysWhatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"nn.init.trunc_normal_,std=0", "needs std > 0, got 0"},
      {"nn.init.trunc_normal_,a=1,b=1", "needs a < b, got a=1, b=1"},
      {"nn.init.trunc_normal_,std=0.01,a=1,b=2",
       "needs bounds that leave something of the distribution, got a=1"},
      {"nn.init.sparse_", "nn.init.sparse_ needs sparsity=<number>"},
      {"nn.init.sparse_,sparsity=1.5", "needs a sparsity from 0 to 1, got 1.5"},
      {"nn.init.sparse_,sparsity=0.5,std=-1", "needs std >= 0, got -1"},
      {"nn.init.eye_,n=3", "argument n is not supported for nn.init.eye_"},
      {"nn.init.xavier_normal_,gain=-1", "nn.init.xavier_normal_ needs gain >= 0, got -1"},
      {"nn.init.xavier_normal_,std=1", "argument std is not supported for nn.init.xavier_normal_"},
      {"nn.init.kaiming_normal_,mode=fan_in", "mode=fan_in is not a text in quotes"},
      {"nn.init.kaiming_normal_,mode='fan'", "mode='fan'; expected 'fan_in' or 'fan_out'"},
      {"nn.init.kaiming_normal_,nonlinearity='gelu'",
       "nonlinearity='gelu'; expected 'linear', 'sigmoid'"},
      {"nn.init.orthogonal_",
       "nn.init.orthogonal_ makes the rows of the whole table depend on each other"},
      {"nn.init.dirac_,groups=1", "nn.init.dirac_ is of convolutions"},
      {"nn.init.xavier_", "known are nn.init.uniform_,a=,b="},
  };
  for (const auto& [text, fault] : cases) {
    EXPECT_THAT(Initial(text), IsError(HasSubstr(fault))) << text;
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
  for (const char* text :
       {"", "log10", "method=expression", "method=expression,expr=", "expr=x,method=expression",
        "method=expression,expr=y", "method=expression,expr=len(x)", "method=log10,threshold=1",
        "method=minmax,min=1,max=1", "method=zscore,mean=0,standard_deviation=0",
        "method=log10,threshold=-1,default=0", "method=minmax,min=0,max=1,x=2"}) {
    EXPECT_EQ(ParseNormalizer(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_THAT(ParseNormalizer("method=log,expr=x"),
              IsError(HasSubstr("method is log10, zscore, minmax or expression")));
  EXPECT_THAT(ParseNormalizer("method=expression,expr=log(y)"),
              IsError(HasSubstr("\"y\" is no variable")));
}

}  // namespace
}  // namespace pepnet
