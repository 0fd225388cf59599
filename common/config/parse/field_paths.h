// FieldPaths: the whole paths of a config that an incomplete one may mean: "num_epochs" is
// "train_config.num_epochs".
//
// Threads: no state.
#pragma once

#include <string>
#include <vector>

#include <google/protobuf/message.h>

namespace pepnet {

// Paths below `message` that end in `fields`, names of fields that lie in each other, at most
// `max_paths`. Messages that are set come first, then what lies less deep. Of a repeated message
// the first element that has such a field is named, "feature_configs[2].raw_feature". A path that
// would replace a member of a oneof by another is none.
std::vector<std::string> PathsThatEndIn(const std::vector<std::string>& fields,
                                        const google::protobuf::Message& message, int max_paths);

}  // namespace pepnet
