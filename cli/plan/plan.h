// `pepnet plan`: what a job will need and reach on a cluster that is not there yet.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/job/flags.h"
#include "common/base/status.h"

namespace pepnet {

struct PlanFlags {
  ConfigFlags config;
  int hosts = 1, workers_per_host = 1, servers_per_host = 1;
  double nic_gbps = 10;
  std::vector<std::string> calibration;  // reports of pepnet bench
  int64_t sample_batches = 4;            // of the training data; 0: none is read
  double id_growth = 2;                  // ids to come, as a multiple of today's
  int64_t rows = 0;                      // of the whole training, for its duration; 0: not given
  int up_to_workers = 0;                 // also a table for 1, 2, 4, ... workers
  std::string json;                      // file to write; "" for none
};

// Binds the flags of `plan`.
void AddPlanFlags(CLI::App* plan, PlanFlags* flags);

// Prints the plan on stdout. Reads the config's training data and writes nothing but flags.json.
Status PlanCommand(const PlanFlags& flags);

}  // namespace pepnet
