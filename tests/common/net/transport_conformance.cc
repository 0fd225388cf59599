#include "tests/common/net/transport_conformance.h"

#include <thread>

#include "absl/strings/match.h"

#include "common/base/hash.h"
#include "common/net/collective.h"

namespace pepnet {
namespace {

// Seconds until a broken transport fails the test instead of hanging it.
constexpr double kPatience = 30;

int Next(const Transport* t) { return (t->rank() + 1) % t->size(); }
int Previous(const Transport* t) { return (t->rank() + t->size() - 1) % t->size(); }

Status ReceivePattern(Transport* t, Channel channel, int from, uint64_t number, size_t bytes) {
  PEPNET_ASSIGN_OR_RETURN(
      const Message message,
      t->Receive(channel, from, After(std::chrono::duration<double>(kPatience)), "a pattern"));
  return CheckPattern(message, from, t->rank(), number, bytes);
}

// Everybody sends to the next rank first and receives second: no rank may wait for its receiver.
Status SizesRoundTheRing(Transport* t, const std::vector<size_t>& sizes) {
  for (size_t i = 0; i < sizes.size(); ++i) {
    PEPNET_RETURN_IF_ERROR(
        t->Send(Channel::kRows, Next(t), PatternBody(t->rank(), Next(t), i, sizes[i])));
    PEPNET_RETURN_IF_ERROR(Annotate(ReceivePattern(t, Channel::kRows, Previous(t), i, sizes[i]),
                                    absl::StrCat("size ", sizes[i])));
  }
  return t->Flush(After(std::chrono::duration<double>(kPatience)));
}

// Many unequal messages under way at once, between every pair: order per sender, whatever their
// size.
Status OrderIsKeptPerSender(Transport* t, size_t split_bytes) {
  const std::vector<size_t> sizes = {5, split_bytes + 3, 0, 70000, 1, 2 * split_bytes, 4096, 3};
  for (int to = 0; to < t->size(); ++to) {
    for (size_t i = 0; i < sizes.size(); ++i) {
      PEPNET_RETURN_IF_ERROR(t->Send(Channel::kDense, to, PatternBody(t->rank(), to, i, sizes[i])));
    }
  }
  for (int from = t->size() - 1; from >= 0; --from) {  // includes itself
    for (size_t i = 0; i < sizes.size(); ++i) {
      PEPNET_RETURN_IF_ERROR(ReceivePattern(t, Channel::kDense, from, i, sizes[i]));
    }
  }
  return absl::OkStatus();
}

Status AnySourceTakesFromAll(Transport* t, size_t split_bytes) {
  const std::vector<size_t> sizes = {1, split_bytes + 11, 0, 100, 65536};
  if (t->rank() != 0) {
    for (size_t i = 0; i < sizes.size(); ++i) {
      PEPNET_RETURN_IF_ERROR(t->Send(Channel::kRows, 0, PatternBody(t->rank(), 0, i, sizes[i])));
    }
    return absl::OkStatus();
  }
  std::vector<size_t> seen(static_cast<size_t>(t->size()));
  for (size_t k = 0; k < sizes.size() * static_cast<size_t>(t->size() - 1); ++k) {
    PEPNET_ASSIGN_OR_RETURN(
        const Message message,
        t->Receive(Channel::kRows, kAnyRank, After(std::chrono::duration<double>(kPatience)),
                   "anything"));
    PEPNET_REQUIRE(message.source > 0 && message.source < t->size(), message.source);
    const size_t number = seen[static_cast<size_t>(message.source)]++;
    PEPNET_REQUIRE(number < sizes.size(), number);
    PEPNET_RETURN_IF_ERROR(CheckPattern(message, message.source, 0, number, sizes[number]));
  }
  return absl::OkStatus();
}

Status TimeoutNamesWhatAndPeer(Transport* t) {
  const Clock::time_point start = Clock::now();
  const auto missing = t->Receive(Channel::kRows, Previous(t), After(std::chrono::milliseconds(60)),
                                  "rows of step 17");
  const double waited = std::chrono::duration<double>(Clock::now() - start).count();
  PEPNET_REQUIRE(!missing.ok());
  PEPNET_REQUIRE(missing.status().code() == absl::StatusCode::kDeadlineExceeded,
                 missing.status().ToString());
  PEPNET_REQUIRE(absl::StrContains(missing.status().message(), "rows of step 17"),
                 missing.status().ToString());
  PEPNET_REQUIRE(absl::StrContains(missing.status().message(), absl::StrCat("rank ", Previous(t))),
                 missing.status().ToString());
  PEPNET_REQUIRE(absl::StrContains(missing.status().message(), " s "), missing.status().ToString());
  PEPNET_REQUIRE(waited >= 0.06 && waited < 10, waited);
  const auto any =
      t->Receive(Channel::kRows, kAnyRank, After(std::chrono::milliseconds(0)), "anything");
  PEPNET_REQUIRE(any.status().code() == absl::StatusCode::kDeadlineExceeded,
                 any.status().ToString());
  PEPNET_REQUIRE(absl::StrContains(any.status().message(), "any rank"), any.status().ToString());
  // The wait left nothing behind: a later message arrives. (Its own channel: the peer may still be
  // waiting above.)
  PEPNET_RETURN_IF_ERROR(t->Send(Channel::kDense, Next(t), PatternBody(t->rank(), Next(t), 1, 9)));
  return ReceivePattern(t, Channel::kDense, Previous(t), 1, 9);
}

// One thread per channel and direction, all at once.
Status ChannelsDoNotDisturbEachOther(Transport* t) {
  constexpr int kMessages = 40;
  const auto bytes = [](int channel, int i) {
    return static_cast<size_t>((i * 7919 + channel * 104729) % 90000);
  };
  std::vector<Status> results(2 * kChannelCount);
  std::vector<std::thread> threads;
  for (int c = 0; c < kChannelCount; ++c) {
    threads.emplace_back([&, c] {
      for (int i = 0; i < kMessages && results[c].ok(); ++i) {
        results[c] = t->Send(static_cast<Channel>(c), Next(t),
                             PatternBody(t->rank(), Next(t), i, bytes(c, i)));
      }
    });
    threads.emplace_back([&, c] {
      Status& result = results[kChannelCount + c];
      for (int i = 0; i < kMessages && result.ok(); ++i) {
        result = ReceivePattern(t, static_cast<Channel>(c), Previous(t), i, bytes(c, i));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Status& result : results) PEPNET_RETURN_IF_ERROR(result);
  return absl::OkStatus();
}

// As a rank that works and serves does: one thread asks, another one of the same rank answers on
// another channel.
Status ARankTalksToItself(Transport* t, const std::vector<size_t>& sizes) {
  Status answered;
  std::thread server([&] {
    for (size_t i = 0; i < sizes.size() && answered.ok(); ++i) {
      answered = ReceivePattern(t, Channel::kRequests, t->rank(), i, sizes[i]);
      if (answered.ok()) {
        answered =
            t->Send(Channel::kRows, t->rank(), PatternBody(t->rank(), t->rank(), i, sizes[i]));
      }
    }
  });
  Status asked;
  for (size_t i = 0; i < sizes.size() && asked.ok(); ++i) {
    asked = t->Send(Channel::kRequests, t->rank(), PatternBody(t->rank(), t->rank(), i, sizes[i]));
  }
  for (size_t i = 0; i < sizes.size() && asked.ok(); ++i) {
    asked = ReceivePattern(t, Channel::kRows, t->rank(), i, sizes[i]);
  }
  server.join();
  PEPNET_RETURN_IF_ERROR(answered);
  return asked;
}

Status BytesAreCounted(Transport* t) {
  const uint64_t sent = t->bytes_sent(Channel::kControl),
                 received = t->bytes_received(Channel::kControl);
  PEPNET_RETURN_IF_ERROR(
      t->Send(Channel::kControl, t->rank(), PatternBody(t->rank(), t->rank(), 0, 123)));
  PEPNET_RETURN_IF_ERROR(ReceivePattern(t, Channel::kControl, t->rank(), 0, 123));
  PEPNET_REQUIRE(t->bytes_sent(Channel::kControl) == sent + 123);
  PEPNET_REQUIRE(t->bytes_received(Channel::kControl) == received + 123);
  return absl::OkStatus();
}

}  // namespace

Bytes PatternBody(int from, int to, uint64_t number, size_t bytes) {
  const uint64_t key =
      HashCombine(HashCombine(static_cast<uint64_t>(from), static_cast<uint64_t>(to)), number);
  Bytes body(bytes);
  for (size_t i = 0; i < bytes; ++i) body[i] = static_cast<uint8_t>((key >> (i % 8 * 8)) + i / 8);
  return body;
}

Status CheckPattern(const Message& message, int from, int to, uint64_t number, size_t bytes) {
  PEPNET_REQUIRE(message.source == from, "source ", message.source, ", expected ", from);
  PEPNET_REQUIRE(message.body.size() == bytes, "message ", number, " has ", message.body.size(),
                 " bytes, expected ", bytes);
  const Bytes expected = PatternBody(from, to, number, bytes);
  PEPNET_REQUIRE(bytes == 0 || std::memcmp(message.body.data(), expected.data(), bytes) == 0,
                 "message ", number, " of ", bytes, " bytes from ", from, " to ", to);
  return absl::OkStatus();
}

std::vector<RankCase> TransportCases(size_t split_bytes) {
  const std::vector<size_t> sizes = {0,
                                     1,
                                     3,
                                     4096,
                                     65536,
                                     1000003,
                                     5 << 20,
                                     split_bytes - 1,
                                     split_bytes,
                                     split_bytes + 1,
                                     3 * split_bytes + 7};
  return {
      {"SizesRoundTheRing", [=](Transport* t) { return SizesRoundTheRing(t, sizes); }},
      {"OrderIsKeptPerSender", [=](Transport* t) { return OrderIsKeptPerSender(t, split_bytes); }},
      {"AnySourceTakesFromAll",
       [=](Transport* t) { return AnySourceTakesFromAll(t, split_bytes); }},
      {"TimeoutNamesWhatAndPeer", TimeoutNamesWhatAndPeer},
      {"ChannelsDoNotDisturbEachOther", ChannelsDoNotDisturbEachOther},
      {"ARankTalksToItself", [=](Transport* t) { return ARankTalksToItself(t, sizes); }},
      {"BytesAreCounted", BytesAreCounted},
  };
}

Status RunCase(const RankCase& rank_case, Transport* transport) {
  const Status status = rank_case.body(transport);
  std::vector<int> ranks;
  for (int r = 0; r < transport->size(); ++r) ranks.push_back(r);
  // Per-sender order keeps the barrier's messages behind those of the case; any-source cases use
  // another channel.
  const Status end =
      MakeCollective(transport, Channel::kControl, ranks, kPatience)->Barrier(rank_case.name);
  return status.ok() ? Annotate(end, "barrier after the case") : status;
}

}  // namespace pepnet
