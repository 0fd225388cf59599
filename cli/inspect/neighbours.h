// The rows of a table that point the way of one row: what the model takes for alike.
//
// Cost:    two passes over the table's rows; memory is that of one record batch.
// Threads: no state.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/inspect/words.h"
#include "common/base/status.h"

namespace pepnet {

struct Neighbour {
  int64_t id = 0;
  double cosine = 0;  // of the angle between the values, from -1 to 1
  double norm = 0;    // Euclidean, of its value
  int64_t frequency = 0;
};

struct Neighbours {
  double norm = 0;         // of the row itself
  int64_t rows = 0;        // compared: all others that have a direction
  double mean_cosine = 0;  // over them: what is usual in this table
  // Largest cosine first, of equal ones the smaller id; without the row itself.
  std::vector<Neighbour> nearest;
};

// The `count` nearest. NotFound if the table has no such row; FailedPrecondition if its value is 0
// or no number, which has no direction. Rows like that are left out.
StatusOr<Neighbours> FindNeighbours(const std::string& directory, const std::string& table,
                                    int64_t id, int64_t count);

std::string NeighboursToText(const std::string& table, const Neighbours& neighbours,
                             const TableWords& words);
std::string NeighboursToJson(const std::string& table, int64_t id, const Neighbours& neighbours,
                             const TableWords& words);  // one object, one line

}  // namespace pepnet
