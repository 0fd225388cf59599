// --edit_config_json and --set: change single fields of a parsed config from the command line.
//
//     {"train_config.num_steps": 10, "feature_configs[0].id_feature.num_buckets": "5",
//     "model_dir;data_config.batch_size": "m;8"}
//
//     name     = path { ";" path }                        more than one: the value is a text, with
//                                                         as many parts
//     path     = step { "." step }
//     step     = field [ "[" selector "]" ]
//     selector = i | ":" | a ":" b                        i, a, b from 0, or from the end if
//                                                         negative; b is exclusive
//              | path ( "=" | "<" | ">" | "<=" | ">=" ) value
//
// A selector with "=" takes the elements whose field, reached by a dotted path, has that value as
// text ([id_feature.feature_name=user_id], [tower_name=ctr]), the others compare numbers; it must
// match at least one. Values are those of JsonFields (common/config/parse/json_fields.h). Edits are
// applied in the order written.
#pragma once

#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/config/parse/config_source.h"
#include "proto/pipeline.pb.h"

namespace pepnet {

// "" changes nothing. Each edit leaves a note. Errors name the path and what is wrong with it or
// with its value; of a path without its beginning ("num_epochs") they tell at most three whole
// ones.
Status EditConfig(const std::string& edit_config_json, ConfigSource* source,
                  config::EasyRecConfig* config);
// The same from texts "path=value". A value that begins with {, [ or " is JSON, any other is a text
// as it stands, which is also a number or true where the field is.
Status SetFields(const std::vector<std::string>& assignments, ConfigSource* source,
                 config::EasyRecConfig* config);

}  // namespace pepnet
