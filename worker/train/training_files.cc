#include "worker/train/training_files.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "common/base/log_functions.h"
#include "worker/checkpoint/checkpointing.h"
#include "worker/data/files/input_files.h"
#include "worker/data/history/file_identity.h"
#include "worker/data/rows/shuffle_window.h"

namespace pepnet {
namespace {

StatusOr<DataChoice> Choose(const WorkerContext& context, const TrainCounters& counters) {
  // Globs are expanded and files identified on worker 0 alone: hosts may list a directory at
  // different moments, and all must read one list.
  const JobConfig& config = *context.config;
  PEPNET_ASSIGN_OR_RETURN(const InputFiles files, FindJobFiles(config, config.train_input_path));
  DataQuestion question;
  question.history = counters.data;
  question.position = counters.position;
  question.finished_steps = counters.finished_steps;
  PEPNET_ASSIGN_OR_RETURN(question.given, IdentifyFiles(files.paths));
  // The order of a pass depends on nothing else but its files and the seed.
  if (config.data.shuffle) {
    question.window_rows = ShuffleWindowRows(config.data.batch_size * context.collective->count(),
                                             config.data.shuffle_buffer_size);
  }
  // num_steps repeats the data as often as it needs.
  question.num_epochs = config.train.num_steps > 0 ? 0 : config.train.num_epochs;
  question.restart_at_step = context.options.restart_data_at_step;
  return ChooseData(question, [&](const FileIdentity& file) {
    return CountRowsOf(file.path, config.data, files.type);
  });
}

// Not OK if this worker does not see `file` as worker 0 does.
Status CheckSeen(const FileIdentity& file, int worker) {
  struct stat info;
  if (stat(file.path.c_str(), &info) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "worker ", worker, " cannot see the training file '", file.path, "', which worker 0 read: ",
        std::strerror(errno), "; all hosts need the same files under the same paths"));
  }
  if (info.st_size == file.bytes) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "the training file '", file.path, "' has ", info.st_size, " bytes on the host of worker ",
      worker, " and ", file.bytes, " on that of worker 0; give all hosts the same files"));
}

}  // namespace

StatusOr<DataChoice> ChooseTrainingFiles(const WorkerContext& context,
                                         const TrainCounters& counters) {
  DataChoice choice;  // worker 0's
  PEPNET_ASSIGN_OR_RETURN(
      const std::string text,
      OnFirstWorker(context, "choice of the training files", [&]() -> StatusOr<std::string> {
        PEPNET_ASSIGN_OR_RETURN(choice, Choose(context, counters));
        return EncodeChoice(choice);
      }));
  // The sentences stay on worker 0, which logs them; the others get the choice.
  if (!context.first()) return DecodeChoice(text);
  for (const std::string& note : choice.notes) LogInfo("training data: " + note);
  for (const std::string& warning : choice.warnings) LogWarning("training data: " + warning);
  return choice;
}

Status CheckFilesSeen(const WorkerContext& context, const std::vector<FileIdentity>& files) {
  Status mine;
  for (size_t i = 0; i < files.size() && mine.ok(); ++i) {
    mine = CheckSeen(files[i], context.collective->index());
  }
  // The numbers are summed before anybody returns: workers that see all files must fail with those
  // that do not, or they would wait for them in the next step (law L6).
  std::vector<int64_t> blind = {mine.ok() ? 0 : 1};
  PEPNET_RETURN_IF_ERROR(
      context.collective->AllreduceSum(std::span<int64_t>(blind), "view of the training files"));
  PEPNET_RETURN_IF_ERROR(mine);
  if (blind[0] == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(blind[0], " of ", context.collective->count(),
                   " workers do not see the training files as worker 0 does; ",
                   "give all hosts the same files under the same paths"));
}

}  // namespace pepnet
