// The law tests' main: --mutant=NAME runs them under a deliberate fault (they must turn red),
// --list_mutants lists them as "L<law> NAME".
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>

#include "common/base/logging.h"
#include "common/base/mutant.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  pepnet::InitLogging(argv[0], "");
  FLAGS_minloglevel = google::GLOG_WARNING;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--list_mutants") == 0) {
      for (const pepnet::MutantName& mutant : pepnet::MutantNames()) {
        std::printf("L%d %s\n", mutant.law, mutant.name);
      }
      return 0;
    }
    if (std::strncmp(argv[i], "--mutant=", 9) == 0) {
      const pepnet::Mutant mutant = pepnet::MutantByName(argv[i] + 9);
      if (mutant == pepnet::Mutant::kNone) {
        std::fprintf(stderr, "no mutant is called %s; --list_mutants lists them\n", argv[i] + 9);
        return 2;
      }
      if (!pepnet::kMutantsCompiledIn) {
        std::fputs("this program has no mutants; scripts/dev/mutants.sh builds one that has\n",
                   stderr);
        return 2;
      }
      pepnet::SetMutantForTest(mutant);
    }
  }
  return RUN_ALL_TESTS();
}
