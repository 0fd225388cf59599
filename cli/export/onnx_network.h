// The network of spec 1 inside an ONNX graph: from the leaves to the outputs of predict.
#pragma once

#include <vector>

#include "cli/export/onnx_features.h"
#include "cli/export/onnx_graph.h"
#include "common/job_config/job_config.h"
#include "worker/model/parameters.h"

namespace pepnet {

// `leaves` as AddFeatures() returns them. Adds the dense parameters under the reference's names and declares
// the outputs (OutputRules).
Status AddNetwork(const JobConfig& config, const DenseParameters& parameters, const std::vector<OnnxLeaf>& leaves,
                  OnnxGraph* graph);

}  // namespace pepnet
