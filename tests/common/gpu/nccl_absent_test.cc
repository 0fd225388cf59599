// The answers of a build without NCCL; compiled on every machine, so that it does not rot where
// NCCL is present.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/gpu/device_collective.h"
#include "common/net/in_process.h"

namespace pepnet {
namespace {

TEST(NcclAbsentTest, ThereIsNoGpuAndAReason) {
  EXPECT_EQ(FindGpus().count, 0);
  EXPECT_THAT(FindGpus().reason, testing::HasSubstr("this build has no NCCL"));
  InProcessHub hub(1);
  const auto host = MakeCollective(hub.transport(0), Channel::kDense, {0}, 1);
  EXPECT_EQ(MakeNcclCollective(host.get(), 0, {}).status(),
            absl::UnavailableError(FindGpus().reason));
}

TEST(NcclAbsentTest, MemoryIsLeftAsItIs) {
  std::vector<char> data(100, 'x');
  {
    PinnedMemory memory(data.data(), data.size());
    PinnedMemory moved = std::move(memory);
    moved = PinnedMemory();
  }
  EXPECT_EQ(data, std::vector<char>(100, 'x'));
}

}  // namespace
}  // namespace pepnet
