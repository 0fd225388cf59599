// FusedBatch: the arrays of the batch that the fused engine has under way, all rows of it: the
// group tensors side by side as the layers read them, their gradients, and the order of the rows.
//
// Position:  a row's place in the order in which the layers see the rows. All arrays are by
//            position; with domain routing the rows are sorted by domain (stable), so that each
//            tower reads consecutive positions.
// Sources:   what the groups are made of: the leaves that they list, and behind these what is
//            computed: the outputs of encoders (FusedEncoders), then those of dense embeddings
//            (FusedEmbeddings), which stand for their leaves.
// Input:     [uia ; shared], uia_width() columns and then main_width(): PPNet's gate input, and
//            from column uia_width() on what the tasks read. Without a domain group `shared` is the
//            main group itself.
// GateInput: [domain ; main], EPNet's gate input; only with a domain group.
// Memory:    arrays grow to the largest batch seen and are kept.
// Threads:   positions of disjoint ranges may be used by different threads; Begin() and Select() by
//            one.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "common/job_config/job_config.h"
#include "worker/model/fused/fused_layers.h"
#include "worker/model/fused/fused_variational.h"
#include "worker/model/fused/kernels/fused_gemm.h"
#include "worker/model/fused/kernels/sized_buffer.h"
#include "worker/model/pepnet_model.h"

namespace pepnet {

class FusedBatch {
 public:
  // Borrows both.
  FusedBatch(const JobConfig* config, const FusedLayers* layers);

  // Starts a batch, which it borrows, and so are the computed sources: by encoder, then by
  // embedding, [rows, width]. `by_domain`: sort the rows.
  void Begin(const ModelInput& input, const std::vector<const float*>& computed, bool by_domain);
  // Factors of the sources' columns in the groups, in the order main, domain, uia: borrowed, as the
  // batch is.
  void SetFactors(const std::array<GroupFactors, 3>& factors) { factors_ = factors; }
  // Makes room for the gradients below; contents undefined.
  void SizeGradients();

  int64_t rows() const { return rows_; }
  int64_t row(int64_t position) const { return order_[position]; }
  // 0 without domain towers.
  int64_t domain(int64_t row) const {
    return config_->model.domain_label < 0
               ? 0
               : in_->batch->labels[config_->model.domain_label].integers[row];
  }
  const ModelInput& in() const { return *in_; }
  int64_t main_width() const { return main_width_; }
  int64_t domain_width() const { return domain_width_; }
  int64_t uia_width() const { return uia_width_; }
  int64_t input_width() const { return uia_width_ + main_width_; }

  // Views of position `begin` and on.
  Matrix Input(int64_t begin) { return Matrix{input_.data(), input_width()}.Row(begin); }
  Matrix InputGradient(int64_t begin) {
    return Matrix{input_gradient_.data(), input_width()}.Row(begin);
  }
  Matrix GateInput(int64_t begin) {
    return Matrix{gate_input_.data(), domain_width_ + main_width_}.Row(begin);
  }
  const float* input() const { return input_.data(); }
  const float* gate_input() const { return gate_input_.data(); }
  float* EpnetHidden(int64_t begin) {
    return epnet_hidden_.data() + begin * layers_->epnet->first.out;
  }
  float* EpnetGate(int64_t begin) { return epnet_gate_.data() + begin * main_width_; }
  float* DomainGradient(int64_t begin) { return domain_gradient_.data() + begin * domain_width_; }

  // Copies the sources' values of positions [begin, end), times their factors, into Input and
  // GateInput, all but what EPNet computes.
  void Gather(int64_t begin, int64_t end);
  // From the gradients of the groups' columns to those of the factors and of the columns without
  // them, in place.
  void ScatterFactors(int64_t begin, int64_t end);
  // Each source's gradient as the sum over the groups that list it, from InputGradient and
  // DomainGradient: by leaf for those with a table, [rows, dim], and by computed source.
  void Scatter(int64_t begin, int64_t end, const std::vector<float*>& leaves,
               const std::vector<float*>& computed) const;
  // Whether a group lists the leaf.
  bool Lists(size_t leaf) const { return !occurrences_[leaf].empty(); }

 private:
  // The place of a source's values in the group tensors.
  struct Occurrence {
    enum class Group { kMain, kDomain, kUia };
    Group group;
    int64_t column;
  };
  void Locate(const FeatureGroup& group, Occurrence::Group kind);
  void GatherGroup(Occurrence::Group group, int64_t begin, int64_t end, Matrix to) const;
  void ScatterSource(size_t source, int64_t begin, int64_t end, float* gradient) const;
  int64_t WidthOf(size_t source) const;
  // The gradient of a group's columns from a position on.
  Matrix GradientOf(Occurrence::Group group, int64_t begin);

  const JobConfig* const config_;
  const FusedLayers* const layers_;
  const int64_t main_width_, domain_width_, uia_width_;
  const size_t leaves_;                               // sources that are leaves
  std::vector<std::vector<Occurrence>> occurrences_;  // by source
  std::array<std::vector<size_t>, 3> listed_;         // by group: its sources in order
  std::vector<const float*> sources_;
  std::array<GroupFactors, 3> factors_;  // by group
  const ModelInput* in_ = nullptr;
  int64_t rows_ = 0;
  std::vector<int64_t> order_;  // position -> row of the batch
  AlignedBuffer<float> input_, input_gradient_, gate_input_, domain_gradient_, epnet_hidden_,
      epnet_gate_;
};

}  // namespace pepnet
