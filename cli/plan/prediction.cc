#include "cli/plan/prediction.h"

#include <algorithm>
#include <cmath>

#include "worker/data/rows/reader_group.h"

namespace pepnet {
namespace {

// Bytes that a link carries for each byte of a message: Ethernet, IP and TCP headers of full
// packets (66 bytes for every 1,448).
constexpr double kPacketBytesPerByte = (1448.0 + 66) / 1448;

// The reader runs beside the worker, so it binds only where it is slower. Decoding and passing over
// are done in order, encoding is spread over the reader threads.
void PredictReader(const Workload& load, const Machine& machine, const ClusterPlan& cluster,
                   Prediction* p) {
  const int here = cluster.workers_per_host;
  const ReadShape shape = {load.row_by_row, load.shuffle, load.row_group_rows,
                           static_cast<double>(load.batch_size),
                           static_cast<double>(cluster.hosts) * here};
  const double decode = 1 / machine.decode_rows_per_second, pass = 1 / machine.pass_rows_per_second;
  // The benchmark's rate per core holds both; what decoding alone does not explain is encoding.
  const double encoding = std::max(0.0, 1 / machine.reader_rows_per_second - decode);
  p->shared_reader = ShareByDefault(shape, here);
  p->decoded_per_row =
      p->shared_reader ? DecodedPerRowShared(shape, here) : DecodedPerRowAlone(shape);
  p->passed_per_row = load.row_by_row ? shape.workers - 1 : 0;
  const double decoding =
      decode * (p->shared_reader ? SharedCostPerRow(shape, here) : p->decoded_per_row);
  const double reading = decoding + p->passed_per_row * pass;
  p->reader_cpu_per_row = reading + encoding;
  p->reader_s = shape.batch_size * std::max(reading, encoding / cluster.reader_threads);
}

}  // namespace

Prediction Predict(const Workload& load, const Machine& machine, const ClusterPlan& cluster) {
  const double hosts = cluster.hosts, here = cluster.workers_per_host, workers = hosts * here;
  const double servers = hosts * cluster.servers_per_host;
  const double batch = static_cast<double>(load.batch_size);
  // Share of the rows that lie on servers of other hosts: rows are spread by hash.
  const double away = (hosts - 1) / hosts;

  Prediction p;
  p.worker_s = batch / machine.worker_samples_per_second;
  // In rows of the benchmark's width.
  const double widths = load.row_bytes / sizeof(float) / machine.bench_row_floats;
  p.server_s = workers * widths / servers *
               (1 / machine.pull_rows_per_second + 1 / machine.push_rows_per_second);

  // 2: the rows that a host's servers send to others' workers, and the gradients that its workers
  // send.
  const double rows_out = here * away * 2 * load.row_bytes;
  // A reduce-scatter and an allgather send each worker's share to all others; those of the same
  // host do not use the link.
  const double dense_out = 2 * here * load.dense_bytes * (workers - here) / workers;
  p.row_bytes_per_step = here * away * load.id_bytes + rows_out;
  p.link_bytes_per_step = p.row_bytes_per_step + dense_out;
  // Seconds a byte.
  const double wire = hosts > 1 ? kPacketBytesPerByte / cluster.nic_bytes_per_second : 0;
  p.link_s = (rows_out + dense_out) * wire;
  const double sum_s =
      workers > 1 ? 2 * load.dense_bytes * (workers - 1) / workers / machine.sum_bytes_per_second
                  : 0;
  // Three things may bind the exchange: the link with all its bytes, the rows on the link and then
  // in the servers, or the dense gradients on the link and then their addition.
  p.exchange_s = std::max({p.link_s, rows_out * wire + p.server_s, dense_out * wire + sum_s});

  PredictReader(load, machine, cluster, &p);

  // Rows are exchanged ahead of the step, but in sync mode a pull is answered behind the update of
  // the step before, so work and exchange follow each other.
  p.step_s = std::max(p.worker_s + p.exchange_s, p.reader_s);
  p.samples_per_second = workers * batch / p.step_s;
  p.efficiency = p.worker_s / p.step_s;
  if (p.reader_s >= p.worker_s + p.exchange_s) {
    p.bound_by = "reader";
  } else if (p.worker_s >= p.exchange_s) {
    p.bound_by = "worker";
  } else {
    p.bound_by = p.link_s >= p.server_s ? "link" : "server";
  }
  return p;
}

double ServerBytes(const Workload& load, int servers, double fill) {
  double bytes = 0;
  for (const TableLoad& table : load.tables) {
    bytes += fill * table.rows * BytesPerRow(table.row_bytes) + table.filter_bytes;
  }
  return bytes / servers;
}

int AdviseServersPerHost(const Workload& load, const Machine& machine, ClusterPlan cluster,
                         int most) {
  // A server more costs a core, so the fewest that hardly matter are advised.
  for (int servers = 1; servers < most; ++servers) {
    cluster.servers_per_host = servers;
    const Prediction p = Predict(load, machine, cluster);
    if (p.server_s < 0.1 * p.step_s) return servers;
  }
  return most;
}

}  // namespace pepnet
