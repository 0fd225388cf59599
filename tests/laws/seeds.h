// The flags and the main program of tests over many seeded schedules.
//   PROGRAM [--seeds N] [--first_seed S]
// A seed that fails is printed; replay it with --seeds 1 --first_seed S.
#pragma once

namespace pepnet {

struct Seeds {
  int first = 1;
  int count = 0;
};

// The seeds of this run; set by RunSeededTests() before the tests start.
const Seeds& RunSeeds();

// The whole main program: reads the flags (without --seeds: `count` seeds) and runs the tests.
int RunSeededTests(int argc, char** argv, int count);

}  // namespace pepnet
