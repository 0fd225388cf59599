// Text format -> EasyRecConfig, with line numbers for everything that can be wrong.
#pragma once

#include <string>
#include <vector>

#include "common/base/spelling.h"
#include "common/base/status.h"
#include "common/config/parse/config_source.h"
#include "proto/pipeline.pb.h"

namespace pepnet {

// Parses `text` into `config` and records its lines in `source`. A field that the schema does not
// know is an error that names line, field and the most similar known name; with
// `ignore_unknown_fields` it is skipped and leaves a note. The inside of messages that
// IsUnsupported() is skipped: their use is rejected later, by name. With `all`, every fault goes
// there, and unknown fields alone are no error: what is known was parsed.
Status ParseText(const std::string& text, bool ignore_unknown_fields, ConfigSource* source,
                 config::EasyRecConfig* config, std::vector<std::string>* all = nullptr);

// Whether messages of `type` can be named but not used; what stands inside is skipped.
bool IsUnsupported(const google::protobuf::Descriptor& type);

// Names of all fields of a message type.
std::vector<std::string> FieldNames(const google::protobuf::Descriptor& type);

}  // namespace pepnet
