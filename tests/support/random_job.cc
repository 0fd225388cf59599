#include "tests/support/random_job.h"

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/substitute.h"
#include "common/config/load.h"

namespace pepnet {
namespace {

std::string RandomList(std::mt19937_64& random, int most, int buckets, bool weighted) {
  std::string text;
  for (int n = static_cast<int>(random() % (most + 1)), i = 0; i < n; ++i) {
    absl::StrAppend(&text, i > 0 ? "|" : "", random() % buckets);
    if (weighted) {
      absl::StrAppendFormat(&text, ":%.2f", 0.1 + static_cast<double>(random() % 200) / 100);
    }
  }
  return text;
}

// Clicked items and their times: up to six, of which four are read, and at times none.
std::string RandomClicks(std::mt19937_64& random) {
  std::string items, times;
  for (int n = static_cast<int>(random() % 7), i = 0; i < n; ++i) {
    absl::StrAppend(&items, i > 0 ? ";" : "", random() % 40);
    absl::StrAppendFormat(&times, "%s%.2f", i > 0 ? ";" : "",
                          static_cast<double>(random() % 100) / 50);
  }
  return absl::StrCat(",", items, ",", times, "\n");
}

std::string RandomRow(std::mt19937_64& random, const RandomJobOptions& options) {
  auto uniform = [&] { return static_cast<double>(random() >> 11) * 0x1.0p-53; };
  const int clk = uniform() < options.click_rate ? 1 : 0;
  const int buy = clk == 1 && uniform() < 0.4 ? 1 : 0;
  // Low ids are frequent, so that workers share rows within a step.
  const int uid = static_cast<int>(uniform() * uniform() * 50),
            iid = static_cast<int>(uniform() * uniform() * 40);
  const std::string empty_or_iid = random() % 9 == 0 ? "" : absl::StrCat(iid);
  return absl::StrFormat("%d,%d,%d,%s,%s,%s,w%d,%d,%.3f,%s", clk, buy, uid, empty_or_iid,
                         RandomList(random, 4, 40, false), RandomList(random, 3, 20, true),
                         random() % static_cast<uint64_t>(options.words), random() % 3,
                         uniform() * 60,
                         random() % 7 == 0 ? "" : absl::StrFormat("%.4f", uniform() * 2 - 1));
}

constexpr char kConfig[] = R"(
train_input_path: "$0/train-*.csv"
eval_input_path: "$0/train-*.csv"
model_dir: "$0/model"
train_config {
  sparse_optimizer { $1 exponential_decay_learning_rate { decay_size: 7 decay_factor: 0.9 } }
  dense_optimizer { $2 constant_learning_rate {} }
  num_epochs: $3
  save_checkpoints_steps: 1000000
  $4
}
data_config {
  batch_size: $5
  dataset_type: CsvDataset
  with_header: true
  fg_mode: FG_DAG
  label_fields: ["clk", "buy", "dom"]
  num_workers: $6
  shuffle: $7
  shuffle_buffer_size: 2
  $8
}
feature_configs { id_feature { feature_name: "uid" expression: "user:uid" num_buckets: 50 embedding_dim: 4 } }
feature_configs { id_feature { feature_name: "iid" expression: "item:iid" num_buckets: 40 embedding_dim: 4
                               embedding_name: "item_emb" pooling: "mean" } }
feature_configs { id_feature { feature_name: "hist" expression: "user:hist" num_buckets: 40 embedding_dim: 4
                               embedding_name: "item_emb" pooling: "mean" separator: "|" } }
feature_configs { id_feature { feature_name: "tags" expression: "item:tags" num_buckets: 20 embedding_dim: 4
                               weighted: true separator: "|" } }
feature_configs { id_feature { feature_name: "word" expression: "item:word" WORD_ROWS embedding_dim: 4 } }
feature_configs { id_feature { feature_name: "dom" expression: "context:dom" num_buckets: 3 embedding_dim: 4 } }
feature_configs { raw_feature { feature_name: "price" expression: "item:price" boundaries: [5, 10, 20, 40] embedding_dim: 4 } }
feature_configs { raw_feature { feature_name: "score" expression: "item:score" embedding_dim: 3 autodis { num_channels: 4 } } }
feature_configs { sequence_feature { sequence_name: "click" sequence_length: 4
  features { id_feature { feature_name: "iid" expression: "item:iid" num_buckets: 40 embedding_dim: 4 embedding_name: "item_emb" pooling: "mean" } }
  features { raw_feature { feature_name: "age" expression: "user:age" } } } }
model_config {
  feature_groups { group_name: "all" feature_names: ["uid", "iid", "hist", "score", "tags", "word", "price"] group_type: DEEP
    sequence_groups { group_name: "click" feature_names: ["iid", "click__iid", "click__age"] }
    sequence_encoders { din_encoder { input: "click" attn_mlp { hidden_units: [6, 3] ATTENTION } } }
    sequence_encoders { self_attention_encoder { input: "click" multihead_attn_dim: 4 num_heads: 2 dropout: $9 } } }
  feature_groups { group_name: "domain" feature_names: ["dom"] group_type: DEEP }
  feature_groups { group_name: "uia" feature_names: ["uid", "iid"] group_type: DEEP }
  pepnet {
    epnet_hidden_unit: 9
    ppnet_hidden_units: [12, 7]
    ppnet_dropout_ratio: $9
    )";
constexpr char kTowers[] = R"(
    task_towers { tower_name: "ctr" label_name: "clk" mlp { hidden_units: [8, 5] dropout_ratio: $0 $1 }
      metrics { auc {} } metrics { grouped_auc { grouping_key: "uid" } } losses { binary_cross_entropy {} } }
    task_towers { tower_name: "cvr" label_name: "buy" mlp { hidden_units: [6] $2 } $3 metrics { auc {} } losses { binary_cross_entropy {} }
      task_space_indicator_label: "clk" in_task_space_weight: 1 out_task_space_weight: 0 }
)";
constexpr char kSessions[] = R"(
    task_towers { tower_name: "rank" label_name: "clk" num_class: 2 mlp { hidden_units: [6] } metrics { auc {} }
      losses { jrc_loss { session_name: "dom" alpha: 0.3 } }
      task_space_indicator_label: "buy" in_task_space_weight: 3 out_task_space_weight: 1 }
)";

}  // namespace

RandomJobOptions LivingTableJob() {
  RandomJobOptions options;
  options.rows = 480;
  options.words = 150;
  options.word_rows =
      "dynamic_table { max_rows: 1024 eviction: \"LFU\" admit_after_steps: 2 admit_probability: "
      "0.9 ttl_steps: 25 "
      "ttl_seconds: 1200 }";
  options.event_times = true;
  return options;
}

RandomJobOptions FilteredTableJob() {
  RandomJobOptions options = LivingTableJob();
  options.word_rows =
      "dynamic_table { max_rows: 1024 admit_after_steps: 2 admission_filter { memory_mb: 1 "
      "halve_every_steps: 20 } "
      "ttl_seconds: 1200 }";
  return options;
}

RandomJobOptions ScoredTableJob() {
  RandomJobOptions options = LivingTableJob();
  options.word_rows =
      "dynamic_table { max_rows: 1024 eviction: \"SCORE\" half_life_steps: 5 show_weight: 0.2 "
      "click_weight: 1 "
      "click_label: \"clk\" }";
  return options;
}

std::string WriteRandomJob(const std::string& directory, const RandomJobOptions& options) {
  std::mt19937_64 random(options.data_seed), clicks(options.data_seed + 1000);
  int written = 0;
  for (int file = 0; file < options.files; ++file) {
    std::ofstream out(absl::StrCat(directory, "/train-", file, ".csv"));
    out << (options.event_times ? "time," : "")
        << "clk,buy,uid,iid,hist,tags,word,dom,price,score,click__iid,click__age\n";
    if (options.files > 2 && file == 1) continue;
    const int last = file + 1 == options.files
                         ? options.rows
                         : std::min(options.rows, written + options.rows / 3 + 1);
    for (; written < last; ++written) {
      // Ten seconds a row, and up to a thousand more: the last row of a batch is not always its
      // latest.
      if (options.event_times) {
        out << 1'600'000'000 + written * 10 + written * 7919 % 101 * 10 << ",";
      }
      out << RandomRow(random, options) << RandomClicks(clicks);
    }
  }
  const std::string head =
      absl::Substitute(kConfig, directory, options.sparse_optimizer, options.dense_optimizer,
                       options.num_epochs, options.train_extra, options.batch_size,
                       options.num_workers, options.shuffle ? "true" : "false",
                       absl::StrCat(options.data_extra,
                                    options.event_times ? " event_time { field: \"time\" }" : ""),
                       options.dropout);
  const char* const norm = options.batch_norm ? "use_bn: true" : "";
  const std::string function = options.batch_norm ? "Dice" : options.activation;
  const std::string activation =
      function.empty() ? "" : absl::StrCat("activation: \"", function, "\"");
  const std::string attention = absl::StrCat(norm, options.batch_norm ? "" : " " + activation);
  return absl::StrReplaceAll(head, {{"WORD_ROWS", options.word_rows}, {"ATTENTION", attention}}) +
         (options.domain_towers ? "domain_input_name: \"dom\" task_domain_num: 3\n" : "") +
         (function.empty() ? "" : absl::StrCat("ppnet_", activation, "\n")) +
         absl::Substitute(kTowers, options.dropout, norm, activation,
                          options.pareto_weights ? "pareto_min_loss_weight: 0.2" : "") +
         (options.sessions ? kSessions : "") + "}\n" +
         (options.variational_dropout ? "variational_dropout { regularization_lambda: 0.5 }\n"
                                      : "") +
         (options.pareto_weights ? "use_pareto_loss_weight: true\n" : "") + "}\n";
}

JobConfig MakeRandomJob(const std::string& directory, const RandomJobOptions& options,
                        const std::string& model_name) {
  ConfigOverrides overrides;
  overrides.model_dir = directory + "/" + model_name;
  auto config = ParseJobConfig(WriteRandomJob(directory, options), "random_job", overrides);
  if (!config.ok()) {
    std::cerr << config.status() << std::endl;
    std::abort();
  }
  return std::move(*config);
}

}  // namespace pepnet
