// JobConfig: a pipeline config after parsing, dialect rewriting, defaulting and validation, as
// plain structs without protobuf, so that files that include torch can use it.
//
// Threads: immutable after LoadJobConfig() (common/config/load.h); shared freely.
// Indices: features, tables and towers are referred to by their position in the vectors below.
#pragma once

#include <string>
#include <vector>

#include "common/job_config/data_config.h"
#include "common/job_config/feature.h"
#include "common/job_config/model.h"
#include "common/job_config/table.h"
#include "common/job_config/train_config.h"

namespace pepnet {

struct JobConfig {
  std::string train_input_path, eval_input_path, model_dir;
  DataConfig data;
  std::vector<Feature> features;  // order of feature_configs
  std::vector<Table> tables;      // order of first use by a leaf
  std::vector<Leaf> leaves;       // by feature; of one feature the pooled ones first
  Model model;
  TrainConfig train;
  EvalConfig eval;
  ExportConfig export_config;
  std::string effective_text;  // the normalised config in text format (today's dialect)
  // accepted-and-ignored fields, dialect rewrites: one sentence each, for the log (law L7)
  std::vector<std::string> notes;
};

}  // namespace pepnet
