// Uses the types that the patches beside this file add, all of them: parsed from a config, then
// computed. Built by tests/scripts/extending_test.py; ends with 1 and a line for each claim that
// does not hold.
#include <cmath>
#include <cstdio>
#include <fstream>

#include "common/config/load.h"
#include "ps/table/sparse_optimizer.h"
#include "worker/data/encode/feature_encoder.h"
#include "worker/data/files/input_files.h"
#include "worker/data/files/row_reader.h"
#include "worker/metrics/metric_counts.h"
#include "worker/model/fused/kernels/fused_kernels.h"
#include "worker/model/fused/row_loss.h"

namespace pepnet {
namespace {

int failures = 0;

#define EXPECT(condition)                                         \
  do {                                                            \
    if (condition) break;                                         \
    std::printf("line %d: not true: %s\n", __LINE__, #condition); \
    ++failures;                                                   \
  } while (false)

bool Near(double a, double b) { return std::abs(a - b) < 1e-5; }

constexpr char kConfig[] = R"(train_input_path: "a.tsv" eval_input_path: "b.tsv" model_dir: "m"
train_config {
  sparse_optimizer { momentum_optimizer { lr: 0.5 momentum: 0.25 } constant_learning_rate {} }
  dense_optimizer { adam_optimizer { lr: 0.002 } constant_learning_rate {} }
  num_steps: 5
}
data_config { batch_size: 8 dataset_type: TsvDataset with_header: true fg_mode: FG_NORMAL label_fields: "y" }
feature_configs { length_feature { feature_name: "word" expression: "item:word" num_buckets: 10 embedding_dim: 4
                                   default_value: "four" } }
model_config {
  feature_groups { group_name: "all" feature_names: "word" group_type: DEEP }
  pepnet {
    task_towers { tower_name: "t" label_name: "y" mlp { hidden_units: 5 activation: "ISRU" }
                  losses { huber_loss { delta: 2 } } metrics { root_mean_squared_error {} } }
  }
}
)";

void Optimizer(const SparseOptimizer& optimizer) {
  EXPECT(optimizer.momentum == 0.25);
  EXPECT(SparseStateDim(optimizer.kind, 2) == 2);
  const auto& parameters = TypeOf(optimizer.kind).parameters;
  SparseOptimizer received;  // as a server gets it
  EXPECT(SetParameters(parameters, ParameterValues(parameters, optimizer), &received).ok());
  EXPECT(received.momentum == 0.25);
  float value[2] = {1, 2}, state[2] = {4, 0};
  const float gradient[2] = {1, -1};
  const RowUpdate row = {value, state, gradient};
  UpdateRows(optimizer, 0.5, 1, 2, {&row, 1});
  EXPECT(value[0] == 0 && value[1] == 2.5f);
}

void LossOfRow(const Loss& loss) {
  EXPECT(loss.name == "huber_loss_t");
  EXPECT(!HasProbabilities(TypeOf(loss.kind)));
  LabelColumn label;
  label.values = {1, 1};
  const float near = 2, far = 6;
  float derivative = 0;
  EXPECT(Near(RowLossAndGradient(loss, 1, &near, label, 0, 1, &derivative), 0.5));
  EXPECT(Near(derivative, 1));
  derivative = 0;
  EXPECT(Near(RowLossAndGradient(loss, 1, &far, label, 1, 1, &derivative), 8));
  EXPECT(Near(derivative, 2));
}

void MetricOfRows(const Tower& tower) {
  EXPECT(tower.metrics.at(0).name == "root_mean_squared_error_t");
  const MetricSums rows(&tower.metrics[0], tower.num_class);
  std::vector<double> sums(rows.size(), 0.0);
  LabelColumn label;
  label.values = {0, 1};
  const std::vector<float> scores = {3, 5};
  rows.Add(tower, label, ScoresOfTower(tower, label, scores, 2), 2, sums.data());
  EXPECT(Near(rows.Value(sums.data()), std::sqrt(12.5)));
}

void ActivationOfLayer(const Activation& activation) {
  float x[2] = {1, -3}, out[2];
  const float d[2] = {1, 1};
  Activated layer;
  layer.rows = 1, layer.width = 2;
  layer.activation = {activation.kind, 0};
  layer.u = x, layer.out = out;
  ActivatedForward(layer);
  EXPECT(Near(out[0], 1 / std::sqrt(2.0)) && Near(out[1], -3 / std::sqrt(10.0)));
  ActivatedBackward(layer, d, nullptr, nullptr);
  EXPECT(Near(x[0], std::pow(2, -1.5)) && Near(x[1], std::pow(10, -1.5)));
}

void FeatureOfCell(const std::vector<Feature>& features) {
  const auto encoder = FeatureEncoder::Create(features, {});
  EXPECT(encoder.ok());
  if (encoder.ok()) EXPECT((*encoder)->empty_cell(0).ids == std::vector<int64_t>{4});  // "four"
}

void FormatOfFile(const DataConfig& data) {
  const std::string path = "added_types.tsv";
  std::ofstream(path) << "y\tword\n1\ta,b\n0\tc\n";
  const auto files = FindInputFiles(path, std::nullopt, "OdpsDataset");
  EXPECT(files.ok() && files->type == *data.dataset_type);
  const FileFormat format = FormatOf(data, *data.dataset_type);
  const auto columns = ListColumns(path, format);
  EXPECT(columns.ok() && *columns == (std::vector<std::string>{"y", "word"}));
  const auto reader = OpenRowReader(path, format, {"word"});
  EXPECT(reader.ok());
  if (!reader.ok()) return;
  const auto chunk = (*reader)->Read(10);
  EXPECT(chunk.ok() && chunk->rows->num_rows() == 2);
}

int Check() {
  const auto config = ParseJobConfig(kConfig, "added_types", {});
  if (!config.ok()) {
    std::printf("%s\n", std::string(config.status().message()).c_str());
    return 1;
  }
  Optimizer(config->train.sparse_optimizer);
  const Tower& tower = config->model.towers.at(0);
  LossOfRow(tower.losses.at(0));
  MetricOfRows(tower);
  ActivationOfLayer(tower.mlp->activation);
  FeatureOfCell(config->features);
  FormatOfFile(config->data);
  return failures > 0 ? 1 : 0;
}

}  // namespace
}  // namespace pepnet

int main() { return pepnet::Check(); }
