// JobConfig: a pipeline config after parsing, dialect rewriting, defaulting and validation, as plain structs without
// protobuf, so that files that include torch can use it.
//
// Threads: immutable after LoadJobConfig(); shared freely.
// Indices: features, tables and towers are referred to by their position in the vectors below.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace pepnet {

// ---- features and tables ------------------------------------------------------------------------------------------

enum class FgMode { kNone, kNormal };  // FG_DAG reads as kNormal (spec 3.1)
enum class Pooling { kSum, kMean };
enum class FeatureKind { kId, kRaw };

// How a token becomes a row number (spec 3.2, 3.4).
enum class Bucketizer {
  kIdentity,    // the integer itself: num_buckets, and every id in FG_NONE
  kHash,        // string hash modulo rows
  kVocabulary,  // Feature::vocabulary, unknown words -> unknown_id
  kBoundaries,  // number of boundaries <= x
  kNone,        // raw feature without boundaries: values go straight into the group tensor
};

enum class NormalizerKind { kNone, kLog10, kZscore, kMinmax };
struct Normalizer {
  NormalizerKind kind = NormalizerKind::kNone;
  // log10: x > a ? log10(x) : b.   zscore: (x - a) / b.   minmax: (x - a) / (b - a).
  double a = 0, b = 0;
};

// First value of a row. kDefault: U(-sqrt(1/rows), sqrt(1/rows)).
enum class InitKind { kDefault, kUniform, kNormal, kConstant };
struct Initializer {
  InitKind kind = InitKind::kDefault;
  double a = 0;  // uniform: low; normal: mean; constant: value
  double b = 1;  // uniform: high; normal: standard deviation
};

struct Table {
  std::string name;  // embedding_name or <feature_name>_emb
  int64_t rows = 0;  // ids are 0 <= id < rows
  int dim = 0;
  Initializer initializer;
  bool trainable = true;
};

struct Feature {
  std::string name;
  // input column it reads: the feature name in FG_NONE, else the name after the colon of `expression`
  std::string column;
  FeatureKind kind = FeatureKind::kId;
  Bucketizer bucketizer = Bucketizer::kIdentity;
  int table = -1;    // index into JobConfig::tables; -1: no table (raw values, or a feature in no group)
  int dim = 0;       // width in a group tensor: embedding_dim, or value_dim of a raw feature without table
  int64_t rows = 0;  // as Table::rows, also where table == -1 but ids are parsed; 0 for raw values
  bool in_group = false;
  Pooling pooling = Pooling::kSum;
  bool weighted = false;  // tokens are "id:weight"
  int value_dim = 0;      // id features: 0 list allowed, 1 single value. Raw features: values per cell
  std::string separator;  // splits a string cell into tokens
  std::optional<std::string> default_value;  // what an empty cell reads as; nullopt: no id (pooled vector zero)
  // Vocabulary and hash:
  std::map<std::string, int64_t> vocabulary;
  int64_t unknown_id = 0;
  // Raw features:
  std::vector<double> boundaries;
  Normalizer normalizer;
};

struct FeatureGroup {
  std::string name;           // "all", "domain", "uia" after dialect rewriting
  std::vector<int> features;  // order of the columns of the group tensor
  int width = 0;              // sum of the features' dims
};

// ---- model --------------------------------------------------------------------------------------------------------

enum class ActivationKind { kIdentity, kRelu, kSigmoid, kTanh, kLeakyRelu, kSilu, kGelu, kElu, kPrelu };
struct Activation {
  ActivationKind kind = ActivationKind::kRelu;
  double parameter = 0;  // leaky relu: negative_slope; elu: alpha; prelu: initial weight
};

struct Mlp {
  std::vector<int> hidden_units;
  std::vector<double> dropout_ratio;  // one per layer after validation
  Activation activation;
  bool bias = true;
  bool use_ln = false;
};

enum class LossKind { kBinaryCrossEntropy, kBinaryFocal, kSoftmaxCrossEntropy, kL2 };
struct Loss {
  LossKind kind = LossKind::kBinaryCrossEntropy;
  std::string name;  // "<type>_<tower>", e.g. "binary_cross_entropy_ctr"
  double label_smoothing = 0;
  double focal_gamma = 2, focal_alpha = 0.5;
};

enum class MetricKind { kAuc, kGroupedAuc, kAccuracy, kMeanAbsoluteError, kMeanSquaredError };
struct Metric {
  MetricKind kind = MetricKind::kAuc;
  std::string name;           // "<metric>_<tower>", e.g. "auc_ctr"
  int thresholds = 200;       // auc
  double threshold = 0.5;     // accuracy
  int grouping_feature = -1;  // grouped_auc: index of the feature whose first id is the key
};

// A metric of the training batches: the rows of each decay_step steps are measured together, and the value moves by
// 1 - decay_rate of the way to that measurement (auc: the counts do).
struct TrainMetric {
  Metric metric;
  double decay_rate = 0.9;
  int64_t decay_step = 100;
};

struct Tower {
  std::string name;
  int label = -1;  // index into DataConfig::labels
  int num_class = 1;
  std::optional<Mlp> mlp;
  std::vector<Loss> losses;  // at least one
  std::vector<Metric> metrics;
  std::vector<TrainMetric> train_metrics;
  // Row weights (spec 2). weighted: any of the three fields is present in the config.
  bool weighted = false;
  double weight = 1;
  int sample_weight = -1;         // index into DataConfig::sample_weights
  int task_space_indicator = -1;  // index into DataConfig::labels
  double in_task_space_weight = 1, out_task_space_weight = 1;
};

struct Model {
  FeatureGroup main;                   // "all"
  std::optional<FeatureGroup> domain;  // absent: no EPNet
  std::optional<FeatureGroup> uia;     // absent: no PPNet
  int epnet_hidden_unit = 0;           // after defaulting (unset = width of main)
  double epnet_gamma = 2;
  std::vector<int> ppnet_hidden_units;
  Activation ppnet_activation;
  std::vector<double> ppnet_dropout_ratio;  // one per layer
  double ppnet_gamma = 2;
  int domain_label = -1;      // index into DataConfig::labels of domain_input_name; -1: one tower per task
  int domain_count = 1;       // towers per task: task_domain_num if domain_label >= 0, else 1
  std::vector<Tower> towers;  // one per task; the network has towers.size() * domain_count of them, task-major
};

// ---- optimizers ---------------------------------------------------------------------------------------------------

enum class ScheduleKind { kConstant, kExponentialDecay, kManualStep, kCosineAnnealing, kCosineWarmRestarts };
struct Schedule {
  ScheduleKind kind = ScheduleKind::kConstant;
  int64_t decay_size = 0;
  double decay_factor = 0.95;
  bool staircase = true;
  double warmup_learning_rate = 0;
  int64_t warmup_size = 0;
  double min_learning_rate = 0;
  bool by_epoch = false;
  std::vector<int64_t> schedule_sizes;
  std::vector<double> learning_rates;
  bool warmup = false;  // manual step
  int64_t t_max = 0, t_0 = 0, t_mult = 1;
};

enum class SparseOptimizerKind { kSgd, kAdagrad, kRowwiseAdagrad, kAdam, kPartialRowwiseAdam };
enum class WeightDecayMode { kNone, kL2, kDecouple };
struct SparseOptimizer {
  SparseOptimizerKind kind = SparseOptimizerKind::kAdagrad;
  double lr = 0.002;
  double initial_accumulator_value = 0;
  double beta1 = 0.9, beta2 = 0.999;
  double weight_decay = 0;
  WeightDecayMode weight_decay_mode = WeightDecayMode::kNone;
  bool gradient_clipping = false;
  double max_gradient = 1;
  Schedule schedule;
};
// Floats of optimizer state per row: sgd 0, adagrad dim, rowwise adagrad 1, adam 2 dim (exp_avg, exp_avg_sq),
// partial rowwise adam dim + 1 (exp_avg, then one exp_avg_sq).
int SparseStateDim(SparseOptimizerKind kind, int dim);

enum class DenseOptimizerKind { kSgd, kAdagrad, kAdam, kAdamW, kAdadelta, kRmsprop };
struct DenseOptimizer {
  DenseOptimizerKind kind = DenseOptimizerKind::kAdam;
  double lr = 0.002;
  double momentum = 0.9, dampening = 0;  // sgd
  bool nesterov = false;
  double weight_decay = 0;
  double initial_accumulator_value = 0;  // adagrad
  double beta1 = 0.9, beta2 = 0.999;     // adam, adamw
  bool amsgrad = false;
  double eps = 1e-8;    // adagrad default 1e-10, adadelta 1e-6
  double rho = 0.95;    // adadelta
  double alpha = 0.99;  // rmsprop
  Schedule schedule;
};

enum class ClippingType { kNone, kNorm, kValue };

// ---- data, train, eval --------------------------------------------------------------------------------------------

enum class DatasetType { kCsv, kParquet, kOther };  // kOther: the input paths decide (spec 4)
enum class ColumnType { kUnspecified, kInteger, kFloating, kString };
struct InputField {
  std::string name;
  ColumnType type = ColumnType::kUnspecified;
};

struct DataConfig {
  DatasetType dataset_type = DatasetType::kCsv;
  std::string dataset_type_name;
  FgMode fg_mode = FgMode::kNone;
  std::string fg_encoded_multival_sep = "\x03";
  int64_t batch_size = 1024;                // per worker
  int64_t eval_batch_size = 0;              // rows of a global evaluation batch; 0: batch_size per worker
  std::vector<std::string> labels;          // label_fields
  std::vector<std::string> sample_weights;  // sample_weight_fields
  std::vector<InputField> input_fields;     // column names of a CSV without header, in file order
  char delimiter = ',';
  bool with_header = false;
  int num_workers = 8;
  bool drop_remainder = false;
  bool shuffle = false;
  int64_t shuffle_buffer_size = 32;  // in global batches
};

struct TrainConfig {
  SparseOptimizer sparse_optimizer;
  DenseOptimizer dense_optimizer;
  int64_t num_steps = 0;  // exactly one of num_steps and num_epochs is > 0
  int64_t num_epochs = 0;
  int64_t save_checkpoints_steps = 1000;  // ignored if save_checkpoints_epochs > 0
  int64_t save_checkpoints_epochs = 0;
  int64_t keep_checkpoint_max = 0;  // 0: keep all
  std::string fine_tune_checkpoint;
  std::map<std::string, std::string> fine_tune_param_map;  // name in this model -> name in the checkpoint
  int64_t log_step_count_steps = 100;
  bool use_tensorboard = true;
  // What of the logged steps goes to TensorBoard; metrics and speed always do.
  bool summarize_loss = true, summarize_learning_rate = true;
  bool summarize_global_gradient_norm = false, summarize_gradient_norm = false;
  int64_t gradient_accumulation_steps = 1;  // 1: none
  ClippingType clipping = ClippingType::kNone;
  double clip_max_gradient = 1;
  double clip_norm_type = 2;
  std::string mixed_precision;  // "" or "BF16"
};

struct EvalConfig {
  int64_t num_steps = 0;  // 0: all
  int64_t log_step_count_steps = 10;
};

// Which checkpoint `export` takes when none is named.
struct ExportConfig {
  bool best = false;                         // false: the newest
  std::string best_exporter_metric = "auc";  // a name of train_eval_result.txt
  bool metric_larger_is_better = true;
};

struct JobConfig {
  std::string train_input_path, eval_input_path, model_dir;
  DataConfig data;
  std::vector<Feature> features;  // order of feature_configs
  std::vector<Table> tables;      // order of first use by a feature that is in a group
  Model model;
  TrainConfig train;
  EvalConfig eval;
  ExportConfig export_config;
  std::string effective_text;  // the normalised config in text format (today's dialect)
  // accepted-and-ignored fields, dialect rewrites: one sentence each, for the log (law L7)
  std::vector<std::string> notes;
};

// Canonical description of what fixes shapes and meaning (tables, rows, widths, bucketising, groups, towers, optimizer
// kinds), one fact per line: equal text means a checkpoint of one config fits the other (design section 7).
std::string ShapeDescription(const JobConfig& config);

// First fact in which the two descriptions differ, as a sentence; empty if equal.
std::string FirstDifference(const std::string& ours, const std::string& theirs);

// Checkpoint name of a table (spec 7).
std::string TableParameterName(const std::string& table);

}  // namespace pepnet
