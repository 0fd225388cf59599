#include "ps/load_tables.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "common/base/logging.h"
#include "common/base/mutant.h"
#include "common/base/partition.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/filter_part.h"
#include "ps/table/row_lifecycle.h"
#include "ps/table/store/pages_ahead.h"

namespace pepnet {
namespace {

constexpr int64_t kMaxFrequency = int64_t{1} << 62;  // training adds to it
constexpr float kMaxClicks = 1 << 24;                // floats count so far
constexpr int64_t kMostReserved = int64_t{1} << 23;  // rows, whose index entries take 100 MB
// The number of ids whose index entries are prefetched.
constexpr size_t kPrefetchRows = 16;

// The rows of the buckets [first, end) in a part: one range, since parts are in bucket order.
struct RowRange {
  int64_t first = 0, count = 0;
};
RowRange RowsOfBuckets(const PartEntry& part, int first, int end) {
  RowRange range;
  for (const BucketEntry& bucket : part.buckets) {
    if (bucket.bucket < first) range.first += bucket.rows;
    if (bucket.bucket >= first && bucket.bucket < end) range.count += bucket.rows;
  }
  return range;
}

Status CheckShape(const PartEntry& part, const TableShard& table, bool with_state) {
  if (part.dim != table.dim()) {
    return InvalidInput("table ", table.table().name, " has width ", table.dim(), ", table ",
                        part.table, " of the checkpoint ", part.dim);
  }
  if (with_state && part.optimizer_state_dim() != table.optimizer_state_dim()) {
    return InvalidInput("table ", table.table().name, " has ", table.optimizer_state_dim(),
                        " floats of optimizer state per row, table ", part.table,
                        " of the checkpoint ", part.optimizer_state_dim(),
                        "; is it another sparse optimizer?");
  }
  return absl::OkStatus();
}

// Rows that the table does not hold exactly.
struct RoundedRows {
  int64_t values = 0, states = 0;
};

// The loading of one part: its source, its target and the options.
struct PartLoad {
  const ServerPlan& plan;
  int64_t step;  // of the checkpoint
  bool renamed, with_state;
  const PartEntry& part;
  TableShard* table;
  RoundedRows* rounded;
};

Status LoadRows(const PartLoad& load, const RowColumns& rows) {
  TableShard* const table = load.table;
  const size_t dim = table->dim(), state_dim = load.part.state_dim;
  // Rows of a file without clicks have not been clicked yet. Clicks of a file whose table counts
  // none now stay behind the state, where nobody reads them.
  const bool adds_clicks = table->table().policy.counts_clicks() && !load.part.counts_clicks;
  std::vector<float> with_clicks(adds_clicks ? static_cast<size_t>(table->state_dim()) : 0, 0.0f);
  std::vector<float> stored;  // what the table makes of a row's values or state
  for (size_t i = 0; i < rows.ids.size(); ++i) {
    if (i + kPrefetchRows < rows.ids.size()) table->PrefetchIndex(rows.ids[i + kPrefetchRows]);
    const int64_t id = rows.ids[i];
    if (!IdsOf(table->table().rows).Contains(id)) {
      return InvalidInput("the checkpoint holds row ", id, ", expected ",
                          IdRangeText(table->table().rows));
    }
    // Under a new name every server reads all rows and keeps its own. Under the same name
    // LoadPart() has asked for the rows of this server's buckets, so any other bucket is damage.
    const int bucket = BucketOf(RowHash(table->table_hash(), id));
    if (bucket < load.plan.first_bucket || bucket >= load.plan.end_bucket) {
      if (load.renamed) continue;
      return absl::DataLossError(absl::StrCat("row ", id, " stands in the wrong bucket"));
    }
    // Create() would end the process: it takes a second row for a bug of ours, but a file is input.
    if (table->Find(id) != TableShard::kNoSlot) {
      return absl::DataLossError(absl::StrCat("row ", id, " occurs twice"));
    }
    const float* const value = rows.values.data() + i * dim;
    if (const float* const wrong =
            std::find_if(value, value + dim, [](float x) { return !std::isfinite(x); });
        wrong != value + dim) {
      return absl::DataLossError(
          absl::StrCat("row ", id, " holds ", *wrong,
                       "; weights that are not finite cannot be trained or used"));
    }
    // A narrower type than that of the run before rounds numbers, which is counted and logged (law
    // L7).
    const auto create = [&](const float* state) {
      const int64_t slot = table->Create(id, value, state);
      const auto is_rounded = [&](const ValueCodec& codec, const float* from, const float* row) {
        if (codec.is_float()) return false;
        stored.resize(codec.dim());
        codec.Read(row, stored.data());
        return !std::equal(stored.begin(), stored.end(), from);
      };
      if (is_rounded(table->codec().values(), value, table->floats(slot))) ++load.rounded->values;
      if (state != nullptr && is_rounded(table->codec().state(), state, table->state(slot))) {
        ++load.rounded->states;
      }
      return slot;
    };
    if (!load.with_state) {
      create(nullptr);
      continue;
    }
    // A step marks the rows that it gathers with negative last steps, and a snapshot takes a row
    // with a later last step for changed: both count on last steps between 0 and the step of the
    // checkpoint.
    if (rows.last_step[i] < 0 || rows.last_step[i] > load.step) {
      return absl::DataLossError(absl::StrCat("row ", id, " says that it last changed in step ",
                                              rows.last_step[i], ", expected 0 to ", load.step));
    }
    if (rows.frequency[i] < 0 || rows.frequency[i] > kMaxFrequency) {
      return absl::DataLossError(absl::StrCat("row ", id, " says that it changed ",
                                              rows.frequency[i], " times, expected 0 to ",
                                              kMaxFrequency));
    }
    if (const float clicks = load.part.ClicksOf(rows, i); !(clicks >= 0 && clicks <= kMaxClicks)) {
      return absl::DataLossError(absl::StrCat("row ", id, " says that it was clicked ", clicks,
                                              " times, expected 0 to ", kMaxClicks));
    }
    const float* state = rows.states.data() + i * state_dim;
    if (adds_clicks) {
      std::copy_n(state, state_dim, with_clicks.begin());
      state = with_clicks.data();
    }
    const int64_t slot = create(state);
    table->frequency(slot) = rows.frequency[i];
    table->last_step(slot) = rows.last_step[i];
  }
  return absl::OkStatus();
}

Status LoadPart(const ServerPlan& plan, const std::string& directory, const Manifest& manifest,
                const PartEntry& part, bool with_state, TableShard* table, RoundedRows* rounded) {
  PEPNET_RETURN_IF_ERROR(CheckShape(part, *table, with_state));
  // The bucket of a row depends on the table's name: under another name its rows are spread over
  // all buckets of the part.
  const bool renamed = part.table != table->table().name;
  const RowRange range =
      renamed ? RowRange{0, part.rows} : RowsOfBuckets(part, plan.first_bucket, plan.end_bucket);
  if (range.count == 0) return absl::OkStatus();
  PEPNET_ASSIGN_OR_RETURN(auto reader, TablePartReader::Open(directory, part));
  std::optional<PagesAhead> pages;
  // Only now: the file has as many rows as the manifest says.
  if (!renamed) pages.emplace(table->Reserve(table->size() + range.count));
  const PartLoad load{plan, manifest.step, renamed, with_state, part, table, rounded};
  return reader->Read(range.first, range.count,
                      [&](const RowColumns& rows) { return LoadRows(load, rows); });
}

// The counters of this server's buckets from all filters of the table in the checkpoint.
Status LoadFilter(const ServerPlan& plan, const std::string& directory, const Manifest& manifest,
                  const std::string& table, AdmissionFilter* filter) {
  bool found = false;
  for (const FilterEntry& entry : manifest.filters) {
    if (entry.table != table) continue;
    found = true;
    // The place of an id depends on the size of a bucket's counters, so counters of another layout
    // are of no use. They are estimates: starting anew delays admissions and loses no trained
    // value.
    if (entry.counter_bits != filter->counter_bits() ||
        entry.bucket_words != filter->bucket_words()) {
      LOG(INFO) << "table " << table << ": the admission filter of the checkpoint has counters of "
                << entry.counter_bits << " bits, " << entry.bucket_words
                << " words a bucket, this one " << filter->counter_bits() << " and "
                << filter->bucket_words() << "; it starts empty";
      return absl::OkStatus();
    }
    if (entry.end_bucket <= plan.first_bucket || entry.first_bucket >= plan.end_bucket) continue;
    const Status status =
        ReadFilter(directory, entry, [&](int bucket, std::span<const uint64_t> words) {
          if (bucket >= plan.first_bucket && bucket < plan.end_bucket) filter->Load(bucket, words);
        });
    if (!status.ok()) {
      return Annotate(status, absl::StrCat("loading the admission filter of table ", table,
                                           " from ", directory));
    }
  }
  if (!found) {
    LOG(INFO) << "table " << table << ": the checkpoint has no admission filter; it starts empty";
  }
  return absl::OkStatus();
}

// Another type than that of the run before is no error: float32 holds the numbers of every one.
// `what`: "values" or "state".
void NoteOtherKind(const TableShard& table, const char* what, ValueKind before, ValueKind now,
                   int64_t rounded) {
  if (before != now) {
    LOG(INFO) << "table " << table.table().name << " kept " << what << " in " << TypeOf(before).name
              << " in the checkpoint and keeps " << TypeOf(now).name << " now";
  }
  if (rounded > 0) {
    LOG(INFO) << "table " << table.table().name << ": the " << what << " of " << rounded << " of "
              << table.size() << " rows were not exact in " << TypeOf(now).name
              << "; they are rounded to nearest";
  }
}

}  // namespace

std::vector<TableShard> MakeTables(const ServerPlan& plan) {
  const uint64_t seed = plan.seed + (MutantActive(Mutant::kInitByServer) ? plan.server_index : 0);
  std::vector<TableShard> tables;
  for (const Table& table : plan.tables) {
    TableShard& shard = tables.emplace_back(table, plan.optimizer, seed);
    // Room in the index for the rows that there may be, so that it does not have to grow while a
    // step waits. A 16th is added because a bucket holds more than its share until the end of a
    // step.
    const int64_t limit =
        std::min(RowLimit(ShapeOf(plan.optimizer, table).bytes(), table.policy), kMostReserved);
    if (limit > 0) {
      shard.ReserveIndex(limit / kBucketCount * (plan.end_bucket - plan.first_bucket) * 17 / 16);
    }
  }
  return tables;
}

// Each table loads three things that belong to one step: its rows, the candidates for admission,
// and the counters of its admission filter. Without state (fine-tuning) the rows alone are taken.
StatusOr<LoadedTables> LoadTables(const ServerPlan& plan, const std::string& directory,
                                  const LoadOptions& options) {
  PEPNET_ASSIGN_OR_RETURN(Manifest manifest, ReadManifest(directory));
  LoadedTables loaded{MakeTables(plan), {}};
  for (TableShard& table : loaded.tables) {
    const auto mapped = options.table_map.find(table.table().name);
    const std::string& source =
        mapped == options.table_map.end() ? table.table().name : mapped->second;
    RoundedRows rounded;
    const PartEntry* before = nullptr;  // a part of the table
    const auto load = [&](const std::vector<PartEntry>& parts,
                          TableShard* shard) -> StatusOr<bool> {
      bool found = false;
      for (const PartEntry& part : parts) {
        if (part.table != source) continue;
        found = true;
        if (shard == &table) before = &part;
        const Status status =
            LoadPart(plan, directory, manifest, part, options.with_state, shard, &rounded);
        if (!status.ok()) {
          return Annotate(status, absl::StrCat("loading table ", table.table().name, " from ",
                                               directory, "/", part.file));
        }
      }
      return found;
    };
    PEPNET_ASSIGN_OR_RETURN(const bool found, load(manifest.parts, &table));
    if (before != nullptr) {
      NoteOtherKind(table, "values", before->value_kind, table.table().value_kind, rounded.values);
      // Without the state of the checkpoint its type does not matter.
      if (options.with_state) {
        NoteOtherKind(table, "state", before->state_kind, plan.optimizer.state_kind,
                      rounded.states);
      }
    }
    RowLifecycle* const lifecycle = table.lifecycle();
    if (options.with_state && lifecycle != nullptr && lifecycle->candidates() != nullptr &&
        !MutantActive(Mutant::kResumeForgetsCandidates)) {
      // A checkpoint of a run without such a policy has no candidates; then counting starts anew.
      PEPNET_RETURN_IF_ERROR(load(manifest.candidates, lifecycle->candidates()).status());
    }
    // Counters are placed by a hash that contains the table's name: those of a table with another
    // name would count other ids.
    if (options.with_state && lifecycle != nullptr && lifecycle->filter() != nullptr &&
        source == table.table().name && !MutantActive(Mutant::kResumeForgetsCandidates)) {
      PEPNET_RETURN_IF_ERROR(LoadFilter(plan, directory, manifest, source, lifecycle->filter()));
    }
    if (found) continue;
    const std::string missing =
        absl::StrCat("table ", table.table().name, " is to be loaded from table ", source,
                     ", which ", directory, " does not hold");
    if (options.with_state && options.table_map.empty()) return absl::NotFoundError(missing);
    LOG(WARNING) << missing << "; its rows start at their initial values";
  }
  if (options.with_state && !MutantActive(Mutant::kResumeForgetsEventTimes)) {
    loaded.event_times = std::move(manifest.event_times);
  }
  return loaded;
}

}  // namespace pepnet
