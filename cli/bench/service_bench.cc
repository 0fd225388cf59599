// bench service: what one worker gets from one server, messages included.
//
//   pull     StartPull to the last row in place, one request at a time
//   pull x2  the same with the next request always under way
//   push     Push to the server's word that it is applied (a request behind it that the server
//            answers in turn)
//   step     pull and push of the same rows, the next pull sent ahead, as training does
#include "cli/bench/bench.h"
#include "cli/bench/limits.h"
#include "cli/bench/row_job.h"
#include "cli/job/job.h"
#include "nlohmann/json.hpp"

namespace pepnet {
namespace {

// Rows a round, or all rows of a smaller table.
constexpr int64_t kRowsPerRound = 500000;

// The worker's side of the measurement. Steps and messages count on over all rounds, as the server
// expects them to.
class Service {
 public:
  Service(const WorkerContext& context, int64_t rows, int64_t keys)
      : client_(*context.client), rows_(rows), keys_(keys), ledger_(rows) {}

  // Every row gets one update and is thereby made; before that a pull would measure initial values.
  Status Fill(const WorkerContext& context) {
    PEPNET_RETURN_IF_ERROR(client_.Configure(context.worker_ranks, /*seed=*/1, 0));
    PEPNET_ASSIGN_OR_RETURN(const std::vector<float> start, Read(ledger_.ids()));
    ledger_.Start(start);
    double seconds = 0;
    for (int64_t m = 0; m * keys_ < rows_; ++m) PEPNET_RETURN_IF_ERROR(Push(&seconds));
    return absl::OkStatus();
  }

  // Pulls of all messages of a round, `ahead` of them under way at a time. Ids are made before the
  // clock starts.
  Status Pull(int ahead, double* seconds) {
    std::vector<UniqueIds> requests;
    for (int64_t m = 0; m < messages(); ++m) requests.push_back(Request(message_ + m));
    std::vector<PullTicket> tickets;
    const double start = SecondsNow();
    for (size_t m = 0; m < requests.size(); ++m) {
      while (tickets.size() < std::min(m + ahead, requests.size())) {
        PEPNET_ASSIGN_OR_RETURN(PullTicket ticket,
                                client_.StartPull(requests[tickets.size()], step_, true));
        tickets.push_back(std::move(ticket));
      }
      PEPNET_RETURN_IF_ERROR(client_.FinishPull(tickets[m], &values_));
    }
    *seconds = SecondsNow() - start;
    return absl::OkStatus();
  }

  // One message; adds the time of the push alone.
  Status Push(double* seconds) {
    const UniqueIds request = Request(message_);
    PEPNET_ASSIGN_OR_RETURN(const PullTicket ticket, client_.StartPull(request, step_ + 1, false));
    PEPNET_RETURN_IF_ERROR(client_.FinishPull(ticket, &values_));
    RowGradients gradients = Gradients(ticket, request);
    const double start = SecondsNow();
    PEPNET_RETURN_IF_ERROR(client_.Push(ticket, std::move(gradients), kBenchLr, step_ + 1));
    PEPNET_RETURN_IF_ERROR(client_.Stats().status());
    *seconds += SecondsNow() - start;
    ledger_.Applied(request.ids[0], ++step_);
    ++message_;
    return absl::OkStatus();
  }

  Status Steps(double* seconds) {
    std::vector<UniqueIds> requests;
    for (int64_t m = 0; m < messages(); ++m) requests.push_back(Request(message_ + m));
    *seconds = 0;
    double start = SecondsNow();
    PEPNET_ASSIGN_OR_RETURN(PullTicket ticket, client_.StartPull(requests[0], step_ + 1, false));
    for (size_t m = 0; m < requests.size(); ++m) {
      PullTicket next;
      if (m + 1 < requests.size()) {
        PEPNET_ASSIGN_OR_RETURN(next, client_.StartPull(requests[m + 1], step_ + 2, false));
      }
      PEPNET_RETURN_IF_ERROR(client_.FinishPull(ticket, &values_));
      *seconds += SecondsNow() - start;
      // The clock stands while gradients are filled: they stand for the network's work.
      RowGradients gradients = Gradients(ticket, requests[m]);
      ledger_.Applied(requests[m].ids[0], step_ + 1);
      start = SecondsNow();
      PEPNET_RETURN_IF_ERROR(client_.Push(ticket, std::move(gradients), kBenchLr, step_ + 1));
      ++step_;
      ++message_;
      ticket = std::move(next);
    }
    // The last push counts until it is applied: a server answers a worker's messages in order, so
    // its answer to Stats() stands behind that push.
    PEPNET_RETURN_IF_ERROR(client_.Stats().status());
    *seconds += SecondsNow() - start;
    return absl::OkStatus();
  }

  // Rows as they should be; returns the server's bytes a row.
  StatusOr<double> Check() {
    PEPNET_ASSIGN_OR_RETURN(const std::vector<float> values, Read(ledger_.ids()));
    PEPNET_RETURN_IF_ERROR(ledger_.Check(values));
    PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> stats, client_.Stats());
    // The rows that the server counts itself: a row that was made twice would not show in a sample.
    const nlohmann::json json = nlohmann::json::parse(stats[0]);
    if (json["rows"]["bench_emb"] != rows_) {
      return absl::DataLossError(
          absl::StrCat("the server holds other rows than ", rows_, ": ", stats[0]));
    }
    return json["bytes"].get<double>() / static_cast<double>(rows_);
  }

  int64_t messages() const { return std::max<int64_t>(1, std::min(kRowsPerRound, rows_) / keys_); }

 private:
  UniqueIds Request(int64_t message) const {
    return UniqueIds{{MessageIds(rows_, keys_, message)}, {}};
  }
  // As training does, in the message itself.
  RowGradients Gradients(const PullTicket& ticket, const UniqueIds& request) const {
    RowGradients gradients = client_.MakeGradients(ticket);
    FillGradients(request.ids[0], step_ + 1, gradients.tables[0].data());
    return gradients;
  }
  StatusOr<std::vector<float>> Read(const std::vector<int64_t>& ids) {
    PEPNET_ASSIGN_OR_RETURN(const PullTicket ticket,
                            client_.StartPull(UniqueIds{{ids}, {}}, step_, true));
    PEPNET_RETURN_IF_ERROR(client_.FinishPull(ticket, &values_));
    return std::vector<float>(values_[0].begin(), values_[0].end());
  }

  PsClient& client_;
  const int64_t rows_, keys_;
  RowLedger ledger_;
  int64_t message_ = 0, step_ = 0;
  std::vector<AlignedBuffer<float>> values_;
};

Status MeasureService(const WorkerContext& context, const BenchFlags& flags, int64_t rows,
                      BenchReport* report) {
  if (context.collective->count() != 1) {
    return InvalidInput(
        "bench service has one server and one worker; start it with mpirun -n 2, not -n ",
        context.collective->count() + 1);
  }
  const RandomRowRates limit = MeasureRowLimits(rows, report);
  Service service(context, rows, flags.keys);
  PEPNET_RETURN_IF_ERROR(service.Fill(context));
  std::vector<double> pull, pull_ahead, push, step;
  for (int round = 0; round <= flags.rounds; ++round) {
    double seconds[4] = {0, 0, 0, 0};
    PEPNET_RETURN_IF_ERROR(service.Pull(1, &seconds[0]));
    PEPNET_RETURN_IF_ERROR(service.Pull(2, &seconds[1]));
    for (int64_t m = 0; m < service.messages(); ++m) {
      PEPNET_RETURN_IF_ERROR(service.Push(&seconds[2]));
    }
    PEPNET_RETURN_IF_ERROR(service.Steps(&seconds[3]));
    if (round == 0) continue;  // warms up
    pull.push_back(seconds[0]);
    pull_ahead.push_back(seconds[1]);
    push.push_back(seconds[2]);
    step.push_back(seconds[3]);
  }
  PEPNET_ASSIGN_OR_RETURN(const double bytes, service.Check());
  const double million = 1e-6 * static_cast<double>(service.messages() * flags.keys);
  const Spread pulls = RatesOf(million, pull), pushes = RatesOf(million, push);
  report->rows.push_back({static_cast<double>(rows), pulls, 100 * pulls.median / limit.read,
                          RatesOf(million, pull_ahead), pushes, 100 * pushes.median / limit.update,
                          RatesOf(million, step), bytes});
  return absl::OkStatus();
}

}  // namespace

StatusOr<BenchReport> ServiceBench(const BenchFlags& flags, MpiSession* session) {
  BenchReport report;
  report.name = flags.what;
  JobFlags job = flags.job;
  // RunJob() runs the server inside this process where there is no mpirun.
  job.num_servers = 1;
  job.device = "cpu";
  for (int64_t rows : flags.rows) {
    PEPNET_RETURN_IF_ERROR(CheckMessage(rows, flags.keys));
    PEPNET_RETURN_IF_ERROR(RunJob(RowJob(rows), job, session, [&](const WorkerContext& context) {
      return MeasureService(context, flags, rows, &report);
    }));
  }
  if (report.rows.empty()) return report;  // the server's rank
  report.settings = {{"transport", session == nullptr ? "threads" : "MPI"},
                     {"rows a message", absl::StrCat(flags.keys)},
                     {"rounds", absl::StrCat(flags.rounds)}};
  report.columns = {{"table", "rows"},      {"pull", "Mrows/s"},    {"of random reads", "%"},
                    {"pull x2", "Mrows/s"}, {"push", "Mrows/s"},    {"of random updates", "%"},
                    {"step", "Mrows/s"},    {"memory", "bytes/row"}};
  report.checked = {
      "every row exists once, and sampled rows hold what Adagrad's formula makes of their updates"};
  return report;
}

}  // namespace pepnet
