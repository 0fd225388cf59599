// The fields of the schema that are rejected, and those accepted without effect. One table; the
// rest of the loader never sees these fields.
#pragma once

#include <vector>

#include "common/base/status.h"
#include "common/config/parse/config_source.h"
#include "proto/pipeline.pb.h"

namespace pepnet {

// The rejected fields of `message`, a config or a part of one, in file order of the schema, as
// errors with field and line. A rejected scalar that is set to its default is fine: it asks for
// nothing. Accepted fields without effect leave a note in `source`.
std::vector<Status> FindUnsupportedFields(const google::protobuf::Message& message,
                                          ConfigSource* source);

// Whether the table speaks of `field`, so that nothing else reads it.
bool HasSupportRule(const google::protobuf::FieldDescriptor& field);

}  // namespace pepnet
