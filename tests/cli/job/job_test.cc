#include "cli/job/job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(ThreadsOfTest, TheFlagThenTheVariableThenTheCores) {
  JobFlags flags;
  setenv("OMP_NUM_THREADS", "3,2", 1);  // a list is OpenMP's for nested teams
  EXPECT_THAT(ThreadsOf(flags), IsOkAndHolds(3));
  flags.threads = 5;
  EXPECT_THAT(ThreadsOf(flags), IsOkAndHolds(5));
  flags.threads = 0;
  unsetenv("OMP_NUM_THREADS");
  setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "100000", 1);
  EXPECT_THAT(ThreadsOf(flags), IsOkAndHolds(1));
  unsetenv("OMPI_COMM_WORLD_LOCAL_SIZE");
}

TEST(ThreadsOfTest, AVariableThatIsNoNumberIsAnError) {
  for (const char* text : {"many", "0", "-1", "2x", "1.5"}) {
    setenv("OMP_NUM_THREADS", text, 1);
    EXPECT_THAT(ThreadsOf(JobFlags()),
                IsError(AllOf(HasSubstr("OMP_NUM_THREADS"), HasSubstr(text))))
        << text;
  }
  unsetenv("OMP_NUM_THREADS");
}

}  // namespace
}  // namespace pepnet
