#include "tests/fuzz/fuzz_job.h"

#include <cmath>

#include "absl/strings/substitute.h"
#include "common/config/load.h"
#include "tests/fuzz/fuzz_support.h"

namespace pepnet {
namespace {

constexpr char kConfig[] = R"(
train_input_path: "a" eval_input_path: "b" model_dir: "m"
train_config {
  sparse_optimizer { adagrad_optimizer { lr: 0.1 } constant_learning_rate {} }
  dense_optimizer { adam_optimizer { lr: 0.1 } constant_learning_rate {} }
  num_steps: 5
}
data_config {
  batch_size: 4 dataset_type: $0 with_header: $1 fg_mode: FG_DAG num_workers: 1
  label_fields: ["clk", "buy", "dom"] sample_weight_fields: "sw"
  $2
}
feature_configs { id_feature { feature_name: "uid" expression: "user:uid"
  num_buckets: 50 embedding_dim: 2 } }
feature_configs { id_feature { feature_name: "iid" expression: "item:iid"
  num_buckets: 40 embedding_dim: 2 default_value: "7" } }
feature_configs { id_feature { feature_name: "hist" expression: "user:hist"
  hash_bucket_size: 40 embedding_dim: 2 separator: "|" } }
feature_configs { id_feature { feature_name: "tags" expression: "item:tags"
  num_buckets: 20 embedding_dim: 2 weighted: true separator: "|" } }
feature_configs { id_feature { feature_name: "word" expression: "item:word"
  vocab_list: ["red", "green"] embedding_dim: 2 } }
feature_configs { raw_feature { feature_name: "price" expression: "item:price"
  boundaries: [5, 10, 20] embedding_dim: 2
  normalizer: "method=log10,threshold=1e-10,default=-10" } }
feature_configs { raw_feature { feature_name: "score" expression: "item:score"
  value_dim: 2 separator: "|" } }
model_config {
  feature_groups { group_name: "all" group_type: DEEP
    feature_names: ["uid", "iid", "hist", "tags", "word", "price", "score"] }
  feature_groups { group_name: "uia" feature_names: "uid" group_type: DEEP }
  pepnet {
    ppnet_hidden_units: 3
    domain_input_name: "dom" task_domain_num: 3
    task_towers { tower_name: "ctr" label_name: "clk" sample_weight_name: "sw"
      losses { binary_cross_entropy {} } metrics { auc {} } }
    task_towers { tower_name: "cvr" label_name: "buy" losses { binary_cross_entropy {} }
      task_space_indicator_label: "clk" in_task_space_weight: 1 out_task_space_weight: 0 }
  }
}
)";
constexpr char kFields[] =
    R"(input_fields_str: "clk:INT32;buy:INT32;dom:INT32;sw:FLOAT;uid:INT64;iid:INT64;hist:STRING;tags:STRING;"
       "word:STRING;price:FLOAT;score:STRING")";

// $0: mode, $1: a tokenizer.json.
constexpr char kSequenceConfig[] = R"config(
train_input_path: "a" eval_input_path: "b" model_dir: "m"
train_config {
  sparse_optimizer { adagrad_optimizer { lr: 0.1 } constant_learning_rate {} }
  dense_optimizer { adam_optimizer { lr: 0.1 } constant_learning_rate {} }
  num_steps: 5
}
data_config { batch_size: 4 dataset_type: CsvDataset with_header: true fg_mode: $0 num_workers: 1 label_fields: "clk"
  fg_encoded_multival_sep: "|" }
feature_configs { sequence_feature { sequence_name: "q" sequence_length: 3
  features { id_feature { feature_name: "i" expression: "item:i" num_buckets: 9 embedding_dim: 2 separator: "|" } }
  features { id_feature { feature_name: "all" expression: "item:i" hash_bucket_size: 9 embedding_dim: 2 value_dim: 0
    separator: "|" default_value: "a|b" } }
  features { raw_feature { feature_name: "n" expression: "item:n" value_dim: 2 separator: "|" default_value: "1|2" } }
  features { raw_feature { feature_name: "steps" expression: "item:n" boundaries: [0, 1] embedding_dim: 2
    separator: "|" } }
  features { combo_feature { feature_name: "combo" expression: ["user:u", "item:i"] hash_bucket_size: 9
    embedding_dim: 2 separator: "|" } }
  features { lookup_feature { feature_name: "found" map: "user:m" key: "item:i" separator: "|" } }
  features { expr_feature { feature_name: "expr" expression: "l2_norm(n) + reduce_max(b)"
    variables: ["item:n", "user:b"]
    sequence_fields: "n" separator: "|" } }
  features { tokenize_feature { feature_name: "text" expression: "item:i" vocab_file: "$1" embedding_dim: 2 } } } }
feature_configs { sequence_id_feature { feature_name: "s" expression: "user:s" vocab_list: ["a", "b"]
  embedding_dim: 2 } }
feature_configs { combo_feature { feature_name: "combo" expression: ["user:u", "item:i", "user:s"] hash_bucket_size: 9
  embedding_dim: 2 separator: "|" default_value: "x" } }
feature_configs { lookup_feature { feature_name: "lookup" map: "user:m" key: "item:i" separator: "|" } }
feature_configs { match_feature { feature_name: "match" nested_map: "user:m" pkey: "user:u" skey: "ALL"
  hash_bucket_size: 9 embedding_dim: 2 show_skey: true } }
feature_configs { expr_feature { feature_name: "expr" expression: "l2_norm(n) + reduce_max(b)" variables
    : [ "user:n", "user:b" ] separator : "|" fill_missing : 0
}
}
feature_configs {
  overlap_feature {
  feature_name:
    "overlap" query : "user:u" title : "user:t" method : "index_of" separator : "|"
  }
}
feature_configs {
  kv_dot_product {
  feature_name:
    "dot" query : "user:m" document : "user:t" separator : "|"
  }
}
feature_configs {
  bool_mask_feature {
  feature_name:
    "mask" expression : [ "user:u", "user:b" ] num_buckets : 9 embedding_dim : 2 separator : "|"
  }
}
feature_configs {
  combine_feature {
  feature_name:
    "combine" expression : "user:n" combiner : "max" num_buckets : 9 embedding_dim : 2 separator : "|"
  }
}
feature_configs {
  custom_feature {
  feature_name:
    "edit" operator_name : "EditDistance" expression : [ "user:u", "user:t" ]
  }
}
feature_configs {
  tokenize_feature {
  feature_name:
    "words" expression : "user:t" vocab_file
        : "$1" embedding_dim : 2 text_normalizer{norm_options : TEXT_UPPER2LOWER max_length : 20} default_value : "red"
  }
}
feature_configs {
  tokenize_feature {
  feature_name:
    "tokens" expression : "user:t" vocab_file : "$1" embedding_dim : 2 tokens_as_sequence : true sequence_length : 4
  }
}
model_config {
  feature_groups { group_name: "all" group_type: DEEP
    feature_names: ["combo", "lookup", "match", "expr", "overlap", "dot", "mask", "combine", "edit", "words"]
    sequence_groups {
group_name:
  "g" feature_names : [ "q__i", "q__all", "q__n", "q__steps", "q__combo", "q__found", "q__expr", "q__text" ] }
    sequence_groups { group_name: "h" feature_names: ["s"] }
    sequence_groups { group_name: "k" feature_names: ["tokens"] }
    sequence_encoders { pooling_encoder { input: "g" } }
    sequence_encoders { pooling_encoder { input: "h" } }
    sequence_encoders { pooling_encoder { input: "k" } } }
  pepnet { task_towers { tower_name: "ctr" label_name: "clk" losses { binary_cross_entropy {} } metrics { auc {} } } }
}
)config";
constexpr char kTokenizer[] =
    R"({"normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"},
  "added_tokens": [{"id": 3, "content": "[X]", "normalized": false}],
  "model": {"type": "WordLevel", "vocab": {"red": 0, "shoes": 1, "[UNK]": 2}, "unk_token": "[UNK]"}})";
constexpr int64_t kRowsAtOnce = 3;

void CheckBatch(const JobConfig& config, const Batch& batch) {
  const auto rows = static_cast<size_t>(batch.rows);
  for (size_t f = 0; f < config.features.size(); ++f) {
    const Feature& feature = config.features[f];
    const IdColumn& column = batch.ids[f];
    size_t cells = rows;  // rows, or elements of a sequence
    if (feature.sequence.has_value()) {
      const std::vector<int32_t>& elements = batch.elements[f];
      Expect(elements.size() == rows + 1 && elements.front() == 0,
             "an offset of elements for each row");
      for (size_t row = 0; row < rows; ++row) {
        Expect(elements[row] <= elements[row + 1], "offsets of elements that rise");
        const int most = feature.sequence->max_elements;
        Expect(most == 0 || elements[row + 1] - elements[row] <= most,
               "no more elements than the longest sequence has");
      }
      cells = static_cast<size_t>(elements.back());
    }
    if (feature.bucketizer == Bucketizer::kNone) {
      Expect(batch.values[f].size() == cells * static_cast<size_t>(feature.dim),
             "values for each cell");
    }
    if (!column.offsets.empty() || !column.ids.empty()) {
      Expect(column.offsets.size() == cells + 1 && column.offsets.front() == 0,
             "an offset for each cell");
      for (size_t cell = 0; cell < cells; ++cell) {
        Expect(column.offsets[cell] <= column.offsets[cell + 1], "offsets that rise");
      }
      Expect(column.offsets.back() == static_cast<int64_t>(column.ids.size()),
             "offsets that end with the ids");
    }
    for (const int64_t id : column.ids) {
      Expect(id >= 0 && id < feature.rows, "ids within the table");
    }
    Expect(column.weights.empty() || column.weights.size() == column.ids.size(),
           "a weight for each id");
    for (const float value : batch.values[f].span()) Expect(std::isfinite(value), "finite values");
  }
  for (const LabelColumn& label : batch.labels) {
    Expect(label.values.size() == rows, "a label for each row");
  }
  for (const auto& weights : batch.sample_weights) {
    Expect(weights.size() == rows, "a weight for each row");
  }
}

}  // namespace

std::string FuzzJobText(DatasetType type, bool with_header) {
  return absl::Substitute(kConfig, TypeOf(type).dataset, with_header ? "true" : "false",
                          type == DatasetType::kCsv && !with_header ? kFields : "");
}

JobConfig MakeFuzzJob(DatasetType type, bool with_header) {
  StatusOr<JobConfig> config = ParseJobConfig(FuzzJobText(type, with_header), "job.config", {});
  Expect(config.ok(), std::string(config.status().message()).c_str());
  return *std::move(config);
}

JobConfig MakeFuzzSequenceJob(FgMode mode) {
  static const MemoryFile tokenizer(kTokenizer);
  const std::string text = absl::Substitute(
      kSequenceConfig, mode == FgMode::kNone ? "FG_NONE" : "FG_DAG", tokenizer.path());
  StatusOr<JobConfig> config = ParseJobConfig(text, "job.config", {});
  Expect(config.ok(), std::string(config.status().message()).c_str());
  return *std::move(config);
}

Status DecodeChunk(const RowChunk& chunk, const JobConfig& config, const BatchDecoder& decoder) {
  for (int64_t first = 0; first < chunk.rows->num_rows(); first += config.data.batch_size) {
    CutBatch cut;
    cut.rows.chunks.push_back(chunk);
    cut.rows.AddRun(0, first, std::min(config.data.batch_size, chunk.rows->num_rows() - first));
    EncodeCounts counts;
    PEPNET_ASSIGN_OR_RETURN(const Batch batch, decoder.Decode(cut, &counts));
    Expect(counts.clamped == 0, "no id is clamped unasked");
    CheckBatch(config, batch);
  }
  return absl::OkStatus();
}

Status DecodeFile(const std::string& path, const JobConfig& config, char delimiter,
                  bool farm_hash) {
  const DatasetType type = *config.data.dataset_type;
  FileFormat format = FormatOf(config.data, type);
  format.delimiter = delimiter;
  LoaderOptions options;
  options.farm_hash = farm_hash;
  const ColumnPlan plan = PlanColumns(config, LabelSet::kAll, {});
  PEPNET_ASSIGN_OR_RETURN(const auto decoder,
                          BatchDecoder::Create(config, options, type, plan, nullptr));
  PEPNET_ASSIGN_OR_RETURN(const auto reader, OpenRowReader(path, format, plan.names));
  while (true) {
    PEPNET_ASSIGN_OR_RETURN(const RowChunk chunk, reader->Read(kRowsAtOnce));
    if (chunk.rows->num_rows() == 0) return absl::OkStatus();
    Expect(chunk.rows->num_rows() <= kRowsAtOnce, "at most the rows asked for");
    PEPNET_RETURN_IF_ERROR(DecodeChunk(chunk, config, *decoder));
  }
}

}  // namespace pepnet
