// export --format safetensors: every dense parameter and every table as a full [rows, dim] tensor under the reference's names.
#include <algorithm>
#include <cstring>

#include "cli/commands.h"
#include "common/base/file.h"
#include "common/base/logging.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/safetensors.h"
#include "ps/row_initializer.h"
#include "worker/train/train_state.h"

namespace pepnet {
namespace {

constexpr char kWeightsFile[] = "model.safetensors";

// The table as trained: its checkpointed rows, and the initial value of every row that was never created.
Status ReadFullTable(const std::string& checkpoint, const Manifest& manifest, const Table& table,
                     AlignedBuffer<float>* values) {
  if (table.rows > (int64_t{1} << 40) / table.dim) {
    return InvalidInput("table ", table.name, " of ", table.rows, " x ", table.dim, " is too large for a dense tensor");
  }
  values->Resize(table.rows * table.dim);
  const RowInitializer initializer(table, manifest.seed);
  for (int64_t id = 0; id < table.rows; ++id) {
    initializer.Fill(id, {values->data() + id * table.dim, static_cast<size_t>(table.dim)});
  }
  for (const PartEntry& part : manifest.parts) {
    if (part.table != table.name) continue;
    PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<TablePartReader> reader, TablePartReader::Open(checkpoint, part));
    PEPNET_RETURN_IF_ERROR(reader->Read(0, part.rows, [&](const RowColumns& rows) -> Status {
      for (size_t i = 0; i < rows.ids.size(); ++i) {
        if (rows.ids[i] < 0 || rows.ids[i] >= table.rows) {
          return absl::DataLossError(absl::StrCat(part.file, " holds id ", rows.ids[i], " of table ", table.name, ", which has ",
                                                  table.rows, " rows"));
        }
        std::memcpy(values->data() + rows.ids[i] * table.dim, rows.values.data() + i * table.dim, table.dim * sizeof(float));
      }
      return absl::OkStatus();
    }));
  }
  return absl::OkStatus();
}

Status WriteWeights(const JobConfig& config, const std::string& checkpoint, const Manifest& manifest, const std::string& path) {
  DenseParameters parameters(DenseParameterList(config));
  PEPNET_RETURN_IF_ERROR(ReadDenseValues(checkpoint, &parameters));
  std::vector<SafetensorsWriter::Declaration> declarations;
  for (const ParameterSpec& spec : parameters.specs()) declarations.push_back({spec.name, "F32", spec.shape});
  for (const Table& table : config.tables) {
    declarations.push_back({TableParameterName(table.name), "F32", {table.rows, table.dim}});
  }
  PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsWriter> writer, SafetensorsWriter::Create(path, declarations));
  for (size_t i = 0; i < parameters.specs().size(); ++i) {
    const std::span<const float> value = parameters.value(static_cast<int>(i));
    PEPNET_RETURN_IF_ERROR(writer->Append(value.data(), value.size_bytes()));
  }
  for (const Table& table : config.tables) {
    AlignedBuffer<float> values;
    PEPNET_RETURN_IF_ERROR(ReadFullTable(checkpoint, manifest, table, &values));
    PEPNET_RETURN_IF_ERROR(writer->Append(values.data(), values.bytes()));
  }
  return writer->Finish().status();
}

}  // namespace

Status ExportCommand(const ConfigFlags& config_flags, const ExportFlags& flags) {
  if (flags.format != "safetensors") {
    return InvalidInput("--format=", flags.format, " is not supported; write --format=safetensors");
  }
  PEPNET_ASSIGN_OR_RETURN(JobConfig config, LoadConfig(config_flags));
  LogNotes(config);
  if (PathExists(flags.export_dir)) {
    return InvalidInput("--export_dir ", flags.export_dir, " exists already; choose a directory that does not");
  }
  PEPNET_ASSIGN_OR_RETURN(std::string checkpoint,
                          ResolveCheckpoint(flags.checkpoint_path.empty() ? config.model_dir : flags.checkpoint_path));
  PEPNET_ASSIGN_OR_RETURN(Manifest manifest, ReadManifest(checkpoint));
  PEPNET_RETURN_IF_ERROR(VerifyCheckpoint(checkpoint, manifest, !flags.no_verify));
  const std::string difference = FirstDifference(ShapeDescription(config), manifest.shape);
  if (!difference.empty()) {
    return InvalidInput(checkpoint, " was written by another config: ", difference, "; pass the config it was trained with");
  }
  // Complete or absent: everything is written beside the final name and renamed at the end.
  std::string target = flags.export_dir;
  while (target.size() > 1 && target.back() == '/') target.pop_back();
  const std::string temporary = target + ".tmp";
  PEPNET_RETURN_IF_ERROR(RemoveTree(temporary));
  PEPNET_RETURN_IF_ERROR(MakeDirectories(temporary));
  PEPNET_RETURN_IF_ERROR(WriteWeights(config, checkpoint, manifest, temporary + "/" + kWeightsFile));
  PEPNET_RETURN_IF_ERROR(WriteFileAtomically(temporary + "/pipeline.config", config.effective_text));
  PEPNET_RETURN_IF_ERROR(RenameAndSync(temporary, target));
  LOG(INFO) << "exported " << checkpoint << " to " << target << "/" << kWeightsFile;
  return absl::OkStatus();
}

}  // namespace pepnet
