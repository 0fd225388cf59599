#include "cli/plan/workload.h"

#include <algorithm>

#include "worker/data/files/input_files.h"
#include "worker/data/files/row_reader.h"
#include "worker/data/load/batch_loader.h"
#include "worker/model/parameters.h"
#include "worker/sparse/unique_ids.h"

namespace pepnet {
namespace {

// Each leaf's lookups as if all of them were different, a multi-value one counted once: a lower
// bound of an upper bound, used only where there are no data to look at.
void AssumeDistinct(const JobConfig& config, Workload* load) {
  for (const Leaf& leaf : config.leaves) {
    if (leaf.table < 0) continue;
    TableLoad& table = load->tables[leaf.table];
    table.unique_per_step =
        std::min(table.rows, table.unique_per_step + static_cast<double>(load->batch_size));
  }
}

Status CountDistinct(const JobConfig& config, int64_t batches, Workload* load) {
  LoaderOptions options;
  options.input_path = config.train_input_path;
  options.batch_size = config.data.batch_size;
  // Labels are not looked at, so data without them will do.
  options.labels = LabelSet::kNone;
  PEPNET_ASSIGN_OR_RETURN(const std::unique_ptr<BatchLoader> loader,
                          BatchLoader::Open(config, options));
  double rows = 0;
  while (load->sampled_batches < batches) {
    PEPNET_ASSIGN_OR_RETURN(const std::optional<Batch> batch, loader->Next());
    if (!batch.has_value() || (load->sampled_batches > 0 && batch->rows < load->batch_size)) {
      break;  // not a short last one
    }
    const UniqueIds unique = FindUniqueIds(config, *batch);
    for (size_t t = 0; t < load->tables.size(); ++t) {
      load->tables[t].unique_per_step += static_cast<double>(unique.ids[t].size());
    }
    rows += static_cast<double>(batch->rows);
    ++load->sampled_batches;
  }
  // A data set of less than one batch is scaled up to it.
  const double steps = rows / static_cast<double>(load->batch_size);
  for (TableLoad& table : load->tables) table.unique_per_step /= steps;
  return absl::OkStatus();
}

}  // namespace

double BytesPerRow(int64_t row_bytes) {
  // id, frequency and last step; an index entry of 8 bytes in an index that is at least 47 % full.
  return static_cast<double>(row_bytes) + 24 + 17;
}

// Bytes and rows of a step of one worker, in float32, as rows travel unless --wire_dtype says
// otherwise.
StatusOr<Workload> MeasureWorkload(const JobConfig& config, int64_t batches) {
  Workload load;
  load.batch_size = config.data.batch_size;
  load.shuffle = config.data.shuffle;
  for (const Table& table : config.tables) {
    const int64_t row_bytes = ShapeOf(config.train.sparse_optimizer, table).bytes();
    int64_t rows = table.RowsToPlanFor();
    if (table.policy.limits_rows()) rows = std::min(rows, RowLimit(row_bytes, table.policy));
    load.tables.push_back({table.name, static_cast<double>(rows), row_bytes, 0,
                           static_cast<double>(table.policy.filter_bytes)});
  }
  if (batches > 0) {
    PEPNET_ASSIGN_OR_RETURN(const InputFiles files, FindJobFiles(config, config.train_input_path));
    // Rows of CSV files can be passed over one by one; Parquet decodes a row group as a whole, and
    // a worker decodes rows of others with it.
    load.row_by_row = !TypeOf(files.type).decoded_in_groups;
    for (const std::string& path : files.paths) {
      if (load.row_by_row) break;
      PEPNET_ASSIGN_OR_RETURN(const int64_t rows, LargestRowGroup(path, files.type));
      load.row_group_rows = std::max(load.row_group_rows, static_cast<double>(rows));
    }
    PEPNET_RETURN_IF_ERROR(CountDistinct(config, batches, &load));
  } else {
    load.row_by_row = config.data.dataset_type.has_value() &&
                      !TypeOf(*config.data.dataset_type).decoded_in_groups;
    AssumeDistinct(config, &load);
  }
  for (size_t t = 0; t < load.tables.size(); ++t) {
    load.unique_rows += load.tables[t].unique_per_step;
    load.row_bytes += load.tables[t].unique_per_step * config.tables[t].dim * sizeof(float);
  }
  // Ids of 8 bytes; on the wire they take 4 where they fit (decision 0009).
  load.id_bytes = load.unique_rows * sizeof(int64_t);
  for (const ParameterSpec& spec : DenseParameterList(config)) {
    load.dense_bytes += static_cast<double>(spec.elements()) * sizeof(float);
  }
  return load;
}

}  // namespace pepnet
