#include "cli/job/flags.h"

#include <CLI/CLI.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/logging.h"
#include "common/file/file.h"

namespace pepnet {
namespace {

const CLI::Range kCount(1, 1 << 30, "a whole number from 1");
const CLI::Range kSeconds(0.001, 1e9, "a positive number of seconds");

void AddConfigChangeFlags(CLI::App* command, ConfigFlags* flags) {
  command->add_option(
      "--edit_config_json", flags->edit_config_json,
      R"(changes as JSON: {"train_config.num_steps": 10, "feature_configs[0].id_feature.num_buckets": 5})");
  command
      ->add_option(
          "--set", flags->set,
          "a change as path=value: --set train_config.num_epochs=5; may be given several times")
      ->allow_extra_args(false);
  AddLogFlags(command);
}

// The parser prints such an error as the command's last sentence.
[[noreturn]] void RefuseForConfig(const std::string& sentence) {
  throw CLI::RequiredError(sentence, CLI::ExitCodes::RequiredError);
}

}  // namespace

void AddConfigFlags(CLI::App* command, ConfigFlags* flags) {
  command->add_option("config,--pipeline_config_path", flags->pipeline_config_path,
                      "pipeline config (text protobuf, or .json)");
  AddConfigChangeFlags(command, flags);
  command->parse_complete_callback([command, flags] {
    if (!flags->pipeline_config_path.empty()) return;
    RefuseForConfig(absl::StrCat(
        "pepnet ", command->get_name(), " needs a pipeline config: pepnet ", command->get_name(),
        " CONFIG, or --pipeline_config_path CONFIG; pepnet init writes one "
        "for a Parquet or CSV file"));
  });
}

void AddTrainedConfigFlags(CLI::App* command, ConfigFlags* flags) {
  command->add_option("config,--pipeline_config_path", flags->pipeline_config_path,
                      "pipeline config (default: that of the training in --model_dir)");
  AddConfigChangeFlags(command, flags);
  command->add_option("--model_dir", flags->model_dir, "overrides the config's");
  command->parse_complete_callback([command, flags] {
    if (!flags->pipeline_config_path.empty()) return;
    if (flags->model_dir.empty()) {
      RefuseForConfig(absl::StrCat("pepnet ", command->get_name(),
                                   " needs --model_dir, the directory of a training, or the "
                                   "pipeline config that names it"));
    }
    flags->pipeline_config_path = absl::StrCat(flags->model_dir, "/pipeline.config");
    if (!PathExists(flags->pipeline_config_path)) {
      RefuseForConfig(absl::StrCat("--model_dir ", flags->model_dir,
                                   " holds no pipeline.config: no training has begun there; give "
                                   "the directory of a training, or --pipeline_config_path"));
    }
  });
}

void AddLogFlags(CLI::App* command) {
  CLI::Option* const verbose = command->add_flag_callback(
      "--verbose", [] { SetLogDetail(LogDetail::kVerbose); },
      "log what each server, checkpoint and stage does, and each step on a line of its own");
  command
      ->add_flag_callback(
          "--quiet", [] { SetLogDetail(LogDetail::kQuiet); }, "log warnings and errors only")
      ->excludes(verbose);
}

void AddCheckpointPathFlag(CLI::App* command, std::string* path) {
  command->add_option("--checkpoint_path", *path,
                      "model.ckpt-N, its parent, or best: the one that keep_best kept in model_dir "
                      "(default: the newest in model_dir)");
}

void AddJobFlags(CLI::App* command, JobFlags* flags) {
  command
      ->add_option("--num_servers", flags->num_servers,
                   "ranks that serve (mpirun), or server threads (one process; default 1)")
      ->check(kCount);
  command
      ->add_option("--placement", flags->placement,
                   "under mpirun: dedicated (--num_servers ranks serve), or colocated (each rank "
                   "works and serves)")
      ->check(CLI::IsMember({"dedicated", "colocated"}));
  command
      ->add_option("--threads", flags->threads,
                   "computing threads per worker (default OMP_NUM_THREADS, else cores / ranks)")
      ->check(kCount);
  command
      ->add_option("--timeout_s", flags->run.timeout_s,
                   "deadline of every wait within a step, in seconds")
      ->check(kSeconds);
  command
      ->add_option("--phase_timeout_s", flags->run.phase_timeout_s,
                   "deadline of saving, restoring and verifying, in seconds")
      ->check(kSeconds);
  command
      ->add_option("--hash", flags->hash,
                   "string hash of hash_bucket_size: std (libstdc++) or farm")
      ->check(CLI::IsMember({"std", "farm"}));
  command
      ->add_option("--weight_normalization", flags->weight_normalization,
                   "task weights are normalised over the global batch, or per worker as the "
                   "reference does (local)")
      ->check(CLI::IsMember({"global", "local"}));
  command
      ->add_option("--dense_engine", flags->dense_engine,
                   "fused: skips rows that add nothing to a task; reference: plain libtorch, the "
                   "same numbers but for rounding")
      ->check(CLI::IsMember({"fused", "reference"}));
  AddDeviceFlags(command, flags);
  command
      ->add_option("--wire_dtype", flags->wire_dtype,
                   "rows and gradients between workers and servers: float32, or half the bytes "
                   "with bfloat16 or "
                   "float16, rounded")
      ->check(CLI::IsMember({"float32", "bfloat16", "float16"}));
  command->add_flag("--clamp_out_of_range", flags->run.clamp_out_of_range,
                    "ids out of range read row 0 instead of ending the job");
  command->add_flag("--no_verify", flags->no_verify,
                    "do not read the contents of checkpoint files before using them");
  command->add_option("--inject", flags->inject,
                      "rehearse failures: \"kill:rank=1,step=17\", "
                      "\"kill:point=after_fsync,nth=3\", \"fail-write:nth=3\", "
                      "\"enospc:after=1MB\", \"delay:max_ms=5\", ...; several are separated by ';' "
                      "(docs/reliability.md)");
}

void AddDeviceFlags(CLI::App* command, JobFlags* flags) {
  flags->device = "auto";
  command
      ->add_option("--device", flags->device,
                   "where the workers compute: auto (one GPU per worker if every worker has one, "
                   "else the CPU), cpu or gpu")
      ->check(CLI::IsMember({"auto", "cpu", "gpu"}));
  command->add_flag("--deterministic", flags->deterministic,
                    "on GPUs: bit-identical results for the same GPUs and links, at some cost; "
                    "CPUs always give them");
}

}  // namespace pepnet
