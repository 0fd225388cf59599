#include "worker/eval/predictor.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/log_functions.h"
#include "common/file/file.h"
#include "worker/checkpoint/checkpointing.h"
#include "worker/data/files/input_files.h"
#include "worker/data/files/row_reader.h"
#include "worker/data/load/batch_loader.h"
#include "worker/eval/evaluator.h"
#include "worker/eval/prediction_directory.h"
#include "worker/eval/prediction_writer.h"
#include "worker/model/labels.h"
#include "worker/model/output_rules.h"
#include "worker/sparse/forward_inputs.h"
#include "worker/sparse/prefetcher.h"

namespace pepnet {
namespace {

// Positions of the columns to write in `all`: the outputs of the model, then those of the row's own
// domain. `without_own`: why there are none of the latter.
StatusOr<std::vector<int>> ChooseOutputs(const std::vector<ModelOutput>& all,
                                         const std::vector<std::string>& wanted,
                                         const std::string& without_own) {
  // Columns are sorted by name where no list is given, so that they do not move when a tower is
  // added.
  std::vector<int> chosen;
  if (wanted.empty()) {
    for (size_t i = 0; i < all.size(); ++i) chosen.push_back(static_cast<int>(i));
    std::sort(chosen.begin(), chosen.end(),
              [&all](int x, int y) { return all[x].name < all[y].name; });
    return chosen;
  }
  for (const std::string& name : wanted) {
    auto it = std::find_if(all.begin(), all.end(),
                           [&](const ModelOutput& output) { return output.name == name; });
    if (it == all.end()) {
      return InvalidInput(
          "--output_columns names '", name, "', which this model does not have; it has ",
          absl::StrJoin(all, ", ", [](std::string* out, const ModelOutput& o) { *out += o.name; }),
          without_own.empty() ? "" : "; ", without_own);
    }
    const int position = static_cast<int>(it - all.begin());
    if (std::find(chosen.begin(), chosen.end(), position) != chosen.end()) {
      return InvalidInput("--output_columns names '", name,
                          "' twice; a file has one column of each name");
    }
    chosen.push_back(position);
  }
  return chosen;
}

// Refuses an output directory that holds the input, before it is looked at as one.
Status CheckInputIsElsewhere(const JobConfig& config, const PredictRequest& request) {
  if (!PathExists(request.output_path)) return absl::OkStatus();
  PEPNET_ASSIGN_OR_RETURN(const InputFiles input, FindJobFiles(config, request.input_path));
  // Links are followed: two names may lead to one directory.
  const std::filesystem::path output = std::filesystem::canonical(request.output_path);
  for (const std::string& path : input.paths) {
    if (std::filesystem::canonical(path).parent_path() != output) continue;
    return InvalidInput("--predict_output_path ", request.output_path, " holds the input file ",
                        path, "; choose a directory of its own, so that no input is written over");
  }
  return absl::OkStatus();
}

// Whether the first file that has any columns has this one.
StatusOr<bool> InputHasColumn(const JobConfig& config, const std::string& input_path,
                              const std::string& column) {
  PEPNET_ASSIGN_OR_RETURN(const InputFiles files, FindJobFiles(config, input_path));
  const FileFormat format = FormatOf(config.data, files.type);
  // An empty file has no columns, so the next one is asked.
  for (const std::string& path : files.paths) {
    PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> columns, ListColumns(path, format));
    if (!columns.empty()) return std::find(columns.begin(), columns.end(), column) != columns.end();
  }
  return false;
}

// The outputs of the row's own domain that the input allows; if none, *why_none is the reason, for
// the log and for messages; it is empty where the model has no domain towers.
StatusOr<std::vector<OwnDomainOutput>> FindOwnDomainOutputs(const JobConfig& config,
                                                            const std::string& input_path,
                                                            std::string* why_none) {
  if (config.model.domain_label < 0) return std::vector<OwnDomainOutput>();
  const std::string& column = config.data.labels[config.model.domain_label];
  PEPNET_ASSIGN_OR_RETURN(const bool has_column, InputHasColumn(config, input_path, column));
  if (!has_column) {
    *why_none =
        absl::StrCat("the input has no column '", column,
                     "' (domain_input_name), so no output is chosen by the row's own domain");
    return std::vector<OwnDomainOutput>();
  }
  StatusOr<std::vector<OwnDomainOutput>> own = OwnDomainOutputs(config);
  if (own.ok()) return own;
  *why_none = absl::StrCat("no output is chosen by the row's own domain: ",
                           std::string(own.status().message()));
  return std::vector<OwnDomainOutput>();
}

}  // namespace

// Order: choose the columns, open the input, claim the output directory, predict into it, and give
// the parts their names when all of them are whole (law L6).
StatusOr<int64_t> Predict(const WorkerContext& context, PepnetModel* model,
                          const PredictRequest& request, int64_t finished_steps) {
  const JobConfig& config = *context.config;
  const RankStatus::Phase phase(context.status(), "prediction");
  std::vector<ModelOutput> all = OutputList(config);
  const int model_outputs = static_cast<int>(all.size());
  std::string without_own;
  PEPNET_ASSIGN_OR_RETURN(const std::vector<OwnDomainOutput> own_outputs,
                          FindOwnDomainOutputs(config, request.input_path, &without_own));
  for (const OwnDomainOutput& own : own_outputs) all.push_back({own.name, own.width, {}});
  PEPNET_ASSIGN_OR_RETURN(std::vector<int> chosen,
                          ChooseOutputs(all, request.output_columns, without_own));
  if (!without_own.empty() && context.first()) LogInfo(without_own);
  const bool reads_domains =
      std::any_of(chosen.begin(), chosen.end(), [&](int i) { return i >= model_outputs; });
  std::vector<ModelOutput> columns;
  for (int i : chosen) columns.push_back(all[i]);

  LoaderOptions options = LoaderOptionsOf(context, request.input_path);
  options.batch_size = request.batch_size > 0            ? request.batch_size
                       : config.data.eval_batch_size > 0 ? config.data.eval_batch_size
                                                         : config.data.batch_size;
  // Data to predict on have no labels; the domain is a label column, and read where an output needs
  // it.
  options.labels = reads_domains ? LabelSet::kDomain : LabelSet::kNone;
  // Worker w takes the w-th part of the rows in order, so the parts in order are the rows in order.
  options.contiguous = true;
  options.reserved_columns = request.reserved_columns;
  PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<BatchLoader> loader, BatchLoader::Open(config, options));
  PEPNET_RETURN_IF_ERROR(CheckColumnNames(columns, loader->reserved_schema()));
  std::unique_ptr<PredictionDirectory> directory;  // worker 0's
  PEPNET_ASSIGN_OR_RETURN(
      const std::string writing,
      OnFirstWorker(context, "output directory", [&]() -> StatusOr<std::string> {
        PEPNET_RETURN_IF_ERROR(CheckInputIsElsewhere(config, request));
        PEPNET_ASSIGN_OR_RETURN(directory,
                                PredictionDirectory::Enter(request.output_path, request.overwrite));
        return directory->writing();
      }));
  const auto part_of = [&](int worker) {
    return absl::StrFormat("part-%05d%s", worker, request.csv ? ".csv" : ".parquet");
  };
  const int index = context.collective->index();
  std::unique_ptr<PredictionWriter> writer =
      PredictionWriter::Make(absl::StrCat(writing, "/", part_of(index)),
                             absl::StrCat(request.output_path, "/", part_of(index)), request.csv);

  Prefetcher prefetcher(&config, std::move(loader), context.client, nullptr,
                        Prefetcher::Mode::kPredict, finished_steps, request.steps,
                        /*local_normalization=*/false, context.team);
  prefetcher.Watch(context.status(), context.options.timeout_s);
  ForwardInputs inputs(&config, context.team);
  int64_t rows = 0;
  for (;;) {
    PEPNET_ASSIGN_OR_RETURN(std::optional<PreparedBatch> prepared, prefetcher.Next());
    if (!prepared.has_value()) break;
    const Batch& batch = prepared->batch;
    PEPNET_ASSIGN_OR_RETURN(const ModelInput* input, inputs.Make(*prepared, context.client));
    PEPNET_ASSIGN_OR_RETURN(std::vector<ModelOutput> outputs, model->Forward(*input, nullptr));
    // A domain out of range would choose the output of another tower.
    if (reads_domains) PEPNET_RETURN_IF_ERROR(CheckDomains(config, batch));
    std::vector<ModelOutput> written;
    for (int i : chosen) {
      written.push_back(
          i < model_outputs
              ? outputs[i]
              : SelectOwnDomain(config, batch, own_outputs[i - model_outputs], outputs));
    }
    PEPNET_RETURN_IF_ERROR(writer->Append(batch.rows, written, batch.reserved));
    rows += batch.rows;
  }
  PEPNET_RETURN_IF_ERROR(writer->Finish(columns, prefetcher.loader().reserved_schema()));
  // All parts are whole before any gets its name.
  const int workers = context.collective->count();
  std::vector<int64_t> total(2 + workers);
  total[0] = rows;
  total[1] = prefetcher.loader().clamped_ids();
  total[2 + index] = writer->bytes();
  PEPNET_RETURN_IF_ERROR(
      // The deadline is that of phases: the slowest worker may be minutes behind the first.
      context.phases->AllreduceSum(std::span<int64_t>(total), "all predictions"));
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
