// Speed of the dense engines: samples per second of TrainStep on random features, the engines in turn, so that what else
// the machine does meets all of them. Not a test: build the target dense_bench by name.
//
//   dense_bench CONFIG [threads 2] [batch rows 8192] [rounds 7] [click rate 0.06] [block rows 512]
//
// "gemm share": matrix multiplications that the variant really needs, as a share of one large product's rate on the same
// threads in the same run.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/rand.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "common/base/random.h"
#include "common/config/load.h"
#include "worker/model/fused_model.h"
#include "worker/model/loss_weight.h"
#include "worker/model/pepnet_model.h"

namespace pepnet {
namespace {

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

float Uniform(uint64_t stream, uint64_t i) {
  return UnitFloat(Philox4x32(RandomKey(1, RandomPurpose::kTest, stream), 0, i)[0]);
}

Batch RandomBatch(const JobConfig& config, int64_t rows, double click_rate) {
  Batch batch;
  batch.rows = batch.global_rows = rows;
  batch.origin = "random rows";
  for (size_t label = 0; label < config.data.labels.size(); ++label) {
    LabelColumn& column = batch.labels.emplace_back();
    for (int64_t row = 0; row < rows; ++row) {
      const float u = Uniform(label, row);
      const bool domain = static_cast<int>(label) == config.model.domain_label;
      column.integers.push_back(domain ? static_cast<int64_t>(u * config.model.domain_count) : u < click_rate);
      column.values.push_back(static_cast<float>(column.integers.back()));
    }
  }
  for (size_t w = 0; w < config.data.sample_weights.size(); ++w) batch.sample_weights.emplace_back(rows, 1.0f);
  return batch;
}

// Multiplications per step: forward, weight gradients, and input gradients but for detached columns.
double StepMultiplications(const JobConfig& config, double rows, const std::vector<double>& task_rows,
                           double towers_per_row) {
  const Model& model = config.model;
  const double main = model.main.width;
  double total = 0;
  // A gate of `out` outputs on [own ; sg(x)].
  auto gate = [](double own, double in, double hidden, double out) {
    return 2 * in * hidden + own * hidden + 3 * hidden * out;
  };
  if (model.domain) total += rows * gate(model.domain->width, model.domain->width + main, model.epnet_hidden_unit, main);
  for (size_t task = 0; task < model.towers.size(); ++task) {
    double in = main, row = 0;
    if (model.uia) {
      for (int width : model.ppnet_hidden_units) {
        row += 3 * in * width + gate(model.uia->width, model.uia->width + main, width, width);
        in = width;
      }
    }
    double tower = 0;
    if (model.towers[task].mlp) {
      for (int width : model.towers[task].mlp->hidden_units) {
        tower += 3 * in * width;
        in = width;
      }
    }
    total += task_rows[task] * (row + towers_per_row * (tower + 3 * in * model.towers[task].num_class));
  }
  return total;
}

struct Variant {
  std::string name;
  double multiplications;
  std::unique_ptr<DenseParameters> parameters;
  std::unique_ptr<PepnetModel> model;
  std::vector<double> seconds;
  double loss = 0, gradient = 0;
};

double PeakGflops() {
  const int64_t n = 3072;
  const at::Tensor a = at::rand({n, n}), b = at::rand({n, n});
  at::Tensor c = at::empty({n, n});
  std::vector<double> seconds;
  for (int i = 0; i < 3; ++i) {
    const double start = Now();
    at::mm_out(c, a, b);
    seconds.push_back(Now() - start);
  }
  return 2e-9 * n * n * n / *std::min_element(seconds.begin(), seconds.end());
}

int Main(int argc, char** argv) {
  auto number = [&](int i, double unset) { return argc > i ? std::atof(argv[i]) : unset; };
  if (argc < 2) return std::fprintf(stderr, "usage: dense_bench CONFIG [threads rows rounds click_rate block_rows]\n"), 1;
  const auto loaded = LoadJobConfig(argv[1], ConfigOverrides());
  if (!loaded.ok()) return std::fprintf(stderr, "%s\n", loaded.status().ToString().c_str()), 1;
  const JobConfig& config = *loaded;
  const int threads = static_cast<int>(number(2, 2));
  const int64_t rows = static_cast<int64_t>(number(3, 8192));
  const int rounds = static_cast<int>(number(4, 7));
  FusedOptions routed, unrouted;
  routed.block_rows = unrouted.block_rows = static_cast<int64_t>(number(6, static_cast<double>(routed.block_rows)));
  unrouted.routing = false;

  const Batch batch = RandomBatch(config, rows, number(5, 0.06));
  const auto scales = RowScales(config, batch, LocalDenominators(config, batch));
  std::vector<double> all_rows, task_rows;
  for (const std::vector<float>& scale : scales) {
    all_rows.push_back(static_cast<double>(rows));
    task_rows.push_back(static_cast<double>(std::count_if(scale.begin(), scale.end(), [](float s) { return s != 0; })));
  }
  std::vector<AlignedBuffer<float>> features(config.features.size());
  ModelInput input;
  input.batch = &batch;
  input.row_scales = &scales;
  for (size_t f = 0; f < features.size(); ++f) {
    features[f].Resize(static_cast<size_t>(rows * config.features[f].dim));
    for (size_t i = 0; i < features[f].size(); ++i) features[f][i] = 0.2f * Uniform(100 + f, i) - 0.1f;
    input.features.push_back(features[f].data());
  }

  const double everything = StepMultiplications(config, rows, all_rows, config.model.domain_count);
  const double needed = StepMultiplications(config, rows, task_rows, 1);
  std::vector<Variant> variants;
  auto add = [&](const std::string& name, double multiplications) {
    Variant& v = variants.emplace_back();
    v.name = name;
    v.multiplications = multiplications;
    v.parameters = std::make_unique<DenseParameters>(DenseParameterList(config));
    v.parameters->Initialize(1);
    return &v;
  };
  Variant* v = add("reference", everything);
  v->model = PepnetModel::Create(&config, v->parameters.get(), 1, threads, DenseEngine::kReference).value();
  v = add("fused, no routing", everything);
  v->model = MakeFusedModel(&config, v->parameters.get(), 1, threads, unrouted);
  v = add("fused", needed);
  v->model = MakeFusedModel(&config, v->parameters.get(), 1, threads, routed);

  std::vector<AlignedBuffer<float>> gradients;
  std::vector<double> peaks;
  for (int round = 0; round <= rounds; ++round) {  // round 0 warms up
    for (Variant& variant : variants) {
      variant.parameters->ZeroGradients();
      const double start = Now();
      const auto report = variant.model->TrainStep(input, 1.0, &gradients);
      const double seconds = Now() - start;
      if (!report.ok()) return std::fprintf(stderr, "%s\n", report.status().ToString().c_str()), 1;
      if (round > 0) variant.seconds.push_back(seconds);
      variant.loss = 0;
      for (double value : report->values) variant.loss += value;
      double square = 0;
      for (float g : variant.parameters->gradients()) square += static_cast<double>(g) * g;
      variant.gradient = std::sqrt(square);
    }
    peaks.push_back(PeakGflops());
  }
  const double peak = *std::max_element(peaks.begin(), peaks.end());
  std::printf("rows %lld, threads %d, rounds %d, peak %.0f GFLOP/s; median [fastest..slowest]\n",
              static_cast<long long>(rows), threads, rounds, peak);
  std::printf("%-20s %12s %22s %8s %12s %12s %14s\n", "engine", "samples/s", "ms", "ratio", "gemm share", "loss",
              "gradient norm");
  bool agree = true;
  for (const Variant& variant : variants) {
    const Variant& base = variants[0];
    std::vector<double> ratios;
    for (size_t i = 0; i < variant.seconds.size(); ++i) ratios.push_back(base.seconds[i] / variant.seconds[i]);
    const double median = Median(variant.seconds);
    const auto [fastest, slowest] = std::minmax_element(variant.seconds.begin(), variant.seconds.end());
    std::printf("%-20s %12.0f %8.1f [%.0f..%.0f] %8.2f %12.2f %12.7f %14.8f\n", variant.name.c_str(), rows / median,
                1e3 * median, 1e3 * *fastest, 1e3 * *slowest, Median(ratios),
                2e-9 * variant.multiplications / median / peak, variant.loss, variant.gradient);
    agree &= std::abs(variant.loss - base.loss) <= 1e-5 * std::abs(base.loss) &&
             std::abs(variant.gradient - base.gradient) <= 1e-4 * base.gradient;
  }
  if (!agree) std::fprintf(stderr, "the engines disagree\n");
  return agree ? 0 : 1;
}

}  // namespace
}  // namespace pepnet

int main(int argc, char** argv) { return pepnet::Main(argc, argv); }
