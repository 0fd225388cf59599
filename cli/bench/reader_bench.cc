// bench reader: one pass over the training files, as batches; beside it one pass of Arrow alone over the same columns,
// which is the limit: nothing that reads these files through Arrow can be faster.
#include <arrow/csv/api.h>
#include <arrow/io/file.h>
#include <arrow/table.h>
#include <parquet/arrow/reader.h>
#include <parquet/metadata.h>
#include <parquet/schema.h>

#include <filesystem>
#include <set>

#include "cli/bench/bench.h"
#include "cli/bench/limits.h"
#include "cli/commands.h"
#include "common/base/hash.h"
#include "worker/data/batch_loader.h"
#include "worker/data/input_files.h"

namespace pepnet {
namespace {

std::vector<std::string> Columns(const JobConfig& config) {
  std::set<std::string> columns(config.data.labels.begin(), config.data.labels.end());
  columns.insert(config.data.sample_weights.begin(), config.data.sample_weights.end());
  for (const Feature& feature : config.features) columns.insert(feature.column);
  return {columns.begin(), columns.end()};
}

arrow::Result<int64_t> ParquetRows(const std::string& path, const std::vector<std::string>& columns) {
  ARROW_ASSIGN_OR_RAISE(auto file, arrow::io::ReadableFile::Open(path));
  ARROW_ASSIGN_OR_RAISE(auto reader, parquet::arrow::OpenFile(file, arrow::default_memory_pool()));
  reader->set_use_threads(false);
  std::vector<int> leaves;
  const parquet::SchemaDescriptor* schema = reader->parquet_reader()->metadata()->schema();
  for (int leaf = 0; leaf < schema->num_columns(); ++leaf) {
    const std::string name = schema->Column(leaf)->path()->ToDotVector().front();
    if (std::find(columns.begin(), columns.end(), name) != columns.end()) leaves.push_back(leaf);
  }
  int64_t rows = 0;
  for (int group = 0; group < reader->num_row_groups(); ++group) {
    ARROW_ASSIGN_OR_RAISE(const auto table, reader->ReadRowGroup(group, leaves));
    rows += table->num_rows();
  }
  return rows;
}

arrow::Result<int64_t> CsvRows(const std::string& path, const DataConfig& data,
                               const std::vector<std::string>& columns) {
  ARROW_ASSIGN_OR_RAISE(auto file, arrow::io::ReadableFile::Open(path));
  auto read = arrow::csv::ReadOptions::Defaults();
  read.use_threads = false;
  if (!data.with_header) {
    for (const InputField& field : data.input_fields) read.column_names.push_back(field.name);
  }
  auto parse = arrow::csv::ParseOptions::Defaults();
  parse.delimiter = data.delimiter;
  auto convert = arrow::csv::ConvertOptions::Defaults();
  convert.include_columns = columns;
  ARROW_ASSIGN_OR_RAISE(auto reader,
                        arrow::csv::StreamingReader::Make(arrow::io::default_io_context(), file, read, parse, convert));
  int64_t rows = 0;
  for (std::shared_ptr<arrow::RecordBatch> batch;;) {
    ARROW_RETURN_NOT_OK(reader->ReadNext(&batch));
    if (batch == nullptr) return rows;
    rows += batch->num_rows();
  }
}

// Rows of all files, read by Arrow alone on this thread.
StatusOr<int64_t> ArrowRows(const JobConfig& config, const InputFiles& files) {
  const std::vector<std::string> columns = Columns(config);
  int64_t rows = 0;
  for (const std::string& path : files.paths) {
    const auto count =
        files.type == DatasetType::kParquet ? ParquetRows(path, columns) : CsvRows(path, config.data, columns);
    if (!count.ok()) return InvalidInput("Arrow cannot read '", path, "': ", count.status().message());
    rows += *count;
  }
  return rows;
}

struct Pass {
  int64_t rows = 0;
  uint64_t digest = 0;  // of all ids and labels in order
  double seconds = 0, cpu_seconds = 0;
};

StatusOr<Pass> ReadAll(const JobConfig& config, int64_t batch_size) {
  LoaderOptions options;
  options.input_path = config.train_input_path;
  options.batch_size = batch_size;
  Pass pass;
  const double start = SecondsNow(), cpu = OwnProcessorSeconds();
  PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<BatchLoader> loader, BatchLoader::Open(config, options));
  for (;;) {
    PEPNET_ASSIGN_OR_RETURN(const std::optional<Batch> batch, loader->Next());
    if (!batch.has_value()) break;
    pass.rows += batch->rows;
    const double digest_start = SecondsNow();
    for (const IdColumn& column : batch->ids) {
      for (int64_t id : column.ids) pass.digest = pass.digest * 31 + static_cast<uint64_t>(id);
    }
    for (const LabelColumn& label : batch->labels) {
      for (float value : label.values) pass.digest = pass.digest * 31 + static_cast<uint64_t>(value * 1024);
    }
    const double spent = SecondsNow() - digest_start;  // by this thread alone; decoding goes on beside it
    pass.cpu_seconds -= spent;
  }
  pass.seconds = SecondsNow() - start;
  pass.cpu_seconds += OwnProcessorSeconds() - cpu;
  return pass;
}

}  // namespace

StatusOr<BenchReport> ReaderBench(const BenchFlags& flags) {
  PEPNET_ASSIGN_OR_RETURN(JobConfig config, LoadConfig(flags.config));
  PEPNET_ASSIGN_OR_RETURN(const InputFiles files, FindInputFiles(config.train_input_path, config.data.dataset_type,
                                                                 config.data.dataset_type_name));
  double bytes = 0;
  for (const std::string& path : files.paths) bytes += static_cast<double>(std::filesystem::file_size(path));

  std::vector<double> arrow_seconds;
  int64_t arrow_rows = 0;
  for (int round = 0; round <= flags.rounds; ++round) {  // the first one brings the files into memory
    const double start = SecondsNow();
    PEPNET_ASSIGN_OR_RETURN(arrow_rows, ArrowRows(config, files));
    if (round > 0) arrow_seconds.push_back(SecondsNow() - start);
  }
  const double rows = static_cast<double>(arrow_rows);
  const double limit = RatesOf(1e-6 * rows, arrow_seconds).most;

  BenchReport report;
  report.name = flags.what;
  report.settings = {
      {"config", flags.config.pipeline_config_path},
      {"files", absl::StrCat(files.paths.size(), files.type == DatasetType::kParquet ? " Parquet" : " CSV")},
      {"rows", absl::StrCat(arrow_rows)},
      {"rounds", absl::StrCat(flags.rounds)}};
  report.limits = {{"Arrow alone on one thread", "Mrows/s", limit}};
  report.columns = {{"batch", "rows"},     {"decoding threads", ""}, {"speed", "Mrows/s"},
                    {"file rate", "MB/s"}, {"per core", "Mrows/s"},  {"of Arrow alone", "%"}};
  std::vector<int64_t> sizes = flags.batch_sizes;
  if (sizes.empty()) sizes = {config.data.batch_size};
  std::vector<int> workers = flags.num_workers;
  if (workers.empty()) workers = {config.data.num_workers};
  std::optional<uint64_t> digest;
  for (int64_t size : sizes) {
    for (int threads : workers) {
      config.data.num_workers = threads;
      std::vector<double> seconds, cpu;
      for (int round = 0; round < flags.rounds; ++round) {
        PEPNET_ASSIGN_OR_RETURN(const Pass pass, ReadAll(config, size));
        if (pass.rows != arrow_rows || pass.digest != digest.value_or(pass.digest)) {
          return absl::DataLossError(absl::StrCat("a pass with batches of ", size, " and ", threads, " threads gave ",
                                                  pass.rows, " rows, Arrow counts ", arrow_rows,
                                                  "; or other ids than the first pass"));
        }
        digest = pass.digest;
        seconds.push_back(pass.seconds);
        cpu.push_back(pass.cpu_seconds);
      }
      const Spread per_core = RatesOf(1e-6 * rows, cpu);
      report.rows.push_back({static_cast<double>(size), static_cast<double>(threads), RatesOf(1e-6 * rows, seconds),
                             RatesOf(1e-6 * bytes, seconds), per_core, 100 * per_core.median / limit});
    }
  }
  report.checked = {"all passes give the same ids and labels, in order, and as many rows as Arrow counts",
                    "per core is rows by CPU time of all threads, the sum over the ids of this benchmark left out"};
  return report;
}

}  // namespace pepnet
