// bench table: what one server does to its rows, without messages: looking up, reading, creating
// and updating them.
#include "cli/bench/bench.h"
#include "cli/bench/limits.h"
#include "cli/bench/row_job.h"
#include "common/base/logging.h"
#include "ps/step_update.h"

namespace pepnet {
namespace {

constexpr int64_t kRowsPerRound = 1000000;

// A table with the requests of one worker: the table and the update of a step, as a server has
// them, without the server. A message makes the rows that it names for the first time.
class Rows {
 public:
  Rows(int64_t rows, int64_t keys)
      : config_(RowJob(rows)), rows_(rows), keys_(keys), ledger_(rows, keys) {
    tables_.emplace_back(config_.tables[0], config_.train.sparse_optimizer, /*seed=*/1);
    ledger_.Start(Read(ledger_.ids()));
  }

  // Pull and push of the next message; adds their seconds.
  Status Next(double* pull_seconds, double* push_seconds) {
    const std::vector<int64_t> ids = MessageIds(rows_, keys_, message_);
    // The ticket of a pull, as a server keeps it, made outside of the time: parsing messages is
    // measured by bench service.
    FrameHeader header;
    header.type = MessageType::kPull;
    header.table_count = 1;
    Bytes bytes = MakeFrame(header, PullBodyBytes(1, ids.size()));
    const uint32_t count = static_cast<uint32_t>(ids.size());
    std::copy(ids.begin(), ids.end(), WritePullCounts(bytes, {&count, 1}));
    PEPNET_ASSIGN_OR_RETURN(ParsedFrame frame, ParsedFrame::Parse(std::move(bytes)));
    PEPNET_ASSIGN_OR_RETURN(const PullBody pull, ParsePull(frame));
    Ticket ticket = {std::move(frame), pull, AlignedBuffer<int64_t>(ids.size())};
    values_.Resize(ids.size() * kBenchDim);
    gradients_.Resize(ids.size() * kBenchDim);
    const int64_t update = ++update_;
    FillGradients(ids, update, gradients_.data());

    const double start = SecondsNow();
    tables_[0].Find(ticket.pull.ids, ticket.slots);
    tables_[0].ReadValues(ticket.pull.ids, ticket.slots, values_.data());
    const double pulled = SecondsNow();
    const PushedGradients push = {0, &ticket, gradients_.span()};
    PEPNET_RETURN_IF_ERROR(step_update_.Apply(config_.train.sparse_optimizer, kBenchLr, update,
                                              update, {&push, 1}, &tables_));
    *push_seconds += SecondsNow() - pulled;
    *pull_seconds += pulled - start;
    ledger_.Applied(message_++, update);
    return absl::OkStatus();
  }

  Status Check() const {
    if (tables_[0].size() != rows_) {
      return absl::DataLossError(
          absl::StrCat("the table holds ", tables_[0].size(), " rows, expected ", rows_));
    }
    return ledger_.Check(Read(ledger_.ids()));
  }
  const TableShard& table() const { return tables_[0]; }

 private:
  std::vector<float> Read(const std::vector<int64_t>& ids) const {
    std::vector<int64_t> slots(ids.size());
    std::vector<float> values(ids.size() * kBenchDim);
    tables_[0].Find(ids, slots);
    tables_[0].ReadValues(ids, slots, values.data());
    return values;
  }

  const JobConfig config_;
  const int64_t rows_, keys_;
  std::vector<TableShard> tables_;
  StepUpdate step_update_;
  RowLedger ledger_;
  int64_t message_ = 0, update_ = 0;
  AlignedBuffer<float> values_, gradients_;
};

}  // namespace

StatusOr<BenchReport> TableBench(const BenchFlags& flags) {
  BenchReport report;
  report.name = flags.what;
  report.settings = {{"rows a message", absl::StrCat(flags.keys)},
                     {"rounds", absl::StrCat(flags.rounds)}};
  report.columns = {{"table", "rows"},        {"create", "Mrows/s"}, {"pull", "Mrows/s"},
                    {"of random reads", "%"}, {"push", "Mrows/s"},   {"of random updates", "%"},
                    {"memory", "bytes/row"}};
  for (int64_t size : flags.rows) {
    if (size < flags.keys) {
      return InvalidInput("--rows ", size, " is less than --keys ", flags.keys);
    }
    const RandomRowRates limit = MeasureRandomRows(size);
    report.limits.push_back(
        {absl::StrCat("random reads of ", size, " rows"), "Mrows/s", limit.read});
    report.limits.push_back(
        {absl::StrCat("random updates of ", size, " rows"), "Mrows/s", limit.update});
    Rows rows(size, flags.keys);
    // Rows are made by the push (a pull changes no table), so the rate of creation is that of
    // pushes.
    double create_pull = 0, create_push = 0;
    const int64_t fill = (size + flags.keys - 1) / flags.keys;
    for (int64_t m = 0; m < fill; ++m) {
      PEPNET_RETURN_IF_ERROR(rows.Next(&create_pull, &create_push));
    }
    // Small tables are walked once a round, large ones by kRowsPerRound rows.
    const int64_t messages = std::max<int64_t>(1, std::min(kRowsPerRound, size) / flags.keys);
    const double round_rows = 1e-6 * static_cast<double>(messages * flags.keys);
    std::vector<double> pull, push;
    for (int round = 0; round < flags.rounds; ++round) {
      pull.push_back(0);
      push.push_back(0);
      for (int64_t m = 0; m < messages; ++m) {
        PEPNET_RETURN_IF_ERROR(rows.Next(&pull.back(), &push.back()));
      }
    }
    PEPNET_RETURN_IF_ERROR(rows.Check());
    const Spread pulls = RatesOf(round_rows, pull), pushes = RatesOf(round_rows, push);
    report.rows.push_back(
        {static_cast<double>(size), 1e-6 * static_cast<double>(fill * flags.keys) / create_push,
         pulls, 100 * pulls.median / limit.read, pushes, 100 * pushes.median / limit.update,
         static_cast<double>(rows.table().memory_bytes()) / static_cast<double>(size)});
  }
  report.checked = {
      "every row exists once, and sampled rows hold what Adagrad's formula makes of their updates"};
  return report;
}

}  // namespace pepnet
