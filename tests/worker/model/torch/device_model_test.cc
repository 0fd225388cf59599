// The reference engine on a device, with host memory for the device's: the same bits as in place,
// and dense gradients that are summed over the workers bucket by bucket.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/net/in_process.h"
#include "tests/support/deferred_sums.h"
#include "tests/support/status_matchers.h"
#include "tests/worker/model/tiny_model.h"
#include "worker/model/gradient_buckets.h"
#include "worker/model/loss_weight.h"
#include "worker/model/torch/device/gpu.h"

namespace pepnet {
namespace {

using Kind = ComputeDevice::Kind;

ModelOptions On(Kind device, uint64_t seed, DeviceCollective* sums = nullptr,
                size_t bucket_bytes = 200) {
  return {.engine = DenseEngine::kReference,
          .seed = seed,
          .threads = 1,
          .device = {device, 0},
          .gradient_sums = sums,
          .bucket_bytes = bucket_bytes};
}

JobConfig DropoutConfig() {
  JobConfig config = AllLossesConfig();
  config.model.ppnet_dropout_ratio = {0.3, 0.5};
  config.model.towers[0].mlp->dropout_ratio = {0.1, 0.4};
  config.model.towers[0].train_metrics.emplace_back();  // scores are asked for
  return config;
}

JobConfig NormConfig() {
  JobConfig config = DomainConfig();
  config.model.towers[0].mlp->use_ln = true;
  config.model.ppnet_activation = {ActivationKind::kPrelu, 0.25};
  return config;
}

struct Taken {
  LossReport losses;
  std::vector<float> dense;
  std::vector<std::vector<float>> leaves;
};

void ExpectSame(const Taken& a, const Taken& b) {
  EXPECT_EQ(a.losses.names, b.losses.names);
  EXPECT_EQ(a.losses.values, b.losses.values);
  EXPECT_EQ(a.losses.scores, b.losses.scores);
  EXPECT_EQ(a.dense, b.dense);
  EXPECT_EQ(a.leaves, b.leaves);
}

StatusOr<Taken> TakeStep(TinyModel* tiny, const TinyData& data, const LossNormalizers& global,
                         int64_t step = 9) {
  tiny->parameters.ZeroGradients();
  const auto scales = RowScales(tiny->config, data.batch, global);
  std::vector<AlignedBuffer<float>> gradients(1);  // what was in it goes
  gradients[0].ResizeZeroed(5);
  Taken taken;
  PEPNET_ASSIGN_OR_RETURN(
      taken.losses, tiny->model->TrainStep(tiny->Input(data, &scales, step), 0.5, &gradients));
  taken.dense.assign(tiny->parameters.gradients().begin(), tiny->parameters.gradients().end());
  for (const auto& gradient : gradients) {
    taken.leaves.emplace_back(gradient.begin(), gradient.end());
  }
  return taken;
}

Taken TakeLocalStep(TinyModel* tiny, const TinyData& data) {
  auto taken = TakeStep(tiny, data, LocalLossNormalizers(tiny->config, data.batch));
  EXPECT_OK(taken);
  return std::move(*taken);
}

class DeviceModelTest : public testing::TestWithParam<JobConfig (*)()> {};
INSTANTIATE_TEST_SUITE_P(Configs, DeviceModelTest,
                         testing::Values(&DropoutConfig, &NormConfig, &SessionConfig,
                                         &VariationalConfig));

TEST_P(DeviceModelTest, StepsOnCopiesHaveTheBitsOfStepsInPlace) {
  const JobConfig config = GetParam()();
  TinyModel in_place(config, On(Kind::kHost, 7)), copied(config, On(Kind::kHostCopy, 7));
  EXPECT_FALSE(copied.model->sums_gradients());
  for (const int64_t rows : {6, 40, 0, 17}) {  // buffers grow, and are larger than needed
    SCOPED_TRACE(rows);
    const TinyData data = RandomData(config, rows, 40 + static_cast<uint64_t>(rows));
    ExpectSame(TakeLocalStep(&copied, data), TakeLocalStep(&in_place, data));
    // An optimizer step between them, of which nobody tells the model.
    for (TinyModel* tiny : {&in_place, &copied}) {
      for (size_t i = 0; i < tiny->parameters.arena_floats(); ++i) {
        tiny->parameters.values()[i] -= 0.1f * tiny->parameters.gradients()[i];
      }
    }
  }
}

TEST_P(DeviceModelTest, EvaluationOnCopiesHasTheBitsOfEvaluationInPlace) {
  const JobConfig config = GetParam()();
  TinyModel in_place(config, On(Kind::kHost, 7)), copied(config, On(Kind::kHostCopy, 7));
  for (const int64_t rows : {5, 0, 30}) {
    const TinyData data = RandomData(config, rows, 50);
    const auto scales = RowScales(config, data.batch, LocalLossNormalizers(config, data.batch));
    for (TinyModel* tiny : {&in_place, &copied}) tiny->parameters.value(2)[0] += 0.25f;
    LossReport a_losses, b_losses;
    const auto a = in_place.model->Forward(in_place.Input(data, &scales), &a_losses);
    const auto b = copied.model->Forward(copied.Input(data, &scales), &b_losses);
    ASSERT_TRUE(a.ok() && b.ok()) << b.status();
    ASSERT_EQ(a->size(), b->size());
    for (size_t i = 0; i < a->size(); ++i) {
      EXPECT_EQ((*a)[i].values, (*b)[i].values) << (*a)[i].name;
    }
    EXPECT_EQ(a_losses.values, b_losses.values);
    const std::vector<ModelOutput> c = in_place.model->intermediates(),
                                   d = copied.model->intermediates();
    ASSERT_EQ(c.size(), d.size());
    for (size_t i = 0; i < c.size(); ++i) EXPECT_EQ(c[i].values, d[i].values) << c[i].name;
  }
}

// predict has no labels.
TEST(DeviceModelOutputTest, OutputsNeedNoLabels) {
  TinyModel copied(DomainConfig(), On(Kind::kHostCopy, 7));
  TinyData data = RandomData(copied.config, 4, 7);
  data.batch.labels.clear();
  EXPECT_OK(copied.model->Forward(copied.Input(data, nullptr), nullptr));
}

TEST(DeviceModelGradientTest, DenseGradientsAreAddedToWhatTheHostHas) {
  TinyModel copied(TinyConfig(), On(Kind::kHostCopy, 7));
  const TinyData data = RandomData(copied.config, 6, 32);
  const Taken once = TakeLocalStep(&copied, data);
  const auto scales =
      RowScales(copied.config, data.batch, LocalLossNormalizers(copied.config, data.batch));
  std::vector<AlignedBuffer<float>> gradients;
  ASSERT_OK(copied.model->TrainStep(copied.Input(data, &scales, 9), 0.5, &gradients));
  for (size_t i = 0; i < once.dense.size(); ++i) {
    EXPECT_EQ(copied.parameters.gradients()[i], 2 * once.dense[i]);
  }
}

// ---- sums over the workers ----------------------------------------------------------------------

constexpr int kWorkers = 4;

// Four workers with a slice each, one of them empty; the loss_normalizers of all.
struct Slices {
  explicit Slices(const JobConfig& config) {
    const TinyData whole = RandomData(config, 15, 61);
    for (const auto& [begin, end] :
         std::vector<std::pair<int64_t, int64_t>>{{0, 6}, {6, 6}, {6, 14}, {14, 15}}) {
      slices.push_back(Slice(config, whole, begin, end));
    }
    global = LocalLossNormalizers(config, whole.batch);
  }
  std::vector<TinyData> slices;
  LossNormalizers global;
};

TEST_P(DeviceModelTest, GradientsAreSummedOverTheWorkersInEveryBucketSize) {
  const JobConfig config = GetParam()();
  const Slices slices(config);
  std::vector<Taken> alone;
  std::vector<float> expected;  // in worker order
  for (const TinyData& slice : slices.slices) {
    TinyModel tiny(config, On(Kind::kHost, 7));
    alone.push_back(*TakeStep(&tiny, slice, slices.global));
    if (expected.empty()) expected.assign(alone[0].dense.size(), 0);
    for (size_t i = 0; i < expected.size(); ++i) {
      expected[i] = alone.size() == 1 ? alone[0].dense[i] : expected[i] + alone.back().dense[i];
    }
  }
  for (const size_t bucket_bytes : {size_t{1}, size_t{300}, size_t{4} << 20}) {
    std::vector<std::vector<std::string>> begun(kWorkers);
    const Status run = RunRanks(kWorkers, {77, 300}, [&](int rank, Transport* transport) -> Status {
      const auto host = MakeCollective(transport, Channel::kDense, {0, 1, 2, 3}, 60);
      DeferredSums sums(host.get());
      TinyModel tiny(config, On(Kind::kHostCopy, 7, &sums, bucket_bytes));
      EXPECT_TRUE(tiny.model->sums_gradients());
      for (int repetition = 0; repetition < 2; ++repetition) {
        PEPNET_ASSIGN_OR_RETURN(Taken taken, TakeStep(&tiny, slices.slices[rank], slices.global));
        EXPECT_EQ(taken.dense, expected);
        taken.dense = alone[rank].dense;  // all else is the worker's own
        ExpectSame(taken, alone[rank]);
      }
      begun[rank] = sums.begun();
      return absl::OkStatus();
    });
    ASSERT_OK(run);
    const size_t buckets =
        CutIntoBuckets(DenseParameters(DenseParameterList(config)), bucket_bytes).size();
    std::vector<std::string> names;
    for (size_t i = 0; i < 2 * buckets; ++i) {
      names.push_back(absl::StrCat("dense gradients, bucket ", i % buckets + 1, " of ", buckets));
    }
    for (int w = 0; w < kWorkers; ++w) EXPECT_EQ(begun[w], names) << "worker " << w;
  }
}

// One worker alone, for what happens while a step is made.
void WithSums(const std::function<void(DeferredSums*)>& body) {
  const Status run = RunRanks(1, {}, [&](int, Transport* transport) {
    const auto host = MakeCollective(transport, Channel::kDense, {0}, 60);
    DeferredSums sums(host.get());
    body(&sums);
    return absl::OkStatus();
  });
  ASSERT_OK(run);
}

// The first bucket's sum begins while EPNet, whose gradients backward writes last, has none yet.
TEST(DeviceSumsTest, SumsBeginWhileBackwardGoesOn) {
  WithSums([](DeferredSums* sums) {
    TinyModel tiny(TinyConfig(), On(Kind::kHostCopy, 7, sums));
    const size_t arena = tiny.parameters.arena_floats();
    const size_t epnet = static_cast<size_t>(tiny.parameters.specs()[0].elements());
    int overlapped = 0;
    sums->on_begin = [&](const DeferredSums::Sum& sum) -> Status {
      if (!absl::StrContains(sum.what, "bucket 1 of")) return absl::OkStatus();
      const float* const begin = sum.data + sum.elements - arena;
      overlapped += std::all_of(begin, begin + epnet, [](float g) { return g == 0; });
      return absl::OkStatus();
    };
    const Taken taken = TakeLocalStep(&tiny, RandomData(tiny.config, 8, 3));
    EXPECT_EQ(overlapped, 1);
    EXPECT_TRUE(std::any_of(taken.dense.begin(), taken.dense.begin() + static_cast<int64_t>(epnet),
                            [](float g) { return g != 0; }));
  });
}

// A parameter that backward leaves out must not hold its bucket back, and contributes zero.
TEST(DeviceSumsTest, RowsOfOneDomainAloneReachEveryBucket) {
  WithSums([](DeferredSums* sums) {
    TinyModel tiny(DomainConfig(), On(Kind::kHostCopy, 7, sums, 1));
    TinyData data = RandomData(tiny.config, 8, 3);
    for (int64_t& domain : data.batch.labels[1].integers) domain = 1;
    const Taken taken = TakeLocalStep(&tiny, data);
    EXPECT_EQ(sums->begun().size(), tiny.parameters.specs().size());
    for (float g :
         tiny.parameters.gradient(tiny.parameters.Find("model._task_tower.0.linear.weight")))
      EXPECT_EQ(g, 0.0f);
  });
}

TEST(DeviceSumsTest, AnErrorOfASumEndsTheStepAndNoLaterOneBegins) {
  WithSums([](DeferredSums* sums) {
    TinyModel tiny(TinyConfig(), On(Kind::kHostCopy, 7, sums, 1));
    sums->on_begin = [&](const DeferredSums::Sum& sum) -> Status {
      if (absl::StrContains(sum.what, "bucket 3 of")) {
        return absl::UnavailableError("the link is down");
      }
      return absl::OkStatus();
    };
    const TinyData data = RandomData(tiny.config, 8, 3);
    const auto taken = TakeStep(&tiny, data, LocalLossNormalizers(tiny.config, data.batch));
    EXPECT_EQ(taken.status(), absl::UnavailableError("the link is down"));
    EXPECT_EQ(sums->begun().size(), 2u);
  });
}

// ---- a GPU --------------------------------------------------------------------------------------

class GpuModelTest : public DeviceModelTest {};
INSTANTIATE_TEST_SUITE_P(gpu, GpuModelTest, testing::Values(&DropoutConfig, &NormConfig));

// Float32 sums of another order; dropout's masks have the same bits.
TEST_P(GpuModelTest, StepsOnAGpuAreThoseOfTheCpu) {
  if (FindTorchGpus().count == 0) GTEST_SKIP() << FindTorchGpus().reason;
  const JobConfig config = GetParam()();
  TinyModel cpu(config, On(Kind::kHost, 7)), gpu(config, On(Kind::kGpu, 7));
  for (const int64_t rows : {40, 0, 17}) {
    const TinyData data = RandomData(config, rows, 62);
    const Taken a = TakeLocalStep(&cpu, data), b = TakeLocalStep(&gpu, data);
    auto near = [](double x, double y) { EXPECT_NEAR(x, y, 1e-6 + 1e-4 * std::abs(y)); };
    for (size_t i = 0; i < a.losses.values.size(); ++i) {
      near(b.losses.values[i], a.losses.values[i]);
    }
    for (size_t i = 0; i < a.dense.size(); ++i) near(b.dense[i], a.dense[i]);
    for (size_t f = 0; f < a.leaves.size(); ++f) {
      ASSERT_EQ(a.leaves[f].size(), b.leaves[f].size());
      for (size_t i = 0; i < a.leaves[f].size(); ++i) near(b.leaves[f][i], a.leaves[f][i]);
    }
  }
}

}  // namespace
}  // namespace pepnet
