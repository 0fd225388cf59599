#include "worker/train/divergence.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace pepnet {
namespace {

constexpr size_t kShownGradients = 3;

bool Finite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

std::span<const float> RowOf(const AlignedBuffer<float>& rows, size_t i, int dim) {
  return rows.span().subspan(i * dim, dim);
}

std::string FirstNonFinite(const FailedStep& step, PepnetModel* model) {
  // The search goes in the order of the computation: rows, parameters, layers, outputs. The first
  // that is not finite is where it began; all after it follows from it.
  for (size_t t = 0; t < step.config.tables.size(); ++t) {
    for (size_t i = 0; i < step.ids.ids[t].size(); ++i) {
      if (Finite({step.rows.table(t)[i], static_cast<size_t>(step.config.tables[t].dim)})) continue;
      return absl::StrCat("row ", step.ids.ids[t][i], " of table ", step.config.tables[t].name);
    }
  }
  for (size_t i = 0; i < step.parameters.specs().size(); ++i) {
    if (!Finite(step.parameters.value(static_cast<int>(i)))) {
      return "parameter " + step.parameters.specs()[i].name;
    }
  }
  // This pass has no dropout, which the failed step had; if all is finite here, the last sentence
  // says so.
  const auto outputs = model->Forward(step.input, nullptr);
  for (const ModelOutput& layer : model->intermediates()) {
    if (!Finite(layer.values)) return "layer " + layer.name;
  }
  for (size_t o = 0; outputs.ok() && o < outputs->size(); ++o) {
    if (!Finite((*outputs)[o].values)) return "output " + (*outputs)[o].name;
  }
  return "the loss itself (without dropout every layer is finite)";
}

std::string LargestGradients(const FailedStep& step) {
  struct Pull {
    float size;
    std::string row;
  };
  // This is this worker's part alone: the other workers' gradients have not been summed, and will
  // not be.
  FloatBuffers gradients;
  ScatterGradients(step.config, *step.input.batch, step.ids, step.leaf_gradients, &gradients);
  std::vector<Pull> pulls;
  int64_t rows = 0, not_finite = 0;
  for (size_t t = 0; t < step.config.tables.size(); ++t) {
    for (size_t i = 0; i < step.ids.ids[t].size(); ++i, ++rows) {
      const std::span<const float> gradient = RowOf(gradients[t], i, step.config.tables[t].dim);
      if (!Finite(gradient)) {
        ++not_finite;
        continue;
      }
      float size = 0;
      for (const float g : gradient) size = std::max(size, std::fabs(g));
      if (size > 0) {
        pulls.push_back(
            {size, absl::StrCat(step.config.tables[t].name, " id ", step.ids.ids[t][i])});
      }
    }
  }
  // The sort is stable, so that equal sizes keep the order of the tables and ids.
  std::stable_sort(pulls.begin(), pulls.end(),
                   [](const Pull& a, const Pull& b) { return a.size > b.size; });
  std::string text = not_finite > 0 ? absl::StrCat("; the gradients of ", not_finite, " of ", rows,
                                                   " table rows are not finite")
                                    : "";
  for (size_t i = 0; i < std::min(kShownGradients, pulls.size()); ++i) {
    absl::StrAppendFormat(&text, "%s%s (%.3g)", i == 0 ? "; largest gradients: " : ", ",
                          pulls[i].row, pulls[i].size);
  }
  return text;
}

}  // namespace

std::string DescribeDivergence(const FailedStep& step, PepnetModel* model) {
  return absl::StrCat("the first that is not finite is ", FirstNonFinite(step, model),
                      LargestGradients(step));
}

}  // namespace pepnet
