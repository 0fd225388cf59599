#include "worker/eval/evaluator.h"

#include "worker/data/batch_loader.h"
#include "worker/eval/metrics.h"
#include "worker/sparse/batch_feeder.h"
#include "worker/sparse/pooling.h"

namespace pepnet {

StatusOr<std::map<std::string, double>> Evaluate(const WorkerContext& context, PepnetModel* model,
                                                 const std::string& input_path, int64_t finished_steps) {
  const JobConfig& config = *context.config;
  LoaderOptions options;
  options.input_path = input_path;
  options.batch_size = config.data.eval_batch_size;
  options.worker_index = context.collective->index();
  options.worker_count = context.collective->count();
  options.farm_hash = context.options.farm_hash;
  options.clamp_out_of_range = context.options.clamp_out_of_range;
  PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<BatchLoader> loader, BatchLoader::Open(config, options));
  BatchFeeder feeder(&config, loader.get(), context.client, context.collective, BatchFeeder::Mode::kEval, finished_steps,
                     config.eval.num_steps, context.options.local_weight_normalization);

  MetricSet metrics(&config);
  FloatBuffers table_rows, pooled;
  for (;;) {
    PEPNET_ASSIGN_OR_RETURN(std::optional<FedBatch> fed, feeder.Next());
    if (!fed.has_value()) break;
    const Batch& batch = fed->batch;
    PEPNET_RETURN_IF_ERROR(context.client->FinishPull(fed->ticket, &table_rows));
    PoolFeatures(config, batch, fed->ids, table_rows, &pooled);
    const std::vector<std::vector<float>> scales = RowScales(config, batch, fed->denominators);
    ModelInput input;
    input.batch = &batch;
    input.features = FeaturePointers(config, batch, pooled);
    input.row_scales = &scales;
    LossReport losses;
    PEPNET_ASSIGN_OR_RETURN(std::vector<ModelOutput> outputs, model->Forward(input, &losses));
    std::vector<std::vector<float>> scores;
    for (ModelOutput& output : SelectMetricInputs(config, batch, outputs)) scores.push_back(std::move(output.values));
    metrics.Add(batch, scores);
    metrics.AddLosses(losses.names, losses.values, batch.global_rows);
  }
  return metrics.Finish(context.collective);
}

}  // namespace pepnet
