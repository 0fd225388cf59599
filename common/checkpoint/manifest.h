// Manifest: what a checkpoint consists of, and its form as text.
//
//   {
//     "format_version": 1, "step": n, "world": {"servers": s, "workers": w, "batch_size": b},
//     "seed": n, "shape": text, "string_hash": text, "cpu": text,
//     "files": [{"file": path, "bytes": n, "crc32c": hex}...],
//     "parts": [{"table": name, "file": path, "rows": n, "dim": d, "state_dim": d,
//                "data_type": BF16, FP16 or INT8 (absent: FP32), "bytes": n, "crc32c": hex,
//                "buckets": [{"bucket": b, "first_row": n, "rows": n, "digest": hex}...]}...],
//     "candidates": as "parts", of ids that are counted for admission; absent if no table counts
//     them, "filters": as filter_part.h says, of ids that filters count; absent if no table has
//     one, "event_times": [[step, seconds since 1970]...], event_point.h; absent if rows have no
//     time, "checksum": hex
//   }
//
// "checksum" is the crc32c of every byte before the comma that precedes it; it is the last line but
// one, so a single changed byte anywhere in the file is noticed. A reader refuses a format_version
// it does not know.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/checkpoint/event_point.h"
#include "common/checkpoint/filter_part.h"
#include "common/checkpoint/table_part.h"

namespace pepnet {

inline constexpr const char* kManifestName = "manifest.json";

struct FileEntry {
  std::string file;  // relative to the checkpoint directory
  int64_t bytes = 0;
  uint32_t crc32c = 0;
};

struct Manifest {
  int format_version = 1;
  int64_t step = 0;
  uint64_t seed = 0;
  int server_count = 0, worker_count = 0;
  int64_t batch_size = 0;
  std::string shape;  // ShapeDescription(config)
  // "std" or "farm": what made the ids of hash features; "": not known (import)
  std::string string_hash;
  std::string cpu;               // "avx2 fma": bits are promised for one instruction set only
  std::vector<FileEntry> files;  // dense.safetensors, trainer.json
  std::vector<PartEntry> parts;
  std::vector<PartEntry> candidates;
  std::vector<FilterEntry> filters;
  std::vector<EventPoint> event_times;
};

// An error if file names repeat or leave the directory.
StatusOr<std::string> ManifestToText(const Manifest& manifest);
StatusOr<Manifest> ManifestFromText(const std::string& text);

// Reads and checks the manifest alone. DataLoss if the directory exists and its manifest does not.
StatusOr<Manifest> ReadManifest(const std::string& directory);

}  // namespace pepnet
