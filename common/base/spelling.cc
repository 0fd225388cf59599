#include "common/base/spelling.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace pepnet {
namespace {

// Number of insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`. The
// distance of Damerau and Levenshtein in its restricted form: a swapped pair is not edited again.
size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  std::iota(d[0].begin(), d[0].end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      d[i][j] = std::min(
          {d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

// "min_batch_size" is no misspelling of "batch_size": a word like this turns a name into that of
// another thing.
bool AddsTurningWord(const std::string& name, const std::string& candidate) {
  const std::vector<std::string> known = absl::StrSplit(candidate, '_');
  for (const std::string& word : std::vector<std::string>(absl::StrSplit(name, '_'))) {
    const bool turns = word == "min" || word == "max" || word == "no" || word == "num" ||
                       word == "old" || word == "new";
    if (turns && std::find(known.begin(), known.end(), word) == known.end()) return true;
  }
  return false;
}

}  // namespace

std::string NearestName(const std::string& name, const std::vector<std::string>& candidates) {
  std::string nearest;
  size_t best = name.size() / 3 + 2;  // farther away than this is not a typing error
  for (const std::string& candidate : candidates) {
    const size_t distance = EditDistance(name, candidate);
    if (distance < best && !AddsTurningWord(name, candidate)) {
      best = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

std::string Suggestion(const std::string& name, const std::vector<std::string>& candidates) {
  const std::string nearest = NearestName(name, candidates);
  return nearest.empty() ? "" : absl::StrCat(" (did you mean \"", nearest, "\"?)");
}

}  // namespace pepnet
