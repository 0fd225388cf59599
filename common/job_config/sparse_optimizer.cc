#include "common/job_config/sparse_optimizer.h"

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

}  // namespace pepnet
