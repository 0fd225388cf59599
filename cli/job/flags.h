// Command-line flags as plain structs; main.cc binds them, one struct per concern.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "worker/context/worker_context.h"

namespace pepnet {

// Flags of every command that reads a pipeline config.
struct ConfigFlags {
  std::string pipeline_config_path;
  std::string edit_config_json;
  std::string model_dir, train_input_path, eval_input_path, fine_tune_checkpoint;  // "" = as in the config
};

// Flags of every command that runs servers and workers.
struct JobFlags {
  int num_servers = 0;                          // 0: not given
  std::string placement = "dedicated";          // dedicated | colocated
  int threads = 0;                              // 0: OMP_NUM_THREADS, else cores / ranks on this host
  std::string hash = "std";                     // std | farm
  std::string weight_normalization = "global";  // global | local
  std::string dense_engine = "fused";           // fused | reference
  std::string wire_dtype = "float32";           // float32 | bfloat16 | float16
  std::string device = "cpu";                   // auto | cpu | gpu; commands with --device begin with auto
  bool deterministic = false;                   // on GPUs: the same bits for the same topology
  bool trains = false;                          // set by the commands that do: their workers' GPUs sum gradients
  std::string share_reader = "auto";            // train: auto | on | off
  bool no_verify = false;
  std::string inject;      // a fault plan (common/process/fault_plan.h)
  std::string trace_path;  // train: file for the trace (common/process/trace.h); "" for none
  RunOptions run;          // the rest
};

struct EvalFlags {
  std::string checkpoint_path;
  std::string eval_result_filename = "eval_result.txt";
};

struct PredictFlags {
  std::string checkpoint_path;
  std::string predict_input_path, predict_output_path;
  std::vector<std::string> reserved_columns, output_columns;
  std::string writer_type = "ParquetWriter";  // or CsvWriter
  int64_t batch_size = 0;                     // 0: eval_batch_size
  bool overwrite = false;                     // an earlier prediction in predict_output_path
};

struct ExportFlags {
  std::string checkpoint_path, export_dir;
  std::string format = "safetensors";  // comma list of safetensors, parquet, onnx
  int64_t onnx_external_mb = 64;       // tensors above go to model.onnx.data
  bool no_verify = false;
};

struct ImportFlags {
  std::string weights;
  uint64_t seed = 0;
};

struct InspectFlags {
  std::string path, table, diff, report;
  std::optional<int64_t> id;
  bool verify = false;
  bool json = false;
};

}  // namespace pepnet
