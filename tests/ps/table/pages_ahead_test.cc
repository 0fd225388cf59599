#include "ps/table/store/pages_ahead.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "ps/table/store/huge_memory.h"

namespace pepnet {
namespace {

TEST(PagesAheadTest, PagesComeBeforeTheyAreWritten) {
#ifndef MADV_POPULATE_WRITE
  GTEST_SKIP() << "this system cannot be asked for pages";
#else
  constexpr size_t kBytes = size_t{8} << 20;
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  HugeMemory memory(kBytes);
  std::vector<unsigned char> resident(kBytes / page);
  ASSERT_EQ(mincore(memory.data(), kBytes, resident.data()), 0);
  ASSERT_THAT(std::vector(resident.begin() + 1, resident.end()), testing::Contains(0));
  if (madvise(memory.data(), page, MADV_POPULATE_WRITE) != 0) {
    GTEST_SKIP() << "this kernel cannot be asked for pages";
  }
  const PagesAhead pages({{memory.data(), kBytes / 2}, {memory.data() + kBytes / 2, kBytes / 2}});
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  do {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ASSERT_EQ(mincore(memory.data(), kBytes, resident.data()), 0);
  } while (std::count(resident.begin(), resident.end(), 0) > 0 &&
           std::chrono::steady_clock::now() < end);
  EXPECT_THAT(resident, testing::Each(1));
#endif
}

}  // namespace
}  // namespace pepnet
