// import: model.ckpt-0 from a safetensors file under the reference's names; training starts from it
// with --continue_train.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/cleanup/cleanup.h"
#include "cli/commands/commands.h"
#include "cli/job/load_config.h"
#include "common/base/logging.h"
#include "common/base/partition.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/safetensors.h"
#include "common/file/file.h"
#include "common/job_config/shape_description.h"
#include "ps/table/sparse_optimizer.h"
#include "ps/table/store/value_codec.h"
#include "worker/checkpoint/model_dir.h"
#include "worker/checkpoint/train_state.h"

namespace pepnet {
namespace {

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) absl::StrAppend(&text, i > 0 ? ", " : "", shape[i]);
  return text + "]";
}

// A tensor by name and exact shape: a transposed or a padded one would train without a word.
StatusOr<std::vector<float>> ReadTensor(const SafetensorsReader& reader, const std::string& path,
                                        const std::string& name,
                                        const std::vector<int64_t>& shape) {
  auto it = reader.tensors().find(name);
  if (it == reader.tensors().end()) {
    return InvalidInput(path, " holds no tensor ", name, " of shape ", ShapeText(shape),
                        ", which this config needs");
  }
  if (it->second.shape != shape) {
    return InvalidInput(path, ": ", name, " has shape ", ShapeText(it->second.shape),
                        ", this config needs ", ShapeText(shape));
  }
  PEPNET_ASSIGN_OR_RETURN(std::vector<float> values, reader.ReadFloats(name));
  const auto wrong =
      std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
  if (wrong != values.end()) {
    return InvalidInput(path, ": ", name, " holds ", *wrong, " at position ",
                        wrong - values.begin(),
                        "; weights that are not finite cannot be trained or used");
  }
  return values;
}

// The ids whose rows a tensor of the table holds: all, or of a table that grows those that stand
// beside it.
StatusOr<std::vector<int64_t>> TableIds(const SafetensorsReader& reader, const std::string& path,
                                        const Table& table) {
  if (!table.grows()) {
    std::vector<int64_t> ids(table.rows);
    std::iota(ids.begin(), ids.end(), 0);
    return ids;
  }
  const std::string name = TableIdsName(table);
  const auto it = reader.tensors().find(name);
  if (it == reader.tensors().end()) {
    return InvalidInput(path, " holds no tensor ", name, ", the ids of the rows of table ",
                        table.name,
                        ", which grows; expected an export of this program, or num_buckets or "
                        "hash_bucket_size rows");
  }
  if (it->second.shape.size() != 1 || it->second.dtype != "I64") {
    return InvalidInput(path, ": ", name, " is ", it->second.dtype, " of shape ",
                        ShapeText(it->second.shape), "; expected I64 of one axis");
  }
  PEPNET_ASSIGN_OR_RETURN(const std::vector<int64_t> ids, reader.ReadIntegers(name));
  std::vector<int64_t> sorted = ids;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) {
    return InvalidInput(path, ": ", name, " holds id ", *twice, " twice; expected each id once");
  }
  if (!sorted.empty() && !IdsOf(table.rows).Contains(sorted.front())) {
    return InvalidInput(path, ": ", name, " holds ", sorted.front(), "; expected ",
                        IdRangeText(table.rows));
  }
  return ids;
}

// One part with these rows of the table, fresh optimizer state. values: a row for each of `ids`.
StatusOr<PartEntry> WriteRows(const JobConfig& config, const Table& table,
                              const std::vector<int64_t>& ids, const std::vector<float>& values,
                              const std::string& directory) {
  const int dim = table.dim;
  const int state_dim = SparseStateDim(config.train.sparse_optimizer.kind, dim);
  PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<TablePartWriter> writer,
                          TablePartWriter::Create(directory, table.name, dim, state_dim, 0, 1));
  const uint64_t table_hash = HashName(table.name);
  // The rows of a part stand by bucket, then by id (docs/formats.md); the tensor has them in any
  // order.
  std::vector<size_t> order(ids.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const int bucket_a = BucketOf(RowHash(table_hash, ids[a])),
              bucket_b = BucketOf(RowHash(table_hash, ids[b]));
    return bucket_a != bucket_b ? bucket_a < bucket_b : ids[a] < ids[b];
  });
  std::vector<int64_t> run_ids;
  // All rows begin with the same state, so it is made once for a batch of rows.
  std::vector<float> run_values, states(kRowsPerRecordBatch * state_dim);
  if (state_dim > 0) {
    for (int64_t i = 0; i < kRowsPerRecordBatch; ++i) {
      const std::span state(states.data() + i * state_dim, static_cast<size_t>(state_dim));
      FillInitialState(config.train.sparse_optimizer, state);
      RoundToNearest(config.train.sparse_optimizer.state_kind, state);
    }
  }
  // frequency and last_step: no step has named the rows yet.
  const std::vector<int64_t> zeros(kRowsPerRecordBatch, 0);
  for (size_t first = 0; first < ids.size(); first += kRowsPerRecordBatch) {
    const size_t count = std::min<size_t>(kRowsPerRecordBatch, ids.size() - first);
    run_ids.resize(count);
    run_values.resize(count * dim);
    for (size_t i = 0; i < count; ++i) {
      run_ids[i] = ids[order[first + i]];
      std::copy_n(values.data() + order[first + i] * dim, dim, run_values.data() + i * dim);
      // Checkpoints hold what servers of this config read, so that a load rounds nothing more.
      RoundToNearest(table.value_kind, std::span(run_values).subspan(i * dim, dim));
    }
    PEPNET_RETURN_IF_ERROR(writer->Append({run_ids, run_values,
                                           std::span<const float>(states).first(count * state_dim),
                                           std::span<const int64_t>(zeros).first(count),
                                           std::span<const int64_t>(zeros).first(count)}));
  }
  PEPNET_ASSIGN_OR_RETURN(PartEntry part, writer->Finish());
  part.value_kind = table.value_kind;
  part.state_kind = config.train.sparse_optimizer.state_kind;
  return part;
}

}  // namespace

void AddImportFlags(CLI::App* command, ImportFlags* flags) {
  AddConfigFlags(command, &flags->config);
  command->add_option("--weights", flags->weights, "safetensors file with full [rows, dim] tables")
      ->required();
  command->add_option("--model_dir", flags->config.model_dir,
                      "where model.ckpt-0 goes (default: the config's)");
  command->add_option("--seed", flags->seed,
                      "seed of dropout and shuffle of the run that starts from it");
}

// The checkpoint is written without a server: one part per table, in the order in which a server
// would write it.
Status ImportCommand(const ImportFlags& flags) {
  PEPNET_ASSIGN_OR_RETURN(JobConfig config, LoadConfig(flags.config));
  LogNotes(config);
  PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsReader> reader,
                          SafetensorsReader::Open(flags.weights));
  // The lock keeps a training out that would start in the directory meanwhile.
  PEPNET_ASSIGN_OR_RETURN(const ModelDirLock lock, ModelDirLock::Acquire(config.model_dir));
  PEPNET_ASSIGN_OR_RETURN(std::vector<int64_t> existing,
                          ListCheckpointDirectories(config.model_dir));
  if (!existing.empty()) {
    return InvalidInput("model_dir ", config.model_dir, " already holds ",
                        CheckpointName(existing.back()), "; choose another --model_dir");
  }
  TrainState state(config, flags.seed);
  for (size_t i = 0; i < state.parameters.specs().size(); ++i) {
    const ParameterSpec& spec = state.parameters.specs()[i];
    PEPNET_ASSIGN_OR_RETURN(std::vector<float> values,
                            ReadTensor(*reader, flags.weights, spec.name, spec.shape));
    std::copy(values.begin(), values.end(), state.parameters.value(static_cast<int>(i)).begin());
  }
  // Averages begin at the weights, as after the first step of a training.
  state.averages.StartFrom(state.parameters.values());
  PEPNET_ASSIGN_OR_RETURN(CheckpointWriter writer, CheckpointWriter::Begin(config.model_dir, 0));
  // A failed one.
  const absl::Cleanup remove = [&] { RemoveTree(writer.temporary_directory()).IgnoreError(); };
  Manifest manifest;
  for (const Table& table : config.tables) {
    PEPNET_ASSIGN_OR_RETURN(const std::vector<int64_t> ids,
                            TableIds(*reader, flags.weights, table));
    PEPNET_ASSIGN_OR_RETURN(std::vector<float> values,
                            ReadTensor(*reader, flags.weights, TableParameterName(table),
                                       {static_cast<int64_t>(ids.size()), table.dim}));
    PEPNET_ASSIGN_OR_RETURN(PartEntry part,
                            WriteRows(config, table, ids, values, writer.temporary_directory()));
    manifest.parts.push_back(std::move(part));
  }
  // The checkpoint says one worker and one server; training goes on from it with any number.
  state.counters.batch_size = config.data.batch_size;
  state.counters.worker_count = 1;
  DenseImage image;
  CopyDenseState(state, &image);
  PEPNET_RETURN_IF_ERROR(WriteDenseFiles(image, writer, &manifest.files));
  manifest.seed = flags.seed;
  manifest.server_count = manifest.worker_count = 1;
  manifest.batch_size = config.data.batch_size;
  manifest.shape = ShapeDescription(config);
  manifest.cpu = CpuDescription();
  PEPNET_ASSIGN_OR_RETURN(std::string path, writer.Commit(manifest));
  // Tensors that the config does not need are counted and not refused: files of the reference hold
  // optimizer state and more.
  const size_t used = state.parameters.specs().size() + config.tables.size();
  LOG(INFO) << "imported " << used << " tensors of " << flags.weights << " into " << path << " ("
            << reader->tensors().size() - used
            << " others ignored); train from it with --continue_train";
  return absl::OkStatus();
}

}  // namespace pepnet
