#include "worker/watch/domain_counts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_join.h"

namespace pepnet {
namespace {

using testing::HasSubstr;

// Domains 0 to 7 are the column scene; label 1 is buy.
JobConfig WithTowers() {
  JobConfig config;
  config.data.labels = {"scene", "buy"};
  config.model.domain_label = 0;
  config.model.domain_count = 8;
  return config;
}

// `rows` rows of one domain with `positives` positives.
struct Part {
  int64_t domain, rows, positives;
};

// They as a batch, the domain as label 0 and as feature 0.
Batch BatchOf(const Part& part) {
  const auto& [domain, rows, positives] = part;
  Batch batch;
  batch.rows = rows;
  batch.labels.resize(2);
  batch.ids.resize(1);
  batch.ids[0].offsets.push_back(0);
  for (int64_t row = 0; row < rows; ++row) {
    batch.labels[0].integers.push_back(domain);
    batch.labels[1].values.push_back(row < positives ? 1.0f : 0.0f);
    batch.ids[0].ids.push_back(domain);
    batch.ids[0].offsets.push_back(static_cast<int32_t>(row + 1));
  }
  return batch;
}

std::string Said(const JobConfig& config, const std::vector<Part>& parts) {
  // Two workers take turns.
  DomainCounts workers[] = {DomainCounts(&config, {1}), DomainCounts(&config, {1})};
  for (size_t i = 0; i < parts.size(); ++i) workers[i % 2].Observe(BatchOf(parts[i]));
  std::vector<int64_t> sums = workers[0].sums();
  for (size_t i = 0; i < sums.size(); ++i) sums[i] += workers[1].sums()[i];
  return absl::StrJoin(workers[0].Warnings(sums), "\n",
                       [](std::string* out, const Warning& warning) { out->append(warning.text); });
}

std::vector<Part> AllBut(const std::vector<int64_t>& missing) {
  std::vector<Part> parts;
  for (int64_t domain = 0; domain < 8; ++domain) {
    if (std::find(missing.begin(), missing.end(), domain) == missing.end()) {
      parts.push_back({domain, 150, 3});
    }
  }
  return parts;
}

TEST(DomainCountsTest, DomainsWithoutRowsAreNamedWhereTheyHaveTowers) {
  EXPECT_EQ(Said(WithTowers(), AllBut({})), "");
  EXPECT_EQ(Said(WithTowers(), AllBut({6})),
            "domain 6 of scene had none of the 1050 training rows: its towers stay as they began "
            "and predict nothing of "
            "use; correct task_domain_num, 8, or the data");
  EXPECT_THAT(Said(WithTowers(), AllBut({0, 1, 2, 3, 4, 5, 6})),
              HasSubstr("domains 0, 1, 2, 3, 4 and 2 more of scene had none of the 150 training "
                        "rows: their towers"));
}

TEST(DomainCountsTest, ALabelWithoutPositivesInADomainIsNamed) {
  std::vector<Part> parts = AllBut({5, 7});
  parts.push_back({5, 20, 0});
  parts.push_back({7, 120, 120});
  EXPECT_EQ(Said(WithTowers(), parts),
            "label buy was never 1 in domain 5 (20 rows) of scene: the towers of a domain learn "
            "from its rows alone, so "
            "they learn a constant; is the label recorded there?\n"
            "label buy was always 1 in domain 7 (120 rows) of scene: the towers of a domain learn "
            "from its rows alone, so "
            "they learn a constant; are the rows with label 0 missing?");
  EXPECT_EQ(Said(WithTowers(), {{0, 100, 0}, {1, 100, 0}}).find("label buy"), std::string::npos)
      << "a label that is never 1 has a warning of its own";
}

TEST(DomainCountsTest, WithoutTowersTheDomainIsAFeatureAndChanceIsNoWarning) {
  JobConfig config = WithTowers();
  config.model.domain_label = -1;
  Feature& feature = config.features.emplace_back();
  feature.name = "tab";
  feature.bucketizer = Bucketizer::kVocabulary;
  feature.rows = 9;
  feature.vocabulary = {{"home", 5}, {"cart", 6}};
  config.leaves.emplace_back().feature = 0;
  config.model.domain.emplace().leaves = {0};
  std::vector<Part> parts = AllBut({5});
  parts.push_back({5, 1000, 0});
  EXPECT_EQ(Said(config, parts),
            "label buy was never 1 in domain home (1000 rows) of tab: the model learns a constant "
            "there; is the label "
            "recorded there?");
  parts.back() = {5, 200, 0};  // about 3 positives are expected
  EXPECT_EQ(Said(config, parts), "");
  config.features[0].rows = DomainCounts::kMostDomains + 1;
  parts.back() = {5, 1000, 0};
  EXPECT_EQ(Said(config, parts), "") << "so many are no domains";
}

}  // namespace
}  // namespace pepnet
