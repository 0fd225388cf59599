#include "worker/model/parameters.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <gtest/gtest.h>
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "tests/support/golden.h"
#include "tests/worker/model/tiny_model.h"

namespace pepnet {
namespace {

std::string Describe(const std::vector<ParameterSpec>& specs) {
  std::string text;
  for (const ParameterSpec& spec : specs) {
    absl::StrAppend(&text, spec.name, " [", absl::StrJoin(spec.shape, ","), "]\n");
  }
  return text;
}

TEST(ParametersTest, NamesAndShapesAreThoseOfEveryGoldenCase) {
  for (const std::string& name : GoldenCases()) {
    SCOPED_TRACE(name);
    const auto init = OpenGolden(name, "init.safetensors");
    std::set<std::string> expected;
    for (const auto& [tensor, info] : init->tensors()) {
      if (!TableOfParameter(tensor).has_value()) expected.insert(tensor);
    }
    for (const ParameterSpec& spec : DenseParameterList(LoadGoldenConfig(name))) {
      ASSERT_EQ(expected.erase(spec.name), 1u)
          << spec.name << " is not in the reference, or listed twice";
      EXPECT_EQ(spec.shape, init->tensors().at(spec.name).shape) << spec.name;
    }
    EXPECT_TRUE(expected.empty()) << "missing: " << *expected.begin();
  }
}

TEST(ParametersTest, LayerNormAndPreluTakeTheNextPerceptronIndices) {
  JobConfig config = TinyConfig();
  config.model.domain.reset();
  config.model.ppnet_hidden_units = {5};
  config.model.ppnet_activation = {ActivationKind::kPrelu, 0.25};
  Mlp& mlp = *config.model.towers[0].mlp;
  mlp.hidden_units = {3};
  mlp.activation = {ActivationKind::kPrelu, 0.25};
  mlp.use_ln = true;
  mlp.bias = false;
  EXPECT_EQ(Describe(DenseParameterList(config)),
            "model.ppnet.linears.0.weight [5,6]\n"
            "model.ppnet.linears.0.bias [5]\n"
            "model.ppnet.activations.0.weight [1]\n"
            "model.ppnet.gate_nus.0.dense_layers.0.weight [5,9]\n"
            "model.ppnet.gate_nus.0.dense_layers.0.bias [5]\n"
            "model.ppnet.gate_nus.0.dense_layers.2.weight [5,5]\n"
            "model.ppnet.gate_nus.0.dense_layers.2.bias [5]\n"
            "model._task_tower.0.tower_mlp.mlp.0.perceptron.0.weight [3,5]\n"
            "model._task_tower.0.tower_mlp.mlp.0.perceptron.1.weight [3]\n"
            "model._task_tower.0.tower_mlp.mlp.0.perceptron.1.bias [3]\n"
            "model._task_tower.0.tower_mlp.mlp.0.perceptron.2.weight [1]\n"
            "model._task_tower.0.linear.weight [1,3]\n"
            "model._task_tower.0.linear.bias [1]\n");
  mlp.use_ln = false;
  mlp.bias = true;
  const std::vector<ParameterSpec> specs = DenseParameterList(config);
  EXPECT_EQ(specs[9].name, "model._task_tower.0.tower_mlp.mlp.0.perceptron.1.weight");
  EXPECT_EQ(specs[9].shape, std::vector<int64_t>{1});
}

TEST(ParametersTest, DenseEmbeddingsBeginNormallyDistributed) {
  JobConfig config = EmbeddingConfig();
  DenseEmbedding& autodis = config.model.embeddings[2];
  autodis.channels = 40;
  autodis.width = 200;
  config.model.embeddings[1].width = 3000;
  DenseParameters parameters(DenseParameterList(config));
  parameters.Initialize(7);
  const auto expect = [&](const std::string& name, double deviation) {
    const std::span<const float> values = parameters.value(parameters.Find(name));
    double sum = 0, squares = 0;
    for (const float v : values) {
      sum += v;
      squares += static_cast<double>(v) * v;
    }
    const double n = static_cast<double>(values.size());
    EXPECT_NEAR(sum / n, 0, 4 * deviation / std::sqrt(n)) << name;
    EXPECT_NEAR(std::sqrt(squares / n), deviation, 4 * deviation / std::sqrt(2 * n)) << name;
  };
  expect("model.embedding.3.w", std::sqrt(2.0 / 3003));
  expect("model.embedding.4.e", 1);
  expect("model.embedding.4.w", std::sqrt(2.0 / 41));
  expect("model.embedding.4.m", std::sqrt(1.0 / 40));
}

TEST(ParametersTest, WithoutDomainUiaAndMlpOnlyTheLastLinearRemains) {
  JobConfig config = TinyConfig();
  config.model.domain.reset();
  config.model.uia.reset();
  config.model.towers[0].mlp.reset();
  EXPECT_EQ(Describe(DenseParameterList(config)),
            "model._task_tower.0.linear.weight [1,6]\nmodel._task_tower.0.linear.bias [1]\n");
}

Encoder EncoderOf(EncoderKind kind, const std::string& module) {
  Encoder encoder;
  encoder.kind = kind;
  encoder.module = module;
  encoder.channels = 3;
  encoder.attn_mlp.hidden_units = {5, 2};
  encoder.attention_width = 4;
  return encoder;
}

TEST(ParametersTest, EncodersStandInFrontUnderTheirOwnNames) {
  JobConfig config = TinyConfig();
  config.model.domain.reset();
  config.model.uia.reset();
  config.model.towers[0].mlp.reset();
  config.model.encoders = {
      EncoderOf(EncoderKind::kPooling, "p"), EncoderOf(EncoderKind::kSimpleAttention, "a"),
      EncoderOf(EncoderKind::kDin, "d"), EncoderOf(EncoderKind::kMultiWindowDin, "w"),
      EncoderOf(EncoderKind::kSelfAttention, "s")};
  EXPECT_EQ(Describe(DenseParameterList(config)),
            "d.mlp.mlp.0.perceptron.0.weight [5,12]\n"
            "d.mlp.mlp.0.perceptron.0.bias [5]\n"
            "d.mlp.mlp.1.perceptron.0.weight [2,5]\n"
            "d.mlp.mlp.1.perceptron.0.bias [2]\n"
            "d.linear.weight [1,2]\n"
            "d.linear.bias [1]\n"
            "w.mlp.mlp.0.perceptron.0.weight [5,9]\n"
            "w.mlp.mlp.0.perceptron.0.bias [5]\n"
            "w.mlp.mlp.1.perceptron.0.weight [2,5]\n"
            "w.mlp.mlp.1.perceptron.0.bias [2]\n"
            "w.linear.weight [1,2]\n"
            "w.linear.bias [1]\n"
            "w.active.weight [1]\n"
            "s._query.weight [4,3]\n"
            "s._query.bias [4]\n"
            "s._key.weight [4,3]\n"
            "s._key.bias [4]\n"
            "s._value.weight [4,3]\n"
            "s._value.bias [4]\n"
            "s._multihead_attn.in_proj_weight [12,4]\n"
            "s._multihead_attn.in_proj_bias [12]\n"
            "s._multihead_attn.out_proj.weight [4,4]\n"
            "s._multihead_attn.out_proj.bias [4]\n"
            "model._task_tower.0.linear.weight [1,6]\n"
            "model._task_tower.0.linear.bias [1]\n");
}

TEST(ParametersTest, EncodersBeginWithTheReferencesInitialValues) {
  std::vector<ParameterSpec> specs;
  Encoder encoder = EncoderOf(EncoderKind::kSelfAttention, "s");
  encoder.attention_width = 64;
  AppendEncoderParameters(encoder, &specs);
  AppendEncoderParameters(EncoderOf(EncoderKind::kMultiWindowDin, "w"), &specs);
  DenseParameters parameters(specs);
  parameters.Initialize(3);
  auto most = [&](const std::string& name) {
    float largest = 0;
    for (const float value : parameters.value(parameters.Find(name))) {
      largest = std::max(largest, std::abs(value));
    }
    return largest;
  };
  const double xavier = std::sqrt(6.0 / (192 + 64)), linear = 1 / std::sqrt(64.0);
  EXPECT_LE(most("s._multihead_attn.in_proj_weight"), xavier);
  EXPECT_GT(most("s._multihead_attn.in_proj_weight"), 0.999 * xavier);
  EXPECT_LE(most("s._multihead_attn.out_proj.weight"), linear);
  EXPECT_GT(most("s._multihead_attn.out_proj.weight"), 0.99 * linear);
  EXPECT_EQ(most("s._multihead_attn.in_proj_bias"), 0.0f);
  EXPECT_EQ(most("s._multihead_attn.out_proj.bias"), 0.0f);
  EXPECT_GT(most("s._query.bias"), 0.0f);
  EXPECT_EQ(most("w.active.weight"), 0.25f);
}

TEST(ParametersTest, EachParameterIsAlignedAndPaddingIsZero) {
  DenseParameters parameters(DenseParameterList(TinyConfig()));
  parameters.Initialize(5);
  EXPECT_EQ(parameters.values().size(), parameters.gradients().size());
  std::vector<bool> used(parameters.values().size(), false);
  for (size_t i = 0; i < parameters.specs().size(); ++i) {
    const std::span<float> value = parameters.value(i), gradient = parameters.gradient(i);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(value.data()) % 64, 0u);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(gradient.data()) % 64, 0u);
    EXPECT_EQ(value.data() - parameters.values().data(),
              static_cast<ptrdiff_t>(parameters.offset(i)));
    EXPECT_EQ(parameters.Find(parameters.specs()[i].name), static_cast<int>(i));
    for (size_t e = 0; e < value.size(); ++e) {
      ASSERT_FALSE(used[parameters.offset(i) + e]) << "parameters overlap";
      used[parameters.offset(i) + e] = true;
    }
  }
  for (size_t e = 0; e < used.size(); ++e) {
    if (!used[e]) {
      EXPECT_EQ(parameters.values()[e], 0.0f);
    }
  }
  EXPECT_EQ(parameters.Find("model.nothing"), -1);
  EXPECT_EQ(DenseParameters({}).values().size(), 0u);
}

TEST(ParametersTest, InitialValuesAreAFunctionOfSeedAndName) {
  const std::vector<ParameterSpec> specs = DenseParameterList(TinyConfig());
  DenseParameters all(specs), last({specs.back(), specs[0]}), other(specs);
  all.Initialize(5);
  last.Initialize(5);
  other.Initialize(6);
  for (size_t e = 0; e < all.value(0).size(); ++e) EXPECT_EQ(all.value(0)[e], last.value(1)[e]);
  EXPECT_EQ(all.value(static_cast<int>(specs.size()) - 1)[0], last.value(0)[0]);
  EXPECT_NE(all.value(0)[0], other.value(0)[0]);
  EXPECT_NE(all.value(0)[0], all.value(2)[0]);
}

TEST(ParametersTest, FanInValuesFillTheirIntervalEvenly) {
  DenseParameters parameters({{"w", {300, 100}, ParameterSpec::Init::kFanIn, 100, 0},
                              {"one", {3}, ParameterSpec::Init::kOne, 0, 0},
                              {"zero", {3}, ParameterSpec::Init::kZero, 0, 0},
                              {"prelu", {1}, ParameterSpec::Init::kConstant, 0, 0.25}});
  parameters.Initialize(1);
  // U(-0.1, 0.1): mean 0, variance 0.01 / 3; 30000 values put the mean within 5 * sqrt(var / n) =
  // 0.0017.
  double sum = 0, squares = 0;
  std::set<float> distinct;
  for (float v : parameters.value(0)) {
    ASSERT_LE(std::abs(v), 0.1f);
    sum += v;
    squares += static_cast<double>(v) * v;
    distinct.insert(v);
  }
  EXPECT_NEAR(sum / 30000, 0, 0.0017);
  EXPECT_NEAR(squares / 30000, 0.01 / 3, 0.0001);
  EXPECT_GT(distinct.size(), 29900u);
  EXPECT_EQ(parameters.value(1)[2], 1.0f);
  EXPECT_EQ(parameters.value(2)[2], 0.0f);
  EXPECT_EQ(parameters.value(3)[0], 0.25f);
}

TEST(ParametersTest, ZeroGradientsClearsTheArena) {
  DenseParameters parameters(DenseParameterList(TinyConfig()));
  for (float& g : parameters.gradients()) g = 1;
  const float* before = parameters.gradients().data();
  parameters.ZeroGradients();
  EXPECT_EQ(parameters.gradients().data(), before) << "views of the arena must stay valid";
  for (float g : parameters.gradients()) EXPECT_EQ(g, 0.0f);
}

}  // namespace
}  // namespace pepnet
