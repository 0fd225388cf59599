#include "worker/train/divergence.h"

#include <gtest/gtest.h>

#include <limits>

#include "absl/strings/match.h"
#include "tests/support/cluster.h"
#include "tests/support/random_job.h"

namespace pepnet {
namespace {

// The error of the step after `spoil` has been at the trainer.
std::string ErrorOf(const RandomJobOptions& options, int steps,
                    const std::function<void(Trainer*)>& spoil) {
  TemporaryDirectory directory;
  const JobConfig config = MakeRandomJob(directory.path(), options);
  const Status status =
      RunCluster(config, {1, 1, {}}, TestOptions(), [&](const WorkerContext& context) -> Status {
        Trainer trainer(context);
        PEPNET_RETURN_IF_ERROR(trainer.Start());
        spoil(&trainer);
        for (int step = 0; step < steps; ++step) PEPNET_RETURN_IF_ERROR(trainer.Step().status());
        return absl::OkStatus();
      });
  return std::string(status.message());
}

void ExpectParts(const std::string& message, std::initializer_list<const char*> parts) {
  for (const char* part : parts) {
    EXPECT_TRUE(absl::StrContains(message, part)) << "no '" << part << "' in: " << message;
  }
}

TEST(DivergenceTest, ABrokenParameterIsNamed) {
  ExpectParts(ErrorOf({}, 1,
                      [](Trainer* trainer) {
                        DenseParameters& parameters = trainer->state().parameters;
                        const int i = parameters.Find("model.ppnet.linears.1.weight");
                        parameters.value(i)[3] = std::numeric_limits<float>::quiet_NaN();
                      }),
              {"binary_cross_entropy_ctr became nan at step 1 on worker 0", ".csv' rows",
               "the first that is not finite is parameter model.ppnet.linears.1.weight",
               "table rows are not finite", "lower the learning rates", "--continue_train"});
}

TEST(DivergenceTest, AnOverflowInTheNetworkNamesItsLayer) {
  ExpectParts(ErrorOf({}, 1,
                      [](Trainer* trainer) {
                        for (const char* name : {"model.epnet.gate_nu.dense_layers.0.weight",
                                                 "model.epnet.gate_nu.dense_layers.2.weight"}) {
                          for (float& v : trainer->state().parameters.value(
                                   trainer->state().parameters.Find(name)))
                            v *= 1e38f;
                        }
                        for (int k = 0; k < 2; ++k) {
                          const int i = trainer->state().parameters.Find(
                              "model.ppnet.linears." + std::to_string(k) + ".weight");
                          for (float& v : trainer->state().parameters.value(i)) v *= 1e30f;
                        }
                      }),
              {"became", "at step 1 on worker 0",
               "the first that is not finite is layer ppnet_output_ctr"});
}

TEST(DivergenceTest, ARowThatExplodedIsNamedByTableAndId) {
  TemporaryDirectory directory;
  const JobConfig config = MakeRandomJob(directory.path(), {});
  const DenseParameters parameters(DenseParameterList(config));
  Batch batch;
  batch.ids.resize(config.features.size());
  ModelInput input;
  input.batch = &batch;
  UniqueIds ids;
  ids.ids.resize(config.tables.size());
  ids.positions.resize(config.leaves.size());
  ids.ids[1] = {7, 39};
  FloatBuffers rows(config.tables.size()), gradients(config.leaves.size());
  rows[1].ResizeZeroed(2 * config.tables[1].dim);
  rows[1][config.tables[1].dim + 2] = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(
      DescribeDivergence(
          {config, parameters, input, ids, PulledRows(rows, config.tables), gradients}, nullptr),
      "the first that is not finite is row 39 of table " + config.tables[1].name);
}

}  // namespace
}  // namespace pepnet
