#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/job_config/shape_description.h"
#include "tests/common/config/config_text.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace pepnet {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

struct Case {
  std::string from, to;  // replacement in kSmallConfig
  // Part of the message, starting with "file:line: field: " where the line is known.
  std::string error;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.to; }

class RejectsTest : public ::testing::TestWithParam<Case> {};

TEST_P(RejectsTest, WithFieldAndLine) {
  EXPECT_THAT(ErrorOf(Changed(GetParam().from, GetParam().to)), StartsWith(GetParam().error));
}

constexpr char kSteps[] = "num_steps: 5";
const std::string kTrain = "job.config:7: train_config.";

INSTANTIATE_TEST_SUITE_P(
    Train, RejectsTest,
    ::testing::Values(
        Case{kSteps, "num_steps: 5 delta_embedding_dump_config { x: 3 }",
             kTrain + "delta_embedding_dump_config: is not supported"},
        Case{kSteps, "num_steps: 5 save_checkpoints_timestamps: 7",
             kTrain + "save_checkpoints_timestamps: checkpoints by"},
        Case{kSteps, "num_steps: 5 save_checkpoints_timestamp_interval: 7",
             kTrain + "save_checkpoints_timestamp_interval: 7 "},
        Case{kSteps, "num_steps: 5 delta_embedding_dump_config { x: 1 }",
             kTrain + "delta_embedding_dump_config: "},
        Case{kSteps, "num_steps: 5 mixed_precision: 'FP8'",
             kTrain + "mixed_precision: \"FP8\"; expected BF16"},
        Case{kSteps, "num_steps: 5 num_epochs: 1",
             kTrain + "num_steps: num_steps is 5 and num_epochs is 1"},
        Case{kSteps, "num_steps: 0", kTrain + "num_steps: num_steps is 0 and num_epochs is 0"},
        Case{kSteps, "num_steps: 5 log_step_count_steps: 0", kTrain + "log_step_count_steps: 0"},
        Case{kSteps, "num_steps: 5 tensorboard_summaries: 'los'",
             kTrain +
                 "tensorboard_summaries: \"los\"; expected one of loss, learning_rate, parameter, "
                 "global_gradient_norm, gradient_norm, gradient (did you mean \"loss\"?)"},
        Case{kSteps, "num_steps: 5 grad_clipping { clipping_type: 'both' }",
             kTrain + "grad_clipping.clipping_type: \"both\""},
        Case{kSteps, "num_steps: 5 grad_clipping { max_gradient: 0 }",
             kTrain + "grad_clipping.max_gradient: 0"},
        Case{kSteps, "num_steps: 5 fine_tune_ckpt_param_map: 'no/file'",
             kTrain + "fine_tune_ckpt_param_map: "},
        Case{"adagrad_optimizer { lr: 0.001 }", "lamb_optimizer { lr: 1 beta2: 1 }",
             "job.config:5: train_config.sparse_optimizer.lamb_optimizer.beta2: 1; expected 0 <= "
             "value < 1"},
        Case{"adagrad_optimizer { lr: 0.001 }", "lars_sgd_optimizer { lr: 1 momentum: 1 }",
             "job.config:5: train_config.sparse_optimizer.lars_sgd_optimizer.momentum: 1; expected "
             "0 <= value < 1"},
        Case{"adagrad_optimizer { lr: 0.001 }", "partial_rowwise_lamb_optimizer { lr: -1 }",
             "job.config:5: "},
        Case{"adagrad_optimizer { lr: 0.001 }", "adadelta_optimizer { lr: 1 rho: 1.5 }",
             "job.config:5: train_config.sparse_optimizer.adadelta_optimizer.rho: 1.5; expected"},
        Case{"adagrad_optimizer { lr: 0.001 }", "rmsprop_optimizer { lr: 1 eps: 0 }",
             "job.config:5: train_config.sparse_optimizer.rmsprop_optimizer.eps: 0; expected a "
             "number > 0"},
        Case{"adagrad_optimizer { lr: 0.001 }", "",
             "job.config:5: train_config.sparse_optimizer: no optimizer is set"},
        Case{"lr: 0.001", "lr: -1",
             "job.config:5: train_config.sparse_optimizer.adagrad_optimizer.lr: -1"},
        Case{"lr: 0.001", "lr: nan", "job.config:5: "},
        Case{"lr: 0.001", "lr: 1 gradient_clipping: true max_gradient: 0", "job.config:5: "},
        Case{"lr: 0.002", "lr: 1 beta1: 1",
             "job.config:6: train_config.dense_optimizer.adam_optimizer.beta1: 1; expected"},
        Case{"lr: 0.002", "lr: 1 eps: 0",
             "job.config:6: train_config.dense_optimizer.adam_optimizer.eps: 0; expected"},
        Case{"adam_optimizer { lr: 0.002 }", "sgd_optimizer { lr: 1 nesterov: true momentum: 0 }",
             "job.config:6: train_config.dense_optimizer.sgd_optimizer.nesterov: needs momentum"},
        Case{"dense_optimizer {", "dense_optimizer { ema { decay: 1.5 }",
             "job.config:6: train_config.dense_optimizer.ema.decay: 1.5; expected 0 <= value <= 1"},
        Case{"dense_optimizer {", "dense_optimizer { part_optimizers { regex_pattern: 'x' }",
             "job.config:6: train_config.dense_optimizer.part_optimizers[0]: no optimizer is set; "
             "expected for example "
             "adam_optimizer { lr: 0.001 }"},
        Case{"dense_optimizer {", "dense_optimizer { part_optimizers { sgd_optimizer { lr: 1 } }",
             "job.config:6: train_config.dense_optimizer.part_optimizers[0].regex_pattern: is "
             "missing; expected an "
             "expression that matches whole names of parameters, for example "
             "\"model\\\\.epnet\\\\..*\""},
        Case{"dense_optimizer {",
             "dense_optimizer { part_optimizers { regex_pattern: 'a(b' sgd_optimizer { lr: 1 } }",
             "job.config:6: train_config.dense_optimizer.part_optimizers[0].regex_pattern: column "
             "2 of \"a(b\": a '(' "
             "without its ')'"},
        Case{"dense_optimizer {",
             "dense_optimizer { part_optimizers { regex_pattern: 'a' sgd_optimizer { lr: -1 } }",
             "job.config:6: train_config.dense_optimizer.part_optimizers[0].sgd_optimizer.lr: -1; "
             "expected"},
        Case{
            "constant_learning_rate {}", "exponential_decay_learning_rate {}",
            "job.config:5: "
            "train_config.sparse_optimizer.exponential_decay_learning_rate.decay_size: is missing"},
        Case{
            "constant_learning_rate {}",
            "manual_step_learning_rate { schedule_sizes: [1, 2] learning_rates: 1 }",
            "job.config:5: train_config.sparse_optimizer.manual_step_learning_rate.learning_rates: "
            "has 1 values"},
        Case{"constant_learning_rate {}",
             "manual_step_learning_rate { schedule_sizes: [2, 1] learning_rates: [1, 1] }",
             "job.config:5: "},
        Case{"constant_learning_rate {}", "manual_step_learning_rate {}", "job.config:5: "},
        Case{"constant_learning_rate {}", "cosine_annealing_learning_rate {}", "job.config:5: "},
        Case{"constant_learning_rate {}", "linear_decay_learning_rate {}",
             "job.config:5: "
             "train_config.sparse_optimizer.linear_decay_learning_rate.num_training_steps: is "
             "missing"},
        Case{"constant_learning_rate {}",
             "linear_decay_learning_rate { num_training_steps: 9 warmup_size: 9 }",
             "job.config:5: train_config.sparse_optimizer.linear_decay_learning_rate.warmup_size: "
             "9; expected less"},
        Case{"constant_learning_rate {}",
             "cosine_annealing_warm_restarts_learning_rate { T_0: 1 T_mult: 0 }", "job.config:5: "},
        Case{"data_config {", "eval_config { use_dense_ema: true } data_config {",
             "job.config:9: eval_config.use_dense_ema: true, but train_config.dense_optimizer "
             "keeps no averages; add "
             "ema {} there or remove it"},
        Case{"data_config {", "export_config { use_dense_ema: true } data_config {",
             "job.config:9: export_config."},
        Case{"data_config {", "export_config { export_format: HF } data_config {",
             "job.config:9: export_config.export_format: HF is not supported; remove it"},
        Case{"data_config {", "prompt_config { x: 1 } data_config {",
             "job.config:9: prompt_config: is not supported; remove it"}));

const std::string kData = "job.config:9: data_config.";

INSTANTIATE_TEST_SUITE_P(
    Data, RejectsTest,
    ::testing::Values(
        Case{"batch_size: 8", "batch_size: 0", kData + "batch_size: 0; expected at least 1 row"},
        Case{"batch_size: 8", "eval_batch_size: 0", kData + "eval_batch_size: 0"},
        Case{"with_header: true", "", kData + "with_header: false (the default)"},
        Case{"with_header: true", "input_fields { input_type: INT64 }",
             kData + "input_fields[0].input_name: is missing"},
        Case{"with_header: true", "input_fields_str: 'a:INT64;a:STRING'",
             kData + "input_fields_str: column \"a\""},
        Case{"with_header: true", "input_fields_str: 'a:NUMBER'",
             kData + "input_fields_str: \"a:NUMBER\""},
        Case{"with_header: true", "with_header: true delimiter: ''",
             kData + "delimiter: \"\" has 0 bytes"},
        Case{"fg_mode: FG_DAG", "fg_mode: FG_BUCKETIZE",
             kData + "fg_mode: FG_BUCKETIZE is not supported"},
        Case{"fg_mode: FG_DAG", "fg_encoded_multival_sep: ''",
             kData + "fg_encoded_multival_sep: is empty"},
        Case{"fg_mode: FG_DAG", "shuffle_buffer_size: 0", kData + "shuffle_buffer_size: 0"},
        Case{"fg_mode: FG_DAG", "sample_mask_prob: 0.5",
             kData + "sample_mask_prob: 0.5 is not supported"},
        Case{"fg_mode: FG_DAG", "negative_sample_mask_prob: 0.5",
             kData + "negative_sample_mask_prob: 0.5 "},
        Case{"fg_mode: FG_DAG", "force_base_data_group: true",
             kData + "force_base_data_group: true "},
        Case{"fg_mode: FG_DAG", "sample_cost_field: 'x'",
             kData + "sample_cost_field: \"x\" batches by cost"},
        Case{"fg_mode: FG_DAG", "batch_cost_size: 9", kData + "batch_cost_size: 9 "},
        Case{"fg_mode: FG_DAG", "negative_sampler { num_sample: 3 }",
             kData + "negative_sampler: samplers are not"},
        Case{"\"dom\"]", "\"clk\"]",
             "job.config:10: data_config.label_fields: \"clk\" is listed twice"}));

const std::string kUser = "job.config:12: feature_configs[0].id_feature.";
const std::string kPrice = "job.config:14: feature_configs[2].raw_feature.";

INSTANTIATE_TEST_SUITE_P(
    Features, RejectsTest,
    ::testing::Values(
        Case{"num_buckets: 10", "",
             "job.config:12: feature_configs[0].id_feature: feature user does not say"},
        Case{"num_buckets: 10", "num_buckets: 0", kUser + "num_buckets: 0; expected"},
        Case{"num_buckets: 10", "num_buckets: 10 hash_bucket_size: 3",
             kUser + "num_buckets: hash_bucket_size is set as well"},
        Case{"num_buckets: 10", "num_buckets: 10 default_bucketize_value: 3",
             kUser + "default_bucketize_value: only"},
        Case{"num_buckets: 10", "num_buckets: 10 asset_dir: 'x'",
             kUser + "asset_dir: only applies"},
        Case{"num_buckets: 10", "vocab_list: ['a', 'a']",
             kUser + "vocab_list: \"a\" is listed twice"},
        Case{"num_buckets: 10", "vocab_list: 'a' default_bucketize_value: 1",
             kUser + "default_bucketize_value: 1 is outside the table of 1 rows"},
        Case{"num_buckets: 10", "vocab_dict { key: 'a' value: 0 }",
             kUser + "vocab_dict: unknown words go to row 1"},
        Case{"num_buckets: 10", "vocab_dict { key: 'a' }",
             kUser + "vocab_dict[0]: an entry needs both"},
        Case{"num_buckets: 10", "vocab_dict { key: 'a' value: 1 } vocab_dict { key: 'a' value: 2 }",
             kUser + "vocab_dict[1].key: \"a\" is given twice"},
        Case{"num_buckets: 10", "vocab_file: 'x'",
             kUser + "vocab_file: needs default_bucketize_value"},
        Case{"num_buckets: 10", "vocab_file: 'no/file' default_bucketize_value: 0",
             kUser + "vocab_file: "},
        Case{"embedding_dim: 4", "", kUser + "embedding_dim: is missing"},
        Case{"embedding_dim: 4", "embedding_dim: 0", kUser + "embedding_dim: 0"},
        Case{"embedding_dim: 4", "embedding_dim: 4 pooling: 'max'",
             kUser + "pooling: \"max\"; expected sum or mean"},
        Case{"embedding_dim: 4", "embedding_dim: 4 value_dim: 2", kUser + "value_dim: 2"},
        Case{"embedding_dim: 4", "embedding_dim: 4 separator: ''", kUser + "separator: is empty"},
        Case{"embedding_dim: 4", "embedding_dim: 4 data_type: 'INT4'",
             kUser + "data_type: \"INT4\""},
        Case{"embedding_dim: 4", "embedding_dim: 4 use_mask: true",
             kUser + "use_mask: true is not supported"},
        Case{"embedding_dim: 4", "embedding_dim: 4 stub_type: true",
             kUser + "stub_type: true is not supported"},
        Case{"embedding_dim: 4", "embedding_dim: 4 sequence_length: 9",
             kUser + "sequence_length: only applies to sequences"},
        Case{"embedding_dim: 4", "embedding_dim: 4 sequence_fields: 'a'",
             kUser + "sequence_fields: only applies to sequences"},
        Case{"embedding_dim: 4", "embedding_dim: 4 init_fn: 'xavier'",
             kUser + "init_fn: unknown initialiser"},
        Case{"user:user", "user",
             kUser + "expression: \"user\"; expected user:, item: or context:"},
        Case{"user:user", "feature:user", kUser + "expression: \"feature:user\""},
        Case{"user:user", "user:", kUser + "expression: \"user:\""},
        Case{"expression: \"user:user\"", "", kUser + "expression: is missing"},
        Case{"feature_name: \"user\"", "", kUser + "feature_name: is missing"},
        Case{"feature_name: \"item\"", "feature_name: \"user\"",
             "job.config:13: feature_configs[1].id_feature.feature_name: \"user\" names two "
             "features"},
        Case{"feature_configs { raw", "feature_configs {} feature_configs { raw",
             "job.config:14: feature_configs[2]: is empty"},
        Case{"item:price\"", "item:price\" autodis { num_channels: 1 }",
             kPrice + "embedding_dim: is missing; with autodis"},
        Case{"item:price\"", "item:price\" embedding_dim: 0 mlp {}",
             kPrice + "embedding_dim: 0; with mlp, expected"},
        Case{"item:price\"", "item:price\" embedding_dim: 3 mlp {} autodis { num_channels: 1 }",
             kPrice + "mlp: autodis is set as well"},
        Case{"item:price\"", "item:price\" embedding_dim: 3 autodis {}",
             kPrice + "autodis.num_channels: 0; expected 1 to"},
        Case{"item:price\"",
             "item:price\" embedding_dim: 3 autodis { num_channels: 2 temperature: 0 }",
             kPrice + "autodis.temperature: 0; expected a number > 0"},
        Case{"item:price\"",
             "item:price\" embedding_dim: 3 autodis { num_channels: 2 keep_prob: nan }",
             kPrice + "autodis.keep_prob: nan; expected a number"},
        Case{"item:price\"",
             "item:price\" embedding_dim: 3 value_dim: 2 autodis { num_channels: 2 }",
             kPrice + "autodis: reads one value, but value_dim is 2"},
        Case{"item:price\"", "item:price\" embedding_dim: 3 boundaries: 1 mlp {}",
             kPrice + "mlp: reads values, but the feature has boundaries"},
        Case{"item:price\"", "item:price\" boundaries: 1",
             kPrice + "embedding_dim: is missing; with boundaries"},
        Case{"item:price\"", "item:price\" boundaries: [1, 1] embedding_dim: 2",
             kPrice + "boundaries: 1 follows 1"},
        Case{"item:price\"", "item:price\" value_dim: 0", kPrice + "value_dim: 0"},
        Case{"item:price\"", "item:price\" normalizer: 'method=expression,expr=y'",
             kPrice + "normalizer: "}));

const std::string kCtr = "job.config:20: model_config.pepnet.task_towers[0]";
const std::string kCvr = "job.config:21: model_config.pepnet.task_towers[1]";
constexpr char kBce[] = "losses { binary_cross_entropy {} }";

INSTANTIATE_TEST_SUITE_P(
    Model, RejectsTest,
    ::testing::Values(
        Case{"group_name: \"uia\"", "group_name: \"all\"",
             "job.config:17: model_config.feature_groups[1].group_name: \"all\""},
        Case{"group_name: \"all\"", "group_name: \"main\"",
             "job.config:16: model_config.feature_groups: no group is named"},
        Case{"group_type: DEEP", "group_type: WIDE",
             "job.config:16: model_config.feature_groups[0].group_type: WIDE"},
        Case{"group_type: DEEP", "sequence_groups {}",
             "job.config:16: model_config.feature_groups[0].sequence_groups: stand without "
             "sequence_encoders"},
        Case{"\"item\", \"price\"", "\"itme\"",
             "job.config:16: model_config.feature_groups[0].feature_names: no feature is named "
             "\"itme\" (did you mean "
             "\"item\"?)"},
        Case{"\"item\", \"price\"", "\"user\"",
             "job.config:16: model_config.feature_groups[0].feature_names: \"user\" is listed"},
        Case{"feature_names: [\"user\", \"item\", \"price\"]", "",
             "job.config:16: model_config.feature_groups[0].feature_names: "},
        Case{"pepnet {", "deepfm {",
             "job.config:18: model_config.deepfm: this model is not supported; pepnet is"},
        Case{"pepnet {", "variational_dropout { regularization_lambda: -1 } pepnet {",
             "job.config:18: model_config.variational_dropout.regularization_lambda: -1; expected "
             "a number >= 0"},
        Case{"pepnet {", "variational_dropout { regularization_lambda: inf } pepnet {",
             "job.config:18: model_config.variational_dropout.regularization_lambda: inf"},
        Case{"pepnet {", "pepnet { epnet_hidden_unit: 0",
             "job.config:18: model_config.pepnet.epnet_hidden_unit: 0"},
        Case{"pepnet {", "pepnet { epnet_gamma: 0",
             "job.config:18: model_config.pepnet.epnet_gamma: 0"},
        Case{"pepnet {", "pepnet { ppnet_gamma: inf",
             "job.config:18: model_config.pepnet.ppnet_gamma: inf"},
        Case{"pepnet {", "pepnet { ppnet_activation: 'nn.GLU'",
             "job.config:18: model_config.pepnet.ppnet_activation: nn.GLU halves the width of its "
             "layer"},
        Case{"pepnet {", "pepnet { ppnet_activation: 'nn.PReLU(num_parameters=6)'",
             "job.config:18: model_config.pepnet.ppnet_activation: num_parameters=6 at a layer of "
             "width 3"},
        Case{"pepnet {", "pepnet { ppnet_activation: ''",
             "job.config:18: model_config.pepnet.ppnet_activation: unknown"},
        Case{"pepnet {", "pepnet { ppnet_dropout_ratio: [0, 0, 0]",
             "job.config:18: model_config.pepnet.ppnet_dropout_ratio: has 3 values for 2 layers"},
        Case{"pepnet {", "pepnet { ppnet_dropout_ratio: 1",
             "job.config:18: model_config.pepnet.ppnet_dropout_ratio: 1"},
        Case{"[6, 3]", "[6, 0]", "job.config:19: model_config.pepnet.ppnet_hidden_units: 0"},
        Case{"ppnet_hidden_units: [6, 3]", "",
             "job.config:18: model_config.pepnet.ppnet_hidden_units: is missing"},
        Case{"pepnet {", "pepnet { domain_input_name: 'scene'",
             "job.config:18: model_config.pepnet.domain_input_name: \"scene\" is not in "
             "data_config.label_fields"},
        Case{"pepnet {", "pepnet { task_domain_num: 0",
             "job.config:18: model_config.pepnet.task_domain_num: 0"},
        Case{"tower_name: \"cvr\"", "tower_name: \"ctr\"",
             kCvr + ".tower_name: \"ctr\": two towers"},
        Case{"tower_name: \"cvr\"", "", kCvr + ".tower_name: is missing"},
        Case{"label_name: \"clk\"", "label_name: \"clik\"",
             kCtr + ".label_name: \"clik\" is not in"},
        Case{"label_name: \"clk\"", "", kCtr + ".label_name: is missing"},
        Case{kBce, "", kCtr + ".losses: tower ctr has no loss"},
        Case{kBce, "losses {}", kCtr + ".losses[0]: is empty"},
        Case{kBce, "losses { jrc_loss { session_name: 'usr' } } num_class: 2",
             kCtr + ".losses[0].jrc_loss.session_name: no feature is named \"usr\" (did you mean "
                    "\"user\"?)"},
        Case{
            kBce, "losses { jrc_loss {} } num_class: 2",
            kCtr +
                ".losses[0].jrc_loss.session_name: is missing; expected the name of an id feature"},
        Case{kBce, "losses { jrc_loss { session_name: 'price' } } num_class: 2",
             kCtr + ".losses[0].jrc_loss.session_name: \"price\" has no ids"},
        Case{kBce, "losses { jrc_loss { session_name: 'user' alpha: 1.5 } } num_class: 2",
             kCtr + ".losses[0].jrc_loss.alpha: 1.5; expected 0 <= value <= 1"},
        Case{kBce, "losses { jrc_loss { session_name: 'user' } }",
             kCtr + ".num_class: 1 does not fit jrc_loss; expected 2"},
        Case{kBce, "losses { jrc_loss { session_name: 'user' } } num_class: 3",
             kCtr + ".num_class: 3 does not fit jrc_loss; expected 2"},
        Case{kBce, "losses { contrastive_loss {} }",
             kCtr + ".losses[0].contrastive_loss: this loss is not supported"},
        Case{kBce, "losses { binary_cross_entropy {} } losses { binary_cross_entropy {} }",
             kCtr + ".losses[1]: a second"},
        Case{kBce, "losses { softmax_cross_entropy {} }",
             kCtr + ".num_class: 1 does not fit softmax_cross_entropy"},
        Case{kBce, "losses { binary_cross_entropy {} } num_class: 2",
             kCtr + ".num_class: 2 does not fit"},
        Case{kBce, "losses { l2_loss {} } num_class: 2", kCtr + ".num_class: 2 does not fit"},
        Case{kBce, "losses { l2_loss {} }",
             kCtr + ".metrics[0].auc: needs a tower with a classifying loss"},
        Case{kBce, "losses { binary_cross_entropy { label_smoothing: 1 } }",
             kCtr + ".losses[0].binary_cross_entropy.label_smoothing: 1"},
        Case{kBce, "losses { binary_focal_loss { alpha: 0 } }",
             kCtr + ".losses[0].binary_focal_loss.alpha: 0"},
        Case{kBce, "losses { softmax_cross_entropy {} } num_class: 3",
             kCtr + ".metrics[0].auc: needs num_class 1 or 2"},
        Case{"auc {}", "auc { thresholds: 1 }", kCtr + ".metrics[0].auc.thresholds: 1"},
        Case{"auc {}", "recall_at_k {}",
             kCtr + ".metrics[0].recall_at_k: ranks candidates, of which a PEPNet has none"},
        Case{"auc {}", "multiclass_auc {}",
             kCtr + ".metrics[0].multiclass_auc: needs num_class 2 or more"},
        Case{"auc {}", "multiclass_auc { average: 'mean' }",
             kCtr + ".metrics[0].multiclass_auc.average: \"mean\"; expected macro or weighted"},
        Case{"auc {}", "xauc {}", kCtr + ".metrics[0].xauc: needs a tower with l2_loss"},
        Case{"auc {}", "grouped_xauc {}",
             kCtr + ".metrics[0].grouped_xauc.grouping_key: is missing"},
        Case{"auc {}", "grouped_xauc { grouping_key: 'user' }",
             kCtr + ".metrics[0].grouped_xauc: needs a tower with l2_loss"},
        Case{"auc {}", "normalized_entropy { eta: 0 }",
             kCtr + ".metrics[0].normalized_entropy.eta: 0"},
        Case{kBce,
             "losses { softmax_cross_entropy {} } num_class: 2 metrics { normalized_entropy {} }",
             kCtr + ".metrics[0].normalized_entropy: needs num_class 1"},
        Case{"auc {}", "grouped_auc { grouping_key: 'usr' }",
             kCtr + ".metrics[0].grouped_auc.grouping_key: no feature"},
        Case{"auc {}", "grouped_auc { grouping_key: 'price' }",
             kCtr + ".metrics[0].grouped_auc.grouping_key: \"price\" has"},
        Case{"auc {}", "accuracy { top_k: 2 }",
             kCtr + ".metrics[0].accuracy.top_k: 2; expected at most num_class of tower ctr, 1"},
        Case{"auc {}", "mean_squared_error {}",
             kCtr + ".metrics[0].mean_squared_error: needs a tower with l2_loss"},
        Case{"metrics { auc {} }", "metrics { auc {} } metrics { auc { thresholds: 9 } }",
             kCtr + ".metrics[1]: a second auc_ctr"},
        Case{kBce, std::string(kBce) + " weight: -1", kCtr + ".weight: -1"},
        Case{kBce, std::string(kBce) + " sample_weight_name: 'w'",
             kCtr + ".sample_weight_name: \"w\" is not in"},
        Case{kBce, std::string(kBce) + " task_space_indicator_label: 'w'",
             kCtr + ".task_space_indicator_label: \"w\""},
        Case{"hidden_units: 5", "", kCvr + ".mlp.hidden_units: is missing"},
        Case{"hidden_units: 5", "hidden_units: 5 use_bn: true use_ln: true",
             kCvr + ".mlp.use_bn: true beside use_ln"},
        Case{"hidden_units: 5", "hidden_units: 5 activation: 'nn.Foo'",
             kCvr + ".mlp.activation: unknown activation"},
        Case{"hidden_units: 5", "hidden_units: 5 dropout_ratio: [0.1, 0.1]",
             kCvr + ".mlp.dropout_ratio: has 2 values"}));

TEST(ValidationTest, LeastParetoWeightsLeaveSomethingToDivide) {
  const auto with = [](const std::string& ctr, const std::string& cvr) {
    const std::string text = Changed("pepnet {", "use_pareto_loss_weight: true pepnet {");
    return Changed("hidden_units: 5 }", "hidden_units: 5 } pareto_min_loss_weight: " + cvr,
                   Changed(kBce, std::string(kBce) + " pareto_min_loss_weight: " + ctr, text));
  };
  ASSERT_OK_AND_ASSIGN(const auto job, Parse(with("0.25", "0.5")));
  EXPECT_TRUE(job.model.pareto_weights);
  EXPECT_EQ(job.model.towers[0].pareto_min_weight, 0.25);
  EXPECT_EQ(job.model.towers[1].pareto_min_weight, 0.5);
  EXPECT_THAT(ErrorOf(with("0.5", "0.5")),
              HasSubstr("brings the least weights of all losses to 1"));
  EXPECT_THAT(ErrorOf(with("-0.1", "0.5")),
              HasSubstr("pareto_min_loss_weight: -0.1; expected 0 <= weight < 1"));
  const auto alone = Parse(Changed(kBce, std::string(kBce) + " pareto_min_loss_weight: 0.5"));
  ASSERT_OK(alone);
  EXPECT_EQ(alone->model.towers[0].pareto_min_weight, 0)
      << "without use_pareto_loss_weight it has no effect";
}

TEST(ValidationTest, BatchNormTakesTheBiasOfItsLayer) {
  ASSERT_OK_AND_ASSIGN(const auto job,
                       Parse(Changed("hidden_units: 5", "hidden_units: 5 use_bn: true")));
  EXPECT_TRUE(job.model.towers[1].mlp->use_bn);
  EXPECT_FALSE(job.model.towers[1].mlp->bias);
}

TEST(ValidationTest, ASessionIsAnyIdFeature) {
  const std::string jrc =
      Changed(kBce, "losses { jrc_loss { session_name: 'item' alpha: 0.25 } } num_class: 2");
  ASSERT_OK_AND_ASSIGN(const auto job, Parse(Changed("\"item\", \"price\"", "\"price\"", jrc)));
  const Loss& loss = job.model.towers[0].losses[0];
  EXPECT_EQ(loss.kind, LossKind::kJrc);
  EXPECT_EQ(loss.name, "jrc_loss_ctr");
  EXPECT_EQ(loss.jrc_alpha, 0.25);
  EXPECT_EQ(loss.session_feature, 1);
  EXPECT_FALSE(job.features[1].is_read) << "a session needs no group";
}

TEST(ValidationTest, VariationalDropoutIsOfGroupsWithSeveralFeatures) {
  ASSERT_OK_AND_ASSIGN(
      const auto job,
      Parse(Changed("pepnet {", "variational_dropout { regularization_lambda: 0.25 } pepnet {")));
  ASSERT_TRUE(job.model.main.variational.has_value());
  EXPECT_EQ(job.model.main.variational->parameter,
            "model.group_variational_dropouts.all.feature_p");
  EXPECT_EQ(job.model.main.variational->loss, "all_feature_p_loss");
  EXPECT_EQ(job.model.main.variational->lambda, 0.25);
  EXPECT_FALSE(job.model.uia->variational.has_value());
  EXPECT_THAT(AllNotes(job), "");
  const std::string one = Changed("\"user\", \"item\", \"price\"", "\"user\"");
  EXPECT_THAT(AllNotes(*Parse(Changed("pepnet {", "variational_dropout {} pepnet {", one))),
              HasSubstr("variational_dropout: without effect: no group has more than one feature"));
}

TEST(ValidationTest, OtherModelsCanBeNamedWithTheirContent) {
  EXPECT_THAT(
      ErrorOf(Changed("pepnet {", "mmoe { expert_mlp { hidden_units: [1, 2] } num_expert: 3")),
      StartsWith("job.config:18: model_config.mmoe: this model is not supported"));
}

TEST(ValidationTest, MultiDomainNeedsOneClassAndDistinctOutputs) {
  const std::string domains =
      Changed("pepnet {", "pepnet { domain_input_name: 'dom' task_domain_num: 2");
  EXPECT_OK(Parse(domains));
  EXPECT_THAT(ErrorOf(Changed("losses { binary_cross_entropy {} } metrics { auc {} }",
                              "losses { softmax_cross_entropy {} } num_class: 2", domains)),
              HasSubstr("num_class: 2 together with domain_input_name is not supported"));
}

TEST(ValidationTest, SharedTablesMustAgree) {
  const std::string shared = Changed("num_buckets: 10", "num_buckets: 20 embedding_name: 't'");
  const auto with_item = [&](const std::string& extra) {
    return Changed("hash_bucket_size: 20", "hash_bucket_size: 20 embedding_name: 't' " + extra,
                   shared);
  };
  EXPECT_EQ(Parse(with_item(""))->tables.size(), 1u);
  for (const char* extra : {"pooling: 'mean'", "init_fn: 'nn.init.zeros_'", "trainable: false"}) {
    EXPECT_THAT(ErrorOf(with_item(extra)),
                StartsWith("job.config:13: feature_configs[1].id_feature.embedding_name: table"));
  }
  EXPECT_THAT(ErrorOf(Changed("num_buckets: 20", "num_buckets: 21", with_item(""))),
              HasSubstr("differ in rows (rows 21 and 20"));
}

TEST(ValidationTest, FeatureInNoGroupHasNoTableButIsParsed) {
  ASSERT_OK_AND_ASSIGN(const auto job, Parse(Changed("\"item\", \"price\"", "\"price\"")));
  EXPECT_FALSE(job.features[1].is_read);
  EXPECT_EQ(job.features[1].rows, 20);
  EXPECT_EQ(job.tables.size(), 1u);
}

TEST(ValidationTest, TrivialValuesOfRejectedFieldsAskForNothing) {
  EXPECT_OK(
      Parse(Changed("embedding_dim: 4", "embedding_dim: 4 use_mask: false stub_type: false")));
  EXPECT_OK(Parse(Changed("hidden_units: 5", "hidden_units: 5 use_bn: false")));
}

TEST(ValidationTest, FieldsWithoutEffectLeaveANote) {
  const std::pair<const char*, const char*> cases[] = {
      {"batch_size: 8", "pin_memory: false"},
      {"batch_size: 8", "fg_threads: 3"},
      {"batch_size: 8", "odps_data_quota_name: 'x'"},
      {kSteps, "num_steps: 5 is_profiling: true"},
      {kSteps, "num_steps: 5 cudnn_allow_tf32: false"},
      {kSteps, "num_steps: 5 global_embedding_constraints { sharding_types: 'x' }"},
      {kSteps, "num_steps: 5 tensorboard_summaries: 'gradient'"},
      {kSteps, "num_steps: 5 mixed_precision: 'BF16'"},
      {kSteps, "num_steps: 5 save_checkpoints_steps: 3 save_checkpoints_epochs: 1"},
      {"lr: 0.002", "lr: 0.002 fused: true"},
      {"embedding_dim: 4", "embedding_dim: 4 fg_value_type: 'STRING'"},
      {"embedding_dim: 4", "embedding_dim: 4 embedding_constraints { sharding_types: 'row_wise' }"},
      {"item:price\"", "item:price\" embedding_constraints { compute_kernels: 'fused' }"},
      {"pepnet {", "summaries_set { pcoc { label_name: 'clk' } } pepnet {"},
      {"data_config {", "export_config { export_format: TORCHSCRIPT } data_config {"},
      {"item:price\"", "item:price\" embedding_dim: 4"},
      {"pepnet {", "num_class: 2 pepnet {"},
      {"pepnet {", "losses { jrc_loss {} } pepnet {"},
      {"pepnet {", "kernel: TRITON pepnet {"},
      {"pepnet {", "variational_dropout { embedding_wise_variational_dropout: true } pepnet {"},
      {"pepnet {", "pepnet { epnet_hidden_unit: 3"},
      {"pepnet {", "pepnet { task_domain_num: 3"},
      {kBce, "losses { binary_cross_entropy {} } train_metrics { xauc {} decay_rate: 0.5 }"},
      {kBce, "losses { binary_cross_entropy {} } in_task_space_weight: 1"},
      {"data_config {", "export_config { mixed_precision: 'BF16' } data_config {"},
      {"constant_learning_rate {}", ""},
  };
  EXPECT_TRUE(Parse(kSmallConfig)->notes.empty());
  for (const auto& [from, to] : cases) {
    const auto job = Parse(Changed(from, to));
    ASSERT_OK(job) << to;
    EXPECT_EQ(job->notes.size(), 1u) << to << "\n" << AllNotes(*job);
    EXPECT_THAT(AllNotes(*job), StartsWith("job.config:")) << to;
  }
}

// A default of the schema is taken as the reference takes it, and told where the config would
// normally say it.
TEST(ValidationTest, UnsetFieldsTakeTheDefaultsOfTheSchema) {
  ASSERT_OK_AND_ASSIGN(const auto group, Parse(Changed("feature_names: \"user\" group_type: DEEP",
                                                       "feature_names: \"user\"")));
  EXPECT_TRUE(group.notes.empty()) << AllNotes(group);
  EXPECT_TRUE(group.model.uia.has_value());
  ASSERT_OK_AND_ASSIGN(const auto rates,
                       Parse(Changed("{ lr: 0.001 }", "{}", Changed("{ lr: 0.002 }", "{}"))));
  EXPECT_EQ(rates.train.sparse_optimizer.lr, 0.002);
  EXPECT_EQ(rates.train.dense_optimizer.lr, 0.002);
  EXPECT_EQ(AllNotes(rates),
            "job.config:5: train_config.sparse_optimizer.adagrad_optimizer.lr: is not set; the "
            "schema's default 0.002 is "
            "used\njob.config:6: train_config.dense_optimizer.adam_optimizer.lr: is not set; the "
            "schema's default 0.002 "
            "is used\n");
  ASSERT_OK_AND_ASSIGN(const auto dataset, Parse(Changed("dataset_type: CsvDataset", "")));
  EXPECT_FALSE(dataset.data.dataset_type.has_value());
  EXPECT_THAT(
      AllNotes(dataset),
      StartsWith("job.config:9: data_config.dataset_type: OdpsDataset, the schema's default, is "
                 "not read; the ending of the input paths"));
  for (const char* path : {"", "eval_input_path: \"\""}) {
    ASSERT_OK_AND_ASSIGN(const auto job, Parse(Changed("eval_input_path: \"b.csv\"", path)));
    EXPECT_TRUE(job.eval_input_path.empty());
    EXPECT_THAT(AllNotes(job), Not(HasSubstr("eval_input_path")))
        << "the plan of a training warns of it";
  }
}

TEST(ValidationTest, FgNoneNeedsNoExpression) {
  const std::string none = Changed("fg_mode: FG_DAG", "fg_mode: FG_NONE");
  ASSERT_OK_AND_ASSIGN(const auto job, Parse(Changed("expression: \"user:user\"", "", none)));
  EXPECT_EQ(job.features[0].column, "user");
  EXPECT_THAT(AllNotes(job), Not(HasSubstr("expression")));
  ASSERT_OK_AND_ASSIGN(const auto other, Parse(Changed("user:user", "user:user_name", none)));
  EXPECT_EQ(other.features[0].column, "user");
  EXPECT_THAT(
      AllNotes(other),
      HasSubstr("id_feature.expression: without effect in FG_NONE: the column is called like "
                "the feature, user; set data_config.fg_mode: FG_DAG"));
  EXPECT_EQ(FirstDifference(ShapeDescription(job), ShapeDescription(*Parse(none))), "");
}

TEST(ValidationTest, LinearDecayIsTakenOver) {
  ASSERT_OK_AND_ASSIGN(
      const auto job,
      Parse(Changed("constant_learning_rate {}",
                    "linear_decay_learning_rate { num_training_steps: 9 warmup_size: 2 "
                    "warmup_learning_rate: 0.5 min_learning_rate: 0.25 by_epoch: true }")));
  const Schedule& schedule = job.train.sparse_optimizer.schedule;
  EXPECT_EQ(schedule.kind, ScheduleKind::kLinearDecay);
  EXPECT_EQ(schedule.num_training_steps, 9);
  EXPECT_EQ(schedule.warmup_size, 2);
  EXPECT_EQ(schedule.warmup_learning_rate, 0.5);
  EXPECT_EQ(schedule.min_learning_rate, 0.25);
  EXPECT_TRUE(schedule.by_epoch);
}

TEST(ValidationTest, TrainMetricsAreTakenOver) {
  ASSERT_OK_AND_ASSIGN(const auto job,
                       Parse(Changed(kBce,
                                     "losses { binary_cross_entropy {} } train_metrics { auc { "
                                     "thresholds: 7 } decay_rate: 0.5 "
                                     "decay_step: 3 } train_metrics { accuracy {} }")));
  EXPECT_TRUE(job.notes.empty()) << AllNotes(job);
  const std::vector<TrainMetric>* found = nullptr;
  for (const Tower& tower : job.model.towers) {
    if (!tower.train_metrics.empty()) found = &tower.train_metrics;
  }
  ASSERT_TRUE(found != nullptr && found->size() == 2);
  EXPECT_EQ((*found)[0].metric.thresholds, 7);
  EXPECT_EQ((*found)[0].decay_rate, 0.5);
  EXPECT_EQ((*found)[0].decay_step, 3);
  EXPECT_EQ((*found)[1].metric.kind, MetricKind::kAccuracy);
  EXPECT_EQ((*found)[1].decay_rate, 0.9);
  EXPECT_THAT(
      ErrorOf(Changed(kBce,
                      "losses { binary_cross_entropy {} } train_metrics { auc {} decay_rate: 1 }")),
      HasSubstr("decay_rate: 1; expected 0 <= value < 1"));
  EXPECT_THAT(
      ErrorOf(Changed(kBce,
                      "losses { binary_cross_entropy {} } train_metrics { auc {} decay_step: 0 }")),
      HasSubstr("decay_step: 0; expected at least 1 step"));
  EXPECT_THAT(
      ErrorOf(Changed(
          kBce, "losses { binary_cross_entropy {} } train_metrics { mean_squared_error {} }")),
      HasSubstr("needs a tower with l2_loss"));
}

TEST(ValidationTest, TrainMetricsOfOurOwnAreTakenOver) {
  const auto with = [](const std::string& metrics) {
    return Changed(kBce, "losses { binary_cross_entropy {} } " + metrics);
  };
  ASSERT_OK_AND_ASSIGN(
      const auto job,
      Parse(with("train_metrics { normalized_entropy { eta: 0.25 } } train_metrics { grouped_auc { "
                 "grouping_key: 'user' } decay_step: 7 } train_metrics { pcoc {} } train_metrics { "
                 "ece {} } train_metrics { logloss {} }")));
  EXPECT_TRUE(job.notes.empty()) << AllNotes(job);
  std::vector<std::string> names;
  for (const Tower& tower : job.model.towers) {
    for (const TrainMetric& metric : tower.train_metrics) {
      names.push_back(metric.metric.name);
      if (metric.metric.kind == MetricKind::kNormalizedEntropy) {
        EXPECT_EQ(metric.metric.eta, 0.25);
      }
      if (metric.metric.kind == MetricKind::kGroupedAuc) {
        EXPECT_EQ(job.features[metric.metric.grouping_feature].name, "user");
        EXPECT_EQ(metric.decay_step, 7);
      }
    }
  }
  EXPECT_THAT(names, testing::ElementsAre("normalized_entropy_ctr", "grouped_auc_ctr", "pcoc_ctr",
                                          "ece_ctr", "logloss_ctr"));
  EXPECT_THAT(ErrorOf(with("train_metrics { grouped_auc {} }")),
              HasSubstr("grouping_key: is missing; expected the name of an id feature"));
  EXPECT_THAT(ErrorOf(with("train_metrics { grouped_auc { grouping_key: 'user' } decay_step: "
                           "1000000000 }")),
              HasSubstr("make a window of more rows than grouped_auc keeps; expected at most "
                        "67108864 on each worker, so lower it"));
  EXPECT_THAT(ErrorOf(with("train_metrics { pcoc {} } train_metrics { pcoc {} decay_step: 3 }")),
              HasSubstr("a second pcoc_ctr; keep one"));
  EXPECT_THAT(ErrorOf(with("train_metrics { decay_step: 3 }")),
              HasSubstr("is empty; expected auc, grouped_auc, accuracy"));
}

TEST(ValidationTest, SummariesAndExporterAreTakenOver) {
  ASSERT_OK_AND_ASSIGN(
      const auto job,
      Parse(Changed(kSteps, "num_steps: 5 tensorboard_summaries: ['gradient_norm', 'loss']",
                    Changed("data_config {",
                            "export_config { exporter_type: 'best' best_exporter_metric: "
                            "'auc_ctr' metric_larger_is_better: false } data_config {"))));
  EXPECT_TRUE(job.train.summarize_loss && job.train.summarize_gradient_norm);
  EXPECT_FALSE(job.train.summarize_learning_rate || job.train.summarize_global_gradient_norm);
  EXPECT_TRUE(job.export_config.best);
  EXPECT_EQ(NameOf(job.train.best), "auc_ctr");
  EXPECT_FALSE(job.train.best.larger_is_better);
  EXPECT_THAT(
      ErrorOf(Changed("data_config {", "export_config { exporter_type: 'newest' } data_config {")),
      HasSubstr("exporter_type: \"newest\"; expected latest or best"));
}

TEST(ValidationTest, OptimizersAndSchedulesAreTakenOver) {
  ASSERT_OK_AND_ASSIGN(
      const auto job,
      Parse(Changed("adagrad_optimizer { lr: 0.001 } constant_learning_rate {}",
                    "rowwise_adagrad_optimizer { lr: 0.1 weight_decay: 0.2 weight_decay_mode: "
                    "DECOUPLE gradient_clipping: true "
                    "max_gradient: 0.3 } manual_step_learning_rate { schedule_sizes: [2, 5] "
                    "learning_rates: [0.1, 0.01] warmup: "
                    "true "
                    "}",
                    Changed("adam_optimizer { lr: 0.002 } constant_learning_rate {}",
                            "adagrad_optimizer { lr: 0.1 } "
                            "cosine_annealing_warm_restarts_learning_rate { T_0: 4 T_mult: 2 "
                            "min_learning_rate: 0.01 warmup_learning_rate: 0.02 warmup_size: 3 "
                            "by_epoch: true }"))));
  const SparseOptimizer& sparse = job.train.sparse_optimizer;
  EXPECT_EQ(sparse.kind, SparseOptimizerKind::kRowwiseAdagrad);
  EXPECT_EQ(sparse.weight_decay, 0.2);
  EXPECT_EQ(sparse.weight_decay_mode, WeightDecayMode::kDecouple);
  EXPECT_TRUE(sparse.gradient_clipping);
  EXPECT_EQ(sparse.max_gradient, 0.3);
  EXPECT_EQ(sparse.schedule.kind, ScheduleKind::kManualStep);
  EXPECT_EQ(sparse.schedule.schedule_sizes, (std::vector<int64_t>{2, 5}));
  EXPECT_EQ(sparse.schedule.learning_rates, (std::vector<double>{0.1, 0.01}));
  EXPECT_TRUE(sparse.schedule.warmup);
  const DenseOptimizer& dense = job.train.dense_optimizer;
  EXPECT_EQ(dense.kind, DenseOptimizerKind::kAdagrad);
  EXPECT_EQ(dense.eps, 1e-10);
  EXPECT_EQ(dense.schedule.kind, ScheduleKind::kCosineWarmRestarts);
  EXPECT_EQ(dense.schedule.t_0, 4);
  EXPECT_EQ(dense.schedule.t_mult, 2);
  EXPECT_EQ(dense.schedule.min_learning_rate, 0.01);
  EXPECT_EQ(dense.schedule.warmup_learning_rate, 0.02);
  EXPECT_EQ(dense.schedule.warmup_size, 3);
  EXPECT_TRUE(dense.schedule.by_epoch);
  EXPECT_EQ(Parse(Changed("adam_optimizer", "adadelta_optimizer"))->train.dense_optimizer.eps,
            1e-6);
  EXPECT_EQ(Parse(Changed("adam_optimizer", "rmsprop_optimizer"))->train.dense_optimizer.alpha,
            0.99);
  EXPECT_EQ(Parse(Changed("adagrad_optimizer", "partial_rowwise_adam_optimizer"))
                ->train.sparse_optimizer.kind,
            SparseOptimizerKind::kPartialRowwiseAdam);
  EXPECT_EQ(Parse(Changed("adagrad_optimizer", "adadelta_optimizer"))->train.sparse_optimizer.eps,
            1e-6);
  EXPECT_EQ(Parse(Changed("adagrad_optimizer", "rmsprop_optimizer"))->train.sparse_optimizer.eps,
            1e-8);
}

TEST(ValidationTest, PartOptimizersTakeTheScheduleOfTheDenseOptimizerUnlessTheyHaveTheirOwn) {
  ASSERT_OK_AND_ASSIGN(
      const JobConfig job,
      Parse(Changed("dense_optimizer { adam_optimizer { lr: 0.002 } constant_learning_rate {}", R"(
    dense_optimizer {
      adam_optimizer { lr: 0.002 }
      exponential_decay_learning_rate { decay_size: 7 }
      part_optimizers { regex_pattern: "model\\.epnet.*" adagrad_optimizer { lr: 0.5 } }
      part_optimizers { regex_pattern: ".*bias" sgd_optimizer { lr: 0.25 } constant_learning_rate {} }
      ema { decay: 0.75 })")));
  ASSERT_EQ(job.train.part_optimizers.size(), 2u);
  const PartOptimizer& first = job.train.part_optimizers[0];
  EXPECT_EQ(first.pattern, "model\\.epnet.*");
  EXPECT_EQ(first.optimizer.kind, DenseOptimizerKind::kAdagrad);
  EXPECT_EQ(first.optimizer.lr, 0.5);
  EXPECT_EQ(first.optimizer.eps, 1e-10);
  EXPECT_EQ(first.optimizer.schedule.kind, ScheduleKind::kExponentialDecay);
  EXPECT_EQ(first.optimizer.schedule.decay_size, 7);
  const PartOptimizer& second = job.train.part_optimizers[1];
  EXPECT_EQ(second.optimizer.kind, DenseOptimizerKind::kSgd);
  EXPECT_EQ(second.optimizer.schedule.kind, ScheduleKind::kConstant);
  EXPECT_EQ(job.train.ema_decay, 0.75);
}

TEST(ValidationTest, AveragesAreUsedWhereTheyAreKeptUnlessTheConfigSaysOtherwise) {
  const auto job = [](const std::string& ema, const std::string& rest) {
    return Parse(Changed("dense_optimizer {", "dense_optimizer { " + ema) + rest);
  };
  ASSERT_OK_AND_ASSIGN(const JobConfig without, job("", ""));
  EXPECT_FALSE(without.train.ema_decay.has_value());
  EXPECT_FALSE(without.eval.uses_averages || without.export_config.uses_averages);
  EXPECT_OK(job("", "eval_config { use_dense_ema: false }"));
  ASSERT_OK_AND_ASSIGN(const JobConfig with, job("ema {}", ""));
  EXPECT_EQ(with.train.ema_decay, 0.999);
  EXPECT_TRUE(with.eval.uses_averages && with.export_config.uses_averages);
  ASSERT_OK_AND_ASSIGN(const JobConfig exported,
                       job("ema {}", "eval_config { use_dense_ema: false }"));
  EXPECT_TRUE(!exported.eval.uses_averages && exported.export_config.uses_averages);
  ASSERT_OK_AND_ASSIGN(const JobConfig evaluated,
                       job("ema {}", "export_config { use_dense_ema: false }"));
  EXPECT_TRUE(evaluated.eval.uses_averages && !evaluated.export_config.uses_averages);
}

TEST(ValidationTest, DropoutIsFilledPerLayer) {
  EXPECT_EQ(Parse(Changed("[6, 3]", "[6, 3] ppnet_dropout_ratio: 0.1"))->model.ppnet_dropout_ratio,
            (std::vector<double>{0.1, 0.1}));
  EXPECT_EQ(Parse(kSmallConfig)->model.ppnet_dropout_ratio, (std::vector<double>{0, 0}));
}

TEST(ValidationTest, PresenceMakesATaskWeighted) {
  EXPECT_FALSE(Parse(kSmallConfig)->model.towers[0].weighted);
  EXPECT_TRUE(Parse(Changed(kBce, std::string(kBce) + " weight: 1"))->model.towers[0].weighted);
  EXPECT_TRUE(Parse(Changed(kBce, std::string(kBce) + " sample_weight_name: 'sw'"))
                  ->model.towers[0]
                  .weighted);
}

TEST(ValidationTest, RawDefaultValue) {
  EXPECT_EQ(Parse(kSmallConfig)->features[2].default_value, "0");
  EXPECT_EQ(
      Parse(Changed("item:price\"", "item:price\" default_value: ''"))->features[2].default_value,
      std::nullopt);
}

TEST(ValidationTest, InputFieldsShortForm) {
  ASSERT_OK_AND_ASSIGN(
      const auto job,
      Parse(Changed("with_header: true",
                    "input_fields_str: 'a:BIGINT; b:int ;c:STRING;d:DOUBLE;e:ARRAY_STRING;'")));
  ASSERT_EQ(job.data.input_fields.size(), 5u);
  EXPECT_EQ(job.data.input_fields[1].name, "b");
  EXPECT_EQ(job.data.input_fields[1].type, ColumnType::kInteger);
  EXPECT_EQ(job.data.input_fields[2].type, ColumnType::kString);
  EXPECT_EQ(job.data.input_fields[3].type, ColumnType::kFloating);
  EXPECT_EQ(job.data.input_fields[4].type, ColumnType::kUnspecified);
}

TEST(ValidationTest, VocabularyWithoutDefaultBucketKeepsRowsZeroAndOne) {
  ASSERT_OK_AND_ASSIGN(const auto job, Parse(Changed("num_buckets: 10",
                                                     "vocab_list: ['a', 'b'] default_value: 'x'")));
  EXPECT_EQ(job.features[0].rows, 4);
  EXPECT_EQ(job.features[0].unknown_id, 1);
  EXPECT_EQ(job.features[0].vocabulary,
            (std::map<std::string, int64_t>{{"a", 2}, {"b", 3}, {"x", 0}}));
}

class VocabularyFileTest : public ::testing::Test {
 protected:
  std::string Use(const std::string& contents) {
    std::ofstream(directory_ / "vocabulary.txt") << contents;
    return Changed("num_buckets: 10", "asset_dir: '" + directory_.path() +
                                          "' vocab_file: 'vocabulary.txt' "
                                          "default_bucketize_value: 0");
  }

  const TemporaryDirectory directory_;
};

TEST_F(VocabularyFileTest, RowsAreLinesOrGiven) {
  auto job = Parse(Use("a\nb b\r\nc"));
  ASSERT_OK(job);
  EXPECT_EQ(job->features[0].vocabulary,
            (std::map<std::string, int64_t>{{"a", 0}, {"b b", 1}, {"c", 2}}));
  EXPECT_EQ(job->tables[0].rows, 3);
  job = Parse(Use("a 7\nb b\t2\n"));
  ASSERT_OK(job);
  EXPECT_EQ(job->features[0].vocabulary, (std::map<std::string, int64_t>{{"a", 7}, {"b b", 2}}));
  EXPECT_EQ(job->tables[0].rows, 8);
}

TEST_F(VocabularyFileTest, DamagedFilesNameTheLine) {
  EXPECT_THAT(ErrorOf(Use("a 1\nb\n")), HasSubstr("vocabulary.txt:2: \"b\" lacks a row number"));
  EXPECT_THAT(ErrorOf(Use("a\nb 1\n")), HasSubstr("vocabulary.txt:2: \"b 1\" gives a row number"));
  EXPECT_THAT(ErrorOf(Use("a\na\n")), HasSubstr("vocabulary.txt:2: word \"a\" is given twice"));
  EXPECT_THAT(ErrorOf(Use("a\n\nb\n")), HasSubstr("vocabulary.txt:2: no word"));
  EXPECT_THAT(ErrorOf(Use("")), HasSubstr("the vocabulary is empty"));
}

}  // namespace
}  // namespace pepnet
