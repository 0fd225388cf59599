// The older dialect of pipeline configs, rewritten into today's right after parsing; nothing else
// knows it.
//
//     wide_deep: DEEP                                    ->  group_type: DEEP
//     fg_encoded: true / false                           ->  fg_mode: FG_NONE / FG_DAG
//     main_group_name, domain_group_name, uia_group_name ->  groups named all, domain, uia
//
// If any of the three names is present they decide for all three roles: a network exists if and
// only if its group is named, and main_group_name is required. If none is, the fixed names count.
// Groups without a role are dropped.
#pragma once

#include "common/base/status.h"
#include "common/config/parse/config_source.h"
#include "proto/pipeline.pb.h"

namespace pepnet {

// Every rewrite and every dropped group leaves a note in `source`. Errors: a role that names no
// group, two groups of one name, wide_deep and group_type that disagree.
Status RewriteLegacyDialect(ConfigSource* source, config::EasyRecConfig* config);

}  // namespace pepnet
