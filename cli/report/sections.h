// The sections of the page of `pepnet report`, each as HTML; "" where the runs have nothing for it.
#pragma once

#include <string>
#include <vector>

#include "cli/report/run_record.h"

namespace pepnet {

// Curves of losses and metrics by task: training batches thin, evaluations with dots.
std::string CurvesSection(const std::vector<RunRecord>& runs);
// Samples per second, and where worker 0 spends its time.
std::string SpeedSection(const std::vector<RunRecord>& runs);

// The slices of eval_config.slice_by: all runs beside each other, then each slice over the steps.
std::string SlicesSection(const std::vector<RunRecord>& runs);
// The train metrics by the same columns, over the steps.
std::string TrainSlicesSection(const std::vector<RunRecord>& runs);
// Predicted against observed rates.
std::string CalibrationSection(const std::vector<RunRecord>& runs);

// Tables: rows, memory, growth, hottest ids.
std::string TablesSection(const std::vector<RunRecord>& runs);
// The worth of the features and the gates, of explained.json, and what the hottest ids have learnt.
std::string ExplainSection(const std::vector<RunRecord>& runs);
// Checkpoints, the best one marked.
std::string CheckpointsSection(const std::vector<RunRecord>& runs);
// Servers, workers, hosts, rows by server.
std::string ClusterSection(const std::vector<RunRecord>& runs);
// The fields in which the configs differ, and each config in full.
std::string ConfigSection(const std::vector<RunRecord>& runs);

// The names of the runs, for legends.
std::vector<std::string> RunNames(const std::vector<RunRecord>& runs);

}  // namespace pepnet
