// StepUpdate: adds the workers' gradients of one step and applies them, once per row (design
// section 5, item 7).
//
// Values:  of a table that does not keep float32 are widened, updated and rounded back
//          (ps/table/store/value_codec.h), by the seed, the step, the table and the id alone.
// Bits:    the gradient of a row is ((g_0 + g_1) + g_2) + ... over the workers that hold it, in the
//          order of the pushes handed in; nothing is divided (the loss carries 1 / global batch
//          already).
// Rows:    are made here, table by table, when a ticket names an id without a row: in the order of
//          the pushes, or as the table's policy admits them (ps/table/row_lifecycle.h); who is not
//          admitted has its gradient dropped. Rows leave at the end of the table's part of the
//          step.
// Threads: Apply() by one thread at a time; with a team it shares the tables of a step out among
//          it, each table to one thread, so that no bit depends on it. While a checkpoint is
//          written the tables come one after the other. Keeps its scratch space between steps.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/base/aligned_buffer.h"
#include "common/base/thread_team.h"
#include "common/net/message.h"
#include "ps/event_clock.h"
#include "ps/pull_rows.h"
#include "ps/snapshot.h"
#include "ps/table/sparse_optimizer.h"
#include "ps/table/table_shard.h"

namespace pepnet {

// The rows that a worker pulled for one step, in message order. `pull` borrows from `frame`.
struct Ticket {
  ParsedFrame frame;
  PullBody pull;
  AlignedBuffer<int64_t> slots;  // one per id; kNoSlot: no row when the pull was answered
  // Of the ids without a row, table after table: what they read, and what their rows begin with.
  // Empty: they are drawn when the rows are made.
  AlignedBuffer<float> initial_values = {};
};

// A worker's gradients for its ticket: for each table, for each id of the ticket, dim floats.
// Borrows.
struct PushedGradients {
  int worker = 0;
  const Ticket* ticket = nullptr;
  std::span<const float> gradients;
};

class StepUpdate {
 public:
  // Borrows the team; null: the calling thread does all.
  explicit StepUpdate(ThreadTeam* team = nullptr)
      : team_(team), scratch_(team != nullptr ? team->size() : 1) {}

  // Applies step `step` to all tables: value and state by the optimizer (not for tables that are
  // not trainable), frequency by one, clicks by one where a push marks the row, last step = `step`.
  // Precondition: each push has GradientFloats() floats; the last step of every row is in
  // [0, step). InvalidArgument if a ticket names a row twice; the tables are then half updated and
  // the caller must give up. `snapshot`: a checkpoint of these tables that is being written, or
  // nullptr. `clock`: has been moved on to the step; nullptr: rows have no event time.
  Status Apply(const SparseOptimizer& optimizer, double lr, int64_t update, int64_t step,
               std::span<const PushedGradients> pushes, std::vector<TableShard>* tables,
               Snapshot* snapshot = nullptr, const EventClock* clock = nullptr);

 private:
  // One distinct row of the step. `gradient` points into a push while one worker holds the row,
  // then into the sums.
  struct Touched {
    int64_t slot;
    const float* gradient;
    int last_worker;
    bool clicked;
  };
  struct Source {  // what one push holds for one table
    int worker;
    std::span<const int64_t> ids;
    std::span<const int64_t> slots;
    const float* gradients;
    const float* initial_values;  // of the next id without a row; null: to be drawn
    const uint64_t* marks;        // of all ids of the push; null: the table counts no clicks
    size_t first_mark;            // that of the first id

    bool Clicked(size_t i) const {
      const size_t bit = first_mark + i;
      return marks != nullptr && (marks[bit / 64] >> (bit % 64) & 1) != 0;
    }
  };

  // The buffers that a thread keeps from table to table.
  struct Scratch {
    std::vector<Touched> touched;
    std::vector<RowUpdate> rows;
    std::vector<int64_t> ids;      // of `rows`, of a table whose values are not float32
    AlignedBuffer<float> widened;  // values of some of them
    AlignedBuffer<float> sums;
    std::vector<int64_t> unseen;
  };

  struct TableStep {  // one table's part of a step
    const SparseOptimizer& optimizer;
    double lr;
    int64_t update, step;
    size_t table_index;
    TableShard* table;
    Snapshot::Change* change;  // or nullptr
    Scratch* scratch;
    const EventClock* clock;  // or nullptr
  };

  static Status ApplyTable(const TableStep& step, std::span<Source> sources);
  // Admits ids of the step that have no row.
  static void Admit(const TableStep& step, std::span<const Source> sources);
  // The slot of the i-th id, which is made if need be; kNoSlot: the table's policy has not admitted
  // it. Ids come in order. Asks for what later ids need.
  static int64_t SlotOf(const TableStep& step, Source* source, size_t i);
  static Status NamedTwice(const TableStep& step, const Source& source, size_t i);
  // `narrow`: the values of the table are not float32.
  template <bool narrow>
  static Status ApplyOne(const TableStep& step, Source* source);
  template <bool narrow>
  static Status ApplySum(const TableStep& step, std::span<Source> sources);
  // Puts a row into the scratch space; a full block is updated.
  template <bool narrow>
  static void Gather(const TableStep& step, int64_t slot, const float* gradient);
  // Updates the rows in the scratch space, a block at most, and empties it.
  template <bool narrow>
  static void UpdateGathered(const TableStep& step);
  // The same for `rows` of these ids, whose values are widened to float32 and rounded back
  // stochastically.
  static void UpdateNarrow(const TableStep& step, std::span<RowUpdate> rows,
                           std::span<const int64_t> ids);

  ThreadTeam* const team_;
  std::vector<Scratch> scratch_;  // by member of the team
};

}  // namespace pepnet
