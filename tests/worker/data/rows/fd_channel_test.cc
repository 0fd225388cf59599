#include "worker/data/rows/fd_channel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

constexpr std::chrono::milliseconds kSoon(5000), kNow(0);

std::string UniqueName() {
  static int count = 0;
  return absl::StrCat("pepnet-fd-channel-test-", getpid(), "-", ++count);
}

struct Pair {
  FdChannel near, far;
};

// Two ends of one channel. The hello has been taken.
Pair Connected() {
  const std::string name = UniqueName();
  StatusOr<FdListener> listener = FdListener::Listen(name, 2);
  EXPECT_OK(listener);
  StatusOr<std::optional<FdChannel>> near = FdChannel::Connect(name, "hello");
  EXPECT_TRUE(near.ok() && near->has_value());
  StatusOr<std::optional<FdChannel>> far = listener->Accept(kSoon);
  EXPECT_TRUE(far.ok() && far->has_value());
  Pair pair{*std::move(*near), *std::move(*far)};
  std::string hello;
  OwnedFd none;
  EXPECT_TRUE(pair.far.Receive(100, &hello, &none).value());
  EXPECT_EQ(hello, "hello");
  EXPECT_FALSE(none.valid());
  return pair;
}

TEST(FdChannelTest, WhereNobodyListensThereIsNoChannelYet) {
  const StatusOr<std::optional<FdChannel>> channel = FdChannel::Connect(UniqueName(), "hello");
  ASSERT_OK(channel);
  EXPECT_FALSE(channel->has_value());
}

TEST(FdChannelTest, AListenerSaysWhenNobodyCame) {
  StatusOr<FdListener> listener = FdListener::Listen(UniqueName(), 2);
  ASSERT_OK(listener);
  const StatusOr<std::optional<FdChannel>> channel = listener->Accept(kNow);
  ASSERT_OK(channel);
  EXPECT_FALSE(channel->has_value());
}

TEST(FdChannelTest, ANameHasOneListener) {
  const std::string name = UniqueName();
  const StatusOr<FdListener> first = FdListener::Listen(name, 2);
  ASSERT_OK(first);
  const Status second = FdListener::Listen(name, 2).status();
  EXPECT_EQ(second.message(),
            "cannot listen for the other workers of this host: Address already in use");
}

// Number of the next descriptor of this process: higher if one has been left open.
int NextDescriptor() { return OwnedFd(memfd_create("next", MFD_CLOEXEC)).get(); }

TEST(FdChannelTest, ASecondDescriptorOfAPacketIsNotLeftOpen) {
  Pair pair = Connected();
  const OwnedFd first(memfd_create("first", MFD_CLOEXEC)),
      second(memfd_create("second", MFD_CLOEXEC));
  const int fds[] = {first.get(), second.get()};
  iovec part{const_cast<char*>("packet"), 6};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(fds))] = {};
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* const head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof(fds));
  std::memcpy(CMSG_DATA(head), fds, sizeof(fds));
  const int before = NextDescriptor();
  ASSERT_EQ(sendmsg(pair.near.fd(), &message, 0), 6);
  {
    std::string packet;
    OwnedFd received;
    ASSERT_TRUE(pair.far.Receive(100, &packet, &received).value());
    EXPECT_TRUE(received.valid());
  }
  EXPECT_EQ(NextDescriptor(), before);
}

TEST(FdChannelTest, PacketsArriveWholeAndInOrder) {
  Pair pair = Connected();
  const std::string large(10000, 'x');
  EXPECT_EQ(pair.near.Send("one", -1), 0);
  EXPECT_EQ(pair.near.Send(large, -1), 0);
  std::string packet;
  OwnedFd none;
  ASSERT_TRUE(pair.far.Receive(20000, &packet, &none).value());
  EXPECT_EQ(packet, "one");
  ASSERT_TRUE(pair.far.Receive(20000, &packet, &none).value());
  EXPECT_EQ(packet, large);
  EXPECT_FALSE(Readable(pair.far.fd(), kNow));
}

TEST(FdChannelTest, ADescriptorTravelsWithItsPacket) {
  Pair pair = Connected();
  {
    const OwnedFd memory(memfd_create("test", MFD_CLOEXEC));
    ASSERT_EQ(write(memory.get(), "rows", 4), 4);
    EXPECT_EQ(pair.near.Send("with", memory.get()), 0);
  }
  EXPECT_EQ(pair.near.Send("without", -1), 0);
  std::string packet;
  OwnedFd fd, none;
  ASSERT_TRUE(pair.far.Receive(100, &packet, &fd).value());
  EXPECT_EQ(packet, "with");
  ASSERT_TRUE(fd.valid());
  char text[4];
  ASSERT_EQ(pread(fd.get(), text, 4, 0), 4);  // it lives although the sender has closed its own
  EXPECT_EQ(std::string(text, 4), "rows");
  ASSERT_TRUE(pair.far.Receive(100, &packet, &none).value());
  EXPECT_FALSE(none.valid());
}

TEST(FdChannelTest, APeerThatHasGoneIsTheEndBehindItsLastPacket) {
  Pair pair = Connected();
  EXPECT_EQ(pair.near.Send("last", -1), 0);
  EXPECT_EQ(pair.far.Send("never read", -1), 0);
  pair.near.Close();
  std::string packet;
  OwnedFd none;
  ASSERT_TRUE(pair.far.Receive(100, &packet, &none).value());
  EXPECT_EQ(packet, "last");
  EXPECT_FALSE(pair.far.Receive(100, &packet, &none).value());
  EXPECT_THAT(pair.far.Send("to nobody", -1), testing::AnyOf(EPIPE, ECONNRESET));
}

}  // namespace
}  // namespace pepnet
