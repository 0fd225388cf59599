// Warning: something that is almost always a mistake and costs days when nobody notices it.
// docs/warnings.md lists them for users; model_dir/warnings.jsonl keeps those of a run
// (docs/formats.md).
#pragma once

#include <string>

namespace pepnet {

// The kinds, as warnings.jsonl has them.
namespace warning_kinds {

// A setting of the run: no evaluation, no checkpoint.
inline constexpr char kPlan[] = "plan";
inline constexpr char kOverlap[] = "overlap";  // eval data are train data
// A feature tells the label, or an AUC is too good.
inline constexpr char kLeak[] = "leak";
inline constexpr char kLabel[] = "label";        // a label is never 1, or always
inline constexpr char kConstant[] = "constant";  // a feature is the same in every row
// A domain has no rows, or a label no positives there.
inline constexpr char kDomain[] = "domain";
// Raw values far from 0 go into the network as they are.
inline constexpr char kRange[] = "range";
// Tokens that a vocabulary lacks, "5.0" among hashed ids.
inline constexpr char kVocabulary[] = "vocabulary";
inline constexpr char kTable[] = "table";  // a table far larger than the ids seen
// More or fewer positives predicted than observed.
inline constexpr char kCalibration[] = "calibration";
inline constexpr char kSlice[] = "slice";  // one value of a slice_by column stands out

}  // namespace warning_kinds

struct Warning {
  std::string kind;  // one of warning_kinds
  // The feature, label, table, task or setting it is about; kind and subject tell warnings apart.
  std::string subject;
  std::string text;     // one sentence: what was seen, why it matters, what to do
  double distance = 0;  // of kCalibration: from what it should be, |ln(predicted / observed)|
};

}  // namespace pepnet
