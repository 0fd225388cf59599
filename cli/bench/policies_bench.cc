// bench policies: what the policy of a dynamic table costs a server, without messages: pulls and
// pushes of rows that exist, pushes in which every twentieth id is new and another twentieth was so
// in the message before, and the slowest message while the table fills. All tables of a size are
// there at once and take turns.
#include <algorithm>
#include <cmath>
#include <deque>
#include <random>
#include <utility>

#include "cli/bench/bench.h"
#include "cli/bench/row_job.h"
#include "cli/bench/timed_table.h"

namespace pepnet {
namespace {

constexpr int64_t kRowsPerRound = 1000000;
constexpr int64_t kNewEvery = 20;  // of the ids of a message

struct Contestant {
  const char* name;
  RowPolicy policy;
};

// A limit that leaves the first `rows` ids alone, by which a bucket holds its 1,024th of them give
// or take a few deviations, and under which even LRU evicts new ids alone: they are unnamed for
// longer than a walk through all others takes.
int64_t LimitOf(int64_t rows) {
  const double deviation = std::sqrt(static_cast<double>(rows) / kBucketCount);
  return rows + std::max(rows / 2, static_cast<int64_t>(6 * deviation * kBucketCount));
}

std::vector<Contestant> Contestants(int64_t rows, int64_t keys) {
  const int64_t limit = LimitOf(rows);
  // As many steps as fill a table with a limit: expiry then leaves about as many rows.
  const int64_t new_ids = (keys + kNewEvery - 1) / kNewEvery;  // of a message
  const int64_t ttl_steps = (limit - rows) / new_ids + 1;
  // Large enough that hardly an id is admitted early.
  const int64_t filter_bytes = 4 * kBucketCount * kFilterWordBytes * (1 + rows / kBucketCount);
  return {{"fixed", {}},
          {"LRU", {.max_rows = limit}},
          {"LFU", {.max_rows = limit, .eviction = EvictionKind::kLfu}},
          {"SCORE", {.max_rows = limit, .eviction = EvictionKind::kScore, .half_life_steps = 1000}},
          {"2nd step admits", {.admit_after_steps = 2, .max_rows = limit}},
          {"filter",
           {.admit_after_steps = 2,
            .max_rows = limit,
            .filter_bytes = filter_bytes,
            .filter_halve_steps = int64_t{1} << 40}},
          {"expiry", {.ttl_steps = ttl_steps}}};
}

// A table under one policy, and what was measured of it.
class Subject {
 public:
  Subject(const Contestant& contestant, int64_t rows, int64_t keys)
      : name_(contestant.name),
        policy_(contestant.policy),
        timed_(Job(contestant.policy, rows)),
        rows_(rows),
        keys_(keys),
        ledger_(rows) {
    ledger_.Start(timed_.Read(ledger_.ids()));
  }

  // Names every id until it has its row.
  Status Fill() {
    for (int64_t pass = 1; pass <= policy_.admit_after_steps; ++pass) {
      for (int64_t m = 0; m * keys_ < rows_; ++m) {
        double pull = 0, push = 0;
        std::vector<int64_t> ids = NextIds();
        PEPNET_RETURN_IF_ERROR(timed_.Next(ids, &pull, &push));
        // A gradient without a row is dropped. A filter admits a few ids early.
        std::erase_if(ids,
                      [&](int64_t id) { return timed_.table().Find(id) == TableShard::kNoSlot; });
        ledger_.Applied(ids, timed_.step());
        slowest_pull_ = std::max(slowest_pull_, pull);
        slowest_push_ = std::max(slowest_push_, push);
      }
    }
    return absl::OkStatus();
  }
  Status KnownRound() {
    double pull = 0, push = 0;
    for (int64_t m = 0; m < messages(); ++m) {
      const std::vector<int64_t> ids = NextIds();
      PEPNET_RETURN_IF_ERROR(timed_.Next(ids, &pull, &push));
      ledger_.Applied(ids, timed_.step());
    }
    pull_.push_back(pull);
    push_.push_back(push);
    return absl::OkStatus();
  }
  // The same rows that exist, all in all, while every twentieth id is one that never was, and
  // another one that the message before has named for the first time.
  Status NewIdsRound(bool counts) {
    double pull = 0, push = 0;
    for (int64_t m = 0; m < messages(); ++m) {
      std::vector<int64_t> ids = NextIds();
      const std::vector<int64_t> again = std::exchange(last_new_, {});
      for (size_t i = 0; i < ids.size(); i += kNewEvery) {
        last_new_.push_back(rows_ + new_ids_++);
        ids[i] = last_new_.back();
        // The last new id of a message may have no place behind it.
        const size_t other = i + kNewEvery / 2;
        if (!again.empty() && other < ids.size()) ids[other] = again[i / kNewEvery];
      }
      PEPNET_RETURN_IF_ERROR(timed_.Next(ids, &pull, &push));
    }
    if (counts) new_push_.push_back(push);
    return absl::OkStatus();
  }
  // More new ids have come than a table with a limit has room for, or stay in one with expiry.
  bool IsFull() const { return new_ids_ > (LimitOf(rows_) - rows_) * 5 / 4; }

  Status CheckKnown() const {
    if (timed_.table().size() != rows_) {
      return absl::DataLossError(absl::StrCat("table ", name_, " holds ", timed_.table().size(),
                                              " rows, expected ", rows_));
    }
    return Annotate(ledger_.Check(timed_.Read(ledger_.ids())), absl::StrCat("table ", name_));
  }
  Status CheckNew() const {
    const int64_t held = timed_.table().size();
    int64_t least = rows_ + new_ids_, most = least;
    // More new ids have come than the table keeps, so some rows have left; those that exist are
    // named too often to.
    if (policy_.removes_rows()) {
      least = rows_;
      most = policy_.limits_rows() ? policy_.max_rows : most - 1;
    }
    if (held >= least && held <= most) return absl::OkStatus();
    return absl::DataLossError(
        absl::StrCat("table ", name_, " holds ", held, " rows, expected ", least, " to ", most));
  }

  std::vector<BenchCell> Cells(const Subject& fixed) const {
    const double million = 1e-6 * static_cast<double>(messages() * keys_);
    // Ratios are of a round, and the median of these.
    const auto percent = [](const std::vector<double>& seconds, const std::vector<double>& base) {
      std::vector<double> ratios;
      for (size_t r = 0; r < seconds.size(); ++r) ratios.push_back(100 * base[r] / seconds[r]);
      return SpreadOf(ratios).median;
    };
    return {static_cast<double>(rows_),
            name_,
            RatesOf(million, pull_),
            RatesOf(million, push_),
            percent(push_, fixed.push_),
            RatesOf(million, new_push_),
            percent(new_push_, fixed.new_push_),
            1000 * slowest_pull_,
            1000 * slowest_push_,
            static_cast<double>(memory_) / static_cast<double>(rows_)};
  }
  void NoteMemory() { memory_ = timed_.table().memory_bytes(); }

 private:
  // The ids of the next message, in any order: tables differ in the order in which they make rows,
  // and one that is asked for them in the same order would find them side by side.
  std::vector<int64_t> NextIds() {
    std::vector<int64_t> ids = MessageIds(rows_, keys_, message_++);
    std::shuffle(ids.begin(), ids.end(), random_);
    return ids;
  }
  static JobConfig Job(const RowPolicy& policy, int64_t rows) {
    JobConfig config = RowJob(rows);
    // The initial values of a table depend on its rows; here all tables have the same range.
    config.tables[0].rows = kAnyId;
    config.tables[0].policy = policy;
    return config;
  }
  int64_t messages() const { return std::max<int64_t>(1, std::min(kRowsPerRound, rows_) / keys_); }

  std::string name_;
  RowPolicy policy_;
  TimedTable timed_;
  int64_t rows_, keys_;
  RowLedger ledger_;
  std::mt19937_64 random_;
  int64_t message_ = 0, new_ids_ = 0;
  std::vector<int64_t> last_new_;  // named for the first time by the last message
  double slowest_pull_ = 0, slowest_push_ = 0;
  uint64_t memory_ = 0;
  std::vector<double> pull_, push_, new_push_;  // seconds of a round
};

}  // namespace

StatusOr<BenchReport> PoliciesBench(const BenchFlags& flags) {
  BenchReport report;
  report.name = flags.what;
  report.settings = {{"rows a message", absl::StrCat(flags.keys)},
                     {"rounds", absl::StrCat(flags.rounds)},
                     {"new ids", absl::StrCat(100 / kNewEvery, " %, named twice")}};
  report.columns = {{"table", "rows"},           {"policy", ""},
                    {"pull", "Mrows/s"},         {"push", "Mrows/s"},
                    {"of fixed", "%"},           {"push with new", "Mrows/s"},
                    {"with new, of fixed", "%"}, {"slowest pull", "ms"},
                    {"slowest push", "ms"},      {"memory", "bytes/row"}};
  for (const int64_t rows : flags.rows) {
    PEPNET_RETURN_IF_ERROR(CheckMessage(rows, flags.keys));
    // Whole messages, so that an id is named once while the table fills, or exactly twice.
    const int64_t size = rows / flags.keys * flags.keys;
    MeasureRowLimits(size, &report);
    std::deque<Subject> subjects;
    for (const Contestant& contestant : Contestants(size, flags.keys)) {
      subjects.emplace_back(contestant, size, flags.keys);
    }
    for (Subject& subject : subjects) {
      PEPNET_RETURN_IF_ERROR(subject.Fill());
      subject.NoteMemory();
    }
    for (int round = 0; round < flags.rounds; ++round) {
      for (Subject& subject : subjects) PEPNET_RETURN_IF_ERROR(subject.KnownRound());
    }
    for (Subject& subject : subjects) {
      PEPNET_RETURN_IF_ERROR(subject.CheckKnown());
      while (!subject.IsFull()) PEPNET_RETURN_IF_ERROR(subject.NewIdsRound(/*counts=*/false));
    }
    for (int round = 0; round < flags.rounds; ++round) {
      for (Subject& subject : subjects) PEPNET_RETURN_IF_ERROR(subject.NewIdsRound(true));
    }
    for (Subject& subject : subjects) {
      PEPNET_RETURN_IF_ERROR(subject.CheckNew());
      report.rows.push_back(subject.Cells(subjects[0]));
    }
  }
  report.checked = {
      "every row exists once, sampled rows hold what Adagrad's formula makes of their updates, and "
      "new ids leave a table within its limit"};
  return report;
}

}  // namespace pepnet
