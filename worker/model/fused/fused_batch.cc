#include "worker/model/fused/fused_batch.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "common/base/log_functions.h"

namespace pepnet {

FusedBatch::FusedBatch(const JobConfig* config, const FusedLayers* layers)
    : config_(config),
      layers_(layers),
      main_width_(config->model.main.width),
      domain_width_(config->model.domain ? config->model.domain->width : 0),
      uia_width_(config->model.uia ? config->model.uia->width : 0),
      leaves_(config->leaves.size()),
      occurrences_(leaves_ + config->model.encoders.size() + config->model.embeddings.size()) {
  Locate(config->model.main, Occurrence::Group::kMain);
  if (config->model.domain) Locate(*config->model.domain, Occurrence::Group::kDomain);
  if (config->model.uia) Locate(*config->model.uia, Occurrence::Group::kUia);
}

void FusedBatch::Locate(const FeatureGroup& group, Occurrence::Group kind) {
  std::vector<size_t>& listed = listed_[static_cast<size_t>(kind)];
  const size_t encoders = config_->model.encoders.size();
  // A dense embedding stands for its leaf: a group that lists the leaf reads the vector made of it.
  for (const int leaf : group.leaves) {
    const int embedding = config_->leaves[leaf].embedding;
    listed.push_back(embedding < 0 ? static_cast<size_t>(leaf) : leaves_ + encoders + embedding);
  }
  for (const int encoder : group.encoders) listed.push_back(leaves_ + encoder);
  // The columns of a group stand in the order of the config; a source may stand in several groups:
  //   | leaf | leaf | ... | encoder | ... |
  int64_t column = 0;
  for (const size_t source : listed) {
    occurrences_[source].push_back({kind, column});
    column += WidthOf(source);
  }
}

int64_t FusedBatch::WidthOf(size_t source) const {
  if (source < leaves_) return config_->leaves[source].dim;
  const size_t computed = source - leaves_, encoders = config_->model.encoders.size();
  return computed < encoders ? config_->model.encoders[computed].width
                             : config_->model.embeddings[computed - encoders].width;
}

void FusedBatch::Begin(const ModelInput& input, const std::vector<const float*>& computed,
                       bool by_domain) {
  in_ = &input;
  rows_ = input.batch->rows;
  CheckOrDie(input.leaves.size() == leaves_, "one pointer per leaf");
  // Sources are numbered: leaves, then encoders' outputs, then embeddings' (see the header).
  sources_ = input.leaves;
  sources_.insert(sources_.end(), computed.begin(), computed.end());
  for (size_t source = 0; source < occurrences_.size(); ++source) {
    CheckOrDie(rows_ == 0 || occurrences_[source].empty() || sources_[source] != nullptr,
               "no values for a column of the groups");
  }
  order_.resize(static_cast<size_t>(rows_));
  // The sort is stable: rows of one domain keep the order of the batch, so that sums over them, and
  // with them the bits, do not depend on the algorithm.
  std::iota(order_.begin(), order_.end(), 0);
  if (by_domain && config_->model.domain_label >= 0) {
    std::stable_sort(order_.begin(), order_.end(),
                     [&](int64_t a, int64_t b) { return domain(a) < domain(b); });
  }
  Sized(&input_, rows_ * input_width());
  if (!config_->model.domain) return;
  Sized(&gate_input_, rows_ * (domain_width_ + main_width_));
  Sized(&epnet_hidden_, rows_ * layers_->epnet->first.out);
  Sized(&epnet_gate_, rows_ * main_width_);
}

void FusedBatch::SizeGradients() {
  Sized(&input_gradient_, rows_ * input_width());
  if (config_->model.domain) Sized(&domain_gradient_, rows_ * domain_width_);
}

void FusedBatch::Gather(int64_t begin, int64_t end) {
  const Model& model = config_->model;
  if (model.uia) GatherGroup(Occurrence::Group::kUia, begin, end, Input(begin));
  // Without EPNet the main group is E and goes to its final place; with it, to the gate's input,
  // and EPNet writes E to Input.
  if (!model.domain) {
    return GatherGroup(Occurrence::Group::kMain, begin, end, Input(begin).Column(uia_width_));
  }
  GatherGroup(Occurrence::Group::kDomain, begin, end, GateInput(begin));
  GatherGroup(Occurrence::Group::kMain, begin, end, GateInput(begin).Column(domain_width_));
}

void FusedBatch::GatherGroup(Occurrence::Group group, int64_t begin, int64_t end, Matrix to) const {
  const std::vector<size_t>& listed = listed_[static_cast<size_t>(group)];
  const float* const factors = factors_[static_cast<size_t>(group)].values;
  int64_t column = 0;
  // The loop goes source by source: each reads one array from front to back and writes a column
  // stripe.
  for (size_t s = 0; s < listed.size(); ++s) {
    const int64_t dim = WidthOf(listed[s]);
    const float* const from = sources_[listed[s]];
    for (int64_t i = begin; i < end; ++i) {
      float* const columns = to.data + (i - begin) * to.stride + column;
      std::memcpy(columns, from + order_[i] * dim, dim * sizeof(float));
      if (factors == nullptr) continue;
      const float factor =
          factors[order_[i] * static_cast<int64_t>(listed.size()) + static_cast<int64_t>(s)];
      for (int64_t c = 0; c < dim; ++c) columns[c] *= factor;
    }
    column += dim;
  }
}

Matrix FusedBatch::GradientOf(Occurrence::Group group, int64_t begin) {
  switch (group) {
    case Occurrence::Group::kMain:
      return InputGradient(begin).Column(uia_width_);
    case Occurrence::Group::kDomain:
      return Matrix{domain_gradient_.data(), domain_width_}.Row(begin);
    case Occurrence::Group::kUia:
      return InputGradient(begin);
  }
  return {};
}

void FusedBatch::ScatterFactors(int64_t begin, int64_t end) {
  for (const Occurrence::Group group :
       {Occurrence::Group::kMain, Occurrence::Group::kDomain, Occurrence::Group::kUia}) {
    const GroupFactors& factors = factors_[static_cast<size_t>(group)];
    if (factors.values == nullptr) continue;
    const std::vector<size_t>& listed = listed_[static_cast<size_t>(group)];
    const Matrix gradient = GradientOf(group, begin);
    for (int64_t i = begin; i < end; ++i) {
      // With y = factor * x for the columns of one source and row:
      //   d factor = sum over columns of dy x      dx = factor dy
      // The sum reads dy before it is overwritten.
      float* columns = gradient.data + (i - begin) * gradient.stride;
      for (size_t s = 0; s < listed.size(); ++s) {
        const int64_t dim = WidthOf(listed[s]),
                      place =
                          order_[i] * static_cast<int64_t>(listed.size()) + static_cast<int64_t>(s);
        const float* const from = sources_[listed[s]] + order_[i] * dim;
        float sum = 0;
        for (int64_t c = 0; c < dim; ++c) {
          sum += columns[c] * from[c];
          columns[c] *= factors.values[place];
        }
        factors.gradients[place] = sum;
        columns += dim;
      }
    }
  }
}

void FusedBatch::Scatter(int64_t begin, int64_t end, const std::vector<float*>& leaves,
                         const std::vector<float*>& computed) const {
  // Sources without an array take no gradient: they are values of the input.
  for (size_t source = 0; source < occurrences_.size(); ++source) {
    float* const gradient = source < leaves_ ? leaves[source] : computed[source - leaves_];
    if (gradient != nullptr && !occurrences_[source].empty()) {
      ScatterSource(source, begin, end, gradient);
    }
  }
}

void FusedBatch::ScatterSource(size_t source, int64_t begin, int64_t end, float* gradient) const {
  const int64_t dim = WidthOf(source);
  for (int64_t i = begin; i < end; ++i) {
    // Position i holds row order_[i]: the way back undoes the sorting. Occurrences are added in the
    // order main, domain, uia, so that a shared leaf's bits do not depend on threads.
    float* const to = gradient + order_[i] * dim;
    std::fill_n(to, dim, 0.0f);
    for (const Occurrence& place : occurrences_[source]) {
      const float* from = nullptr;
      switch (place.group) {
        case Occurrence::Group::kMain:
          from = input_gradient_.data() + i * input_width() + uia_width_ + place.column;
          break;
        case Occurrence::Group::kDomain:
          from = domain_gradient_.data() + i * domain_width_ + place.column;
          break;
        case Occurrence::Group::kUia:
          from = input_gradient_.data() + i * input_width() + place.column;
          break;
      }
      for (int64_t c = 0; c < dim; ++c) to[c] += from[c];
    }
  }
}

}  // namespace pepnet
