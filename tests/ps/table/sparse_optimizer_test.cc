// Each optimizer against its closed form, written out in double for two steps of one row.
#include "ps/table/sparse_optimizer.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pepnet {
namespace {

constexpr double kLr = 0.05, kEps = 1e-8;
const int kDims[] = {1, 3, 4, 7, 16};

double Gradient(int step, int e) {
  return (e % 2 == 0 ? 0.3 : -0.7) + 0.11 * e - 0.05 * step * (e + 1);
}
double FirstValue(int e) { return 0.5 - 0.2 * e; }

// A row run through two steps (updates 3 and 4, so that adam's t differs from the row's age) in
// float32.
struct Row {
  std::vector<float> value, state;
};
Row RunTwoSteps(const SparseOptimizer& optimizer, int dim) {
  Row row;
  for (int e = 0; e < dim; ++e) row.value.push_back(static_cast<float>(FirstValue(e)));
  row.state.resize(SparseStateDim(optimizer.kind, dim), -1.0f);
  FillInitialState(optimizer, row.state);
  for (int step = 0; step < 2; ++step) {
    std::vector<float> gradient;
    for (int e = 0; e < dim; ++e) gradient.push_back(static_cast<float>(Gradient(step, e)));
    const RowUpdate update{row.value.data(), row.state.data(), gradient.data()};
    UpdateRows(optimizer, kLr, 3 + step, dim, {&update, 1});
  }
  return row;
}

void ExpectNear(const std::vector<float>& actual, const std::vector<double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_NEAR(actual[i], expected[i], 1e-6 + 1e-5 * std::abs(expected[i])) << "element " << i;
  }
}

TEST(SparseOptimizerTest, SgdSubtractsLrTimesGradient) {
  for (int dim : kDims) {
    SparseOptimizer optimizer;
    optimizer.kind = SparseOptimizerKind::kSgd;
    std::vector<double> w;
    for (int e = 0; e < dim; ++e) {
      w.push_back(FirstValue(e) - kLr * (Gradient(0, e) + Gradient(1, e)));
    }
    const Row row = RunTwoSteps(optimizer, dim);
    ExpectNear(row.value, w);
    EXPECT_TRUE(row.state.empty());
  }
}

TEST(SparseOptimizerTest, AdagradAccumulatesPerElementFromItsInitialValue) {
  for (int dim : kDims) {
    for (double initial : {0.0, 0.3}) {
      SparseOptimizer optimizer;
      optimizer.kind = SparseOptimizerKind::kAdagrad;
      optimizer.initial_accumulator_value = initial;
      std::vector<double> w, s;
      for (int e = 0; e < dim; ++e) {
        const double g0 = Gradient(0, e), g1 = Gradient(1, e);
        const double s0 = initial + g0 * g0, s1 = s0 + g1 * g1;
        w.push_back(FirstValue(e) - kLr * g0 / (std::sqrt(s0) + kEps) -
                    kLr * g1 / (std::sqrt(s1) + kEps));
        s.push_back(s1);
      }
      const Row row = RunTwoSteps(optimizer, dim);
      ExpectNear(row.value, w);
      ExpectNear(row.state, s);
    }
  }
}

// Widths with code of their own, and vectors of whatever width the CPU has, give the bits of one
// element after the other.
TEST(SparseOptimizerTest, AdagradHasTheBitsOfScalarArithmetic) {
  for (int dim : {1, 5, 8, 16, 17, 32, 33}) {
    SparseOptimizer optimizer;
    optimizer.kind = SparseOptimizerKind::kAdagrad;
    optimizer.initial_accumulator_value = 0.01;
    const Row row = RunTwoSteps(optimizer, dim);
    for (int e = 0; e < dim; ++e) {
      volatile float w = static_cast<float>(FirstValue(e)),
                     s = 0.01f;  // volatile: every operation rounds, none is fused
      for (int step = 0; step < 2; ++step) {
        volatile float g = static_cast<float>(Gradient(step, e));
        volatile float square = g * g;
        s = s + square;
        volatile float numerator = static_cast<float>(kLr) * g;
        volatile float root = std::sqrt(s);
        volatile float denominator = root + static_cast<float>(kEps);
        volatile float change = numerator / denominator;
        w = w - change;
      }
      ASSERT_EQ(row.value[e], w) << "dim " << dim << ", element " << e;
      ASSERT_EQ(row.state[e], s) << "dim " << dim << ", element " << e;
    }
  }
}

TEST(SparseOptimizerTest, RowwiseAdagradKeepsOneSumPerRowInAllDecayModes) {
  for (int dim : kDims) {
    for (WeightDecayMode mode :
         {WeightDecayMode::kNone, WeightDecayMode::kL2, WeightDecayMode::kDecouple}) {
      const double wd = 0.2, initial = 0.1;
      SparseOptimizer optimizer;
      optimizer.kind = SparseOptimizerKind::kRowwiseAdagrad;
      optimizer.initial_accumulator_value = initial;
      optimizer.weight_decay = wd;
      optimizer.weight_decay_mode = mode;
      std::vector<double> w;
      for (int e = 0; e < dim; ++e) w.push_back(FirstValue(e));
      double s = initial;
      for (int step = 0; step < 2; ++step) {
        double squares = 0;
        for (int e = 0; e < dim; ++e) {
          const double g = Gradient(step, e) + (mode == WeightDecayMode::kL2 ? wd * w[e] : 0);
          squares += g * g;
        }
        s += squares / dim;
        const double m = kLr / (std::sqrt(s) + kEps);
        const double c =
            mode == WeightDecayMode::kNone ? 1 : 1 - (mode == WeightDecayMode::kL2 ? m : kLr) * wd;
        for (int e = 0; e < dim; ++e) w[e] = c * w[e] - m * Gradient(step, e);
      }
      SCOPED_TRACE(testing::Message() << "dim " << dim << " mode " << static_cast<int>(mode));
      const Row row = RunTwoSteps(optimizer, dim);
      ExpectNear(row.value, w);
      ExpectNear(row.state, {s});
    }
  }
}

TEST(SparseOptimizerTest, AdamCorrectsByTheGlobalUpdateNumber) {
  for (int dim : kDims) {
    for (double wd : {0.0, 0.1}) {
      const double b1 = 0.8, b2 = 0.95;
      SparseOptimizer optimizer;
      optimizer.kind = SparseOptimizerKind::kAdam;
      optimizer.beta1 = b1;
      optimizer.beta2 = b2;
      optimizer.weight_decay = wd;
      std::vector<double> w, m(dim, 0), v(dim, 0);
      for (int e = 0; e < dim; ++e) {
        double x = FirstValue(e);
        for (int step = 0; step < 2; ++step) {
          const double g = Gradient(step, e), t = 3 + step;
          m[e] = b1 * m[e] + (1 - b1) * g;
          v[e] = b2 * v[e] + (1 - b2) * g * g;
          x -= kLr *
               (m[e] / (1 - std::pow(b1, t)) / (std::sqrt(v[e] / (1 - std::pow(b2, t))) + kEps) +
                wd * x);
        }
        w.push_back(x);
      }
      const Row row = RunTwoSteps(optimizer, dim);
      ExpectNear(row.value, w);
      m.insert(m.end(), v.begin(), v.end());
      ExpectNear(row.state, m);
    }
  }
}

TEST(SparseOptimizerTest, PartialRowwiseAdamKeepsOneSecondMomentPerRow) {
  for (int dim : kDims) {
    const double b1 = 0.8, b2 = 0.95, wd = 0.1;
    SparseOptimizer optimizer;
    optimizer.kind = SparseOptimizerKind::kPartialRowwiseAdam;
    optimizer.beta1 = b1;
    optimizer.beta2 = b2;
    optimizer.weight_decay = wd;
    std::vector<double> w, m(dim, 0);
    for (int e = 0; e < dim; ++e) w.push_back(FirstValue(e));
    double v = 0;
    for (int step = 0; step < 2; ++step) {
      double squares = 0;
      for (int e = 0; e < dim; ++e) squares += Gradient(step, e) * Gradient(step, e);
      v = b2 * v + (1 - b2) * squares / dim;
      const double t = 3 + step, denominator = std::sqrt(v / (1 - std::pow(b2, t))) + kEps;
      for (int e = 0; e < dim; ++e) {
        m[e] = b1 * m[e] + (1 - b1) * Gradient(step, e);
        w[e] -= kLr * (m[e] / (1 - std::pow(b1, t)) / denominator + wd * w[e]);
      }
    }
    const Row row = RunTwoSteps(optimizer, dim);
    ExpectNear(row.value, w);
    m.push_back(v);
    ExpectNear(row.state, m);
  }
}

double Length(const std::vector<double>& row) {
  double squares = 0;
  for (const double x : row) squares += x * x;
  return std::sqrt(squares);
}

TEST(SparseOptimizerTest, LambsStepIsAsLongAsTheRateSaysOfTheRow) {
  for (int dim : kDims) {
    for (const SparseOptimizerKind kind :
         {SparseOptimizerKind::kLamb, SparseOptimizerKind::kPartialRowwiseLamb}) {
      for (double wd : {0.0, 0.1}) {
        const double b1 = 0.8, b2 = 0.95;
        const bool rowwise = kind == SparseOptimizerKind::kPartialRowwiseLamb;
        SparseOptimizer optimizer;
        optimizer.kind = kind;
        optimizer.beta1 = b1;
        optimizer.beta2 = b2;
        optimizer.weight_decay = wd;
        std::vector<double> w, m(dim, 0), v(rowwise ? 1 : dim, 0), r(dim);
        for (int e = 0; e < dim; ++e) w.push_back(FirstValue(e));
        for (int step = 0; step < 2; ++step) {
          std::vector<double> g;
          for (int e = 0; e < dim; ++e) g.push_back(Gradient(step, e));
          const double mean = Length(g) * Length(g) / dim, t = 3 + step;
          for (size_t i = 0; i < v.size(); ++i) {
            v[i] = b2 * v[i] + (1 - b2) * (rowwise ? mean : g[i] * g[i]);
          }
          for (int e = 0; e < dim; ++e) {
            m[e] = b1 * m[e] + (1 - b1) * g[e];
            const double second = v[rowwise ? 0 : e] / (1 - std::pow(b2, t));
            r[e] = m[e] / (1 - std::pow(b1, t)) / (std::sqrt(second) + kEps) + wd * w[e];
          }
          const double before = Length(w);
          std::vector<double> moved = w;
          for (int e = 0; e < dim; ++e) w[e] -= kLr * before / Length(r) * r[e];
          for (int e = 0; e < dim; ++e) moved[e] -= w[e];
          ASSERT_NEAR(Length(moved), kLr * before, 1e-12);
        }
        SCOPED_TRACE(testing::Message() << TypeOf(kind).name << " dim " << dim << " decay " << wd);
        const Row row = RunTwoSteps(optimizer, dim);
        ExpectNear(row.value, w);
        m.insert(m.end(), v.begin(), v.end());
        ExpectNear(row.state, m);
      }
    }
  }
}

TEST(SparseOptimizerTest, LarsTakesAThousandthOfTheRateForARowAndItsGradient) {
  for (int dim : kDims) {
    for (double wd : {0.0, 0.3}) {
      const double momentum = 0.7;
      SparseOptimizer optimizer;
      optimizer.kind = SparseOptimizerKind::kLarsSgd;
      optimizer.momentum = momentum;
      optimizer.weight_decay = wd;
      std::vector<double> w, m(dim, 0);
      for (int e = 0; e < dim; ++e) w.push_back(FirstValue(e));
      for (int step = 0; step < 2; ++step) {
        std::vector<double> g;
        for (int e = 0; e < dim; ++e) g.push_back(Gradient(step, e));
        const double rate = kLr * 0.001 * Length(w) / (Length(g) + wd * Length(w));
        for (int e = 0; e < dim; ++e) {
          m[e] = momentum * m[e] + rate * (g[e] + wd * w[e]);
          w[e] -= m[e];
        }
      }
      SCOPED_TRACE(testing::Message() << "dim " << dim << " decay " << wd);
      const Row row = RunTwoSteps(optimizer, dim);
      ExpectNear(row.value, w);
      ASSERT_EQ(row.state.size(), m.size());  // small numbers, so relative
      for (int e = 0; e < dim; ++e) EXPECT_NEAR(row.state[e], m[e], 1e-5 * std::abs(m[e]));
    }
  }
}

// 0 / 0 in the formulas, which must not become NaN.
TEST(SparseOptimizerTest, RowsOfZerosAndGradientsOfZerosStayFiniteUnderLarsAndLamb) {
  for (const SparseOptimizerKind kind :
       {SparseOptimizerKind::kLamb, SparseOptimizerKind::kPartialRowwiseLamb,
        SparseOptimizerKind::kLarsSgd}) {
    SparseOptimizer optimizer;
    optimizer.kind = kind;
    for (const std::vector<float>& first : {std::vector<float>{0, 0}, {0.5f, -1}}) {
      for (const std::vector<float>& gradient : {std::vector<float>{0, 0}, {1, 2}}) {
        std::vector<float> value = first, state(SparseStateDim(kind, 2));
        FillInitialState(optimizer, state);
        const RowUpdate row{value.data(), state.data(), gradient.data()};
        UpdateRows(optimizer, kLr, 1, 2, {&row, 1});
        const bool moves = first[0] != 0 && gradient[0] != 0;
        EXPECT_EQ(value != first, moves)
            << TypeOf(kind).name << " " << first[0] << " " << gradient[0];
        for (const float x : value) EXPECT_TRUE(std::isfinite(x)) << TypeOf(kind).name;
        for (const float x : state) EXPECT_TRUE(std::isfinite(x)) << TypeOf(kind).name;
      }
    }
  }
}

TEST(SparseOptimizerTest, AdadeltaAndRmspropAreTorchsFormulas) {
  for (int dim : kDims) {
    for (double wd : {0.0, 0.2}) {
      const double rho = 0.8, alpha = 0.7, eps = 1e-3;
      SparseOptimizer optimizer;
      optimizer.weight_decay = wd;
      optimizer.rho = rho;
      optimizer.alpha = alpha;
      optimizer.eps = eps;
      std::vector<double> delta_w, v(dim, 0), u(dim, 0), rms_w, s(dim, 0);
      for (int e = 0; e < dim; ++e) {
        delta_w.push_back(FirstValue(e));
        rms_w.push_back(FirstValue(e));
        for (int step = 0; step < 2; ++step) {
          const double g = Gradient(step, e) + wd * delta_w[e],
                       h = Gradient(step, e) + wd * rms_w[e];
          v[e] = rho * v[e] + (1 - rho) * g * g;
          const double d = std::sqrt(u[e] + eps) / std::sqrt(v[e] + eps) * g;
          u[e] = rho * u[e] + (1 - rho) * d * d;
          delta_w[e] -= kLr * d;
          s[e] = alpha * s[e] + (1 - alpha) * h * h;
          rms_w[e] -= kLr * h / (std::sqrt(s[e]) + eps);
        }
      }
      SCOPED_TRACE(testing::Message() << "dim " << dim << " decay " << wd);
      optimizer.kind = SparseOptimizerKind::kAdadelta;
      const Row adadelta = RunTwoSteps(optimizer, dim);
      ExpectNear(adadelta.value, delta_w);
      v.insert(v.end(), u.begin(), u.end());
      ExpectNear(adadelta.state, v);
      optimizer.kind = SparseOptimizerKind::kRmsprop;
      const Row rmsprop = RunTwoSteps(optimizer, dim);
      ExpectNear(rmsprop.value, rms_w);
      ExpectNear(rmsprop.state, s);
    }
  }
}

TEST(SparseOptimizerTest, FtrlShrinksElementsAndRows) {
  for (int dim : kDims) {
    for (const auto& [beta, l1, l2, l21] :
         {std::tuple(1.0, 0.0, 0.0, 0.0), {0.5, 2.0, 0.7, 0.0}, {0.5, 0.5, 0.1, 0.4}}) {
      SparseOptimizer optimizer;
      optimizer.kind = SparseOptimizerKind::kFtrl;
      optimizer.beta = beta;
      optimizer.l1 = l1;
      optimizer.l2 = l2;
      optimizer.l21 = l21;
      std::vector<double> w, s(dim, 0), z;
      for (int e = 0; e < dim; ++e) {
        w.push_back(FirstValue(e));
        z.push_back(-w[e] * (beta / kLr + l2));
      }
      for (int step = 0; step < 2; ++step) {
        double squares = 0;
        std::vector<double> u(dim, 0);
        for (int e = 0; e < dim; ++e) {
          const double g = Gradient(step, e), next = s[e] + g * g;
          z[e] += g - (std::sqrt(next) - std::sqrt(s[e])) / kLr * w[e];
          s[e] = next;
          if (std::abs(z[e]) > l1) u[e] = z[e] - (z[e] > 0 ? l1 : -l1);
          squares += u[e] * u[e];
        }
        const double kept =
            squares > 0 ? std::max(0.0, 1 - l21 * std::sqrt(dim) / std::sqrt(squares)) : 0;
        for (int e = 0; e < dim; ++e) w[e] = -kept * u[e] / ((beta + std::sqrt(s[e])) / kLr + l2);
      }
      const Row row = RunTwoSteps(optimizer, dim);
      ExpectNear(row.value, w);
      s.insert(s.end(), z.begin(), z.end());
      ExpectNear(row.state, s);
    }
  }
}

TEST(SparseOptimizerTest, FtrlWithoutRegularisationIsAdagradWithBeta) {
  SparseOptimizer optimizer;
  optimizer.kind = SparseOptimizerKind::kFtrl;
  optimizer.beta = 0.3;
  const Row row = RunTwoSteps(optimizer, 7);
  std::vector<double> w;
  for (int e = 0; e < 7; ++e) {
    double value = FirstValue(e), s = 0;
    for (int step = 0; step < 2; ++step) {
      const double g = Gradient(step, e);
      s += g * g;
      value -= kLr * g / (0.3 + std::sqrt(s));
    }
    w.push_back(value);
  }
  ExpectNear(row.value, w);
}

TEST(SparseOptimizerTest, FtrlSetsElementsAndWholeRowsToZero) {
  SparseOptimizer optimizer;
  optimizer.kind = SparseOptimizerKind::kFtrl;
  optimizer.l1 = 1000;
  EXPECT_THAT(RunTwoSteps(optimizer, 5).value, testing::Each(0.0f));
  optimizer.l1 = 0;
  optimizer.l21 = 1000;
  EXPECT_THAT(RunTwoSteps(optimizer, 5).value, testing::Each(0.0f));
  // A rate of 0, as a schedule may end in, changes nothing.
  std::vector<float> value = {0.5f}, state = {0.0f, 0.0f}, gradient = {1.0f};
  const RowUpdate update{value.data(), state.data(), gradient.data()};
  UpdateRows(optimizer, 0, 1, 1, {&update, 1});
  EXPECT_EQ(value[0], 0.5f);
}

TEST(SparseOptimizerTest, AdagradDecayForgetsByStepsAndNotBelowItsFirstValue) {
  SparseOptimizer optimizer;
  optimizer.kind = SparseOptimizerKind::kAdagradDecay;
  optimizer.initial_accumulator_value = 0.2;
  optimizer.decay_steps = 10;
  optimizer.decay_rate = 0.5;
  std::vector<float> value = {0.5f}, state(2, -1.0f);
  FillInitialState(optimizer, state);
  double w = 0.5, s = 0.2;
  int decays = 0;
  for (const auto& [update, gradient] :
       {std::pair<int64_t, double>(3, 2.0), {9, -1.0}, {10, 0.5}, {35, 1.0}, {4000, 0.3}}) {
    for (; decays < update / 10; ++decays) s = std::max(s * 0.5, 0.2);
    s += gradient * gradient;
    w -= kLr * gradient / (std::sqrt(s) + kEps);
    const std::vector<float> g = {static_cast<float>(gradient)};
    const RowUpdate row{value.data(), state.data(), g.data()};
    UpdateRows(optimizer, kLr, update, 1, {&row, 1});
    EXPECT_NEAR(value[0], w, 1e-6) << update;
    EXPECT_NEAR(state[0], s, 1e-5) << update;
    EXPECT_EQ(state[1], static_cast<float>(update / 10));
  }
}

TEST(SparseOptimizerTest, ZeroGradientMovesARowOnlyUnderMomentum) {
  for (SparseOptimizerKind kind : AllKinds<SparseOptimizerKind>()) {
    SparseOptimizer optimizer;
    optimizer.kind = kind;
    std::vector<float> value = {0.5f, -0.25f}, state(SparseStateDim(kind, 2));
    FillInitialState(optimizer, state);
    const std::vector<float> gradient = {1.0f, 1.0f}, zero = {0.0f, 0.0f};
    const RowUpdate first{value.data(), state.data(), gradient.data()},
        second{value.data(), state.data(), zero.data()};
    UpdateRows(optimizer, kLr, 1, 2, {&first, 1});
    const std::vector<float> after_first = value;
    UpdateRows(optimizer, kLr, 2, 2, {&second, 1});
    const bool momentum = TypeOf(kind).corrects_by_steps || kind == SparseOptimizerKind::kLarsSgd;
    EXPECT_EQ(value != after_first, momentum) << TypeOf(kind).name;
  }
}

TEST(SparseOptimizerTest, FirstAdagradStepWithZeroGradientAndStateIsFinite) {
  SparseOptimizer optimizer;
  optimizer.kind = SparseOptimizerKind::kAdagrad;
  std::vector<float> value = {0.5f}, state = {0.0f}, zero = {0.0f};
  const RowUpdate update{value.data(), state.data(), zero.data()};
  UpdateRows(optimizer, kLr, 1, 1, {&update, 1});
  EXPECT_EQ(value[0], 0.5f);
}

class SparseOptimizerKinds : public testing::TestWithParam<SparseOptimizerKind> {};

TEST_P(SparseOptimizerKinds, ARowDoesNotDependOnItsNeighboursOrItsAlignment) {
  constexpr int kDim = 7;
  SparseOptimizer optimizer;
  optimizer.kind = GetParam();
  optimizer.weight_decay = 0.01;
  const int state_dim = SparseStateDim(optimizer.kind, kDim);
  const Row alone = RunTwoSteps(optimizer, kDim);
  std::vector<float> memory(20 * (2 * kDim + state_dim) + 1, 0.0f);
  std::vector<RowUpdate> rows;
  for (int r = 0; r < 20; ++r) {
    float* row = memory.data() + 1 + r * (2 * kDim + state_dim);
    for (int e = 0; e < kDim; ++e) row[e] = static_cast<float>(FirstValue(e));
    rows.push_back({row, row + kDim, row + kDim + state_dim});
    FillInitialState(optimizer, {row + kDim, static_cast<size_t>(state_dim)});
  }
  for (int step = 0; step < 2; ++step) {
    for (const RowUpdate& row : rows) {
      for (int e = 0; e < kDim; ++e) {
        const_cast<float*>(row.gradient)[e] = static_cast<float>(Gradient(step, e));
      }
    }
    UpdateRows(optimizer, kLr, 3 + step, kDim, rows);
  }
  for (const RowUpdate& row : rows) {
    EXPECT_EQ(std::vector<float>(row.value, row.value + kDim), alone.value);
    EXPECT_EQ(std::vector<float>(row.state, row.state + state_dim), alone.state);
  }
}

INSTANTIATE_TEST_SUITE_P(All, SparseOptimizerKinds,
                         testing::ValuesIn(AllKinds<SparseOptimizerKind>()),
                         [](const auto& info) { return std::string(TypeOf(info.param).name); });

}  // namespace
}  // namespace pepnet
