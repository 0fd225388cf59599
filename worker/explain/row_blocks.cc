#include "worker/explain/row_blocks.h"

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "worker/data/load/batch_loader.h"
#include "worker/model/labels.h"

namespace pepnet {
namespace {

// Appends row `row` of a feature of `from` to `out`.
void AppendRow(const Batch& from, const Feature& described, size_t feature, int64_t row, FeatureColumn* out,
               std::vector<float>* values) {
  int64_t first = row, last = row + 1;
  if (described.sequence.has_value()) {
    first = from.elements[feature][row];
    last = from.elements[feature][row + 1];
    out->elements.push_back(out->elements.back() + static_cast<int32_t>(last - first));
  }
  if (described.bucketizer == Bucketizer::kNone) {
    const float* const begin = from.values[feature].data();
    values->insert(values->end(), begin + first * described.dim, begin + last * described.dim);
    return;
  }
  const IdColumn& column = from.ids[feature];
  for (int64_t bag = first; bag < last; ++bag) {
    const int32_t begin = column.offsets[bag], end = column.offsets[bag + 1];
    out->ids.ids.insert(out->ids.ids.end(), column.ids.begin() + begin, column.ids.begin() + end);
    if (!column.weights.empty()) {
      out->ids.weights.insert(out->ids.weights.end(), column.weights.begin() + begin, column.weights.begin() + end);
    }
    out->ids.offsets.push_back(static_cast<int32_t>(out->ids.ids.size()));
  }
}

}  // namespace

void FeatureColumn::Swap(Batch* batch, size_t feature) {
  std::swap(ids, batch->ids[feature]);
  std::swap(values, batch->values[feature]);
  std::swap(elements, batch->elements[feature]);
}

FeatureColumn TakeFrom(const RowBlocks& rows, const Feature& described, size_t feature, size_t block,
                       const std::function<int64_t(int64_t)>& source) {
  FeatureColumn column;
  std::vector<float> values;
  const bool has_ids = described.bucketizer != Bucketizer::kNone;
  if (has_ids) column.ids.offsets.push_back(0);
  if (described.sequence.has_value()) column.elements.push_back(0);
  const int64_t first = static_cast<int64_t>(block) * rows.block_rows;
  for (int64_t row = 0; row < rows.blocks[block].rows; ++row) {
    const int64_t from = source(first + row);
    AppendRow(rows.blocks[from / rows.block_rows], described, feature, from % rows.block_rows, &column, &values);
  }
  if (!has_ids) {
    column.values.Resize(values.size());
    std::copy(values.begin(), values.end(), column.values.data());
  }
  return column;
}

StatusOr<RowBlocks> ReadRowBlocks(const WorkerContext& context, const std::string& input_path, int64_t most_rows) {
  const JobConfig& config = *context.config;
  LoaderOptions options = LoaderOptionsOf(context, input_path);
  options.worker_index = 0;
  options.worker_count = 1;
  PEPNET_ASSIGN_OR_RETURN(const std::unique_ptr<BatchLoader> loader, BatchLoader::Open(config, options));
  RowBlocks result;
  result.block_rows = options.batch_size;
  while (most_rows == 0 || result.rows < most_rows) {
    std::optional<Batch> batch;
    {
      RankStatus::Wait wait(context.status(), kAnyRank, After(std::chrono::duration<double>(context.options.timeout_s)),
                            "the next batch of the input files");
      PEPNET_ASSIGN_OR_RETURN(batch, loader->Next());
    }
    if (!batch.has_value()) break;
    PEPNET_RETURN_IF_ERROR(CheckLabels(config, *batch));
    result.rows += batch->rows;
    result.blocks.push_back(*std::move(batch));
  }
  if (most_rows == 0 || result.rows <= most_rows) return result;
  // The last block is cut: what is behind its end is never read.
  Batch* const last = &result.blocks.back();
  const int64_t keep = last->rows - (result.rows - most_rows);
  last->rows = last->global_rows = keep;
  for (size_t f = 0; f < config.features.size(); ++f) {
    const Feature& feature = config.features[f];
    int64_t vectors = keep;
    if (!last->elements[f].empty()) {
      last->elements[f].resize(keep + 1);
      vectors = last->elements[f].back();
    }
    if (!last->ids[f].offsets.empty()) {
      IdColumn* const column = &last->ids[f];
      column->offsets.resize(vectors + 1);
      column->ids.resize(column->offsets.back());
      if (!column->weights.empty()) column->weights.resize(column->offsets.back());
    }
    if (!last->values[f].empty()) last->values[f].Resize(vectors * feature.dim);
  }
  for (LabelColumn& label : last->labels) {
    label.values.resize(keep);
    if (!label.integers.empty()) label.integers.resize(keep);
  }
  for (std::vector<float>& weights : last->sample_weights) weights.resize(keep);
  result.rows = most_rows;
  return result;
}

}  // namespace pepnet
