// FusedEncoders: the sequence encoders of a network over one batch: from leaves to the encoders'
// outputs, and from the gradients of the outputs to those of leaves and parameters.
//
// Threads:   the rows are cut into one share a thread, of about as many positions each. A thread
//          touches the arrays of its own rows only, so threads may run side by side between two
//          calls of Begin...(), which one thread makes.
// Memory:  arrays grow to the largest batch seen and are kept. What forward keeps for backward is
//          bounded: beyond kMostSavedBytes backward computes forward once more.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "common/job_config/job_config.h"
#include "worker/model/fused/encoders/sequence_encoder.h"
#include "worker/model/parameters.h"
#include "worker/model/pepnet_model.h"

namespace pepnet {

class FusedEncoders {
 public:
  static constexpr size_t kMostSavedBytes = size_t{1} << 30;

  // Borrows the config.
  FusedEncoders(const JobConfig* config, const DenseParameters& parameters, int threads);

  bool empty() const { return encoders_.empty(); }
  // By encoder: [rows, width].
  std::vector<const float*> Outputs() const;
  std::vector<float*> OutputGradients();

  // Starts a batch, which it borrows. `first_row`: global number of its first row, for dropout.
  void Begin(const ModelInput& input, const EncoderPass& pass, int64_t first_row);
  // `values`: the arena of the parameters.
  void Forward(int thread, const float* values);
  // leaf_gradients: by leaf; null without a table. Those of sequence groups are to be zero, and are
  // added to.
  void BeginBackward(const std::vector<float*>& leaf_gradients);
  // Behind Forward() of the same thread. `gradients`: an arena that is added to.
  void Backward(int thread, const float* values, float* gradients);

 private:
  // The arrays of one sequence group.
  struct Group {
    const std::vector<int32_t>* offsets = nullptr;     // of the leaf listed first
    AlignedBuffer<float> sequence, sequence_gradient;  // [positions, width]
    AlignedBuffer<float> query, query_gradient;        // [rows, width], padded with zeros
  };
  EncoderPass PassOf(int thread) {
    EncoderPass pass = pass_;
    pass.scratch = &scratch_[thread];
    return pass;
  }
  void Pack(size_t group, int64_t begin, int64_t end);
  void Unpack(size_t group, int64_t begin, int64_t end);
  SequenceBlock BlockOf(size_t encoder, int64_t begin, int64_t end) const;

  const JobConfig* const config_;
  const Model& model_;
  std::vector<std::unique_ptr<SequenceEncoder>> encoders_;
  std::vector<Group> groups_;
  std::vector<AlignedBuffer<float>> outputs_, output_gradients_;  // by encoder
  std::vector<std::deque<SequenceEncoder::Saved>> saved_;         // by thread, encoder
  std::vector<EncoderBuffers> scratch_;                           // by thread

  // The batch under way.
  const ModelInput* in_ = nullptr;
  EncoderPass pass_;
  bool keeps_ = false;
  std::vector<int64_t> shares_;       // thread l has rows [shares_[l], shares_[l + 1])
  std::vector<int64_t> global_rows_;  // by row
  std::vector<float*> leaf_gradients_;
};

}  // namespace pepnet
