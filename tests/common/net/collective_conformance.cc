#include "tests/common/net/collective_conformance.h"

#include <cmath>
#include <cstring>
#include <numeric>

#include "absl/strings/match.h"

#include "common/base/random.h"
#include "common/net/collective.h"

namespace pepnet {
namespace {

constexpr double kPatience = 30;

// Value i of worker w: magnitudes far apart, so that another order of additions gives other bits.
template <typename T>
T Value(int worker, size_t i) {
  const auto words = Philox4x32(RandomKey(11, RandomPurpose::kTest, static_cast<uint64_t>(worker)), 0, i);
  if constexpr (std::is_same_v<T, int64_t>) {
    return static_cast<int64_t>((uint64_t{words[0]} << 32) | words[1]);
  } else {
    const double unit = UnitFloat(words[0]) - 0.5 + UnitFloat(words[2]) * 1e-8;
    return static_cast<T>(std::ldexp(unit, static_cast<int>(words[1] % 20)));
  }
}

template <typename T>
T SumInWorkerOrder(int count, size_t i) {
  T sum = Value<T>(0, i);
  for (int w = 1; w < count; ++w) {
    if constexpr (std::is_same_v<T, int64_t>) {
      sum = static_cast<T>(static_cast<uint64_t>(sum) + static_cast<uint64_t>(Value<T>(w, i)));
    } else {
      sum += Value<T>(w, i);
    }
  }
  return sum;
}

template <typename T>
Status SumsAreBitwiseInWorkerOrder(Collective* c) {
  for (size_t n : {size_t{0}, size_t{1}, size_t{2}, size_t{3}, size_t{7}, size_t{1001}, size_t{2049}, size_t{300007}}) {
    AlignedBuffer<T> data(n);
    for (size_t i = 0; i < n; ++i) data[i] = Value<T>(c->index(), i);
    PEPNET_RETURN_IF_ERROR(c->AllreduceSum(data.span(), "test sum"));
    for (size_t i = 0; i < n; ++i) {
      const T expected = SumInWorkerOrder<T>(c->count(), i);
      PEPNET_REQUIRE(std::memcmp(&data[i], &expected, sizeof(T)) == 0, "element ", i, " of ", n, ": ", data[i],
                     " instead of ", expected);
    }
  }
  return absl::OkStatus();
}

// Fewer elements than workers in the two-round path never happen (it starts at 8 KiB); unaligned spans do.
Status SumOfUnalignedSpan(Collective* c) {
  AlignedBuffer<float> data(5001);
  for (size_t i = 0; i < data.size(); ++i) data[i] = Value<float>(c->index(), i);
  PEPNET_RETURN_IF_ERROR(c->AllreduceSum(data.span().subspan(1), "unaligned"));
  PEPNET_REQUIRE(data[0] == Value<float>(c->index(), 0));
  for (size_t i = 1; i < data.size(); ++i) PEPNET_REQUIRE(data[i] == SumInWorkerOrder<float>(c->count(), i), i);
  return absl::OkStatus();
}

std::string TextOf(int worker, size_t bytes) { return std::string(bytes, static_cast<char>('a' + worker)); }

Status GathersAndBroadcast(Collective* c) {
  for (size_t unit : {size_t{0}, size_t{1}, size_t{3}, size_t{40001}}) {
    const std::string mine = TextOf(c->index(), unit * static_cast<size_t>(c->index() + 1));  // sizes differ
    PEPNET_ASSIGN_OR_RETURN(const auto all, c->Allgather(mine, "test allgather"));
    PEPNET_REQUIRE(static_cast<int>(all.size()) == c->count());
    for (int w = 0; w < c->count(); ++w) PEPNET_REQUIRE(all[w] == TextOf(w, unit * static_cast<size_t>(w + 1)), w);
    PEPNET_ASSIGN_OR_RETURN(const auto first, c->GatherToFirst(mine, "test gather"));
    PEPNET_REQUIRE(c->index() == 0 ? first == all : first.empty());
    PEPNET_ASSIGN_OR_RETURN(const std::string root, c->BroadcastFromFirst(mine, "test broadcast"));
    PEPNET_REQUIRE(root == all[0]);
    PEPNET_RETURN_IF_ERROR(c->Barrier("test barrier"));
  }
  return absl::OkStatus();
}

// The operations may follow each other without a pause; nothing of one is taken for another.
Status ManyCallsInARow(Collective* c) {
  for (int i = 0; i < 30; ++i) {
    std::vector<int64_t> numbers = {i, c->index()};
    PEPNET_RETURN_IF_ERROR(c->AllreduceSum(std::span<int64_t>(numbers), "numbers"));
    PEPNET_REQUIRE(numbers[0] == int64_t{i} * c->count() && numbers[1] == int64_t{c->count()} * (c->count() - 1) / 2);
    if (i % 3 == 0) PEPNET_RETURN_IF_ERROR(c->Barrier("between"));
  }
  return absl::OkStatus();
}

using CollectiveBody = Status (*)(Collective*);

RankCase OnWorkers(std::string name, int workers, double timeout_s, CollectiveBody body) {
  return {absl::StrCat(name, workers), [=](Transport* t) -> Status {
            if (t->rank() >= workers) return absl::OkStatus();
            std::vector<int> ranks(static_cast<size_t>(workers));
            std::iota(ranks.begin(), ranks.end(), 0);
            return body(MakeCollective(t, Channel::kDense, ranks, timeout_s).get());
          }};
}

// The last worker never comes. Errors are sticky: the second call does not wait again.
Status MissingPeerIsADeadline(Collective* c) {
  if (c->index() == c->count() - 1) return absl::OkStatus();
  const Clock::time_point start = Clock::now();
  std::vector<float> data(4);
  const Status status = c->AllreduceSum(std::span<float>(data), "bucket 3");
  PEPNET_REQUIRE(status.code() == absl::StatusCode::kDeadlineExceeded, status.ToString());
  for (const std::string& part : {std::string("'bucket 3'"), std::string("sum of floats"),
                                  absl::StrCat("worker ", c->count() - 1), absl::StrCat("rank ", c->count() - 1)}) {
    PEPNET_REQUIRE(absl::StrContains(status.message(), part), part, " in ", status.ToString());
  }
  PEPNET_REQUIRE(c->Barrier("after") == status);
  PEPNET_REQUIRE(std::chrono::duration<double>(Clock::now() - start).count() < 10);
  return absl::OkStatus();
}

// Takes what a failed call left in the mailbox. All ranks are past that call when this is called.
Status TakeLeftovers(Transport* t) {
  while (true) {
    const auto left = t->Receive(Channel::kDense, kAnyRank, After(std::chrono::milliseconds(50)), "left over");
    if (left.status().code() == absl::StatusCode::kDeadlineExceeded) return absl::OkStatus();
    PEPNET_RETURN_IF_ERROR(left.status());
  }
}

Status DifferentCallsAreAnError(Collective* c, int variant) {
  std::vector<float> data(c->index() == 0 && variant == 1 ? 99 : 100);
  const std::string what = c->index() == 0 && variant == 0 ? "bucket 3" : "bucket 4";
  const Status status =
      c->index() == 0 && variant == 2 ? c->Barrier(what) : c->AllreduceSum(std::span<float>(data), what);
  PEPNET_REQUIRE(status.code() == absl::StatusCode::kFailedPrecondition, status.ToString());
  const char* const parts[3][2] = {
      {"bucket 3", "bucket 4"}, {"99 elements", "100 elements"}, {"barrier", "sum of floats"}};
  for (const char* part : parts[variant]) PEPNET_REQUIRE(absl::StrContains(status.message(), part), status.ToString());
  return absl::OkStatus();
}

}  // namespace

std::vector<RankCase> CollectiveCases(int workers) {
  std::vector<RankCase> cases = {
      OnWorkers("SumsOfFloats", workers, kPatience, SumsAreBitwiseInWorkerOrder<float>),
      OnWorkers("SumsOfDoubles", workers, kPatience, SumsAreBitwiseInWorkerOrder<double>),
      OnWorkers("SumsOfInt64s", workers, kPatience, SumsAreBitwiseInWorkerOrder<int64_t>),
      OnWorkers("SumOfUnalignedSpan", workers, kPatience, SumOfUnalignedSpan),
      OnWorkers("GathersAndBroadcast", workers, kPatience, GathersAndBroadcast),
      OnWorkers("ManyCallsInARow", workers, kPatience, ManyCallsInARow),
  };
  if (workers == 1) return cases;
  const auto add_failing = [&](std::string name, double timeout_s, CollectiveBody body) {
    const RankCase failing = OnWorkers(std::move(name), workers, timeout_s, body);
    cases.push_back({failing.name, [=](Transport* t) -> Status {
                       PEPNET_RETURN_IF_ERROR(RunCase(failing, t));
                       return TakeLeftovers(t);
                     }});
  };
  add_failing("MissingPeerIsADeadline", 0.2, MissingPeerIsADeadline);
  add_failing("DifferentWhat", 0.5, [](Collective* c) { return DifferentCallsAreAnError(c, 0); });
  add_failing("DifferentSize", 0.5, [](Collective* c) { return DifferentCallsAreAnError(c, 1); });
  add_failing("DifferentOperation", 0.5, [](Collective* c) { return DifferentCallsAreAnError(c, 2); });
  return cases;
}

}  // namespace pepnet
