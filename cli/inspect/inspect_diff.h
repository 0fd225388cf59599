// The difference of two checkpoints: by table the rows that one of them lacks and how far the
// others moved, and the counters of its admission filter that differ; by dense layer, without
// optimizer state, how far it moved; whether they know the same event times.
//
// Threads: no state. Memory is that of one bucket, or of a table's filter. Buckets with equal
//          digests are not read.
// Failure: as ReadManifest and TablePartReader. Nothing here verifies checksums: VerifyCheckpoint
// does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "cli/inspect/words.h"
#include "common/base/status.h"

namespace pepnet {

enum class DiffPlace { kBoth, kOnlyLeft, kOnlyRight, kOtherShape };

// A row in both whose value differs: the Euclidean distance, and the norms. Infinite where a number
// is none.
struct MovedRow {
  int64_t id = 0;
  double distance = 0, left_norm = 0, right_norm = 0;
};
inline constexpr size_t kMovedNamed = 10;  // rows of a table, and layers, that are named

struct TableDiff {
  std::string table;  // "<name>, candidates" for ids that are counted and have no row yet
  DiffPlace place = DiffPlace::kBoth;
  int64_t left_rows = 0, right_rows = 0, only_left = 0, only_right = 0;
  int left_dim = 0, right_dim = 0, left_state_dim = 0, right_state_dim = 0;
  int64_t other_values = 0;  // rows in both whose values differ
  int64_t other_state = 0;   // those with equal values and other optimizer state or counters
  int buckets = 0;           // that differ
  // |right - left| / |left| over the rows with other values, as one vector
  double relative_change = 0;
  double largest_value = 0, largest_state = 0;  // differences
  // The kMovedNamed that moved farthest, farthest first.
  std::vector<MovedRow> moved;

  bool equal() const;
};

// The admission filters of a table.
struct FilterDiff {
  std::string table;
  DiffPlace place = DiffPlace::kBoth;
  int64_t counters = 0, other_counters = 0;  // kOnlyLeft, kOnlyRight: those of that side, and 0

  bool equal() const { return place == DiffPlace::kBoth && other_counters == 0; }
};

struct TensorDiff {
  std::string name;
  DiffPlace place = DiffPlace::kBoth;
  bool equal = true;
  // |right - left| / |left|; the largest difference of an element
  double relative_change = 0, largest = 0;
};

struct CheckpointDiff {
  std::string left, right;
  int64_t left_step = 0, right_step = 0;
  std::vector<TableDiff> tables = {};    // by name
  std::vector<FilterDiff> filters = {};  // likewise
  bool has_event_times = false;          // one of the two knows some
  bool other_event_times = false;
  bool has_dense = false;  // the dense part was compared
  DiffPlace dense = DiffPlace::kBoth;
  // Tensors of the network, and of its optimizer state.
  int layers = 0, states = 0, states_changed = 0;
  // Layers that differ, those that moved most first.
  std::vector<TensorDiff> tensors = {};

  // Tables, filters, event times and dense tensors, bit for bit; steps, files and number of parts
  // do not count.
  bool equal() const;
};
// With `table` not empty only that table; NotFound if neither has it.
StatusOr<CheckpointDiff> DiffCheckpoints(const std::string& left, const std::string& right,
                                         const std::string& table = "");

// At most ten lines a table; the last line is "equal" or "different".
std::string DiffToText(const CheckpointDiff& diff, const TableWords& words);
// One object, one line.
std::string DiffToJson(const CheckpointDiff& diff, const TableWords& words);
// "3 of 17 tables and 20 of 36 dense layers differ".
std::string DiffInBrief(const CheckpointDiff& diff);

}  // namespace pepnet
