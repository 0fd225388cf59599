// From the parsed config (today's dialect, only supported fields) to plain structs: defaults,
// checks, indices. One function per section of the config; each error names field and line through
// `source`.
#pragma once

#include "common/base/status.h"
#include "common/config/parse/config_source.h"
#include "common/job_config/job_config.h"
#include "proto/pipeline.pb.h"

namespace pepnet {

Status ConvertData(const config::DataConfig& data, ConfigSource* source, DataConfig* out);

// The separator between the name of a sequence_feature and the names of its features and columns.
inline constexpr char kSequenceJoint[] = "__";
// Of jobs that serve with RTP, which the reference knows by an environment variable (USE_RTP=1).
inline constexpr char kRtpSequenceJoint[] = "_";
// kRtpSequenceJoint if the groups of `config` (today's dialect) list features by such names, which
// no feature has otherwise, and none by the usual ones; else kSequenceJoint.
std::string SequenceJoint(const config::EasyRecConfig& config);

// Sets what sequences of ids have other defaults for than plain ids: one token an element, and "0"
// for an empty one.
void FillSequenceDefaults(const DataConfig& data, config::EasyRecConfig* config);

// Fills out->features; needs out->data. Leaves and tables follow in ConvertModel.
Status ConvertFeatures(const config::EasyRecConfig& config, ConfigSource* source, JobConfig* out);

// The verdict of ConvertFeatures() on one entry alone, and that its tables can be made.
Status CheckFeature(const config::FeatureConfig& feature, const DataConfig& data,
                    ConfigSource* source);
// The same of one feature of a sequence_feature.
Status CheckFeature(const config::SequenceFeature& group, int feature, const DataConfig& data,
                    ConfigSource* source);

// Fills the groups, sequence groups and encoders of out->model, the leaves and the tables; needs
// out->features.
Status ConvertGroups(const config::EasyRecConfig& config, ConfigSource* source, JobConfig* out);

// Groups, tables and network; needs out->data and out->features.
Status ConvertModel(const config::EasyRecConfig& config, ConfigSource* source, JobConfig* out);
// The towers of the network, with losses and metrics; needs out->data, out->features and
// out->model's domain fields.
Status ConvertTowers(const config::PEPNet& pepnet, const ConfigSource& source, JobConfig* out);

Status ConvertTrain(const config::TrainConfig& train, ConfigSource* source, TrainConfig* out);
Status ConvertSparseOptimizer(const config::SparseOptimizer& optimizer, ConfigSource* source,
                              SparseOptimizer* out);
Status ConvertDenseOptimizer(const config::DenseOptimizer& optimizer, ConfigSource* source,
                             DenseOptimizer* out);
// dense_optimizer.part_optimizers and ema; needs out->dense_optimizer.
Status ConvertPartOptimizers(const config::DenseOptimizer& optimizer, ConfigSource* source,
                             TrainConfig* out);
Status ConvertEma(const config::DenseOptimizer& optimizer, const ConfigSource& source,
                  TrainConfig* out);
Status ConvertEval(const config::EvalConfig& eval, const ConfigSource& source, EvalConfig* out);
// eval_config.slice_by. `job` has its data, features and model.
Status ConvertSlices(const config::EvalConfig& eval, const ConfigSource& source, JobConfig* job);
Status ConvertExport(const config::ExportConfig& from, ConfigSource* source, ExportConfig* out);
// use_dense_ema of eval_config and export_config; needs job->train.
Status ConvertUseOfAverages(const config::EasyRecConfig& config, const ConfigSource& source,
                            JobConfig* job);
// job->train.best and what export_config's best lacks; `job` has all but that. for_training: the
// config is about to train, so that it must evaluate where an evaluation decides something.
Status ConvertBest(const config::EasyRecConfig& config, bool for_training, ConfigSource* source,
                   JobConfig* job);

// Position of `name` in `names`, -1 if absent.
int IndexOf(const std::string& name, const std::vector<std::string>& names);

// dropout ratios as one number per layer: none -> 0, one -> all layers, else as many as layers;
// each in [0, 1).
Status ConvertDropout(const google::protobuf::Message& message, const std::string& field,
                      const google::protobuf::RepeatedField<float>& ratios, size_t layers,
                      const ConfigSource& source, std::vector<double>* out);

// An activation with a weight for each channel fits only layers of that width.
Status CheckWeights(const google::protobuf::Message& from, const std::string& field,
                    const Activation& activation, const std::vector<int>& widths,
                    const ConfigSource& source);

Status ConvertMlp(const config::MLP& from, const ConfigSource& source, Mlp* out);

// Layer widths: at least one, each in [1, 2^24].
Status ConvertWidths(const google::protobuf::Message& message, const std::string& field,
                     const google::protobuf::RepeatedField<uint32_t>& widths,
                     const ConfigSource& source, std::vector<int>* out);

}  // namespace pepnet
