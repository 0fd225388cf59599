#include "worker/metrics/sliced_sums.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <utility>

#include "common/base/mutant.h"
#include "worker/metrics/gather_numbers.h"

namespace pepnet {
namespace {

// The numbers of a state before its keys: the most slices, slices, scores of a row, waiting rows.
constexpr size_t kHeader = 4;

}  // namespace

void AppendKey(int64_t key, std::vector<double>* out) {
  const auto bits = static_cast<uint64_t>(key);
  out->push_back(static_cast<double>(bits >> 32));
  out->push_back(static_cast<double>(bits & 0xffffffffu));
}

// True for what AppendKey() writes: checkpoints are files, and a cast of anything else would be
// undefined.
bool IsWord(double number) {
  return number >= 0 && number <= 0xffffffffu && number == std::floor(number);
}

int64_t KeyOf(double high, double low) {
  return static_cast<int64_t>(static_cast<uint64_t>(high) << 32 | static_cast<uint64_t>(low));
}

WindowValue ValueOfWindow(const MetricSums& sums, const double* counts, size_t which) {
  WindowValue result;
  // Counts are whole numbers, kept as doubles so that one allreduce sums all.
  result.rows = std::llround(sums.Rows(counts));
  if (const auto positives = sums.Positives(counts)) result.positives = std::llround(*positives);
  result.why_none = sums.WhyNone(counts);
  if (!result.why_none.empty()) return result;
  const double value = sums.Value(counts, which);
  if (std::isfinite(value)) {
    result.value = value;
  } else {
    result.why_none = "it is not finite";
  }
  return result;
}

// A zero is followed by the length of its run: [3, 0, 0, 0, 7] becomes [3, 0, 3, 7].
std::vector<double> WithoutZeros(std::span<const double> numbers) {
  std::vector<double> packed;
  for (size_t i = 0; i < numbers.size();) {
    packed.push_back(numbers[i]);
    if (numbers[i] != 0) {
      ++i;
      continue;
    }
    const size_t begin = i;
    while (i < numbers.size() && numbers[i] == 0) ++i;
    packed.push_back(static_cast<double>(i - begin));
  }
  return packed;
}

std::optional<std::vector<double>> WithZeros(std::span<const double> packed, size_t most) {
  std::vector<double> numbers;
  for (size_t i = 0; i < packed.size(); ++i) {
    const double number = packed[i];
    double run = 1;
    if (number == 0) {
      if (++i == packed.size() || !IsWord(packed[i]) || packed[i] < 1) return std::nullopt;
      run = packed[i];
    }
    // The length is compared before the memory is taken: a damaged one could ask for any amount.
    if (run > static_cast<double>(most - numbers.size())) return std::nullopt;
    numbers.insert(numbers.end(), static_cast<size_t>(run), number);
  }
  return numbers;
}

void SlicedSums::Rows::Add(int64_t key, float label, const float* of_row, int width) {
  keys.push_back(key);
  labels.push_back(label);
  scores.insert(scores.end(), of_row, of_row + width);
}

SlicedSums::SlicedSums(const MetricSums& sums, const Tower* tower, int most_slices)
    : sums_(sums),
      tower_(tower),
      most_slices_(static_cast<size_t>(most_slices)),
      window_(sums.size()),
      last_(sums.size()),
      lifetime_(sums.size()) {}

void SlicedSums::Add(const std::vector<int64_t>& keys, const LabelColumn& label,
                     const TowerScores& scores, const std::vector<int64_t>& groups) {
  width_ = scores.width;
  if (sums_.needs_rows()) {
    for (size_t row = 0; row < keys.size(); ++row) {
      waiting_.Add(keys[row], label.values[row], scores.scores + row * scores.width, scores.width);
    }
    waiting_.groups.insert(waiting_.groups.end(), groups.begin(), groups.end());
    return;
  }
  Rows counted;
  for (size_t row = 0; row < keys.size(); ++row) {
    // A row whose value may still get a slice waits until the workers have agreed at the end of the
    // window; counting it in the rest now would leave it there.
    const bool waits = !full() && slice_of_key_.count(keys[row]) == 0;
    (waits ? waiting_ : counted)
        .Add(keys[row], label.values[row], scores.scores + row * scores.width, scores.width);
  }
  Count(counted);
}

size_t SlicedSums::SliceOf(int64_t key) const {
  const auto found = slice_of_key_.find(key);
  return found == slice_of_key_.end() ? 0 : found->second;
}

void SlicedSums::CountGroups(const Rows& rows) {
  std::vector<std::vector<ScoredRow>> by_slice(keys_.size() + 1);
  const TowerScores scores = {rows.scores.data(), width_};
  for (size_t row = 0; row < rows.keys.size(); ++row) {
    by_slice[SliceOf(rows.keys[row])].push_back(
        {rows.groups[row], scores.One(static_cast<int64_t>(row)), rows.labels[row]});
  }
  for (size_t slice = 0; slice < by_slice.size(); ++slice) {
    if (by_slice[slice].empty()) continue;
    SortByKey(&by_slice[slice]);
    sums_.AddRows(by_slice[slice], window_.data() + slice * sums_.size());
  }
}

void SlicedSums::Count(const Rows& rows) {
  // Rows are sorted by slice first, so that each slice is counted in one call over a dense array.
  std::vector<Rows> by_slice(keys_.size() + 1);
  for (size_t row = 0; row < rows.keys.size(); ++row) {
    by_slice[SliceOf(rows.keys[row])].Add(rows.keys[row], rows.labels[row],
                                          rows.scores.data() + row * width_, width_);
  }
  for (size_t slice = 0; slice < by_slice.size(); ++slice) {
    const auto count = static_cast<int64_t>(by_slice[slice].keys.size());
    if (count == 0) continue;
    LabelColumn label;
    label.values = std::move(by_slice[slice].labels);
    sums_.Add(*tower_, label, {by_slice[slice].scores.data(), width_}, count,
              window_.data() + slice * sums_.size());
  }
}

void SlicedSums::GiveSlice(int64_t key) {
  keys_.push_back(key);
  slice_of_key_[key] = keys_.size();
  // New slices begin with zeros behind those that are there.
  for (std::vector<double>* counts : {&window_, &last_, &lifetime_}) counts->resize(size());
}

// All workers' values without a slice, by rows.
Status SlicedSums::GiveSlices(Collective* collective) {
  if (full()) return absl::OkStatus();  // on every worker
  std::map<int64_t, int64_t> mine;
  // Values and their numbers of rows travel; the rows stay where they are and are counted there.
  for (const int64_t key : waiting_.keys) ++mine[key];
  std::vector<int64_t> pairs;
  for (const auto& [key, rows] : mine) pairs.insert(pairs.end(), {key, rows});
  PEPNET_ASSIGN_OR_RETURN(
      const std::vector<std::string> all,
      collective->Allgather(BytesOf(pairs), "values of the train metrics' slices"));
  std::map<int64_t, int64_t> rows_of_key;
  for (size_t w = 0; w < all.size(); ++w) {
    if (MutantActive(Mutant::kSliceOfOwnValues) && static_cast<int>(w) != collective->index()) {
      continue;
    }
    std::vector<int64_t> theirs;
    PEPNET_RETURN_IF_ERROR(AppendBytes(all[w], "values of slices", &theirs));
    for (size_t i = 0; i + 1 < theirs.size(); i += 2) rows_of_key[theirs[i]] += theirs[i + 1];
  }
  std::vector<std::pair<int64_t, int64_t>> most(rows_of_key.begin(), rows_of_key.end());
  // The map is ascending, so of equal ones the lower key goes first on every worker.
  std::stable_sort(most.begin(), most.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  for (const auto& [key, rows] : most) {
    if (full()) break;
    GiveSlice(key);
  }
  return absl::OkStatus();
}

Status SlicedSums::EndWindow(Collective* collective) {
  PEPNET_RETURN_IF_ERROR(GiveSlices(collective));
  if (!sums_.needs_rows()) {
    Count(std::exchange(waiting_, {}));
  } else {
    if (!MutantActive(Mutant::kGroupsOfOwnRows)) {
      PEPNET_RETURN_IF_ERROR(GatherWaiting(collective));
    }
    // On worker 0 alone: the others have no rows left, and take its sums.
    CountGroups(std::exchange(waiting_, {}));
  }
  PEPNET_RETURN_IF_ERROR(
      collective->AllreduceSum(std::span<double>(window_), "train metrics by slice"));
  for (size_t i = 0; i < window_.size(); ++i) lifetime_[i] += window_[i];
  // The last window is kept for Get(); the new one begins with zeros.
  last_.swap(window_);
  window_.assign(size(), 0);
  return absl::OkStatus();
}

std::vector<SlicedSums::Values> SlicedSums::Get(size_t which) const {
  std::vector<Values> values;
  const auto add = [&](Slice::Kind kind, int64_t key, size_t slice) {
    const size_t at = slice * sums_.size();
    Values one{kind, key, ValueOfWindow(sums_, last_.data() + at, which),
               ValueOfWindow(sums_, lifetime_.data() + at, which)};
    if (one.lifetime.rows > 0) values.push_back(std::move(one));
  };
  for (const auto& [key, slice] : slice_of_key_) add(Slice::Kind::kValue, key, slice);
  std::stable_sort(values.begin(), values.end(), [](const Values& a, const Values& b) {
    return a.lifetime.rows > b.lifetime.rows;
  });
  add(Slice::Kind::kRest, 0, 0);
  return values;
}

Status SlicedSums::Gather(Collective* collective) {
  PEPNET_RETURN_IF_ERROR(
      collective->AllreduceSum(std::span<double>(window_), "train metrics by slice"));
  // Counts that have moved to worker 0 must not be counted a second time at the end of the window.
  if (collective->index() != 0) window_.assign(size(), 0);
  if (full() && !sums_.needs_rows()) return absl::OkStatus();  // no worker has waiting rows
  return GatherWaiting(collective);
}

Status SlicedSums::GatherWaiting(Collective* collective) {
  std::vector<int64_t> widths = {width_};  // of a worker without rows it is 0
  PEPNET_RETURN_IF_ERROR(GatherNumbers(collective, "width of waiting rows", &widths));
  for (const int64_t width : widths) width_ = std::max(width_, static_cast<int>(width));
  PEPNET_RETURN_IF_ERROR(GatherNumbers(collective, "values of waiting rows", &waiting_.keys));
  PEPNET_RETURN_IF_ERROR(GatherNumbers(collective, "labels of waiting rows", &waiting_.labels));
  PEPNET_RETURN_IF_ERROR(GatherNumbers(collective, "scores of waiting rows", &waiting_.scores));
  if (!sums_.needs_rows()) return absl::OkStatus();
  return GatherNumbers(collective, "groups of waiting rows", &waiting_.groups);
}

// The same whenever the rows were gathered: a run that was resumed has gathered some of them
// earlier.
std::vector<size_t> SlicedSums::OrderOfWaiting() const {
  std::vector<size_t> order(waiting_.keys.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto width = static_cast<size_t>(width_);
  const auto scores = [&](size_t row) {
    return std::span<const float>(waiting_.scores).subspan(row * width, width);
  };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    if (waiting_.keys[a] != waiting_.keys[b]) return waiting_.keys[a] < waiting_.keys[b];
    if (sums_.needs_rows() && waiting_.groups[a] != waiting_.groups[b]) {
      return waiting_.groups[a] < waiting_.groups[b];
    }
    if (waiting_.labels[a] != waiting_.labels[b]) return waiting_.labels[a] < waiting_.labels[b];
    const std::span<const float> of_a = scores(a), of_b = scores(b);
    // By their bits, which order NaN, too.
    return std::lexicographical_compare(
        of_a.begin(), of_a.end(), of_b.begin(), of_b.end(),
        [](float x, float y) { return std::bit_cast<uint32_t>(x) < std::bit_cast<uint32_t>(y); });
  });
  return order;
}

// A list of doubles:
//   most slices, slices, width, waiting rows
//   keys of the slices, then of the waiting rows: two numbers each
//   labels of the waiting rows, then their scores, `width` each, then their groups if it has any
//   last window, lifetime, open window of all slices, without zeros
std::vector<double> SlicedSums::State() const {
  std::vector<double> state = {static_cast<double>(most_slices_), static_cast<double>(keys_.size()),
                               static_cast<double>(width_),
                               static_cast<double>(waiting_.keys.size())};
  for (const int64_t key : keys_) AppendKey(key, &state);
  const std::vector<size_t> order = OrderOfWaiting();
  const auto width = static_cast<size_t>(width_);
  for (const size_t row : order) AppendKey(waiting_.keys[row], &state);
  for (const size_t row : order) state.push_back(waiting_.labels[row]);
  for (const size_t row : order) {
    const auto first = waiting_.scores.begin() + static_cast<std::ptrdiff_t>(row * width);
    state.insert(state.end(), first, first + static_cast<std::ptrdiff_t>(width));
  }
  if (sums_.needs_rows()) {
    for (const size_t row : order) AppendKey(waiting_.groups[row], &state);
  }
  std::vector<double> counts = last_;
  counts.insert(counts.end(), lifetime_.begin(), lifetime_.end());
  counts.insert(counts.end(), window_.begin(), window_.end());
  const std::vector<double> packed = WithoutZeros(counts);
  state.insert(state.end(), packed.begin(), packed.end());
  return state;
}

bool SlicedSums::Restore(const std::vector<double>& state, bool first_worker) {
  // Every number is checked before anything is changed: a state that does not fit leaves this
  // object as it was.
  if (state.size() < kHeader || !std::all_of(state.begin(), state.begin() + kHeader, IsWord)) {
    return false;
  }
  // With another limit values of the rest would get a slice behind their first rows.
  if (state[0] != static_cast<double>(most_slices_)) return false;
  const auto slices = static_cast<size_t>(state[1]), width = static_cast<size_t>(state[2]);
  const auto waiting = static_cast<size_t>(state[3]);
  // A row has two numbers for its key, a label, its scores, and two numbers for its group if the
  // metric needs rows; widths are those of TowerScores.
  if (slices > most_slices_ || width > static_cast<size_t>(std::max(2, tower_->num_class))) {
    return false;
  }
  const bool rows = sums_.needs_rows();
  const size_t front = kHeader + 2 * slices + waiting * (3 + width + (rows ? 2 : 0));
  if (front > state.size()) return false;
  if (waiting > 0 && (width == 0 || (slices == most_slices_ && !rows))) return false;
  const size_t counts_size = (slices + 1) * sums_.size();
  const auto counts = WithZeros(std::span<const double>(state).subspan(front), 3 * counts_size);
  if (!counts.has_value() || counts->size() != 3 * counts_size) return false;
  const double* from = state.data() + kHeader;
  std::vector<int64_t> keys;
  for (size_t i = 0; i < slices + waiting; ++i, from += 2) {
    if (!IsWord(from[0]) || !IsWord(from[1])) return false;
    keys.push_back(KeyOf(from[0], from[1]));
  }
  const std::span<const double> groups = std::span<const double>(state).subspan(
      front - (rows ? 2 * waiting : 0), rows ? 2 * waiting : 0);
  if (!std::all_of(groups.begin(), groups.end(), IsWord)) return false;
  const std::vector<int64_t> sliced(keys.begin(),
                                    keys.begin() + static_cast<std::ptrdiff_t>(slices));
  std::vector<int64_t> distinct = sliced;
  std::sort(distinct.begin(), distinct.end());
  if (std::adjacent_find(distinct.begin(), distinct.end()) != distinct.end()) return false;

  for (const int64_t key : sliced) GiveSlice(key);
  const auto part = [&](size_t i) {
    return counts->begin() + static_cast<std::ptrdiff_t>(i * counts_size);
  };
  last_.assign(part(0), part(1));
  lifetime_.assign(part(1), part(2));
  width_ = static_cast<int>(width);
  // The open window is of the whole job (Gather()): worker 0 alone takes it, and the sum at the end
  // of the window counts it once.
  if (!first_worker || MutantActive(Mutant::kResumeForgetsTrainSlices)) return true;
  window_.assign(part(2), part(3));
  waiting_.keys.assign(keys.begin() + static_cast<std::ptrdiff_t>(slices), keys.end());
  for (size_t i = 0; i < waiting; ++i) waiting_.labels.push_back(static_cast<float>(*from++));
  for (size_t i = 0; i < waiting * width; ++i) {
    waiting_.scores.push_back(static_cast<float>(*from++));
  }
  for (size_t i = 0; i < groups.size(); i += 2) {
    waiting_.groups.push_back(KeyOf(groups[i], groups[i + 1]));
  }
  return true;
}

}  // namespace pepnet
