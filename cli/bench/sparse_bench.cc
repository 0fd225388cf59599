// bench sparse: what a training step does with rows, stage by stage, without the network: the
// batches of a config's training files, their unique ids, the rows of these in a server's tables,
// pooled, and their gradients back into them. The files are read twice: in the first pass
// the rows are made, in the second they exist.
#include <algorithm>
#include <cmath>
#include <optional>

#include "cli/bench/bench.h"
#include "cli/bench/limits.h"
#include "cli/job/job.h"
#include "cli/job/load_config.h"
#include "common/base/hash.h"
#include "common/net/message.h"
#include "ps/step_update.h"
#include "worker/data/load/batch_loader.h"
#include "worker/sparse/pooling.h"
#include "worker/sparse/unique_ids.h"

namespace pepnet {
namespace {

constexpr double kLr = 0.01;
constexpr int64_t kLimitBytes = 1280000000;  // beyond any cache
constexpr int64_t kQuickLimitBytes = 12800000;

// Seconds a batch, by stage.
struct Stages {
  std::vector<double> dedup, find, pool, scatter, update;

  std::vector<double> All() const {
    std::vector<double> all(dedup);
    for (const std::vector<double>* stage : {&find, &pool, &scatter, &update}) {
      for (size_t step = 0; step < all.size(); ++step) all[step] += (*stage)[step];
    }
    return all;
  }
};

// Numbers of one pass, a batch in the mean.
struct Counts {
  double lookups = 0, rows = 0, floats = 0;  // floats: of the rows' values
};

// The worker's and the server's functions are called directly, in the order of a step: no message
// and no thread of a server is in between.
class SparseSteps {
 public:
  SparseSteps(const JobConfig& config, int threads)
      : config_(config), team_(threads, "rows"), update_(&team_) {
    for (const Table& table : config.tables) {
      tables_.emplace_back(table, config.train.sparse_optimizer, /*seed=*/1);
    }
  }

  Status Pass(const LoaderOptions& options, Stages* stages, Counts* counts) {
    PEPNET_ASSIGN_OR_RETURN(const std::unique_ptr<BatchLoader> loader,
                            BatchLoader::Open(config_, options));
    int64_t batches = 0;
    for (;;) {
      PEPNET_ASSIGN_OR_RETURN(const std::optional<Batch> batch, loader->Next());
      if (!batch.has_value()) break;
      PEPNET_RETURN_IF_ERROR(Step(*batch, stages, counts));
      ++batches;
    }
    if (batches == 0) {
      return InvalidInput("'", options.input_path, "' holds no rows to measure with");
    }
    counts->lookups /= static_cast<double>(batches);
    counts->rows /= static_cast<double>(batches);
    counts->floats /= static_cast<double>(batches);
    return absl::OkStatus();
  }

 private:
  Status Step(const Batch& batch, Stages* stages, Counts* counts) {
    // Tickets and gradient buffers are made between the laps, since they belong to other parts of a
    // step.
    double last = SecondsNow();
    // Adds the time since the last lap to a stage.
    const auto lap = [&last](std::vector<double>* stage) {
      const double now = SecondsNow();
      stage->push_back(now - std::exchange(last, now));
    };
    const UniqueIds ids = FindUniqueIds(config_, batch, &team_);
    lap(&stages->dedup);

    Ticket ticket = MakeTicket(ids);
    last = SecondsNow();
    PulledRows rows;
    Find(ids, &ticket, &rows);
    lap(&stages->find);

    FloatBuffers pooled;
    PoolLeaves(config_, batch, ids, rows, &pooled, &team_);
    lap(&stages->pool);

    // Gradients would come back from the network; the pooled vectors themselves are as good as any.
    AlignedBuffer<float> gradients(GradientFloats(tables_, ticket.pull.counts));
    std::vector<std::span<float>> by_table;
    for (size_t t = 0, first = 0; t < tables_.size(); ++t) {
      const size_t floats = ids.ids[t].size() * static_cast<size_t>(config_.tables[t].dim);
      by_table.push_back(gradients.span().subspan(first, floats));
      first += floats;
    }
    last = SecondsNow();
    ScatterGradients(config_, batch, ids, pooled, by_table, &team_);
    lap(&stages->scatter);
    PEPNET_RETURN_IF_ERROR(Check(batch, ids, rows, pooled, by_table));

    const PushedGradients push = {0, &ticket, gradients.span()};
    last = SecondsNow();
    ++step_;
    PEPNET_RETURN_IF_ERROR(
        update_.Apply(config_.train.sparse_optimizer, kLr, step_, step_, {&push, 1}, &tables_));
    lap(&stages->update);
    for (size_t t = 0; t < tables_.size(); ++t) {
      counts->rows += static_cast<double>(ids.ids[t].size());
      counts->floats += static_cast<double>(by_table[t].size());
    }
    for (const std::vector<int32_t>& positions : ids.positions) {
      counts->lookups += static_cast<double>(positions.size());
    }
    return absl::OkStatus();
  }

  // The ticket of a pull as it arrives at a server, header, counts and ids.
  Ticket MakeTicket(const UniqueIds& ids) const {
    std::vector<uint32_t> counts;
    size_t total = 0;
    for (const std::vector<int64_t>& of_table : ids.ids) {
      counts.push_back(static_cast<uint32_t>(of_table.size()));
      total += of_table.size();
    }
    FrameHeader header;
    header.type = MessageType::kPull;
    header.table_count = static_cast<uint32_t>(counts.size());
    Bytes bytes = MakeFrame(header, PullBodyBytes(counts.size(), total));
    int64_t* out = WritePullCounts(bytes, counts);
    for (const std::vector<int64_t>& of_table : ids.ids) {
      out = std::copy(of_table.begin(), of_table.end(), out);
    }
    ParsedFrame frame = *ParsedFrame::Parse(std::move(bytes));
    const PullBody pull = *ParsePull(frame);
    return {std::move(frame), pull, AlignedBuffer<int64_t>(total)};
  }

  // As a server answers a pull by reference, and a worker reads the answer.
  void Find(const UniqueIds& ids, Ticket* ticket, PulledRows* rows) {
    RowPointers pointers = PointToPulledRows(&tables_, ticket->pull, ticket->slots.span(), &team_);
    ticket->initial_values.Resize(pointers.all_unseen_floats);
    ReadUnseenRows(tables_, ticket->pull, ticket->slots.span(), ticket->initial_values.data(),
                   &pointers, &team_);
    std::vector<size_t> sizes;
    for (const std::vector<int64_t>& of_table : ids.ids) sizes.push_back(of_table.size());
    rows->Reset(sizes);
    const float* const* next = pointers.rows.data();
    for (size_t t = 0; t < sizes.size(); ++t) {
      std::copy_n(next, sizes[t], rows->mutable_table(t).begin());
      next += sizes[t];
    }
  }

  // One table of the step, computed again as the formulas stand (worker/sparse/pooling.h): its
  // pooled sums of one bag, and one row's gradient. Features with sequences, weights or means are
  // left to the tests.
  Status Check(const Batch& batch, const UniqueIds& ids, const PulledRows& rows,
               const FloatBuffers& pooled, const std::vector<std::span<float>>& gradients) const {
    for (size_t l = 0; l < config_.leaves.size(); ++l) {
      const Leaf& leaf = config_.leaves[l];
      if (leaf.table < 0 || leaf.sequence || ids.positions[l].empty()) continue;
      const Feature& feature = config_.features[leaf.feature];
      // A table of one leaf gets gradients from that leaf alone, so one loop computes them again.
      const bool is_alone =
          std::count_if(config_.leaves.begin(), config_.leaves.end(),
                        [&](const Leaf& other) { return other.table == leaf.table; }) == 1;
      if (feature.weighted || feature.pooling != Pooling::kSum || feature.sequence.has_value() ||
          !is_alone)
        continue;
      const size_t dim = static_cast<size_t>(leaf.dim), t = static_cast<size_t>(leaf.table);
      const std::vector<int32_t>& offsets = batch.ids[leaf.feature].offsets;
      const size_t bag = Mix64(static_cast<uint64_t>(step_)) % (offsets.size() - 1);
      const int32_t position =
          ids.positions[l][Mix64(static_cast<uint64_t>(step_) + 1) % ids.positions[l].size()];
      for (size_t d = 0; d < dim; ++d) {
        float sum = 0, gradient = 0;
        for (int32_t i = offsets[bag]; i < offsets[bag + 1]; ++i) {
          sum += rows.table(t)[ids.positions[l][i]][d];
        }
        for (size_t b = 0; b + 1 < offsets.size(); ++b) {
          for (int32_t i = offsets[b]; i < offsets[b + 1]; ++i) {
            if (ids.positions[l][i] == position) gradient += pooled[l][b * dim + d];
          }
        }
        // Equality: both add the same floats in the same order, that of the batch.
        if (pooled[l][bag * dim + d] == sum &&
            gradients[t][static_cast<size_t>(position) * dim + d] == gradient)
          continue;
        return absl::DataLossError(absl::StrCat(
            "feature '", feature.name, "', ", batch.origin, ", element ", d, ": pooled ",
            pooled[l][bag * dim + d], ", expected ", sum, "; gradient ",
            gradients[t][static_cast<size_t>(position) * dim + d], ", expected ", gradient));
      }
      return absl::OkStatus();
    }
    return absl::OkStatus();
  }

  const JobConfig& config_;
  ThreadTeam team_;
  StepUpdate update_;
  std::vector<TableShard> tables_;
  int64_t step_ = 0;
};

// The rates that memory gives to all threads, for rows with as many floats of state as values: one
// thread's rates, times the threads; together they may get less.
struct Limits {
  double lines = 0;      // random reads of 64 bytes, million/s
  double reads = 0;      // random reads of a row's values, million/s
  double updates = 0;    // random updates of values and state, million/s
  double bandwidth = 0;  // GB/s
};

Limits MeasureLimits(const Counts& counts, int threads, bool quick, BenchReport* report) {
  const auto dim = static_cast<int64_t>(std::max(1.0, std::round(counts.floats / counts.rows)));
  const int64_t row_bytes = 2 * dim * static_cast<int64_t>(sizeof(float));
  const int64_t bytes = quick ? kQuickLimitBytes : kLimitBytes;
  const RandomRowRates rows = MeasureRandomRows(bytes / row_bytes, dim);
  const Limits limits = {
      threads * (dim == 16 ? rows.read : MeasureRandomRows(bytes / 128, 16).read),
      threads * rows.read, threads * rows.update,
      MemoryBandwidth(threads, quick ? 1 << 20 : 1 << 27)};
  const std::string suffix = absl::StrCat(", ", threads, " threads");
  report->limits = {{absl::StrCat("random reads of 64 bytes", suffix), "Mrows/s", limits.lines}};
  if (dim != 16) {
    report->limits.push_back({absl::StrCat("random reads of ", row_bytes / 2, " bytes", suffix),
                              "Mrows/s", limits.reads});
  }
  report->limits.push_back(
      {absl::StrCat("random updates of ", row_bytes, " bytes", suffix), "Mrows/s", limits.updates});
  report->limits.push_back({absl::StrCat("memory bandwidth", suffix), "GB/s", limits.bandwidth});
  return limits;
}

Spread Milliseconds(const std::vector<double>& seconds) {
  std::vector<double> milliseconds;
  for (const double s : seconds) milliseconds.push_back(1e3 * s);
  return SpreadOf(milliseconds);
}

}  // namespace

StatusOr<BenchReport> SparseBench(const BenchFlags& flags) {
  PEPNET_ASSIGN_OR_RETURN(const JobConfig config, LoadConfig(flags.config));
  PEPNET_ASSIGN_OR_RETURN(const int threads, ThreadsOf(flags.job));
  BenchReport report;
  report.name = flags.what;
  report.settings = {{"config", flags.config.pipeline_config_path},
                     {"threads", absl::StrCat(threads)}};
  report.columns = {{"batch", "rows"},         {"stage", ""},        {"items", "millions"},
                    {"rows being made", "ms"}, {"rows exist", "ms"}, {"rate", "millions/s"},
                    {"of the limit", "%"}};
  Limits limits;
  std::vector<int64_t> batch_sizes = flags.batch_sizes;
  if (batch_sizes.empty()) batch_sizes = {config.data.batch_size};
  for (const int64_t batch_size : batch_sizes) {
    LoaderOptions options;
    options.input_path = config.train_input_path;
    options.batch_size = batch_size;
    options.drop_remainder = true;
    options.labels = LabelSet::kNone;
    SparseSteps steps(config, threads);
    Stages made, exist;
    Counts counts, again;
    PEPNET_RETURN_IF_ERROR(steps.Pass(options, &made, &counts));
    for (int round = 0; round < flags.rounds; ++round) {
      again = {};
      PEPNET_RETURN_IF_ERROR(steps.Pass(options, &exist, &again));
    }
    if (report.limits.empty()) {
      limits = MeasureLimits(counts, threads, flags.quick, &report);
    }
    const auto add = [&](const std::string& stage, double items, const std::vector<double>& cold,
                         const std::vector<double>& warm, double stage_limit) {
      const Spread time = Milliseconds(warm);
      const double rate = 1e-3 * items / time.median;
      report.rows.push_back(
          {static_cast<double>(batch_size), stage, 1e-6 * items, Milliseconds(cold), time, rate,
           stage_limit > 0 ? BenchCell(100 * rate / stage_limit) : BenchCell(std::string("-"))});
    };
    add("dedup: lookups", counts.lookups, made.dedup, exist.dedup, 0);
    add("find: rows", counts.rows, made.find, exist.find, limits.lines);
    add("pool: lookups", counts.lookups, made.pool, exist.pool, limits.reads);
    add("scatter: lookups", counts.lookups, made.scatter, exist.scatter, limits.reads);
    add("update: rows", counts.rows, made.update, exist.update, limits.updates);
    // No step can do without this: each row is read and written once, each id is read once.
    const double least_seconds = 1e-6 * counts.rows / limits.updates +
                                 1e-9 * counts.lookups * sizeof(int64_t) / limits.bandwidth;
    add("all: rows", counts.rows, made.All(), exist.All(), 1e-6 * counts.rows / least_seconds);
  }
  report.checked = {
      "in every batch the sum of one bag and the gradient of one row are, bit for bit, those of a "
      "plain loop"};
  return report;
}

}  // namespace pepnet
