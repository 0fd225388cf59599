// RunRecord: what a training left in its model_dir, as plain structs: the source of `pepnet report`
// and `pepnet compare`.
//
// Read are pipeline.config, metrics.jsonl, train_slices.jsonl, train_eval_result.txt,
// train_eval_slices.jsonl, warnings.jsonl, best_checkpoint.json, explained.json, job_report.json,
// the manifests of the checkpoints and, if asked for, the rows of one checkpoint. All are open
// formats (docs/formats.md); nothing is trained or evaluated. The run may be in progress: what it
// is writing is not read yet.
//
// Threads: no state.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/job_config.h"
#include "worker/checkpoint/best_checkpoint.h"
#include "worker/checkpoint/best_evaluation.h"
#include "worker/metrics/slices.h"
#include "worker/metrics/train_metrics.h"

namespace pepnet {

// Figures by name. What is null in a file (an AUC of one class, a loss that is not finite) is not
// in the map.
using Figures = std::map<std::string, double>;

// A line of metrics.jsonl.
struct LoggedStep {
  int64_t step = 0, epoch = 0;
  // Losses, total_loss, learning rates, samples_per_second, training metrics, gradient norms.
  Figures values;
  Figures stage_seconds;   // of worker 0 since the run was started or continued
  int64_t not_finite = 0;  // members that are null, without those of which "why" gives the reason
};

// A line of train_eval_result.txt.
struct LoggedEvaluation {
  int64_t step = 0;
  Figures values;
};

// The lines of train_eval_slices.jsonl of one evaluation.
struct SlicedEvaluation {
  int64_t step = 0;
  std::vector<Slice> slices;
};

// The lines of train_slices.jsonl of one step.
struct SlicedStep {
  int64_t step = 0;
  std::vector<TrainSlice> slices;
};

// A line of warnings.jsonl.
struct LoggedWarning {
  int64_t step = 0;
  std::string kind, text;
};

struct CheckpointRecord {
  int64_t step = 0;
  int servers = 0, workers = 0;
  int64_t batch_size = 0;  // of a worker
  uint64_t seed = 0;
  std::string cpu;
  int64_t rows = 0, bytes = 0;                // of all tables; of all files
  std::map<std::string, int64_t> table_rows;  // by table
  std::vector<int64_t> server_rows;           // by server
};

struct HotId {
  int64_t id = 0, updates = 0;
  std::string word;  // of the vocabulary of the feature that reads the table; "": it has none
};

// A table in the checkpoint RunRecord::tables_step.
struct TableRecord {
  std::string name;
  int64_t rows = 0;
  int64_t id_range = 0;  // of the config; 0: not known, or the table grows with its ids
  int dim = 0, state_dim = 0;
  ValueKind value_kind = ValueKind::kFp32;   // how the servers kept the values
  ValueKind state_kind = ValueKind::kFp32;   // and the optimizer state
  int64_t row_bytes = 0;                     // of both
  int64_t file_bytes = 0, memory_bytes = 0;  // memory: on the servers, at most
  // rows in the newest checkpoint less those in the oldest that is there
  int64_t grown = 0;
  int64_t dead_rows = 0, not_finite_rows = 0;
  std::vector<HotId> hottest;  // most updates first; empty if no rows were read
};

// The rows of a table that point the same way as an id's (cli/inspect/neighbours.h): what the id
// has learnt.
struct LearntId {
  std::string table;
  HotId id;
  double norm = 0, mean_cosine = 0;  // mean: over all other rows
  struct Near {
    int64_t id = 0;
    std::string word;
    double cosine = 0;
  };
  std::vector<Near> nearest;
};

// explained.json, what `pepnet explain --output` wrote (docs/explain.md).
struct ExplainRecord {
  struct Quality {
    std::string task;
    std::optional<std::string> domain;                  // nullopt: all rows
    std::optional<double> auc, auc_drop, logloss_rise;  // of the rows as they are: auc alone
  };
  struct Feature {
    std::string name;
    std::vector<Quality> tasks;  // as `base`
  };
  struct Gate {
    std::string network, task, part;  // task: of ppnet
    double mean = 0, from_one = 0, varies = 0, off = 0, full = 0;
  };
  std::string checkpoint;
  int64_t rows = 0, gate_rows = 0;
  std::string domain_column;
  std::vector<Quality> base;
  std::vector<Feature> features;  // most AUC first
  std::vector<Gate> gates;
};

// job_report.json (docs/reliability.md).
struct JobState {
  std::string status;  // running, done, stopped, failed
  std::string message;
  struct Rank {
    int64_t rank = 0;
    std::string role, host, state, phase;
    int64_t step = 0;
  };
  std::vector<Rank> ranks;  // of a failed job
};

// A field of the effective config: "train_config.num_epochs",
// "feature_configs[user_id].id_feature.embedding_dim".
struct ConfigField {
  std::string path;
  // As they stand in the text, quotes included; several of a repeated field.
  std::vector<std::string> values;
};

struct RunRecord {
  std::string directory;
  std::string name;  // the directory's, or the whole path where several runs have the same
  std::vector<LoggedStep> steps;
  std::vector<LoggedEvaluation> evaluations;
  std::vector<SlicedEvaluation> slices;  // ascending steps
  std::vector<SlicedStep> train_slices;  // ascending steps
  // The evaluations by keep_best where it is a sum, or of a slice: no member of a line has that
  // number. Else empty.
  std::vector<ValuedStep> ruled;
  std::vector<LoggedWarning> warnings;  // in the order in which they were said
  std::optional<BestCheckpoint> best;
  std::vector<CheckpointRecord> checkpoints;  // ascending steps
  std::vector<std::string> set_aside;         // names of *.damaged and *.rejected
  int64_t tables_step = -1;                   // -1: there is no checkpoint
  std::vector<TableRecord> tables;            // by name
  // The hottest id of each table; empty if no rows were read.
  std::vector<LearntId> learnt;
  std::optional<ExplainRecord> explained;  // nullopt: there is no such file
  std::vector<ConfigField> config_fields;  // in the order of the config
  std::optional<JobConfig> config;         // nullopt: notices say why
  std::optional<JobState> job;
  std::vector<std::string> notices;  // what could not be read, and what is missing because of it
};

struct RunReadOptions {
  // Also read the rows of one checkpoint, the best or else the newest, for the hottest ids, what
  // the first of each table has learnt, and the rows that were never updated: takes about three
  // times as long as `pepnet inspect`.
  bool rows = true;
};

// NotFound if `directory` is no model_dir of a training; DataLoss if one of its logs is damaged. A
// checkpoint or a config that cannot be read leaves a notice.
StatusOr<RunRecord> ReadRun(const std::string& directory, const RunReadOptions& options);

// The runs of a command line. InvalidArgument if one is named twice.
StatusOr<std::vector<RunRecord>> ReadRuns(const std::vector<std::string>& directories,
                                          const RunReadOptions& options);

// The slices of the best checkpoint's evaluation, else of the last; null without slices.
const SlicedEvaluation* ShownSlices(const RunRecord& run);

}  // namespace pepnet
