// The words behind the ids of a checkpoint's tables, from the config beside it: an id says little
// to who reads a report.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "common/base/status.h"
#include "common/job_config/job_config.h"

namespace pepnet {

// By table, then by id. Of a table that several features read with different words, "home / start".
using TableWords = std::map<std::string, std::map<int64_t, std::string>>;

// Of the features with a vocabulary.
TableWords WordsOf(const JobConfig& config);

// The words of `config_path`; without one, of the pipeline.config beside the checkpoint, if there
// is one that can be read here: without it there are no words, and the log says why.
StatusOr<TableWords> FindWords(const std::string& config_path, const std::string& checkpoint);

// The word, null: none.
const std::string* WordOf(const TableWords& words, const std::string& table, int64_t id);

}  // namespace pepnet
