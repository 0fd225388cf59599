// bench dense: TrainStep of the dense engines on random features, the engines in turn, so that what
// else the machine does meets all of them.
#include <cmath>
#include <map>
#include <memory>

#include "absl/strings/str_format.h"
#include "cli/bench/arithmetic.h"
#include "cli/bench/bench.h"
#include "cli/bench/limits.h"
#include "cli/job/compute.h"
#include "cli/job/job.h"
#include "cli/job/load_config.h"
#include "common/base/logging.h"
#include "common/base/random.h"
#include "worker/model/engine/make_model.h"
#include "worker/model/fused/fused_model.h"
#include "worker/model/loss_weight.h"
#include "worker/model/pepnet_model.h"
#include "worker/model/torch/device/gpu.h"

namespace pepnet {
namespace {

// Number i of a stream in [0, 1): the same in every run and on every machine.
float Uniform(uint64_t stream, uint64_t i) {
  return UnitFloat(Philox4x32(RandomKey(1, RandomPurpose::kTest, stream), 0, i)[0]);
}

constexpr int64_t kSequenceLength = 50;

// Labels, weights and the lengths of sequences; ids are not needed, since the engines read the
// leaves' values.
Batch RandomBatch(const JobConfig& config, int64_t rows, double click_rate) {
  Batch batch;
  batch.rows = batch.global_rows = rows;
  batch.origin = "random rows";
  for (size_t label = 0; label < config.data.labels.size(); ++label) {
    LabelColumn& column = batch.labels.emplace_back();
    const bool domain = static_cast<int>(label) == config.model.domain_label;
    for (int64_t row = 0; row < rows; ++row) {
      const float u = Uniform(label, row);
      column.integers.push_back(domain ? static_cast<int64_t>(u * config.model.domain_count)
                                       : u < click_rate);
      column.values.push_back(static_cast<float>(column.integers.back()));
    }
  }
  for (const Feature& feature : config.features) {
    std::vector<int32_t>& elements = batch.elements.emplace_back();
    for (int64_t row = 0; feature.sequence.has_value() && row <= rows; ++row) {
      elements.push_back(static_cast<int32_t>(row * kSequenceLength));
    }
  }
  for (size_t w = 0; w < config.data.sample_weights.size(); ++w) {
    batch.sample_weights.emplace_back(rows, 1.0f);
  }
  return batch;
}

// The unit that runs an engine's matrix products: each has a peak of its own.
enum class Unit { kCpu, kGpu, kGpuBf16 };

// An engine under measurement, with parameters of its own: all start from the same values, and none
// sees the updates of another. `multiplications`: that it needs for a step.
struct Engine {
  std::string name;
  double multiplications;
  Unit unit;
  bool bf16 = false;
  std::unique_ptr<DenseParameters> parameters;
  std::unique_ptr<PepnetModel> model;
  std::vector<double> seconds;         // by round
  double loss = 0, gradient_norm = 0;  // of the last step
};

Status Step(Engine* engine, const ModelInput& input, std::vector<AlignedBuffer<float>>* gradients,
            bool counts) {
  engine->parameters->ZeroGradients();
  // Zeroing the gradients is the trainer's work and does not count.
  const double start = SecondsNow();
  PEPNET_ASSIGN_OR_RETURN(const LossReport losses, engine->model->TrainStep(input, 1.0, gradients));
  if (counts) engine->seconds.push_back(SecondsNow() - start);
  engine->loss = 0;
  for (double value : losses.values) engine->loss += value;
  double square = 0;
  // The norm is outside of the time, like all that checks.
  for (float g : engine->parameters->gradients()) square += static_cast<double>(g) * g;
  engine->gradient_norm = std::sqrt(square);
  return absl::OkStatus();
}

// All engines on one batch size; appends a row for each.
Status MeasureBatch(const JobConfig& config, const BenchFlags& flags, const ComputeChoice& choice,
                    int64_t rows, BenchReport* report) {
  const int threads = flags.job.threads;
  const Batch batch = RandomBatch(config, rows, flags.click_rate);
  const auto scales = RowScales(config, batch, LocalLossNormalizers(config, batch));
  // Leaf values are small, as those of embeddings are, so that no activation saturates.
  std::vector<AlignedBuffer<float>> leaves(config.leaves.size());
  ModelInput input;
  input.batch = &batch;
  input.row_scales = &scales;
  for (size_t l = 0; l < leaves.size(); ++l) {
    leaves[l].Resize(
        static_cast<size_t>(VectorsOf(config.leaves[l], batch) * config.leaves[l].dim));
    for (size_t i = 0; i < leaves[l].size(); ++i) leaves[l][i] = 0.2f * Uniform(100 + l, i) - 0.1f;
    input.leaves.push_back(leaves[l].data());
  }

  // The reference engine computes every row in every domain's tower; the fused engine with routing
  // computes the rows that count for a task, each in its own domain.
  const std::vector<double> all_rows(scales.size(), static_cast<double>(rows));
  const double everything = StepMultiplications(config, rows, all_rows, config.model.domain_count);
  const double needed = StepMultiplications(config, rows, CountingRows(scales), 1);
  FusedOptions routed;
  if (flags.block_rows > 0) routed.block_rows = flags.block_rows;
  FusedOptions unrouted = routed;
  unrouted.routing = false;
  std::vector<Engine> engines;
  auto add = [&](const std::string& name, double multiplications, Unit unit, bool bf16) -> Engine& {
    Engine& engine = engines.emplace_back();
    engine.name = name;
    engine.multiplications = multiplications;
    engine.unit = unit;
    engine.bf16 = bf16;
    engine.parameters = std::make_unique<DenseParameters>(DenseParameterList(config));
    engine.parameters->Initialize(1);
    return engine;
  };
  auto add_reference = [&](const std::string& name, Unit unit, bool bf16) -> Status {
    Engine& engine = add(name, everything, unit, bf16);
    ModelOptions options{
        .engine = DenseEngine::kReference, .seed = 1, .threads = threads, .bf16 = bf16};
    if (unit != Unit::kCpu) options.device = {ComputeDevice::Kind::kGpu, choice.gpus[0]};
    PEPNET_ASSIGN_OR_RETURN(engine.model, MakeModel(&config, engine.parameters.get(), options));
    return absl::OkStatus();
  };
  // The first engine is the one that the others are compared with, in time and in results.
  PEPNET_RETURN_IF_ERROR(add_reference("reference", Unit::kCpu, false));
  Engine& full = add("fused, no routing", everything, Unit::kCpu, false);
  full.model = MakeFusedModel(&config, full.parameters.get(), 1, threads, unrouted);
  Engine& fused = add("fused", needed, Unit::kCpu, false);
  fused.model = MakeFusedModel(&config, fused.parameters.get(), 1, threads, routed);
  const bool gpu = !choice.gpus.empty();
  if (choice.bf16 && !gpu) {
    PEPNET_RETURN_IF_ERROR(add_reference("reference, BF16", Unit::kCpu, true));
  }
  if (gpu) PEPNET_RETURN_IF_ERROR(add_reference("reference on the GPU", Unit::kGpu, false));
  if (choice.bf16 && gpu) {
    PEPNET_RETURN_IF_ERROR(add_reference("reference on the GPU, BF16", Unit::kGpuBf16, true));
  }

  std::vector<AlignedBuffer<float>> gradients;
  // By round, so that a machine that slows down slows down its limit too.
  std::map<Unit, std::vector<double>> peaks;
  for (int round = 0; round <= flags.rounds; ++round) {  // the first one warms up
    for (Engine& engine : engines) {
      PEPNET_RETURN_IF_ERROR(Step(&engine, input, &gradients, round > 0));
    }
    if (round == 0) continue;
    peaks[Unit::kCpu].push_back(MatrixPeak(threads, flags.quick ? 128 : 3072, /*tries=*/1));
    if (!gpu) continue;
    const ComputeDevice device{ComputeDevice::Kind::kGpu, choice.gpus[0]};
    const int64_t n = flags.quick ? 128 : 8192;
    peaks[Unit::kGpu].push_back(DeviceMatrixPeak(device, n, /*bf16=*/false));
    if (choice.bf16) peaks[Unit::kGpuBf16].push_back(DeviceMatrixPeak(device, n, /*bf16=*/true));
  }
  const Engine& base = engines.front();
  for (const Engine& engine : engines) {
    std::vector<double> ratios, milliseconds, shares;
    for (size_t i = 0; i < engine.seconds.size(); ++i) {
      ratios.push_back(base.seconds[i] / engine.seconds[i]);
      milliseconds.push_back(1e3 * engine.seconds[i]);
      // A multiplication and an addition are 2 floating point operations.
      shares.push_back(100 * 2e-9 * engine.multiplications / engine.seconds[i] /
                       peaks[engine.unit][i]);
    }
    report->rows.push_back({static_cast<double>(rows), engine.name,
                            RatesOf(static_cast<double>(rows), engine.seconds),
                            SpreadOf(milliseconds), SpreadOf(ratios), SpreadOf(shares), engine.loss,
                            engine.gradient_norm});
    // BF16 has 8 bits of mantissa. Sums of float32 in another order differ in the last bits, which
    // the norm of many gradients adds up, hence its wider bound.
    const double loss_tolerance = engine.bf16 ? 2e-2 : 1e-5,
                 norm_tolerance = engine.bf16 ? 5e-2 : 1e-4;
    if (std::abs(engine.loss - base.loss) > loss_tolerance * std::abs(base.loss) ||
        std::abs(engine.gradient_norm - base.gradient_norm) > norm_tolerance * base.gradient_norm) {
      return absl::InternalError(absl::StrFormat(
          "the engines disagree on %d rows: %s has loss %.9g and gradient norm %.9g, the reference "
          "%.9g and %.9g",
          rows, engine.name, engine.loss, engine.gradient_norm, base.loss, base.gradient_norm));
    }
  }
  for (const auto& [unit, by_round] : peaks) {
    const char* const name = unit == Unit::kCpu   ? "matrix peak"
                             : unit == Unit::kGpu ? "the GPU's matrix peak"
                                                  : "the GPU's matrix peak in BF16";
    report->limits.push_back(
        {absl::StrCat(name, " beside batches of ", rows), "GFLOP/s", SpreadOf(by_round).median});
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<BenchReport> DenseBench(const BenchFlags& flags) {
  PEPNET_ASSIGN_OR_RETURN(const JobConfig config, LoadConfig(flags.config));
  const ComputeRequest request{flags.job.device, config.train.mixed_precision == "BF16",
                               /*trains=*/true};
  PEPNET_ASSIGN_OR_RETURN(const ComputeChoice choice,
                          ChooseCompute(request, {InfoOfThisWorker(request.device != "cpu")}));
  for (const std::string& line : choice.lines) LOG(INFO) << line;
  for (const std::string& warning : choice.warnings) LOG(WARNING) << warning;
  if (flags.job.deterministic && !choice.gpus.empty()) ComputeDeterministicallyOnGpus();
  BenchReport report;
  report.name = flags.what;
  report.settings = {{"config", flags.config.pipeline_config_path},
                     {"threads", absl::StrCat(flags.job.threads)},
                     {"rounds", absl::StrCat(flags.rounds)},
                     {"click rate", absl::StrCat(flags.click_rate)}};
  report.columns = {
      {"batch", "rows"},          {"engine", ""},   {"speed", "samples/s"}, {"step", "ms"},
      {"ratio to reference", ""}, {"of peak", "%"}, {"loss", ""},           {"gradient norm", ""}};
  std::vector<int64_t> sizes = flags.batch_sizes;
  if (sizes.empty()) sizes = {config.data.batch_size};
  for (int64_t rows : sizes) {
    PEPNET_RETURN_IF_ERROR(MeasureBatch(config, flags, choice, rows, &report));
  }
  report.checked = {
      "the engines give the same losses (1e-5) and gradient norms (1e-4), those with BF16 within "
      "2e-2 and 5e-2",
      "'of peak' counts only the matrix products that the engine needs, against a large product of "
      "the same round (BF16 on the CPU: in float32)"};
  return report;
}

}  // namespace pepnet
