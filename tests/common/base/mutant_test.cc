#include "common/base/mutant.h"

#include <gtest/gtest.h>

#include "tests/support/with_mutant.h"

namespace pepnet {
namespace {

TEST(MutantTest, NoneIsActiveByDefault) {
  for (size_t i = 1; i <= MutantNames().size(); ++i) {
    EXPECT_FALSE(MutantActive(static_cast<Mutant>(i)));
  }
}

TEST(MutantTest, NamesFindTheirMutants) {
  const std::span<const MutantName> names = MutantNames();
  ASSERT_EQ(names.size(), static_cast<size_t>(Mutant::kResumeTrustsFiles));
  for (size_t i = 0; i < names.size(); ++i) {
    EXPECT_EQ(MutantByName(names[i].name), static_cast<Mutant>(i + 1)) << names[i].name;
    EXPECT_GE(names[i].law, 1) << names[i].name;
    EXPECT_LE(names[i].law, 7) << names[i].name;
  }
  EXPECT_EQ(MutantByName("sum_in_arrival_order"), Mutant::kSumInArrivalOrder);
  EXPECT_EQ(MutantByName("clamp_to_row_zero"), Mutant::kClampToRowZero);
  EXPECT_EQ(MutantByName("resume_trusts_files"), Mutant::kResumeTrustsFiles);
  EXPECT_EQ(MutantByName("no_such_mutant"), Mutant::kNone);
}

// The promise to users: a build without mutants decides at compile time that there is none.
#if !PEPNET_MUTANTS
static_assert(!MutantActive(Mutant::kDivideByWorkers));

TEST(MutantDeathTest, WithoutMutantsNoneCanBeSet) {
  SetMutantForTest(Mutant::kNone);
  EXPECT_DEATH(SetMutantForTest(Mutant::kDivideByWorkers), "build it with -DPEPNET_MUTANTS=ON");
}
#endif

TEST(MutantTest, SetSwitchesExactlyOne) {
  PEPNET_NEEDS_MUTANTS();
  SetMutantForTest(Mutant::kDivideByWorkers);
  EXPECT_TRUE(MutantActive(Mutant::kDivideByWorkers));
  EXPECT_FALSE(MutantActive(Mutant::kInitByServer));
  SetMutantForTest(Mutant::kNone);
  EXPECT_FALSE(MutantActive(Mutant::kDivideByWorkers));
}

}  // namespace
}  // namespace pepnet
