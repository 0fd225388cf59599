// The lines of a training run for the person who watches it: progress, evaluations, and the table
// at its end. Functions of what has happened; run_log.h prints them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/job_config/evaluation_metrics.h"
#include "worker/checkpoint/best_evaluation.h"
#include "worker/report/step_record.h"

namespace pepnet {

// "step 300/9420", "3 %", "epoch 2/60", "205k rows/s", "0:33 left", "like .559 love .595",
// "auc_like .702": what is not known is left out. seconds_left < 0: unknown.
std::vector<std::string> ProgressParts(const StepRecord& record, double rows_per_second,
                                       double seconds_left);

// "evaluating step 785", "10240/50000 rows", "20 %" where all_rows is known (> 0), else "evaluating
// step 785", "10240 rows".
std::vector<std::string> EvaluationParts(int64_t step, int64_t rows, int64_t all_rows);

// "0:33", "1:02:03".
std::string Duration(double seconds);
// "950", "205k", "1.2M".
std::string ShortCount(double count);
// Three digits: ".559", "1.19", "12.3", "1.2e+04".
std::string ShortNumber(double value);
// "1 step", "2 steps": `count` and the word, with an s unless it is one.
std::string Counted(int64_t count, const std::string& word);

// "auc_like was best at step 785 (0.7028) and ends with 0.6705: ..." if the first of `metrics` was
// better before the last evaluation, with the fields that would have kept that checkpoint; else "".
std::string KeepBestHint(const std::vector<EvaluationMetric>& metrics,
                         const std::vector<EvaluationLine>& evaluations);

// One line per evaluation, the values of `metrics` in columns, behind each column's best value a *.
// Columns that go beyond `width` are left out (the first two stay), losses before metrics, and of
// many evaluations the middle ones that are best in no column. "" without evaluations.
//
//     step  epoch  auc_like  auc_love
//      157      1    0.6931    0.6512
//      314      2    0.7028*   0.6602*
// steps_per_epoch <= 0: unknown, and no such column.
std::string EvaluationTable(const std::vector<EvaluationMetric>& metrics,
                            const std::vector<EvaluationLine>& evaluations, double steps_per_epoch,
                            int width);

}  // namespace pepnet
