// Laws L3 and L6 over thousands of schedules, with a stand-in for the dense network
// (stand_in_cluster.h).
//   stand_in_schedules_test [--seeds N] [--first_seed S]
// A seed that fails is printed; replay it with --seeds 1 --first_seed S.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <iostream>
#include <mutex>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/net/transport.h"
#include "tests/laws/seeds.h"
#include "tests/laws/stand_in_cluster.h"
#include "tests/support/with_mutant.h"

namespace pepnet {
namespace {

// Runs `one(seed)` for `count` seeds, several at a time (they mostly wait); `one` returns "" or
// what is wrong.
void ForSeeds(int count, int at_once, const std::function<std::string(int)>& one) {
  std::atomic<int> next = RunSeeds().first;
  std::atomic<int> failures = 0;
  std::mutex mutex;
  std::vector<std::thread> threads;
  for (int i = 0; i < at_once; ++i) {
    threads.emplace_back([&] {
      for (int seed = next++; seed < RunSeeds().first + count && failures < 5; seed = next++) {
        const std::string wrong = one(seed);
        if (wrong.empty()) continue;
        ++failures;
        const std::lock_guard lock(mutex);
        ADD_FAILURE() << "seed " << seed << " (replay: --seeds 1 --first_seed " << seed
                      << "): " << wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Numbers of workers and servers, and delays.
StandInJob DrawJob(int seed, std::mt19937_64* random) {
  StandInJob job;
  job.workers = static_cast<int>(2 + (*random)() % 3);
  job.servers = static_cast<int>(1 + (*random)() % 4);
  job.network.delay_seed = static_cast<uint64_t>(seed);
  job.network.max_delay_us = static_cast<int>((*random)() % 600);
  return job;
}

// Without delays and with one server, by number of workers.
std::vector<std::string> Undisturbed() {
  std::vector<std::string> texts(5);
  for (int workers = 2; workers <= 4; ++workers) {
    StandInJob job;
    job.workers = workers;
    texts[static_cast<size_t>(workers)] = RunStandIn(job).value();
  }
  return texts;
}

TEST(L3StandIn, NoScheduleAndNoNumberOfServersChangesABit) {
  const std::vector<std::string> expected = Undisturbed();
  ForSeeds(RunSeeds().count, 6, [&](int seed) -> std::string {
    std::mt19937_64 random(static_cast<uint64_t>(seed));
    const StandInJob job = DrawJob(seed, &random);
    const StatusOr<std::string> text = RunStandIn(job);
    if (!text.ok()) return std::string(text.status().message());
    if (*text == expected[static_cast<size_t>(job.workers)]) return "";
    return absl::StrCat("other bits with ", job.workers, " workers, ", job.servers, " servers");
  });
  std::cout << RunSeeds().count << " schedules from seed " << RunSeeds().first << "\n";
}

// The test above can fail: sums in arrival order, and initial values that depend on the server, are
// seen.
TEST(L3StandIn, FaultsAreSeen) {
  PEPNET_NEEDS_MUTANTS();
  const std::vector<std::string> expected = Undisturbed();
  for (const Mutant mutant : {Mutant::kSumInArrivalOrder, Mutant::kInitByServer}) {
    const WithMutant faulty(mutant);
    int different = 0;
    for (int seed = 1; seed <= 20; ++seed) {
      std::mt19937_64 random(static_cast<uint64_t>(seed));
      const StandInJob job = DrawJob(seed, &random);
      different += RunStandIn(job).value_or("") != expected[static_cast<size_t>(job.workers)];
    }
    EXPECT_GT(different, 5) << "of 20 schedules, mutant " << static_cast<int>(mutant);
  }
}

// Runs a job with a fault. "" if it ended at its deadline with an error that names a rank and what
// was waited for, or was done before the fault and has the right bits.
std::string EndsByName(const StandInJob& job, const std::vector<std::string>& expected,
                       std::atomic<int>* ended) {
  const auto start = Clock::now();
  const StatusOr<std::string> text = RunStandIn(job);
  const double took_s = std::chrono::duration<double>(Clock::now() - start).count();
  if (took_s > 20) return absl::StrCat("took ", took_s, " s");
  if (text.ok()) {
    return *text == expected[static_cast<size_t>(job.workers)] ? ""
                                                               : "it ended well, with other bits";
  }
  ++*ended;
  if (absl::IsDeadlineExceeded(text.status()) &&
      text.status().message().find("from rank") != std::string::npos)
    return "";
  return absl::StrCat("not a deadline by name: ", text.status().ToString());
}

TEST(L6StandIn, ALostAnswerEndsTheJobByName) {
  const std::vector<std::string> expected = Undisturbed();
  std::atomic<int> ended = 0;
  const int count = RunSeeds().count / 10 + 1;
  ForSeeds(count, 24, [&](int seed) {
    std::mt19937_64 random(static_cast<uint64_t>(seed));
    StandInJob job = DrawJob(seed, &random);
    job.timeout_s = 0.4;
    const auto server = static_cast<int>(random() % static_cast<uint64_t>(job.servers));
    job.faults = ParseFaultPlan(absl::StrCat("drop-reply:rank=", job.workers + server,
                                             ",nth=", 1 + random() % 20))
                     .value();
    return EndsByName(job, expected, &ended);
  });
  EXPECT_GT(ended, count / 2);
  std::cout << ended << " of " << count << " jobs lost an answer, each ended by name\n";
}

TEST(L6StandIn, AKilledRankEndsTheJobByName) {
  const std::vector<std::string> expected = Undisturbed();
  std::atomic<int> ended = 0;
  const int count = RunSeeds().count / 10 + 1;
  ForSeeds(count, 24, [&](int seed) {
    std::mt19937_64 random(static_cast<uint64_t>(seed));
    StandInJob job = DrawJob(seed, &random);
    job.timeout_s = 0.4;
    job.killed_rank = static_cast<int>(random() % static_cast<uint64_t>(job.workers + job.servers));
    job.killed_at = static_cast<int>(1 + random() % 16);
    return EndsByName(job, expected, &ended);
  });
  EXPECT_GT(ended, count / 2);
  std::cout << ended << " of " << count << " jobs lost a rank, each ended by name\n";
}

}  // namespace
}  // namespace pepnet

int main(int argc, char** argv) { return pepnet::RunSeededTests(argc, argv, /*count=*/2000); }
