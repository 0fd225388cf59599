// Law L2, world-size invariance: any number of workers trains like one.
// Mutants under which a test here must fail are named in common/base/mutant.h.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint.h"
#include "common/file/file.h"
#include "tests/laws/law_support.h"
#include "tests/support/cluster.h"
#include "tests/support/golden_job.h"
#include "tests/support/random_job.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"
#include "worker/train/trainer.h"

namespace pepnet {
namespace {

// Largest difference of any weight, relative to 1e-5 + 1e-4 |x|, after exporting through a
// one-worker reading of both.
void ExpectSameWeights(const JobConfig& a, const JobConfig& b, double absolute, double relative) {
  const std::string ckpt_a = Newest(a), ckpt_b = Newest(b);
  EXPECT_EQ(CompareTensors(ckpt_a + "/dense.safetensors", ckpt_b + "/dense.safetensors", absolute,
                           relative),
            "");
  const Manifest manifest_a = *ReadManifest(ckpt_a), manifest_b = *ReadManifest(ckpt_b);
  auto read = [](const std::string& checkpoint, const Manifest& manifest) {
    std::map<std::pair<std::string, int64_t>, std::vector<float>> rows;
    for (const PartEntry& part : manifest.parts) {
      auto reader = TablePartReader::Open(checkpoint, part);
      EXPECT_OK(reader);
      EXPECT_OK((*reader)->Read(0, part.rows, [&](const RowColumns& columns) -> Status {
        for (size_t i = 0; i < columns.ids.size(); ++i) {
          auto first = columns.values.begin() + i * part.dim;
          std::vector<float>& row = rows[{part.table, columns.ids[i]}];
          row.assign(first, first + part.dim);
          // The counts of a row, too: steps, the last of them, and clicks.
          row.push_back(static_cast<float>(columns.frequency[i]));
          row.push_back(static_cast<float>(columns.last_step[i]));
          row.push_back(part.ClicksOf(columns, i));
        }
        return absl::OkStatus();
      }));
    }
    return rows;
  };
  const auto rows_a = read(ckpt_a, manifest_a), rows_b = read(ckpt_b, manifest_b);
  ASSERT_EQ(rows_a.size(), rows_b.size());
  for (const auto& [key, values] : rows_a) {
    auto it = rows_b.find(key);
    ASSERT_NE(it, rows_b.end()) << key.first << " id " << key.second;
    for (size_t d = 0; d < values.size(); ++d) {
      ASSERT_NEAR(values[d], it->second[d], absolute + relative * std::abs(values[d]))
          << key.first << " id " << key.second;
    }
  }
}

// The last evaluations name the same step and metrics, and agree on the losses (a row may cross a
// bin of the AUC).
void ExpectSameEvaluation(const JobConfig& a, const JobConfig& b) {
  auto last_line = [](const JobConfig& config) {
    const std::string text = *ReadFile(config.model_dir + "/train_eval_result.txt");
    return nlohmann::json::parse(text.substr(text.rfind('\n', text.size() - 2) + 1));
  };
  const nlohmann::json line_a = last_line(a), line_b = last_line(b);
  ASSERT_EQ(line_a.size(), line_b.size()) << line_a << line_b;
  for (const auto& [name, value] : line_a.items()) {
    ASSERT_TRUE(line_b.contains(name)) << name;
    if (name == "global_step") {
      EXPECT_EQ(value, line_b[name]);
    } else if (name.rfind("binary_cross_entropy", 0) == 0 && value.is_number()) {
      EXPECT_NEAR(value.get<double>(), line_b[name].get<double>(), 1e-3) << name;
    }
  }
}

struct WorldCase {
  const char* name;
  RandomJobOptions job;
  bool all_value_kinds = false;
};

std::ostream& operator<<(std::ostream& out, const WorldCase& world_case) {
  return out << world_case.name;
}

class L2WorldSize : public ::testing::TestWithParam<WorldCase> {};

TEST_P(L2WorldSize, AnyNumberOfWorkersTrainsLikeOne) {
  RandomJobOptions options = GetParam().job;
  TemporaryDirectory directory;
  const int global_batch = 12;
  options.batch_size = global_batch;
  const auto job = [&](const std::string& name) {
    const JobConfig config = MakeRandomJob(directory.path(), options, name);
    return GetParam().all_value_kinds ? OfAllValueKinds(config) : config;
  };
  // A gradient that differs in its last bits may take an element to the other neighbour: a quantum
  // of BF16 or INT8.
  const bool is_narrow = GetParam().all_value_kinds;
  const JobConfig one = job("one");
  const Status trained = Train(one, {1, 1, {}}, TestOptions());
  ASSERT_OK(trained);
  for (int workers : {2, 3, 4}) {
    options.batch_size = global_batch / workers;
    const JobConfig many = job(absl::StrCat("w", workers));
    const Status status = Train(many, {workers, 2, {}}, TestOptions());
    ASSERT_OK(status);
    ExpectSameWeights(one, many, is_narrow ? 4e-3 : 2e-5, is_narrow ? 8e-3 : 5e-4);
    ExpectSameEvaluation(one, many);
  }
}

std::vector<WorldCase> WorldCases() {
  std::vector<WorldCase> cases;
  RandomJobOptions
      // 101 rows: the last global batch has 5, so that a slice of three workers is short and one is
      // empty
      base;
  base.dense_optimizer = "sgd_optimizer { lr: 0.1 momentum: 0.5 }";
  cases.push_back({"sgd_dropout_shuffle", base});
  RandomJobOptions clipped = base;
  clipped.sparse_optimizer = "sgd_optimizer { lr: 5 gradient_clipping: true max_gradient: 0.002 }";
  cases.push_back({"sparse_gradient_clipping", clipped});
  RandomJobOptions rare = base;
  rare.click_rate = 0.05;  // slices and whole batches without a clicked row
  rare.sparse_optimizer = "adagrad_optimizer { lr: 0.05 initial_accumulator_value: 0.001 }";
  cases.push_back({"rare_clicks_adagrad", rare});
  RandomJobOptions domains = base;
  domains.domain_towers = true;
  domains.shuffle = false;
  cases.push_back({"domain_towers", domains});
  RandomJobOptions sessions = base;
  sessions.sessions = true;
  cases.push_back({"sessions_over_all_workers", sessions});
  RandomJobOptions variational = base;
  variational.variational_dropout = true;
  cases.push_back({"variational_dropout", variational});
  RandomJobOptions normalised = base;
  normalised.batch_norm = true;
  cases.push_back({"batch_norm_and_dice", normalised});
  RandomJobOptions random_slopes = base;
  random_slopes.activation = "nn.RReLU";
  cases.push_back({"random_slopes", random_slopes});
  RandomJobOptions weighed = base;
  weighed.pareto_weights = true;
  cases.push_back({"pareto_weights", weighed});
  RandomJobOptions accumulation = base;
  accumulation.train_extra =
      "gradient_accumulation_steps: 3 grad_clipping { clipping_type: \"norm\" max_gradient: 0.05 }";
  cases.push_back({"accumulation_clipping", accumulation});
  RandomJobOptions remainder = base;
  remainder.data_extra = "drop_remainder: true";
  cases.push_back({"drop_remainder", remainder});
  RandomJobOptions odd = base;  // a global batch has 12 rows
  odd.files = 1;
  odd.rows = 25;
  cases.push_back({"one_file_last_batch_of_one_row", odd});
  odd.rows = 1;
  cases.push_back({"one_row_in_all", odd});
  odd.rows = 3;  // of four workers with slices of 3 only one ever has rows
  cases.push_back({"workers_without_any_row", odd});
  odd.rows = 26;
  odd.files = 3;
  odd.shuffle = false;
  cases.push_back({"an_empty_file_among_full_ones", odd});
  cases.push_back({"rows_of_fewer_bits", base, true});
  RandomJobOptions living = LivingTableJob();
  living.dense_optimizer = base.dense_optimizer;
  cases.push_back({"admission_expiry_eviction", living});
  RandomJobOptions filtered = FilteredTableJob();
  filtered.dense_optimizer = base.dense_optimizer;
  cases.push_back({"admission_by_a_filter", filtered});
  RandomJobOptions scored = ScoredTableJob();
  scored.dense_optimizer = base.dense_optimizer;
  cases.push_back({"eviction_by_shows_and_clicks", scored});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Random, L2WorldSize, ::testing::ValuesIn(WorldCases()),
                         [](const auto& info) { return info.param.name; });

// Gradients of one step, too: weights could hide a scale that an optimizer divides out.
TEST(L2WorldSize, GradientsOfAStepAreThoseOfOneWorker) {
  RandomJobOptions options;
  TemporaryDirectory directory;
  std::map<int, std::vector<float>> gradients;
  for (int workers : {1, 2, 3}) {
    options.batch_size = 12 / workers;
    const JobConfig config = MakeRandomJob(directory.path(), options, absl::StrCat("w", workers));
    const Status status = RunCluster(
        config, {workers, 1, {}}, TestOptions(), [&](const WorkerContext& context) -> Status {
          Trainer trainer(context);
          PEPNET_RETURN_IF_ERROR(trainer.Start());
          PEPNET_RETURN_IF_ERROR(trainer.Step().status());
          if (context.first()) {
            const std::span<float> all = trainer.state().parameters.gradients();
            gradients[workers].assign(all.begin(), all.end());
          }
          return absl::OkStatus();
        });
    ASSERT_OK(status);
  }
  for (int workers : {2, 3}) {
    for (size_t i = 0; i < gradients[1].size(); ++i) {
      ASSERT_NEAR(gradients[workers][i], gradients[1][i], 1e-6 + 1e-4 * std::abs(gradients[1][i]))
          << workers << " workers, " << i;
    }
  }
}

}  // namespace
}  // namespace pepnet
