// StageTimes: where a worker's wall time goes, stage by stage. A stage is an event of the trace, by
// the same name.
#pragma once

#include <array>
#include <chrono>

#include "common/process/trace.h"

namespace pepnet {

enum class Stage { kRead, kPull, kPool, kCompute, kPush, kAllreduce, kUpdate, kCheckpoint, kEval };
inline constexpr int kStageCount = 9;
// As they stand in log lines, metrics.jsonl, TensorBoard, the Prometheus file and traces.
inline constexpr const char* kStageNames[kStageCount] = {
    "read", "pull", "pool", "compute", "push", "allreduce", "update", "checkpoint", "eval"};

class StageTimes {
 public:
  // Adds the time between construction and destruction to a stage.
  class Scope {
   public:
    Scope(StageTimes* times, Stage stage)
        : event_(kStageNames[static_cast<int>(stage)]),
          times_(times),
          stage_(stage),
          start_(std::chrono::steady_clock::now()) {}
    ~Scope() {
      times_->Add(stage_,
                  std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count());
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    TraceScope event_;
    StageTimes* times_;
    Stage stage_;
    std::chrono::steady_clock::time_point start_;
  };

  void Add(Stage stage, double seconds) { seconds_[static_cast<int>(stage)] += seconds; }
  double seconds(int stage) const { return seconds_[stage]; }
  double seconds(Stage stage) const { return seconds_[static_cast<int>(stage)]; }

 private:
  std::array<double, kStageCount> seconds_{};
};

}  // namespace pepnet
