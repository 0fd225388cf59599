#include "worker/eval/predictor.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/file/file.h"
#include "worker/checkpoint/checkpointing.h"
#include "worker/data/files/input_files.h"
#include "worker/data/load/batch_loader.h"
#include "worker/eval/evaluator.h"
#include "worker/eval/prediction_directory.h"
#include "worker/eval/prediction_writer.h"
#include "worker/sparse/batch_feeder.h"
#include "worker/sparse/forward_inputs.h"

namespace pepnet {
namespace {

// Positions in OutputList() of the columns to write.
StatusOr<std::vector<int>> ChooseOutputs(const std::vector<ModelOutput>& all, const std::vector<std::string>& wanted) {
  std::vector<int> chosen;
  if (wanted.empty()) {
    for (size_t i = 0; i < all.size(); ++i) chosen.push_back(static_cast<int>(i));
    return chosen;
  }
  for (const std::string& name : wanted) {
    auto it = std::find_if(all.begin(), all.end(), [&](const ModelOutput& output) { return output.name == name; });
    if (it == all.end()) {
      return InvalidInput("--output_columns names '", name, "', which this model does not have; it has ",
                          absl::StrJoin(all, ", ", [](std::string* out, const ModelOutput& o) { *out += o.name; }));
    }
    chosen.push_back(static_cast<int>(it - all.begin()));
  }
  return chosen;
}

// Refuses an output directory that holds the input, before it is looked at as one.
Status CheckInputIsElsewhere(const JobConfig& config, const PredictRequest& request) {
  if (!PathExists(request.output_path)) return absl::OkStatus();
  PEPNET_ASSIGN_OR_RETURN(InputFiles input,
                          FindInputFiles(request.input_path, config.data.dataset_type, config.data.dataset_type_name));
  const std::filesystem::path output = std::filesystem::canonical(request.output_path);
  for (const std::string& path : input.paths) {
    if (std::filesystem::canonical(path).parent_path() != output) continue;
    return InvalidInput("--predict_output_path ", request.output_path, " holds the input file ", path,
                        "; choose a directory of its own, so that no input is written over");
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<int64_t> Predict(const WorkerContext& context, PepnetModel* model, const PredictRequest& request,
                          int64_t finished_steps) {
  const JobConfig& config = *context.config;
  const RankStatus::Phase phase(context.status(), "prediction");
  const std::vector<ModelOutput> all = OutputList(config);
  PEPNET_ASSIGN_OR_RETURN(std::vector<int> chosen, ChooseOutputs(all, request.output_columns));
  std::vector<ModelOutput> columns;
  for (int i : chosen) columns.push_back(all[i]);

  LoaderOptions options = LoaderOptionsOf(context, request.input_path);
  options.batch_size = request.batch_size > 0            ? request.batch_size
                       : config.data.eval_batch_size > 0 ? config.data.eval_batch_size
                                                         : config.data.batch_size;
  options.read_labels = false;
  options.contiguous = true;
  options.reserved_columns = request.reserved_columns;
  PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<BatchLoader> loader, BatchLoader::Open(config, options));
  std::unique_ptr<PredictionDirectory> directory;  // worker 0's
  PEPNET_ASSIGN_OR_RETURN(
      const std::string writing, OnFirstWorker(context, "output directory", [&]() -> StatusOr<std::string> {
        PEPNET_RETURN_IF_ERROR(CheckInputIsElsewhere(config, request));
        PEPNET_ASSIGN_OR_RETURN(directory, PredictionDirectory::Enter(request.output_path, request.overwrite));
        return directory->writing();
      }));
  const auto part_of = [&](int worker) {
    return absl::StrFormat("part-%05d%s", worker, request.csv ? ".csv" : ".parquet");
  };
  const int index = context.collective->index();
  std::unique_ptr<PredictionWriter> writer = PredictionWriter::Make(
      absl::StrCat(writing, "/", part_of(index)), absl::StrCat(request.output_path, "/", part_of(index)), request.csv);

  BatchFeeder feeder(&config, std::move(loader), context.client, nullptr, BatchFeeder::Mode::kPredict, finished_steps,
                     request.steps, /*local_normalization=*/false, context.team);
  feeder.Watch(context.status(), context.options.timeout_s);
  ForwardInputs inputs(&config, context.team);
  int64_t rows = 0;
  for (;;) {
    PEPNET_ASSIGN_OR_RETURN(std::optional<FedBatch> fed, feeder.Next());
    if (!fed.has_value()) break;
    const Batch& batch = fed->batch;
    PEPNET_ASSIGN_OR_RETURN(const ModelInput* input, inputs.Make(*fed, context.client));
    PEPNET_ASSIGN_OR_RETURN(std::vector<ModelOutput> outputs, model->Forward(*input, nullptr));
    std::vector<ModelOutput> written;
    for (int i : chosen) written.push_back(outputs[i]);
    PEPNET_RETURN_IF_ERROR(writer->Append(batch.rows, written, batch.reserved));
    rows += batch.rows;
  }
  PEPNET_RETURN_IF_ERROR(writer->Finish(columns, feeder.loader().reserved_schema()));
  // All parts are whole before any gets its name.
  const int workers = context.collective->count();
  std::vector<int64_t> total(2 + workers);
  total[0] = rows;
  total[1] = feeder.loader().clamped_ids();
  total[2 + index] = writer->bytes();
  PEPNET_RETURN_IF_ERROR(context.phases->AllreduceSum(std::span<int64_t>(total), "all predictions"));
  PEPNET_RETURN_IF_ERROR(RunOnFirstWorker(context, "list of predictions", [&] {
    std::vector<PredictionDirectory::Part> parts;
    for (int w = 0; w < workers; ++w) parts.push_back({part_of(w), total[2 + w]});
    return directory->BeginPublishing(std::move(parts));
  }));
  PEPNET_RETURN_IF_ERROR(writer->Publish());
  PEPNET_RETURN_IF_ERROR(context.phases->Barrier("names of predictions"));
  if (directory != nullptr) PEPNET_RETURN_IF_ERROR(directory->EndPublishing());
  LogClampedIds(context, total[1]);
  return total[0];
}

}  // namespace pepnet
