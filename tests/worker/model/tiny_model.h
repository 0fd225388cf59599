// A tiny PEPNet with random weights, features and labels for tests: three features, f0 and f1 with
// tables and in two groups each, r a raw value.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/job_config/job_config.h"
#include "tests/worker/model/reference_model.h"
#include "worker/data/batch.h"
#include "worker/model/parameters.h"
#include "worker/model/pepnet_model.h"

namespace pepnet {

// Groups: all = f0 r f1, domain = f1, uia = f0. One tower "ctr" on label "y" with a two-layer MLP.
// Labels: y (0 or 1), c (0, 1 or 2), v (real). Sample weights: w.
JobConfig TinyConfig();
// TinyConfig with towers ctr, focal, soft (C = 3), two (C = 2) and val: every kind of loss, two in
// one tower, row weights.
JobConfig AllLossesConfig();
// TinyConfig with two towers of jrc_loss over sessions named by f0: one alone, one beside another
// loss, with row weights of which some are 0.
JobConfig SessionConfig();
// TinyConfig with variational dropout of the groups all and uia, which lists r as well.
JobConfig VariationalConfig();
// TinyConfig with towers ctr and val_ue for each of three domains, chosen by label "c".
JobConfig DomainConfig();
// TinyConfig with two sequence features, of ids and of values, and an encoder of every kind: din,
// multi-window din and pooling in all, self attention (dropping a third) in domain, simple
// attention in uia.
JobConfig SequenceConfig();
// TinyConfig whose r has an mlp, with a feature of three values that has one, too, and one with
// autodis: all = f0 r f1 m a, uia = f0 m.
JobConfig EmbeddingConfig();
Tower TinyTower(const std::string& name, int label, LossKind kind, const Activation& activation,
                int num_class = 1);

struct TinyData {
  Batch batch;
  std::vector<AlignedBuffer<float>> leaves;
};
TinyData RandomData(const JobConfig& config, int64_t rows, uint64_t seed);
// Rows [begin, end) as a worker's slice of the same global batch.
TinyData Slice(const JobConfig& config, const TinyData& data, int64_t begin, int64_t end);

struct TinyModel {
  TinyModel(JobConfig config, uint64_t seed, DenseEngine engine = DenseEngine::kFused)
      : TinyModel(std::move(config), ModelOptions{.engine = engine, .seed = seed, .threads = 1}) {}
  // options.seed is also that of the initial values.
  TinyModel(JobConfig config, const ModelOptions& options);

  ModelInput Input(const TinyData& data, const std::vector<std::vector<float>>* scales,
                   int64_t step = 0) const;
  ReferencePoint Point(const TinyData& data) const;

  JobConfig config;
  uint64_t seed;
  DenseParameters parameters;
  std::unique_ptr<PepnetModel> model;
};

}  // namespace pepnet
