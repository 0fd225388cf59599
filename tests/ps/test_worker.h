// A worker of the tests: hand-made frames to real servers.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/sparse_optimizer.h"
#include "common/net/message.h"
#include "common/net/transport.h"
#include "proto/wire.pb.h"

namespace pepnet {

using TableIds = std::vector<std::vector<int64_t>>;  // by table: distinct ids
using TableRows = std::vector<std::vector<float>>;   // by table: dim floats per id
// Gradient of element e of a row.
using GradientOf = std::function<float(size_t table, int64_t id, int e)>;

// Tables "user" (1000 rows of 3) and "item" (50 rows of 2) under `kind` with a non-zero
// accumulator, for workers on ranks 0, 1, ...
wire::ServerPlan TwoTablePlan(SparseOptimizerKind kind, int workers);

class TestWorker {
 public:
  TestWorker(Transport* transport, int index, std::vector<int> server_ranks,
             const wire::ServerPlan& plan);

  Status Configure();  // all servers, this worker's plan
  Status SendPull(int64_t step, const TableIds& ids, bool read_only = false);
  // The rows of the oldest open pull of these ids.
  StatusOr<TableRows> ReceiveRows(const TableIds& ids);
  // Of the training pulls from now on: whether a row with a positive label names the id; null: they
  // have no marks.
  void set_clicked(std::function<bool(size_t table, int64_t id)> clicked) {
    clicked_ = std::move(clicked);
  }
  // Of the pushes from now on; 0: their rows have none.
  void set_event_time(int64_t seconds) { event_time_ = seconds; }
  Status SendPush(int64_t step, const TableIds& ids, const GradientOf& gradient, double lr = 0.5,
                  int64_t update = 0);
  // A control request to every server; the bodies of the replies.
  StatusOr<std::vector<std::string>> Call(MessageType type, const std::string& body);

  // One server, any frame.
  Status Send(int server, FrameHeader header, const std::string& body);
  // Error frames become the status.
  StatusOr<ParsedFrame> Receive(int server, Channel channel = Channel::kRows);

 private:
  // Positions in ids[table] of the rows of `server`.
  std::vector<size_t> Route(size_t table, const std::vector<int64_t>& ids, size_t server) const;

  Transport* transport_;
  int index_;
  std::vector<int> server_ranks_;
  wire::ServerPlan plan_;
  int64_t event_time_ = 0;
  std::function<bool(size_t table, int64_t id)> clicked_;
};

}  // namespace pepnet
