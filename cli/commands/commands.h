// The commands of the command line (docs/design.md section 9), but for those with a folder of their
// own (bench, inspect, plan). For each: its flags, how they are declared, and the function that
// runs it. Each returns the first error.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/job/flags.h"
#include "common/base/status.h"

namespace pepnet {

class MpiSession;

// In all: `session` is null without mpirun.

struct TrainFlags {
  ConfigFlags config;
  JobFlags job;
};
void AddTrainFlags(CLI::App* command, TrainFlags* flags);
Status TrainCommand(const TrainFlags& flags, MpiSession* session);

struct EvalFlags {
  ConfigFlags config;
  JobFlags job;
  std::string checkpoint_path;
  std::string eval_result_filename = "eval_result.txt";
  int bootstrap = 0;  // rounds; 0: no intervals
};
void AddEvalFlags(CLI::App* command, EvalFlags* flags);
Status EvalCommand(const EvalFlags& flags, MpiSession* session);

struct ExplainFlags {
  ConfigFlags config;
  JobFlags job;
  std::string checkpoint_path;
  int64_t rows = 50000;  // 0: all
  std::string output;    // "": the terminal alone
};
void AddExplainFlags(CLI::App* command, ExplainFlags* flags);
Status ExplainCommand(const ExplainFlags& flags, MpiSession* session);

struct PredictFlags {
  ConfigFlags config;
  JobFlags job;
  std::string checkpoint_path;
  std::string predict_input_path, predict_output_path;
  std::vector<std::string> reserved_columns, output_columns;
  std::string writer_type = "ParquetWriter";  // or CsvWriter
  int64_t batch_size = 0;                     // 0: eval_batch_size
  int64_t predict_steps = 0;                  // batches of each worker; 0: all
  bool overwrite = false;                     // an earlier prediction in predict_output_path
};
void AddPredictFlags(CLI::App* command, PredictFlags* flags);
Status PredictCommand(const PredictFlags& flags, MpiSession* session);

struct ExportFlags {
  ConfigFlags config;
  std::string checkpoint_path, export_dir;
  std::vector<std::string> asset_files;  // copied into export_dir
  std::string format = "safetensors";    // comma list of safetensors, parquet, onnx
  int64_t onnx_external_mb = 64;         // tensors above go to model.onnx.data
  // model.onnx gets the outputs of each row's own domain, too
  bool own_domain = false;
  bool no_verify = false;
};
void AddExportFlags(CLI::App* command, ExportFlags* flags);
Status ExportCommand(const ExportFlags& flags);

struct ImportFlags {
  ConfigFlags config;
  std::string weights;
  uint64_t seed = 0;
};
void AddImportFlags(CLI::App* command, ImportFlags* flags);
Status ImportCommand(const ImportFlags& flags);

struct ReportFlags {
  std::vector<std::string> runs;  // model_dirs
  std::string output;             // "-": standard output
  bool overwrite = false;
  bool no_rows = false;
};
void AddReportFlags(CLI::App* command, ReportFlags* flags);
// Writes one HTML page of the runs. Reads what they left, and nothing else.
Status ReportCommand(const ReportFlags& flags);

struct CompareFlags {
  std::vector<std::string> runs;  // model_dirs
  bool json = false;
};
void AddCompareFlags(CLI::App* command, CompareFlags* flags);
// Prints the runs side by side.
Status CompareCommand(const CompareFlags& flags);

// Prints the effective config, or all that is refused.
Status CheckConfigCommand(const ConfigFlags& flags);

}  // namespace pepnet
