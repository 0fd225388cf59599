// Exact grouped AUC (spec 6.1): one AUC per key, averaged without weights over the keys that have both classes.
//
// Threads:   one at a time.
// Order:     the value depends on the set of rows alone, not on their order or on which worker holds them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pepnet {

class GroupedAuc {
 public:
  void Add(int64_t key, float score, bool positive) { rows_.push_back({key, score, positive}); }

  // All rows as bytes, to be merged on one worker: per row key int64, score float, class uint8; little-endian, packed.
  std::string Serialize() const;
  // Adds the rows of another worker; false if `bytes` is not a whole number of rows.
  bool Merge(std::string_view bytes);

  // Mean over keys in ascending order; NaN if no key has both classes or a score is NaN. Sorts the rows.
  double Compute();

 private:
  struct Row {
    int64_t key;
    float score;
    bool positive;
  };
  std::vector<Row> rows_;
};

}  // namespace pepnet
