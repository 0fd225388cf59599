#include "common/net/faulty_transport.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/net/in_process.h"
#include "common/net/message.h"
#include "tests/common/net/transport_conformance.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

std::vector<Fault> Plan(const std::string& text) { return ParseFaultPlan(text).value(); }

Bytes Frame(MessageType type, int64_t step) {
  FrameHeader header;
  header.type = type;
  header.step = step;
  return MakeFrame(header, size_t{0});
}

// Delays change when messages come, nothing else: the whole conformance suite passes.
TEST(FaultyTransportTest, ADelayedTransportIsStillATransport) {
  for (const RankCase& rank_case : TransportCases(1000)) {
    const Status status = RunRanks(3, {}, [&](int, Transport* inner) {
      FaultyTransport transport(inner, Plan("delay:max_ms=1,seed=5"));
      return RunCase(rank_case, &transport);
    });
    EXPECT_OK(status) << rank_case.name;
  }
}

TEST(FaultyTransportTest, ALostReplyIsTheNthAnswerAndTheWaiterNamesIt) {
  InProcessHub hub(2);
  FaultyTransport server(hub.transport(1), Plan("drop-reply:rank=1,nth=2"));
  Transport* worker = hub.transport(0);
  const auto next = [&] {
    return worker->Receive(Channel::kRows, 1, After(std::chrono::milliseconds(50)),
                           "rows of step 2");
  };
  ASSERT_OK(server.Send(Channel::kRows, 0, Frame(MessageType::kRows, 1)));
  // Not an answer that can be lost.
  ASSERT_OK(server.Send(Channel::kRows, 0, Frame(MessageType::kError, 1)));
  ASSERT_OK(server.Send(Channel::kRows, 0, Frame(MessageType::kRows, 2)));
  EXPECT_OK(next());
  EXPECT_OK(next());
  const auto lost = next();
  EXPECT_TRUE(absl::IsDeadlineExceeded(lost.status())) << lost.status();
  EXPECT_THAT(lost, IsError(testing::HasSubstr("rows of step 2 from rank 1")));
}

TEST(FaultyTransportTest, AKillComesWithThePushOfItsStepOnItsRankOnly) {
  InProcessHub hub(2);
  FaultyTransport victim(hub.transport(1), Plan("kill:rank=1,step=3"));
  FaultyTransport other(hub.transport(0), Plan("kill:rank=1,step=3"));
  for (MessageType type : {MessageType::kPull, MessageType::kPush}) {
    ASSERT_OK(victim.Send(Channel::kRequests, 0, Frame(type, 2)));
  }
  ASSERT_OK(victim.Send(Channel::kRequests, 0, Frame(MessageType::kPull, 3)));
  ASSERT_OK(other.Send(Channel::kRequests, 1, Frame(MessageType::kPush, 3)));
  testing::FLAGS_gtest_death_test_style = "fast";
  EXPECT_EXIT((void)victim.Send(Channel::kRequests, 0, Frame(MessageType::kPush, 3)),
              testing::KilledBySignal(SIGKILL), "in step 3");
  EXPECT_EXIT((void)victim.Receive(Channel::kRequests, 0, After(std::chrono::seconds(1)), "a push"),
              testing::KilledBySignal(SIGKILL), "in step 3");
}

}  // namespace
}  // namespace pepnet
