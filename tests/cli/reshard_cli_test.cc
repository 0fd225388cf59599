// Law L4 with real processes: a job goes on with another number of servers, with servers without
// torch, and with servers placed elsewhere, to the same bits.
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "tests/support/cluster.h"
#include "tests/support/process.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

struct Reshard {
  const char* name;
  const char* saves;  // how the first half is started
  const char* loads;  // how the second half is
};

class ReshardCli : public ::testing::TestWithParam<Reshard> {};

TEST_P(ReshardCli, TheSecondHalfEndsInTheBitsOfOneRun) {
  TemporaryDirectory directory;
  RandomJobOptions options;
  options.batch_size = 4;
  options.sparse_optimizer = "adagrad_optimizer { lr: 0.05 }";
  ASSERT_OK(
      WriteFileAtomically(directory / "job.config", WriteRandomJob(directory.path(), options)));
  const auto train = [&](const std::string& start, const std::string& model, int steps) {
    const ProcessResult result = RunShell(absl::StrCat(
        start, " --pipeline_config_path ", directory / "job.config",
        " --threads=1 --seed=3 --continue_train --model_dir ", directory / model,
        " --edit_config_json '{\"train_config.num_epochs\": 0, \"train_config.num_steps\": ", steps,
        "}'"));
    EXPECT_EQ(result.exit_status, 0) << result.err;
  };
  train(GetParam().saves, "whole", 15);
  train(GetParam().saves, "halves", 5);
  train(GetParam().loads, "halves", 15);
  EXPECT_EQ(CheckpointDifference(*ResolveCheckpoint(directory / "whole"),
                                 *ResolveCheckpoint(directory / "halves")),
            "");
}

INSTANTIATE_TEST_SUITE_P(
    Samples, ReshardCli,
    ::testing::Values(Reshard{"two_to_three", "$MPIRUN -n 4 $PEPNET train --num_servers=2",
                              "$MPIRUN -n 5 $PEPNET train --num_servers=3"},
                      Reshard{"three_to_one", "$MPIRUN -n 4 $PEPNET train --num_servers=3",
                              "$MPIRUN -n 2 $PEPNET train --num_servers=1"},
                      Reshard{"dedicated_to_colocated",
                              "$MPIRUN -n 5 $PEPNET train --num_servers=2",
                              "$MPIRUN -n 3 $PEPNET train --placement=colocated"},
                      Reshard{"colocated_to_torch_free",
                              "$MPIRUN -n 3 $PEPNET train --placement=colocated",
                              "$MPIRUN -n 1 $PEPNET_PS : -n 3 $PEPNET train"},
                      Reshard{"embedded_to_torch_free", "$PEPNET train",
                              "$MPIRUN -n 2 $PEPNET_PS : -n 1 $PEPNET train"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace pepnet
