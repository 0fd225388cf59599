#include "worker/model/fused/fused_batch.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "common/base/log_functions.h"

namespace pepnet {

float* Sized(AlignedBuffer<float>* buffer, int64_t size) {
  if (static_cast<int64_t>(buffer->size()) < size) {
    buffer->Resize(0);  // nothing to keep
    buffer->Resize(static_cast<size_t>(size));
  }
  return buffer->data();
}

FusedBatch::FusedBatch(const JobConfig* config, const FusedLayers* layers)
    : config_(config),
      layers_(layers),
      main_width_(config->model.main.width),
      domain_width_(config->model.domain ? config->model.domain->width : 0),
      uia_width_(config->model.uia ? config->model.uia->width : 0),
      occurrences_(config->features.size()) {
  Locate(config->model.main, Occurrence::Group::kMain);
  if (config->model.domain) Locate(*config->model.domain, Occurrence::Group::kDomain);
  if (config->model.uia) Locate(*config->model.uia, Occurrence::Group::kUia);
}

void FusedBatch::Locate(const FeatureGroup& group, Occurrence::Group kind) {
  int64_t column = 0;
  for (int f : group.features) {
    occurrences_[f].push_back({kind, column});
    column += config_->features[f].dim;
  }
}

void FusedBatch::Begin(const ModelInput& input, bool by_domain) {
  in_ = &input;
  rows_ = input.batch->rows;
  CheckOrDie(input.features.size() == config_->features.size(), "one pointer per feature");
  for (size_t f = 0; f < occurrences_.size(); ++f) {
    CheckOrDie(rows_ == 0 || occurrences_[f].empty() || input.features[f] != nullptr,
               "no values for feature " + config_->features[f].name);
  }
  order_.resize(static_cast<size_t>(rows_));
  std::iota(order_.begin(), order_.end(), 0);
  if (by_domain && config_->model.domain_label >= 0) {
    std::stable_sort(order_.begin(), order_.end(), [&](int64_t a, int64_t b) { return domain(a) < domain(b); });
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

void FusedBatch::SizeFeatureGradients(std::vector<AlignedBuffer<float>>* gradients) const {
  gradients->resize(config_->features.size());
  for (size_t f = 0; f < config_->features.size(); ++f) {
    const Feature& feature = config_->features[f];
    (*gradients)[f].Resize(feature.in_group && feature.table >= 0 ? static_cast<size_t>(rows_ * feature.dim) : 0);
  }
}

void FusedBatch::Gather(int64_t begin, int64_t end) {
  const Model& model = config_->model;
  if (model.uia) GatherGroup(*model.uia, begin, end, Input(begin));
  if (!model.domain) return GatherGroup(model.main, begin, end, Input(begin).Column(uia_width_));
  GatherGroup(*model.domain, begin, end, GateInput(begin));
  GatherGroup(model.main, begin, end, GateInput(begin).Column(domain_width_));
}

void FusedBatch::GatherGroup(const FeatureGroup& group, int64_t begin, int64_t end, Matrix to) const {
  int64_t column = 0;
  for (int f : group.features) {
    const int64_t dim = config_->features[f].dim;
    const float* const from = in_->features[f];
    for (int64_t i = begin; i < end; ++i) {
      std::memcpy(to.data + (i - begin) * to.stride + column, from + order_[i] * dim, dim * sizeof(float));
    }
    column += dim;
  }
}

void FusedBatch::Scatter(int64_t begin, int64_t end, std::vector<AlignedBuffer<float>>* gradients) const {
  for (size_t f = 0; f < occurrences_.size(); ++f) {
    if (!(*gradients)[f].empty()) ScatterFeature(static_cast<int>(f), begin, end, (*gradients)[f].data());
  }
}

void FusedBatch::ScatterFeature(int f, int64_t begin, int64_t end, float* gradient) const {
  const int64_t dim = config_->features[f].dim;
  for (int64_t i = begin; i < end; ++i) {
    float* const to = gradient + order_[i] * dim;
    std::fill_n(to, dim, 0.0f);
    for (const Occurrence& place : occurrences_[f]) {
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
