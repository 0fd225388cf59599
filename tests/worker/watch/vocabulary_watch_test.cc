#include "worker/watch/vocabulary_watch.h"

#include <gtest/gtest.h>

#include "absl/strings/str_join.h"
#include "common/net/in_process.h"
#include "tests/support/cluster.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

// The warnings of worker 0 if worker w read by_worker[w] of the one feature.
std::string Said(const std::vector<VocabularyCounts>& by_worker,
                 Bucketizer bucketizer = Bucketizer::kVocabulary) {
  JobConfig config;
  Feature& feature = config.features.emplace_back();
  feature.name = "city";
  feature.column = "c";
  feature.is_read = true;
  feature.bucketizer = bucketizer;
  std::vector<int> ranks;
  for (size_t w = 0; w < by_worker.size(); ++w) ranks.push_back(static_cast<int>(w));
  std::string text;
  EXPECT_OK(
      RunRanks(static_cast<int>(ranks.size()), {}, [&](int rank, Transport* transport) -> Status {
        const auto collective = MakeCollective(transport, Channel::kDense, ranks, 30);
        EncodeCounts counts;
        counts.vocabulary = {by_worker[rank]};
        PEPNET_ASSIGN_OR_RETURN(const std::vector<Warning> warnings,
                                VocabularyWarnings(config, counts, "eval", collective.get()));
        if (rank == 0) {
          text = absl::StrJoin(warnings, "\n",
                               [](std::string* out, const Warning& one) { out->append(one.text); });
        } else {
          EXPECT_TRUE(warnings.empty());
        }
        return absl::OkStatus();
      }));
  return text;
}

TEST(VocabularyWarningsTest, ShareAndExampleAreThoseOfAllWorkers) {
  EXPECT_EQ(Said({{60, 0, ""}, {0, 0, ""}, {40, 5, "Ulm\n\xff"}}),
            "feature city (column c): its vocabulary lacks 5 of 100 tokens of the eval rows (5 %), "
            "'Ulm\\n\\xff' for "
            "example, and the model cannot tell them apart; add the words that occur often, or use "
            "a hash_bucket_size");
  EXPECT_NE(Said({{600, 200, "Bonn"}, {400, 100, "Ulm"}})
                .find("lacks 300 of 1000 tokens of the eval rows (30 %), "
                      "'Bonn'"),
            std::string::npos);
}

TEST(VocabularyWarningsTest, HashedWholeNumbersWithAPointAreNamed) {
  EXPECT_EQ(Said({{100, 25, "5.0"}}, Bucketizer::kHash),
            "feature city (column c): 25 of 100 tokens of the eval rows (25 %) are whole numbers "
            "with a point, '5.0' for "
            "example, as a column of floats has them; '5.0' and '5' are two ids: write the column "
            "as integers in all "
            "files");
}

TEST(VocabularyWarningsTest, AFewUnknownTokensAreUsual) {
  EXPECT_EQ(Said({{101, 5, "Ulm"}}), "");
  EXPECT_EQ(Said({{99, 99, "Ulm"}}), "") << "so few tokens prove nothing";
  EXPECT_EQ(Said({{0, 0, ""}}), "") << "a feature without a vocabulary";
}

}  // namespace
}  // namespace pepnet
