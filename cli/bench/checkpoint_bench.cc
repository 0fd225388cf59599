// bench checkpoint: a server's rows to disk and back, through the path of every checkpoint: parts,
// manifest, fsync, rename. In each round the disk's own rate is taken first, with a file as large.
#include "cli/bench/bench.h"
#include "cli/bench/limits.h"
#include "cli/bench/row_job.h"
#include "cli/job/job.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"

namespace pepnet {
namespace {

constexpr int64_t kKeys = 200000;  // rows a message while the table is filled

// A read-only pull, which changes nothing and has the values after `step`.
StatusOr<std::vector<float>> Read(const WorkerContext& context, const std::vector<int64_t>& ids,
                                  int64_t step) {
  PEPNET_ASSIGN_OR_RETURN(const PullTicket ticket,
                          context.client->StartPull(UniqueIds{{ids}, {}}, step, true));
  std::vector<AlignedBuffer<float>> values;
  PEPNET_RETURN_IF_ERROR(context.client->FinishPull(ticket, &values));
  return std::vector<float>(values[0].begin(), values[0].end());
}

// Makes every row; returns the number of steps that took.
StatusOr<int64_t> Fill(const WorkerContext& context, int64_t rows) {
  PEPNET_RETURN_IF_ERROR(context.client->Configure(context.worker_ranks, /*seed=*/1, 0));
  const int64_t keys = std::min(kKeys, rows);
  int64_t step = 0;
  for (; step * keys < rows; ++step) {
    const UniqueIds request{{MessageIds(rows, keys, step)}, {}};
    PEPNET_ASSIGN_OR_RETURN(const PullTicket ticket,
                            context.client->StartPull(request, step + 1, false));
    std::vector<AlignedBuffer<float>> values, gradients(1);
    PEPNET_RETURN_IF_ERROR(context.client->FinishPull(ticket, &values));
    gradients[0].Resize(request.ids[0].size() * kBenchDim);
    FillGradients(request.ids[0], step + 1, gradients[0].data());
    PEPNET_RETURN_IF_ERROR(context.client->Push(ticket, gradients, kBenchLr, step + 1));
  }
  return step;
}

// Saves as worker 0 of a training does, but for the dense state. Seconds from the first message to
// the rename.
StatusOr<double> Save(const WorkerContext& context, const std::string& model_dir, int64_t step,
                      double* bytes) {
  const double start = SecondsNow();
  PEPNET_ASSIGN_OR_RETURN(CheckpointWriter writer, CheckpointWriter::Begin(model_dir, step));
  PEPNET_RETURN_IF_ERROR(context.client->StartSave(writer.temporary_directory(), step));
  const std::atomic<bool> never = false;
  PEPNET_ASSIGN_OR_RETURN(SavedTables saved, context.client->FinishSave(step, never));
  Manifest manifest;
  manifest.parts = std::move(saved.parts);
  manifest.step = step;
  // A manifest with tables only: there is no dense state to save.
  manifest.server_count = context.client->server_count();
  manifest.worker_count = 1;
  PEPNET_RETURN_IF_ERROR(writer.Commit(manifest).status());
  *bytes = 0;
  for (const PartEntry& part : manifest.parts) *bytes += static_cast<double>(part.bytes);
  return SecondsNow() - start;
}

Status MeasureCheckpoint(const WorkerContext& context, const BenchFlags& flags,
                         const std::string& model_dir, int64_t rows, BenchReport* report) {
  PEPNET_ASSIGN_OR_RETURN(const int64_t step, Fill(context, rows));
  const std::vector<int64_t> sample = RowLedger(rows).ids();
  PEPNET_ASSIGN_OR_RETURN(const std::vector<float> before, Read(context, sample, step));
  std::vector<double> disk, save, of_disk, verify, load;
  double bytes = 0;
  for (int round = 0; round <= flags.rounds; ++round) {
    PEPNET_RETURN_IF_ERROR(RemoveTree(model_dir));
    // A disk's rate changes from second to second, so it is taken in every round, right before the
    // save that it is compared with.
    double disk_rate = 0;
    if (round > 0) {
      PEPNET_ASSIGN_OR_RETURN(disk_rate,
                              DiskWriteRate(flags.directory, static_cast<int64_t>(bytes)));
    }
    PEPNET_ASSIGN_OR_RETURN(const double saved, Save(context, model_dir, step, &bytes));
    if (round == 0) continue;  // warms up, and tells how many bytes there are
    disk.push_back(disk_rate);
    save.push_back(saved);
    of_disk.push_back(100 * 1e-6 * bytes / saved / disk_rate);
    const std::string directory = absl::StrCat(model_dir, "/", CheckpointName(step));
    double start = SecondsNow();
    PEPNET_ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(directory));
    PEPNET_RETURN_IF_ERROR(VerifyCheckpoint(directory, manifest));
    verify.push_back(SecondsNow() - start);
    // Loading replaces all rows, so the rows that are compared below went to disk and back.
    start = SecondsNow();
    PEPNET_RETURN_IF_ERROR(context.client->Load(directory, step, /*with_state=*/true, {}));
    load.push_back(SecondsNow() - start);
    PEPNET_ASSIGN_OR_RETURN(const std::vector<float> after, Read(context, sample, step));
    if (after != before) {
      return absl::DataLossError("rows read back from a checkpoint are not those that were saved");
    }
  }
  report->limits.push_back(
      {absl::StrCat("sequential disk write, ", rows, " rows"), "MB/s", SpreadOf(disk).median});
  report->rows.push_back({static_cast<double>(rows), 1e-6 * bytes, SpreadOf(save),
                          RatesOf(1e-6 * bytes, save), SpreadOf(of_disk),
                          RatesOf(1e-6 * bytes, verify), RatesOf(1e-6 * bytes, load)});
  return absl::OkStatus();
}

}  // namespace

StatusOr<BenchReport> CheckpointBench(const BenchFlags& flags) {
  if (!IsDirectory(flags.directory)) {
    return InvalidInput("--directory ", flags.directory, " is not a directory");
  }
  const std::string model_dir = flags.directory + "/.bench_checkpoint";
  BenchReport report;
  report.name = flags.what;
  report.settings = {{"directory", flags.directory}, {"rounds", absl::StrCat(flags.rounds)}};
  JobFlags job = flags.job;
  // There is no network, so nothing may wait for a GPU.
  job.device = "cpu";
  report.columns = {{"table", "rows"}, {"size", "MB"},     {"time", "s"},   {"save", "MB/s"},
                    {"of disk", "%"},  {"verify", "MB/s"}, {"load", "MB/s"}};
  for (int64_t rows : flags.rows) {
    const Status status = RunJob(RowJob(rows), job, nullptr, [&](const WorkerContext& context) {
      return MeasureCheckpoint(context, flags, model_dir, rows, &report);
    });
    PEPNET_RETURN_IF_ERROR(RemoveTree(model_dir));
    PEPNET_RETURN_IF_ERROR(status);
  }
  report.checked = {
      "every checkpoint verifies, and sampled rows read back are bit for bit those that were "
      "saved"};
  return report;
}

}  // namespace pepnet
