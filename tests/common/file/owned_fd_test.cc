#include "common/file/owned_fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>

namespace pepnet {
namespace {

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }
OwnedFd Null() { return OwnedFd(open("/dev/null", O_WRONLY | O_CLOEXEC)); }

TEST(OwnedFdTest, ClosesWithTheObject) {
  int fd = -1;
  {
    const OwnedFd owned = Null();
    ASSERT_TRUE(owned.valid());
    fd = owned.get();
    EXPECT_TRUE(IsOpen(fd));
  }
  EXPECT_FALSE(IsOpen(fd));
}

TEST(OwnedFdTest, MovesWithoutClosing) {
  OwnedFd first = Null();
  const int fd = first.get();
  OwnedFd second(std::move(first));
  EXPECT_EQ(second.get(), fd);
  EXPECT_FALSE(first.valid());  // NOLINT: a moved-from descriptor is none
  EXPECT_TRUE(IsOpen(fd));
}

TEST(OwnedFdTest, AssignmentClosesAtOnceWhatStoodThere) {
  OwnedFd owned = Null();
  const int before = owned.get();
  OwnedFd other = Null();
  owned = std::move(other);
  EXPECT_FALSE(IsOpen(before));
  const int fd = owned.get();
  OwnedFd& self = owned;
  owned = std::move(self);
  EXPECT_EQ(owned.get(), fd);
  EXPECT_TRUE(IsOpen(fd));
}

TEST(OwnedFdTest, CloseTellsWhatCloseTells) {
  OwnedFd owned = Null();
  const int fd = owned.get();
  EXPECT_EQ(owned.Close(), 0);
  EXPECT_FALSE(IsOpen(fd));
  EXPECT_FALSE(owned.valid());
  EXPECT_EQ(owned.Close(), 0);  // there is nothing to close
  OwnedFd gone(fd);             // what close() reports is handed on
  EXPECT_EQ(gone.Close(), EBADF);
}

}  // namespace
}  // namespace pepnet
