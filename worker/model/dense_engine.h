// Which implementation of PepnetModel computes. Apart from rounding they agree.
#pragma once

namespace pepnet {

// kFused: hand-written forward and backward that skip what adds nothing (worker/model/fused/fused_model.h).
// kReference: plain libtorch with autograd, what the fused one is tested against; also runs what the fused one does not.
enum class DenseEngine { kFused, kReference };

}  // namespace pepnet
