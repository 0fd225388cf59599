#include "cli/inspect/inspect_diff.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/partition.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/filter_part.h"
#include "common/checkpoint/safetensors.h"

namespace pepnet {
namespace {

constexpr const char* kDenseFile = "dense.safetensors";

// The rows of one bucket, copied out of all parts of a table, sorted by id. The columns are side by
// side as in a file; `order` sorts indices instead of moving rows.
struct Rows {
  std::vector<int64_t> ids, frequency, last_step;
  std::vector<float> values, states;
  std::vector<size_t> order;  // indices by id
};

// One table of one checkpoint: its open parts and where each bucket lies. Parts are opened for the
// whole comparison, and a bucket is read when it is needed. The buckets of a checkpoint may lie in
// other parts than those of the other one.
class Table {
 public:
  Status AddPart(const std::string& directory, const PartEntry& part) {
    PEPNET_ASSIGN_OR_RETURN(auto reader, TablePartReader::Open(directory, part));
    dim_ = part.dim;
    state_dim_ = part.state_dim;
    rows_ += part.rows;
    int64_t first_row = 0;
    for (const BucketEntry& bucket : part.buckets) {
      BucketEntry& sum = buckets_[bucket.bucket];
      sum.rows += bucket.rows;
      sum.digest.Add(bucket.digest);
      // Rows lie by bucket in a part (docs/formats.md), so sums of the buckets' rows give where
      // each begins.
      places_[bucket.bucket].push_back({readers_.size(), first_row, bucket.rows});
      first_row += bucket.rows;
    }
    readers_.push_back(std::move(reader));
    return absl::OkStatus();
  }

  int dim() const { return dim_; }
  int state_dim() const { return state_dim_; }
  int64_t rows() const { return rows_; }
  // An entry without rows where the table has none of the bucket: its digest is that of nothing.
  BucketEntry bucket(int bucket) const {
    const auto found = buckets_.find(bucket);
    return found == buckets_.end() ? BucketEntry{} : found->second;
  }

  StatusOr<Rows> ReadBucket(int bucket) const {
    Rows rows;
    const auto found = places_.find(bucket);
    if (found == places_.end()) return rows;
    for (const Place& place : found->second) {
      PEPNET_RETURN_IF_ERROR(
          readers_[place.part]->Read(place.first_row, place.rows, [&rows](const RowColumns& run) {
            rows.ids.insert(rows.ids.end(), run.ids.begin(), run.ids.end());
            rows.values.insert(rows.values.end(), run.values.begin(), run.values.end());
            rows.states.insert(rows.states.end(), run.states.begin(), run.states.end());
            rows.frequency.insert(rows.frequency.end(), run.frequency.begin(), run.frequency.end());
            rows.last_step.insert(rows.last_step.end(), run.last_step.begin(), run.last_step.end());
            return absl::OkStatus();
          }));
    }
    rows.order.resize(rows.ids.size());
    std::iota(rows.order.begin(), rows.order.end(), size_t{0});
    std::sort(rows.order.begin(), rows.order.end(),
              [&](size_t a, size_t b) { return rows.ids[a] < rows.ids[b]; });
    return rows;
  }

 private:
  struct Place {
    size_t part;
    int64_t first_row, rows;
  };
  int dim_ = 0, state_dim_ = 0;
  int64_t rows_ = 0;
  std::vector<std::unique_ptr<TablePartReader>> readers_;
  std::map<int, BucketEntry> buckets_;
  std::map<int, std::vector<Place>> places_;
};

template <typename T>
bool SameBits(const T* a, const T* b, size_t count) {
  return count == 0 || std::memcmp(a, b, count * sizeof(T)) == 0;
}

// max |a - b|; infinite if one of two different elements is NaN or both are unequal infinities.
template <typename T>
double LargestDifference(const T* a, const T* b, size_t count) {
  double largest = 0;
  for (size_t i = 0; i < count; ++i) {
    // Equal bits are no difference, not even those of a NaN.
    if (SameBits(&a[i], &b[i], 1)) continue;
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    largest = std::max(largest, std::isnan(difference) ? HUGE_VAL : difference);
  }
  return largest;
}

// The square of the Euclidean distance of two rows, or of the norm of one; infinite where a number
// is none.
double SquaredDistance(const float* a, const float* b, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; ++i) {
    const double difference =
        static_cast<double>(a[i]) - (b == nullptr ? 0 : static_cast<double>(b[i]));
    sum += difference * difference;
  }
  return std::isnan(sum) ? HUGE_VAL : sum;
}

// The rows of a table that moved, as they are compared.
class Movement {
 public:
  // Rows with equal ids and different values.
  void Add(int64_t id, const float* left, const float* right, size_t dim) {
    const double moved = SquaredDistance(right, left, dim),
                 norm = SquaredDistance(left, nullptr, dim);
    moved_ += moved;
    norm_ += norm;
    rows_.push_back(
        {id, std::sqrt(moved), std::sqrt(norm), std::sqrt(SquaredDistance(right, nullptr, dim))});
    // The list is cut when it is four times as long as what is shown: memory stays bounded, and
    // sorting costs little a row.
    if (rows_.size() >= 4 * kMovedNamed) Cut();
  }
  void Finish(TableDiff* diff) {
    Cut();
    diff->moved = std::move(rows_);
    diff->relative_change = RelativeChange(moved_, norm_);
  }
  // 0/0 is no change; from 0 to something is infinite.
  static double RelativeChange(double squared_distance, double squared_norm) {
    return squared_distance == 0 ? 0 : std::sqrt(squared_distance / squared_norm);
  }

 private:
  void Cut() {
    std::sort(rows_.begin(), rows_.end(), [](const MovedRow& a, const MovedRow& b) {
      return a.distance != b.distance ? a.distance > b.distance : a.id < b.id;
    });
    if (rows_.size() > kMovedNamed) rows_.resize(kMovedNamed);
  }

  double moved_ = 0, norm_ = 0;  // sums of squares over the rows added
  std::vector<MovedRow> rows_;
};

// Values and state are compared by bits and not by value: checkpoints are promised to be
// bit-identical (laws L3 and L4), -0 and 0 included.
void CompareRows(const Rows& left, const Rows& right, TableDiff* diff, Movement* movement) {
  const auto d = static_cast<size_t>(diff->left_dim), s = static_cast<size_t>(diff->left_state_dim);
  // Two sorted lists are merged: an id on one side alone is counted there.
  size_t i = 0, j = 0;
  while (i < left.order.size() || j < right.order.size()) {
    const bool left_ends = i == left.order.size(), right_ends = j == right.order.size();
    if (right_ends || (!left_ends && left.ids[left.order[i]] < right.ids[right.order[j]])) {
      ++diff->only_left;
      ++i;
    } else if (left_ends || right.ids[right.order[j]] < left.ids[left.order[i]]) {
      ++diff->only_right;
      ++j;
    } else {
      const size_t a = left.order[i++], b = right.order[j++];
      const float *va = left.values.data() + a * d, *vb = right.values.data() + b * d;
      const float *sa = left.states.data() + a * s, *sb = right.states.data() + b * s;
      const bool same_values = SameBits(va, vb, d), same_state = SameBits(sa, sb, s);
      if (!same_values) {
        ++diff->other_values;
        movement->Add(left.ids[a], va, vb, d);
        diff->largest_value = std::max(diff->largest_value, LargestDifference(va, vb, d));
      } else if (!same_state || left.frequency[a] != right.frequency[b] ||
                 left.last_step[a] != right.last_step[b]) {
        // A row whose values differ is not counted here: its state nearly always differs as well.
        ++diff->other_state;
      }
      diff->largest_state = std::max(diff->largest_state, LargestDifference(sa, sb, s));
    }
  }
}

StatusOr<TableDiff> CompareTables(const std::string& name, const Table& left, const Table& right) {
  TableDiff diff;
  diff.table = name;
  diff.left_rows = left.rows();
  diff.right_rows = right.rows();
  diff.left_dim = left.dim();
  diff.right_dim = right.dim();
  diff.left_state_dim = left.state_dim();
  diff.right_state_dim = right.state_dim();
  if (left.dim() != right.dim() || left.state_dim() != right.state_dim()) {
    diff.place = DiffPlace::kOtherShape;
    return diff;
  }
  Movement movement;
  for (int bucket = 0; bucket < kBucketCount; ++bucket) {
    const BucketEntry a = left.bucket(bucket), b = right.bucket(bucket);
    // Digests are in the manifests, so equal buckets are never read. Those of two runs with other
    // numbers of servers can be compared, as a bucket's digest does not depend on its part.
    if (a.rows == b.rows && a.digest == b.digest) continue;
    PEPNET_ASSIGN_OR_RETURN(const Rows left_rows, left.ReadBucket(bucket));
    PEPNET_ASSIGN_OR_RETURN(const Rows right_rows, right.ReadBucket(bucket));
    CompareRows(left_rows, right_rows, &diff, &movement);
    ++diff.buckets;
  }
  movement.Finish(&diff);
  return diff;
}

// Tables by name; candidates are tables of their own, since their rows have other ids.
StatusOr<std::map<std::string, Table>> OpenTables(const std::string& directory,
                                                  const Manifest& manifest,
                                                  const std::string& only) {
  std::map<std::string, Table> tables;
  for (const PartEntry& part : manifest.parts) {
    if (!only.empty() && part.table != only) continue;
    PEPNET_RETURN_IF_ERROR(tables[part.table].AddPart(directory, part));
  }
  for (const PartEntry& part : manifest.candidates) {
    if (!only.empty() && part.table != only) continue;
    PEPNET_RETURN_IF_ERROR(
        tables[absl::StrCat(part.table, ", candidates")].AddPart(directory, part));
  }
  return tables;
}

// The counters of a table's filter, which may stand in several files.
struct Filter {
  int counter_bits = 0;
  std::vector<uint64_t> words;  // bucket after bucket

  int64_t counters() const { return static_cast<int64_t>(words.size()) * (64 / counter_bits); }
};

StatusOr<Filter> ReadFilters(const std::string& directory,
                             const std::vector<FilterEntry>& entries) {
  Filter filter;
  for (const FilterEntry& entry : entries) {
    const FilterEntry& first = entries.front();
    if (entry.counter_bits != first.counter_bits || entry.bucket_words != first.bucket_words) {
      return absl::DataLossError(
          absl::StrCat(directory, "/", entry.file, ": has ", entry.bucket_words, " words of ",
                       entry.counter_bits, "-bit counters a bucket, expected those of ", first.file,
                       ", ", first.bucket_words, " of ", first.counter_bits));
    }
    filter.counter_bits = entry.counter_bits;
    PEPNET_RETURN_IF_ERROR(
        ReadFilter(directory, entry, [&](int bucket, std::span<const uint64_t> words) {
          filter.words.resize(kBucketCount * words.size());
          std::copy(words.begin(), words.end(),
                    filter.words.begin() + bucket * static_cast<ptrdiff_t>(words.size()));
        }));
  }
  return filter;
}

// Of two filters of one shape.
int64_t CountersThatDiffer(const Filter& left, const Filter& right) {
  const uint64_t ones = (uint64_t{1} << left.counter_bits) - 1;
  int64_t count = 0;
  for (size_t i = 0; i < left.words.size(); ++i) {
    uint64_t different = left.words[i] ^ right.words[i];
    for (; different != 0; different >>= left.counter_bits) count += (different & ones) != 0;
  }
  return count;
}

StatusOr<FilterDiff> CompareFilters(const std::string& table, const std::string& left_directory,
                                    const std::vector<FilterEntry>& left_entries,
                                    const std::string& right_directory,
                                    const std::vector<FilterEntry>& right_entries) {
  FilterDiff diff;
  diff.table = table;
  PEPNET_ASSIGN_OR_RETURN(const Filter left, ReadFilters(left_directory, left_entries));
  PEPNET_ASSIGN_OR_RETURN(const Filter right, ReadFilters(right_directory, right_entries));
  diff.counters = (left_entries.empty() ? right : left).counters();
  if (left_entries.empty() || right_entries.empty()) {
    diff.place = left_entries.empty() ? DiffPlace::kOnlyRight : DiffPlace::kOnlyLeft;
  } else if (left.counter_bits != right.counter_bits || left.words.size() != right.words.size()) {
    diff.place = DiffPlace::kOtherShape;
  } else {
    diff.other_counters = CountersThatDiffer(left, right);
  }
  return diff;
}

bool Names(const Manifest& manifest, const char* file) {
  return std::any_of(manifest.files.begin(), manifest.files.end(),
                     [&](const FileEntry& e) { return e.file == file; });
}

// Precondition: equally many elements.
template <typename T>
Status CompareElements(const StatusOr<std::vector<T>>& a, const StatusOr<std::vector<T>>& b,
                       TensorDiff* diff) {
  if (!a.ok()) return a.status();
  if (!b.ok()) return b.status();
  if (SameBits(a->data(), b->data(), a->size())) return absl::OkStatus();
  diff->equal = false;
  diff->largest = LargestDifference(a->data(), b->data(), a->size());
  double moved = 0, norm = 0;
  for (size_t i = 0; i < a->size(); ++i) {
    const double before = static_cast<double>((*a)[i]),
                 difference = static_cast<double>((*b)[i]) - before;
    // Equal bits add nothing: NaN - NaN would make the sum a NaN.
    if (!SameBits(&(*a)[i], &(*b)[i], 1)) moved += difference * difference;
    if (std::isfinite(before)) norm += before * before;
  }
  diff->relative_change = std::isnan(moved) ? HUGE_VAL : Movement::RelativeChange(moved, norm);
  return absl::OkStatus();
}

// A tensor of the same name in both files; the shape must be the same before elements are compared.
StatusOr<TensorDiff> CompareTensor(const std::string& name, const SafetensorsReader& left,
                                   const SafetensorsReader& right) {
  TensorDiff diff;
  diff.name = name;
  diff.equal = false;
  if (!left.Contains(name) || !right.Contains(name)) {
    diff.place = left.Contains(name) ? DiffPlace::kOnlyLeft : DiffPlace::kOnlyRight;
    return diff;
  }
  const TensorInfo &a = left.tensors().at(name), &b = right.tensors().at(name);
  if (a.dtype != b.dtype || a.shape != b.shape) {
    diff.place = DiffPlace::kOtherShape;
    return diff;
  }
  diff.equal = true;
  if (a.dtype == "I64") {  // not through double, which holds 53 bits
    PEPNET_RETURN_IF_ERROR(
        CompareElements(left.ReadIntegers(name), right.ReadIntegers(name), &diff));
  } else {
    PEPNET_RETURN_IF_ERROR(CompareElements(left.ReadDoubles(name), right.ReadDoubles(name), &diff));
  }
  return diff;
}

Status CompareDense(const std::string& left_path, const std::string& right_path,
                    CheckpointDiff* diff) {
  PEPNET_ASSIGN_OR_RETURN(const auto left, SafetensorsReader::Open(left_path));
  PEPNET_ASSIGN_OR_RETURN(const auto right, SafetensorsReader::Open(right_path));
  std::set<std::string> names;
  for (const auto& [name, info] : left->tensors()) names.insert(name);
  for (const auto& [name, info] : right->tensors()) names.insert(name);
  for (const std::string& name : names) {
    PEPNET_ASSIGN_OR_RETURN(TensorDiff tensor, CompareTensor(name, *left, *right));
    // The optimizer state of parameter p stands as p/<slot> beside it.
    const size_t slash = name.rfind('/');
    const bool is_state = slash != std::string::npos && names.contains(name.substr(0, slash));
    ++(is_state ? diff->states : diff->layers);
    if (tensor.equal) continue;
    if (is_state) {
      ++diff->states_changed;
    } else {
      diff->tensors.push_back(std::move(tensor));
    }
  }
  // Layers on one side only, or of another shape, come first, then those that moved most.
  std::stable_sort(diff->tensors.begin(), diff->tensors.end(),
                   [](const TensorDiff& a, const TensorDiff& b) {
                     if ((a.place == DiffPlace::kBoth) != (b.place == DiffPlace::kBoth)) {
                       return b.place == DiffPlace::kBoth;
                     }
                     return a.relative_change > b.relative_change;
                   });
  return absl::OkStatus();
}

// A table that one side lacks: all of its rows are on the other side.
TableDiff OnOneSide(const std::string& name, const Table& table, bool is_left) {
  TableDiff diff;
  diff.table = name;
  diff.place = is_left ? DiffPlace::kOnlyLeft : DiffPlace::kOnlyRight;
  (is_left ? diff.left_rows : diff.right_rows) = table.rows();
  (is_left ? diff.only_left : diff.only_right) = table.rows();
  return diff;
}

}  // namespace

bool TableDiff::equal() const { return place == DiffPlace::kBoth && buckets == 0; }

bool CheckpointDiff::equal() const {
  return std::all_of(tables.begin(), tables.end(),
                     [](const TableDiff& table) { return table.equal(); }) &&
         std::all_of(filters.begin(), filters.end(),
                     [](const FilterDiff& filter) { return filter.equal(); }) &&
         !other_event_times && tensors.empty() && states_changed == 0 && dense == DiffPlace::kBoth;
}

// Tables first, one after the other, then the dense part; names are those of either side, sorted.
StatusOr<CheckpointDiff> DiffCheckpoints(const std::string& left, const std::string& right,
                                         const std::string& table) {
  PEPNET_ASSIGN_OR_RETURN(const Manifest left_manifest, ReadManifest(left));
  PEPNET_ASSIGN_OR_RETURN(const Manifest right_manifest, ReadManifest(right));
  PEPNET_ASSIGN_OR_RETURN(const auto left_tables, OpenTables(left, left_manifest, table));
  PEPNET_ASSIGN_OR_RETURN(const auto right_tables, OpenTables(right, right_manifest, table));
  if (!table.empty() && left_tables.empty() && right_tables.empty()) {
    return absl::NotFoundError(
        absl::StrCat("neither ", left, " nor ", right, " has a table ", table));
  }
  CheckpointDiff diff{left, right, left_manifest.step, right_manifest.step};
  std::set<std::string> names;
  for (const auto& [name, entry] : left_tables) names.insert(name);
  for (const auto& [name, entry] : right_tables) names.insert(name);
  for (const std::string& name : names) {
    const auto a = left_tables.find(name), b = right_tables.find(name);
    if (a == left_tables.end() || b == right_tables.end()) {
      const bool is_left = a != left_tables.end();
      diff.tables.push_back(OnOneSide(name, is_left ? a->second : b->second, is_left));
      continue;
    }
    PEPNET_ASSIGN_OR_RETURN(TableDiff compared, CompareTables(name, a->second, b->second));
    diff.tables.push_back(std::move(compared));
  }
  // Left and right, by table.
  std::map<std::string, std::pair<std::vector<FilterEntry>, std::vector<FilterEntry>>> filters;
  for (const FilterEntry& entry : left_manifest.filters) {
    filters[entry.table].first.push_back(entry);
  }
  for (const FilterEntry& entry : right_manifest.filters) {
    filters[entry.table].second.push_back(entry);
  }
  for (const auto& [name, entries] : filters) {
    if (!table.empty() && name != table) continue;
    PEPNET_ASSIGN_OR_RETURN(FilterDiff compared,
                            CompareFilters(name, left, entries.first, right, entries.second));
    diff.filters.push_back(std::move(compared));
  }
  if (table.empty()) {
    diff.has_event_times =
        !left_manifest.event_times.empty() || !right_manifest.event_times.empty();
    diff.other_event_times = left_manifest.event_times != right_manifest.event_times;
  }
  const bool in_left = Names(left_manifest, kDenseFile),
             in_right = Names(right_manifest, kDenseFile);
  // --table asks for that table alone.
  diff.has_dense = table.empty() && (in_left || in_right);
  if (!diff.has_dense) return diff;
  if (in_left != in_right) {
    diff.dense = in_left ? DiffPlace::kOnlyLeft : DiffPlace::kOnlyRight;
    return diff;
  }
  PEPNET_RETURN_IF_ERROR(CompareDense(absl::StrCat(left, "/", kDenseFile),
                                      absl::StrCat(right, "/", kDenseFile), &diff));
  return diff;
}

}  // namespace pepnet
