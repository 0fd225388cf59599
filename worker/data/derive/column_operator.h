// ColumnOperator: from one cell of each input to the values of one cell of a computed feature
// (docs/spec.md 3.11). Sequences are computed element by element, so an element is a cell here.
//
// Threads:   const: any number of threads. Ownership: keeps what it needs of the config.
// Failure:   the Status tells the value; the caller adds file, row and feature.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/feature.h"
#include "worker/data/derive/input_cell.h"

namespace pepnet {

// The values of a cell: texts, or numbers of a feature of numbers. None: the cell is empty.
struct OperatorOutput {
  std::vector<std::string> tokens;
  std::vector<double> numbers;

  void Clear() {
    tokens.clear();
    numbers.clear();
  }
};

class ColumnOperator {
 public:
  virtual ~ColumnOperator() = default;

  virtual InputForm FormOf(int input) const = 0;
  // Appends to *out. `inputs` are in the forms of FormOf().
  virtual Status Apply(std::span<const InputCell> inputs, OperatorOutput* out) const = 0;
};

// Precondition: feature.op.
std::unique_ptr<ColumnOperator> MakeOperator(const Feature& feature);

// One number for several. Precondition: there is one.
double Combine(Combiner combiner, std::span<const double> numbers);

}  // namespace pepnet
