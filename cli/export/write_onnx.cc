#include "cli/export/formats.h"
#include "cli/export/onnx/network.h"
#include "worker/data/encode/feature_encoder.h"

namespace pepnet {

StatusOr<std::vector<std::string>> WriteOnnx(const ExportSource& source,
                                             const std::string& directory, int64_t external_bytes) {
  const JobConfig& config = *source.config;
  EncoderOptions options;
  // For default values of hash features.
  options.farm_hash = source.manifest->string_hash == "farm";
  PEPNET_ASSIGN_OR_RETURN(const std::unique_ptr<FeatureEncoder> encoder,
                          FeatureEncoder::Create(config.features, options));
  OnnxGraph graph(directory + "/model.onnx", external_bytes);
  PEPNET_ASSIGN_OR_RETURN(const std::vector<OnnxLeaf> leaves,
                          AddFeatures(config, *encoder, source.tables, &graph));
  PEPNET_RETURN_IF_ERROR(AddNetwork(config, *source.parameters, leaves, source.own_domain, &graph));
  graph.SetMetadata("pepnet.step", absl::StrCat(source.manifest->step));
  graph.SetMetadata("pepnet.string_hash", source.manifest->string_hash);
  return graph.Write();
}

}  // namespace pepnet
