// Prediction of a cluster: time, bytes and memory of a step, from a workload and the speeds of its
// machines.
//
// The model (docs/capacity.md derives it). H hosts with W workers and S servers each, N = H W
// workers; R bytes of rows and I bytes of ids a worker asks for in a step, D bytes of dense
// parameters. Rows and servers are spread evenly; (H-1)/H of the row traffic leaves a host.
//   link(out) = W (H-1)/H (I + 2 R) + 2 W D (N-W)/N         ids, pushes and answers to others go
//                                                           out, and both rounds of the sum
//   worker    = batch / samples per second
//   server    = N rows / (H S) (1/pull rate + 1/push rate)
//   exchange  = max(link / bandwidth, R-part of the link / bandwidth + server,
//                   D-part / bandwidth + local sum)
//   reader    = batch * max(reading, encoding / reader threads) a row, beside the worker:
//               reading = decoded rows / decoding rate + passed rows / passing rate, on one thread
//               encoding = 1 / rate of files to batches - 1 / decoding rate
//               decoded and passed rows for each row used: worker/data/rows/reader_group.h; where
//               the workers of a host share (Parquet, --share_reader=auto), decoding is replaced by
//               SharedCostPerRow
//   step      = max(worker + exchange, reader)
// The ids of the next step travel while the worker computes, so only what must happen between two
// computations is added.
#pragma once

#include <string>

#include "cli/plan/machine.h"
#include "cli/plan/workload.h"

namespace pepnet {

struct ClusterPlan {
  int hosts = 1;
  int workers_per_host = 1;
  int servers_per_host = 1;
  double nic_bytes_per_second = 0;  // each way; one host does not use it
  int reader_threads = 1;           // of a worker for encoding (num_workers), with a core each
};

struct Prediction {
  double worker_s = 0, server_s = 0, link_s = 0, exchange_s = 0, reader_s = 0, step_s = 0;
  double samples_per_second = 0;
  double efficiency = 0;           // of hosts * workers_per_host times one worker alone
  double link_bytes_per_step = 0;  // of one host, each way
  double row_bytes_per_step = 0;   // the part of ids, rows and gradients
  double decoded_per_row = 1;      // rows that a worker decodes for each row it trains on
  double passed_per_row = 0;       // CSV: rows that it skips
  bool shared_reader = false;      // the workers of a host decode together
  double reader_cpu_per_row = 0;   // processor seconds of all its threads
  std::string bound_by;            // "worker", "server", "link" or "reader"
};
Prediction Predict(const Workload& load, const Machine& machine, const ClusterPlan& cluster);

// Bytes of one server's rows when every table has `fill` of its rows.
double ServerBytes(const Workload& load, int servers, double fill);

// The fewest servers per host (up to `most`) with which servers cost less than a tenth of the step.
int AdviseServersPerHost(const Workload& load, const Machine& machine, ClusterPlan cluster,
                         int most);

}  // namespace pepnet
