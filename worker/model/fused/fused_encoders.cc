#include "worker/model/fused/fused_encoders.h"

#include <algorithm>

#include "worker/model/fused/kernels/sized_buffer.h"

namespace pepnet {
namespace {

// Elements of one leaf in one row that are positions of its group.
struct Positions {
  int64_t first_element = 0, count = 0;
};

Positions PositionsOf(const std::vector<int32_t>& elements, const std::vector<int32_t>& offsets,
                      int64_t row) {
  // The leaf listed first says how many positions a row has. Other leaves of the group may have
  // fewer elements, which are padded with zeros, or more, which are cut off.
  return {elements[row],
          std::min(elements[row + 1] - elements[row], offsets[row + 1] - offsets[row])};
}

}  // namespace

FusedEncoders::FusedEncoders(const JobConfig* config, const DenseParameters& parameters,
                             int threads)
    : config_(config),
      model_(config->model),
      groups_(model_.sequence_groups.size()),
      outputs_(model_.encoders.size()),
      output_gradients_(model_.encoders.size()),
      saved_(threads),
      scratch_(threads) {
  for (const Encoder& encoder : model_.encoders) {
    const int channels = model_.sequence_groups[encoder.sequence_group].width;
    encoders_.push_back(MakeSequenceEncoder(encoder, channels, parameters));
  }
  for (auto& of_thread : saved_) of_thread.resize(encoders_.size());
}

std::vector<const float*> FusedEncoders::Outputs() const {
  std::vector<const float*> outputs;
  for (const AlignedBuffer<float>& output : outputs_) outputs.push_back(output.data());
  return outputs;
}

std::vector<float*> FusedEncoders::OutputGradients() {
  std::vector<float*> gradients;
  for (AlignedBuffer<float>& gradient : output_gradients_) gradients.push_back(gradient.data());
  return gradients;
}

void FusedEncoders::Begin(const ModelInput& input, const EncoderPass& pass, int64_t first_row) {
  in_ = &input;
  pass_ = pass;
  const Batch& batch = *input.batch;
  for (size_t g = 0; g < groups_.size(); ++g) {
    const SequenceGroup& group = model_.sequence_groups[g];
    // Offsets are borrowed from the batch: the positions of a group are the elements of its first
    // leaf.
    groups_[g].offsets = &batch.elements[config_->leaves[group.sequence[0]].feature];
    Sized(&groups_[g].sequence, groups_[g].offsets->back() * int64_t{group.width});
    if (!group.query.empty()) Sized(&groups_[g].query, batch.rows * group.width);
  }
  size_t saved = 0;
  for (size_t e = 0; e < encoders_.size(); ++e) {
    Sized(&outputs_[e], batch.rows * model_.encoders[e].width);
    saved += encoders_[e]->SavedBytes(groups_[model_.encoders[e].sequence_group].offsets->back());
  }
  // Saved arrays grow with the positions of the batch, hence the bound. Backward of an encoder
  // gives the same bits with them and without (sequence_encoder.h).
  keeps_ = pass.train && saved <= kMostSavedBytes;
  global_rows_.resize(batch.rows);
  for (int64_t row = 0; row < batch.rows; ++row) global_rows_[row] = first_row + row;

  // Rows weigh as many positions as they have, and one more: sequences differ by orders of
  // magnitude in length, and equal numbers of rows would leave most threads waiting for one.
  std::vector<int64_t> weights(batch.rows + 1, 0);
  for (int64_t row = 0; row < batch.rows; ++row) {
    weights[row + 1] = weights[row] + 1;
    for (const Group& group : groups_) {
      weights[row + 1] += (*group.offsets)[row + 1] - (*group.offsets)[row];
    }
  }
  const int64_t threads = static_cast<int64_t>(saved_.size());
  shares_.assign(1, 0);
  for (int64_t thread = 1; thread <= threads; ++thread) {
    // The share ends at the first row whose weight reaches it. Two ends may fall on one row; the
    // thread between them has no rows.
    const auto at =
        std::lower_bound(weights.begin(), weights.end(), weights.back() * thread / threads);
    shares_.push_back(thread == threads ? batch.rows : at - weights.begin());
  }
}

SequenceBlock FusedEncoders::BlockOf(size_t encoder, int64_t begin, int64_t end) const {
  const int number = model_.encoders[encoder].sequence_group;
  const Group& group = groups_[number];
  SequenceBlock block;
  block.rows = end - begin;
  block.width = model_.sequence_groups[number].width;
  block.offsets = group.offsets->data() + begin;
  block.sequence = group.sequence.data();
  block.query = model_.sequence_groups[number].query.empty()
                    ? nullptr
                    : group.query.data() + begin * block.width;
  block.global_rows = global_rows_.data() + begin;
  return block;
}

void FusedEncoders::Pack(size_t number, int64_t begin, int64_t end) {
  const SequenceGroup& group = model_.sequence_groups[number];
  Group& arrays = groups_[number];
  const std::vector<int32_t>& offsets = *arrays.offsets;
  const int64_t width = group.width;
  int64_t column = 0;
  // Leaves go into column stripes of [positions, width], as in FusedBatch. A thread writes the
  // positions of its own rows only, a range of each array.
  for (const int l : group.sequence) {
    const Leaf& leaf = config_->leaves[l];
    const std::vector<int32_t>& elements = in_->batch->elements[leaf.feature];
    for (int64_t row = begin; row < end; ++row) {
      const Positions here = PositionsOf(elements, offsets, row);
      const float* from = in_->leaves[l] + here.first_element * leaf.dim;
      float* to = arrays.sequence.data() + offsets[row] * width + column;
      for (int64_t i = 0; i < here.count; ++i, from += leaf.dim, to += width) {
        std::copy_n(from, leaf.dim, to);
      }
      for (int64_t i = here.count; i < offsets[row + 1] - offsets[row]; ++i, to += width) {
        std::fill_n(to, leaf.dim, 0.0f);
      }
    }
    column += leaf.dim;
  }
  if (group.query.empty()) return;
  // The query is as wide as a position; columns after its leaves stay zero.
  std::fill_n(arrays.query.data() + begin * width, (end - begin) * width, 0.0f);
  column = 0;
  for (const int l : group.query) {
    const int64_t dim = config_->leaves[l].dim;
    if (column + dim > width) break;  // of an encoder that does not read the query
    for (int64_t row = begin; row < end; ++row) {
      std::copy_n(in_->leaves[l] + row * dim, dim, arrays.query.data() + row * width + column);
    }
    column += dim;
  }
}

void FusedEncoders::Unpack(size_t number, int64_t begin, int64_t end) {
  const SequenceGroup& group = model_.sequence_groups[number];
  const Group& arrays = groups_[number];
  const std::vector<int32_t>& offsets = *arrays.offsets;
  const int64_t width = group.width;
  int64_t column = 0;
  for (const int l : group.sequence) {
    const Leaf& leaf = config_->leaves[l];
    const std::vector<int32_t>& elements = in_->batch->elements[leaf.feature];
    for (int64_t row = begin; leaf_gradients_[l] != nullptr && row < end; ++row) {
      const Positions here = PositionsOf(elements, offsets, row);
      const float* from = arrays.sequence_gradient.data() + offsets[row] * width + column;
      float* to = leaf_gradients_[l] + here.first_element * leaf.dim;
      // Positions that were padding get no gradient; elements that were cut off keep their zero.
      for (int64_t i = 0; i < here.count; ++i, from += width, to += leaf.dim) {
        for (int64_t d = 0; d < leaf.dim; ++d) to[d] += from[d];
      }
    }
    column += leaf.dim;
  }
  // A query's leaf may stand in groups, too, whose gradient lies there already: it was set before a
  // barrier, and this adds to it.
  column = 0;
  for (const int l : group.query) {
    const int64_t dim = config_->leaves[l].dim;
    if (column + dim > width) break;
    for (int64_t row = begin; leaf_gradients_[l] != nullptr && row < end; ++row) {
      const float* const from = arrays.query_gradient.data() + row * width + column;
      float* const to = leaf_gradients_[l] + row * dim;
      for (int64_t d = 0; d < dim; ++d) to[d] += from[d];
    }
    column += dim;
  }
}

void FusedEncoders::Forward(int thread, const float* values) {
  const int64_t begin = shares_[thread], end = shares_[thread + 1];
  if (begin == end) return;
  const EncoderPass pass = PassOf(thread);
  for (size_t g = 0; g < groups_.size(); ++g) Pack(g, begin, end);
  for (size_t e = 0; e < encoders_.size(); ++e) {
    const int64_t width = model_.encoders[e].width;
    encoders_[e]->Forward(values, BlockOf(e, begin, end), pass, outputs_[e].data() + begin * width,
                          width, keeps_ ? &saved_[thread][e] : nullptr);
  }
}

void FusedEncoders::BeginBackward(const std::vector<float*>& leaf_gradients) {
  leaf_gradients_ = leaf_gradients;
  const int64_t rows = in_->batch->rows;
  for (size_t e = 0; e < encoders_.size(); ++e) {
    Sized(&output_gradients_[e], rows * model_.encoders[e].width);
  }
  for (size_t g = 0; g < groups_.size(); ++g) {
    const SequenceGroup& group = model_.sequence_groups[g];
    Sized(&groups_[g].sequence_gradient, groups_[g].offsets->back() * int64_t{group.width});
    if (!group.query.empty()) Sized(&groups_[g].query_gradient, rows * group.width);
  }
}

void FusedEncoders::Backward(int thread, const float* values, float* gradients) {
  const int64_t begin = shares_[thread], end = shares_[thread + 1];
  if (begin == end) return;
  const EncoderPass pass = PassOf(thread);
  // Encoders add to these, since several may read one group; each thread clears its own range.
  for (size_t g = 0; g < groups_.size(); ++g) {
    const int64_t width = model_.sequence_groups[g].width;
    const std::vector<int32_t>& offsets = *groups_[g].offsets;
    std::fill(groups_[g].sequence_gradient.data() + offsets[begin] * width,
              groups_[g].sequence_gradient.data() + offsets[end] * width, 0.0f);
    if (!model_.sequence_groups[g].query.empty()) {
      std::fill_n(groups_[g].query_gradient.data() + begin * width, (end - begin) * width, 0.0f);
    }
  }
  // Encoders run in the order of the config, so that the sum over them has one order.
  for (size_t e = 0; e < encoders_.size(); ++e) {
    const Encoder& encoder = model_.encoders[e];
    const SequenceBlock block = BlockOf(e, begin, end);
    Group& group = groups_[encoder.sequence_group];
    float* const query =
        block.query == nullptr ? nullptr : group.query_gradient.data() + begin * block.width;
    encoders_[e]->Backward(values, block, pass, output_gradients_[e].data() + begin * encoder.width,
                           encoder.width, keeps_ ? &saved_[thread][e] : nullptr,
                           group.sequence_gradient.data(), query, gradients);
  }
  // A group's gradient is complete only after the last encoder.
  for (size_t g = 0; g < groups_.size(); ++g) Unpack(g, begin, end);
}

}  // namespace pepnet
