#include "worker/model/session_loss.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <unordered_map>

#include "common/base/mutant.h"
#include "common/process/trace.h"

// The rows of a worker travel as the arrays of SessionRows, in the machine's byte order, for each
// loss with sessions in the order of the slots. All workers run one binary, and the number of
// losses is that of the config:
//
//   message = rows u64 | loss *
//   loss    = session i64 * rows | positive u8 * rows | scale f32 * rows | z f32 * 2 rows
namespace pepnet {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

// log sum exp of the values added so far.
class LogSum {
 public:
  void Add(double z) {
    // The sum is kept relative to the largest value so far, so exp() never overflows, in one pass.
    if (z > largest_) {
      sum_ = sum_ * std::exp(largest_ - z) + 1;
      largest_ = z;
    } else {
      sum_ += std::exp(z - largest_);
    }
  }
  double value() const { return sum_ > 0 ? largest_ + std::log(sum_) : kMinusInfinity; }

 private:
  double largest_ = kMinusInfinity, sum_ = 0;
};

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// log(1 + exp(x))
double Softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

template <typename T>
void Append(const std::vector<T>& values, std::string* bytes) {
  bytes->append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

// Takes `count` values from the front of `bytes`, behind those that `values` has; false if there
// are fewer.
template <typename T>
bool Take(uint64_t count, std::string_view* bytes, std::vector<T>* values) {
  if (count > bytes->size() / sizeof(T)) return false;
  const size_t before = values->size();
  values->resize(before + count);
  if (count > 0) std::memcpy(values->data() + before, bytes->data(), count * sizeof(T));
  bytes->remove_prefix(count * sizeof(T));
  return true;
}

SessionRows RowsOf(const JobConfig& config, const LossSlot& slot, const ModelInput& input,
                   const float* z) {
  const Batch& batch = *input.batch;
  SessionRows rows;
  rows.scale = (*input.row_scales)[slot.task];
  rows.z.assign(z, z + 2 * batch.rows);
  const std::vector<int64_t>& labels = batch.labels[config.model.towers[slot.task].label].integers;
  for (int64_t row = 0; row < batch.rows; ++row) {
    const std::span<const int64_t> ids = batch.RowIds(slot.loss->session_feature, row);
    // Rows without a session share number 0.
    rows.session.push_back(ids.empty() ? 0 : ids.front());
    rows.positive.push_back(labels[row] == 1);
  }
  return rows;
}

// The rows of all workers, by loss; `first`: where this worker's begin. Every worker needs all of
// them, since a session may be spread over slices; they come in worker order, which is the order of
// the global batch (laws L2, L3).
Status Gather(Collective* workers, std::vector<SessionRows>* losses, int64_t* first) {
  const TraceScope scope("gather sessions");
  const std::vector<uint64_t> count = {losses->front().session.size()};
  std::string mine;
  Append(count, &mine);
  for (const SessionRows& rows : *losses) {
    Append(rows.session, &mine);
    Append(rows.positive, &mine);
    Append(rows.scale, &mine);
    Append(rows.z, &mine);
  }
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> all,
                          workers->Allgather(mine, "rows of sessions"));
  const size_t number = losses->size();
  losses->assign(number, {});
  for (size_t worker = 0; worker < all.size(); ++worker) {
    if (static_cast<int>(worker) == workers->index()) {
      *first = static_cast<int64_t>(losses->front().session.size());
    }
    std::string_view bytes = all[worker];
    std::vector<uint64_t> rows;
    bool whole = Take(1, &bytes, &rows);
    for (size_t i = 0; whole && i < number; ++i) {
      SessionRows& loss = (*losses)[i];
      whole = Take(rows[0], &bytes, &loss.session) && Take(rows[0], &bytes, &loss.positive) &&
              Take(rows[0], &bytes, &loss.scale) && rows[0] <= bytes.size() &&
              Take(2 * rows[0], &bytes, &loss.z);
    }
    if (!whole || !bytes.empty()) {
      return absl::InternalError(absl::StrCat("the rows of sessions of worker ", worker, " are ",
                                              all[worker].size(),
                                              " bytes, which are not the arrays of ", number,
                                              " losses; do all ranks "
                                              "run the same binary with the same config?"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<LossSlot> LossSlots(const JobConfig& config) {
  std::vector<LossSlot> slots;
  for (size_t task = 0; task < config.model.towers.size(); ++task) {
    const std::vector<Loss>& losses = config.model.towers[task].losses;
    for (size_t i = 0; i < losses.size(); ++i) {
      // A later loss of the same name is what the reference would report; the earlier one is not
      // computed.
      const bool replaced =
          std::any_of(losses.begin() + i + 1, losses.end(),
                      [&](const Loss& later) { return later.name == losses[i].name; });
      if (!replaced) slots.push_back({static_cast<int>(task), &losses[i]});
    }
  }
  return slots;
}

bool HasSessions(const Tower& tower) {
  return std::any_of(tower.losses.begin(), tower.losses.end(),
                     [](const Loss& loss) { return HasSessions(TypeOf(loss.kind)); });
}

// With s(x) = sigmoid(x) and the session's sums
//   D_1 = sum over its rows of label 1 of scale_i s(A - z_i[1])
//   D_0 = sum over those of label 0 of scale_i s(B - z_i[0])
// the gradients are, all times 1 - alpha:
//
//   d/dz_i[1] = -scale_i s(A - z_i[1])    d/dz_i[0] = exp(z_i[0] - B) D_0    where the label is 1
//   d/dz_i[0] = -scale_i s(B - z_i[0])    d/dz_i[1] = exp(z_i[1] - A) D_1    where it is 0
SessionPart RankInSessions(const SessionRows& rows, double share, int64_t begin, int64_t end) {
  // Of class c: the logarithm that rows of the other class are compared with, and what comes back
  // from them.
  struct Session {
    LogSum others[2];  // [1]: A, [0]: B
    double limit[2] = {0, 0};
    double pull[2] = {0, 0};
  };
  const size_t count = rows.session.size();
  std::unordered_map<int64_t, size_t> places;
  std::vector<size_t> place;  // by row
  std::vector<Session> sessions;
  for (size_t i = 0; i < count; ++i) {
    const auto [found, is_new] = places.try_emplace(rows.session[i], sessions.size());
    if (is_new) sessions.emplace_back();
    place.push_back(found->second);
    const int other = 1 - rows.positive[i];
    sessions[place[i]].others[other].Add(rows.z[2 * i + other]);
  }
  // There are three passes over the rows: for the sums of each session, for what its rows give back
  // to the other class, and for the loss and gradient of this worker's rows.
  for (Session& session : sessions) {
    for (const int c : {0, 1}) session.limit[c] = session.others[c].value();
  }
  for (size_t i = 0; i < count; ++i) {
    const int c = rows.positive[i];
    Session& session = sessions[place[i]];
    session.pull[c] +=
        static_cast<double>(rows.scale[i]) * Sigmoid(session.limit[c] - rows.z[2 * i + c]);
  }
  SessionPart part;
  for (size_t i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
    const int c = rows.positive[i];
    const Session& session = sessions[place[i]];
    const double own = session.limit[c] - rows.z[2 * i + c];
    part.losses.push_back(share * Softplus(own));
    double gradient[2];
    gradient[c] = -share * static_cast<double>(rows.scale[i]) * Sigmoid(own);
    // This is the gradient that rows of the other class send to this one; exp(z - limit) is its
    // share of their sum.
    gradient[1 - c] =
        share * std::exp(rows.z[2 * i + 1 - c] - session.limit[1 - c]) * session.pull[1 - c];
    part.gradient.insert(part.gradient.end(),
                         {static_cast<float>(gradient[0]), static_cast<float>(gradient[1])});
  }
  return part;
}

StatusOr<std::vector<SessionPart>> SessionParts(const JobConfig& config,
                                                const std::vector<LossSlot>& slots,
                                                const ModelInput& input,
                                                const std::vector<const float*>& raw_outputs,
                                                Collective* workers) {
  std::vector<SessionPart> parts(slots.size());
  std::vector<size_t> ranked;  // slots with sessions
  std::vector<SessionRows> losses;
  for (size_t slot = 0; slot < slots.size(); ++slot) {
    if (!HasSessions(TypeOf(slots[slot].loss->kind))) continue;
    ranked.push_back(slot);
    losses.push_back(RowsOf(config, slots[slot], input, raw_outputs[slots[slot].task]));
  }
  if (ranked.empty()) return parts;
  int64_t first = 0;
  if (workers != nullptr && workers->count() > 1 && !MutantActive(Mutant::kSessionEndsAtSlice)) {
    PEPNET_RETURN_IF_ERROR(Gather(workers, &losses, &first));
  }
  for (size_t i = 0; i < ranked.size(); ++i) {
    const double share = 1 - slots[ranked[i]].loss->jrc_alpha;
    parts[ranked[i]] = RankInSessions(losses[i], share, first, first + input.batch->rows);
  }
  return parts;
}

}  // namespace pepnet
