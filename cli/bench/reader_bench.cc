// bench reader: one pass over the training files, as batches of the first worker of a job (or the
// first few, as threads); beside it one pass of Arrow alone over the same columns, which is the
// limit: nothing that reads these files through Arrow can be faster. Decoding alone and passing
// over alone are measured for `pepnet plan`.
#include <arrow/csv/api.h>
#include <arrow/io/file.h>
#include <arrow/table.h>
#include <parquet/arrow/reader.h>
#include <parquet/metadata.h>
#include <parquet/schema.h>

#include <unistd.h>

#include <filesystem>
#include <limits>
#include <map>
#include <set>
#include <thread>

#include "cli/bench/bench.h"
#include "cli/bench/limits.h"
#include "cli/job/load_config.h"
#include "common/base/hash.h"
#include "worker/data/files/input_files.h"
#include "worker/data/load/batch_loader.h"
#include "worker/data/rows/row_stream.h"

namespace pepnet {
namespace {

// The columns that training reads, so that the limit decodes no more than the reader does.
std::vector<std::string> Columns(const JobConfig& config) {
  std::set<std::string> columns(config.data.labels.begin(), config.data.labels.end());
  columns.insert(config.data.sample_weights.begin(), config.data.sample_weights.end());
  for (const Feature& feature : config.features) columns.insert(feature.column);
  return {columns.begin(), columns.end()};
}

// Reads all row groups into Arrow tables and throws them away. A column of lists has several
// leaves, which all have its name in front.
arrow::Result<int64_t> ParquetRows(const std::string& path,
                                   const std::vector<std::string>& columns) {
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
  ARROW_ASSIGN_OR_RAISE(
      auto reader, arrow::csv::StreamingReader::Make(arrow::io::default_io_context(), file, read,
                                                     parse, convert));
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
    arrow::Result<int64_t> count =
        arrow::Status::NotImplemented("there is no yardstick for ", TypeOf(files.type).name);
    if (files.type == DatasetType::kParquet) count = ParquetRows(path, columns);
    if (files.type == DatasetType::kCsv) count = CsvRows(path, config.data, columns);
    if (!count.ok()) {
      return InvalidInput("Arrow cannot read '", path, "': ", count.status().message());
    }
    rows += *count;
  }
  return rows;
}

// The way in which one row of the report is read.
struct Setting {
  int64_t batch_size = 0;
  int decoding_threads = 1;
  int workers = 1;  // of the job
  int local = 1;    // of them, read here
  std::string share;
};

struct Pass {
  int64_t rows = 0;     // of all local workers
  uint64_t digest = 0;  // of all ids and labels in order, worker after worker
  ReadCounts read;
  bool shared = false;
  double seconds = 0, cpu_seconds = 0;
};

// One worker's part of a pass; *digest_cpu grows by the time spent on the digest.
StatusOr<Pass> ReadAsWorker(const JobConfig& config, const LoaderOptions& options,
                            double* digest_seconds) {
  Pass pass;
  PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<BatchLoader> loader, BatchLoader::Open(config, options));
  for (;;) {
    PEPNET_ASSIGN_OR_RETURN(const std::optional<Batch> batch, loader->Next());
    if (!batch.has_value()) break;
    pass.rows += batch->rows;
    const double start = ThreadProcessorSeconds();
    // A polynomial hash: any other id, or another order, gives another number (but for accidents of
    // 2^-64).
    for (const IdColumn& column : batch->ids) {
      for (int64_t id : column.ids) pass.digest = pass.digest * 31 + static_cast<uint64_t>(id);
    }
    for (const LabelColumn& label : batch->labels) {
      for (float value : label.values) {
        pass.digest = pass.digest * 31 + static_cast<uint64_t>(value * 1024);
      }
    }
    *digest_seconds += ThreadProcessorSeconds() - start;
  }
  pass.read = loader->counts();
  pass.shared = loader->shares();
  return pass;
}

StatusOr<Pass> ReadAll(JobConfig config, const Setting& setting) {
  // Names of reader groups must be new in each pass: their sockets are found by them.
  static int passes = 0;
  // `config` is a copy, of which each setting changes the number of reader threads.
  config.data.num_workers = setting.decoding_threads;
  ReaderGroup group;
  group.name = absl::StrCat("bench-", getpid(), "-", passes++);
  for (int w = 0; w < setting.local; ++w) group.members.push_back(absl::StrCat("worker ", w));
  std::vector<StatusOr<Pass>> parts(setting.local, Pass());
  std::vector<double> digest_seconds(setting.local, 0);
  const double start = SecondsNow(), cpu = OwnProcessorSeconds();
  std::vector<std::thread> threads;
  for (int w = 0; w < setting.local; ++w) {
    threads.emplace_back([&, w] {
      LoaderOptions options;
      options.input_path = config.train_input_path;
      options.batch_size = setting.batch_size;
      options.worker_index = w;
      options.worker_count = setting.workers;
      options.shuffle = config.data.shuffle;
      options.shuffle_buffer_size = config.data.shuffle_buffer_size;
      options.group = group;
      options.group.index = w;
      options.share = setting.share == "on"    ? ShareReader::kOn
                      : setting.share == "off" ? ShareReader::kOff
                                               : ShareReader::kAuto;
      // Workers are threads with a loader each; they meet only in the shared reader, as processes
      // do.
      parts[w] = ReadAsWorker(config, options, &digest_seconds[w]);
    });
  }
  for (std::thread& thread : threads) thread.join();
  Pass all;
  all.seconds = SecondsNow() - start;
  all.cpu_seconds = OwnProcessorSeconds() - cpu;
  for (int w = 0; w < setting.local; ++w) {
    PEPNET_RETURN_IF_ERROR(parts[w].status());
    const Pass& part = *parts[w];
    all.rows += part.rows;
    all.digest = all.digest * 1000003 + part.digest;
    all.read.decoded_rows += part.read.decoded_rows;
    all.read.passed_rows += part.read.passed_rows;
    all.read.bytes += part.read.bytes;
    all.shared = part.shared;
    all.cpu_seconds -= digest_seconds[w];
  }
  return all;
}

// Rows of the first `local` of `workers` workers.
int64_t RowsOfWorkers(int64_t rows, const Setting& setting) {
  const int64_t global = setting.batch_size * setting.workers,
                own = setting.batch_size * setting.local;
  // Whole global batches, and of the last, shorter one what the first workers get: it is
  // distributed in slices of batch_size.
  return rows / global * own + std::min(rows % global, own);
}

// Processor seconds of walking all rows without making batches: decoding them, or skipping them
// as a shuffled or an ordered epoch does. A shuffled one holds the rows of a window, whose memory
// costs as much as decoding into it; what a row costs hardly grows beyond kBufferedRows.
StatusOr<double> WalkSeconds(const JobConfig& config, const InputFiles& files, bool decode) {
  RowStream stream(files, FormatOf(config.data, files.type), Columns(config));
  constexpr int64_t kBufferedRows = 524288;
  const int64_t window = config.data.shuffle ? kBufferedRows : 65536;
  const double start = ThreadProcessorSeconds();
  PEPNET_RETURN_IF_ERROR(stream.Begin(0).status());
  for (int64_t got = 1; got > 0;) {
    if (decode) {
      RowSelection selection;
      PEPNET_RETURN_IF_ERROR(stream.Read(window, &selection));
      got = selection.rows;
    } else if (!TypeOf(files.type).decoded_in_groups && config.data.shuffle) {
      BufferedRowsList buffered;
      PEPNET_RETURN_IF_ERROR(stream.Buffer(window, &buffered));
      got = static_cast<int64_t>(buffered.size());
    } else {
      PEPNET_ASSIGN_OR_RETURN(got, stream.Skip(std::numeric_limits<int64_t>::max()));
      break;
    }
  }
  return ThreadProcessorSeconds() - start;
}

}  // namespace

StatusOr<BenchReport> ReaderBench(const BenchFlags& flags) {
  PEPNET_ASSIGN_OR_RETURN(const JobConfig config, LoadConfig(flags.config));
  PEPNET_ASSIGN_OR_RETURN(const InputFiles files, FindJobFiles(config, config.train_input_path));
  for (const int workers : flags.job_workers) {
    if (workers >= flags.local_workers) continue;
    return InvalidInput("--local_workers ", flags.local_workers, " is more than --workers ",
                        workers);
  }

  std::vector<double> arrow_seconds, decode_seconds, pass_seconds;
  int64_t arrow_rows = 0;
  // The first one brings the files into memory.
  for (int round = 0; round <= flags.rounds; ++round) {
    const double start = SecondsNow();
    PEPNET_ASSIGN_OR_RETURN(arrow_rows, ArrowRows(config, files));
    if (round > 0) arrow_seconds.push_back(SecondsNow() - start);
  }
  // The best round is the limit: a limit is what remains when nothing disturbs.
  const double limit = RatesOf(1e-6 * static_cast<double>(arrow_rows), arrow_seconds).most;
  BenchReport report;
  report.name = flags.what;
  report.settings = {{"config", flags.config.pipeline_config_path},
                     {"files", absl::StrCat(files.paths.size(), " ", TypeOf(files.type).name)},
                     {"rows", absl::StrCat(arrow_rows)},
                     {"shuffle", config.data.shuffle ? "on" : "off"},
                     {"local workers", absl::StrCat(flags.local_workers)},
                     {"rounds", absl::StrCat(flags.rounds)}};
  report.limits = {{"Arrow alone on one thread", "Mrows/s", limit}};
  report.columns = {
      {"batch", "rows"},       {"decoding threads", ""},    {"workers", ""},
      {"sharing", ""},         {"speed", "Mrows/s"},        {"per core", "Mrows/s"},
      {"of Arrow alone", "%"}, {"decoded a row", ""},       {"passed a row", ""},
      {"read a row", "bytes"}, {"decode alone", "Mrows/s"}, {"pass over alone", "Mrows/s"}};
  std::vector<Setting> settings;
  for (const int64_t size : flags.batch_sizes.empty() ? std::vector<int64_t>{config.data.batch_size}
                                                      : flags.batch_sizes) {
    for (const int threads : flags.num_workers.empty() ? std::vector<int>{config.data.num_workers}
                                                       : flags.num_workers) {
      for (const int workers : flags.job_workers) {
        for (const std::string& share : flags.share_reader) {
          settings.push_back({size, threads, workers, flags.local_workers, share});
        }
      }
    }
  }
  std::vector<std::vector<Pass>> passes(settings.size());
  std::map<std::pair<int64_t, int>, uint64_t> digests;  // by batch and workers
  // All settings in turn, and the walks with them.
  for (int round = 0; round < flags.rounds; ++round) {
    PEPNET_ASSIGN_OR_RETURN(const double decode, WalkSeconds(config, files, true));
    PEPNET_ASSIGN_OR_RETURN(const double pass_over, WalkSeconds(config, files, false));
    decode_seconds.push_back(decode);
    pass_seconds.push_back(pass_over);
    for (size_t s = 0; s < settings.size(); ++s) {
      PEPNET_ASSIGN_OR_RETURN(const Pass pass, ReadAll(config, settings[s]));
      // The rows of a worker depend on batch size and workers alone, not on threads or sharing (law
      // L3), so passes with equal ones must agree.
      const std::pair<int64_t, int> slice = {settings[s].batch_size, settings[s].workers};
      const int64_t expected = RowsOfWorkers(arrow_rows, settings[s]);
      if (pass.rows != expected ||
          digests.emplace(slice, pass.digest).first->second != pass.digest) {
        return absl::DataLossError(absl::StrCat(
            "a pass with batches of ", settings[s].batch_size, " and ",
            settings[s].decoding_threads, " threads as worker of ", settings[s].workers, " gave ",
            pass.rows, " rows, expected ", expected, "; or other ids than the first such pass"));
      }
      passes[s].push_back(pass);
    }
  }
  const Spread decode = RatesOf(1e-6 * static_cast<double>(arrow_rows), decode_seconds);
  const Spread pass_over = RatesOf(1e-6 * static_cast<double>(arrow_rows), pass_seconds);
  for (size_t s = 0; s < settings.size(); ++s) {
    std::vector<double> seconds, cpu;
    for (const Pass& pass : passes[s]) {
      seconds.push_back(pass.seconds);
      cpu.push_back(pass.cpu_seconds);
    }
    const Pass& pass = passes[s].back();
    const auto rows = static_cast<double>(pass.rows);
    const Spread per_core = RatesOf(1e-6 * rows, cpu);
    report.rows.push_back({static_cast<double>(settings[s].batch_size),
                           static_cast<double>(settings[s].decoding_threads),
                           static_cast<double>(settings[s].workers),
                           std::string(pass.shared ? "on" : "off"), RatesOf(1e-6 * rows, seconds),
                           per_core, 100 * per_core.median / limit,
                           static_cast<double>(pass.read.decoded_rows) / rows,
                           static_cast<double>(pass.read.passed_rows) / rows,
                           static_cast<double>(pass.read.bytes) / rows, decode, pass_over});
  }
  report.checked = {
      "all passes of the same workers give the same ids and labels in order, shared or not, and as "
      "many rows as their slices of the rows that Arrow counts",
      "per core is rows by CPU time of all threads, the sum over the ids of this benchmark left "
      "out"};
  return report;
}

}  // namespace pepnet
