// RowCodec: how a row stands in a server's table.
//
// Row:     words of 4 bytes: the values, then the optimizer state, each as value_codec.h says, then
//          a float with the number of clicks where the table counts them.
// Threads: constant after construction.
#pragma once

#include <cstdint>

#include "common/job_config/table.h"
#include "ps/table/store/value_codec.h"

namespace pepnet {

class RowCodec {
 public:
  explicit RowCodec(const RowShape& shape)
      : values_(shape.value_kind, shape.dim),
        state_(shape.state_kind, shape.state_dim),
        clicks_(shape.counts_clicks ? 1 : 0) {}

  const ValueCodec& values() const { return values_; }
  const ValueCodec& state() const { return state_; }
  // Of a row, all in all.
  int64_t words() const { return clicks_at() + clicks_; }
  // The words of a row at which its state and its clicks begin.
  int64_t state_at() const { return values_.words(); }
  int64_t clicks_at() const { return values_.words() + state_.words(); }

  // State and clicks of the row at `row`, exactly: as many floats as RowShape::state_dim says, and
  // one where clicks are counted.
  void ReadState(const float* row, float* state) const {
    state_.Read(row + state_at(), state);
    if (clicks_ > 0) state[state_.dim()] = row[clicks_at()];
  }
  // Rounds the state to nearest; clicks are kept exactly.
  void WriteState(const float* state, float* row) const {
    state_.Write(state, row + state_at());
    if (clicks_ > 0) row[clicks_at()] = state[state_.dim()];
  }

 private:
  ValueCodec values_, state_;
  int64_t clicks_;  // 1: the table counts them
};

}  // namespace pepnet
