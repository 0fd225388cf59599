// A small job with every kind of feature, weights and skew, on seeded random rows: what the law
// tests train.
#pragma once

#include <cstdint>
#include <string>

#include "common/job_config/job_config.h"

namespace pepnet {

struct RandomJobOptions {
  uint64_t data_seed = 1;
  int rows = 101;
  int files = 3;  // uneven; the second one is empty if files > 2
  int batch_size = 6;
  int num_epochs = 2;
  std::string sparse_optimizer = "sgd_optimizer { lr: 0.5 }";
  std::string dense_optimizer = "adam_optimizer { lr: 0.01 }";
  std::string train_extra;  // further fields of train_config
  std::string data_extra;   // further fields of data_config
  double dropout = 0.2;
  bool shuffle = true;
  bool domain_towers = false;
  bool sessions = false;             // a further tower whose jrc_loss ranks the rows of a domain
  bool variational_dropout = false;  // of all groups with several features
  // In a tower and in an encoder, and Dice in another tower and in PPNet.
  bool batch_norm = false;
  std::string activation;       // of a tower, of PPNet and of an encoder; "": as it is
  bool pareto_weights = false;  // with a least weight
  double click_rate = 0.3;
  int num_workers = 2;
  std::string word_rows = "hash_bucket_size: 15";  // how the words become rows
  int words = 30;                                  // that there are
  // A further column, "time", and data_config.event_time.
  bool event_times = false;
};

// Options under which the words stand in a table that admits, expires and evicts: more words than a
// batch names, some often, most rarely, so that all three happen.
RandomJobOptions LivingTableJob();
// The same with an admission filter instead of candidates.
RandomJobOptions FilteredTableJob();
// The same whose rows leave by a score of shows and clicks.
RandomJobOptions ScoredTableJob();

// Writes the rows as CSV files under `directory` and returns the config text (model_dir:
// <directory>/model).
std::string WriteRandomJob(const std::string& directory, const RandomJobOptions& options);

// The same, parsed; aborts the test process on an invalid config. model_dir:
// <directory>/<model_name>.
JobConfig MakeRandomJob(const std::string& directory, const RandomJobOptions& options,
                        const std::string& model_name = "model");

}  // namespace pepnet
