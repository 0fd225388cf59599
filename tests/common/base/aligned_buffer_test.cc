#include "common/base/aligned_buffer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <utility>

namespace pepnet {
namespace {

TEST(AlignedBufferTest, EverySizeIsAligned) {
  for (size_t size : {1u, 3u, 64u, 65u, 1000u}) {
    const AlignedBuffer<uint8_t> buffer(size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % kBufferAlignment, 0u) << size;
    EXPECT_EQ(buffer.size(), size);
  }
}

TEST(AlignedBufferTest, EmptyIsLegal) {
  AlignedBuffer<float> buffer(0);
  EXPECT_TRUE(buffer.empty());
  buffer.ResizeZeroed(0);
  EXPECT_EQ(buffer.begin(), buffer.end());
  EXPECT_TRUE(buffer.span().empty());
}

TEST(AlignedBufferTest, ResizeKeepsWhatFits) {
  AlignedBuffer<int> buffer(3);
  for (int i = 0; i < 3; ++i) buffer[static_cast<size_t>(i)] = i + 1;
  buffer.Resize(2);
  buffer.Resize(1000);
  EXPECT_EQ(buffer[0], 1);
  EXPECT_EQ(buffer[1], 2);
  EXPECT_EQ(buffer.bytes(), 4000u);
}

TEST(AlignedBufferTest, ResizeZeroedClearsAll) {
  AlignedBuffer<int> buffer(4);
  for (int& x : buffer) x = 7;
  buffer.ResizeZeroed(5);
  for (int x : buffer) EXPECT_EQ(x, 0);
}

TEST(AlignedBufferTest, MoveLeavesNothingBehind) {
  AlignedBuffer<int> a(2);
  a[1] = 5;
  const int* address = a.data();
  AlignedBuffer<int> b(std::move(a));
  EXPECT_EQ(b.data(), address);
  EXPECT_EQ(b[1], 5);
  EXPECT_TRUE(a.empty());  // NOLINT: the moved-from state is the contract
  a.Resize(1);
  b = std::move(a);
  EXPECT_EQ(b.size(), 1u);
}

}  // namespace
}  // namespace pepnet
