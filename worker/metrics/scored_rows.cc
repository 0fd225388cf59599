#include "worker/metrics/scored_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/base/logging.h"

namespace pepnet {
namespace {

constexpr size_t kRowBytes = sizeof(int64_t) + 2 * sizeof(float);

// A strict weak order also with NaN, without which std::sort() may run out of the array. Labels
// decide between equal scores, so that equal sets of rows have one order.
bool ScoreComesFirst(const ScoredRow& a, const ScoredRow& b) {
  if (std::isnan(a.score) || std::isnan(b.score)) {
    return std::isnan(b.score) && !std::isnan(a.score);
  }
  return a.score != b.score ? a.score < b.score : a.label < b.label;
}

}  // namespace

// 16 bytes a row without padding (format in the header); every host of a job is little-endian.
std::string ScoredRows::Serialize() const {
  std::string bytes(rows_.size() * kRowBytes, '\0');
  char* out = bytes.data();
  for (const ScoredRow& row : rows_) {
    std::memcpy(out, &row.key, sizeof(row.key));
    std::memcpy(out + sizeof(row.key), &row.score, sizeof(row.score));
    std::memcpy(out + sizeof(row.key) + sizeof(row.score), &row.label, sizeof(row.label));
    out += kRowBytes;
  }
  return bytes;
}

// Fields are copied one by one: bytes of a message need not be aligned.
bool ScoredRows::Merge(std::string_view bytes) {
  if (bytes.size() % kRowBytes != 0) return false;
  rows_.reserve(rows_.size() + bytes.size() / kRowBytes);
  for (const char* in = bytes.data(); in != bytes.data() + bytes.size(); in += kRowBytes) {
    ScoredRow row;
    std::memcpy(&row.key, in, sizeof(row.key));
    std::memcpy(&row.score, in + sizeof(row.key), sizeof(row.score));
    std::memcpy(&row.label, in + sizeof(row.key) + sizeof(row.score), sizeof(row.label));
    rows_.push_back(row);
  }
  return true;
}

Status ScoredRows::GatherToFirst(Collective* collective, const std::string& what) {
  const bool first = collective->index() == 0;
  // Worker 0 has its own rows already and sends itself nothing.
  PEPNET_ASSIGN_OR_RETURN(std::vector<std::string> parts,
                          collective->GatherToFirst(first ? std::string() : Serialize(), what));
  for (std::string& part : parts) {
    CHECK(Merge(part)) << what << ": " << part.size() << " bytes";
    // The bytes are freed as they are read: rows and messages together would take the memory twice.
    part = std::string();
  }
  return absl::OkStatus();
}

bool ScoredRows::HasNanScore() const {
  return std::any_of(rows_.begin(), rows_.end(),
                     [](const ScoredRow& row) { return std::isnan(row.score); });
}

std::span<const ScoredRow> ScoredRows::Sorted() {
  SortByKey(&rows_);
  return rows_;
}

void SortByScore(std::vector<ScoredRow>* rows) {
  std::sort(rows->begin(), rows->end(), ScoreComesFirst);
}

void SortByKey(std::vector<ScoredRow>* rows) {
  std::sort(rows->begin(), rows->end(), [](const ScoredRow& a, const ScoredRow& b) {
    return a.key != b.key ? a.key < b.key : ScoreComesFirst(a, b);
  });
}

std::optional<double> ExactAuc(std::span<const ScoredRow> rows) {
  int64_t positives = 0, negatives = 0;
  double pairs_won = 0;
  for (size_t i = 0; i < rows.size();) {
    const float score = rows[i].score;
    // Rows of one score are taken together: they are half right against each other, and fully right
    // against the negatives below.
    int64_t tied[2] = {0, 0};
    for (; i < rows.size() && rows[i].score == score; ++i) ++tied[rows[i].positive()];
    pairs_won += static_cast<double>(tied[1]) *
                 (static_cast<double>(negatives) + 0.5 * static_cast<double>(tied[0]));
    negatives += tied[0];
    positives += tied[1];
  }
  if (positives == 0 || negatives == 0) return std::nullopt;
  return pairs_won / (static_cast<double>(positives) * static_cast<double>(negatives));
}

}  // namespace pepnet
