// TrainState: everything beside the tables that a resumed run needs to continue bitwise (law L4).
//
// Files:   dense.safetensors: every parameter by the reference's name; slot s that its optimizer
//          has of parameter p as "p/s"; with ema "p/average"; inside an accumulation window also
//          "p/accumulated_gradient". trainer.json: the counters below.
// Threads: as a plain struct.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "common/base/status.h"
#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/safetensors.h"
#include "worker/data/batch.h"
#include "worker/data/history/data_history.h"
#include "worker/model/parameters.h"
#include "worker/optim/averages.h"
#include "worker/optim/part_optimizers.h"

namespace pepnet {

struct TrainCounters {
  int64_t finished_steps = 0;  // micro-batches
  DataPosition position;       // in the training data
  int64_t window_epochs = 0;   // finished epochs when the current accumulation window began
  uint64_t seed = 0;
  int64_t batch_size = 0;  // per worker, of the run that saved
  int worker_count = 0;
  int threads = 0;
  int64_t window = 1;  // gradient_accumulation_steps
  DataHistory data;    // the files whose rows `position` counts
};

struct TrainState {
  TrainState(const JobConfig& config, uint64_t seed);

  TrainCounters counters;
  DenseParameters parameters;
  DenseOptimizers optimizers;
  DenseAverages averages;
  // TrainMetrics::State(), of the job; set before saving
  std::map<std::string, std::vector<double>> train_metrics;
  // Sum over the workers, of the current window; zero outside one.
  AlignedBuffer<float> accumulated_gradients;
};

// A copy of the state at one step, ready to be written by another thread.
struct DenseImage {
  std::vector<SafetensorsWriter::Declaration> tensors;
  AlignedBuffer<float> floats;  // tensor after tensor
  std::string counters;         // the text of trainer.json
};
// `image` keeps its memory from one copy to the next.
void CopyDenseState(TrainState& state, DenseImage* image);

// Writes dense.safetensors and trainer.json into the checkpoint under construction.
Status WriteDenseFiles(const DenseImage& image, CheckpointWriter& writer,
                       std::vector<FileEntry>* files);

// Reads them back. Every parameter must be there with its shape. Without `with_optimizer_state` the
// state of the optimizers stays as it is in `state`, whatever optimizers wrote the files. The
// averages are the parameters then, and where the files hold none.
Status ReadDenseFiles(const std::string& directory, TrainState* state,
                      bool with_optimizer_state = true);

// DataLoss unless `manifest` names the dense files and a part of every table: files that it does
// not name are not verified, and rows that it does not have would be random.
Status CheckHoldsState(const Manifest& manifest, const JobConfig& config);

// Whether the checkpoint holds averages of the parameters, by the header of dense.safetensors.
StatusOr<bool> HoldsAverages(const std::string& directory);

// The values of a checkpoint that are meant: of trained parameters that have one, kAverages means
// the average.
enum class DenseValues { kWeights, kAverages };
inline DenseValues ValuesFor(bool uses_averages) {
  return uses_averages ? DenseValues::kAverages : DenseValues::kWeights;
}

// Values only, no counters or optimizer state: for eval, predict, export. DataLoss for values that
// are not finite.
Status ReadDenseValues(const std::string& directory, DenseValues which,
                       DenseParameters* parameters);

// For fine_tune_checkpoint: values of the parameters found there under `map`ped or equal names with
// equal shapes. Returns the names that were not found.
StatusOr<std::vector<std::string>> ReadDenseValuesByName(
    const std::string& directory, const std::map<std::string, std::string>& map,
    DenseParameters* parameters);

// Instruction set that decides the bits here: "x86-64 avx2 fma", followed by the kind of matrix
// products where it is not the one that libtorch takes by itself.
std::string CpuDescription();

}  // namespace pepnet
