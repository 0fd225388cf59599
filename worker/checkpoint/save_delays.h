// SaveDelays: what checkpoints cost the training, from the wall times of its steps: the longest
// delay added to one step, and the throughput while a checkpoint is being written against the rest
// of the time.
#pragma once

#include <cstdint>
#include <string>

namespace pepnet {

class SaveDelays {
 public:
  // A step took `seconds`, evaluation left out; `saving`: a checkpoint was being written, or began
  // with it.
  void Add(double seconds, bool saving);
  // "50 steps while saving took 25.1 ms on average and 31.2 at most, 200 others 24.1 and 30.3: at
  // most 7.1 more, throughput while saving -4.2 %"; "" unless there were steps of both kinds.
  std::string Report() const;

  double mean_seconds() const { return other_.Mean(); }
  double longest_delay_seconds() const { return saving_.longest - other_.Mean(); }
  // 0.05: steps took so much longer that 5 % of the throughput was lost.
  double lost_throughput() const {
    return saving_.Mean() > 0 ? 1 - other_.Mean() / saving_.Mean() : 0;
  }

 private:
  struct Steps {
    int64_t count = 0;
    double seconds = 0, longest = 0;
    double Mean() const { return count > 0 ? seconds / static_cast<double>(count) : 0; }
  };
  bool started_ = false;  // the first step warms up and does not count
  Steps saving_, other_;
};

}  // namespace pepnet
