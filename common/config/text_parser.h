// Text format -> EasyRecConfig, with line numbers for everything that can be wrong.
#pragma once

#include <string>

#include "common/base/status.h"
#include "common/config/config_source.h"
#include "proto/pipeline.pb.h"

namespace pepnet {

// Parses `text` into `config` and records its lines in `source`. A field that the schema does not know is an error that
// names line, field and the most similar known name; with `ignore_unknown_fields` it is skipped and leaves a note.
// What stands inside messages of type Unsupported is skipped: their use is rejected later, by name.
Status ParseText(const std::string& text, bool ignore_unknown_fields, ConfigSource* source,
                 config::EasyRecConfig* config);

// Of `candidates` the one with the fewest single-letter edits from `name`, if it is close enough to be a likely typing
// error; "" otherwise.
std::string NearestName(const std::string& name, const std::vector<std::string>& candidates);

// Names of all fields of a message type.
std::vector<std::string> FieldNames(const google::protobuf::Descriptor& type);

// " (did you mean \"x\"?)" or "".
std::string Suggestion(const std::string& name, const std::vector<std::string>& candidates);

}  // namespace pepnet
