// SequenceEncoder: one vector per row of a block of sequences, forward and backward, hand-written.
// Padding does not exist here: the positions of the rows lie one behind another, and only positions
// that exist are computed.
//
// Values:    the formulas of the reference up to rounding, in any padding of it. A row's output
//            depends on the rows around it by rounding alone. Sums run in an order that depends on
//            the shape alone.
// Dropout:   a row's masks are those of its global row. Element e of position i of a hidden layer
//            `width` wide is element i * width + e; the attention weight of positions i and j in
//            head h is element (h n + i) n + j, n being the positions of the row that exist.
// Empty row: its output is zero (but for the query in that of kMultiWindowDin), and so are its
// gradients.
// NaN:       goes through, so that a run that diverges shows it in its loss.
// Threads:   an encoder holds no state but its places in the arenas, so any number of threads may
//            use it; blocks of different threads need EncoderBuffers and gradients of their own.
// Speed:     blocks of some hundred positions or more keep matrix products worthwhile; larger ones
//            are cut inside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "common/job_config/encoder.h"
#include "worker/model/fused/encoders/encoder_buffers.h"
#include "worker/model/parameters.h"

namespace pepnet {

// A block of rows, borrowed.
struct SequenceBlock {
  int64_t rows = 0;
  int64_t width = 0;  // C
  // [rows + 1], ascending: row b's positions are offsets[b] to offsets[b + 1] - 1
  const int32_t* offsets = nullptr;
  // [offsets[rows], C], indexed by the offsets, of which the first may be above 0
  const float* sequence = nullptr;
  const float* query = nullptr;          // [rows, C], padded on the right with zeros; null: none
  const int64_t* global_rows = nullptr;  // [rows], for dropout; null where nothing drops
};

struct EncoderPass {
  bool train = false;  // false: nothing is dropped
  uint64_t seed = 0;
  int64_t step = 0;
  // The calling thread's arrays for what no later call needs; any encoders may share them. Null:
  // the call allocates.
  EncoderBuffers* scratch = nullptr;
};

class SequenceEncoder {
 public:
  // Forward keeps this of one block for the Backward of the same block, which overwrites it.
  using Saved = EncoderBuffers;

  virtual ~SequenceEncoder() = default;

  // Of the output: EncoderOutputWidth().
  virtual int64_t width() const = 0;
  // The most that Forward keeps in a Saved for so many positions.
  virtual size_t SavedBytes(int64_t positions) const = 0;

  // out[b], rows out_stride floats apart, is overwritten. values: the arena of DenseParameters.
  // saved null: keeps nothing, which costs Backward as much as another Forward.
  virtual void Forward(const float* values, const SequenceBlock& block, const EncoderPass& pass,
                       float* out, int64_t out_stride, Saved* saved) const = 0;
  // d_out: the gradient of out. Adds to d_sequence (indexed as `sequence`), d_query ([rows, C];
  // null: not wanted, and there may be no query) and `gradients`, an arena of the layout of
  // `values`. saved null: computes forward again; the result is the same to the bit. Precondition:
  // `values`, `block` and `pass` are those of Forward.
  virtual void Backward(const float* values, const SequenceBlock& block, const EncoderPass& pass,
                        const float* d_out, int64_t d_out_stride, Saved* saved, float* d_sequence,
                        float* d_query, float* gradients) const = 0;
};

// Null-free. Finds the encoder's parameters by name; a parameter that is missing, or of another
// shape than `channels` asks for, is a bug of the caller and ends the process. The result borrows
// nothing.
std::unique_ptr<SequenceEncoder> MakeSequenceEncoder(const Encoder& encoder, int64_t channels,
                                                     const DenseParameters& parameters);

}  // namespace pepnet
