#include "worker/checkpoint/train_state.h"

#include <gtest/gtest.h>

#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "common/checkpoint/safetensors.h"
#include "common/file/file.h"
#include "tests/support/cluster.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

class TrainStateTest : public ::testing::Test {
 protected:
  TrainStateTest() : config_(MakeRandomJob(directory_.path(), {})) {}

  // Writes `state` as the dense files of a checkpoint under construction and returns their
  // directory.
  std::string Write(TrainState& state) {
    auto writer = CheckpointWriter::Begin(directory_.path(), 1);
    EXPECT_OK(writer);
    std::vector<FileEntry> files;
    DenseImage image;
    CopyDenseState(state, &image);
    EXPECT_OK(WriteDenseFiles(image, *writer, &files));
    return writer->temporary_directory();
  }

  TemporaryDirectory directory_;
  JobConfig config_;
};

std::vector<float> Copy(std::span<float> values) { return {values.begin(), values.end()}; }

// "<parameter>/<slot>" -> floats.
std::map<std::string, std::vector<float>> OptimizerState(TrainState& state) {
  std::map<std::string, std::vector<float>> floats;
  for (const DenseOptimizers::Slot& slot : state.optimizers.Slots()) {
    floats[absl::StrCat(state.parameters.specs()[slot.parameter].name, "/", slot.name)] =
        Copy(slot.values);
  }
  return floats;
}

TEST_F(TrainStateTest, EverythingComesBackBitByBit) {
  TrainState state(config_, 9);
  float value = 0.1f;
  for (const DenseOptimizers::Slot& slot : state.optimizers.Slots()) {
    for (float& element : slot.values) element = value += 0.1f;
  }
  state.optimizers.set_steps(12);
  state.accumulated_gradients[state.parameters.offset(1)] = 3;  // inside an accumulation window
  state.counters = {13, {2, 40}, 1,
                    9,  6,       3,
                    2,  1,       BeginFiles({}, {{"dir/a.csv", 70, std::string(32, 'e'), 50}}, 1)};
  const std::string written = Write(state);

  TrainState read(config_, 1);
  ASSERT_OK(ReadDenseFiles(written, &read));
  EXPECT_EQ(Copy(read.parameters.values()), Copy(state.parameters.values()));
  EXPECT_EQ(OptimizerState(read), OptimizerState(state));
  EXPECT_EQ(Copy(read.accumulated_gradients.span()), Copy(state.accumulated_gradients.span()));
  EXPECT_EQ(read.optimizers.steps(), 12);
  EXPECT_EQ(read.counters.finished_steps, 13);
  EXPECT_EQ(read.counters.position.epoch, 2);
  EXPECT_EQ(read.counters.position.rows_in_epoch, 40);
  ASSERT_TRUE(read.counters.data.known);
  ASSERT_EQ(read.counters.data.files.size(), 1u);
  EXPECT_EQ(read.counters.data.files[0].path, "dir/a.csv");
  EXPECT_EQ(read.counters.data.files[0].rows, 50);
  EXPECT_EQ(read.counters.data.first_epoch, 1);
  EXPECT_EQ(read.counters.window_epochs, 1);
  EXPECT_EQ(read.counters.seed, 9u);
}

// Parameters of two optimizers and of none, with averages: each is there under the name of its own
// slots.
TEST_F(TrainStateTest, EachParameterHasTheSlotsOfItsOptimizerAndItsAverage) {
  DenseOptimizer adagrad, plain;
  adagrad.kind = DenseOptimizerKind::kAdagrad;
  plain.kind = DenseOptimizerKind::kSgd;
  plain.momentum = 0;
  config_.train.part_optimizers = {{".*_task_tower.*bias", adagrad}, {"model\\.epnet.*", plain}};
  config_.train.ema_decay = 0.5;
  TrainState state(config_, 9);
  std::vector<float> moved = Copy(state.parameters.values());
  for (float& value : moved) value += 1;
  state.averages.StartFrom(moved);
  float value = 0.1f;
  for (const DenseOptimizers::Slot& slot : state.optimizers.Slots()) {
    for (float& element : slot.values) element = value += 0.1f;
  }
  state.counters.finished_steps = 20;
  state.optimizers.set_steps(12);
  const std::string written = Write(state);
  ASSERT_OK_AND_ASSIGN(auto reader, SafetensorsReader::Open(written + "/dense.safetensors"));
  size_t tensors = 0;
  for (const ParameterSpec& spec : state.parameters.specs()) {
    const bool summed =
        absl::StrContains(spec.name, "_task_tower") && absl::EndsWith(spec.name, "bias");
    const bool stateless = absl::StartsWith(spec.name, "model.epnet");
    EXPECT_TRUE(reader->Contains(spec.name) && reader->Contains(spec.name + "/average"))
        << spec.name;
    EXPECT_EQ(reader->Contains(spec.name + "/sum"), summed) << spec.name;
    EXPECT_EQ(reader->Contains(spec.name + "/exp_avg"), !summed && !stateless) << spec.name;
    EXPECT_EQ(reader->Contains(spec.name + "/exp_avg_sq"), !summed && !stateless) << spec.name;
    tensors += 2 + (summed ? 1 : stateless ? 0 : 2);
  }
  EXPECT_EQ(reader->tensors().size(), tensors);

  TrainState read(config_, 1);
  ASSERT_OK(ReadDenseFiles(written, &read));
  EXPECT_EQ(read.optimizers.steps(), 12);
  EXPECT_EQ(OptimizerState(read), OptimizerState(state));
  for (int i = 0; i < static_cast<int>(read.parameters.specs().size()); ++i) {
    EXPECT_EQ(Copy(read.parameters.value(i)), Copy(state.parameters.value(i)));
    EXPECT_EQ(Copy(read.averages.value(i)), Copy(state.averages.value(i)));
    EXPECT_EQ(read.averages.value(i)[0], state.parameters.value(i)[0] + 1);
  }
  // Inference gets the values that it asks for.
  DenseParameters weights(DenseParameterList(config_)), averages(DenseParameterList(config_));
  ASSERT_OK(ReadDenseValues(written, DenseValues::kWeights, &weights));
  ASSERT_OK(ReadDenseValues(written, DenseValues::kAverages, &averages));
  EXPECT_EQ(Copy(weights.values()), Copy(state.parameters.values()));
  EXPECT_EQ(averages.value(0)[0], weights.value(0)[0] + 1);
  // Fresh optimizers have fresh averages.
  TrainState fresh(config_, 1);
  ASSERT_OK(ReadDenseFiles(written, &fresh, /*with_optimizer_state=*/false));
  EXPECT_EQ(Copy(fresh.averages.value(0)), Copy(state.parameters.value(0)));
}

TEST_F(TrainStateTest, AveragesThatACheckpointLacksAreItsWeights) {
  TrainState state(config_, 9);
  const std::string written = Write(state);
  EXPECT_FALSE(*HoldsAverages(written));
  JobConfig averaging = config_;
  averaging.train.ema_decay = 0.5;
  TrainState read(averaging, 1);
  ASSERT_OK(ReadDenseFiles(written, &read));
  DenseParameters parameters(DenseParameterList(config_));
  ASSERT_OK(ReadDenseValues(written, DenseValues::kAverages, &parameters));
  EXPECT_EQ(Copy(parameters.values()), Copy(state.parameters.values()));
  for (int i = 0; i < static_cast<int>(read.parameters.specs().size()); ++i) {
    EXPECT_EQ(Copy(read.averages.value(i)), Copy(state.parameters.value(i)));
  }
}

TEST_F(TrainStateTest, FilesThatAreNoneAreDamage) {
  TrainState state(config_, 9);
  state.counters.data = BeginFiles({}, {{"a%.csv", 70, std::string(32, 'e'), -1}}, 0);
  const std::string path = Write(state) + "/trainer.json";
  const std::string text = *ReadFile(path);
  const struct {
    const char *from, *to, *cause;
  } cases[] = {
      {"\"version\": 1", "\"version\": 2", "\"version\" is 2; this program reads version 1"},
      {"eeee\"", "eee\"", "\"digest\" is not 32 hexadecimal digits"},
      {"\"bytes\": 70", "\"bytes\": -70", "\"bytes\" is -70"},
      {"\"rows\": null", "\"rows\": 1.5", "\"rows\" is not an integer"},
      {"a%25.csv", "a%2.csv", "\"path\" has a %"},
      {"\"trained\": []", "\"trained\": {}", "\"trained\" is not a list of files"}};
  for (const auto& damage : cases) {
    ASSERT_TRUE(absl::StrContains(text, damage.from)) << text;
    ASSERT_OK(WriteFileAtomically(path, absl::StrReplaceAll(text, {{damage.from, damage.to}})));
    TrainState read(config_, 1);
    const Status status = ReadDenseFiles(path.substr(0, path.rfind('/')), &read);
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), damage.cause)) << status;
  }
}

TEST_F(TrainStateTest, TheOptimizerCanBeginAfreshAndBeAnother) {
  TrainState state(config_, 9);
  for (const auto& slot : state.optimizers.Slots()) {
    std::fill(slot.values.begin(), slot.values.end(), 0.5f);
  }
  state.optimizers.set_steps(12);
  state.counters = {13, {2, 40}, 1, 9, 6, 3, 2, 1, {}};
  const std::string written = Write(state);
  JobConfig other = config_;
  other.train.dense_optimizer.kind = DenseOptimizerKind::kAdagrad;
  ASSERT_NE(config_.train.dense_optimizer.kind, other.train.dense_optimizer.kind);
  other.train.dense_optimizer.initial_accumulator_value = 0.25;
  TrainState read(other, 1);
  const Status refused = ReadDenseFiles(written, &read);
  EXPECT_EQ(refused.code(), absl::StatusCode::kNotFound) << refused;
  TrainState fresh(other, 1);
  ASSERT_OK(ReadDenseFiles(written, &fresh, /*with_optimizer_state=*/false));
  EXPECT_EQ(Copy(fresh.parameters.values()), Copy(state.parameters.values()));
  EXPECT_EQ(fresh.optimizers.steps(), 0);
  EXPECT_EQ(fresh.counters.finished_steps, 13);
  TrainState untouched(other, 1);
  EXPECT_EQ(OptimizerState(fresh), OptimizerState(untouched));
}

TEST_F(TrainStateTest, AMissingTensorIsNamed) {
  TrainState state(config_, 9);
  const std::string written = Write(state);
  RandomJobOptions wider;
  wider.domain_towers = true;  // three towers per task instead of one
  TrainState other(MakeRandomJob(directory_.path(), wider), 9);
  const Status status = ReadDenseFiles(written, &other);
  EXPECT_FALSE(status.ok());
  EXPECT_TRUE(absl::StrContains(status.message(), "_task_tower")) << status;
}

TEST_F(TrainStateTest, FineTuningTakesWhatFitsByNameOrMap) {
  TrainState state(config_, 9);
  const std::string written = Write(state);
  TrainState other(config_, 1);
  const std::string a = other.parameters.specs()[0].name;
  EXPECT_FALSE(ReadDenseValuesByName(written, {{a, "absent"}}, &other.parameters).ok());
  ASSERT_OK_AND_ASSIGN(
      auto missing,
      ReadDenseValuesByName(written, {{a, state.parameters.specs()[1].name}}, &other.parameters));
  EXPECT_EQ(missing, std::vector<std::string>{a});
  EXPECT_EQ(Copy(other.parameters.value(1)), Copy(state.parameters.value(1)));
  EXPECT_NE(Copy(other.parameters.value(0)), Copy(state.parameters.value(0)));
}

}  // namespace
}  // namespace pepnet
