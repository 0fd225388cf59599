// LabelEncoder: label and sample weight columns of a slice, checked against what the losses can
// take (spec 2).
//
// Threads:  immutable after Create(); Encode() may run in many threads at once.
// Checks:   every label and weight is a finite number. A label of a binary loss is 0 or 1; of a
//           softmax loss an integer in [0, num_class); the domain label an integer in [0,
//           task_domain_num). Sample weights are floating point columns.
// Words:    a label of a binary loss may be a text: true or false, yes or no, t, f, y, n, in any
//           case. The domain label may be a word of the vocabulary by which an id feature reads its
//           column (DomainWords()).
// Failure:  names file, row, column and value.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/job_config.h"
#include "worker/data/batch.h"
#include "worker/data/rows/row_selection.h"

namespace pepnet {

// The words that stand for the domains 0, 1, ... in the column of the domain label: those of the
// first id feature with a vocabulary that reads the column, in the order of their rows. Empty:
// domains are numbers.
std::vector<std::string> DomainWords(const JobConfig& config);

class LabelEncoder {
 public:
  // `file_type`: cells of a CSV file are texts that hold numbers; a text column of a Parquet file
  // has words.
  // Error: an input_fields type that a label or weight cannot have; domain words that are not as
  // many as domains.
  static StatusOr<std::unique_ptr<LabelEncoder>> Create(const JobConfig& config,
                                                        DatasetType file_type);

  // Fills batch->labels and batch->sample_weights. The columns are numbered as in the chunks, in
  // the order of DataConfig::labels and DataConfig::sample_weights; -1: the label is left empty,
  // and no sample weights at all: they are not read.
  Status Encode(const RowSelection& selection, std::span<const int> label_columns,
                std::span<const int> sample_weight_columns, Batch* batch) const;

 private:
  struct Rule {
    std::string column;
    ColumnType declared = ColumnType::kUnspecified;  // of input_fields
    std::string binary_tower;                        // tower whose binary loss reads it; "" if none
    // Why it must be an integer: "softmax label of tower 'x'"; "" if it need not.
    std::string integer_use;
    int64_t integer_limit = 0;       // exclusive
    std::vector<std::string> words;  // DomainWords() of the domain label

    bool TakesWords() const { return !binary_tower.empty() || !words.empty(); }
  };

  LabelEncoder() = default;
  static StatusOr<int64_t> DomainOfWord(const Rule& rule, std::string_view text);
  Status CheckColumn(const RowSelection& selection, const std::vector<ColumnView>& views,
                     const std::string& column, const std::string& use, bool integers, bool reals,
                     bool words) const;
  Status EncodeLabel(const Rule& rule, const RowSelection& selection, int column,
                     LabelColumn* out) const;
  Status EncodeWeights(const std::string& name, const RowSelection& selection, int column,
                       std::vector<float>* out) const;

  bool texts_are_numbers_ = false;
  std::vector<Rule> labels_;
  std::vector<std::string> sample_weights_;
};

}  // namespace pepnet
