// JSON -> EasyRecConfig: the same message as in text format, as protobuf writes it in JSON. Names
// are the schema's or in lowerCamelCase.
#pragma once

#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/config/parse/config_source.h"
#include "proto/pipeline.pb.h"

namespace pepnet {

// As ParseText(), but fields have no lines, and the first fault of the parser is all that goes to
// `all`.
Status ParseJson(const std::string& text, bool ignore_unknown_fields, ConfigSource* source,
                 config::EasyRecConfig* config, std::vector<std::string>* all = nullptr);

}  // namespace pepnet
