#include "tests/common/net/collective_conformance.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "absl/strings/match.h"

#include "common/base/random.h"
#include "common/net/collective.h"

namespace pepnet {
namespace {

constexpr double kPatience = 30;
// Times a short sum: one that takes two rounds, or the way over the GPUs.
constexpr size_t kLong = 100;

}  // namespace

template <typename T>
T TestValue(int worker, size_t i) {
  const auto words =
      Philox4x32(RandomKey(11, RandomPurpose::kTest, static_cast<uint64_t>(worker)), 0, i);
  if constexpr (std::is_same_v<T, int64_t>) {
    return static_cast<int64_t>((uint64_t{words[0]} << 32) | words[1]);
  } else {
    const double unit = UnitFloat(words[0]) - 0.5 + UnitFloat(words[2]) * 1e-8;
    return static_cast<T>(std::ldexp(unit, static_cast<int>(words[1] % 20)));
  }
}

template float TestValue<float>(int, size_t);
template double TestValue<double>(int, size_t);
template int64_t TestValue<int64_t>(int, size_t);

namespace {

template <typename T>
T SumInWorkerOrder(int count, size_t i) {
  T sum = TestValue<T>(0, i);
  for (int w = 1; w < count; ++w) {
    if constexpr (std::is_same_v<T, int64_t>) {
      sum = static_cast<T>(static_cast<uint64_t>(sum) + static_cast<uint64_t>(TestValue<T>(w, i)));
    } else {
      sum += TestValue<T>(w, i);
    }
  }
  return sum;
}

// The largest difference of another order of additions from that of the workers.
template <typename T>
T Tolerance(int count, size_t i) {
  if constexpr (std::is_same_v<T, int64_t>) return 0;
  T magnitudes = 0;
  for (int w = 0; w < count; ++w) magnitudes += std::abs(TestValue<T>(w, i));
  return static_cast<T>(count) * std::numeric_limits<T>::epsilon() * magnitudes;
}

}  // namespace

template <typename T>
Status CheckSums(Collective* c, std::span<const T> sums, bool worker_order) {
  for (size_t i = 0; i < sums.size(); ++i) {
    const T expected = SumInWorkerOrder<T>(c->count(), i);
    const bool right = worker_order ? std::memcmp(&sums[i], &expected, sizeof(T)) == 0
                                    : std::abs(sums[i] - expected) <= Tolerance<T>(c->count(), i);
    PEPNET_REQUIRE(right, "element ", i, " of ", sums.size(), ": ", sums[i], " instead of ",
                   expected);
  }
  if (worker_order) return absl::OkStatus();
  const std::string bits(reinterpret_cast<const char*>(sums.data()), sums.size_bytes());
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> all,
                          c->Allgather(bits, "bits of the sums"));
  for (int w = 0; w < c->count(); ++w) {
    PEPNET_REQUIRE(all[w] == bits, "worker ", w, " has other bits");
  }
  return absl::OkStatus();
}
template Status CheckSums<float>(Collective*, std::span<const float>, bool);
template Status CheckSums<double>(Collective*, std::span<const double>, bool);
template Status CheckSums<int64_t>(Collective*, std::span<const int64_t>, bool);

RankCase OnWorkers(const std::string& name, int workers, double timeout_s,
                   const CollectiveKind& kind, std::function<Status(Collective*)> body) {
  return {absl::StrCat(name, workers), [=](Transport* t) -> Status {
            if (t->rank() >= workers) return absl::OkStatus();
            std::vector<int> ranks(static_cast<size_t>(workers));
            std::iota(ranks.begin(), ranks.end(), 0);
            const std::unique_ptr<Collective> host =
                MakeCollective(t, Channel::kDense, ranks, timeout_s);
            if (kind.make == nullptr) return body(host.get());
            PEPNET_ASSIGN_OR_RETURN(const std::unique_ptr<Collective> made, kind.make(host.get()));
            return body(made.get());
          }};
}

namespace {

template <typename T>
Status Sums(Collective* c, bool worker_order) {
  for (size_t n : {size_t{0}, size_t{1}, size_t{2}, size_t{3}, size_t{7}, size_t{1001},
                   size_t{2049}, size_t{300007}}) {
    AlignedBuffer<T> data(n);
    for (size_t i = 0; i < n; ++i) data[i] = TestValue<T>(c->index(), i);
    PEPNET_RETURN_IF_ERROR(c->AllreduceSum(data.span(), "test sum"));
    PEPNET_RETURN_IF_ERROR(
        CheckSums<T>(c, data.span(), worker_order || std::is_same_v<T, int64_t>));
  }
  return absl::OkStatus();
}

// Fewer elements than workers in the two-round path never happen (it starts at 8 KiB); unaligned
// spans do.
Status SumOfUnalignedSpan(Collective* c, bool worker_order) {
  std::vector<float> data(5002);
  for (size_t i = 1; i < data.size(); ++i) data[i] = TestValue<float>(c->index(), i - 1);
  data[0] = 7;
  const std::span<float> unaligned = std::span<float>(data).subspan(1);
  PEPNET_RETURN_IF_ERROR(c->AllreduceSum(unaligned, "unaligned"));
  PEPNET_REQUIRE(data[0] == 7);
  return CheckSums<float>(c, unaligned, worker_order);
}

std::string TextOf(int worker, size_t bytes) {
  return std::string(bytes, static_cast<char>('a' + worker));
}

Status GathersAndBroadcast(Collective* c) {
  for (size_t unit : {size_t{0}, size_t{1}, size_t{3}, size_t{40001}}) {
    // Sizes differ.
    const std::string mine = TextOf(c->index(), unit * static_cast<size_t>(c->index() + 1));
    PEPNET_ASSIGN_OR_RETURN(const auto all, c->Allgather(mine, "test allgather"));
    PEPNET_REQUIRE(static_cast<int>(all.size()) == c->count());
    for (int w = 0; w < c->count(); ++w) {
      PEPNET_REQUIRE(all[w] == TextOf(w, unit * static_cast<size_t>(w + 1)), w);
    }
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
    PEPNET_REQUIRE(numbers[0] == int64_t{i} * c->count() &&
                   numbers[1] == int64_t{c->count()} * (c->count() - 1) / 2);
    if (i % 3 == 0) PEPNET_RETURN_IF_ERROR(c->Barrier("between"));
  }
  return absl::OkStatus();
}

// The last worker never comes. Errors are sticky: the second call does not wait again.
Status MissingPeerIsADeadline(Collective* c, size_t scale) {
  if (c->index() == c->count() - 1) return absl::OkStatus();
  const Clock::time_point start = Clock::now();
  std::vector<float> data(40 * scale);
  const Status status = c->AllreduceSum(std::span<float>(data), "bucket 3");
  PEPNET_REQUIRE(status.code() == absl::StatusCode::kDeadlineExceeded, status.ToString());
  for (const std::string& part :
       {std::string("'bucket 3'"), std::string("sum of floats"),
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
    const auto left =
        t->Receive(Channel::kDense, kAnyRank, After(std::chrono::milliseconds(50)), "left over");
    if (left.status().code() == absl::StatusCode::kDeadlineExceeded) return absl::OkStatus();
    PEPNET_RETURN_IF_ERROR(left.status());
  }
}

Status DifferentCallsAreAnError(Collective* c, int variant, size_t scale) {
  std::vector<float> data(scale * (c->index() == 0 && variant == 1 ? 99 : 100));
  const std::string what = c->index() == 0 && variant == 0 ? "bucket 3" : "bucket 4";
  const Status status = c->index() == 0 && variant == 2
                            ? c->Barrier(what)
                            : c->AllreduceSum(std::span<float>(data), what);
  PEPNET_REQUIRE(status.code() == absl::StatusCode::kFailedPrecondition, status.ToString());
  const std::string parts[3][2] = {
      {"bucket 3", "bucket 4"},
      {absl::StrCat(99 * scale, " elements"), absl::StrCat(100 * scale, " elements")},
      {"barrier", "sum of floats"}};
  for (const std::string& part : parts[variant]) {
    PEPNET_REQUIRE(absl::StrContains(status.message(), part), status.ToString());
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<RankCase> CollectiveCases(int workers, const CollectiveKind& kind) {
  using Body = std::function<Status(Collective*)>;
  std::vector<RankCase> cases;
  // They meet at the end, before anybody takes his collective down.
  const auto add = [&](const std::string& name, const Body& body) {
    cases.push_back(OnWorkers(name, workers, kPatience, kind, [=](Collective* c) -> Status {
      PEPNET_RETURN_IF_ERROR(body(c));
      return c->Barrier("end of the case");
    }));
  };
  const bool ordered = kind.worker_order;
  add("SumsOfFloats", [=](Collective* c) { return Sums<float>(c, ordered); });
  add("SumsOfDoubles", [=](Collective* c) { return Sums<double>(c, ordered); });
  add("SumsOfInt64s", [=](Collective* c) { return Sums<int64_t>(c, ordered); });
  add("SumOfUnalignedSpan", [=](Collective* c) { return SumOfUnalignedSpan(c, ordered); });
  add("GathersAndBroadcast", GathersAndBroadcast);
  add("ManyCallsInARow", ManyCallsInARow);
  if (workers == 1) return cases;
  const auto add_failing = [&](const std::string& name, double timeout_s, const Body& body) {
    const RankCase failing = OnWorkers(name, workers, timeout_s, kind, body);
    cases.push_back({failing.name, [=](Transport* t) -> Status {
                       PEPNET_RETURN_IF_ERROR(RunCase(failing, t));
                       return TakeLeftovers(t);
                     }});
  };
  // The workers of another collective must meet within the host's deadline, and GPUs take their
  // time.
  const double factor = kind.make == nullptr ? 1 : 3;
  for (const size_t scale : {size_t{1}, kLong}) {
    const std::string suffix = scale == kLong ? "InALongSum" : "";
    add_failing("MissingPeerIsADeadline" + suffix, 0.2 * factor,
                [=](Collective* c) { return MissingPeerIsADeadline(c, scale); });
    const char* const names[] = {"DifferentWhat", "DifferentSize", "DifferentOperation"};
    for (int variant = 0; variant < 3; ++variant) {
      add_failing(names[variant] + suffix, 0.5 * factor,
                  [=](Collective* c) { return DifferentCallsAreAnError(c, variant, scale); });
    }
  }
  return cases;
}

}  // namespace pepnet
