#include "cli/bench/timed_table.h"

#include <algorithm>

#include "cli/bench/limits.h"
#include "cli/bench/row_job.h"
#include "common/net/message.h"

namespace pepnet {

TimedTable::TimedTable(const JobConfig& config) : config_(config) {
  tables_.emplace_back(config_.tables[0], config_.train.sparse_optimizer, /*seed=*/1);
}

Status TimedTable::Next(const std::vector<int64_t>& ids, double* pull_seconds,
                        double* push_seconds) {
  // The ticket of a pull, as a server keeps it, made outside of the time: parsing messages is
  // measured by bench service.
  FrameHeader header;
  header.type = MessageType::kPull;
  header.table_count = 1;
  Bytes bytes = MakeFrame(header, PullBodyBytes(1, ids.size()));
  const uint32_t count = static_cast<uint32_t>(ids.size());
  std::copy(ids.begin(), ids.end(), WritePullCounts(bytes, {&count, 1}));
  PEPNET_ASSIGN_OR_RETURN(ParsedFrame frame, ParsedFrame::Parse(std::move(bytes)));
  PEPNET_ASSIGN_OR_RETURN(const PullBody pull, ParsePull(frame));
  Ticket ticket = {std::move(frame), pull, AlignedBuffer<int64_t>(ids.size())};
  values_.Resize(ids.size() * kBenchDim);
  gradients_.Resize(ids.size() * kBenchDim);
  ++step_;
  FillGradients(ids, step_, gradients_.data());

  const double start = SecondsNow();
  tables_[0].Find(ticket.pull.ids, ticket.slots);
  tables_[0].ReadValues(ticket.pull.ids, ticket.slots, values_.data());
  const double pulled = SecondsNow();
  const PushedGradients push = {0, &ticket, gradients_.span()};
  PEPNET_RETURN_IF_ERROR(step_update_.Apply(config_.train.sparse_optimizer, kBenchLr, step_, step_,
                                            {&push, 1}, &tables_));
  *push_seconds += SecondsNow() - pulled;
  *pull_seconds += pulled - start;
  return absl::OkStatus();
}

std::vector<float> TimedTable::Read(const std::vector<int64_t>& ids) const {
  std::vector<int64_t> slots(ids.size());
  std::vector<float> values(ids.size() * kBenchDim);
  tables_[0].Find(ids, slots);
  tables_[0].ReadValues(ids, slots, values.data());
  return values;
}

}  // namespace pepnet
