// LabelCopies: finds features that are made of a label: all rows of one class hold the same cell,
// and no row of the other class does. A copy of the label is one, and so is a time of purchase that
// is empty without a purchase. No model is needed to see it, and the AUC of .9999 that it buys is
// gone in production.
//
// Cost:    per row, label and feature only until a row speaks against it, which is a few rows for
//          an honest feature, and for the first kWatchedRows rows at most. What a worker reads
//          before its first row of a class is not compared.
// Threads: one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/job_config/job_config.h"
#include "worker/data/batch.h"
#include "worker/watch/cell.h"
#include "worker/watch/warning.h"

namespace pepnet {

class LabelCopies {
 public:
  static constexpr int64_t kWatchedRows = 65536;  // of all workers together
  static constexpr int64_t kLeastRows = 50;       // of each class, for a verdict

  // `labels`: indices into DataConfig::labels, of labels that are 0 or 1. Borrows the config.
  LabelCopies(const JobConfig* config, const std::vector<int>& labels);

  void Observe(const Batch& batch);
  // The observations of this worker, for Warnings(); JSON.
  std::string State() const;
  // From the states of all workers.
  std::vector<Warning> Warnings(const std::vector<std::string>& states) const;

 private:
  // The assumption that the rows with label `side`, and no others, hold `cell`.
  struct Candidate {
    int label;
    size_t feature;
    bool side;
    bool known = false;  // whether there was such a row, and `cell` is set
    bool refuted = false;
    Cell cell = {};
    int64_t rows[2] = {0, 0};  // compared, by label
  };
  void Compare(const Batch& batch, Candidate* candidate) const;

  const JobConfig* config_;
  std::vector<Candidate> candidates_;
  int64_t global_rows_ = 0;
};

}  // namespace pepnet
