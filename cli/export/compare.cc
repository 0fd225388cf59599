#include "cli/export/compare.h"

#include <cmath>
#include <cstring>

#include "cli/export/tables/full_table.h"
#include "common/checkpoint/safetensors.h"
#include "worker/data/load/batch_loader.h"
#include "worker/eval/inference.h"
#include "worker/model/engine/make_model.h"
#include "worker/sparse/forward_inputs.h"
#include "worker/sparse/prefetcher.h"

namespace pepnet {
namespace {

// The rows that are compared: read and predicted once, as eval does, and looked up a second time in
// the exported tensors.
struct Sample {
  std::vector<PreparedBatch> batches;
  std::vector<FloatBuffers> exported_rows;        // by batch, table
  std::vector<std::vector<ModelOutput>> outputs;  // by batch: eval's
  int64_t rows = 0;
};

// Eval's way: rows from the servers.
StatusOr<Sample> RunEval(const WorkerContext& context, const InferenceModel& inference) {
  const JobConfig& config = *context.config;
  LoaderOptions options = LoaderOptionsOf(context, config.eval_input_path);
  options.batch_size = std::min<int64_t>(kComparedRows, config.data.batch_size);
  options.labels = LabelSet::kNone;
  options.contiguous = true;
  PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<BatchLoader> loader, BatchLoader::Open(config, options));
  const int64_t batches = (kComparedRows + options.batch_size - 1) / options.batch_size;
  Prefetcher prefetcher(&config, std::move(loader), context.client, nullptr,
                        Prefetcher::Mode::kPredict, inference.finished_steps, batches);
  Sample sample;
  ForwardInputs inputs(&config);
  for (;;) {
    PEPNET_ASSIGN_OR_RETURN(std::optional<PreparedBatch> prepared, prefetcher.Next());
    if (!prepared.has_value()) break;
    PEPNET_ASSIGN_OR_RETURN(const ModelInput* input, inputs.Make(*prepared, context.client));
    PEPNET_ASSIGN_OR_RETURN(sample.outputs.emplace_back(),
                            inference.model->Forward(*input, nullptr));
    sample.rows += prepared->batch.rows;
    sample.batches.push_back(*std::move(prepared));
  }
  return sample;
}

// The rows of the sample's ids from the exported tables, one table in memory at a time.
Status LookUp(const ExportSource& source, Sample* sample) {
  const JobConfig& config = *source.config;
  for (size_t b = 0; b < sample->batches.size(); ++b) {
    sample->exported_rows.emplace_back(config.tables.size());
  }
  for (size_t t = 0; t < config.tables.size(); ++t) {
    const auto dim = static_cast<size_t>(config.tables[t].dim);
    PEPNET_ASSIGN_OR_RETURN(const TableRows table, source.tables.read(config.tables[t]));
    const RowFinder finder(config.tables[t], source.tables.seed, table);
    for (size_t b = 0; b < sample->batches.size(); ++b) {
      const std::vector<int64_t>& ids = sample->batches[b].ids.ids[t];
      AlignedBuffer<float>& rows = sample->exported_rows[b][t];
      rows.Resize(ids.size() * dim);
      for (size_t i = 0; i < ids.size(); ++i) finder.Copy(ids[i], rows.data() + i * dim);
    }
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<int64_t> CompareWithEval(const WorkerContext& context, const ExportSource& source) {
  const JobConfig& config = *context.config;
  PEPNET_ASSIGN_OR_RETURN(
      const InferenceModel inference,
      OpenForInference(context, source.checkpoint, ValuesFor(config.export_config.uses_averages)));
  PEPNET_ASSIGN_OR_RETURN(Sample sample, RunEval(context, inference));
  PEPNET_RETURN_IF_ERROR(LookUp(source, &sample));
  // The exported weights go through a second model and the eval path of law L5: the same rows must
  // give the same outputs, within 1e-5.
  DenseParameters parameters(DenseParameterList(config));
  for (size_t i = 0; i < parameters.specs().size(); ++i) {
    const std::span<const float> value = source.parameters->value(static_cast<int>(i));
    std::copy(value.begin(), value.end(), parameters.value(static_cast<int>(i)).begin());
  }
  PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<PepnetModel> model,
                          MakeModel(&config, &parameters, ModelOptionsOf(context, /*seed=*/0)));
  ForwardInputs inputs(&config);
  double worst = 1;
  std::string difference;
  for (size_t b = 0; b < sample.batches.size(); ++b) {
    const ModelInput& input = inputs.PoolRows(sample.batches[b], sample.exported_rows[b]);
    PEPNET_ASSIGN_OR_RETURN(const std::vector<ModelOutput> outputs, model->Forward(input, nullptr));
    for (size_t o = 0; o < outputs.size(); ++o) {
      for (size_t i = 0; i < outputs[o].values.size(); ++i) {
        const double x = outputs[o].values[i], expected = sample.outputs[b][o].values[i];
        // 1 is the border of |x - expected| <= 1e-5 + 1e-5 |expected|; `worst` begins there.
        const double distance = std::fabs(x - expected) / (1e-5 + 1e-5 * std::fabs(expected));
        if (distance <= worst) continue;  // a NaN on both sides is eval's affair
        worst = distance;
        difference = absl::StrCat(outputs[o].name, " is ", x, ", eval has ", expected, " (",
                                  sample.batches[b].batch.origin, ")");
      }
    }
  }
  if (!difference.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the export does not give eval's numbers and is not kept: ", difference));
  }
  return sample.rows;
}

StatusOr<ExportSource> OpenExportedWeights(const ExportSource& source, const std::string& path,
                                           DenseParameters* parameters) {
  PEPNET_ASSIGN_OR_RETURN(std::shared_ptr<SafetensorsReader> reader, SafetensorsReader::Open(path));
  // The parameters are overwritten by what the file holds, so that nothing of the checkpoint is
  // left in the comparison.
  for (size_t i = 0; i < parameters->specs().size(); ++i) {
    PEPNET_ASSIGN_OR_RETURN(const std::vector<float> values,
                            reader->ReadFloats(parameters->specs()[i].name));
    std::copy(values.begin(), values.end(), parameters->value(static_cast<int>(i)).begin());
  }
  ExportSource exported = source;
  exported.parameters = parameters;
  // Shared: the function is copied with the source, and the mapped file lives as long as any copy.
  exported.tables.read = [reader](const Table& table) -> StatusOr<TableRows> {
    PEPNET_ASSIGN_OR_RETURN(const std::span<const float> view,
                            reader->ViewFloats(TableParameterName(table)));
    TableRows rows{{}, AlignedBuffer<float>(view.size())};
    std::memcpy(rows.values.data(), view.data(), view.size_bytes());
    if (table.grows()) {
      PEPNET_ASSIGN_OR_RETURN(rows.ids, reader->ReadIntegers(TableIdsName(table)));
    }
    return rows;
  };
  return exported;
}

}  // namespace pepnet
