#include "worker/eval/evaluator.h"

#include <algorithm>

#include "absl/strings/str_join.h"
#include "common/base/log_functions.h"
#include "common/base/screen.h"
#include "worker/data/load/batch_loader.h"
#include "worker/metrics/bootstrap.h"
#include "worker/metrics/metrics.h"
#include "worker/metrics/slices.h"
#include "worker/report/run_lines.h"
#include "worker/sparse/forward_inputs.h"
#include "worker/sparse/prefetcher.h"
#include "worker/watch/evaluation_watch.h"
#include "worker/watch/vocabulary_watch.h"

namespace pepnet {
namespace {

// The rows that an evaluation will have; 0 if that is not known. `first` is its first batch, as
// large as any.
int64_t RowsToCome(const JobConfig& config, const BatchLoader& loader,
                   const EvaluationExtras& extras, const Batch& first) {
  const int64_t rows = loader.rows_per_epoch() > 0 ? loader.rows_per_epoch() : extras.rows_before;
  return config.eval.num_steps > 0 ? std::min(rows, config.eval.num_steps * first.global_rows)
                                   : rows;
}

}  // namespace

// Ids are clamped only on request; even then the count is told (law L7).
void LogClampedIds(const WorkerContext& context, int64_t clamped) {
  if (clamped == 0 || !context.first()) return;
  LogWarning(absl::StrCat(clamped, " ids out of range were read as row 0 (--clamp_out_of_range)"));
}

StatusOr<std::unique_ptr<BatchLoader>> OpenEvaluationData(const WorkerContext& context,
                                                          const std::string& input_path) {
  const JobConfig& config = *context.config;
  LoaderOptions options = LoaderOptionsOf(context, input_path);
  // eval_batch_size is of the global batch, so losses by batch, and xauc in_batch, do not depend on
  // the number of workers (law L2).
  options.global_batch_size = config.data.eval_batch_size;
  return BatchLoader::Open(config, options);
}

StatusOr<EvaluationResult> Evaluate(const WorkerContext& context, PepnetModel* model,
                                    const std::string& input_path, int64_t finished_steps,
                                    const EvaluationExtras& extras) {
  const JobConfig& config = *context.config;
  const RankStatus::Phase phase(context.status(), "evaluation");
  PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<BatchLoader> loader,
                          OpenEvaluationData(context, input_path));
  // The collective makes all workers go through the same number of batches: a worker without rows
  // in one takes part with none.
  Prefetcher prefetcher(&config, std::move(loader), context.client, context.collective,
                        Prefetcher::Mode::kEval, finished_steps, config.eval.num_steps,
                        context.options.local_weight_normalization, context.team);
  prefetcher.Watch(context.status(), context.options.timeout_s);

  MetricSet metrics(&config);
  SliceSet slices(&config);
  EvaluationWatch watch(&config);
  BootstrapSet bootstrap(&config, extras.bootstrap_rounds, context.options.seed);
  RowOverlap overlap(&config);
  ForwardInputs inputs(&config, context.team);
  int64_t batches = 0, rows = 0, all_rows = 0;
  const bool draws = context.first() && ProgressIsDrawn();
  if (draws) EndProgress();  // of the training
  for (;;) {
    PEPNET_ASSIGN_OR_RETURN(std::optional<PreparedBatch> prepared, prefetcher.Next());
    if (!prepared.has_value()) break;
    const Batch& batch = prepared->batch;
    PEPNET_ASSIGN_OR_RETURN(const ModelInput* input, inputs.Make(*prepared, context.client));
    LossReport losses;
    PEPNET_ASSIGN_OR_RETURN(std::vector<ModelOutput> outputs, model->Forward(*input, &losses));
    std::vector<std::vector<float>> scores;
    // One output per tower: that of the row's own domain, in the form that metrics read.
    for (ModelOutput& output : SelectMetricInputs(config, batch, outputs)) {
      scores.push_back(std::move(output.values));
    }
    metrics.Add(batch, scores);
    PEPNET_RETURN_IF_ERROR(slices.Add(batch, scores));
    watch.Add(batch, scores);
    bootstrap.Add(batch, scores);
    if (extras.trained != nullptr) overlap.Add(batch);
    // Every worker knows the rows of the global batch; its own part of the loss is normalised by
    // them already.
    metrics.AddLosses(losses.names, losses.values, batch.global_rows);
    if (batches == 0) all_rows = RowsToCome(config, prefetcher.loader(), extras, batch);
    rows += batch.global_rows;
    ++batches;
    if (context.first() && batches % config.eval.log_step_count_steps == 0) {
      const std::vector<std::string> parts = EvaluationParts(finished_steps, rows, all_rows);
      LogVerbose(absl::StrCat(absl::StrJoin(parts, ", "), ", batch ", batches));
      if (draws) DrawProgress(parts);
    }
  }
  if (draws) EraseProgress();
  // Every call from here on is a collective operation, and all workers make them in this order.
  std::vector<int64_t> clamped = {prefetcher.loader().clamped_ids()};
  PEPNET_RETURN_IF_ERROR(
      context.collective->AllreduceSum(std::span<int64_t>(clamped), "clamped ids"));
  LogClampedIds(context, clamped[0]);
  EvaluationResult result{finished_steps, {}};
  result.rows = rows;
  PEPNET_ASSIGN_OR_RETURN(result.values, metrics.Finish(context.collective));
  PEPNET_ASSIGN_OR_RETURN(result.slices, slices.Finish(context.collective));
  PEPNET_ASSIGN_OR_RETURN(result.warnings, watch.Warnings(result.values, context.collective));
  PEPNET_ASSIGN_OR_RETURN(
      std::vector<Warning> lacking,
      VocabularyWarnings(config, prefetcher.loader().encode_counts(), "eval", context.collective));
  for (Warning& warning : lacking) result.warnings.push_back(std::move(warning));
  if (extras.trained != nullptr) {
    PEPNET_ASSIGN_OR_RETURN(std::optional<Warning> both,
                            overlap.Compare(*extras.trained, context.collective));
    if (both.has_value()) result.warnings.push_back(*std::move(both));
  }
  // Last: worker 0 alone draws, which may take longer than the others would wait for it.
  PEPNET_ASSIGN_OR_RETURN(result.intervals,
                          bootstrap.Finish(context.collective, context.options.threads));
  return result;
}

}  // namespace pepnet
