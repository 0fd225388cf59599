#include "worker/explain/row_blocks.h"

#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "worker/data/load/batch_loader.h"
#include "worker/model/labels.h"

namespace pepnet {
namespace {

// Appends row `row` of a column to `out`.
void AppendRow(const FeatureColumn& from, const Feature& described, int64_t row, FeatureColumn* out,
               std::vector<float>* values) {
  int64_t first = row, last = row + 1;
  if (described.sequence.has_value()) {
    first = from.elements[row];
    last = from.elements[row + 1];
    // Elements count from the start of this column, not of the one that the row came from.
    out->elements.push_back(out->elements.back() + static_cast<int32_t>(last - first));
  }
  if (described.bucketizer == Bucketizer::kNone) {
    const float* const begin = from.values.data();
    values->insert(values->end(), begin + first * described.dim, begin + last * described.dim);
    return;
  }
  const IdColumn& column = from.ids;
  for (int64_t bag = first; bag < last; ++bag) {
    const int32_t begin = column.offsets[bag], end = column.offsets[bag + 1];
    out->ids.ids.insert(out->ids.ids.end(), column.ids.begin() + begin, column.ids.begin() + end);
    if (!column.weights.empty()) {
      out->ids.weights.insert(out->ids.weights.end(), column.weights.begin() + begin,
                              column.weights.begin() + end);
    }
    out->ids.offsets.push_back(static_cast<int32_t>(out->ids.ids.size()));
  }
}

// ---- a column as bytes: for each of its arrays the number of elements, int64, and the elements
//
// They travel between the workers of one job and lie in no file, so they have no version.

template <typename T>
void AppendArray(const T* data, size_t count, std::string* out) {
  const auto length = static_cast<int64_t>(count);
  out->append(reinterpret_cast<const char*>(&length), sizeof(length));
  if (count > 0) out->append(reinterpret_cast<const char*>(data), count * sizeof(T));
}

// Takes an array from the front of `bytes`; false if they are too short.
template <typename T>
bool TakeArray(std::string_view* bytes, std::vector<T>* out) {
  int64_t length = 0;
  if (bytes->size() < sizeof(length)) return false;
  std::memcpy(&length, bytes->data(), sizeof(length));
  bytes->remove_prefix(sizeof(length));
  // The bound is divided, because a length that is damaged may be anything.
  if (length < 0 || static_cast<uint64_t>(length) > bytes->size() / sizeof(T)) return false;
  out->resize(static_cast<size_t>(length));
  if (length > 0) std::memcpy(out->data(), bytes->data(), out->size() * sizeof(T));
  bytes->remove_prefix(out->size() * sizeof(T));
  return true;
}

// Arrays that the kind of the feature does not use are empty and cost 8 bytes each, so all kinds
// have one format.
void AppendColumn(const Batch& batch, size_t feature, std::string* out) {
  const IdColumn& ids = batch.ids[feature];
  AppendArray(ids.ids.data(), ids.ids.size(), out);
  AppendArray(ids.offsets.data(), ids.offsets.size(), out);
  AppendArray(ids.weights.data(), ids.weights.size(), out);
  AppendArray(batch.values[feature].data(), batch.values[feature].size(), out);
  AppendArray(batch.elements[feature].data(), batch.elements[feature].size(), out);
}

bool TakeColumn(std::string_view* bytes, FeatureColumn* column) {
  std::vector<float> values;
  if (!TakeArray(bytes, &column->ids.ids) || !TakeArray(bytes, &column->ids.offsets) ||
      !TakeArray(bytes, &column->ids.weights) || !TakeArray(bytes, &values) ||
      !TakeArray(bytes, &column->elements)) {
    return false;
  }
  column->values.Resize(values.size());
  std::copy(values.begin(), values.end(), column->values.data());
  return true;
}

}  // namespace

StatusOr<std::vector<FeatureColumn>> GatherFeature(const RowBlocks& rows, size_t feature,
                                                   Collective* collective) {
  const auto workers = static_cast<size_t>(collective->count());
  std::string mine;
  // Worker w sends its blocks w, w + W, ... in order, so they need no numbers.
  for (size_t b = static_cast<size_t>(collective->index()); b < rows.blocks.size(); b += workers) {
    AppendColumn(rows.blocks[b], feature, &mine);
  }
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> all,
                          collective->Allgather(mine, "the rows' cells of one feature"));
  std::vector<FeatureColumn> columns(rows.blocks.size());
  for (size_t w = 0; w < workers; ++w) {
    std::string_view bytes = all[w];
    for (size_t b = w; b < columns.size(); b += workers) {
      if (!TakeColumn(&bytes, &columns[b])) {
        return absl::InternalError(absl::StrCat("worker ", w, " sent ", all[w].size(),
                                                " bytes of cells, fewer than its ",
                                                "blocks have: the workers read different rows"));
      }
    }
    if (!bytes.empty()) {
      return absl::InternalError(absl::StrCat("worker ", w, " sent ", bytes.size(),
                                              " bytes of cells more than its ",
                                              "blocks have: the workers read different rows"));
    }
  }
  return columns;
}

void FeatureColumn::Swap(Batch* batch, size_t feature) {
  std::swap(ids, batch->ids[feature]);
  std::swap(values, batch->values[feature]);
  std::swap(elements, batch->elements[feature]);
}

// One block's cells of a feature, row i being row source(i) of all rows.
FeatureColumn TakeFrom(const RowBlocks& rows, const std::vector<FeatureColumn>& columns,
                       const Feature& described, size_t block,
                       const std::function<int64_t(int64_t)>& source) {
  FeatureColumn column;
  std::vector<float> values;
  const bool has_ids = described.bucketizer != Bucketizer::kNone;
  if (has_ids) column.ids.offsets.push_back(0);
  if (described.sequence.has_value()) column.elements.push_back(0);
  const int64_t first = static_cast<int64_t>(block) * rows.block_rows;
  for (int64_t row = 0; row < rows.RowsOf(block); ++row) {
    // Row `from` lies in block from / block_rows: all blocks but the last are full.
    const int64_t from = source(first + row);
    AppendRow(columns[from / rows.block_rows], described, from % rows.block_rows, &column, &values);
  }
  if (!has_ids) {
    column.values.Resize(values.size());
    std::copy(values.begin(), values.end(), column.values.data());
  }
  return column;
}

namespace {

// Takes the rows behind the first `keep` out of a batch.
void CutTo(int64_t keep, const JobConfig& config, Batch* batch) {
  batch->rows = batch->global_rows = keep;
  for (size_t f = 0; f < config.features.size(); ++f) {
    const Feature& feature = config.features[f];
    int64_t vectors = keep;
    if (!batch->elements[f].empty()) {
      batch->elements[f].resize(keep + 1);
      vectors = batch->elements[f].back();
    }
    if (!batch->ids[f].offsets.empty()) {
      IdColumn* const column = &batch->ids[f];
      column->offsets.resize(vectors + 1);
      column->ids.resize(column->offsets.back());
      if (!column->weights.empty()) column->weights.resize(column->offsets.back());
    }
    if (!batch->values[f].empty()) batch->values[f].Resize(vectors * feature.dim);
  }
  for (LabelColumn& label : batch->labels) {
    label.values.resize(keep);
    if (!label.integers.empty()) label.integers.resize(keep);
  }
  for (std::vector<float>& weights : batch->sample_weights) weights.resize(keep);
}

}  // namespace

StatusOr<RowBlocks> ReadRowBlocks(const WorkerContext& context, const std::string& input_path,
                                  int64_t most_rows, int64_t rows_of_first) {
  const JobConfig& config = *context.config;
  LoaderOptions options = LoaderOptionsOf(context, input_path);
  // Every worker reads everything, instead of slices: a block is kept whole by one of them.
  options.worker_index = 0;
  options.worker_count = 1;
  PEPNET_ASSIGN_OR_RETURN(const std::unique_ptr<BatchLoader> loader,
                          BatchLoader::Open(config, options));
  RowBlocks result;
  result.block_rows = options.batch_size;
  const auto workers = static_cast<size_t>(context.collective->count());
  while (most_rows == 0 || result.rows < most_rows) {
    std::optional<Batch> batch;
    {
      RankStatus::Wait wait(context.status(), kAnyRank,
                            After(std::chrono::duration<double>(context.options.timeout_s)),
                            "the next batch of the input files");
      PEPNET_ASSIGN_OR_RETURN(batch, loader->Next());
    }
    if (!batch.has_value()) break;
    PEPNET_RETURN_IF_ERROR(CheckLabels(config, *batch));
    if (most_rows > 0 && batch->rows > most_rows - result.rows) {
      CutTo(most_rows - result.rows, config, &*batch);
    }
    // Every worker counts every block, including those that it lets go, so numbers agree without an
    // exchange.
    const bool is_own =
        result.blocks.size() % workers == static_cast<size_t>(context.collective->index());
    const bool holds = is_own || (context.first() && result.rows < rows_of_first);
    result.rows += batch->rows;
    result.blocks.push_back(holds ? *std::move(batch) : Batch());
  }
  return result;
}

}  // namespace pepnet
