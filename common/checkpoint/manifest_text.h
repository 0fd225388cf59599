// The manifest as text. Used by the reader and writer of this folder and by their tests.
//
//   {
//     "format_version": 1, "step": n, "world": {"servers": s, "workers": w, "batch_size": b}, "seed": n,
//     "shape": text, "string_hash": text, "cpu": text,
//     "files": [{"file": path, "bytes": n, "crc32c": hex}...],
//     "parts": [{"table": name, "file": path, "rows": n, "dim": d, "state_dim": d, "bytes": n, "crc32c": hex,
//                "buckets": [{"bucket": b, "first_row": n, "rows": n, "digest": hex}...]}...],
//     "checksum": hex
//   }
//
// "checksum" is the crc32c of every byte before the comma that precedes it; it is the last line but one, so a single
// changed byte anywhere in the file is noticed. A reader refuses a format_version it does not know.
#pragma once

#include <string>

#include "common/checkpoint/checkpoint.h"

namespace pepnet {

inline constexpr const char* kManifestName = "manifest.json";

// An error if file names repeat or leave the directory.
StatusOr<std::string> ManifestToText(const Manifest& manifest);
StatusOr<Manifest> ManifestFromText(const std::string& text);

}  // namespace pepnet
