#include "worker/checkpoint/checkpointing.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/log_functions.h"
#include "common/checkpoint/checkpoint.h"
#include "common/job_config/shape_description.h"
#include "worker/checkpoint/best_checkpoint.h"
#include "worker/checkpoint/resume_choice.h"

namespace pepnet {
namespace {

// "E<code> <message>" or "K<value>": a StatusOr<std::string> as bytes.
std::string Encode(const StatusOr<std::string>& result) {
  if (result.ok()) return absl::StrCat("K", *result);
  return absl::StrCat("E", static_cast<int>(result.status().code()), " ",
                      result.status().message());
}

StatusOr<std::string> Decode(const std::string& bytes) {
  if (bytes.empty()) return absl::InternalError("empty status from worker 0");
  if (bytes[0] == 'K') return bytes.substr(1);
  const size_t space = bytes.find(' ');
  int code = 0;
  if (space == std::string::npos || !absl::SimpleAtoi(bytes.substr(1, space - 1), &code)) {
    return absl::InternalError(absl::StrCat("no status from worker 0: '", bytes, "'"));
  }
  return Status(static_cast<absl::StatusCode>(code), bytes.substr(space + 1));
}

// The hash behind the ids of hash_bucket_size features; "" if the job has none.
std::string StringHash(const WorkerContext& context) {
  for (const Feature& feature : context.config->features) {
    if (feature.bucketizer == Bucketizer::kHash) return context.options.farm_hash ? "farm" : "std";
  }
  return "";
}

// The settings that decide the bits of this run.
std::string HardwareOf(const RunOptions& options) {
  return absl::StrCat(CpuDescription(), options.bf16 ? " bf16" : "",
                      options.device.kind == ComputeDevice::Kind::kGpu ? " and GPUs" : "");
}

// fine_tune_ckpt_param_map's names must mean something on both sides (law L7).
Status CheckParameterMap(const WorkerContext& context, const DenseParameters& parameters) {
  for (const auto& [ours, theirs] : context.config->train.fine_tune_param_map) {
    bool known = parameters.Find(ours) >= 0;
    for (const Table& table : context.config->tables) {
      known = known || ours == TableParameterName(table);
    }
    if (!known) {
      return InvalidInput("fine_tune_ckpt_param_map names '", ours,
                          "', which is no parameter of this model");
    }
  }
  return absl::OkStatus();
}

// A shape without its optimizers: the lines of ShapeDescription() that name them.
std::string WithoutOptimizers(const std::string& shape) {
  std::vector<std::string> kept;
  for (const auto& line : absl::StrSplit(shape, '\n')) {
    const bool optimizer = absl::StartsWith(line, "sparse optimizer: ") ||
                           absl::StartsWith(line, "dense optimizer: ") ||
                           absl::StartsWith(line, "part optimizer ");
    if (!optimizer) kept.emplace_back(line);
  }
  return absl::StrJoin(kept, "\n");
}

// Worker 0 says where averages are not those of the checkpoint.
Status LogWhereAveragesBegin(const WorkerContext& context, const std::string& directory) {
  if (!context.first()) return absl::OkStatus();
  const bool kept = context.config->train.ema_decay.has_value();
  PEPNET_ASSIGN_OR_RETURN(const bool held, HoldsAverages(directory));
  if (kept && !held) {
    LogInfo(absl::StrCat(
        directory, " holds no averages of the weights: they begin as the weights that it holds"));
  } else if (held && !kept) {
    LogInfo(absl::StrCat("the averages of the weights in ", directory,
                         " end here: dense_optimizer has no ema"));
  }
  return absl::OkStatus();
}

// InvalidArgument if the tables' optimizer cannot begin afresh at a step other than 0.
Status CheckCanBeginAfresh(const SparseOptimizer& optimizer) {
  const SparseOptimizerType& type = TypeOf(optimizer.kind);
  if (!type.corrects_by_steps) return absl::OkStatus();
  return InvalidInput(
      "--ignore_restore_optimizer: ", type.field,
      " of the tables corrects its moments by the steps of the whole job, so that fresh ones would "
      "make "
      "steps that are too long; start a new model_dir with --fine_tune_checkpoint instead");
}

}  // namespace

StatusOr<std::string> OnFirstWorker(const WorkerContext& context, const std::string& what,
                                    const std::function<StatusOr<std::string>()>& body) {
  std::string mine;
  // Only worker 0 runs the body, and an error of it travels as its result: every worker returns the
  // same error, so none waits for the others (law L6).
  if (context.first()) mine = Encode(body());
  // `phases` has the long deadline: the body may verify or load tables.
  const StatusOr<std::string> result = context.phases->BroadcastFromFirst(mine, what);
  return result.ok() ? Decode(*result) : result;
}

Status RunOnFirstWorker(const WorkerContext& context, const std::string& what,
                        const std::function<Status()>& body) {
  return OnFirstWorker(context, what,
                       [&]() -> StatusOr<std::string> {
                         PEPNET_RETURN_IF_ERROR(body());
                         return std::string();
                       })
      .status();
}

Status BeginCheckpoint(const WorkerContext& context, TrainState& state, CheckpointSaver* saver,
                       const std::function<StatusOr<int64_t>()>& best_step) {
  return RunOnFirstWorker(context, "begin of a checkpoint", [&]() -> Status {
    // Only one save runs at a time: a slow disk then slows the training down, instead of
    // checkpoints piling up in memory.
    PEPNET_RETURN_IF_ERROR(saver->Wait().status());
    int64_t best = -1;
    if (best_step != nullptr) {
      PEPNET_ASSIGN_OR_RETURN(best, best_step());
    }
    const JobConfig& config = *context.config;
    Manifest manifest;
    // This is the manifest as far as it is known here; files and parts are added when they are
    // written.
    manifest.step = state.counters.finished_steps;
    manifest.seed = state.counters.seed;
    manifest.server_count = context.client->server_count();
    manifest.worker_count = context.collective->count();
    manifest.batch_size = config.data.batch_size;
    manifest.shape = ShapeDescription(config);
    manifest.string_hash = StringHash(context);
    manifest.cpu = HardwareOf(context.options);
    return saver->Begin(std::move(manifest), state, best);
  });
}

StatusOr<std::string> FinishCheckpoint(const WorkerContext& context, CheckpointSaver* saver) {
  return OnFirstWorker(context, "end of the checkpoint", [&] { return saver->Wait(); });
}

StatusOr<std::string> FindCheckpoint(const WorkerContext& context, const std::string& path) {
  return OnFirstWorker(context, "search for a checkpoint", [&]() -> StatusOr<std::string> {
    PEPNET_ASSIGN_OR_RETURN(std::string directory,
                            ResolveCheckpointFlag(path, context.config->model_dir));
    StatusOr<Manifest> read = ReadManifest(directory);
    // The files are verified first: what they say may be trusted only if they are whole.
    const Status whole = read.ok()
                             ? VerifyCheckpoint(directory, *read, context.options.verify_checkpoint)
                             : read.status();
    if (!whole.ok()) return AdviseOnDamage(whole, directory);
    const Manifest& manifest = *read;
    // The shape fixes which rows and weights mean what. Steps, rates and cadence may differ; see
    // design section 7.
    const std::string shape = ShapeDescription(*context.config);
    const std::string difference =
        context.options.ignore_restore_optimizer
            ? FirstDifference(WithoutOptimizers(shape), WithoutOptimizers(manifest.shape))
            : FirstDifference(shape, manifest.shape);
    if (!difference.empty()) {
      return InvalidInput(
          directory, " was written by another config: ", difference,
          "; pass the config it was trained with, or another --model_dir or --checkpoint_path");
    }
    PEPNET_RETURN_IF_ERROR(Annotate(CheckHoldsState(manifest, *context.config), directory));
    const std::string hash = StringHash(context);
    // Ids of hashed features are row numbers of this hash. The other hash would read foreign rows,
    // silently (law L7).
    if (!hash.empty() && !manifest.string_hash.empty() && manifest.string_hash != hash) {
      return InvalidInput(directory, " was trained with --hash=", manifest.string_hash,
                          ", this run has --hash=", hash,
                          "; its ids would mean other rows: pass --hash=", manifest.string_hash);
    }
    // Other hardware is not an error: the run trains on, but law L4's bitwise promise ends where
    // instructions round otherwise.
    if (const std::string hardware = HardwareOf(context.options); manifest.cpu != hardware) {
      LogWarning(absl::StrCat(directory, " was written on a CPU with ", manifest.cpu,
                              ", this one has ", hardware,
                              ": the run continues, but not to the same bits"));
    }
    return directory;
  });
}

Status RestoreForTraining(const WorkerContext& context, const std::string& directory,
                          TrainState* state) {
  const bool with_optimizer_state = !context.options.ignore_restore_optimizer;
  if (!with_optimizer_state) {
    PEPNET_RETURN_IF_ERROR(CheckCanBeginAfresh(context.config->train.sparse_optimizer));
  }
  // Every worker reads the dense files itself, from the shared directory, instead of one sending
  // them to all.
  PEPNET_RETURN_IF_ERROR(Annotate(ReadDenseFiles(directory, state, with_optimizer_state),
                                  absl::StrCat("restoring ", directory)));
  if (!with_optimizer_state && context.first()) {
    LogInfo(absl::StrCat("--ignore_restore_optimizer: the weights are those of ", directory,
                         ", the state of the optimizers begins afresh"));
  }
  PEPNET_RETURN_IF_ERROR(LogWhereAveragesBegin(context, directory));
  return RunOnFirstWorker(context, "restore of the tables", [&]() -> Status {
    PEPNET_ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(directory));
    // Both files belong to one checkpoint, or the rows would be loaded as of another step.
    if (manifest.step != state->counters.finished_steps) {
      return absl::DataLossError(absl::StrCat(directory, ": trainer.json is of step ",
                                              state->counters.finished_steps,
                                              ", the manifest of step ", manifest.step));
    }
    return context.client->Load(directory, state->counters.finished_steps, with_optimizer_state,
                                {});
  });
}

Status RestoreForFineTuning(const WorkerContext& context, const std::string& path,
                            TrainState* state) {
  const TrainConfig& train = context.config->train;
  PEPNET_RETURN_IF_ERROR(CheckParameterMap(context, state->parameters));
  auto found = OnFirstWorker(context, "search for a checkpoint", [&]() -> StatusOr<std::string> {
    // The foreign checkpoint is verified like one of this run, and its tables are loaded as of step
    // 0: optimizer state and counters begin here.
    PEPNET_ASSIGN_OR_RETURN(std::string directory, ResolveCheckpoint(path));
    PEPNET_ASSIGN_OR_RETURN(Manifest manifest, ReadManifest(directory));
    PEPNET_RETURN_IF_ERROR(
        VerifyCheckpoint(directory, manifest, context.options.verify_checkpoint));
    std::map<std::string, std::string> table_map;
    for (const Table& table : context.config->tables) {
      auto it = train.fine_tune_param_map.find(TableParameterName(table));
      if (it == train.fine_tune_param_map.end()) continue;
      const std::optional<std::string> theirs = TableOfParameter(it->second);
      if (!theirs.has_value()) {
        Table named;
        named.name = "<table>";
        return InvalidInput("fine_tune_ckpt_param_map maps a table to '", it->second,
                            "', which is not the name of one: expected ",
                            TableParameterName(named));
      }
      table_map[table.name] = *theirs;
    }
    PEPNET_RETURN_IF_ERROR(context.client->Load(directory, 0, false, table_map));
    return directory;
  });
  if (!found.ok()) return Annotate(found.status(), absl::StrCat("fine_tune_checkpoint ", path));
  // A parameter that is missing keeps its initial value and is counted, since fine-tuning onto a
  // changed network is legal (law L7).
  PEPNET_ASSIGN_OR_RETURN(
      std::vector<std::string> missing,
      ReadDenseValuesByName(*found, train.fine_tune_param_map, &state->parameters));
  if (context.first()) {
    LogInfo(absl::StrCat("fine-tuning from ", *found, ": ",
                         state->parameters.specs().size() - missing.size(),
                         " dense parameters taken, ", missing.size(), " keep their initial value",
                         missing.empty() ? "" : absl::StrCat(" (first: ", missing[0], ")")));
  }
  // The averages follow the weights that were read, not the initial ones.
  state->averages.StartFrom(state->parameters.values());
  return absl::OkStatus();
}

StatusOr<int64_t> RestoreForInference(const WorkerContext& context, const std::string& directory,
                                      DenseValues which, DenseParameters* parameters) {
  PEPNET_RETURN_IF_ERROR(Annotate(ReadDenseValues(directory, which, parameters),
                                  absl::StrCat("restoring ", directory)));
  if (which == DenseValues::kAverages && context.first()) {
    PEPNET_ASSIGN_OR_RETURN(const bool held, HoldsAverages(directory));
    if (!held) {
      LogInfo(absl::StrCat(directory, " holds no averages of the weights: the weights are used"));
    }
  }
  PEPNET_ASSIGN_OR_RETURN(
      std::string text,
      OnFirstWorker(context, "restore of the tables", [&]() -> StatusOr<std::string> {
        PEPNET_ASSIGN_OR_RETURN(Manifest manifest, ReadManifest(directory));
        PEPNET_RETURN_IF_ERROR(context.client->Load(directory, manifest.step, false, {}));
        return absl::StrCat(manifest.step);
      }));
  int64_t step = 0;
  if (!absl::SimpleAtoi(text, &step)) {
    return absl::InternalError(absl::StrCat("no step from worker 0: '", text, "'"));
  }
  return step;
}

}  // namespace pepnet
