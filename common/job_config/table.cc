#include "common/job_config/table.h"

#include "absl/strings/str_cat.h"

namespace pepnet {

std::string TableParameterName(const std::string& table) {
  return absl::StrCat("model.embedding_group.emb_impls.__BASE__.ebc.embedding_bags.", table, ".weight");
}

}  // namespace pepnet
