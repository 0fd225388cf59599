#include "worker/eval/predictor.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/file/file.h"
#include "worker/checkpoint/checkpointing.h"
#include "worker/data/files/input_files.h"
#include "worker/data/load/batch_loader.h"
#include "worker/eval/evaluator.h"
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

// "part-00012.parquet" -> 12; -1 for any other name.
int PartNumber(const std::string& name) {
  int number = -1, end = 0;
  if (std::sscanf(name.c_str(), "part-%5d%n", &number, &end) != 1 || end != 10) return -1;
  const std::string extension = name.substr(end);
  return extension == ".parquet" || extension == ".csv" ? number : -1;
}

// Makes the directory, refuses one that holds the input, and removes what a killed prediction left half written.
Status PrepareOutput(const JobConfig& config, const PredictRequest& request) {
  PEPNET_RETURN_IF_ERROR(MakeDirectories(request.output_path));
  PEPNET_ASSIGN_OR_RETURN(InputFiles input,
                          FindInputFiles(request.input_path, config.data.dataset_type, config.data.dataset_type_name));
  const std::filesystem::path output = std::filesystem::canonical(request.output_path);
  for (const std::string& path : input.paths) {
    if (std::filesystem::canonical(path).parent_path() != output) continue;
    return InvalidInput("--predict_output_path ", request.output_path, " holds the input file ", path,
                        "; choose a directory of its own, so that no input is written over");
  }
  PEPNET_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(request.output_path));
  for (const std::string& name : names) {
    if (absl::StartsWith(name, ".tmp.part-")) PEPNET_RETURN_IF_ERROR(RemoveTree(request.output_path + "/" + name));
  }
  return absl::OkStatus();
}

// The parts of an earlier prediction that the new ones do not replace: of more workers, or in the other format.
Status RemoveOldParts(const PredictRequest& request, int parts) {
  PEPNET_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDirectory(request.output_path));
  for (const std::string& name : names) {
    const int number = PartNumber(name);
    if (number < 0 || (number < parts && absl::EndsWith(name, request.csv ? ".csv" : ".parquet"))) continue;
    PEPNET_RETURN_IF_ERROR(RemoveTree(request.output_path + "/" + name));
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
  PEPNET_RETURN_IF_ERROR(OnFirstWorker(context, "output directory", [&]() -> StatusOr<std::string> {
                           PEPNET_RETURN_IF_ERROR(PrepareOutput(config, request));
                           return std::string();
                         }).status());
  std::unique_ptr<PredictionWriter> writer = PredictionWriter::Make(
      absl::StrFormat("%s/part-%05d", request.output_path, context.collective->index()), request.csv);

  BatchFeeder feeder(&config, std::move(loader), context.client, nullptr, BatchFeeder::Mode::kPredict, finished_steps,
                     0);
  feeder.Watch(context.status(), context.options.timeout_s);
  ForwardInputs inputs(&config);
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
  std::vector<int64_t> total = {rows, feeder.loader().clamped_ids()};
  PEPNET_RETURN_IF_ERROR(context.phases->AllreduceSum(std::span<int64_t>(total), "all predictions"));
  PEPNET_RETURN_IF_ERROR(OnFirstWorker(context, "old predictions", [&]() -> StatusOr<std::string> {
                           PEPNET_RETURN_IF_ERROR(RemoveOldParts(request, context.collective->count()));
                           return std::string();
                         }).status());
  PEPNET_RETURN_IF_ERROR(writer->Publish());
  LogClampedIds(context, total[1]);
  return total[0];
}

}  // namespace pepnet
