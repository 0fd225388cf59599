// Network: encoders, EPNet, PPNet and task towers (spec 1.2 to 1.5) over the leaves' tensors.
// Internal to this folder: includes torch.
//
// Ownership: borrows the config and the parameters behind the leaves, whose arrays must outlive it.
// Threads:   none of its own; Forward() does not change it.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/job_config/job_config.h"
#include "worker/model/parameters.h"
#include "worker/model/torch/dense_embedding.h"
#include "worker/model/torch/encoders.h"
#include "worker/model/torch/layers.h"

namespace pepnet {

struct NetworkResult {
  // Task * domain_count + domain: [rows, num_class], of the leaves' type.
  std::vector<at::Tensor> towers;
  // Of variational dropout, by group that has it: name and lambda * sum of (1 - p), a scalar of
  // float64.
  std::vector<std::pair<std::string, at::Tensor>> penalties;
  // group_all, epnet_output, ppnet_output_ctr, ...
  std::vector<std::pair<std::string, at::Tensor>> intermediates;
};

class Network {
 public:
  // `maker` is used during construction only.
  Network(const JobConfig* config, LeafMaker* maker);

  // leaves[l]: [rows, dim], or [elements, dim] of a sequence; sequences[g]: where the positions of
  // sequence group g lie.
  NetworkResult Forward(const std::vector<at::Tensor>& leaves,
                        const std::vector<SequenceIndex>& sequences, const ForwardPass& pass) const;

 private:
  struct PpnetLayer {
    LinearLayer linear;
    ActivationLayer activation;
    GateLayer gate;
    DropoutLayer dropout;
  };
  struct MlpLayer {
    PerceptronLayer perceptron;
    DropoutLayer dropout;
  };
  struct TowerNet {
    std::vector<MlpLayer> mlp;
    LinearLayer linear;
  };
  // The columns of a group, times what variational dropout leaves of them. leaves: as groups read
  // them.
  at::Tensor GroupTensor(const FeatureGroup& group, const std::vector<at::Tensor>& leaves,
                         const std::vector<at::Tensor>& encoded, const ForwardPass& pass) const;

  const JobConfig* const config_;
  std::vector<DenseEmbeddingLayer> embeddings_;          // by Model::embeddings
  std::vector<std::unique_ptr<EncoderLayer>> encoders_;  // by Model::encoders
  std::vector<VariationalLayer> variational_;            // of the groups that have it
  std::optional<GateLayer> epnet_;
  std::vector<std::vector<PpnetLayer>> ppnet_;  // [task][layer]; empty without a uia group
  std::vector<TowerNet> towers_;
};

}  // namespace pepnet
