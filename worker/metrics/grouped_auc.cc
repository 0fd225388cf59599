#include "worker/metrics/grouped_auc.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace pepnet {
namespace {

constexpr size_t kRowBytes = sizeof(int64_t) + sizeof(float) + 1;

}  // namespace

std::string GroupedAuc::Serialize() const {
  std::string bytes(rows_.size() * kRowBytes, '\0');
  char* out = bytes.data();
  for (const Row& row : rows_) {
    std::memcpy(out, &row.key, sizeof(row.key));
    std::memcpy(out + sizeof(row.key), &row.score, sizeof(row.score));
    out[kRowBytes - 1] = row.positive ? 1 : 0;
    out += kRowBytes;
  }
  return bytes;
}

bool GroupedAuc::Merge(std::string_view bytes) {
  if (bytes.size() % kRowBytes != 0) return false;
  rows_.reserve(rows_.size() + bytes.size() / kRowBytes);
  for (const char* in = bytes.data(); in != bytes.data() + bytes.size(); in += kRowBytes) {
    Row row;
    std::memcpy(&row.key, in, sizeof(row.key));
    std::memcpy(&row.score, in + sizeof(row.key), sizeof(row.score));
    row.positive = in[kRowBytes - 1] != 0;
    rows_.push_back(row);
  }
  return true;
}

// Within a key, with rows in ascending score and a tie counting half (which is what the average rank amounts to):
//   AUC = sum over positives of (negatives below + negatives tied / 2) / (positives * negatives)
double GroupedAuc::Compute() {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  if (std::any_of(rows_.begin(), rows_.end(), [](const Row& row) { return std::isnan(row.score); })) return kNan;
  std::sort(rows_.begin(), rows_.end(),
            [](const Row& a, const Row& b) { return a.key != b.key ? a.key < b.key : a.score < b.score; });
  double sum = 0;
  int64_t keys = 0;
  for (size_t i = 0; i < rows_.size();) {
    const int64_t key = rows_[i].key;
    int64_t positives = 0, negatives = 0;
    double pairs_won = 0;
    while (i < rows_.size() && rows_[i].key == key) {
      const float score = rows_[i].score;
      int64_t tied[2] = {0, 0};
      for (; i < rows_.size() && rows_[i].key == key && rows_[i].score == score; ++i) ++tied[rows_[i].positive];
      pairs_won += static_cast<double>(tied[1]) * (static_cast<double>(negatives) + 0.5 * static_cast<double>(tied[0]));
      negatives += tied[0];
      positives += tied[1];
    }
    if (positives == 0 || negatives == 0) continue;
    sum += pairs_won / (static_cast<double>(positives) * static_cast<double>(negatives));
    ++keys;
  }
  return keys > 0 ? sum / static_cast<double>(keys) : kNan;
}

}  // namespace pepnet
