#include "common/config/job_config.h"

#include "absl/strings/str_cat.h"

namespace pepnet {

int SparseStateDim(SparseOptimizerKind kind, int dim) {
  switch (kind) {
    case SparseOptimizerKind::kSgd:
      return 0;
    case SparseOptimizerKind::kAdagrad:
      return dim;
    case SparseOptimizerKind::kRowwiseAdagrad:
      return 1;
    case SparseOptimizerKind::kAdam:
      return 2 * dim;
    case SparseOptimizerKind::kPartialRowwiseAdam:
      return dim + 1;
  }
  return 0;
}

std::string TableParameterName(const std::string& table) {
  return absl::StrCat("model.embedding_group.emb_impls.__BASE__.ebc.embedding_bags.", table, ".weight");
}

}  // namespace pepnet
