// Vocabularies of id features: word -> row, with the rows of default_value and of unknown words
// settled, so that the encoder only looks up.
//
//                                      words             default_value          unknown words
//     vocab_list, without d            2, 3, ...         0, unless listed       1
//     vocab_dict, without d            as given          0, also if given       1
//     either, or vocab_file, with d    from 0, as given  -                      d
//
// where d is default_bucketize_value.
#pragma once

#include "common/base/status.h"
#include "common/config/parse/config_source.h"
#include "common/job_config/feature.h"
#include "proto/feature.pb.h"

namespace pepnet {

// Fills rows, vocabulary and unknown_id of `feature` from the one vocabulary field that `id` sets.
// Reads vocab_file.
Status BuildVocabulary(const config::IdFeature& id, const ConfigSource& source, Feature* feature);

// Lines of a vocab_file -> word and row: all "word" (row = line number from 0) or all "word row".
// `path` is for messages.
StatusOr<std::map<std::string, int64_t>> ParseVocabularyFile(const std::string& contents,
                                                             const std::string& path);

}  // namespace pepnet
