#include "cli/bench/arithmetic.h"

#include <algorithm>

namespace pepnet {

double StepMultiplications(const JobConfig& config, double rows,
                           const std::vector<double>& task_rows, double towers_per_row) {
  const Model& model = config.model;
  const double main = model.main.width;
  double total = 0;
  // A gate of `out` outputs on [own ; detached x]. Layer 1 is in x hidden: forward and weight
  // gradient of all columns, input gradient of the `own` columns alone, because the rest is
  // detached (sg() in docs/spec.md 1.3). Layer 2 has all three.
  auto gate = [](double own, double in, double hidden, double out) {
    return 2 * in * hidden + own * hidden + 3 * hidden * out;
  };
  if (model.domain) {
    total +=
        rows * gate(model.domain->width, model.domain->width + main, model.epnet_hidden_unit, main);
  }
  for (size_t task = 0; task < model.towers.size(); ++task) {
    double in = main, row = 0;
    if (model.uia) {
      for (int width : model.ppnet_hidden_units) {
        // A product of [rows, in] x [in, width] costs in * width multiplications a row, three
        // times: forward, weight gradient, input gradient.
        row += 3 * in * width + gate(model.uia->width, model.uia->width + main, width, width);
        in = width;
      }
    }
    double tower = 0;
    if (model.towers[task].mlp) {
      for (int width : model.towers[task].mlp->hidden_units) {
        tower += 3 * in * width;
        in = width;
      }
    }
    total +=
        task_rows[task] * (row + towers_per_row * (tower + 3 * in * model.towers[task].num_class));
  }
  return total;
}

std::vector<double> CountingRows(const std::vector<std::vector<float>>& scales) {
  std::vector<double> counts;
  for (const std::vector<float>& scale : scales) {
    counts.push_back(static_cast<double>(
        std::count_if(scale.begin(), scale.end(), [](float s) { return s != 0; })));
  }
  return counts;
}

}  // namespace pepnet
