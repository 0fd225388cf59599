#include "tests/worker/model/tiny_model.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "common/base/random.h"
#include "worker/model/engine/make_model.h"

namespace pepnet {
namespace {

// Uniform in [-1, 1).
float RandomValue(uint64_t seed, uint64_t a, uint64_t b) {
  return 2 * UnitFloat(Philox4x32(RandomKey(seed, RandomPurpose::kTest, a), 0, b)[0]) - 1;
}

int64_t RandomInteger(uint64_t seed, uint64_t a, uint64_t b, int64_t limit) {
  return static_cast<int64_t>(Philox4x32(RandomKey(seed, RandomPurpose::kTest, a), 1, b)[0] %
                              limit);
}

Feature MakeFeature(const std::string& name, int dim) {
  Feature feature;
  feature.name = name;
  feature.dim = dim;
  feature.is_read = true;
  return feature;
}

}  // namespace

Tower TinyTower(const std::string& name, int label, LossKind kind, const Activation& activation,
                int num_class) {
  Tower tower;
  tower.name = name;
  tower.label = label;
  tower.num_class = num_class;
  Mlp mlp;
  mlp.hidden_units = {5, 3};
  mlp.dropout_ratio = {0, 0};
  mlp.activation = activation;
  tower.mlp = mlp;
  Loss loss;
  loss.kind = kind;
  loss.name = "loss_" + name;
  tower.losses.push_back(loss);
  return tower;
}

JobConfig TinyConfig() {
  JobConfig config;
  config.data.labels = {"y", "c", "v"};
  config.data.sample_weights = {"w"};
  config.features = {MakeFeature("f0", 3), MakeFeature("f1", 2), MakeFeature("r", 1)};
  config.leaves = {{0, 0, 3}, {1, 1, 2}, {2, -1, 1}};
  Model& model = config.model;
  model.main = {"all", {0, 2, 1}, {}, 6};
  model.domain = FeatureGroup{"domain", {1}, {}, 2};
  model.uia = FeatureGroup{"uia", {0}, {}, 3};
  model.epnet_hidden_unit = 4;
  model.epnet_gamma = 1.5;
  model.ppnet_hidden_units = {5, 4};
  model.ppnet_activation = {ActivationKind::kTanh, 0};
  model.ppnet_dropout_ratio = {0, 0};
  model.ppnet_gamma = 2.5;
  model.towers = {TinyTower("ctr", 0, LossKind::kBinaryCrossEntropy, {ActivationKind::kSilu, 0})};
  return config;
}

JobConfig AllLossesConfig() {
  JobConfig config = TinyConfig();
  std::vector<Tower>& towers = config.model.towers;
  const Activation tanh{ActivationKind::kTanh, 0};
  towers[0].losses[0].label_smoothing = 0.1;
  towers.push_back(TinyTower("focal", 0, LossKind::kBinaryFocal, tanh));
  towers[1].losses[0].focal_gamma = 1.5;
  towers[1].losses[0].focal_alpha = 0.3;
  towers[1].weighted = true;
  towers[1].sample_weight = 0;
  towers[1].task_space_indicator = 0;
  towers[1].in_task_space_weight = 2;
  towers[1].weight = 0.7;
  towers.push_back(TinyTower("soft", 1, LossKind::kSoftmaxCrossEntropy, tanh, 3));
  towers[2].losses[0].label_smoothing = 0.2;
  towers.push_back(TinyTower("two", 0, LossKind::kSoftmaxCrossEntropy, tanh, 2));
  towers.push_back(TinyTower("val", 2, LossKind::kL2, tanh));
  towers[4].losses.push_back(TinyTower("extra", 2, LossKind::kBinaryCrossEntropy, tanh).losses[0]);
  return config;
}

JobConfig SessionConfig() {
  JobConfig config = TinyConfig();
  std::vector<Tower>& towers = config.model.towers;
  const Activation tanh{ActivationKind::kTanh, 0};
  towers.push_back(TinyTower("jrc", 0, LossKind::kJrc, tanh, 2));
  towers[1].losses[0].jrc_alpha = 0.3;
  towers.push_back(TinyTower("both", 0, LossKind::kSoftmaxCrossEntropy, tanh, 2));
  towers[2].losses.push_back(TinyTower("ranked", 0, LossKind::kJrc, tanh, 2).losses[0]);
  towers[2].weighted = true;
  towers[2].weight = 1.5;
  towers[2].sample_weight = 0;
  towers[2].task_space_indicator = 1;
  towers[2].in_task_space_weight = 2;
  towers[2].out_task_space_weight = 0;
  for (Tower& tower : towers) {
    for (Loss& loss : tower.losses) loss.session_feature = HasSessions(TypeOf(loss.kind)) ? 0 : -1;
  }
  return config;
}

JobConfig VariationalConfig() {
  JobConfig config = TinyConfig();
  Model& model = config.model;
  model.uia->leaves = {0, 2};
  model.uia->width = 4;
  model.main.variational = VariationalDropout{"model.variational.all", "all_penalty", 0.3, 2000};
  model.uia->variational = VariationalDropout{"model.variational.uia", "uia_penalty", 0.2, 2001};
  return config;
}

JobConfig DomainConfig() {
  JobConfig config = TinyConfig();
  config.model.domain_label = 1;
  config.model.domain_count = 3;
  config.model.towers.push_back(TinyTower("val_ue", 2, LossKind::kL2, {ActivationKind::kTanh, 0}));
  return config;
}

JobConfig EmbeddingConfig() {
  JobConfig config = TinyConfig();
  config.features.push_back(MakeFeature("m", 3));
  config.features.push_back(MakeFeature("a", 1));
  config.leaves.push_back({3, -1, 3});
  config.leaves.push_back({4, -1, 1});
  const auto add = [&config](DenseEmbeddingKind kind, int leaf, int width) {
    DenseEmbedding embedding;
    embedding.kind = kind;
    embedding.leaf = leaf;
    embedding.values = config.leaves[leaf].dim;
    embedding.width = width;
    embedding.channels = 5;
    embedding.temperature = 0.5;
    embedding.keep_prob = 0.7;
    const std::string module = "model.embedding." + std::to_string(leaf);
    embedding.projection = module + ".w";
    embedding.mixing = module + ".m";
    embedding.meta = module + ".e";
    config.leaves[leaf].embedding = static_cast<int>(config.model.embeddings.size());
    config.model.embeddings.push_back(embedding);
  };
  add(DenseEmbeddingKind::kMlp, 2, 2);
  add(DenseEmbeddingKind::kMlp, 3, 4);
  add(DenseEmbeddingKind::kAutoDis, 4, 3);
  config.model.main.leaves = {0, 2, 1, 3, 4};
  config.model.main.width = 3 + 2 + 2 + 4 + 3;
  config.model.uia->leaves = {0, 3};
  config.model.uia->width = 3 + 4;
  return config;
}

JobConfig SequenceConfig() {
  JobConfig config = TinyConfig();
  config.features.push_back(MakeFeature("items", 3));
  config.features.push_back(MakeFeature("times", 1));
  config.features[3].sequence = config.features[4].sequence = Sequence{};
  config.leaves.push_back({0, 2, 3});         // 3: the query
  config.leaves.push_back({3, 2, 3, true});   // 4
  config.leaves.push_back({4, -1, 1, true});  // 5
  Model& model = config.model;
  model.sequence_groups = {{"clicks", {3}, {4, 5}, 3, 4}, {"items", {3}, {4}, 3, 3}};
  const auto add = [&](EncoderKind kind, int sequence_group, const std::string& group,
                       FeatureGroup* to) {
    Encoder encoder;
    encoder.kind = kind;
    encoder.module = "model.encoders." + group + "." + std::to_string(to->encoders.size());
    encoder.sequence_group = sequence_group;
    encoder.channels = model.sequence_groups[sequence_group].width;
    encoder.attn_mlp.hidden_units = {5, 3};
    encoder.attn_mlp.dropout_ratio = {0.25, 0};
    encoder.attn_mlp.activation = {ActivationKind::kTanh, 0};
    encoder.attn_mlp.use_ln = kind == EncoderKind::kMultiWindowDin;
    encoder.windows = {1, 2};
    encoder.attention_width = 6;
    encoder.heads = 2;
    encoder.dropout = 1.0 / 3;
    encoder.max_length =
        kind == EncoderKind::kPooling || kind == EncoderKind::kSelfAttention ? 3 : 0;
    encoder.dropout_layer = 1000 + 10 * static_cast<int64_t>(model.encoders.size());
    encoder.width = EncoderOutputWidth(encoder, encoder.channels);
    to->encoders.push_back(static_cast<int>(model.encoders.size()));
    to->width += encoder.width;
    model.encoders.push_back(encoder);
  };
  add(EncoderKind::kDin, 0, "all", &model.main);
  add(EncoderKind::kMultiWindowDin, 0, "all", &model.main);
  add(EncoderKind::kPooling, 0, "all", &model.main);
  add(EncoderKind::kSelfAttention, 0, "domain", &*model.domain);
  add(EncoderKind::kSimpleAttention, 1, "uia", &*model.uia);
  return config;
}

TinyData RandomData(const JobConfig& config, int64_t rows, uint64_t seed) {
  TinyData data;
  Batch& batch = data.batch;
  batch.rows = batch.global_rows = rows;
  batch.origin = "test rows";
  batch.labels.resize(3);
  batch.sample_weights.resize(1);
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t y = RandomInteger(seed, 100, row, 2), c = RandomInteger(seed, 101, row, 3);
    batch.labels[0].integers.push_back(y);
    batch.labels[0].values.push_back(static_cast<float>(y));
    batch.labels[1].integers.push_back(c);
    batch.labels[1].values.push_back(static_cast<float>(c));
    batch.labels[2].values.push_back(RandomValue(seed, 102, row));
    batch.sample_weights[0].push_back(1.5f + RandomValue(seed, 103, row));
  }
  // Sessions: none to two ids a row, of three.
  batch.ids.resize(config.features.size());
  for (size_t f = 0; f < config.features.size(); ++f) {
    if (config.features[f].sequence) continue;
    batch.ids[f].offsets.push_back(0);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t n = RandomInteger(seed, 130 + f, row, 3); n > 0; --n) {
        batch.ids[f].ids.push_back(RandomInteger(seed, 160 + f, 2 * row + n, 3));
      }
      batch.ids[f].offsets.push_back(static_cast<int32_t>(batch.ids[f].ids.size()));
    }
  }
  // Up to five elements a row; the second sequence is at times shorter or longer than the first.
  batch.elements.resize(config.features.size());
  for (size_t f = 0; f < config.features.size(); ++f) {
    if (!config.features[f].sequence) continue;
    batch.elements[f].push_back(0);
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t of_both = RandomInteger(seed, 104, row, 6),
                    other = RandomInteger(seed, 105 + f, row, 6);
      batch.elements[f].push_back(batch.elements[f].back() +
                                  static_cast<int32_t>(row % 4 == 0 ? other : of_both));
    }
  }
  data.leaves.resize(config.leaves.size());
  for (size_t f = 0; f < config.leaves.size(); ++f) {
    data.leaves[f].Resize(VectorsOf(config.leaves[f], batch) * config.leaves[f].dim);
    for (size_t i = 0; i < data.leaves[f].size(); ++i) data.leaves[f][i] = RandomValue(seed, f, i);
  }
  return data;
}

TinyData Slice(const JobConfig& config, const TinyData& data, int64_t begin, int64_t end) {
  auto cut = [begin, end](const auto& values) {
    using Values = std::decay_t<decltype(values)>;
    return values.empty() ? Values() : Values(values.begin() + begin, values.begin() + end);
  };
  TinyData slice;
  slice.batch.rows = end - begin;
  slice.batch.first_row = data.batch.first_row + begin;
  slice.batch.global_rows = data.batch.global_rows;
  slice.batch.origin = data.batch.origin;
  for (const LabelColumn& label : data.batch.labels) {
    slice.batch.labels.push_back({cut(label.values), cut(label.integers)});
  }
  for (const std::vector<float>& weights : data.batch.sample_weights) {
    slice.batch.sample_weights.push_back(cut(weights));
  }
  for (const IdColumn& column : data.batch.ids) {
    IdColumn& part = slice.batch.ids.emplace_back();
    if (column.offsets.empty()) continue;
    part.ids.assign(column.ids.begin() + column.offsets[begin],
                    column.ids.begin() + column.offsets[end]);
    for (int64_t row = begin; row <= end; ++row) {
      part.offsets.push_back(column.offsets[row] - column.offsets[begin]);
    }
  }
  slice.batch.elements.resize(data.batch.elements.size());
  for (size_t f = 0; f < data.batch.elements.size(); ++f) {
    const std::vector<int32_t>& elements = data.batch.elements[f];
    for (int64_t row = begin; !elements.empty() && row <= end; ++row) {
      slice.batch.elements[f].push_back(elements[row] - elements[begin]);
    }
  }
  slice.leaves.resize(data.leaves.size());
  for (size_t f = 0; f < data.leaves.size(); ++f) {
    const Leaf& leaf = config.leaves[f];
    const int64_t first = leaf.sequence ? data.batch.elements[leaf.feature][begin] : begin;
    const int64_t count = VectorsOf(leaf, slice.batch);
    slice.leaves[f].Resize(count * leaf.dim);
    std::copy_n(data.leaves[f].begin() + first * leaf.dim, count * leaf.dim,
                slice.leaves[f].begin());
  }
  return slice;
}

TinyModel::TinyModel(JobConfig tiny_config, const ModelOptions& options)
    : config(std::move(tiny_config)), seed(options.seed), parameters(DenseParameterList(config)) {
  parameters.Initialize(seed);
  auto created = MakeModel(&config, &parameters, options);
  if (!created.ok()) {
    fprintf(stderr, "%s\n", created.status().ToString().c_str());
    abort();
  }
  model = *std::move(created);
}

ModelInput TinyModel::Input(const TinyData& data, const std::vector<std::vector<float>>* scales,
                            int64_t step) const {
  ModelInput input;
  input.batch = &data.batch;
  for (const AlignedBuffer<float>& feature : data.leaves) input.leaves.push_back(feature.data());
  input.step = step;
  input.row_scales = scales;
  return input;
}

ReferencePoint TinyModel::Point(const TinyData& data) const {
  ReferencePoint point;
  for (size_t i = 0; i < parameters.specs().size(); ++i) {
    const std::span<const float> value = parameters.value(static_cast<int>(i));
    point.parameters[parameters.specs()[i].name].assign(value.begin(), value.end());
  }
  for (const AlignedBuffer<float>& feature : data.leaves) {
    point.leaves.emplace_back(feature.begin(), feature.end());
  }
  return point;
}

}  // namespace pepnet
