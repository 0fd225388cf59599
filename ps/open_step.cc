#include "ps/open_step.h"

#include <algorithm>
#include <utility>

#include "common/base/logging.h"
#include "common/base/mutant.h"
#include "common/process/trace.h"

namespace pepnet {
namespace {

std::vector<int64_t> TimesToLive(const ServerPlan& plan) {
  std::vector<int64_t> seconds;
  for (const Table& table : plan.tables) seconds.push_back(table.policy.ttl_seconds);
  return seconds;
}

}  // namespace

OpenStep::OpenStep(const ServerPlan* plan, std::vector<TableShard>* tables, ThreadTeam* team)
    : plan_(*plan),
      tables_(*tables),
      step_update_(team),
      clock_(plan->max_event_time_jump, TimesToLive(*plan)),
      applied_(plan->finished_steps),
      tickets_(plan->worker_ranks.size()) {}

void OpenStep::ContinueAfter(int64_t applied) {
  CHECK_EQ(WorkerWithTicket(), -1);
  applied_ = applied;
}

int OpenStep::MissingWorker() const {
  if (tickets_.size() == 1) return 0;
  // Before the first push nobody is late: all workers may be computing.
  if (pushes_.empty()) return -1;
  for (size_t worker = 0; worker < tickets_.size(); ++worker) {
    const bool came = std::any_of(pushes_.begin(), pushes_.end(), [&](const ParsedFrame& push) {
      return WorkerOf(push) == static_cast<int>(worker);
    });
    if (!came) return static_cast<int>(worker);
  }
  return -1;
}

int OpenStep::WorkerWithTicket() const {
  for (size_t worker = 0; worker < tickets_.size(); ++worker) {
    if (tickets_[worker]) return static_cast<int>(worker);
  }
  return -1;
}

void OpenStep::OpenTicket(int worker, Ticket ticket) {
  CHECK(!HasTicket(worker));
  tickets_[worker] = std::move(ticket);
}

Status OpenStep::CheckPush(const FrameHeader& header) const {
  // Every check comes before the push is kept: once it is, Apply() takes its sizes for granted.
  const std::optional<Ticket>& ticket = tickets_[header.sender];
  if (!ticket || header.step != applied_ + 1) {
    return InvalidInput("push without ticket: no pull of this step was answered, ", applied_,
                        " steps are applied");
  }
  for (const ParsedFrame& other : pushes_) {
    if (other.header().sender == header.sender) return InvalidInput("second push of this step");
  }
  const uint64_t expected = GradientFloats(tables_, ticket->pull.counts) * sizeof(float);
  if (header.body_bytes != expected) {
    return InvalidInput("push of ", header.body_bytes, " bytes, the ticket's rows have ", expected);
  }
  if (header.event_time < 0 || header.event_time >= kEndOfEventTime) {
    return InvalidInput("push with event time ", header.event_time, ", expected 0 to ",
                        kEndOfEventTime - 1, " seconds since 1970");
  }
  if (header.update < 1) {
    return InvalidInput("push with update ", header.update, ", expected at least 1");
  }
  // Workers compute rate and update number from the same schedule. A difference means that they
  // have come apart, and any choice between them would train a model that no config describes.
  if (!pushes_.empty()) {
    const FrameHeader& first = pushes_.front().header();
    if (header.lr != first.lr || header.update != first.update) {
      return InvalidInput("push with lr ", header.lr, " and update ", header.update, ", worker ",
                          first.sender, " sent lr ", first.lr, " and update ", first.update);
    }
  }
  return absl::OkStatus();
}

StatusOr<bool> OpenStep::AddPush(ParsedFrame push) {
  const FrameHeader& header = push.header();
  PEPNET_RETURN_IF_ERROR(Annotate(
      CheckPush(header), absl::StrCat("step ", header.step, " of worker ", header.sender)));
  pushes_.push_back(std::move(push));
  // CheckPush() lets each worker push once, so the number alone says that all have come.
  if (pushes_.size() < tickets_.size()) return false;
  PEPNET_RETURN_IF_ERROR(Apply());
  return true;
}

int64_t OpenStep::EventTime() const {
  int64_t time = 0;
  for (const ParsedFrame& push : pushes_) {
    const int64_t of_worker = push.header().event_time;
    time = MutantActive(Mutant::kEventTimeByWorker) ? of_worker : std::max(time, of_worker);
  }
  return time;
}

Status OpenStep::Apply() {
  TraceScope scope("apply step");
  // Float sums depend on their order, and messages arrive in any: law L3 asks for the order of
  // workers.
  if (!MutantActive(Mutant::kSumInArrivalOrder)) {
    std::sort(pushes_.begin(), pushes_.end(),
              [](const ParsedFrame& a, const ParsedFrame& b) { return WorkerOf(a) < WorkerOf(b); });
  }
  if (MutantActive(Mutant::kDivideByWorkers)) {
    for (ParsedFrame& push : pushes_) {
      for (float& gradient : GradientsOf(push)) gradient /= static_cast<float>(pushes_.size());
    }
  }
  std::vector<PushedGradients> gradients;
  for (ParsedFrame& push : pushes_) {
    gradients.push_back({WorkerOf(push), &*tickets_[WorkerOf(push)], GradientsOf(push)});
  }
  const bool timed = plan_.max_event_time_jump > 0;
  // The clock moves before rows change, so that rows which this step finds too old leave at its
  // end. All workers push to all servers, rows or none: every server sees the same times and the
  // same clock.
  if (timed) clock_.Advance(applied_ + 1, EventTime());
  const FrameHeader& header = pushes_.front().header();
  PEPNET_RETURN_IF_ERROR(step_update_.Apply(plan_.optimizer, header.lr, header.update, applied_ + 1,
                                            gradients, &tables_, snapshot_,
                                            timed ? &clock_ : nullptr));
  // Ids, slots and initial values of the step stand in the tickets, so these go when it is applied.
  ++applied_;
  pushes_.clear();
  for (std::optional<Ticket>& ticket : tickets_) ticket.reset();
  VLOG(2) << "step " << applied_ << " applied";
  return absl::OkStatus();
}

}  // namespace pepnet
