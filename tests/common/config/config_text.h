// A small valid config for tests, to be changed by text replacement.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "common/config/load.h"

namespace pepnet {

inline const char kSmallConfig[] = R"(train_input_path: "a.csv"
eval_input_path: "b.csv"
model_dir: "m"
train_config {
  sparse_optimizer { adagrad_optimizer { lr: 0.001 } constant_learning_rate {} }
  dense_optimizer { adam_optimizer { lr: 0.002 } constant_learning_rate {} }
  num_steps: 5
}
data_config { batch_size: 8 dataset_type: CsvDataset with_header: true fg_mode: FG_DAG
  label_fields: ["clk", "buy", "dom"] sample_weight_fields: "sw"
}
feature_configs { id_feature { feature_name: "user" expression: "user:user" num_buckets: 10 embedding_dim: 4 } }
feature_configs { id_feature { feature_name: "item" expression: "item:item" hash_bucket_size: 20 embedding_dim: 4 } }
feature_configs { raw_feature { feature_name: "price" expression: "item:price" } }
model_config {
  feature_groups { group_name: "all" feature_names: ["user", "item", "price"] group_type: DEEP }
  feature_groups { group_name: "uia" feature_names: "user" group_type: DEEP }
  pepnet {
    ppnet_hidden_units: [6, 3]
    task_towers { tower_name: "ctr" label_name: "clk" losses { binary_cross_entropy {} } metrics { auc {} } }
    task_towers { tower_name: "cvr" label_name: "buy" mlp { hidden_units: 5 } losses { binary_cross_entropy {} } }
  }
}
)";

// kSmallConfig with the first occurrence of `from` replaced by `to`.
inline std::string Changed(const std::string& from, const std::string& to,
                           std::string text = kSmallConfig) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << "the config has no \"" << from << "\"";
  if (at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

inline StatusOr<JobConfig> Parse(const std::string& text, const ConfigOverrides& overrides = {}) {
  return ParseJobConfig(text, "job.config", overrides);
}

inline std::string ErrorOf(const std::string& text, const ConfigOverrides& overrides = {}) {
  const auto job = Parse(text, overrides);
  return job.ok() ? "OK" : std::string(job.status().message());
}

inline std::string AllNotes(const JobConfig& job) {
  std::string all;
  for (const std::string& note : job.notes) all += note + "\n";
  return all;
}

}  // namespace pepnet
