// Whether the descriptions of types (common/job_config) and the schema of configs (proto/) say the
// same.
#pragma once

#include "common/base/status.h"

namespace pepnet {

// Internal error, a sentence that names the type, if a description names a message field that the
// schema lacks or has with another type, if the schema has a kind without description, or a field
// of a described message that neither its parameters nor field_support.cc know. Called before a
// config is read: a half-added type does not start.
Status CheckDescriptions();

}  // namespace pepnet
