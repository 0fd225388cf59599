#include "worker/model/parameters.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <new>
#include <stdexcept>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/hash.h"
#include "common/base/log_functions.h"
#include "common/base/random.h"

namespace pepnet {
namespace {

using Init = ParameterSpec::Init;

// Collects the parameters of a network in the order of the reference's modules.
class ListBuilder {
 public:
  explicit ListBuilder(std::vector<ParameterSpec>* specs) : specs_(*specs) {}

  // Names and shapes are the reference's: a checkpoint imports by name (spec 7).
  void Add(const std::string& name, std::vector<int64_t> shape, Init init, double constant = 0) {
    specs_.push_back({name, std::move(shape), init, 0, constant});
  }
  void Linear(const std::string& module, int64_t in, int64_t out, bool bias) {
    specs_.push_back({module + ".weight", {out, in}, Init::kFanIn, in, 0});
    if (bias) specs_.push_back({module + ".bias", {out}, Init::kFanIn, in, 0});
  }
  // Weight and bias of layer norm and batch norm.
  void Norm(const std::string& module, int64_t width) {
    specs_.push_back({module + ".weight", {width}, Init::kOne, 0, 0});
    specs_.push_back({module + ".bias", {width}, Init::kZero, 0, 0});
  }
  // The values that normalisation over the rows of a batch keeps for evaluation.
  void RunningStatistics(const std::string& module, int64_t width) {
    specs_.push_back({module + ".running_mean", {width}, Init::kZero, 0, 0, false});
    specs_.push_back({module + ".running_var", {width}, Init::kOne, 0, 0, false});
  }
  // The weights that the activation trains, if it does: PReLU's slope, Dice's alpha.
  void ActivationWeight(const std::string& module, const Activation& activation, int64_t width) {
    const ActivationType& type = TypeOf(activation.kind);
    if (type.weight == nullptr) return;
    const int64_t weights = type.normalises ? width : activation.weights;
    specs_.push_back({absl::StrCat(module, ".", type.weight),
                      {weights},
                      Init::kConstant,
                      0,
                      activation.parameter});
    if (type.normalises) RunningStatistics(module + ".bn", width);
  }
  // Gate NU: two linear layers with bias around a ReLU, which takes the index 1 (spec 1.2).
  void Gate(const std::string& module, int64_t in, int64_t hidden, int64_t out) {
    Linear(module + ".dense_layers.0", in, hidden, true);
    Linear(module + ".dense_layers.2", hidden, out, true);
  }
  // Layers of `module`.mlp, input `in`. Returns the width of the last one. perceptron: Linear at
  // index 0, then normalisation if asked for, then the activation.
  int64_t HiddenLayers(const std::string& module, const Mlp& mlp, int64_t in) {
    for (size_t layer = 0; layer < mlp.hidden_units.size(); ++layer) {
      const std::string perceptron = module + ".mlp." + std::to_string(layer) + ".perceptron.";
      const int64_t width = mlp.hidden_units[layer];
      Linear(perceptron + "0", in, width, mlp.bias);
      if (mlp.use_ln || mlp.use_bn) Norm(perceptron + NormName(mlp), width);
      if (mlp.use_bn) RunningStatistics(perceptron + NormName(mlp), width);
      ActivationWeight(perceptron + ActivationName(mlp), mlp.activation, width);
      in = width;
    }
    return in;
  }

 private:
  std::vector<ParameterSpec>& specs_;
};

void AddPpnet(const Model& model, ListBuilder* list) {
  const int64_t layers = static_cast<int64_t>(model.ppnet_hidden_units.size());
  const int64_t gate_in = model.uia->width + model.main.width;
  for (int64_t task = 0; task < static_cast<int64_t>(model.towers.size()); ++task) {
    int64_t in = model.main.width;
    for (int64_t layer = 0; layer < layers; ++layer) {
      const int64_t width = model.ppnet_hidden_units[layer];
      const std::string k = std::to_string(task * layers + layer);
      list->Linear("model.ppnet.linears." + k, in, width, true);
      list->ActivationWeight("model.ppnet.activations." + k, model.ppnet_activation, width);
      list->Gate("model.ppnet.gate_nus." + k, gate_in, width, width);
      in = width;
    }
  }
}

void AddTower(const std::string& module, const Tower& tower, int64_t in, ListBuilder* list) {
  if (tower.mlp.has_value()) in = list->HiddenLayers(module + ".tower_mlp", *tower.mlp, in);
  list->Linear(module + ".linear", in, tower.num_class, true);
}

// The score of a position: hidden layers over `in` floats, then one linear layer.
void AddAttentionMlp(const Encoder& encoder, int64_t in, ListBuilder* list) {
  list->Linear(encoder.module + ".linear",
               list->HiddenLayers(encoder.module + ".mlp", encoder.attn_mlp, in), 1, true);
}

// PyTorch's multi-head attention behind three linear layers of its own.
void AddSelfAttention(const Encoder& encoder, ListBuilder* list) {
  const int64_t width = encoder.attention_width;
  for (const char* part : {"._query", "._key", "._value"}) {
    list->Linear(encoder.module + part, encoder.channels, width, true);
  }
  const std::string attention = encoder.module + "._multihead_attn";
  // Xavier-uniform over the whole shape: sqrt(6 / (rows + columns)).
  list->Add(attention + ".in_proj_weight", {3 * width, width}, Init::kUniform,
            std::sqrt(6.0 / (4.0 * width)));
  list->Add(attention + ".in_proj_bias", {3 * width}, Init::kZero);
  list->Linear(attention + ".out_proj", width, width, false);
  list->Add(attention + ".out_proj.bias", {width}, Init::kZero);
}

// Element e: (2 u - 1) * bound, u = word e % 4 of Philox block e / 4 of the parameter's own key.
// The key is of the name, so that a parameter keeps its values when others come or go.
void FillUniform(uint64_t seed, const std::string& name, double bound, std::span<float> values) {
  const uint64_t key = RandomKey(seed, RandomPurpose::kDenseInit, HashName(name));
  std::array<uint32_t, 4> words{};
  for (size_t e = 0; e < values.size(); ++e) {
    if (e % 4 == 0) words = Philox4x32(key, 0, e / 4);
    values[e] =
        static_cast<float>((2.0 * static_cast<double>(UnitFloat(words[e % 4])) - 1.0) * bound);
  }
}

// Element e from the same words as FillUniform().
void FillNormal(uint64_t seed, const std::string& name, double deviation, std::span<float> values) {
  const uint64_t key = RandomKey(seed, RandomPurpose::kDenseInit, HashName(name));
  std::array<uint32_t, 4> words{};
  for (size_t e = 0; e < values.size(); ++e) {
    if (e % 4 == 0) words = Philox4x32(key, 0, e / 4);
    values[e] = NormalFloat(words, e % 4, 0, deviation);
  }
}

void AddEmbedding(const DenseEmbedding& embedding, ListBuilder* list) {
  const int64_t width = embedding.width, n = embedding.channels;
  switch (embedding.kind) {
    case DenseEmbeddingKind::kMlp: {
      const double deviation = std::sqrt(2.0 / (embedding.values + width));
      // The reference keeps the weight of a single value without its first dimension.
      if (embedding.values == 1) {
        return list->Add(embedding.projection, {width}, Init::kNormal, deviation);
      }
      return list->Add(embedding.projection, {embedding.values, width}, Init::kNormal, deviation);
    }
    case DenseEmbeddingKind::kAutoDis:
      list->Add(embedding.meta, {n, width}, Init::kNormal, 1);
      list->Add(embedding.projection, {n}, Init::kNormal, std::sqrt(2.0 / (1 + n)));
      return list->Add(embedding.mixing, {n, n}, Init::kNormal, std::sqrt(1.0 / n));
  }
}

}  // namespace

int64_t ParameterSpec::elements() const {
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  return count;
}

void AppendEncoderParameters(const Encoder& encoder, std::vector<ParameterSpec>* specs) {
  ListBuilder list(specs);
  switch (encoder.kind) {
    case EncoderKind::kPooling:
    case EncoderKind::kSimpleAttention:
      return;
    case EncoderKind::kDin:  // of [query ; position ; query - position ; query * position]
      return AddAttentionMlp(encoder, 4 * encoder.channels, &list);
    case EncoderKind::kMultiWindowDin:  // of [position ; query * position ; query]; PReLU behind it
      AddAttentionMlp(encoder, 3 * encoder.channels, &list);
      return list.Add(encoder.module + ".active.weight", {1}, Init::kConstant, 0.25);
    case EncoderKind::kSelfAttention:
      return AddSelfAttention(encoder, &list);
  }
}

std::vector<ParameterSpec> DenseParameterList(const JobConfig& config) {
  const Model& model = config.model;
  std::vector<ParameterSpec> specs;
  ListBuilder list(&specs);
  for (const DenseEmbedding& embedding : model.embeddings) AddEmbedding(embedding, &list);
  for (const Encoder& encoder : model.encoders) AppendEncoderParameters(encoder, &specs);
  for (const FeatureGroup* group : Groups(model)) {
    if (!group->variational) continue;
    list.Add(group->variational->parameter, {static_cast<int64_t>(group->sources())}, Init::kNormal,
             1);
  }
  if (model.domain.has_value()) {
    list.Gate("model.epnet.gate_nu", model.domain->width + model.main.width,
              model.epnet_hidden_unit, model.main.width);
  }
  int64_t tower_in = model.main.width;
  if (model.uia.has_value()) {
    AddPpnet(model, &list);
    tower_in = model.ppnet_hidden_units.back();
  }
  for (size_t task = 0; task < model.towers.size(); ++task) {
    for (int domain = 0; domain < model.domain_count; ++domain) {
      const std::string index = std::to_string(task * model.domain_count + domain);
      AddTower("model._task_tower." + index, model.towers[task], tower_in, &list);
    }
  }
  return specs;
}

DenseParameters::DenseParameters(std::vector<ParameterSpec> specs) : specs_(std::move(specs)) {
  constexpr size_t kFloatsPerLine = kBufferAlignment / sizeof(float);
  size_t end = 0;
  offsets_.reserve(specs_.size());
  for (const ParameterSpec& spec : specs_) {
    offsets_.push_back(end);
    const size_t elements = static_cast<size_t>(spec.elements());
    end += (elements + kFloatsPerLine - 1) / kFloatsPerLine * kFloatsPerLine;
  }
  try {
    values_.ResizeZeroed(end);
    gradients_.ResizeZeroed(end);
  } catch (const std::bad_alloc&) {
    throw std::runtime_error(
        absl::StrCat("there is not enough memory for the network's ", end, " parameters and their ",
                     "gradients (", 2 * end * sizeof(float) >> 20,
                     " MiB); make its layers narrower, or raise the limit (ulimit -v)"));
  }
}

int DenseParameters::Find(const std::string& name) const {
  for (size_t i = 0; i < specs_.size(); ++i) {
    if (specs_[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

void DenseParameters::ZeroGradients() { gradients_.ResizeZeroed(gradients_.size()); }

void DenseParameters::Initialize(uint64_t seed) {
  for (size_t i = 0; i < specs_.size(); ++i) {
    const ParameterSpec& spec = specs_[i];
    std::span<float> values = value(static_cast<int>(i));
    switch (spec.init) {
      case Init::kOne:
        std::fill(values.begin(), values.end(), 1.0f);
        break;
      case Init::kZero:
        std::fill(values.begin(), values.end(), 0.0f);
        break;
      case Init::kConstant:
        std::fill(values.begin(), values.end(), static_cast<float>(spec.constant));
        break;
      case Init::kFanIn:
        CheckOrDie(spec.fan_in > 0, "parameter " + spec.name + " has fan_in 0");
        FillUniform(seed, spec.name, 1.0 / std::sqrt(static_cast<double>(spec.fan_in)), values);
        break;
      case Init::kUniform:
        FillUniform(seed, spec.name, spec.constant, values);
        break;
      case Init::kNormal:
        FillNormal(seed, spec.name, spec.constant, values);
        break;
    }
  }
}

}  // namespace pepnet
