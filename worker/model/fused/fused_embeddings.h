// FusedEmbeddings: the dense embeddings of a network over one batch
// (common/job_config/dense_embedding.h), from the values of leaves to vectors, and from the
// vectors' gradients to those of the parameters. Values get no gradient.
//
// Memory:  arrays grow to the largest batch seen and are kept. Backward computes forward's small
//          parts once more.
// Threads: ranges of rows may be computed by different threads, each with a Scratch and gradients
//          of its own, between two calls of Begin(), which one thread makes.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "common/job_config/job_config.h"
#include "worker/model/parameters.h"
#include "worker/model/pepnet_model.h"

namespace pepnet {

class FusedEmbeddings {
 public:
  // Arrays of one row, by channel.
  struct Scratch {
    std::vector<float> hidden, weights, gradient, hidden_gradient;
  };

  // Borrows the config.
  FusedEmbeddings(const JobConfig* config, const DenseParameters& parameters);

  bool empty() const { return layers_.empty(); }
  // By embedding: [rows, width].
  std::vector<const float*> Outputs() const;
  std::vector<float*> OutputGradients();

  // Starts a batch, which it borrows.
  void Begin(const ModelInput& input);
  // Rows [begin, end). `values`: the arena of the parameters.
  void Forward(int64_t begin, int64_t end, const float* values, Scratch* scratch);
  // `gradients`: an arena that is added to.
  void Backward(int64_t begin, int64_t end, const float* values, float* gradients,
                Scratch* scratch);

 private:
  // Places in the arenas.
  struct Layer {
    DenseEmbedding embedding;
    int64_t projection = -1, mixing = -1, meta = -1;
  };
  // hidden = leaky_relu(x w), weights = softmax((M hidden + keep_prob hidden) / temperature)
  void AutoDisWeights(const Layer& layer, float x, const float* values, Scratch* scratch) const;

  std::vector<Layer> layers_;
  std::vector<AlignedBuffer<float>> outputs_, output_gradients_;
  const ModelInput* in_ = nullptr;
};

}  // namespace pepnet
