// Model: the network of a job: gates, task towers, losses, metrics.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/job_config/activation.h"
#include "common/job_config/dense_embedding.h"
#include "common/job_config/encoder.h"
#include "common/job_config/feature.h"
#include "common/job_config/leaf.h"
#include "common/job_config/loss.h"
#include "common/job_config/metric.h"
#include "common/job_config/mlp.h"

namespace pepnet {

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
  // The least weight of each of its losses, with Model::pareto_weights.
  double pareto_min_weight = 0;
};

// Whether the tower puts out the probability of class 1.
inline bool HasScore(const Tower& tower) {
  return tower.num_class <= 2 && HasProbabilities(TypeOf(tower.losses.front().kind));
}

// Of a group: each of its columns' sources is dropped by a share that is trained
// (worker/model/variational_dropout.h).
struct VariationalDropout {
  std::string parameter;  // the weights' name, one weight for each source
  std::string loss;       // the penalty's name
  double lambda = 0;      // of the penalty
  int64_t layer = 0;      // of its random numbers, as in worker/model/dropout_mask.h
};

struct FeatureGroup {
  std::string name;           // "all", "domain", "uia" after dialect rewriting
  std::vector<int> leaves;    // in the order of the columns of the group tensor
  std::vector<int> encoders;  // whose outputs follow them; indices into Model::encoders
  int width = 0;              // sum of their widths
  std::optional<VariationalDropout> variational = {};

  size_t sources() const { return leaves.size() + encoders.size(); }
};

struct Model {
  // Of leaves that a group reads, in the order in which groups list them first.
  std::vector<DenseEmbedding> embeddings;
  std::vector<SequenceGroup> sequence_groups;
  // In the order of the groups that read them: all, domain, uia.
  std::vector<Encoder> encoders;
  FeatureGroup main;                   // "all"
  std::optional<FeatureGroup> domain;  // absent: no EPNet
  std::optional<FeatureGroup> uia;     // absent: no PPNet
  int epnet_hidden_unit = 0;           // after defaulting (unset = width of main)
  double epnet_gamma = 2;
  std::vector<int> ppnet_hidden_units;
  Activation ppnet_activation;
  std::vector<double> ppnet_dropout_ratio;  // one per layer
  double ppnet_gamma = 2;
  // Index into DataConfig::labels of domain_input_name; -1: one tower per task.
  int domain_label = -1;
  int domain_count = 1;  // towers per task: task_domain_num if domain_label >= 0, else 1
  // Every step weighs the losses by their gradients (worker/model/torch/pareto.h).
  bool pareto_weights = false;
  // One per task; the network has towers.size() * domain_count of them, task-major.
  std::vector<Tower> towers;
};

// The hidden layers of encoders and towers. They live as long as the model.
inline std::vector<const Mlp*> Mlps(const Model& model) {
  std::vector<const Mlp*> mlps;
  for (const Encoder& encoder : model.encoders) mlps.push_back(&encoder.attn_mlp);
  for (const Tower& tower : model.towers) {
    if (tower.mlp.has_value()) mlps.push_back(&*tower.mlp);
  }
  return mlps;
}

// The activations behind the layers of the network: PPNet's, then those of Mlps().
inline std::vector<Activation> Activations(const Model& model) {
  std::vector<Activation> activations;
  if (model.uia.has_value()) activations.push_back(model.ppnet_activation);
  for (const Mlp* mlp : Mlps(model)) activations.push_back(mlp->activation);
  return activations;
}

// Whether a training step needs the statistics of all rows of the global batch, for batch
// normalisation or Dice.
inline bool NormalisesOverRows(const Model& model) {
  const auto normalises = [](const Mlp* mlp) { return NormalisesOverRows(*mlp); };
  const std::vector<const Mlp*> mlps = Mlps(model);
  return (model.uia.has_value() && TypeOf(model.ppnet_activation.kind).normalises) ||
         std::any_of(mlps.begin(), mlps.end(), normalises);
}

// The groups that the network reads: main, then domain and uia where they are.
inline std::vector<const FeatureGroup*> Groups(const Model& model) {
  std::vector<const FeatureGroup*> groups = {&model.main};
  if (model.domain) groups.push_back(&*model.domain);
  if (model.uia) groups.push_back(&*model.uia);
  return groups;
}

}  // namespace pepnet
