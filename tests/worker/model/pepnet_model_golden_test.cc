// The model against the recorded reference: group tensors in, outputs, losses and dense gradients
// out (spec 8). The variants on a GPU are a ctest entry of their own and are skipped where there is
// none.
#include <cstdlib>
#include <tuple>

#include <gtest/gtest.h>

#include "tests/support/golden.h"
#include "tests/support/status_matchers.h"
#include "tests/support/with_mutant.h"
#include "worker/model/engine/make_model.h"
#include "worker/model/loss_weight.h"
#include "worker/model/parameters.h"
#include "worker/model/pepnet_model.h"
#include "worker/model/torch/device/gpu.h"

namespace pepnet {
namespace {

// A case's first rows as a batch, features cut out of the recorded group tensors.
struct GoldenRun {
  explicit GoldenRun(const std::string& name, const ModelOptions& options = {})
      : config(LoadGoldenConfig(name)), parameters(DenseParameterList(config)) {
    const auto init = OpenGolden(name, "init.safetensors");
    for (size_t i = 0; i < parameters.specs().size(); ++i) {
      const std::vector<float> values = GoldenFloats(*init, parameters.specs()[i].name);
      std::copy(values.begin(), values.end(), parameters.value(static_cast<int>(i)).begin());
    }
    forward = OpenGolden(name, "forward.safetensors");
    total_rows = forward->tensors().at("group_all").shape[0];
    columns = GoldenColumns(name, config);
    model = MakeModel(&config, &parameters, options).value();
  }

  void SetRows(int64_t rows) {
    batch = Batch();
    batch.rows = batch.global_rows = rows;
    batch.origin = "golden rows";
    for (const std::string& label : config.data.labels) {
      LabelColumn& column = batch.labels.emplace_back();
      const std::vector<std::string>& cells = columns.at(label);
      ASSERT_EQ(static_cast<int64_t>(cells.size()), total_rows);
      for (int64_t row = 0; row < rows; ++row) {
        column.values.push_back(std::strtof(cells[row].c_str(), nullptr));
        if (cells[row].find('.') == std::string::npos) {
          column.integers.push_back(std::strtoll(cells[row].c_str(), nullptr, 10));
        }
      }
      if (static_cast<int64_t>(column.integers.size()) != rows) column.integers.clear();
    }
    batch.ids = GoldenSessions(config, columns, rows);
    features.clear();
    features.resize(config.leaves.size());
    CutFeatures(config.model.main, "group_all");
    if (config.model.domain) CutFeatures(*config.model.domain, "group_domain");
    if (config.model.uia) CutFeatures(*config.model.uia, "group_uia");
    scales = RowScales(config, batch, LocalLossNormalizers(config, batch));
  }

  void CutFeatures(const FeatureGroup& group, const std::string& tensor) {
    const std::vector<float> values = GoldenFloats(*forward, tensor);
    ASSERT_EQ(static_cast<int64_t>(values.size()), total_rows * group.width);
    int64_t column = 0;
    for (int f : group.leaves) {
      const int64_t dim = config.leaves[f].dim;
      features[f].Resize(batch.rows * dim);
      for (int64_t i = 0; i < batch.rows * dim; ++i) {
        features[f][i] = values[i / dim * group.width + column + i % dim];
      }
      column += dim;
    }
  }

  ModelInput Input() const {
    ModelInput input;
    input.batch = &batch;
    for (const AlignedBuffer<float>& feature : features) input.leaves.push_back(feature.data());
    input.row_scales = &scales;
    return input;
  }

  JobConfig config;
  DenseParameters parameters;
  std::unique_ptr<SafetensorsReader> forward;
  int64_t total_rows = 0;
  std::map<std::string, std::vector<std::string>> columns;
  std::unique_ptr<PepnetModel> model;
  Batch batch;
  std::vector<AlignedBuffer<float>> features;
  std::vector<std::vector<float>> scales;
};

struct Variant {
  const char* name;
  DenseEngine engine;
  ComputeDevice::Kind device;
};
constexpr Variant kVariants[] = {
    {"fused", DenseEngine::kFused, ComputeDevice::Kind::kHost},
    {"reference", DenseEngine::kReference, ComputeDevice::Kind::kHost},
    {"copied", DenseEngine::kReference, ComputeDevice::Kind::kHostCopy},
    {"gpu", DenseEngine::kReference, ComputeDevice::Kind::kGpu},
};

class GoldenModelTest : public testing::TestWithParam<std::tuple<std::string, Variant>> {
 protected:
  void SetUp() override {
    if (std::get<1>(GetParam()).device == ComputeDevice::Kind::kGpu && FindTorchGpus().count == 0) {
      GTEST_SKIP() << FindTorchGpus().reason;
    }
  }
  std::string Case() const { return std::get<0>(GetParam()); }
  ModelOptions Options() const {
    const Variant& variant = std::get<1>(GetParam());
    return {.engine = variant.engine, .seed = 1, .threads = 1, .device = {variant.device, 0}};
  }
};
INSTANTIATE_TEST_SUITE_P(Cases, GoldenModelTest,
                         testing::Combine(testing::ValuesIn(PooledGoldenCases()),
                                          testing::ValuesIn(kVariants)),
                         [](const auto& info) {
                           return std::get<0>(info.param) + "_" + std::get<1>(info.param).name;
                         });

TEST_P(GoldenModelTest, OutputsAndIntermediatesMatch) {
  GoldenRun run(Case(), Options());
  run.SetRows(run.total_rows);
  ASSERT_OK_AND_ASSIGN(const auto outputs, run.model->Forward(run.Input(), nullptr));
  const auto reference = OpenGolden(Case(), "forward_f64.safetensors");
  const std::vector<ModelOutput> list = OutputList(run.config);
  ASSERT_EQ(outputs.size(), reference->tensors().size());
  ASSERT_EQ(outputs.size(), list.size());
  size_t i = 0;
  for (const auto& [name, info] : reference->tensors()) {  // sorted by name
    const ModelOutput& output = outputs[i];
    EXPECT_EQ(output.name, name);
    EXPECT_EQ(list[i].name, name);
    EXPECT_EQ(list[i].width, output.width);
    EXPECT_EQ(Difference(name, output.values, GoldenDoubles(*reference, name), kValueTolerance),
              "");
    ++i;
  }
  size_t compared = 0;
  for (const ModelOutput& intermediate : run.model->intermediates()) {
    ASSERT_TRUE(run.forward->Contains(intermediate.name)) << intermediate.name;
    EXPECT_EQ(Difference(intermediate.name, intermediate.values,
                         GoldenDoubles(*run.forward, intermediate.name), kValueTolerance),
              "");
    ++compared;
  }
  EXPECT_EQ(compared + outputs.size(), run.forward->tensors().size());
}

TEST_P(GoldenModelTest, FirstBatchLossesAndDenseGradientsMatch) {
  GoldenRun run(Case(), Options());
  run.SetRows(run.config.data.batch_size);
  std::vector<AlignedBuffer<float>> leaf_gradients;
  ASSERT_OK_AND_ASSIGN(const auto report, run.model->TrainStep(run.Input(), 1.0, &leaf_gradients));

  std::map<std::string, double> expected = GoldenFirstLosses(Case());
  double total = 0;
  for (size_t i = 0; i < report.names.size(); ++i) {
    const double reference = expected.at(report.names[i]);
    EXPECT_NEAR(report.values[i], reference, 1e-5 + 1e-4 * std::abs(reference)) << report.names[i];
    total += report.values[i] * report.weight(i);
  }
  EXPECT_EQ(report.names.size() + 1, expected.size());
  EXPECT_NEAR(total, expected.at("total"), 1e-5 + 1e-4 * std::abs(total));

  const auto reference = OpenGolden(Case(), "grads_f64.safetensors");
  for (size_t i = 0; i < run.parameters.specs().size(); ++i) {
    if (!run.parameters.specs()[i].trained) continue;
    const std::string& name = run.parameters.specs()[i].name;
    EXPECT_EQ(Difference(name, run.parameters.gradient(static_cast<int>(i)),
                         GoldenDoubles(*reference, name), kGradientTolerance,
                         /*exact_zeros=*/true),
              "");
  }
}

TEST_P(GoldenModelTest, EvaluationLossesAreTheTrainingLosses) {
  GoldenRun run(Case(), Options());
  if (NormalisesOverRows(run.config.model)) GTEST_SKIP() << "its training takes other statistics";
  run.SetRows(run.config.data.batch_size);
  LossReport report;
  ASSERT_OK(run.model->Forward(run.Input(), &report));
  const std::map<std::string, double> expected = GoldenFirstLosses(Case());
  for (size_t i = 0; i < report.names.size(); ++i) {
    EXPECT_NEAR(report.values[i], expected.at(report.names[i]),
                1e-5 + 1e-4 * std::abs(report.values[i]));
  }
}

// EPNet's weights get a gradient through PPNet's gates. In the other cases it nearly hides inside
// the tolerance.
TEST(GoldenModelMutantTest, GateThatSeesItsGradientIsFoundByTheGoldenGradients) {
  PEPNET_NEEDS_MUTANTS();
  GoldenRun run("mixed");
  run.SetRows(run.config.data.batch_size);
  std::vector<AlignedBuffer<float>> leaf_gradients;
  const WithMutant mutant(Mutant::kGateSeesGradient);
  const auto report = run.model->TrainStep(run.Input(), 1.0, &leaf_gradients);
  ASSERT_OK(report);
  const auto reference = OpenGolden("mixed", "grads_f64.safetensors");
  const std::string name = "model.epnet.gate_nu.dense_layers.2.bias";
  const std::span<const float> gradient = run.parameters.gradient(run.parameters.Find(name));
  EXPECT_NE(Difference(name, gradient, GoldenDoubles(*reference, name), kGradientTolerance), "");
}

class GoldenMixedPrecisionTest : public testing::TestWithParam<ComputeDevice::Kind> {};
INSTANTIATE_TEST_SUITE_P(Devices, GoldenMixedPrecisionTest,
                         testing::Values(ComputeDevice::Kind::kHost, ComputeDevice::Kind::kHostCopy,
                                         ComputeDevice::Kind::kGpu),
                         [](const auto& info) {
                           return info.param == ComputeDevice::Kind::kHost       ? "host"
                                  : info.param == ComputeDevice::Kind::kHostCopy ? "copied"
                                                                                 : "gpu";
                         });

// libtorch emulates bfloat16 on a CPU without it, so the arithmetic is tested everywhere.
TEST_P(GoldenMixedPrecisionTest, Bf16StaysWithinTwoPercent) {
  if (GetParam() == ComputeDevice::Kind::kGpu && FindTorchGpus().count == 0) {
    GTEST_SKIP() << FindTorchGpus().reason;
  }
  GoldenRun run("seed_small", {.threads = 1, .device = {GetParam(), 0}, .bf16 = true});
  run.SetRows(run.total_rows);
  ASSERT_OK_AND_ASSIGN(const auto outputs, run.model->Forward(run.Input(), nullptr));
  const auto reference = OpenGolden("seed_small", "forward_f64.safetensors");
  for (const ModelOutput& output : outputs) {
    const std::vector<double> expected = GoldenDoubles(*reference, output.name);
    EXPECT_EQ(Difference(output.name, output.values, expected, {2e-2, 2e-2}), "");
    EXPECT_NE(Difference(output.name, output.values, expected, {1e-6, 1e-6}), "")
        << "BF16 was not used";
  }
  std::vector<AlignedBuffer<float>> leaf_gradients;
  run.SetRows(run.config.data.batch_size);
  ASSERT_OK_AND_ASSIGN(const auto report, run.model->TrainStep(run.Input(), 1.0, &leaf_gradients));
  EXPECT_NEAR(report.values[0], GoldenFirstLosses("seed_small").at(report.names[0]), 2e-2);
}

// The config's wish alone decides nothing: who runs the model looks at the device first
// (cli/job/compute.h).
TEST(GoldenMixedPrecisionFallbackTest, WithoutBf16TheWishChangesNoBit) {
  GoldenRun plain("seed_small"), wished("seed_small");
  wished.config.train.mixed_precision = "BF16";
  for (GoldenRun* run : {&plain, &wished}) run->SetRows(run->total_rows);
  const auto a = plain.model->Forward(plain.Input(), nullptr),
             b = wished.model->Forward(wished.Input(), nullptr);
  ASSERT_TRUE(a.ok() && b.ok());
  for (size_t i = 0; i < a->size(); ++i) EXPECT_EQ((*a)[i].values, (*b)[i].values);
}

}  // namespace
}  // namespace pepnet
