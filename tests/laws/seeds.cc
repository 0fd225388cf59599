#include "tests/laws/seeds.h"

#include <gtest/gtest.h>

#include <iostream>
#include <string_view>

#include "absl/strings/numbers.h"
#include "common/base/logging.h"

namespace pepnet {
namespace {

Seeds g_seeds;

}  // namespace

const Seeds& RunSeeds() { return g_seeds; }

int RunSeededTests(int argc, char** argv, int count) {
  testing::InitGoogleTest(&argc, argv);
  InitLogging(argv[0], "");
  FLAGS_minloglevel = google::GLOG_ERROR;
  g_seeds.count = count;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view flag = argv[i];
    int* const value = flag == "--seeds"        ? &g_seeds.count
                       : flag == "--first_seed" ? &g_seeds.first
                                                : nullptr;
    if (value == nullptr || i + 1 == argc || !absl::SimpleAtoi(argv[i + 1], value)) {
      std::cerr << "expected --seeds N or --first_seed S, not " << flag << "\n";
      return 2;
    }
  }
  return RUN_ALL_TESTS();
}

}  // namespace pepnet
