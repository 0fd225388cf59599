#include "cli/inspect/words.h"

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/job/load_config.h"
#include "common/base/logging.h"
#include "common/file/file.h"

namespace pepnet {

TableWords WordsOf(const JobConfig& config) {
  TableWords words;
  for (const Leaf& leaf : config.leaves) {
    if (leaf.table < 0) continue;
    const Feature& feature = config.features[leaf.feature];
    if (feature.bucketizer != Bucketizer::kVocabulary) continue;
    // Vocabularies map words to rows, of which several may share one: the first in the order of the
    // words stands for it.
    std::map<int64_t, std::string> of_feature;
    for (const auto& [word, id] : feature.vocabulary) of_feature.emplace(id, word);
    of_feature.emplace(feature.unknown_id, "(unknown)");
    for (const auto& [id, word] : of_feature) {
      // Features that share a table may call one row by different words; all are shown.
      const auto [known, is_new] = words[config.tables[leaf.table].name].emplace(id, word);
      if (!is_new && known->second != word) absl::StrAppend(&known->second, " / ", word);
    }
  }
  return words;
}

StatusOr<TableWords> FindWords(const std::string& config_path, const std::string& checkpoint) {
  ConfigFlags flags;
  flags.pipeline_config_path = config_path;
  if (config_path.empty()) {
    // A path may end in a slash, and its parent is the model_dir either way.
    const std::filesystem::path path = std::filesystem::absolute(checkpoint).lexically_normal();
    const std::filesystem::path named = path.has_filename() ? path : path.parent_path();
    flags.pipeline_config_path = (named.parent_path() / "pipeline.config").string();
    if (!PathExists(flags.pipeline_config_path)) return TableWords();
  }
  const StatusOr<JobConfig> config = LoadConfig(flags, /*ignore_unknown_fields=*/true);
  if (config.ok()) return WordsOf(*config);
  // A config that was asked for must be readable; one that happens to lie there is only a help.
  if (!config_path.empty()) return config.status();
  LOG(INFO) << "ids are shown without words: " << config.status().message()
            << "; name a config with "
            << "--pipeline_config_path";
  return TableWords();
}

const std::string* WordOf(const TableWords& words, const std::string& table, int64_t id) {
  const auto of_table = words.find(table);
  if (of_table == words.end()) return nullptr;
  const auto word = of_table->second.find(id);
  return word == of_table->second.end() ? nullptr : &word->second;
}

}  // namespace pepnet
