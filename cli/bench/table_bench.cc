// bench table: what one server does to its rows, without messages: looking up, reading, creating
// and updating them.
#include "cli/bench/bench.h"
#include "cli/bench/limits.h"
#include "cli/bench/row_job.h"
#include "cli/bench/timed_table.h"

namespace pepnet {
namespace {

constexpr int64_t kRowsPerRound = 1000000;

// The messages of one worker. A message makes the rows that it names for the first time.
class Rows {
 public:
  Rows(int64_t rows, int64_t keys) : timed_(RowJob(rows)), rows_(rows), keys_(keys), ledger_(rows) {
    ledger_.Start(timed_.Read(ledger_.ids()));
  }

  // Pull and push of the next message; adds their seconds.
  Status Next(double* pull_seconds, double* push_seconds) {
    const std::vector<int64_t> ids = MessageIds(rows_, keys_, message_++);
    PEPNET_RETURN_IF_ERROR(timed_.Next(ids, pull_seconds, push_seconds));
    ledger_.Applied(ids, timed_.step());
    return absl::OkStatus();
  }

  Status Check() const {
    if (timed_.table().size() != rows_) {
      return absl::DataLossError(
          absl::StrCat("the table holds ", timed_.table().size(), " rows, expected ", rows_));
    }
    return ledger_.Check(timed_.Read(ledger_.ids()));
  }
  const TableShard& table() const { return timed_.table(); }

 private:
  TimedTable timed_;
  const int64_t rows_, keys_;
  RowLedger ledger_;
  int64_t message_ = 0;
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
    PEPNET_RETURN_IF_ERROR(CheckMessage(size, flags.keys));
    const RandomRowRates limit = MeasureRowLimits(size, &report);
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
