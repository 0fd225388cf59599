// OpenStep: the step under way: tickets of the answered pulls and the pushes that have come, until
// all have.
//
// Steps are numbered 1, 2, ...; applied() of them are in the tables. The pull of step t is answered
// while applied() == t - 1 and a push needs the ticket of its pull, so tickets and pushes always
// belong to step applied() + 1.
// Threads: one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "ps/event_clock.h"
#include "ps/server_plan.h"
#include "ps/step_update.h"

namespace pepnet {

class OpenStep {
 public:
  // Borrows them; they outlive this object. `team`: shares out the tables of a step; may be null.
  OpenStep(const ServerPlan* plan, std::vector<TableShard>* tables, ThreadTeam* team = nullptr);

  int64_t applied() const { return applied_; }
  // Continues after `applied` steps. Precondition: no ticket is open.
  void ContinueAfter(int64_t applied);
  // A worker with an open ticket, or -1.
  int WorkerWithTicket() const;
  // The worker that the step waits for: the only one, or the first whose push is missing while
  // others have come; else -1.
  int MissingWorker() const;
  bool HasTicket(int worker) const { return tickets_[worker].has_value(); }
  // Precondition: the worker has no ticket.
  void OpenTicket(int worker, Ticket ticket);

  // The event time of the steps that are applied.
  EventClock& clock() { return clock_; }
  const EventClock& clock() const { return clock_; }

  // A checkpoint that is being written: rows are saved from change until it is closed. nullptr:
  // none. Borrows.
  void set_snapshot(Snapshot* snapshot) { snapshot_ = snapshot; }

  // Takes the push of worker header().sender (a worker of the plan). True if it was the last one,
  // and the step is applied. An error (no ticket, wrong size, rates that differ between workers)
  // leaves the job without a way on: a push has no reply.
  StatusOr<bool> AddPush(ParsedFrame push);

 private:
  static int WorkerOf(const ParsedFrame& push) { return static_cast<int>(push.header().sender); }
  static std::span<float> GradientsOf(ParsedFrame& push) {
    return {reinterpret_cast<float*>(push.body()), push.body_bytes() / sizeof(float)};
  }
  Status CheckPush(const FrameHeader& header) const;
  // The latest event time of the rows of the step; 0: none has one.
  int64_t EventTime() const;
  Status Apply();

  const ServerPlan& plan_;
  std::vector<TableShard>& tables_;
  StepUpdate step_update_;
  Snapshot* snapshot_ = nullptr;
  EventClock clock_;
  int64_t applied_;
  std::vector<std::optional<Ticket>> tickets_;  // by worker
  std::vector<ParsedFrame> pushes_;             // by arrival
};

}  // namespace pepnet
