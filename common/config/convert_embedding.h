// From a feature's message to the width of its rows, and to the dense embedding of a raw feature
// (docs/spec.md 3.12).
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"

#include "common/base/status.h"
#include "common/config/parse/config_source.h"
#include "common/job_config/job_config.h"
#include "proto/feature.pb.h"

namespace pepnet {

inline constexpr uint32_t kMaxDim = 1 << 16;

// Error: a width that is missing or out of range; the message says what was `expected`, and the
// range behind it.
template <typename ProtoFeature>
StatusOr<int> ReadEmbeddingDim(const ProtoFeature& from, const std::string& expected,
                               const ConfigSource& source) {
  const uint32_t dim = from.embedding_dim();
  if (dim > 0 && dim <= kMaxDim) return static_cast<int>(dim);
  return source.Error(from, "embedding_dim",
                      from.has_embedding_dim() ? absl::StrCat(dim) : "is missing", "; ", expected,
                      ", 1 to ", kMaxDim);
}

// autodis or mlp of `raw`: fills feature->embedding, whose parameters it names as the reference
// does.
Status ConvertEmbedding(const config::RawFeature& raw, const ConfigSource& source,
                        Feature* feature);

}  // namespace pepnet
