#include "tests/ps/test_worker.h"

#include <cstring>

#include "common/base/partition.h"
#include "common/job_config/table.h"

namespace pepnet {

wire::ServerPlan TwoTablePlan(SparseOptimizerKind kind, int workers) {
  wire::ServerPlan plan;
  for (int t = 0; t < 2; ++t) {
    wire::TablePlan* table = plan.add_tables();
    table->set_name(t == 0 ? "user" : "item");
    table->set_rows(t == 0 ? 1000 : 50);
    table->set_dim(t == 0 ? 3 : 2);
    table->set_init_kind("default");
    table->set_trainable(true);
  }
  SparseOptimizer optimizer;
  optimizer.initial_accumulator_value = 0.25;
  optimizer.beta2 = 0.99;
  plan.mutable_optimizer()->set_kind(TypeOf(kind).name);
  for (const auto& [name, value] : ParameterValues(TypeOf(kind).parameters, optimizer)) {
    (*plan.mutable_optimizer()->mutable_parameters())[name] = value;
  }
  plan.set_seed(11);
  for (int worker = 0; worker < workers; ++worker) plan.add_worker_ranks(worker);
  return plan;
}

TestWorker::TestWorker(Transport* transport, int index, std::vector<int> server_ranks,
                       const wire::ServerPlan& plan)
    : transport_(transport), index_(index), server_ranks_(std::move(server_ranks)), plan_(plan) {}

std::vector<size_t> TestWorker::Route(size_t table, const std::vector<int64_t>& ids,
                                      size_t server) const {
  std::vector<size_t> positions;
  const uint64_t hash = HashName(plan_.tables(static_cast<int>(table)).name());
  const int count = static_cast<int>(server_ranks_.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ServerOfBucket(BucketOf(RowHash(hash, ids[i])), count) == static_cast<int>(server)) {
      positions.push_back(i);
    }
  }
  return positions;
}

Status TestWorker::Send(int server, FrameHeader header, const std::string& body) {
  header.sender = static_cast<uint32_t>(index_);
  return transport_->Send(Channel::kRequests, server_ranks_[server], MakeFrame(header, body));
}

StatusOr<ParsedFrame> TestWorker::Receive(int server, Channel channel) {
  PEPNET_ASSIGN_OR_RETURN(Message message, transport_->Receive(channel, server_ranks_[server],
                                                               After(std::chrono::seconds(20)),
                                                               "a reply of the server"));
  PEPNET_ASSIGN_OR_RETURN(ParsedFrame frame, ParsedFrame::Parse(std::move(message.body)));
  if (frame.header().type == MessageType::kError) return ParseErrorFrame(frame);
  return frame;
}

Status TestWorker::Configure() {
  const int servers = static_cast<int>(server_ranks_.size());
  for (int server = 0; server < servers; ++server) {
    plan_.set_server_index(server);
    plan_.set_server_count(servers);
    FrameHeader header;
    header.type = MessageType::kConfigure;
    PEPNET_RETURN_IF_ERROR(Send(server, header, plan_.SerializeAsString()));
    PEPNET_RETURN_IF_ERROR(Receive(server).status());
  }
  return absl::OkStatus();
}

Status TestWorker::SendPull(int64_t step, const TableIds& ids, bool read_only) {
  for (size_t server = 0; server < server_ranks_.size(); ++server) {
    std::vector<uint32_t> counts;
    std::vector<int64_t> routed;
    std::vector<uint64_t> marks;
    const bool marked = clicked_ != nullptr && !read_only;
    for (size_t t = 0; t < ids.size(); ++t) {
      const std::vector<size_t> route = Route(t, ids[t], server);
      counts.push_back(static_cast<uint32_t>(route.size()));
      for (size_t position : route) {
        marks.resize(MarkWords(routed.size() + 1), 0);
        if (marked && clicked_(t, ids[t][position])) {
          marks.back() |= uint64_t{1} << routed.size() % 64;
        }
        routed.push_back(ids[t][position]);
      }
    }
    FrameHeader header;
    header.type = MessageType::kPull;
    header.sender = static_cast<uint32_t>(index_);
    header.table_count = static_cast<uint32_t>(ids.size());
    header.step = step;
    header.flags = (read_only ? FrameHeader::kReadOnly : 0) | (marked ? FrameHeader::kMarked : 0);
    Bytes frame = MakeFrame(header, PullBodyBytes(counts.size(), routed.size(), marked));
    int64_t* const behind = std::copy(routed.begin(), routed.end(), WritePullCounts(frame, counts));
    if (marked) std::copy(marks.begin(), marks.end(), reinterpret_cast<uint64_t*>(behind));
    PEPNET_RETURN_IF_ERROR(
        transport_->Send(Channel::kRequests, server_ranks_[server], std::move(frame)));
  }
  return absl::OkStatus();
}

StatusOr<TableRows> TestWorker::ReceiveRows(const TableIds& ids) {
  TableRows rows(ids.size());
  for (size_t t = 0; t < ids.size(); ++t) {
    rows[t].resize(ids[t].size() * plan_.tables(static_cast<int>(t)).dim());
  }
  for (size_t server = 0; server < server_ranks_.size(); ++server) {
    PEPNET_ASSIGN_OR_RETURN(const ParsedFrame frame, Receive(static_cast<int>(server)));
    const float* in = reinterpret_cast<const float*>(frame.body());
    const float* end = in + frame.body_bytes() / sizeof(float);
    for (size_t t = 0; t < ids.size(); ++t) {
      const int dim = plan_.tables(static_cast<int>(t)).dim();
      for (size_t position : Route(t, ids[t], server)) {
        if (end - in < dim) return absl::DataLossError("the reply has too few rows");
        std::copy_n(in, dim, rows[t].data() + position * dim);
        in += dim;
      }
    }
    if (in != end) return absl::DataLossError("the reply has too many rows");
  }
  return rows;
}

Status TestWorker::SendPush(int64_t step, const TableIds& ids, const GradientOf& gradient,
                            double lr, int64_t update) {
  for (size_t server = 0; server < server_ranks_.size(); ++server) {
    std::vector<float> gradients;
    for (size_t t = 0; t < ids.size(); ++t) {
      for (size_t position : Route(t, ids[t], server)) {
        for (int e = 0; e < plan_.tables(static_cast<int>(t)).dim(); ++e) {
          gradients.push_back(gradient(t, ids[t][position], e));
        }
      }
    }
    FrameHeader header;
    header.type = MessageType::kPush;
    header.table_count = static_cast<uint32_t>(ids.size());
    header.step = step;
    header.lr = lr;
    header.update = update == 0 ? step : update;
    header.event_time = event_time_;
    const std::string body(reinterpret_cast<const char*>(gradients.data()),
                           gradients.size() * sizeof(float));
    PEPNET_RETURN_IF_ERROR(Send(static_cast<int>(server), header, body));
  }
  return absl::OkStatus();
}

StatusOr<std::vector<std::string>> TestWorker::Call(MessageType type, const std::string& body) {
  FrameHeader header;
  header.type = type;
  for (size_t server = 0; server < server_ranks_.size(); ++server) {
    PEPNET_RETURN_IF_ERROR(Send(static_cast<int>(server), header, body));
  }
  const Channel channel = type == MessageType::kSave ? Channel::kSave : Channel::kRows;
  std::vector<std::string> replies;
  for (size_t server = 0; server < server_ranks_.size(); ++server) {
    PEPNET_ASSIGN_OR_RETURN(const ParsedFrame frame, Receive(static_cast<int>(server), channel));
    replies.push_back(frame.BodyString());
  }
  return replies;
}

}  // namespace pepnet
