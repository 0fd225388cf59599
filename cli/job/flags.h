// Flags that several commands have, as plain structs, and how they are declared on a command. What
// only one command has stands beside that command.
#pragma once

#include <string>
#include <vector>

#include "worker/context/worker_context.h"

namespace CLI {
class App;
}

namespace pepnet {

// Flags of every command that reads a pipeline config.
struct ConfigFlags {
  std::string pipeline_config_path;
  std::string edit_config_json;
  std::vector<std::string> set;  // "path=value"
  // "" = as in the config
  std::string model_dir, train_input_path, eval_input_path, fine_tune_checkpoint;
  // The same, of predict.
  std::string dataset_type;
  bool for_training = false;  // set by the commands that train or judge a config that is to train
};

// --pipeline_config_path, which may also stand alone and must be given, --edit_config_json, --set
// and those of AddLogFlags(). The other paths are flags of single commands.
void AddConfigFlags(CLI::App* command, ConfigFlags* flags);
// The same and --model_dir, of the commands that use what a training left there: without a config
// they take its effective config, <model_dir>/pipeline.config.
void AddTrainedConfigFlags(CLI::App* command, ConfigFlags* flags);
// --checkpoint_path of the commands that read a checkpoint of model_dir.
void AddCheckpointPathFlag(CLI::App* command, std::string* path);
// --verbose and --quiet, which take effect as they are read.
void AddLogFlags(CLI::App* command);

// Flags of every command that runs servers and workers.
struct JobFlags {
  int num_servers = 0;                  // 0: not given
  std::string placement = "dedicated";  // dedicated | colocated
  // 0: OMP_NUM_THREADS, else cores / ranks on this host
  int threads = 0;
  std::string hash = "std";                     // std | farm
  std::string weight_normalization = "global";  // global | local
  std::string dense_engine = "fused";           // fused | reference
  std::string wire_dtype = "float32";           // float32 | bfloat16 | float16
  // Auto | cpu | gpu; commands with --device begin with auto.
  std::string device = "cpu";
  bool deterministic = false;  // on GPUs: the same bits for the same topology
  // Set by the commands that do: their workers' GPUs sum gradients.
  bool trains = false;
  std::string share_reader = "auto";  // train: auto | on | off
  bool no_verify = false;
  std::string inject;      // a fault plan (common/process/fault_plan.h)
  std::string trace_path;  // train: file for the trace (common/process/trace.h); "" for none
  RunOptions run;          // the rest
};

// The flags of all jobs: train, eval, explain, predict.
void AddJobFlags(CLI::App* command, JobFlags* flags);
// --device and --deterministic; the device is auto from now on.
void AddDeviceFlags(CLI::App* command, JobFlags* flags);

}  // namespace pepnet
