#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "absl/strings/str_format.h"

#include "cli/inspect/inspect.h"
#include "common/base/partition.h"
#include "common/checkpoint/safetensors.h"

namespace pepnet {
namespace {

constexpr int kBucketsNamed = 10;  // how many differing buckets of a table are listed one by one
constexpr const char* kDenseFile = "dense.safetensors";

// The rows of one bucket, copied out of all parts of a table, sorted by id.
struct Rows {
  std::vector<int64_t> ids, frequency, last_step;
  std::vector<float> values, states;
  std::vector<size_t> order;  // indices by id
};

// One table of one checkpoint: its open parts and where each bucket lies.
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
      places_[bucket.bucket].push_back({readers_.size(), first_row, bucket.rows});
      first_row += bucket.rows;
    }
    readers_.push_back(std::move(reader));
    return absl::OkStatus();
  }

  int dim() const { return dim_; }
  int state_dim() const { return state_dim_; }
  int64_t rows() const { return rows_; }
  BucketEntry bucket(int bucket) const {
    const auto found = buckets_.find(bucket);
    return found == buckets_.end() ? BucketEntry{} : found->second;
  }

  StatusOr<Rows> ReadBucket(int bucket) const {
    Rows rows;
    const auto found = places_.find(bucket);
    if (found == places_.end()) return rows;
    for (const Place& place : found->second) {
      PEPNET_RETURN_IF_ERROR(readers_[place.part]->Read(place.first_row, place.rows, [&rows](const RowColumns& run) {
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
    std::sort(rows.order.begin(), rows.order.end(), [&](size_t a, size_t b) { return rows.ids[a] < rows.ids[b]; });
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

struct Difference {
  int64_t only_left = 0, only_right = 0, differ = 0;
  double largest_value = 0, largest_state = 0;
  void Add(const Difference& other) {
    only_left += other.only_left;
    only_right += other.only_right;
    differ += other.differ;
    largest_value = std::max(largest_value, other.largest_value);
    largest_state = std::max(largest_state, other.largest_state);
  }
  std::string ToString() const {
    return absl::StrFormat(
        "%d rows only left, %d only right, %d differ, largest difference of values %.6g, of state %.6g", only_left,
        only_right, differ, largest_value, largest_state);
  }
};

// max |a - b|; infinite if one of two different elements is NaN or both are unequal infinities.
template <typename T>
double LargestDifference(const T* a, const T* b, size_t count) {
  double largest = 0;
  for (size_t i = 0; i < count; ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(T)) == 0) continue;
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    largest = std::max(largest, std::isnan(difference) ? HUGE_VAL : difference);
  }
  return largest;
}

template <typename T>
bool SameBits(const T* a, const T* b, size_t count) {
  return count == 0 || std::memcmp(a, b, count * sizeof(T)) == 0;
}

Difference CompareRows(const Rows& left, const Rows& right, int dim, int state_dim) {
  const auto d = static_cast<size_t>(dim), s = static_cast<size_t>(state_dim);
  Difference result;
  size_t i = 0, j = 0;
  while (i < left.order.size() || j < right.order.size()) {
    const bool left_ends = i == left.order.size(), right_ends = j == right.order.size();
    if (right_ends || (!left_ends && left.ids[left.order[i]] < right.ids[right.order[j]])) {
      ++result.only_left;
      ++i;
    } else if (left_ends || right.ids[right.order[j]] < left.ids[left.order[i]]) {
      ++result.only_right;
      ++j;
    } else {
      const size_t a = left.order[i++], b = right.order[j++];
      const float *va = left.values.data() + a * d, *vb = right.values.data() + b * d;
      const float *sa = left.states.data() + a * s, *sb = right.states.data() + b * s;
      if (SameBits(va, vb, d) && SameBits(sa, sb, s) && left.frequency[a] == right.frequency[b] &&
          left.last_step[a] == right.last_step[b]) {
        continue;
      }
      ++result.differ;
      result.largest_value = std::max(result.largest_value, LargestDifference(va, vb, d));
      result.largest_state = std::max(result.largest_state, LargestDifference(sa, sb, s));
    }
  }
  return result;
}

Status CompareTables(const std::string& name, const Table& left, const Table& right, CheckpointDiff* diff) {
  if (left.dim() != right.dim() || left.state_dim() != right.state_dim()) {
    diff->equal = false;
    absl::StrAppend(&diff->text, name, ": dim ", left.dim(), " and state ", left.state_dim(), " left, dim ",
                    right.dim(), " and state ", right.state_dim(), " right\n");
    return absl::OkStatus();
  }
  Difference total;
  int differing = 0;
  std::string buckets;
  for (int bucket = 0; bucket < kBucketCount; ++bucket) {
    const BucketEntry a = left.bucket(bucket), b = right.bucket(bucket);
    if (a.rows == b.rows && a.digest == b.digest) continue;
    PEPNET_ASSIGN_OR_RETURN(const Rows left_rows, left.ReadBucket(bucket));
    PEPNET_ASSIGN_OR_RETURN(const Rows right_rows, right.ReadBucket(bucket));
    const Difference difference = CompareRows(left_rows, right_rows, left.dim(), left.state_dim());
    total.Add(difference);
    if (++differing <= kBucketsNamed) absl::StrAppend(&buckets, "  bucket ", bucket, ": ", difference.ToString(), "\n");
  }
  if (differing == 0) {
    absl::StrAppend(&diff->text, name, ": equal, ", left.rows(), " rows\n");
    return absl::OkStatus();
  }
  diff->equal = false;
  absl::StrAppend(&diff->text, name, ": ", total.ToString(), ", in ", differing, " of ", kBucketCount, " buckets\n",
                  buckets);
  if (differing > kBucketsNamed) absl::StrAppend(&diff->text, "  and ", differing - kBucketsNamed, " more buckets\n");
  return absl::OkStatus();
}

StatusOr<std::map<std::string, Table>> OpenTables(const std::string& directory, const Manifest& manifest,
                                                  const std::string& only) {
  std::map<std::string, Table> tables;
  for (const PartEntry& part : manifest.parts) {
    if (!only.empty() && part.table != only) continue;
    PEPNET_RETURN_IF_ERROR(tables[part.table].AddPart(directory, part));
  }
  for (const PartEntry& part : manifest.candidates) {
    if (!only.empty() && part.table != only) continue;
    PEPNET_RETURN_IF_ERROR(tables[absl::StrCat(part.table, ", candidates")].AddPart(directory, part));
  }
  return tables;
}

bool Names(const Manifest& manifest, const char* file) {
  return std::any_of(manifest.files.begin(), manifest.files.end(), [&](const FileEntry& e) { return e.file == file; });
}

struct Contrast {
  bool same = false;
  double largest = 0;
};

// Precondition: equally many elements.
template <typename T>
StatusOr<Contrast> Compare(const StatusOr<std::vector<T>>& a, const StatusOr<std::vector<T>>& b) {
  if (!a.ok()) return a.status();
  if (!b.ok()) return b.status();
  return Contrast{SameBits(a->data(), b->data(), a->size()), LargestDifference(a->data(), b->data(), a->size())};
}

Status CompareDense(const std::string& left_path, const std::string& right_path, CheckpointDiff* diff) {
  PEPNET_ASSIGN_OR_RETURN(const auto left, SafetensorsReader::Open(left_path));
  PEPNET_ASSIGN_OR_RETURN(const auto right, SafetensorsReader::Open(right_path));
  std::set<std::string> names;
  for (const auto& [name, info] : left->tensors()) names.insert(name);
  for (const auto& [name, info] : right->tensors()) names.insert(name);
  int equal = 0;
  for (const std::string& name : names) {
    if (!left->Contains(name) || !right->Contains(name)) {
      absl::StrAppend(&diff->text, kDenseFile, " ", name, ": only ", left->Contains(name) ? "left" : "right", "\n");
      continue;
    }
    const TensorInfo &a = left->tensors().at(name), &b = right->tensors().at(name);
    if (a.dtype != b.dtype || a.shape != b.shape) {
      absl::StrAppend(&diff->text, kDenseFile, " ", name, ": dtype or shape differ\n");
      continue;
    }
    Contrast contrast;
    if (a.dtype == "I64") {  // not through double, which holds 53 bits
      PEPNET_ASSIGN_OR_RETURN(contrast, Compare(left->ReadIntegers(name), right->ReadIntegers(name)));
    } else {
      PEPNET_ASSIGN_OR_RETURN(contrast, Compare(left->ReadDoubles(name), right->ReadDoubles(name)));
    }
    if (contrast.same) {
      ++equal;
    } else {
      absl::StrAppendFormat(&diff->text, "%s %s: largest difference %.6g\n", kDenseFile, name, contrast.largest);
    }
  }
  if (equal != static_cast<int>(names.size())) diff->equal = false;
  absl::StrAppend(&diff->text, kDenseFile, ": ", equal, " of ", names.size(), " tensors equal\n");
  return absl::OkStatus();
}

}  // namespace

StatusOr<CheckpointDiff> DiffCheckpoints(const std::string& left, const std::string& right, const std::string& table) {
  PEPNET_ASSIGN_OR_RETURN(const Manifest left_manifest, ReadManifest(left));
  PEPNET_ASSIGN_OR_RETURN(const Manifest right_manifest, ReadManifest(right));
  PEPNET_ASSIGN_OR_RETURN(const auto left_tables, OpenTables(left, left_manifest, table));
  PEPNET_ASSIGN_OR_RETURN(const auto right_tables, OpenTables(right, right_manifest, table));
  if (!table.empty() && left_tables.empty() && right_tables.empty()) {
    return absl::NotFoundError(absl::StrCat("neither ", left, " nor ", right, " has a table ", table));
  }
  CheckpointDiff diff;
  absl::StrAppend(&diff.text, "left ", left, " (step ", left_manifest.step, ")\nright ", right, " (step ",
                  right_manifest.step, ")\n");
  std::set<std::string> names;
  for (const auto& [name, entry] : left_tables) names.insert(name);
  for (const auto& [name, entry] : right_tables) names.insert(name);
  for (const std::string& name : names) {
    const auto a = left_tables.find(name), b = right_tables.find(name);
    if (a == left_tables.end() || b == right_tables.end()) {
      diff.equal = false;
      const bool is_left = a != left_tables.end();
      absl::StrAppend(&diff.text, name, ": only ", is_left ? "left" : "right", ", ",
                      (is_left ? a->second : b->second).rows(), " rows\n");
      continue;
    }
    PEPNET_RETURN_IF_ERROR(CompareTables(name, a->second, b->second, &diff));
  }
  if (table.empty()) {
    const bool in_left = Names(left_manifest, kDenseFile), in_right = Names(right_manifest, kDenseFile);
    if (in_left && in_right) {
      PEPNET_RETURN_IF_ERROR(
          CompareDense(absl::StrCat(left, "/", kDenseFile), absl::StrCat(right, "/", kDenseFile), &diff));
    } else if (in_left != in_right) {
      diff.equal = false;
      absl::StrAppend(&diff.text, kDenseFile, ": only ", in_left ? "left" : "right", "\n");
    }
  }
  absl::StrAppend(&diff.text, diff.equal ? "equal\n" : "different\n");
  return diff;
}

}  // namespace pepnet
