#include "tests/laws/stand_in_cluster.h"

#include <bit>
#include <mutex>

#include "common/base/random.h"
#include "common/job_config/job_config.h"
#include "common/net/collective.h"
#include "common/net/faulty_transport.h"
#include "ps/server.h"
#include "worker/sparse/ps_client.h"

namespace pepnet {
namespace {

constexpr int kDenseWeights = 24;
constexpr int64_t kUsers = 40, kItems = 15;

JobConfig TwoTables() {
  JobConfig config;
  config.tables = {{"users", kUsers, 3, {}, true}, {"items", kItems, 2, {}, true}};
  config.train.sparse_optimizer.kind = SparseOptimizerKind::kAdagrad;
  config.train.sparse_optimizer.initial_accumulator_value = 0.1;
  return config;
}

// The ids of a worker's slice of a step: few, so that workers meet in most rows. Worker 1 has an
// empty slice now and then.
UniqueIds IdsOf(int worker, int64_t step) {
  UniqueIds ids;
  ids.ids.resize(2);
  if (worker == 1 && step % 3 == 0) return ids;
  for (uint64_t t = 0; t < 2; ++t) {
    for (int64_t id = 0; id < (t == 0 ? kUsers : kItems); ++id) {
      if (Philox4x32(RandomKey(3, RandomPurpose::kTest, t), worker * 1000 + step, id)[0] % 100 <
          60) {
        ids.ids[t].push_back(id);
      }
    }
  }
  return ids;
}

// Vanishes at its n-th receive: from then on nothing leaves or arrives, as with a killed process.
class MortalTransport : public Transport {
 public:
  MortalTransport(Transport* inner, int dies_at) : inner_(inner), dies_at_(dies_at) {}
  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  Status Send(Channel channel, int rank, Bytes body) override {
    return dead_ ? absl::OkStatus() : inner_->Send(channel, rank, std::move(body));
  }
  StatusOr<Message> Receive(Channel channel, int source, Deadline deadline,
                            const std::string& what) override {
    dead_ = dead_ || ++receives_ == dies_at_;
    if (dead_) return absl::CancelledError("killed");
    return inner_->Receive(channel, source, deadline, what);
  }
  Status Flush(Deadline deadline) override { return inner_->Flush(deadline); }
  uint64_t bytes_sent(Channel channel) const override { return inner_->bytes_sent(channel); }
  uint64_t bytes_received(Channel channel) const override {
    return inner_->bytes_received(channel);
  }
  bool dead() const { return dead_; }

 private:
  Transport* const inner_;
  const int dies_at_;
  int receives_ = 0;
  bool dead_ = false;
};

class StandInWorker {
 public:
  StandInWorker(const StandInJob& job, const JobConfig& config, Transport* transport,
                std::vector<int> workers, std::vector<int> servers)
      : job_(job),
        config_(config),
        workers_(workers),
        collective_(MakeCollective(transport, Channel::kDense, workers, job.timeout_s)),
        client_(transport, &config, std::move(servers), transport->rank(), job.timeout_s,
                job.timeout_s),
        weights_(kDenseWeights, 1.0f) {}

  // Worker 0 gets the text.
  StatusOr<std::string> Run() {
    if (collective_->index() == 0) PEPNET_RETURN_IF_ERROR(client_.Configure(workers_, 11, 0));
    PEPNET_RETURN_IF_ERROR(collective_->Barrier("start"));
    PEPNET_RETURN_IF_ERROR(Prepare(1));
    for (int64_t step = 1; step <= job_.steps; ++step) PEPNET_RETURN_IF_ERROR(Step(step));
    PEPNET_ASSIGN_OR_RETURN(const std::string text, Text());
    PEPNET_RETURN_IF_ERROR(collective_->Barrier("end"));
    if (collective_->index() == 0) PEPNET_RETURN_IF_ERROR(client_.Shutdown());
    return text;
  }

 private:
  // As Prefetcher: agree on the batch, send its pull.
  Status Prepare(int64_t step) {
    next_ids_ = IdsOf(collective_->index(), step);
    std::vector<double> sums = {static_cast<double>(next_ids_.ids[0].size()), 0};
    PEPNET_RETURN_IF_ERROR(
        collective_->AllreduceSum(std::span<double>(sums), "rows and weights of the batch"));
    PEPNET_ASSIGN_OR_RETURN(next_ticket_, client_.StartPull(next_ids_, step, /*read_only=*/false));
    return absl::OkStatus();
  }

  // As Trainer::Step(): the next pull is always under way.
  Status Step(int64_t step) {
    const PullTicket ticket = std::move(next_ticket_);
    const UniqueIds ids = std::move(next_ids_);
    if (step < job_.steps) PEPNET_RETURN_IF_ERROR(Prepare(step + 1));
    std::vector<AlignedBuffer<float>> rows, gradients(2);
    PEPNET_RETURN_IF_ERROR(client_.FinishPull(ticket, &rows));
    std::vector<float> dense(kDenseWeights, 0.0f);
    // Magnitudes differ between workers by 2^12: another order of summation shows in the bits.
    const float scale = collective_->index() % 2 == 0 ? 1.0f : 1.0f / 4096;
    for (size_t t = 0; t < rows.size(); ++t) {
      gradients[t].ResizeZeroed(rows[t].size());
      for (size_t i = 0; i < rows[t].size(); ++i) {
        const size_t k = (i * 7 + t) % kDenseWeights;
        gradients[t][i] =
            scale * (rows[t][i] * weights_[k] + 0.3f * weights_[(k + 1) % kDenseWeights]);
        dense[k] += scale * (rows[t][i] * rows[t][i] - 0.1f * weights_[k]);
      }
    }
    PEPNET_RETURN_IF_ERROR(client_.Push(ticket, gradients, 0.05, step));
    PEPNET_RETURN_IF_ERROR(collective_->AllreduceSum(std::span<float>(dense), "dense gradients"));
    for (int k = 0; k < kDenseWeights; ++k) weights_[k] -= 0.01f * dense[k];
    return absl::OkStatus();
  }

  StatusOr<std::string> Text() {
    const std::string mine(reinterpret_cast<const char*>(weights_.data()),
                           weights_.size() * sizeof(float));
    PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> all,
                            collective_->Allgather(mine, "dense weights"));
    std::string text;
    for (size_t w = 1; w < all.size(); ++w) {
      if (all[w] != all[0]) absl::StrAppend(&text, "worker ", w, " has other dense weights; ");
    }
    for (float weight : weights_) {
      absl::StrAppend(&text, absl::Hex(std::bit_cast<uint32_t>(weight)), " ");
    }
    UniqueIds ids;
    ids.ids.resize(2);
    for (int64_t id = 0; id < kUsers; ++id) ids.ids[0].push_back(id);
    for (int64_t id = 0; id < kItems; ++id) ids.ids[1].push_back(id);
    PEPNET_ASSIGN_OR_RETURN(const PullTicket ticket,
                            client_.StartPull(ids, job_.steps, /*read_only=*/true));
    std::vector<AlignedBuffer<float>> rows;
    PEPNET_RETURN_IF_ERROR(client_.FinishPull(ticket, &rows));
    for (const AlignedBuffer<float>& table : rows) {
      for (float value : table) {
        absl::StrAppend(&text, absl::Hex(std::bit_cast<uint32_t>(value)), " ");
      }
    }
    return text;
  }

  const StandInJob& job_;
  const JobConfig& config_;
  const std::vector<int> workers_;
  std::unique_ptr<Collective> collective_;
  PsClient client_;
  std::vector<float> weights_;
  UniqueIds next_ids_;
  PullTicket next_ticket_;
};

}  // namespace

StatusOr<std::string> RunStandIn(const StandInJob& job) {
  const JobConfig config = TwoTables();
  std::vector<int> workers, servers;
  for (int w = 0; w < job.workers; ++w) workers.push_back(w);
  for (int s = 0; s < job.servers; ++s) servers.push_back(job.workers + s);
  std::string result;  // of worker 0
  const Status status =
      RunRanks(job.workers + job.servers, job.network, [&](int rank, Transport* plain) -> Status {
        MortalTransport mortal(plain, rank == job.killed_rank ? job.killed_at : 0);
        FaultyTransport transport(&mortal, job.faults);
        Status ended;
        if (rank >= job.workers) {
          ended = Server(&transport).Run();
        } else {
          StatusOr<std::string> text =
              StandInWorker(job, config, &transport, workers, servers).Run();
          if (text.ok() && rank == 0) result = *text;
          ended = text.status();
        }
        return mortal.dead() ? absl::OkStatus() : ended;  // a killed process says nothing
      });
  if (!status.ok()) return status;
  return result;
}

}  // namespace pepnet
