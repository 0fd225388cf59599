// The network of spec 1 inside an ONNX graph: from the leaves to the outputs of predict.
#pragma once

#include <string>
#include <vector>

#include "cli/export/onnx/features.h"
#include "cli/export/onnx/graph.h"
#include "common/job_config/job_config.h"
#include "worker/model/parameters.h"

namespace pepnet {

// `leaves` as AddFeatures() returns them. Adds the dense parameters under the reference's names and
// declares the outputs (OutputRules). With `own_domain` also the input of OwnDomainInput(), and the
// outputs of OwnDomainOutputs().
Status AddNetwork(const JobConfig& config, const DenseParameters& parameters,
                  const std::vector<OnnxLeaf>& leaves, bool own_domain, OnnxGraph* graph);

// The name of the input [batch] int64 that holds the domain of each row: that of the column
// (domain_input_name), with ".domain" behind it where a feature reads that column, too. A number
// that is no domain is an error of the runtime.
// Precondition: the model has domain towers.
std::string OwnDomainInput(const JobConfig& config);

}  // namespace pepnet
