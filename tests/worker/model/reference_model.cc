#include "tests/worker/model/reference_model.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "common/base/random.h"
#include "worker/model/dropout_mask.h"

namespace pepnet {
namespace {

using Row = std::vector<double>;

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// One row through the network.
class RowNetwork {
 public:
  RowNetwork(const JobConfig& config, const ReferencePoint& point, const ReferenceDropout& dropout,
             int64_t row, int64_t global_row)
      : config_(config), point_(point), dropout_(dropout), row_(row), global_row_(global_row) {}

  Row Group(const FeatureGroup& group) const {
    const Row left = LeftOf(group);
    Row x;
    for (const int& f : group.leaves) {
      const int dim = config_.leaves[f].dim;
      const Row values(&point_.leaves[f][row_ * dim], &point_.leaves[f][row_ * dim] + dim);
      const int embedding = config_.leaves[f].embedding;
      Row read = embedding < 0 ? values : Embed(config_.model.embeddings[embedding], values);
      for (double& value : read) value *= left[&f - group.leaves.data()];
      x.insert(x.end(), read.begin(), read.end());
    }
    return x;
  }

  // spec 1.10: a factor for each leaf.
  Row LeftOf(const FeatureGroup& group) const {
    if (!group.variational) return Row(group.leaves.size(), 1.0);
    std::vector<float> u(group.leaves.size());
    FillUniforms(DropoutKey(dropout_.seed, group.variational->layer, dropout_.step), global_row_,
                 static_cast<int64_t>(u.size()), u.data());
    Row left;
    for (size_t s = 0; s < u.size(); ++s) {
      const double p = Sigmoid(point_.parameters.at(group.variational->parameter)[s]), e = 0x1p-23;
      const double odds = (p + e) / (1 - p + e) * ((u[s] + e) / (1 - u[s] + e));
      left.push_back(1 - (dropout_.enabled ? Sigmoid(10 * std::log(odds)) : p));
    }
    return left;
  }

  // spec 3.12
  Row Embed(const DenseEmbedding& embedding, const Row& x) const {
    Row y(embedding.width);
    const Row& w = point_.parameters.at(embedding.projection);
    if (embedding.kind == DenseEmbeddingKind::kMlp) {
      for (size_t v = 0; v < x.size(); ++v) {
        for (size_t d = 0; d < y.size(); ++d) y[d] += x[v] * w[v * y.size() + d];
      }
      return y;
    }
    const Row &m = point_.parameters.at(embedding.mixing),
              &e = point_.parameters.at(embedding.meta);
    Row h, p;
    for (const double channel : w) {
      h.push_back(x[0] * channel >= 0 ? x[0] * channel : 0.01 * x[0] * channel);
    }
    double sum = 0;
    for (size_t i = 0; i < h.size(); ++i) {
      double z = embedding.keep_prob * h[i];
      for (size_t j = 0; j < h.size(); ++j) z += m[i * h.size() + j] * h[j];
      p.push_back(std::exp(z / embedding.temperature));
      sum += p.back();
    }
    for (size_t i = 0; i < h.size(); ++i) {
      for (size_t d = 0; d < y.size(); ++d) y[d] += p[i] / sum * e[i * y.size() + d];
    }
    return y;
  }

  Row Linear(const std::string& module, const Row& x) const {
    const Row& weight = point_.parameters.at(module + ".weight");
    Row y(weight.size() / x.size());
    const auto bias = point_.parameters.find(module + ".bias");
    for (size_t o = 0; o < y.size(); ++o) {
      if (bias != point_.parameters.end()) y[o] = bias->second[o];
      for (size_t i = 0; i < x.size(); ++i) y[o] += weight[o * x.size() + i] * x[i];
    }
    return y;
  }

  Row Gate(const std::string& module, const Row& own, const Row& seen, double gamma) const {
    Row x = own;
    x.insert(x.end(), seen.begin(), seen.end());
    Row h = Linear(module + ".dense_layers.0", x);
    for (double& v : h) v = std::max(v, 0.0);
    Row y = Linear(module + ".dense_layers.2", h);
    for (double& v : y) v = gamma * Sigmoid(v);
    return y;
  }

  Row LayerNorm(const std::string& module, const Row& x) const {
    double mean = 0, variance = 0;
    for (double v : x) mean += v / x.size();
    for (double v : x) variance += (v - mean) * (v - mean) / x.size();
    Row y(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      y[i] =
          point_.parameters.at(module + ".weight")[i] * (x[i] - mean) / std::sqrt(variance + 1e-5) +
          point_.parameters.at(module + ".bias")[i];
    }
    return y;
  }

  Row Activate(const std::string& module, const Activation& activation, Row x) const {
    const auto weight = point_.parameters.find(module + ".weight");
    const double prelu = activation.kind == ActivationKind::kPrelu ? weight->second[0] : 0;
    if (TypeOf(activation.kind).mixes_channels) return OverChannels(activation.kind, x);
    if (activation.kind == ActivationKind::kRrelu) return WithSlopes(module, activation, x);
    for (double& v : x) v = ReferenceActivation(activation, v, prelu);
    return x;
  }

  static Row OverChannels(ActivationKind kind, Row x) {
    double sum = 0;
    for (double& v : x) {
      if (kind == ActivationKind::kSoftmin) v = -v;
      sum += std::exp(v);
    }
    for (double& v : x) {
      v = kind == ActivationKind::kLogSoftmax ? v - std::log(sum) : std::exp(v) / sum;
    }
    return x;
  }

  Row WithSlopes(const std::string& module, const Activation& activation, Row x) const {
    std::vector<float> u(x.size());
    FillUniforms(RandomKey(dropout_.seed, RandomPurpose::kSlopes, HashName(module),
                           static_cast<uint64_t>(dropout_.step)),
                 global_row_, static_cast<int64_t>(x.size()), u.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const double slope =
          activation.parameter + u[i] * (activation.parameter2 - activation.parameter);
      if (x[i] <= 0) x[i] *= slope;
    }
    return x;
  }

  Row Dropout(double ratio, Row x) {
    const int64_t number = next_dropout_layer_++;
    if (!dropout_.enabled || ratio <= 0) return x;
    std::vector<float> mask(x.size());
    FillDropoutMask(DropoutKey(dropout_.seed, number, dropout_.step), ratio, global_row_, 1,
                    static_cast<int64_t>(x.size()), mask.data());
    for (size_t i = 0; i < x.size(); ++i) x[i] *= mask[i];
    return x;
  }

  Row Tower(const std::string& module, const pepnet::Tower& tower, Row x) {
    if (tower.mlp.has_value()) {
      for (size_t l = 0; l < tower.mlp->hidden_units.size(); ++l) {
        const std::string perceptron =
            module + ".tower_mlp.mlp." + std::to_string(l) + ".perceptron.";
        x = Linear(perceptron + "0", x);
        if (tower.mlp->use_ln) x = LayerNorm(perceptron + "1", x);
        x = Activate(perceptron + (tower.mlp->use_ln ? "2" : "1"), tower.mlp->activation, x);
        x = Dropout(tower.mlp->dropout_ratio[l], x);
      }
    }
    return Linear(module + ".linear", x);
  }

 private:
  const JobConfig& config_;
  const ReferencePoint& point_;
  const ReferenceDropout& dropout_;
  const int64_t row_, global_row_;
  int64_t next_dropout_layer_ = 0;
};

Row Product(Row a, const Row& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] *= b[i];
  return a;
}

}  // namespace

double ReferenceActivation(const Activation& activation, double x, double prelu_weight) {
  const double a = activation.parameter;
  switch (activation.kind) {
    case ActivationKind::kIdentity:
      return x;
    case ActivationKind::kRelu:
      return std::max(x, 0.0);
    case ActivationKind::kSigmoid:
      return Sigmoid(x);
    case ActivationKind::kTanh:
      return std::tanh(x);
    case ActivationKind::kLeakyRelu:
      return x > 0 ? x : a * x;
    case ActivationKind::kSilu:
      return x * Sigmoid(x);
    case ActivationKind::kGelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case ActivationKind::kElu:
      return x > 0 ? x : a * (std::exp(x) - 1);
    case ActivationKind::kPrelu:
      return x > 0 ? x : prelu_weight * x;
    case ActivationKind::kGeluTanh:
      return 0.5 * x *
             (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * std::pow(x, 3))));
    case ActivationKind::kMish:
      return x * std::tanh(std::log(1 + std::exp(x)));
    case ActivationKind::kSoftplus:
      return a * x > activation.parameter2 ? x : std::log(1 + std::exp(a * x)) / a;
    case ActivationKind::kHardswish:
      return x * std::clamp(x / 6 + 0.5, 0.0, 1.0);
    case ActivationKind::kHardsigmoid:
      return std::clamp(x / 6 + 0.5, 0.0, 1.0);
    case ActivationKind::kSelu:
      return 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * (std::exp(x) - 1));
    case ActivationKind::kCelu:
      return std::max(x, 0.0) + std::min(0.0, a * (std::exp(x / a) - 1));
    case ActivationKind::kRelu6:
      return std::clamp(x, 0.0, 6.0);
    case ActivationKind::kHardtanh:
      return std::clamp(x, a, activation.parameter2);
    case ActivationKind::kSoftsign:
      return x / (1 + std::abs(x));
    case ActivationKind::kSoftshrink:
      return x > a ? x - a : x < -a ? x + a : 0;
    case ActivationKind::kHardshrink:
      return std::abs(x) > a ? x : 0;
    case ActivationKind::kTanhshrink:
      return x - std::tanh(x);
    case ActivationKind::kLogSigmoid:
      return -std::log(1 + std::exp(-x));
    case ActivationKind::kThreshold:
      return x > a ? x : activation.parameter2;
    case ActivationKind::kDice:
    case ActivationKind::kRrelu:
    case ActivationKind::kSoftmax:
    case ActivationKind::kSoftmin:
    case ActivationKind::kLogSoftmax:
      break;  // no function of one number
  }
  return 0;
}

double ReferenceLoss(const Loss& loss, const std::vector<double>& z, double label,
                     double frozen_z) {
  const double s = loss.label_smoothing;
  switch (loss.kind) {
    case LossKind::kBinaryCrossEntropy: {
      const double y = s > 0 ? label * (1 - s) + s / 2 : label;
      return -y * std::log(Sigmoid(z[0])) - (1 - y) * std::log(1 - Sigmoid(z[0]));
    }
    case LossKind::kBinaryFocal: {
      const double p = Sigmoid(frozen_z), alpha = loss.focal_alpha, gamma = loss.focal_gamma;
      const double modulation =
          alpha * label * std::pow(1 - p, gamma) + (1 - alpha) * (1 - label) * std::pow(p, gamma);
      return modulation *
             (-label * std::log(Sigmoid(z[0])) - (1 - label) * std::log(1 - Sigmoid(z[0])));
    }
    case LossKind::kSoftmaxCrossEntropy: {
      double sum = 0, value = 0;
      for (double v : z) sum += std::exp(v);
      for (size_t c = 0; c < z.size(); ++c) {
        const double target =
            (static_cast<double>(c) == label ? 1 - s : 0) + s / static_cast<double>(z.size());
        value -= target * std::log(std::exp(z[c]) / sum);
      }
      return value;
    }
    case LossKind::kL2:
      return (z[0] - label) * (z[0] - label);
    case LossKind::kJrc:
      return loss.jrc_alpha *
             -std::log(std::exp(z[static_cast<size_t>(label)]) / (std::exp(z[0]) + std::exp(z[1])));
  }
  return 0;
}

namespace {

int64_t SessionOf(const Loss& loss, const Batch& batch, int64_t row) {
  const std::span<const int64_t> ids = batch.RowIds(loss.session_feature, row);
  return ids.empty() ? 0 : ids.front();
}

// spec 2.2: the ranking term of `row`, -log of its share in a softmax over itself and the session's
// rows of the other label.
double RankingTerm(const Loss& loss, const Batch& batch, const std::vector<int64_t>& labels,
                   const std::vector<std::vector<double>>& z, int64_t row) {
  const int64_t own = labels[row];
  double sum = std::exp(z[row][own]);
  for (int64_t j = 0; j < batch.rows; ++j) {
    const bool is_rival =
        labels[j] != own && SessionOf(loss, batch, j) == SessionOf(loss, batch, row);
    if (is_rival) sum += std::exp(z[j][own]);
  }
  return -std::log(std::exp(z[row][own]) / sum);
}

}  // namespace

ReferenceValues Evaluate(const JobConfig& config, const Batch& batch,
                         const std::vector<std::vector<float>>& scales, const ReferencePoint& point,
                         const ReferenceDropout& dropout, const ReferenceValues* frozen) {
  const Model& model = config.model;
  const size_t tower_count = model.towers.size() * model.domain_count;
  ReferenceValues values;
  values.towers.resize(tower_count);
  for (int64_t row = 0; row < batch.rows; ++row) {
    RowNetwork net(config, point, dropout, row, batch.first_row + row);
    const Row main = net.Group(model.main);
    const Row& seen_main = frozen != nullptr ? frozen->main[row] : main;
    Row shared = main;
    if (model.domain.has_value()) {
      shared = Product(
          net.Gate("model.epnet.gate_nu", net.Group(*model.domain), seen_main, model.epnet_gamma),
          main);
    }
    const Row& seen_shared = frozen != nullptr ? frozen->shared[row] : shared;
    std::vector<Row> tasks(model.towers.size(), shared);
    for (size_t k = 0; model.uia.has_value() && k < tasks.size() * model.ppnet_hidden_units.size();
         ++k) {
      const size_t layers = model.ppnet_hidden_units.size();
      Row& x = tasks[k / layers];
      x = net.Activate("model.ppnet.activations." + std::to_string(k), model.ppnet_activation,
                       net.Linear("model.ppnet.linears." + std::to_string(k), x));
      x = Product(x, net.Gate("model.ppnet.gate_nus." + std::to_string(k), net.Group(*model.uia),
                              seen_shared, model.ppnet_gamma));
      x = net.Dropout(model.ppnet_dropout_ratio[k % layers], x);
    }
    for (size_t i = 0; i < tower_count; ++i) {
      values.towers[i].push_back(net.Tower("model._task_tower." + std::to_string(i),
                                           model.towers[i / model.domain_count],
                                           tasks[i / model.domain_count]));
    }
    values.main.push_back(main);
    values.shared.push_back(shared);
  }
  for (size_t task = 0; task < model.towers.size(); ++task) {
    const Tower& tower = model.towers[task];
    for (const Loss& loss : tower.losses) {
      double sum = 0;
      for (int64_t row = 0; row < batch.rows; ++row) {
        const int64_t domain =
            model.domain_label < 0 ? 0 : batch.labels[model.domain_label].integers[row];
        const size_t i = task * model.domain_count + domain;
        const double frozen_z = (frozen != nullptr ? *frozen : values).towers[i][row][0];
        double l = ReferenceLoss(loss, values.towers[i][row], batch.labels[tower.label].values[row],
                                 frozen_z);
        if (HasSessions(TypeOf(loss.kind))) {
          l += (1 - loss.jrc_alpha) *
               RankingTerm(loss, batch, batch.labels[tower.label].integers, values.towers[i], row);
        }
        sum += l * scales[task][row];
      }
      values.losses.push_back(sum);
      values.total += sum;
    }
  }
  for (const FeatureGroup* group : Groups(model)) {
    if (!group->variational || !dropout.enabled || batch.rows == 0) continue;
    double left = 0;
    for (const double w : point.parameters.at(group->variational->parameter)) {
      left += 1 - Sigmoid(w);
    }
    const double n = static_cast<double>(batch.global_rows);
    values.losses.push_back(group->variational->lambda / n * left *
                            static_cast<double>(batch.rows) / n);
    values.total += values.losses.back();
  }
  return values;
}

}  // namespace pepnet
