#include <algorithm>

#include "cli/export/formats.h"
#include "common/checkpoint/safetensors.h"
#include "common/file/file.h"

namespace pepnet {

StatusOr<std::vector<std::string>> WriteSafetensors(const ExportSource& source,
                                                    const std::string& directory) {
  const std::string name = "model.safetensors", path = directory + "/" + name;
  const DenseParameters& parameters = *source.parameters;
  std::vector<SafetensorsWriter::Declaration> declarations;
  // The header names all tensors before the first byte of data, so the tables follow one by one and
  // only one of them is in memory.
  for (const ParameterSpec& spec : parameters.specs()) {
    declarations.push_back({spec.name, "F32", spec.shape});
  }
  for (const Table& table : source.config->tables) {
    const int64_t rows = table.grows() ? CheckpointedRows(*source.manifest, table) : table.rows;
    declarations.push_back({TableParameterName(table), "F32", {rows, table.dim}});
    if (table.grows()) declarations.push_back({TableIdsName(table), "I64", {rows}});
  }
  PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsWriter> writer,
                          SafetensorsWriter::Create(path, declarations));
  for (size_t i = 0; i < parameters.specs().size(); ++i) {
    const std::span<const float> value = parameters.value(static_cast<int>(i));
    PEPNET_RETURN_IF_ERROR(writer->Append(value.data(), value.size_bytes()));
  }
  for (const Table& table : source.config->tables) {
    PEPNET_ASSIGN_OR_RETURN(const TableRows rows, source.tables.read(table));
    PEPNET_RETURN_IF_ERROR(writer->Append(rows.values.data(), rows.values.bytes()));
    if (table.grows()) {
      PEPNET_RETURN_IF_ERROR(writer->Append(rows.ids.data(), rows.ids.size() * sizeof(int64_t)));
    }
  }
  PEPNET_ASSIGN_OR_RETURN(const SafetensorsWriter::Result written, writer->Finish());

  // The bytes are compared by their checksum, and the header is read back by parsing it.
  PEPNET_ASSIGN_OR_RETURN(const FileChecksum read, ChecksumFile(path));
  PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsReader> reader, SafetensorsReader::Open(path));
  if (read.bytes != written.bytes || read.crc32c != written.crc32c ||
      reader->tensors().size() != declarations.size()) {
    return absl::DataLossError(absl::StrCat(path, " does not read back as it was written"));
  }
  return std::vector<std::string>{name};
}

}  // namespace pepnet
