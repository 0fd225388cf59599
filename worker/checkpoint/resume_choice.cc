#include "worker/checkpoint/resume_choice.h"

#include <filesystem>
#include <vector>

#include "common/base/log_functions.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "worker/checkpoint/best_checkpoint.h"

namespace pepnet {
namespace {

Status Verify(const std::string& directory, bool contents) {
  PEPNET_ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(directory));
  return VerifyCheckpoint(directory, manifest, contents);
}

// model.ckpt-90 -> model.ckpt-90.rejected, or .rejected-2, ...: what was set aside before stays.
Status SetAside(const std::string& directory) {
  // The checkpoint is renamed and not removed: the run may have been sent back by mistake.
  std::string aside = absl::StrCat(directory, ".rejected");
  for (int number = 2; PathExists(aside); ++number) {
    aside = absl::StrCat(directory, ".rejected-", number);
  }
  LogWarning(absl::StrCat(directory,
                          " is newer than the checkpoint to go on from; it is renamed to ", aside));
  return RenameAndSync(directory, aside);
}

StatusOr<std::string> ChooseGiven(const std::string& model_dir, const RunOptions& options) {
  // Each start of a job that is started again with its own command line would begin at the best
  // step once more.
  if (options.checkpoint_path == kBestCheckpointWord) {
    PEPNET_ASSIGN_OR_RETURN(const std::string best, ResolveBestCheckpoint(model_dir));
    return InvalidInput(
        "--checkpoint_path=best is for eval, predict, export and inspect; to train on from the "
        "best "
        "checkpoint, name it: --checkpoint_path=",
        best);
  }
  PEPNET_ASSIGN_OR_RETURN(const std::string chosen, ResolveCheckpoint(options.checkpoint_path));
  const std::filesystem::path path = std::filesystem::path(chosen);
  const std::filesystem::path parent = path.parent_path().empty() ? "." : path.parent_path();
  std::error_code error;
  // Directories are compared by what they are on the disk: ./dir, a link and an absolute path are
  // one.
  if (!std::filesystem::equivalent(parent, model_dir, error)) {
    return InvalidInput(
        "--checkpoint_path=", options.checkpoint_path, " is not in model_dir ", model_dir,
        "; training goes on in the directory it started in (to start from foreign weights there is "
        "--fine_tune_checkpoint)");
  }
  PEPNET_ASSIGN_OR_RETURN(const std::vector<int64_t> steps, ListCheckpointDirectories(model_dir));
  // Nothing is moved before the chosen one is known to be whole.
  const Status whole = Verify(chosen, options.verify_checkpoint);
  if (!whole.ok()) return AdviseOnDamage(whole, chosen);
  // The newest one goes first: if the job is killed in here, those that are left have no gap, and
  // the next start goes on.
  for (auto step = steps.rbegin(); step != steps.rend() && CheckpointName(*step) != path.filename();
       ++step) {
    PEPNET_RETURN_IF_ERROR(SetAside(absl::StrCat(model_dir, "/", CheckpointName(*step))));
  }
  return chosen;
}

}  // namespace

StatusOr<std::string> ChooseCheckpoint(const std::string& model_dir, const RunOptions& options) {
  if (!options.checkpoint_path.empty() && !options.continue_train) {
    return InvalidInput("--checkpoint_path=", options.checkpoint_path,
                        " says where to go on; add --continue_train");
  }
  PEPNET_ASSIGN_OR_RETURN(const std::vector<int64_t> steps, ListCheckpointDirectories(model_dir));
  // A fresh start into a used directory would mix two trainings; going on must be asked for.
  if (!steps.empty() && !options.continue_train) {
    return InvalidInput("model_dir ", model_dir, " already holds ", CheckpointName(steps.back()),
                        "; add --continue_train to go on from it, or choose another --model_dir");
  }
  if (!options.checkpoint_path.empty()) return ChooseGiven(model_dir, options);
  if (steps.empty()) return std::string();
  const std::string newest = absl::StrCat(model_dir, "/", CheckpointName(steps.back()));
  // A directory gets its name after its manifest is written: without one it is damaged, not
  // unfinished.
  const StatusOr<Manifest> manifest = ReadManifest(newest);
  if (!manifest.ok()) return AdviseOnDamage(manifest.status(), newest);
  return newest;
}

Status AdviseOnDamage(const Status& damage, const std::string& directory) {
  if (!absl::IsDataLoss(damage)) return damage;
  const std::filesystem::path path(directory);
  const std::string parent = path.parent_path().empty() ? "." : path.parent_path().string();
  const std::string seen = absl::StrCat(damage.message(), "; ", directory, " is damaged");
  // A list that cannot be read gives no advice; the damage stays the news.
  std::vector<int64_t> steps = ListCheckpointDirectories(parent).value_or(std::vector<int64_t>());
  while (!steps.empty() && CheckpointName(steps.back()) != path.filename()) steps.pop_back();
  if (!steps.empty()) steps.pop_back();  // the damaged one itself
  for (; !steps.empty(); steps.pop_back()) {
    const std::string candidate = absl::StrCat(parent, "/", CheckpointName(steps.back()));
    // Contents are read, whatever --no_verify says: this advice is followed when things have gone
    // wrong already.
    if (!Verify(candidate, /*contents=*/true).ok()) continue;
    return Status(
        damage.code(),
        absl::StrCat(seen, ", and ", CheckpointName(steps.back()),
                     " is the newest older checkpoint that is whole: to go on from it, add "
                     "--checkpoint_path=",
                     candidate, " (training then renames newer ones to model.ckpt-N.rejected)"));
  }
  return Status(damage.code(),
                absl::StrCat(seen, ", and no older checkpoint in ", parent,
                             " is whole: to start again from step 0, choose another --model_dir"));
}

}  // namespace pepnet
