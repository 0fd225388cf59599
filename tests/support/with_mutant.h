// Tests that a mutant (common/base/mutant.h) is noticed. They need a build with mutants, which
// scripts/dev/mutants.sh makes.
#pragma once

#include <gtest/gtest.h>

#include "common/base/mutant.h"

namespace pepnet {

// The mutant is active for the life of this object.
class WithMutant {
 public:
  explicit WithMutant(Mutant mutant) { SetMutantForTest(mutant); }
  ~WithMutant() { SetMutantForTest(Mutant::kNone); }
  WithMutant(const WithMutant&) = delete;
  WithMutant& operator=(const WithMutant&) = delete;
};

}  // namespace pepnet

// Skips the rest of a test in a build without mutants.
#define PEPNET_NEEDS_MUTANTS()       \
  if (!::pepnet::kMutantsCompiledIn) \
  GTEST_SKIP() << "built without mutants; scripts/dev/mutants.sh runs this test"
