// The golden cases through the command line: import, predict, eval, train, export; as one process,
// with 1 server and 1 worker, and with 2 servers and several workers under mpirun.
#include <arrow/api.h>
#include <arrow/io/file.h>
#include <gtest/gtest.h>
#include <parquet/arrow/reader.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/checkpoint/safetensors.h"
#include "common/file/file.h"
#include "tests/support/golden_job.h"
#include "tests/support/process.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace pepnet {
namespace {

struct LaunchShape {
  const char* name;
  int workers;         // 2: as many as divide the batch (7 for a batch of 7)
  const char* launch;  // shell words before the command; %W is replaced by workers, %N by all ranks
  const char* flags;   // added to train, eval, predict
};

class GoldenCli : public ::testing::TestWithParam<std::tuple<std::string, LaunchShape>> {
 protected:
  void SetUp() override {
    const auto& [golden_case, shape] = GetParam();
    case_ = golden_case;
    const JobConfig config = LoadGoldenJob(case_, "unused", "");
    workers_ = shape.workers == 2 && config.data.batch_size % 2 != 0
                   ? static_cast<int>(config.data.batch_size)
                   : shape.workers;
    launch_ = absl::StrCat(shape.launch);
    auto replace = [&](const char* from, int to) {
      const size_t at = launch_.find(from);
      if (at != std::string::npos) launch_.replace(at, 2, absl::StrCat(to));
    };
    replace("%W", workers_);
    replace("%N", workers_ + 2);
    flags_ = shape.flags;
    edits_ = absl::StrCat(
        " --edit_config_json '{\"data_config.batch_size\": ", config.data.batch_size / workers_,
        ", \"train_config.log_step_count_steps\": 1}'");
    config_ = absl::StrCat(" --pipeline_config_path ", GoldenPath(case_, "pipeline.config"), edits_,
                           " --model_dir ", directory_ / "model");
    const ProcessResult imported = RunShell(absl::StrCat("$PEPNET import", config_, " --weights ",
                                                         GoldenPath(case_, "init.safetensors")));
    ASSERT_EQ(imported.exit_status, 0) << imported.err;
  }

  ProcessResult Run(const std::string& command, const std::string& rest) {
    return RunShell(absl::StrCat(launch_, " $PEPNET ", command, config_, " ", flags_, " ", rest));
  }

  std::string case_, launch_, flags_, edits_, config_;
  int workers_ = 1;
  TemporaryDirectory directory_;
};

// Column of all part files of a prediction, in name order, flattened.
std::vector<double> ReadColumn(const std::string& directory, const std::string& column) {
  std::vector<double> values;
  auto names = ListDirectory(directory);
  EXPECT_OK(names);
  for (const std::string& name : *names) {
    if (!absl::StartsWith(name, "part-")) continue;  // the prediction's own list
    auto file = arrow::io::ReadableFile::Open(directory + "/" + name);
    EXPECT_OK(file) << name;
    auto reader = parquet::arrow::OpenFile(*file, arrow::default_memory_pool());
    EXPECT_OK(reader) << name;
    auto read = (*reader)->ReadTable();
    EXPECT_OK(read) << name;
    std::shared_ptr<arrow::Table> table = *read;
    const auto chunks = table->GetColumnByName(column);
    EXPECT_NE(chunks, nullptr) << column;
    if (chunks == nullptr) return values;
    for (const auto& chunk : chunks->chunks()) {
      auto flat = chunk->type_id() == arrow::Type::LIST
                      ? static_cast<const arrow::ListArray&>(*chunk).values()
                      : chunk;
      const auto& floats = static_cast<const arrow::FloatArray&>(*flat);
      for (int64_t i = 0; i < floats.length(); ++i) values.push_back(floats.Value(i));
    }
  }
  return values;
}

TEST_P(GoldenCli, ImportPredictEvalTrainExport) {
  const ProcessResult predicted =
      Run("predict", absl::StrCat("--predict_input_path ", GoldenPath(case_, "train.csv"),
                                  " --predict_output_path ", directory_ / "out"));
  ASSERT_EQ(predicted.exit_status, 0) << predicted.err;
  ASSERT_OK_AND_ASSIGN(auto forward,
                       SafetensorsReader::Open(GoldenPath(case_, "forward_f64.safetensors")));
  for (const auto& [name, info] : forward->tensors()) {
    const std::vector<double> want = *forward->ReadDoubles(name),
                              got = ReadColumn(directory_ / "out", name);
    ASSERT_EQ(got.size(), want.size()) << name;
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_NEAR(got[i], want[i], 1e-5 + 1e-4 * std::abs(want[i])) << name << "[" << i << "]";
    }
  }

  const std::string input = GoldenPath(case_, "train.csv");
  const ProcessResult evaluated = Run("eval", absl::StrCat("--eval_input_path ", input));
  ASSERT_EQ(evaluated.exit_status, 0) << evaluated.err;
  const nlohmann::json metrics = nlohmann::json::parse(evaluated.out, nullptr, false);
  ASSERT_FALSE(metrics.is_discarded()) << evaluated.out;
  const nlohmann::json golden = nlohmann::json::parse(*ReadFile(GoldenPath(case_, "metrics.json")));
  for (const auto& [name, value] : golden["float64"].items()) {
    const double want = value;
    const bool is_auc = absl::StrContains(name, "auc") || absl::StrContains(name, "accuracy");
    ASSERT_TRUE(metrics.contains(name)) << name << " in " << evaluated.out;
    EXPECT_NEAR(metrics[name].get<double>(), want, is_auc ? 1e-5 : 1e-5 + 1e-4 * std::abs(want))
        << name;
  }

  const ProcessResult trained = Run("train", absl::StrCat("--continue_train --train_input_path ",
                                                          input, " --eval_input_path ", input));
  ASSERT_EQ(trained.exit_status, 0) << trained.err;
  const ProcessResult exported =
      RunShell(absl::StrCat("$PEPNET export", config_, " --export_dir ", directory_ / "export"));
  ASSERT_EQ(exported.exit_status, 0) << exported.err;
  EXPECT_EQ(CompareTensors(directory_ / "export/model.safetensors",
                           GoldenPath(case_, "after_steps_f64.safetensors"), 1e-5, 1e-4),
            "");

  const nlohmann::json steps =
      nlohmann::json::parse(*ReadFile(GoldenPath(case_, "loss.json")))["float64"]["steps"];
  std::istringstream lines(*ReadFile(directory_ / "model/metrics.jsonl"));
  size_t step = 0;
  for (std::string line; std::getline(lines, line); ++step) {
    const double want = steps[step]["total"];
    EXPECT_NEAR(nlohmann::json::parse(line)["total_loss"].get<double>(), want,
                1e-5 + 1e-4 * std::abs(want))
        << "step " << step;
  }
  EXPECT_EQ(step, steps.size());
}

TEST(GoldenCliNotes, CheckConfigTellsOfAPartOptimizerWithoutParameters) {
  const ProcessResult checked = RunShell(absl::StrCat(
      "$PEPNET check-config --pipeline_config_path ", GoldenPath("optim", "pipeline.config")));
  EXPECT_EQ(checked.exit_status, 0) << checked.err;
  EXPECT_TRUE(absl::StrContains(checked.err,
                                "part_optimizers[2] is ignored: regex_pattern \"nothing\" matches"))
      << checked.err;
  EXPECT_FALSE(absl::StrContains(checked.err, "part_optimizers[1] is ignored")) << checked.err;
}

constexpr LaunchShape kOneProcess = {"one_process", 1, "", ""};
constexpr LaunchShape kTwoServers = {"mpi_2s2w", 2, "$MPIRUN -n %N", "--num_servers=2"};

std::string NameOfCase(const ::testing::TestParamInfo<std::tuple<std::string, LaunchShape>>& info) {
  return absl::StrCat(std::get<0>(info.param), "_", std::get<1>(info.param).name);
}
INSTANTIATE_TEST_SUITE_P(Cases, GoldenCli,
                         ::testing::Combine(::testing::ValuesIn(GoldenCases()),
                                            ::testing::Values(kOneProcess, kTwoServers)),
                         NameOfCase);
// The other ways to start a job, of which the numbers do not depend.
INSTANTIATE_TEST_SUITE_P(
    Launches, GoldenCli,
    ::testing::Combine(
        ::testing::Values(GoldenCases().front(), GoldenCases().back()),
        ::testing::Values(LaunchShape{"mpi_1s1w", 1, "$MPIRUN -n 2", "--num_servers=1"},
                          LaunchShape{"mpmd_2s2w", 2, "$MPIRUN -n 2 $PEPNET_PS : -n %W", ""})),
    NameOfCase);

}  // namespace
}  // namespace pepnet
