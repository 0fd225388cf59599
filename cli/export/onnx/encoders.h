// Sequence encoders inside an ONNX graph, over sequences that are padded with zeros.
#pragma once

#include <vector>

#include "cli/export/onnx/features.h"
#include "cli/export/onnx/graph.h"
#include "cli/export/onnx/layers.h"
#include "common/job_config/job_config.h"

namespace pepnet {

// By encoder: [batch, width]. `leaves`: as AddFeatures() makes them.
StatusOr<std::vector<OnnxGraph::Value>> AddEncoders(const JobConfig& config,
                                                    const std::vector<OnnxLeaf>& leaves,
                                                    OnnxLayers* layers);

}  // namespace pepnet
