// bench train: whole training steps of a config as `pepnet train` makes them, without checkpoints
// and evaluation.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/cleanup/cleanup.h"
#include "cli/bench/arithmetic.h"
#include "cli/bench/bench.h"
#include "cli/bench/limits.h"
#include "cli/job/job.h"
#include "cli/job/load_config.h"
#include "common/base/logging.h"
#include "common/file/file.h"
#include "worker/checkpoint/checkpointing.h"
#include "worker/data/load/batch_loader.h"
#include "worker/model/loss_weight.h"
#include "worker/train/trainer.h"

namespace pepnet {
namespace {

// The figures of one run of some batch size, on worker 0.
struct Run {
  int64_t batch_size = 0;
  std::vector<double> seconds;  // of each measured step
  double cpu_seconds = 0;       // of the measured steps, all threads of this process
  double first_step = 0;        // from the start of the worker to the end of its first step
  StageTimes before, after;     // of the measured steps
  double rows = 0;              // of all measured steps, all workers
  double multiplications = 0;   // that they need, all workers
  int slowest_worker = 0;       // the one whose own work took longest
  double slowest_behind = 1;    // its own work as a multiple of the workers' mean
};

// The matrix products that steps [warmup, warmup + steps) need with routing, from the rows
// themselves.
Status CountMultiplications(const JobConfig& config, const WorkerContext& context,
                            const BenchFlags& flags, Run* run) {
  LoaderOptions options;
  options.input_path = config.train_input_path;
  // One reader of global batches sees the rows of all workers (law L2), behind the measurement.
  options.batch_size = config.data.batch_size * context.collective->count();
  options.seed = context.options.seed;
  options.shuffle = config.data.shuffle;
  options.shuffle_buffer_size = config.data.shuffle_buffer_size;
  options.drop_remainder = config.data.drop_remainder;
  // Any number of epochs: the steps decide.
  options.max_epochs = 0;
  PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<BatchLoader> loader, BatchLoader::Open(config, options));
  for (int64_t step = 0; step < flags.warmup_steps + flags.steps; ++step) {
    PEPNET_ASSIGN_OR_RETURN(const std::optional<Batch> batch, loader->Next());
    if (step < flags.warmup_steps) continue;
    const auto counts =
        CountingRows(RowScales(config, *batch, LocalLossNormalizers(config, *batch)));
    run->rows += static_cast<double>(batch->rows);
    run->multiplications +=
        StepMultiplications(config, static_cast<double>(batch->rows), counts, 1);
  }
  return absl::OkStatus();
}

// Makes the directory that the run trains into, which must be new: it is removed afterwards.
Status MakeScratch(const WorkerContext& context) {
  const std::string& path = context.config->model_dir;
  return OnFirstWorker(
             context, "scratch directory",
             [&]() -> StatusOr<std::string> {
               if (PathExists(path)) {
                 return InvalidInput(
                     "--scratch_dir=", path,
                     " exists; name a directory that does not, it is removed after the run");
               }
               PEPNET_RETURN_IF_ERROR(MakeDirectories(path));
               return path;
             })
      .status();
}

// The trainer's own steps, one by one, so nothing is measured that training does not do.
Status TrainSteps(const WorkerContext& context, const BenchFlags& flags, Run* run) {
  const double start = SecondsNow();
  Trainer trainer(context);
  PEPNET_RETURN_IF_ERROR(trainer.Start());
  const int64_t measured_end = flags.warmup_steps + flags.steps;
  // The last step, behind which nothing is prefetched, does not count.
  for (int64_t step = 0; step <= measured_end; ++step) {
    if (step == flags.warmup_steps) {
      run->before = trainer.times();
      run->cpu_seconds = -OwnProcessorSeconds();
    }
    if (step == measured_end) {
      run->after = trainer.times();
      run->cpu_seconds += OwnProcessorSeconds();
    }
    const double begin = SecondsNow();
    PEPNET_ASSIGN_OR_RETURN(const bool more, trainer.Step());
    const double end = SecondsNow();
    if (!more) return absl::InternalError("the data ended early, which num_steps rules out");
    if (step == 0) run->first_step = end - start;
    if (step >= flags.warmup_steps && step < measured_end) run->seconds.push_back(end - begin);
    for (double loss : trainer.last_losses().values) {
      if (!std::isfinite(loss)) return absl::InternalError("a loss is not finite");
    }
  }
  if (trainer.state().counters.finished_steps != measured_end + 1) {
    return absl::InternalError("the trainer counts other steps than were made");
  }
  return context.first() ? CountMultiplications(*context.config, context, flags, run)
                         : absl::OkStatus();
}

// The stages in which a worker waits for nobody.
constexpr Stage kOwnStages[] = {Stage::kRead, Stage::kPool, Stage::kCompute, Stage::kUpdate};

// Steps take as long as the slowest worker. A worker that is slow by itself shows in the stages
// where it waits for nobody; in the others all are equally late.
Status FindSlowest(const WorkerContext& context, Run* run) {
  std::vector<double> own(context.collective->count());
  for (Stage stage : kOwnStages) {
    const int i = static_cast<int>(stage);
    own[context.collective->index()] += run->after.seconds(i) - run->before.seconds(i);
  }
  PEPNET_RETURN_IF_ERROR(
      context.collective->AllreduceSum(std::span<double>(own), "own work of each worker"));
  const auto slowest = std::max_element(own.begin(), own.end());
  run->slowest_worker = static_cast<int>(slowest - own.begin());
  run->slowest_behind =
      *slowest * static_cast<double>(own.size()) / std::accumulate(own.begin(), own.end(), 0.0);
  return absl::OkStatus();
}

// The stage's share of the measured steps of worker 0, in percent.
double Percent(const Run& run, Stage stage) {
  double total = 0;
  for (double s : run.seconds) total += s;
  const int i = static_cast<int>(stage);
  return 100 * (run.after.seconds(i) - run.before.seconds(i)) / total;
}

}  // namespace

StatusOr<BenchReport> TrainBench(const BenchFlags& flags, MpiSession* session) {
  ConfigFlags config_flags = flags.config;
  PEPNET_ASSIGN_OR_RETURN(JobConfig config, LoadConfig(config_flags));
  config.eval_input_path.clear();
  // No checkpoint, evaluation or log line falls into the measured steps; the step beyond keeps the
  // prefetcher busy to the end.
  config.train.num_steps = flags.warmup_steps + flags.steps + 1;
  config.train.num_epochs = 0;
  config.train.save_checkpoints_steps = config.train.save_checkpoints_epochs = 0;
  config.train.log_step_count_steps = config.train.num_steps + 1;
  std::vector<int64_t> sizes = flags.batch_sizes;
  if (sizes.empty()) sizes = {config.data.batch_size};

  JobFlags job = flags.job;
  job.trains = true;
  BenchReport report;
  report.name = flags.what;
  bool speaks = false;
  std::string device;
  int workers = 1;
  double peak = 0;
  auto measure_peak = [&](const WorkerContext& context) {  // on all workers' cores, while they wait
    return MatrixPeak(context.collective->count() * context.options.threads,
                      flags.quick ? 128 : 3072);
  };
  std::vector<Run> runs;
  for (int64_t size : sizes) {
    // Each batch size is a job of its own, with new servers and a new model.
    config.data.batch_size = size;
    Run run;
    PEPNET_RETURN_IF_ERROR(
        RunJob(config, job, session, [&](const WorkerContext& context) -> Status {
          speaks = context.first();
          const bool gpu = context.options.device.kind == ComputeDevice::Kind::kGpu;
          device = absl::StrCat(gpu ? "GPU" : "CPU", context.options.bf16 ? ", BF16" : "");
          workers = context.collective->count();
          PEPNET_RETURN_IF_ERROR(MakeScratch(context));
          // The directory goes on every way out, an error in the middle included.
          const absl::Cleanup remove = [&] {
            if (!speaks) return;
            if (const Status removed = RemoveTree(config.model_dir); !removed.ok()) {
              LOG(WARNING) << removed.message();
            }
          };
          if (speaks) peak = std::max(peak, measure_peak(context));
          PEPNET_RETURN_IF_ERROR(context.collective->Barrier("start of the measurement"));
          PEPNET_RETURN_IF_ERROR(TrainSteps(context, flags, &run));
          PEPNET_RETURN_IF_ERROR(FindSlowest(context, &run));
          PEPNET_RETURN_IF_ERROR(context.collective->Barrier("end of the measurement"));
          if (speaks) peak = std::max(peak, measure_peak(context));
          return absl::OkStatus();
        }));
    run.batch_size = size;
    runs.push_back(std::move(run));
  }
  if (!speaks) return BenchReport();
  for (const Run& run : runs) {
    std::vector<double> milliseconds;
    double total = 0;
    for (double s : run.seconds) {
      milliseconds.push_back(1e3 * s);
      total += s;
    }
    std::vector<BenchCell>& row = report.rows.emplace_back();
    row.emplace_back(static_cast<double>(run.batch_size));
    row.emplace_back(run.rows / total);
    row.emplace_back(SpreadOf(milliseconds));
    // A multiplication comes with an addition: 2 floating point operations, in GFLOP/s.
    row.emplace_back(100 * 2e-9 * run.multiplications / total / peak);
    for (Stage stage : {Stage::kRead, Stage::kPull, Stage::kPool, Stage::kCompute, Stage::kPush,
                        Stage::kAllreduce, Stage::kUpdate}) {
      row.emplace_back(Percent(run, stage));
    }
    row.emplace_back(run.first_step);
    row.emplace_back(static_cast<double>(run.slowest_worker));
    row.emplace_back(run.slowest_behind);
    if (session == nullptr) row.emplace_back(run.rows / run.cpu_seconds);
  }
  const int threads = flags.job.threads;
  report.settings = {{"config", flags.config.pipeline_config_path},
                     {"workers", absl::StrCat(workers)},
                     {"threads each", absl::StrCat(threads)},
                     {"steps", absl::StrCat(flags.steps)},
                     {"engine", device.starts_with("CPU") ? flags.job.dense_engine : "reference"},
                     {"device", device}};
  report.limits = {{"matrix peak", "GFLOP/s", peak}};
  report.columns = {{"batch", "rows"},      {"speed", "samples/s"},
                    {"step", "ms"},         {"of peak", "%"},
                    {"read", "%"},          {"pull", "%"},
                    {"pool", "%"},          {"compute", "%"},
                    {"push", "%"},          {"allreduce", "%"},
                    {"update", "%"},        {"first step after", "s"},
                    {"slowest worker", ""}, {"its work", "x the mean"}};
  if (session == nullptr) {
    report.columns.push_back({"speed of a core", "samples/s of processor time"});
  }
  report.checked = {"every step was made and every loss is finite",
                    "'of peak' counts only the matrix products left after routing, against the "
                    "CPUs' peak on any device; the stages are those of worker 0"};
  if (session == nullptr) {
    report.checked.push_back(
        "'speed of a core' counts the processor time of all threads, those of readers and servers "
        "too");
  }
  return report;
}

}  // namespace pepnet
