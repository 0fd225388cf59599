#include "worker/model/torch/network.h"

#include <ATen/ops/cat.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "common/base/mutant.h"

namespace pepnet {
namespace {

// [own ; sg(x)]: gates see x but send no gradient back to it.
at::Tensor GateInput(const at::Tensor& own, const at::Tensor& x) {
  return at::cat({own, MutantActive(Mutant::kGateSeesGradient) ? x : x.detach()}, 1);
}

}  // namespace

at::Tensor Network::GroupTensor(const FeatureGroup& group, const std::vector<at::Tensor>& leaves,
                                const std::vector<at::Tensor>& encoded,
                                const ForwardPass& pass) const {
  std::vector<at::Tensor> columns;
  columns.reserve(group.sources());
  for (const int leaf : group.leaves) columns.push_back(leaves[leaf]);
  for (const int encoder : group.encoders) columns.push_back(encoded[encoder]);
  for (const VariationalLayer& layer : variational_) {
    if (!group.variational || group.variational->parameter != layer.dropout.parameter) continue;
    // There is one factor for a row and source, whatever the source's width.
    const at::Tensor factors = layer.Factors(columns[0].size(0), pass);
    for (size_t s = 0; s < columns.size(); ++s) {
      const at::Tensor factor = factors.narrow(1, static_cast<int64_t>(s), 1);
      columns[s] = columns[s].mul(factor.to(columns[s].scalar_type()));
    }
  }
  return at::cat(columns, 1);
}

Network::Network(const JobConfig* config, LeafMaker* maker) : config_(config) {
  const Model& model = config->model;
  for (const DenseEmbedding& embedding : model.embeddings) {
    embeddings_.emplace_back(embedding, maker);
  }
  for (const Encoder& encoder : model.encoders) {
    encoders_.push_back(MakeEncoderLayer(encoder, maker));
  }
  for (const FeatureGroup* group : Groups(model)) {
    if (group->variational) variational_.emplace_back(maker, *group->variational);
  }
  if (model.domain.has_value()) epnet_.emplace(maker, "model.epnet.gate_nu", model.epnet_gamma);
  // The numbers are those of worker/model/fused/fused_layers.cc: they are part of the keys of
  // masks.
  int64_t number = 0;  // of dropout layers
  if (model.uia.has_value()) {
    for (size_t task = 0; task < model.towers.size(); ++task) {
      std::vector<PpnetLayer>& layers = ppnet_.emplace_back();
      for (size_t layer = 0; layer < model.ppnet_hidden_units.size(); ++layer, ++number) {
        const std::string k = std::to_string(number);  // task * layers + layer
        layers.push_back(
            {LinearLayer(maker, "model.ppnet.linears." + k),
             ActivationLayer(maker, "model.ppnet.activations." + k, model.ppnet_activation),
             GateLayer(maker, "model.ppnet.gate_nus." + k, model.ppnet_gamma),
             DropoutLayer{number, model.ppnet_dropout_ratio[layer]}});
      }
    }
  }
  for (size_t i = 0; i < model.towers.size() * model.domain_count; ++i) {
    const std::string module = "model._task_tower." + std::to_string(i);
    const Tower& tower = model.towers[i / model.domain_count];
    TowerNet net{{}, LinearLayer(maker, module + ".linear")};
    const size_t layers = tower.mlp.has_value() ? tower.mlp->hidden_units.size() : 0;
    for (size_t layer = 0; layer < layers; ++layer, ++number) {
      const std::string perceptron =
          module + ".tower_mlp.mlp." + std::to_string(layer) + ".perceptron.";
      net.mlp.push_back({PerceptronLayer(maker, perceptron, *tower.mlp),
                         {number, tower.mlp->dropout_ratio[layer]}});
    }
    towers_.push_back(std::move(net));
  }
}

// S, M, U: the groups domain, all and uia, each source times what variational dropout leaves of it
// E   = gate_ep([S ; sg(M)]) * M                              or M without a domain group
// x_t = E, then per layer: dropout(act(A x + a) * gate([U ; sg(E)]))     or E without a uia group
// z   = W mlp(x_t) + b
NetworkResult Network::Forward(const std::vector<at::Tensor>& leaves,
                               const std::vector<SequenceIndex>& sequences,
                               const ForwardPass& pass) const {
  const Model& model = config_->model;
  NetworkResult result;
  auto keep = [&result](const std::string& name, const at::Tensor& tensor) {
    result.intermediates.push_back({name, tensor});
  };

  std::vector<PaddedSequence> padded;
  for (size_t g = 0; g < model.sequence_groups.size(); ++g) {
    padded.push_back(PadSequence(model.sequence_groups[g], leaves, sequences[g]));
  }
  // Padding shows in numbers only there (see PadToLongest()).
  const auto normalises = [](const Encoder& encoder) {
    return NormalisesOverRows(encoder.attn_mlp);
  };
  if (pass.training && std::any_of(model.encoders.begin(), model.encoders.end(), normalises)) {
    PadToLongest(pass.workers, &padded);
  }
  std::vector<at::Tensor> encoded;
  for (size_t e = 0; e < encoders_.size(); ++e) {
    encoded.push_back((*encoders_[e])(padded[model.encoders[e].sequence_group], pass));
    keep(absl::StrCat("encoder_", e), encoded.back());
  }
  // Groups read the embedding in place of its leaf; sequences read the leaf itself.
  std::vector<at::Tensor> listed = leaves;
  for (const DenseEmbeddingLayer& embedding : embeddings_) {
    listed[embedding.embedding.leaf] = embedding(leaves[embedding.embedding.leaf]);
  }
  const at::Tensor main = GroupTensor(model.main, listed, encoded, pass);
  keep("group_all", main);
  at::Tensor shared = main;
  if (epnet_.has_value()) {
    const at::Tensor domain = GroupTensor(*model.domain, listed, encoded, pass);
    keep("group_domain", domain);
    shared = (*epnet_)(GateInput(domain, main)).mul(main);
    keep("epnet_output", shared);
  }
  std::vector<at::Tensor> tasks(model.towers.size(), shared);
  if (model.uia.has_value()) {
    const at::Tensor uia = GroupTensor(*model.uia, listed, encoded, pass);
    keep("group_uia", uia);
    // All layers of all tasks have one gate input: [U ; sg(E)].
    const at::Tensor gate_input = GateInput(uia, shared);
    for (size_t task = 0; task < tasks.size(); ++task) {
      at::Tensor x = shared;
      for (const PpnetLayer& layer : ppnet_[task]) {
        x = layer.dropout(layer.activation(layer.linear(x), pass).mul(layer.gate(gate_input)),
                          pass);
      }
      keep("ppnet_output_" + model.towers[task].name, x);
      tasks[task] = x;
    }
  }
  for (size_t i = 0; i < towers_.size(); ++i) {
    at::Tensor x = tasks[i / model.domain_count];
    for (const MlpLayer& layer : towers_[i].mlp) {
      x = layer.dropout(layer.perceptron(x, pass), pass);
    }
    const at::Tensor z = towers_[i].linear(x);
    // The losses are computed in float32, whatever the products were made in.
    result.towers.push_back(z.scalar_type() == at::kBFloat16 ? z.to(at::kFloat) : z);
  }
  for (const VariationalLayer& layer : variational_) {
    result.penalties.push_back({layer.dropout.loss, layer.Penalty()});
  }
  return result;
}

}  // namespace pepnet
