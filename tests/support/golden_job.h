// Golden cases as jobs: the recorded config with paths of this checkout, imported weights, and
// comparisons with the recorded values (tolerances of the model specification, section 8).
#pragma once

#include <string>
#include <vector>

#include "common/job_config/job_config.h"
#include "tests/support/golden.h"

namespace pepnet {

// The case's config; model_dir and inputs replaced; `edits` is an --edit_config_json object ("" for
// none).
JobConfig LoadGoldenJob(const std::string& golden_case, const std::string& model_dir,
                        const std::string& edits);

// Imports init.safetensors into model_dir/model.ckpt-0.
void ImportGolden(const std::string& golden_case, const std::string& model_dir,
                  const std::string& edits);

// Exports a checkpoint as safetensors and returns the path of model.safetensors.
std::string ExportCheckpoint(const std::string& golden_case, const std::string& model_dir,
                             const std::string& edits, const std::string& export_dir);

// Every tensor of `reference` against `actual` (paths of safetensors files): |x - ref| <= absolute
// + relative |ref|. Empty if all are within, else the worst one in words. Tensors of `actual`
// beyond the reference are ignored.
std::string CompareTensors(const std::string& actual, const std::string& reference, double absolute,
                           double relative);

}  // namespace pepnet
