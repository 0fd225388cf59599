#include "worker/watch/vocabulary_watch.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/text.h"

namespace pepnet {
namespace {

// So many tokens at least, or one unknown word among a few would be a warning.
constexpr int64_t kLeastTokens = 100;
constexpr int64_t kLeastShare = 20;  // one in so many: rare words are usual
constexpr size_t kExampleBytes = 40;

}  // namespace

StatusOr<std::vector<Warning>> VocabularyWarnings(const JobConfig& config,
                                                  const EncodeCounts& counts,
                                                  const std::string& rows, Collective* collective) {
  nlohmann::json mine = nlohmann::json::array();  // [tokens, unknown, example] by feature
  for (const VocabularyCounts& one : counts.vocabulary) {
    mine.push_back({one.tokens, one.unknown, Printable(one.example, kExampleBytes)});
  }
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> all,
                          collective->GatherToFirst(mine.dump(), "tokens outside of vocabularies"));
  std::vector<Warning> warnings;
  if (collective->index() != 0) return warnings;
  EncodeCounts sum;
  for (const std::string& text : all) {
    EncodeCounts of_worker;
    for (const nlohmann::json& one : nlohmann::json::parse(text)) {
      of_worker.vocabulary.push_back(
          {one[0].get<int64_t>(), one[1].get<int64_t>(), one[2].get<std::string>()});
    }
    sum.Add(of_worker);
  }
  for (size_t f = 0; f < sum.vocabulary.size(); ++f) {
    const VocabularyCounts& seen = sum.vocabulary[f];
    // The comparison is in integers: a warning from unknown / tokens >= 1 / kLeastShare on.
    if (!config.features[f].is_read || seen.tokens < kLeastTokens ||
        seen.unknown * kLeastShare < seen.tokens)
      continue;
    // Hashed features have no unknown words; their count is of numbers with a point, which hash to
    // other ids than the same numbers without.
    if (config.features[f].bucketizer == Bucketizer::kHash) {
      warnings.push_back(
          {warning_kinds::kVocabulary, absl::StrCat(config.features[f].name, ", ", rows, " rows"),
           absl::StrFormat(
               "feature %s (column %s): %d of %d tokens of the %s rows (%.3g %%) are whole numbers "
               "with a "
               "point, '%s' for example, as a column of floats has them; '5.0' and '5' are two "
               "ids: write "
               "the column as integers in all files",
               config.features[f].name, config.features[f].column, seen.unknown, seen.tokens, rows,
               100.0 * static_cast<double>(seen.unknown) / static_cast<double>(seen.tokens),
               seen.example)});
      continue;
    }
    warnings.push_back(
        {warning_kinds::kVocabulary, absl::StrCat(config.features[f].name, ", ", rows, " rows"),
         absl::StrFormat(
             "feature %s (column %s): its vocabulary lacks %d of %d tokens of the %s rows (%.3g "
             "%%), "
             "'%s' for example, and the model cannot tell them apart; add the words that occur "
             "often, or "
             "use a hash_bucket_size",
             config.features[f].name, config.features[f].column, seen.unknown, seen.tokens, rows,
             100.0 * static_cast<double>(seen.unknown) / static_cast<double>(seen.tokens),
             seen.example)});
  }
  return warnings;
}

}  // namespace pepnet
