#include "ps/server.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "nlohmann/json.hpp"

#include "common/base/logging.h"
#include "common/base/partition.h"
#include "common/base/thread_team.h"
#include "common/checkpoint/event_point.h"
#include "common/checkpoint/filter_part.h"
#include "common/file/file.h"
#include "common/net/message.h"
#include "common/net/packing.h"
#include "common/process/trace.h"
#include "proto/wire.pb.h"
#include "ps/load_tables.h"
#include "ps/open_step.h"
#include "ps/pull_rows.h"
#include "ps/server_plan.h"
#include "ps/snapshot.h"
#include "ps/table/row_lifecycle.h"

namespace pepnet {
namespace {

// The rank that waits for a reply, and the header that the reply answers.
struct Asker {
  int rank = -1;
  FrameHeader header;
};

// A request that has been taken apart, once, whether it is served at once or waits in line.
struct Request {
  int source = -1;  // rank
  ParsedFrame frame;
  PullBody pull = {};          // of a kPull that has been checked; borrows from `frame`
  std::string directory = {};  // of a kSave

  const FrameHeader& header() const { return frame.header(); }
  operator Asker() const { return {source, frame.header()}; }
};

bool ReadOnly(const FrameHeader& header) { return (header.flags & FrameHeader::kReadOnly) != 0; }

wire::SaveReply MakeSaveReply(const SavedParts& parts, const std::vector<EventPoint>& event_times,
                              const SnapshotCost& cost) {
  wire::SaveReply reply;
  reply.set_parts_json(PartEntriesToJson(parts.rows));
  if (!parts.candidates.empty()) reply.set_candidates_json(PartEntriesToJson(parts.candidates));
  if (!parts.filters.empty()) reply.set_filters_json(FilterEntriesToJson(parts.filters));
  if (!event_times.empty()) reply.set_event_times_json(EventPointsToJson(event_times));
  reply.set_rows(cost.rows);
  reply.set_copied_rows(cost.copied_rows);
  reply.set_copied_bytes(cost.copied_bytes);
  reply.set_peak_bytes(cost.peak_bytes);
  reply.set_waits(cost.waits);
  reply.set_longest_hold_seconds(cost.longest_hold_seconds);
  reply.set_write_seconds(cost.write_seconds);
  return reply;
}

}  // namespace

struct Server::State {
  State(Transport* transport, JobWatch* watch, int threads) : transport(transport), watch(watch) {
    if (threads > 1) team.emplace(threads, "server");
  }

  StatusOr<Message> NextRequest();
  Status Handle(Message message);
  Status Configure(const Request& request);
  Status HandlePull(Request request);
  Status HandlePush(Request request);
  Status HandleLoad(const Request& request);
  Status Stats(const Request& request);

  Status CheckWorker(const Request& request) const;
  StatusOr<PullBody> CheckPull(const Request& request) const;
  // Serves a request for the rows after `steps` steps: now, or in line until so many are applied.
  // Refuses it if more are.
  Status ServeAfter(int64_t steps, Request request);
  Status ServeWaiting();
  Status AnswerPull(Request request);
  // The reply to a pull; sets slots[i] to that of the i-th id.
  Bytes CopyRows(const Request& request, std::span<int64_t> slots);
  Bytes PointToRows(const Request& request, std::span<int64_t> slots,
                    AlignedBuffer<float>* initial_values);
  // Begins to write; the answer comes when all is on disk, from the snapshot's thread.
  Status StartSave(const Request& request);

  FrameHeader ReplyHeader(const FrameHeader& asked, MessageType type) const;
  Status Send(const Asker& to, Bytes frame) {
    // A checkpoint is answered minutes later, while rows travel: a channel of its own keeps the two
    // apart.
    const Channel channel = to.header.type == MessageType::kSave ? Channel::kSave : Channel::kRows;
    return transport->Send(channel, to.rank, std::move(frame));
  }
  Status Acknowledge(const Asker& to) {
    return Send(to, MakeFrame(ReplyHeader(to.header, MessageType::kAck), size_t{0}));
  }
  Status Refuse(const Asker& to, const Status& reason);
  void TellWorkers(const Status& reason);
  std::string Name() const { return plan ? absl::StrCat("server ", plan->server_index) : "server"; }
  int64_t applied() const { return step->applied(); }

  ThreadTeam* Team() { return team.has_value() ? &*team : nullptr; }

  Transport* const transport;
  JobWatch* const watch;  // may be null
  std::optional<ThreadTeam> team;
  // Set by kConfigure. Before it any other request but kShutdown is refused.
  std::optional<ServerPlan> plan;
  std::vector<TableShard> tables;
  std::optional<OpenStep> step;
  // The last checkpoint, perhaps still being written. It borrows the tables and stands behind them,
  // so that it is destroyed first.
  std::unique_ptr<Snapshot> snapshot;
  std::multimap<int64_t, Request> waiting;  // by the number of applied steps they need
  bool stopped = false;
  int64_t pulls = 0, pulled_rows = 0, unseen_rows = 0, pushes = 0;
};

// ---- replies ------------------------------------------------------------------------------------

// The flags of a pull come back with its rows: they name the number format that Pack() rounds to.
FrameHeader Server::State::ReplyHeader(const FrameHeader& asked, MessageType type) const {
  FrameHeader header;
  header.type = type;
  header.sender = plan ? static_cast<uint32_t>(plan->server_index) : 0;
  header.table_count = asked.table_count;
  header.step = asked.step;
  header.flags = asked.flags;
  return header;
}

Status Server::State::Refuse(const Asker& to, const Status& reason) {
  return Send(
      to, MakeErrorFrame(ReplyHeader(to.header, MessageType::kError), Annotate(reason, Name())));
}

// A fault of the server or of the protocol ends the job: each worker finds the cause where it waits
// next.
void Server::State::TellWorkers(const Status& reason) {
  if (!plan) return;
  FrameHeader header;
  header.sender = static_cast<uint32_t>(plan->server_index);
  header.step = applied();
  for (int rank : plan->worker_ranks) {
    const Status sent = transport->Send(Channel::kRows, rank, MakeErrorFrame(header, reason));
    if (!sent.ok()) VLOG(1) << "rank " << rank << " was not told: " << sent.ToString();
  }
  // A worker waits for a checkpoint on a channel of its own, where the frames above do not arrive.
  for (const auto& [steps, waiter] : waiting) {
    if (waiter.header().type == MessageType::kSave) Refuse(waiter, reason).IgnoreError();
  }
}

// ---- requests -----------------------------------------------------------------------------------

Status Server::State::Handle(Message message) {
  PEPNET_ASSIGN_OR_RETURN(ParsedFrame frame, Unpack(std::move(message.body)));
  const FrameHeader header = frame.header();
  Request request{message.source, std::move(frame)};
  if (header.type == MessageType::kConfigure) {
    const Status status = Configure(request);
    return status.ok() ? Acknowledge(request) : Refuse(request, status);
  }
  if (header.type == MessageType::kShutdown) {
    stopped = true;
    // Requests in line wait for steps that will not come: unanswered, they would wait until their
    // deadlines (law L6).
    for (const auto& [steps, waiter] : waiting) {
      PEPNET_RETURN_IF_ERROR(
          Refuse(waiter, absl::CancelledError(absl::StrCat("shut down before step ", steps))));
    }
    return Acknowledge(request);
  }
  if (!plan) {
    return Refuse(request, absl::FailedPreconditionError(
                               absl::StrCat("message of type ", static_cast<int>(header.type),
                                            " from rank ", request.source, " before kConfigure")));
  }
  switch (header.type) {
    case MessageType::kPull:
      return HandlePull(std::move(request));
    case MessageType::kPush:
      return HandlePush(std::move(request));
    case MessageType::kSave: {
      wire::SaveRequest save;
      if (!save.ParseFromString(request.frame.BodyString())) {
        return Refuse(request, InvalidInput("not a wire::SaveRequest"));
      }
      request.directory = save.directory();
      return ServeAfter(save.step(), std::move(request));
    }
    case MessageType::kLoad: {
      const Status status = HandleLoad(request);
      PEPNET_RETURN_IF_ERROR(status.ok() ? Acknowledge(request) : Refuse(request, status));
      // The load has set applied(), and a pull of the next step may have come before it.
      return ServeWaiting();
    }
    case MessageType::kStats:
      return header.step > 0 ? ServeAfter(header.step, std::move(request)) : Stats(request);
    case MessageType::kConfigure:  // handled above, as kShutdown is
    case MessageType::kShutdown:
    case MessageType::kRows:
    case MessageType::kAck:
    case MessageType::kError:
      break;
  }
  return Refuse(request,
                InvalidInput("message type ", static_cast<int>(header.type), " is not a request"));
}

Status Server::State::Configure(const Request& request) {
  if (plan) {
    return absl::FailedPreconditionError(
        "configured twice; the rows of the first plan would be lost");
  }
  PEPNET_ASSIGN_OR_RETURN(ServerPlan given,
                          ParseServerPlan(request.frame.BodyString(), transport->size()));
  if (!given.shared_file.empty() && !PathExists(given.shared_file)) {
    return absl::FailedPreconditionError(absl::StrCat("does not see ", given.shared_file,
                                                      ", which worker 0 made; model_dir must be "
                                                      "one directory shared by all hosts"));
  }
  plan = std::move(given);
  if (watch != nullptr) {
    if (plan->timeout_s > 0) watch->peers()->SetSilence(plan->timeout_s);
    if (!plan->shared_file.empty()) watch->EnterModelDir(plan->shared_file, /*first=*/false);
  }
  tables = MakeTables(*plan);
  step.emplace(&*plan, &tables, Team());
  VLOG(1) << Name() << " of " << plan->server_count << " holds buckets " << plan->first_bucket
          << " to " << plan->end_bucket - 1 << " of " << tables.size() << " tables for "
          << plan->worker_ranks.size() << " workers";
  return absl::OkStatus();
}

Status Server::State::CheckWorker(const Request& request) const {
  const uint32_t worker = request.header().sender;
  if (worker >= plan->worker_ranks.size() || plan->worker_ranks[worker] != request.source) {
    return InvalidInput("rank ", request.source, " says it is worker ", worker,
                        ", which is not in the plan of ", plan->worker_ranks.size(), " workers");
  }
  return absl::OkStatus();
}

Status Server::State::ServeAfter(int64_t steps, Request request) {
  if (steps > applied()) {
    waiting.emplace(steps, std::move(request));
    return absl::OkStatus();
  }
  // The rows as they were then are gone. Any others would make results depend on arrival (law L3).
  if (steps < applied()) {
    return Refuse(request, absl::FailedPreconditionError(
                               absl::StrCat("the rows after step ", steps, " are wanted, but ",
                                            applied(), " steps are applied")));
  }
  if (request.header().type == MessageType::kSave) return StartSave(request);
  if (request.header().type == MessageType::kStats) return Stats(request);
  return AnswerPull(std::move(request));
}

Status Server::State::ServeWaiting() {
  while (!waiting.empty() && waiting.begin()->first <= applied()) {
    auto first = waiting.extract(waiting.begin());
    PEPNET_RETURN_IF_ERROR(ServeAfter(first.key(), std::move(first.mapped())));
  }
  return absl::OkStatus();
}

// ---- pull ---------------------------------------------------------------------------------------

StatusOr<PullBody> Server::State::CheckPull(const Request& request) const {
  PEPNET_RETURN_IF_ERROR(CheckWorker(request));
  if (request.header().table_count != tables.size()) {
    return InvalidInput("pull for ", request.header().table_count, " tables, the plan has ",
                        tables.size());
  }
  // Ids are checked against the table and against this server's buckets before anything is read: a
  // wrong id is an error with its value, never a clamped row (law L7).
  PEPNET_ASSIGN_OR_RETURN(const PullBody pull, ParsePull(request.frame));
  const bool counts_clicks = std::any_of(tables.begin(), tables.end(), [](const TableShard& table) {
    return table.table().policy.counts_clicks();
  });
  const bool marked = (request.header().flags & FrameHeader::kMarked) != 0;
  if (marked != (counts_clicks && !ReadOnly(request.header()))) {
    return InvalidInput(marked ? "a pull with marks, which no table counts"
                               : "a pull without marks, which a table counts");
  }
  const int64_t* id = pull.ids.data();
  for (size_t t = 0; t < tables.size(); ++t) {
    const Table& table = tables[t].table();
    const IdRange range = IdsOf(table.rows);
    for (const int64_t* end = id + pull.counts[t]; id < end; ++id) {
      if (!range.Contains(*id)) {
        return InvalidInput("id ", *id, " of table ", table.name, " is out of range, expected ",
                            IdRangeText(table.rows));
      }
      // One server owns all buckets: a hash per id is saved.
      if (plan->server_count == 1) continue;
      const int bucket = BucketOf(RowHash(tables[t].table_hash(), *id));
      if (bucket < plan->first_bucket || bucket >= plan->end_bucket) {
        return InvalidInput("id ", *id, " of table ", table.name, " belongs to server ",
                            ServerOfBucket(bucket, plan->server_count));
      }
    }
  }
  return pull;
}

Status Server::State::HandlePull(Request request) {
  const StatusOr<PullBody> pull = CheckPull(request);
  if (!pull.ok()) return Refuse(request, pull.status());
  // The pull borrows from the frame, whose bytes stay where they are while the request waits in
  // line.
  request.pull = *pull;
  const int64_t step = request.header().step;
  if (step < 0) {
    return Refuse(request, InvalidInput("pull of step ", step, ", expected a step from 0"));
  }
  return ServeAfter(ReadOnly(request.header()) ? step : step - 1, std::move(request));
}

Bytes Server::State::CopyRows(const Request& request, std::span<int64_t> slots) {
  const PullBody& pull = request.pull;
  Bytes reply = MakeFrame(ReplyHeader(request.header(), MessageType::kRows),
                          GradientFloats(tables, pull.counts) * sizeof(float));
  CopyPulledRows(&tables, pull, slots, reinterpret_cast<float*>(FrameBody(reply)), Team());
  return reply;
}

// The rows stay where they are; the reply says where. Values of fewer bits have no floats to point
// to and are widened behind the pointers. Body of the frame, and the memory beside it:
//
//   frame   | pointer u64 per id | widened values f32 | initial values f32 (read-only pulls) |
//   ticket  | initial values f32 (pulls of a step): their rows will be made from them      |
//
// Initial values of a step stand in the ticket because the reply goes to the worker, while the rows
// are made when the step is applied.
Bytes Server::State::PointToRows(const Request& request, std::span<int64_t> slots,
                                 AlignedBuffer<float>* initial_values) {
  const PullBody& pull = request.pull;
  RowPointers pointers = PointToPulledRows(&tables, pull, slots, Team());
  const bool in_ticket = !ReadOnly(request.header());
  const size_t behind = in_ticket ? 0 : pointers.all_unseen_floats * sizeof(float);
  Bytes reply =
      MakeFrame(ReplyHeader(request.header(), MessageType::kRows),
                pointers.rows.bytes() + pointers.all_copied_floats * sizeof(float) + behind);
  float* const copies = reinterpret_cast<float*>(FrameBody(reply) + pointers.rows.bytes());
  CopyNarrowRows(tables, pull, slots, copies, &pointers, Team());
  float* unseen = copies + pointers.all_copied_floats;
  if (in_ticket) {
    initial_values->Resize(pointers.all_unseen_floats);
    unseen = initial_values->data();
  }
  ReadUnseenRows(tables, pull, slots, unseen, &pointers, Team());
  // The pointers come last: the two calls above have set those to values that are not in the
  // tables.
  if (!pointers.rows.empty()) {
    std::memcpy(FrameBody(reply), pointers.rows.data(), pointers.rows.bytes());
  }
  return reply;
}

Status Server::State::AnswerPull(Request request) {
  TraceScope scope("answer pull");
  const int worker = static_cast<int>(request.header().sender);
  const bool read_only = ReadOnly(request.header());
  if (!read_only && step->HasTicket(worker)) {
    return Refuse(request,
                  absl::FailedPreconditionError(absl::StrCat("worker ", worker, " pulls step ",
                                                             request.header().step, " twice")));
  }
  const bool by_reference = (request.header().flags & FrameHeader::kByReference) != 0;
  if (by_reference && !transport->shares_memory()) {
    return Refuse(request,
                  InvalidInput("rows are wanted by reference, which needs threads of one process"));
  }
  const PullBody& pull = request.pull;
  AlignedBuffer<int64_t> slots(pull.ids.size());
  AlignedBuffer<float> initial_values;
  Bytes reply = by_reference ? PointToRows(request, slots.span(), &initial_values)
                             : CopyRows(request, slots.span());
  ++pulls;
  pulled_rows += slots.size();
  // Reads of initial values are counted, so that nothing is silent about ids without rows (law L7).
  unseen_rows += std::count(slots.begin(), slots.end(), TableShard::kNoSlot);
  PEPNET_RETURN_IF_ERROR(Send(request, Pack(std::move(reply))));
  if (!read_only) {
    // The frame moves into the ticket: the push names no ids, so they are read from here again.
    step->OpenTicket(worker,
                     {std::move(request.frame), pull, std::move(slots), std::move(initial_values)});
  }
  return absl::OkStatus();
}

Status Server::State::HandlePush(Request request) {
  PEPNET_RETURN_IF_ERROR(CheckWorker(request));
  ++pushes;
  PEPNET_ASSIGN_OR_RETURN(const bool complete, step->AddPush(std::move(request.frame)));
  return complete ? ServeWaiting() : absl::OkStatus();
}

// ---- control ------------------------------------------------------------------------------------

Status Server::State::StartSave(const Request& request) {
  if (snapshot != nullptr && !snapshot->finished()) {
    return Refuse(request,
                  absl::FailedPreconditionError("the checkpoint before is still being written"));
  }
  // The answer is sent from the thread "save", perhaps many steps later: it has copies of what the
  // loop goes on changing, and uses nothing else but the plan and the transport, which any thread
  // may send through.
  const auto answer = [this, to = Asker(request), name = Name(),
                       event_times = step->clock().points()](const StatusOr<SavedParts>& parts,
                                                             const SnapshotCost& cost) {
    Status sent;
    if (parts.ok()) {
      const std::string reply = MakeSaveReply(*parts, event_times, cost).SerializeAsString();
      sent = Send(to, MakeFrame(ReplyHeader(to.header, MessageType::kSave), reply));
    } else {
      sent = Refuse(to, parts.status());
    }
    if (!sent.ok()) {
      LOG(ERROR) << name
                 << ": the outcome of the checkpoint cannot be reported: " << sent.message();
    }
    if (!parts.ok() || !sent.ok()) return;
    VLOG(1) << name << " wrote " << cost.rows << " rows after step " << to.header.step << " in "
            << cost.write_seconds << " s; " << cost.copied_rows << " rows ("
            << cost.copied_bytes / 1e6 << " MB) were copied before they changed, "
            << cost.peak_bytes / 1e6 << " MB at most were held, " << cost.waits
            << " changes waited for memory, a step was held up " << cost.longest_hold_seconds * 1e3
            << " ms at most";
  };
  // The snapshot before this one has ended: slots that it kept become free before the new views are
  // taken, and no view contains a removed row.
  for (TableShard& table : tables) table.KeepErased(false);
  snapshot = std::make_unique<Snapshot>(*plan, tables, applied(), request.directory,
                                        Snapshot::DefaultCopyBytes(tables), answer);
  step->set_snapshot(snapshot.get());
  return absl::OkStatus();
}

Status Server::State::HandleLoad(const Request& request) {
  wire::LoadRequest load;
  if (!load.ParseFromString(request.frame.BodyString())) {
    return InvalidInput("not a wire::LoadRequest");
  }
  constexpr int64_t kMaxSteps = int64_t{1} << 62;  // sums of two still fit
  if (load.finished_steps() < 0 || load.finished_steps() > kMaxSteps) {
    return InvalidInput("load with finished_steps ", load.finished_steps(), ", expected 0 to ",
                        kMaxSteps);
  }
  // The slots of a ticket point into tables that the load replaces.
  if (const int worker = step->WorkerWithTicket(); worker >= 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("load while worker ", worker, " holds the ticket of step ", applied() + 1));
  }
  if (snapshot != nullptr && !snapshot->finished()) {
    return absl::FailedPreconditionError("load while a checkpoint of the rows is being written");
  }
  // The snapshot borrows the tables, so it goes first. OpenStep refers to the vector, which stays.
  step->set_snapshot(nullptr);
  snapshot.reset();
  LoadOptions options;
  options.with_state = load.with_state();
  options.table_map.insert(load.table_map().begin(), load.table_map().end());
  PEPNET_ASSIGN_OR_RETURN(LoadedTables loaded, LoadTables(*plan, load.directory(), options));
  tables = std::move(loaded.tables);
  step->ContinueAfter(load.finished_steps());
  step->clock().Restore(std::move(loaded.event_times));
  int64_t rows = 0;
  for (const TableShard& table : tables) rows += table.size();
  VLOG(1) << Name() << " loaded " << rows << " rows of " << load.directory() << "; " << applied()
          << " steps are finished";
  return absl::OkStatus();
}

Status Server::State::Stats(const Request& request) {
  nlohmann::json json;
  json["rows"] = nlohmann::json::object();
  uint64_t bytes = 0;
  for (const TableShard& table : tables) {
    json["rows"][table.table().name] = table.size();
    bytes += table.memory_bytes();
    if (table.lifecycle() == nullptr) continue;
    const LifecycleCounts& counts = table.lifecycle()->counts();
    nlohmann::json& item = json["lifecycle"][table.table().name];
    item["admitted"] = counts.admitted;
    item["refused"] = counts.refused;
    item["expired"] = counts.expired;
    item["evicted"] = counts.evicted;
    item["candidates"] =
        table.lifecycle()->candidates() != nullptr ? table.lifecycle()->candidates()->size() : 0;
  }
  if (plan->max_event_time_jump > 0) {
    json["event_time"] = {{"now", step->clock().now()},
                          {"limited_steps", step->clock().limited_steps()}};
  }
  json["bytes"] = bytes;
  json["applied_steps"] = applied();
  json["pulls"] = pulls;
  json["pulled_rows"] = pulled_rows;
  json["unseen_rows"] = unseen_rows;
  json["pushes"] = pushes;
  wire::StatsReply reply;
  reply.set_json(json.dump());
  return Send(request, MakeFrame(ReplyHeader(request.header(), MessageType::kStats),
                                 reply.SerializeAsString()));
}

// ---- loop ---------------------------------------------------------------------------------------

Server::Server(Transport* transport, JobWatch* watch, int threads)
    : state_(std::make_unique<State>(transport, watch, threads)) {}
Server::~Server() = default;

// Before the plan comes, the workers may verify a checkpoint for hours; a dead or hung worker is
// noticed all the same.
StatusOr<Message> Server::State::NextRequest() {
  constexpr double kNoDeadlineSeconds = 1e9;
  const bool bounded = watch != nullptr && plan && plan->timeout_s > 0;
  if (plan && watch != nullptr) {
    // Heartbeats carry this to the other ranks: a server that waits for any rank waits in truth for
    // one worker, and the search for the root cause of a failure follows it from there.
    const int missing = step->MissingWorker();
    watch->server_status()->SetStep(applied() + 1);
    watch->server_status()->Expect(missing < 0 ? kAnyRank
                                               : plan->worker_ranks[static_cast<size_t>(missing)]);
  }
  const Clock::time_point start = Clock::now();
  const double wait_s = bounded ? plan->timeout_s : kNoDeadlineSeconds;
  while (true) {
    StatusOr<Message> message =
        transport->Receive(Channel::kRequests, kAnyRank,
                           After(std::chrono::duration<double>(wait_s)), "the next request");
    if (!absl::IsDeadlineExceeded(message.status())) return message;
    const double idle_s = std::chrono::duration<double>(Clock::now() - start).count();
    // A worker may announce a phase at any time, so the question is asked when the short deadline
    // passes.
    if (!bounded || (watch->peers()->PhaseAnnounced() && idle_s < plan->phase_timeout_s)) continue;
    return message;
  }
}

Status Server::Run() {
  Status status = Serve();
  state_->snapshot.reset();  // it answers through the transport
  return status;
}

Status Server::Serve() {
  constexpr std::chrono::duration<double> kFlushWait = std::chrono::seconds(10);
  State& state = *state_;
  while (!state.stopped) {
    StatusOr<Message> message = state.NextRequest();
    if (!message.ok()) return Annotate(message.status(), state.Name());
    const int source = message->source;
    Status status = state.Handle(*std::move(message));
    if (!status.ok()) {
      status = Annotate(status, absl::StrCat(state.Name(), ", message from rank ", source));
      // The process may end right behind this: the frames have to be on their way first. A worker
      // that has died takes none, hence the limit (law L6).
      state.TellWorkers(status);
      const Status flushed = state.transport->Flush(After(kFlushWait));
      if (!flushed.ok()) VLOG(1) << flushed.ToString();
      return status;
    }
  }
  return Annotate(state.transport->Flush(After(kFlushWait)), state.Name());
}

}  // namespace pepnet
