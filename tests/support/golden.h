// The golden cases of tests/golden: recorded inputs and values of the reference (each folder's
// README.md explains its files).
//
// Failure: a missing or damaged golden file ends the test program with a message.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/checkpoint/safetensors.h"
#include "common/job_config/job_config.h"
#include "worker/data/batch.h"

namespace pepnet {

// "features", "mixed", ...
const std::vector<std::string>& GoldenCases();
// Those without sequence encoders: their group tensors hold nothing but leaves.
const std::vector<std::string>& PooledGoldenCases();

// Path of one file of a case.
std::string GoldenPath(const std::string& name, const std::string& file);

// The case's pipeline.config with its input paths made absolute.
JobConfig LoadGoldenConfig(const std::string& name);

std::unique_ptr<SafetensorsReader> OpenGolden(const std::string& name, const std::string& file);
std::vector<float> GoldenFloats(const SafetensorsReader& reader, const std::string& tensor);
std::vector<double> GoldenDoubles(const SafetensorsReader& reader, const std::string& tensor);

// float64 values of loss.json: loss name -> value, "total" among them.
std::map<std::string, double> GoldenFirstLosses(const std::string& name);
std::vector<std::map<std::string, double>> GoldenStepLosses(
    const std::string& name);  // with "lr_dense", "lr_sparse_used"

// The cells of train.csv by column name, as text; for the labels, which are plain numbers.
std::map<std::string, std::vector<std::string>> GoldenColumns(const std::string& name,
                                                              const JobConfig& config);

// The ids of the features that name sessions, of `rows` rows, which begin again where the case
// ends; empty for others. Cells are finished ids.
std::vector<IdColumn> GoldenSessions(const JobConfig& config,
                                     const std::map<std::string, std::vector<std::string>>& columns,
                                     int64_t rows);

// |x - ref| <= absolute + relative * |ref| (spec 8).
struct Tolerance {
  double absolute = 1e-5;
  double relative = 1e-4;
};
// Outputs, losses, weights after some steps.
inline constexpr Tolerance kValueTolerance{1e-5, 1e-4};
inline constexpr Tolerance kGradientTolerance{1e-6, 1e-4};

// Empty if every element is within tolerance; else a sentence with the worst element and how many
// are outside. With `exact_zeros`, an element whose reference is exactly zero must be exactly zero.
std::string Difference(const std::string& what, std::span<const float> values,
                       std::span<const double> reference, Tolerance tolerance,
                       bool exact_zeros = false);

}  // namespace pepnet
