// DomainCounts: rows and positives of each domain in the training batches. A domain is a value of
// model_config's domain_input_name, which has towers of its own; without one, of the first feature
// of the domain group, if its table has at most kMostDomains rows.
//
// Cost:    an addition per row and label.
// Threads: one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/job_config/job_config.h"
#include "worker/data/batch.h"
#include "worker/watch/warning.h"

namespace pepnet {

class DomainCounts {
 public:
  static constexpr int64_t kMostDomains = 1000;

  // `labels`: indices into DataConfig::labels, of labels that are 0 or 1. Borrows the config.
  DomainCounts(const JobConfig* config, std::vector<int> labels);

  void Observe(const Batch& batch);
  // Numbers that are summed over workers: by domain its rows, then by label its positives.
  const std::vector<int64_t>& sums() const { return sums_; }
  // Of the sums over all workers.
  std::vector<Warning> Warnings(const std::vector<int64_t>& sums) const;

 private:
  std::string NameOf(int64_t domain) const;
  // "domain 3 (812 rows)", "domains 3 (812 rows), 5 (90 rows) and 2 more".
  std::string List(const std::vector<int64_t>& domains, const std::vector<int64_t>& sums) const;

  const JobConfig* config_;
  std::vector<int> labels_;
  int label_ = -1, feature_ = -1;  // what numbers the domains; both -1: nothing does
  std::string column_;             // its name
  bool has_towers_ = false;        // each domain has towers of its own
  int64_t count_ = 0;
  std::vector<int64_t> sums_;
};

}  // namespace pepnet
