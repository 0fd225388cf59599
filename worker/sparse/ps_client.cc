#include "worker/sparse/ps_client.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "common/base/copy_row.h"
#include "common/base/hash.h"
#include "common/base/logging.h"
#include "common/base/partition.h"
#include "proto/wire.pb.h"

namespace pepnet {
namespace {

// Of rows in a reply: sums over all servers still fit.
constexpr int64_t kMaxCount = int64_t{1} << 48;

wire::ServerPlan MakePlan(const JobConfig& config, const std::vector<int>& worker_ranks,
                          uint64_t seed, int64_t finished_steps) {
  // Every server gets the whole plan. It takes its own part from server_index and server_count, so
  // that all servers compute the same split of the buckets.
  wire::ServerPlan plan;
  for (const Table& table : config.tables) {
    wire::TablePlan* out = plan.add_tables();
    out->set_name(table.name);
    out->set_rows(table.rows);
    out->set_dim(table.dim);
    out->set_init_kind(TypeOf(table.initializer.kind).name);
    out->set_init_a(table.initializer.a);
    out->set_init_b(table.initializer.b);
    out->set_init_low(table.initializer.low);
    out->set_init_high(table.initializer.high);
    out->set_trainable(table.trainable);
    out->set_data_type(TypeOf(table.value_kind).name);
    if (!table.policy.is_active()) continue;
    wire::RowPolicyPlan* const policy = out->mutable_policy();
    policy->set_admit_after_steps(table.policy.admit_after_steps);
    policy->set_admit_probability(table.policy.admit_probability);
    policy->set_ttl_steps(table.policy.ttl_steps);
    policy->set_max_rows(table.policy.max_rows);
    policy->set_memory_budget_bytes(table.policy.memory_budget_bytes);
    policy->set_eviction(TypeOf(table.policy.eviction).name);
    policy->set_half_life_steps(table.policy.half_life_steps);
    policy->set_ttl_seconds(table.policy.ttl_seconds);
    policy->set_filter_bytes(table.policy.filter_bytes);
    policy->set_filter_halve_steps(table.policy.filter_halve_steps);
    policy->set_show_weight(table.policy.show_weight);
    policy->set_click_weight(table.policy.click_weight);
  }
  if (config.data.event_time.has_value()) {
    plan.set_max_event_time_jump(config.data.event_time->max_jump_seconds);
  }
  const SparseOptimizer& optimizer = config.train.sparse_optimizer;
  wire::SparseOptimizerPlan* out = plan.mutable_optimizer();
  const SparseOptimizerType& type = TypeOf(optimizer.kind);
  out->set_kind(type.name);
  out->set_state_data_type(TypeOf(optimizer.state_kind).name);
  for (const auto& [name, value] : ParameterValues(type.parameters, optimizer)) {
    (*out->mutable_parameters())[name] = value;
  }
  plan.set_seed(seed);
  for (int rank : worker_ranks) plan.add_worker_ranks(rank);
  plan.set_finished_steps(finished_steps);
  return plan;
}

size_t RouteFloats(const JobConfig& config, const std::vector<Route>& route) {
  size_t floats = 0;
  for (size_t t = 0; t < route.size(); ++t) floats += route[t].count * config.tables[t].dim;
  return floats;
}

// Partitions the ids of one table by server: routes[server] is set.
void PartitionIds(const std::vector<int64_t>& ids, uint64_t table_hash, std::span<Route*> routes) {
  const int servers = static_cast<int>(routes.size());
  // One server holds all buckets. Positions stay empty, which means "in the order of the table" and
  // saves the indirection here, in the gather and in the scatter.
  if (servers == 1) {
    routes[0]->count = ids.size();
    return;
  }
  // The first pass finds each id's server and counts, the second writes positions at their final
  // place. The order within a route stays that of the unique ids, so a row's place in the frame,
  // and with it the sum of its gradients, is a function of the batch alone (law L3).
  std::vector<int32_t> server_of(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    server_of[i] = ServerOfBucket(BucketOf(RowHash(table_hash, ids[i])), servers);
    ++routes[server_of[i]]->count;
  }
  for (Route* route : routes) {
    if (route->count == ids.size()) return;  // one server has all
  }
  std::vector<int32_t*> next;
  for (Route* route : routes) {
    route->positions.resize(route->count);
    next.push_back(route->positions.data());
  }
  for (size_t i = 0; i < ids.size(); ++i) *next[server_of[i]]++ = static_cast<int32_t>(i);
}

// Sets the bits of the ids, in message order, that a row with a positive label names.
void WriteMarks(const std::vector<Route>& routes, const std::vector<std::vector<uint8_t>>& clicked,
                std::span<uint64_t> marks) {
  std::fill(marks.begin(), marks.end(), 0);
  size_t first = 0;  // of the table's ids
  for (size_t t = 0; t < routes.size(); ++t) {
    const Route& route = routes[t];
    for (size_t i = 0; !clicked[t].empty() && i < route.count; ++i) {
      const uint64_t mark =
          clicked[t][route.positions.empty() ? i : static_cast<size_t>(route.positions[i])];
      marks[(first + i) / 64] |= mark << ((first + i) % 64);
    }
    first += route.count;
  }
}

// The rows of a route, from where they stand among those of the table to side by side.
void GatherRows(const Route& route, size_t dim, const float* rows, float* out) {
  if (route.positions.empty()) {
    if (route.count > 0) std::memcpy(out, rows, route.count * dim * sizeof(float));
    return;
  }
  for (size_t i = 0; i < route.count; ++i) {
    CopyRow(rows + size_t(route.positions[i]) * dim, dim, out + i * dim);
  }
}

// Enters where the rows of a route are: row_at(i) is that of its i-th id.
template <typename RowAt>
void PlaceRows(const Route& route, const RowAt& row_at, std::vector<const float*>* rows) {
  for (size_t i = 0; i < route.count; ++i) {
    (*rows)[route.positions.empty() ? i : static_cast<size_t>(route.positions[i])] = row_at(i);
  }
}

}  // namespace

PsClient::PsClient(Transport* transport, const JobConfig* config, std::vector<int> server_ranks,
                   int worker_index, double timeout_s, double phase_timeout_s)
    : transport_(transport),
      config_(config),
      server_ranks_(std::move(server_ranks)),
      worker_index_(worker_index),
      timeout_s_(timeout_s),
      phase_timeout_s_(phase_timeout_s),
      early_rows_(server_ranks_.size()) {
  CHECK(!server_ranks_.empty());
  for (const Table& table : config_->tables) table_hashes_.push_back(HashName(table.name));
}

std::string PsClient::ServerName(int server) const {
  return absl::StrCat("server ", server, " (rank ", server_ranks_[server], ")");
}

StatusOr<ParsedFrame> PsClient::NextFrame(int server, double timeout_s, const std::string& what) {
  auto message = transport_->Receive(Channel::kRows, server_ranks_[server],
                                     After(std::chrono::duration<double>(timeout_s)), what);
  if (!message.ok()) return Annotate(message.status(), ServerName(server));
  // Traffic is counted as it travelled, before unpacking widens it. Evaluation is left out: the
  // counts are reported per training step.
  const size_t travelled = message->body.size();
  PEPNET_ASSIGN_OR_RETURN(ParsedFrame frame, Unpack(std::move(message->body)));
  const FrameHeader& header = frame.header();
  if (header.type == MessageType::kRows && (header.flags & FrameHeader::kReadOnly) == 0) {
    step_traffic_.received += travelled;
  }
  if (header.type == MessageType::kError) {
    return Annotate(ParseErrorFrame(frame), ServerName(server));
  }
  return frame;
}

Status PsClient::SendRows(int server, Bytes frame, bool read_only) {
  frame = Pack(std::move(frame));
  if (!read_only) step_traffic_.sent += frame.size();
  return transport_->Send(Channel::kRequests, server_ranks_[server], std::move(frame));
}

StatusOr<std::vector<ParsedFrame>> PsClient::RequestAll(MessageType type, const std::string& body,
                                                        int64_t step, double timeout_s,
                                                        const std::string& what) {
  FrameHeader header;
  header.type = type;
  header.sender = worker_index_;
  header.step = step;
  // All requests leave before the first reply is awaited: the servers work side by side, and a load
  // takes as long as that of the slowest one.
  for (int rank : server_ranks_) {
    PEPNET_RETURN_IF_ERROR(transport_->Send(Channel::kRequests, rank, MakeFrame(header, body)));
  }
  std::vector<ParsedFrame> replies;
  for (int server = 0; server < server_count(); ++server) {
    // The pull of the next training step may be under way (worker/sparse/prefetcher.h), and its
    // answer may overtake this reply on the same channel. It is kept: dropping it would lose the
    // rows of a step that will be asked for.
    for (;;) {
      PEPNET_ASSIGN_OR_RETURN(ParsedFrame frame, NextFrame(server, timeout_s, what));
      if (frame.header().type != MessageType::kRows) {
        replies.push_back(std::move(frame));
        break;
      }
      // The rows of a pull that is already under way.
      early_rows_[server].push_back(std::move(frame));
    }
  }
  return replies;
}

Status PsClient::Configure(const std::vector<int>& worker_ranks, uint64_t seed,
                           int64_t finished_steps, const std::string& shared_file) {
  wire::ServerPlan plan = MakePlan(*config_, worker_ranks, seed, finished_steps);
  plan.set_server_count(server_count());
  plan.set_shared_file(shared_file);
  plan.set_timeout_s(timeout_s_);
  plan.set_phase_timeout_s(phase_timeout_s_);
  for (int server = 0; server < server_count(); ++server) {
    plan.set_server_index(server);
    FrameHeader header;
    header.type = MessageType::kConfigure;
    header.sender = worker_index_;
    PEPNET_RETURN_IF_ERROR(transport_->Send(Channel::kRequests, server_ranks_[server],
                                            MakeFrame(header, plan.SerializeAsString())));
  }
  for (int server = 0; server < server_count(); ++server) {
    PEPNET_RETURN_IF_ERROR(
        NextFrame(server, timeout_s_, "acknowledgement of the server plan").status());
  }
  return absl::OkStatus();
}

Status PsClient::StartSave(const std::string& directory, int64_t step) {
  wire::SaveRequest request;
  request.set_directory(directory);
  request.set_step(step);
  FrameHeader header;
  header.type = MessageType::kSave;
  header.sender = worker_index_;
  header.step = step;
  for (int rank : server_ranks_) {
    PEPNET_RETURN_IF_ERROR(
        transport_->Send(Channel::kRequests, rank, MakeFrame(header, request.SerializeAsString())));
  }
  return absl::OkStatus();
}

StatusOr<SavedTables> PsClient::FinishSave(int64_t step, const std::atomic<bool>& cancelled) {
  constexpr std::chrono::milliseconds kLook{200};  // how often `cancelled` is looked at
  // One single wait, so that the transport can name the root cause.
  constexpr std::chrono::seconds kLastWait{1};
  const Deadline deadline = After(std::chrono::duration<double>(phase_timeout_s_));
  const std::string what = absl::StrCat("saved rows of step ", step);
  SavedTables saved;
  // Replies come on a channel of their own and are awaited by a thread of their own, so the
  // training goes on meanwhile. Receiving in slices lets that thread notice `cancelled`: when the
  // job fails, no server may ever answer.
  for (int server = 0; server < server_count(); ++server) {
    StatusOr<Message> message = absl::UnknownError("");
    do {
      if (cancelled) {
        return absl::CancelledError(absl::StrCat("the checkpoint of step ", step, " is given up"));
      }
      const bool last = deadline - Clock::now() < kLastWait;
      message = transport_->Receive(Channel::kSave, server_ranks_[server],
                                    last ? deadline : Clock::now() + kLook, what);
    } while (absl::IsDeadlineExceeded(message.status()) && Clock::now() < deadline);
    if (absl::IsDeadlineExceeded(message.status())) {
      return Annotate(message.status(), absl::StrCat(ServerName(server), " had ", phase_timeout_s_,
                                                     " s to write; at their end"));
    }
    if (!message.ok()) return Annotate(message.status(), ServerName(server));
    // Everything in the reply is checked here, before it can reach a manifest: a checkpoint is
    // written from these lines.
    PEPNET_ASSIGN_OR_RETURN(const ParsedFrame frame, ParsedFrame::Parse(std::move(message->body)));
    if (frame.header().type == MessageType::kError) {
      return Annotate(ParseErrorFrame(frame), ServerName(server));
    }
    wire::SaveReply reply;
    if (!reply.ParseFromString(frame.BodyString())) {
      return absl::DataLossError(
          absl::StrCat(ServerName(server), ": its SaveReply cannot be parsed"));
    }
    for (const int64_t count : {reply.rows(), reply.copied_rows(), reply.waits()}) {
      if (count >= 0 && count <= kMaxCount) continue;
      return absl::DataLossError(
          absl::StrCat(ServerName(server), ": its SaveReply counts ", count));
    }
    PEPNET_ASSIGN_OR_RETURN(std::vector<PartEntry> entries,
                            PartEntriesFromJson(reply.parts_json()));
    for (PartEntry& entry : entries) saved.parts.push_back(std::move(entry));
    if (!reply.candidates_json().empty()) {
      PEPNET_ASSIGN_OR_RETURN(entries, PartEntriesFromJson(reply.candidates_json()));
      for (PartEntry& entry : entries) saved.candidates.push_back(std::move(entry));
    }
    if (!reply.filters_json().empty()) {
      PEPNET_ASSIGN_OR_RETURN(const std::vector<FilterEntry> filters,
                              FilterEntriesFromJson(reply.filters_json()));
      saved.filters.insert(saved.filters.end(), filters.begin(), filters.end());
    }
    std::vector<EventPoint> event_times;
    if (!reply.event_times_json().empty()) {
      PEPNET_ASSIGN_OR_RETURN(event_times, EventPointsFromJson(reply.event_times_json()));
    }
    // The event clock follows the workers' pushes, which every server receives; a difference means
    // that the servers do not hold the same step, and the checkpoint would be no state of any step.
    if (server > 0 && event_times != saved.event_times) {
      return absl::InternalError(absl::StrCat(ServerName(server), " has another event time than ",
                                              ServerName(0), " at the end of step ", step));
    }
    saved.event_times = std::move(event_times);
    // Work adds up over the servers, which ran side by side; times and peaks do not, so the largest
    // counts.
    saved.rows += reply.rows();
    saved.copied_rows += reply.copied_rows();
    saved.copied_bytes += reply.copied_bytes();
    saved.waits += reply.waits();
    saved.peak_bytes = std::max(saved.peak_bytes, reply.peak_bytes());
    saved.longest_hold_seconds = std::max(saved.longest_hold_seconds, reply.longest_hold_seconds());
    saved.write_seconds = std::max(saved.write_seconds, reply.write_seconds());
  }
  return saved;
}

Status PsClient::Load(const std::string& directory, int64_t finished_steps, bool with_state,
                      const std::map<std::string, std::string>& table_map) {
  wire::LoadRequest request;
  request.set_directory(directory);
  request.set_finished_steps(finished_steps);
  request.set_with_state(with_state);
  for (const auto& [ours, theirs] : table_map) (*request.mutable_table_map())[ours] = theirs;
  return RequestAll(MessageType::kLoad, request.SerializeAsString(), finished_steps,
                    phase_timeout_s_, absl::StrCat("rows of ", directory))
      .status();
}

StatusOr<std::vector<std::string>> PsClient::Stats(int64_t finished_steps) {
  PEPNET_ASSIGN_OR_RETURN(
      const std::vector<ParsedFrame> replies,
      RequestAll(MessageType::kStats, "", finished_steps, timeout_s_, "server statistics"));
  std::vector<std::string> result;
  for (const ParsedFrame& frame : replies) {
    wire::StatsReply reply;
    if (!reply.ParseFromString(frame.BodyString())) {
      return absl::DataLossError("a server's StatsReply cannot be parsed");
    }
    result.push_back(reply.json());
  }
  return result;
}

Status PsClient::Shutdown() {
  return RequestAll(MessageType::kShutdown, "", 0, timeout_s_, "acknowledgement of the shutdown")
      .status();
}

StatusOr<PullTicket> PsClient::StartPull(const UniqueIds& ids, int64_t step, bool read_only) {
  const size_t table_count = config_->tables.size();
  PullTicket ticket;
  ticket.step = step;
  ticket.read_only = read_only;
  ticket.routes.assign(server_count(), std::vector<Route>(table_count));
  std::vector<Route*> routes(server_count());
  for (size_t t = 0; t < table_count; ++t) {
    ticket.table_sizes.push_back(ids.ids[t].size());
    for (int server = 0; server < server_count(); ++server) {
      routes[server] = &ticket.routes[server][t];
    }
    PartitionIds(ids.ids[t], table_hashes_[t], routes);
  }
  // Every server gets a frame, even one without ids: the push that follows needs the ticket that
  // this pull opens there.
  for (int server = 0; server < server_count(); ++server) {
    std::vector<uint32_t> counts;
    size_t id_count = 0;
    for (const Route& route : ticket.routes[server]) {
      counts.push_back(static_cast<uint32_t>(route.count));
      id_count += route.count;
    }
    FrameHeader header;
    header.type = MessageType::kPull;
    header.sender = worker_index_;
    header.table_count = static_cast<uint32_t>(table_count);
    header.step = step;
    // Evaluation and prediction read the rows as they are (law L5).
    header.flags = read_only ? FrameHeader::kReadOnly : DtypeFlags(wire_dtype_);
    // Pointers travel instead of rows where both sides are threads of one process. With 16 bits on
    // the wire they cannot: the rounding is part of the numbers, the same with and without MPI.
    if (transport_->shares_memory() && DtypeOf(header) == WireDtype::kFloat32) {
      header.flags |= FrameHeader::kByReference;
    }
    const bool marked = !read_only && !ids.clicked.empty();
    if (marked) header.flags |= FrameHeader::kMarked;
    Bytes frame = MakeFrame(header, PullBodyBytes(table_count, id_count, marked));
    int64_t* out = WritePullCounts(frame, counts);
    for (size_t t = 0; t < table_count; ++t) {
      const Route& route = ticket.routes[server][t];
      if (route.positions.empty()) out = std::copy_n(ids.ids[t].data(), route.count, out);
      for (int32_t position : route.positions) *out++ = ids.ids[t][position];
    }
    if (marked) {
      WriteMarks(ticket.routes[server], ids.clicked,
                 {reinterpret_cast<uint64_t*>(out), MarkWords(id_count)});
    }
    PEPNET_RETURN_IF_ERROR(SendRows(server, std::move(frame), read_only));
  }
  return ticket;
}

StatusOr<ParsedFrame> PsClient::ReceiveRows(int server, int64_t step, bool read_only) {
  // The two kinds count differently (the step to come, and the steps that are applied), so the step
  // alone does not tell them apart.
  auto matches = [&](const FrameHeader& header) {
    return header.step == step && ((header.flags & FrameHeader::kReadOnly) != 0) == read_only;
  };
  std::deque<ParsedFrame>& early = early_rows_[server];
  // An evaluation runs between two steps while the pull of the next one is under way, and a server
  // answers each as soon as it can: answers arrive in another order than they are awaited in. At
  // most one training pull waits, so the deque stays short.
  for (auto it = early.begin(); it != early.end(); ++it) {
    if (!matches(it->header())) continue;
    ParsedFrame frame = std::move(*it);
    early.erase(it);
    return frame;
  }
  for (;;) {
    PEPNET_ASSIGN_OR_RETURN(ParsedFrame frame,
                            NextFrame(server, timeout_s_, absl::StrCat("rows of step ", step)));
    const FrameHeader& header = frame.header();
    if (header.type != MessageType::kRows) {
      return absl::InternalError(absl::StrCat(ServerName(server),
                                              " answered a pull with message type ",
                                              static_cast<int>(header.type)));
    }
    if (matches(header)) return frame;
    early.push_back(std::move(frame));
  }
}

Status PsClient::FinishPull(const PullTicket& ticket, PulledRows* rows) {
  rows->Reset(ticket.table_sizes);
  for (int server = 0; server < server_count(); ++server) {
    PEPNET_ASSIGN_OR_RETURN(ParsedFrame frame, ReceiveRows(server, ticket.step, ticket.read_only));
    const std::vector<Route>& routes = ticket.routes[server];
    // From elsewhere a pointer would be any number.
    const bool by_reference =
        transport_->shares_memory() && (frame.header().flags & FrameHeader::kByReference) != 0;
    // The length is compared before anything is read from the body: a server of another build, or
    // with other tables, must not make this worker read past the frame.
    size_t ids = 0;
    for (const Route& route : routes) ids += route.count;
    const size_t expected =
        by_reference ? ids * sizeof(const float*) : RouteFloats(*config_, routes) * sizeof(float);
    // Behind the pointers stand rows that are in no table.
    if (by_reference ? frame.body_bytes() < expected : frame.body_bytes() != expected) {
      return absl::InternalError(absl::StrCat(ServerName(server), " sent ", frame.body_bytes(),
                                              " bytes of rows for step ", ticket.step,
                                              ", expected ", expected));
    }
    const float* const* pointers = reinterpret_cast<const float* const*>(frame.body());
    const float* floats = reinterpret_cast<const float*>(frame.body());
    for (size_t t = 0; t < config_->tables.size(); ++t) {
      const size_t dim = config_->tables[t].dim;
      if (by_reference) {
        PlaceRows(
            routes[t], [&](size_t i) { return pointers[i]; }, &rows->mutable_table(t));
        pointers += routes[t].count;
      } else {
        PlaceRows(
            routes[t], [&](size_t i) { return floats + i * dim; }, &rows->mutable_table(t));
        floats += routes[t].count * dim;
      }
    }
    // The rows are read where they arrived, so the frame lives as long as they do.
    rows->Hold(std::move(frame));
  }
  return absl::OkStatus();
}

Status PsClient::FinishPull(const PullTicket& ticket,
                            std::vector<AlignedBuffer<float>>* table_rows) {
  PulledRows rows;
  PEPNET_RETURN_IF_ERROR(FinishPull(ticket, &rows));
  table_rows->resize(config_->tables.size());
  for (size_t t = 0; t < config_->tables.size(); ++t) {
    const size_t dim = config_->tables[t].dim;
    (*table_rows)[t].Resize(ticket.table_sizes[t] * dim);
    float* out = (*table_rows)[t].data();
    for (const float* row : rows.table(t)) {
      CopyRow(row, dim, out);
      out += dim;
    }
  }
  return absl::OkStatus();
}

RowGradients PsClient::MakeGradients(const PullTicket& ticket) const {
  RowGradients gradients;
  // With one server the message order is the order of the unique ids, table after table. The
  // gradients are then formed in the body of the push, and nothing is copied.
  float* frame_floats = nullptr;
  if (server_count() == 1) {
    gradients.frame =
        MakeFrame(FrameHeader{}, RouteFloats(*config_, ticket.routes[0]) * sizeof(float));
    frame_floats = reinterpret_cast<float*>(FrameBody(gradients.frame));
  }
  for (size_t t = 0; t < config_->tables.size(); ++t) {
    const size_t floats = ticket.table_sizes[t] * static_cast<size_t>(config_->tables[t].dim);
    if (frame_floats != nullptr) {
      gradients.tables.push_back({frame_floats, floats});
      frame_floats += floats;
    } else {
      gradients.tables.push_back(gradients.floats.emplace_back(floats).span());
    }
  }
  return gradients;
}

Status PsClient::Push(const PullTicket& ticket, RowGradients gradients, double lr, int64_t update) {
  // A read-only pull left no ticket on the server: nothing there could say which rows these are.
  CHECK(!ticket.read_only);
  FrameHeader header;
  header.type = MessageType::kPush;
  header.sender = worker_index_;
  header.table_count = static_cast<uint32_t>(config_->tables.size());
  header.step = ticket.step;
  header.lr = lr;
  header.update = update;
  header.event_time = ticket.event_time;
  header.flags = DtypeFlags(wire_dtype_);
  // All tables and servers share one exponent. An exponent of each server would depend on how the
  // rows are spread, and with it the rounding of every gradient (law L3).
  if (wire_dtype_ == WireDtype::kFloat16) {
    header.exponent = Float16Exponent({});
    for (const std::span<float> table : gradients.tables) {
      header.exponent = std::min(header.exponent, Float16Exponent(table));
    }
  }
  // The floats were formed when the header was not known yet; it is written before them now.
  if (!gradients.frame.empty()) {
    SetHeader(header, &gradients.frame);
    return SendRows(0, std::move(gradients.frame), /*read_only=*/false);
  }
  // A push goes to every server, even without a gradient in it: the step is applied when the pushes
  // of all workers have arrived.
  for (int server = 0; server < server_count(); ++server) {
    Bytes frame = MakeFrame(header, RouteFloats(*config_, ticket.routes[server]) * sizeof(float));
    float* out = reinterpret_cast<float*>(FrameBody(frame));
    for (size_t t = 0; t < config_->tables.size(); ++t) {
      const size_t dim = config_->tables[t].dim;
      GatherRows(ticket.routes[server][t], dim, gradients.tables[t].data(), out);
      out += ticket.routes[server][t].count * dim;
    }
    PEPNET_RETURN_IF_ERROR(SendRows(server, std::move(frame), /*read_only=*/false));
  }
  return absl::OkStatus();
}

Status PsClient::Push(const PullTicket& ticket,
                      const std::vector<AlignedBuffer<float>>& row_gradients, double lr,
                      int64_t update) {
  RowGradients gradients = MakeGradients(ticket);
  for (size_t t = 0; t < gradients.tables.size(); ++t) {
    CHECK_EQ(gradients.tables[t].size(), row_gradients[t].size());
    std::copy(row_gradients[t].begin(), row_gradients[t].end(), gradients.tables[t].begin());
  }
  return Push(ticket, std::move(gradients), lr, update);
}

}  // namespace pepnet
