// PsClient: one worker's side of the conversation with the servers: one pull and one push message
// per server and step.
//
// One training step, with `ids` of the batch and `gradients` of the rows (both by table):
//
//   PullTicket ticket = *client.StartPull(ids, step, /*read_only=*/false);  // returns at once
//   Status pulled = client.FinishPull(ticket, &rows);  // rows.table(t): dim floats per id
//   RowGradients gradients = client.MakeGradients(ticket);
//   // ... forward and backward; gradients.tables[t]: dim floats per id, side by side ...
//   Status pushed =  // no reply is waited for
//       client.Push(ticket, std::move(gradients), learning_rate, /*update=*/step);
//
// Copies:    none on this side with one server: rows are read where they arrived, gradients are
//            formed in the frame that is sent. Between threads of one process, with float32 on the
//            wire, rows are read in the server's tables themselves.
//
// Steps:     training steps are numbered from 1. The pull of step t may be sent while step t-1 is
//            still being computed; the server answers it once step t-1 is applied. Every training
//            pull must be followed by the push of its step.
// Threads:   one thread at a time; FinishSave() may run on another. Borrows transport and config.
// Deadlines: every wait ends after `timeout_s` with DeadlineExceeded naming server, step and
//            operation.
// Failure:   an error frame of a server becomes this call's Status, with the server's name in
//            front.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "common/base/status.h"
#include "common/checkpoint/event_point.h"
#include "common/checkpoint/filter_part.h"
#include "common/checkpoint/table_part.h"
#include "common/job_config/job_config.h"
#include "common/net/message.h"
#include "common/net/packing.h"
#include "common/net/transport.h"
#include "worker/sparse/pulled_rows.h"
#include "worker/sparse/unique_ids.h"

namespace pepnet {

// The ids of a table that went to one server, in message order.
struct Route {
  size_t count = 0;
  // In UniqueIds::ids[table], ascending; empty where all ids of the table went to this server.
  std::vector<int32_t> positions;
};

// The layout of the replies to a pull, and of its push.
struct PullTicket {
  int64_t step = 0;
  bool read_only = false;
  int64_t event_time = 0;                  // Batch::event_time
  std::vector<std::vector<Route>> routes;  // by server and table
  std::vector<size_t> table_sizes;         // by table: number of unique ids
};

// The gradients of one step's rows on their way into a push. Moves without its floats moving.
struct RowGradients {
  // By table: dim floats per unique id, uninitialised at first.
  std::vector<std::span<float>> tables;

  // The frame that the floats stand in where there is one server, else empty, and the floats
  // themselves.
  Bytes frame;
  std::vector<AlignedBuffer<float>> floats;
};

// The part files of the servers for one checkpoint, and their cost: sums, and the largest of each
// server's largest.
struct SavedTables {
  std::vector<PartEntry> parts, candidates;  // as in the manifest
  std::vector<FilterEntry> filters;
  std::vector<EventPoint> event_times;
  int64_t rows = 0, copied_rows = 0, waits = 0;
  uint64_t copied_bytes = 0, peak_bytes = 0;
  double longest_hold_seconds = 0, write_seconds = 0;
};

class PsClient {
 public:
  // phase_timeout_s: deadline of FinishSave and Load, which grow with the tables.
  PsClient(Transport* transport, const JobConfig* config, std::vector<int> server_ranks,
           int worker_index, double timeout_s, double phase_timeout_s = 7200);

  // Control operations: worker 0 only. Each waits for all servers.
  // `shared_file`: a file that every server must see, proof of a shared file system ("" = not
  // checked).
  Status Configure(const std::vector<int>& worker_ranks, uint64_t seed, int64_t finished_steps,
                   const std::string& shared_file = "");
  // Asks every server to write its rows as of `step` into `directory`, while later steps go on. To
  // be called before the push of step + 1.
  Status StartSave(const std::string& directory, int64_t step);
  // Waits until all servers have written and returns their parts. `cancelled` may be set by another
  // thread to give up.
  StatusOr<SavedTables> FinishSave(int64_t step, const std::atomic<bool>& cancelled);
  Status Load(const std::string& directory, int64_t finished_steps, bool with_state,
              const std::map<std::string, std::string>& table_map);
  // JSON by server, as of `finished_steps`, which the next push must not have followed yet; 0: as
  // things stand.
  StatusOr<std::vector<std::string>> Stats(int64_t finished_steps = 0);
  Status Shutdown();

  // Sends the pulls of `step`. read_only: for eval and predict, as of `step` applied steps; no push
  // follows.
  StatusOr<PullTicket> StartPull(const UniqueIds& ids, int64_t step, bool read_only);
  // Waits for the rows.
  Status FinishPull(const PullTicket& ticket, PulledRows* rows);
  // The same, and copies them: table_rows[t] holds table_sizes[t] * dim floats (resized).
  Status FinishPull(const PullTicket& ticket, std::vector<AlignedBuffer<float>>* table_rows);
  RowGradients MakeGradients(const PullTicket& ticket) const;
  // Sends the gradients of the ticket's rows. `update`: number of this table update, from 1; lr:
  // its rate.
  Status Push(const PullTicket& ticket, RowGradients gradients, double lr, int64_t update);
  // The same with a copy of row_gradients[t], laid out like RowGradients::tables[t].
  Status Push(const PullTicket& ticket, const std::vector<AlignedBuffer<float>>& row_gradients,
              double lr, int64_t update);

  // The encoding of rows and gradients of training steps from now on; float32 at first. All workers
  // choose the same.
  void set_wire_dtype(WireDtype dtype) { wire_dtype_ = dtype; }

  // Whether training reads the rows in the servers' tables, so that none of their bytes travel.
  bool reads_in_place() const {
    return transport_->shares_memory() && wire_dtype_ == WireDtype::kFloat32;
  }

  // Bytes of the training steps' pulls, rows and pushes so far, as they travelled; evaluation and
  // control messages do not count.
  struct StepTraffic {
    uint64_t sent = 0, received = 0;
  };
  const StepTraffic& step_traffic() const { return step_traffic_; }

  int server_count() const { return static_cast<int>(server_ranks_.size()); }

 private:
  // The next frame of `server` that answers (step, read_only); frames for other requests are kept
  // for later.
  StatusOr<ParsedFrame> ReceiveRows(int server, int64_t step, bool read_only);
  // Sends one control request to every server and waits for each reply; rows that come in between
  // are kept.
  StatusOr<std::vector<ParsedFrame>> RequestAll(MessageType type, const std::string& body,
                                                int64_t step, double timeout_s,
                                                const std::string& what);
  // Sends a frame of a training step, or of an evaluation.
  Status SendRows(int server, Bytes frame, bool read_only);
  // Received and unpacked; an error frame is this call's error.
  StatusOr<ParsedFrame> NextFrame(int server, double timeout_s, const std::string& what);
  std::string ServerName(int server) const;

  Transport* transport_;
  const JobConfig* config_;
  std::vector<int> server_ranks_;
  int worker_index_;
  double timeout_s_, phase_timeout_s_;
  WireDtype wire_dtype_ = WireDtype::kFloat32;
  StepTraffic step_traffic_;
  std::vector<uint64_t> table_hashes_;
  // By server: rows that arrived before they were asked for.
  std::vector<std::deque<ParsedFrame>> early_rows_;
};

}  // namespace pepnet
