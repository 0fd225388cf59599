#include "common/config/convert_embedding.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

#include "common/config/values/value_strings.h"

namespace pepnet {
namespace {

constexpr uint32_t kMaxChannels = 1 << 12;  // of autodis, whose M has as many squared

// A float as the reference writes it into names: six decimals, "_" for the point.
std::string NamePart(double value) {
  return absl::StrReplaceAll(absl::StrFormat("%.6f", value), {{".", "_"}});
}

}  // namespace

Status ConvertEmbedding(const config::RawFeature& raw, const ConfigSource& source,
                        Feature* feature) {
  if (raw.has_autodis() && raw.has_mlp()) {
    return source.Error(raw, "mlp", "autodis is set as well; expected one of them");
  }
  DenseEmbedding& embedding = feature->embedding.emplace();
  // The dense parameters have the names of the reference's modules, which hold all their settings
  // (docs/spec.md section 7). Checkpoints and exports are exchanged by these names, so every
  // character counts, also the twelve blanks behind "feature_name#".
  embedding.values = feature->value_dim;
  PEPNET_ASSIGN_OR_RETURN(embedding.width,
                          ReadEmbeddingDim(raw,
                                           absl::StrCat("with ", raw.has_mlp() ? "mlp" : "autodis",
                                                        ", expected the width of the vector"),
                                           source));
  const std::string prefix = "model.embedding_group.emb_impls.__BASE__.dense_ec.dense_embs.";
  if (raw.has_mlp()) {
    embedding.kind = DenseEmbeddingKind::kMlp;
    const std::string wide =
        embedding.values == 1
            ? ""
            : absl::StrCat("#vdim#", embedding.values, "#feature_name#            ", feature->name);
    embedding.projection =
        absl::StrCat(prefix, "mlp#", embedding.width, wide, ".proj_w_", feature->name, ".weight");
    return absl::OkStatus();
  }
  const config::AutoDisEmbedding& autodis = raw.autodis();
  embedding.kind = DenseEmbeddingKind::kAutoDis;
  if (autodis.num_channels() == 0 || autodis.num_channels() > kMaxChannels) {
    return source.Error(autodis, "num_channels", autodis.num_channels(), "; expected 1 to ",
                        kMaxChannels);
  }
  embedding.channels = static_cast<int>(autodis.num_channels());
  embedding.temperature = ShortestDecimal(autodis.temperature());
  embedding.keep_prob = ShortestDecimal(autodis.keep_prob());
  if (!std::isfinite(embedding.temperature) || embedding.temperature <= 0) {
    return source.Error(autodis, "temperature", embedding.temperature, "; expected a number > 0");
  }
  if (!std::isfinite(embedding.keep_prob)) {
    return source.Error(autodis, "keep_prob", embedding.keep_prob, "; expected a number");
  }
  // autodis mixes `channels` learnt vectors by one number; several numbers of a cell would need
  // several mixtures.
  if (embedding.values != 1) {
    return source.Error(raw, "autodis", "reads one value, but value_dim is ", embedding.values,
                        "; set mlp instead");
  }
  const std::string module =
      absl::StrCat(prefix, "autodis#", embedding.width, "#", embedding.channels, "#",
                   NamePart(embedding.keep_prob), "#", NamePart(embedding.temperature), ".");
  embedding.projection = absl::StrCat(module, "proj_w_", feature->name, ".weight");
  embedding.mixing = absl::StrCat(module, "proj_m_", feature->name, ".weight");
  embedding.meta = absl::StrCat(module, "meta_emb_", feature->name, ".weight");
  return absl::OkStatus();
}

}  // namespace pepnet
