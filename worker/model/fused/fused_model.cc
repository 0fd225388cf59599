#include "worker/model/fused/fused_model.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/mutant.h"
#include "common/base/thread_team.h"
#include "common/process/trace.h"
#include "worker/model/fused/fused_batch.h"
#include "worker/model/fused/fused_embeddings.h"
#include "worker/model/fused/fused_encoders.h"
#include "worker/model/fused/fused_network.h"
#include "worker/model/fused/fused_variational.h"
#include "worker/model/fused/row_loss.h"
#include "worker/model/guarded.h"
#include "worker/model/labels.h"
#include "worker/model/output_rules.h"
#include "worker/model/session_loss.h"

namespace pepnet {
namespace {

// The buffers of one thread beside its layers.
struct ThreadState {
  explicit ThreadState(const FusedLayers* layers, const float* values) : network(layers, values) {}
  FusedNetwork network;
  AlignedBuffer<float> gradients;  // threads after the first; zero between steps
  std::vector<int64_t> rows, global_rows;
  AlignedBuffer<float> input, input_gradient;  // of a task's rows, gathered
  AlignedBuffer<float> task_gradient;          // of the towers' input
  AlignedBuffer<float> logit_gradient;
  FusedEmbeddings::Scratch embedding;
  std::vector<double> losses;  // by loss slot
};

// The computed parts of the input: those of encoders, then those of embeddings.
template <typename T>
std::vector<T> Joined(std::vector<T> encoded, const std::vector<T>& embedded) {
  encoded.insert(encoded.end(), embedded.begin(), embedded.end());
  return encoded;
}

class FusedModel : public PepnetModel {
 public:
  FusedModel(const JobConfig* config, DenseParameters* parameters, uint64_t seed, int threads,
             const FusedOptions& options)
      : config_(config),
        model_(config->model),
        parameters_(parameters),
        seed_(seed),
        options_(options),
        layers_(PlaceLayers(*config, *parameters)),
        slots_(LossSlots(*config)),
        rules_(OutputRules(*config)),
        team_(std::max(threads, 1), "compute"),
        encoders_(config, *parameters, team_.size()),
        embeddings_(config, *parameters),
        variational_(config, *parameters),
        all_(config, &layers_) {
    for (int i = 0; i < team_.size(); ++i) {
      threads_.emplace_back(&layers_, parameters->values().data());
    }
  }

  StatusOr<LossReport> TrainStep(const ModelInput& input, double gradient_scale,
                                 std::vector<AlignedBuffer<float>>* leaf_gradients) override {
    PEPNET_RETURN_IF_ERROR(CheckLossInput(*config_, input, "TrainStep"));
    return Guarded("train step", [&]() -> StatusOr<LossReport> {
      // A step has these phases. Each OnEachThread() is a barrier, which stands where a phase reads
      // rows that another thread may have written:
      //   encoders, embeddings -> groups and EPNet
      //   -> per task: PPNet, towers, losses, and backward through them
      //   -> backward of EPNet, leaves -> backward of encoders, embeddings -> sum over the threads
      Begin(input, true);
      PrepareGradients();
      EncodersForward();
      EmbeddingsForward();
      VariationalForward();
      OnEachThread([&](ThreadState* state, int thread) { SharedForward(state, thread); });
      PEPNET_RETURN_IF_ERROR(CompareSessions());
      // Tasks go one after the other, and all threads work on the same task: each gets an equal
      // share of the rows that count for it, which are seldom the same for two tasks.
      for (int task = 0; task < static_cast<int>(model_.towers.size()); ++task) {
        const bool all_rows = SelectRows(task);
        // The first task overwrites the shared input's gradient if it reaches every row; else all
        // add to zeros.
        const bool fresh = task == 0 && all_rows && !gate_sees_gradient_;
        if (task == 0 && !fresh) {
          std::fill_n(all_.InputGradient(0).data, all_.rows() * all_.input_width(), 0.0f);
        }
        OnEachThread([&](ThreadState* state, int thread) {
          ForEachBlock(static_cast<int64_t>(selected_.size()), thread,
                       [&](int64_t begin, int64_t end) {
                         TrainBlock(state, task, begin, end, all_rows, fresh, gradient_scale);
                       });
        });
      }
      // The shared part goes backward after all tasks, which have added up the gradient of the
      // input E by then. It overwrites the gradients of leaves that groups list; the encoders,
      // which read some of the same leaves, add to them afterwards.
      const std::vector<float*> gradients = SizeLeafGradients(leaf_gradients);
      if (!encoders_.empty()) encoders_.BeginBackward(gradients);
      const std::vector<float*> computed =
          Joined(encoders_.OutputGradients(), embeddings_.OutputGradients());
      OnEachThread([&](ThreadState* state, int thread) {
        SharedBackward(state, thread, gradients, computed);
      });
      EncodersBackward();
      EmbeddingsBackward();
      VariationalBackward();
      AddThreadGradients();
      LossReport report;
      report.scores = TrainScores();
      // Partial sums are in double and by thread: added in thread order, they are a function of the
      // batch and the number of threads.
      for (size_t slot = 0; slot < slots_.size(); ++slot) {
        double sum = 0;
        for (const ThreadState& state : threads_) sum += state.losses[slot];
        report.names.push_back(slots_[slot].loss->name);
        report.values.push_back(sum);
      }
      // The penalty is the same for all rows, so it comes once a step, after the sum over the
      // threads.
      variational_.Penalties(parameters_->values().data(), gradient_scale,
                             parameters_->gradients().data(), &report);
      return report;
    });
  }

  StatusOr<std::vector<ModelOutput>> Forward(const ModelInput& input, LossReport* losses) override {
    if (losses != nullptr) {
      PEPNET_RETURN_IF_ERROR(CheckLossInput(*config_, input, "Forward with losses"));
    }
    return Guarded("forward", [&]() -> StatusOr<std::vector<ModelOutput>> {
      Begin(input, false);
      EncodersForward();
      EmbeddingsForward();
      VariationalForward();
      logits_.resize(layers_.towers.size());
      for (size_t i = 0; i < logits_.size(); ++i) {
        Sized(&logits_[i], all_.rows() * layers_.towers[i].linear.out);
      }
      task_outputs_.resize(layers_.ppnet.size());
      for (AlignedBuffer<float>& outputs : task_outputs_) {
        Sized(&outputs, all_.rows() * model_.ppnet_hidden_units.back());
      }
      // One barrier is enough: evaluation takes every row, so a thread reads the blocks that it has
      // made itself.
      OnEachThread([&](ThreadState* state, int thread) {
        SharedForward(state, thread);
        ForEachBlock(all_.rows(), thread,
                     [&](int64_t begin, int64_t end) { EvaluateBlock(state, begin, end); });
      });
      if (losses != nullptr) {
        PEPNET_ASSIGN_OR_RETURN(*losses, EvaluationLosses());
      }
      return Outputs();
    });
  }

  // Of the last Forward; a TrainStep in between overwrites them.
  std::vector<ModelOutput> intermediates() const override {
    std::vector<ModelOutput> list;
    auto add = [&](const std::string& name, const float* from, int64_t stride, int64_t width) {
      ModelOutput output{name, static_cast<int>(width), {}};
      for (int64_t row = 0; row < all_.rows(); ++row) {
        output.values.insert(output.values.end(), from + row * stride, from + row * stride + width);
      }
      list.push_back(std::move(output));
    };
    const float* const shared = all_.input() + all_.uia_width();
    if (model_.domain) {
      const int64_t stride = all_.domain_width() + all_.main_width();
      add("group_all", all_.gate_input() + all_.domain_width(), stride, all_.main_width());
      add("group_domain", all_.gate_input(), stride, all_.domain_width());
      add("epnet_output", shared, all_.input_width(), all_.main_width());
    } else {
      add("group_all", shared, all_.input_width(), all_.main_width());
    }
    if (model_.uia) add("group_uia", all_.input(), all_.input_width(), all_.uia_width());
    for (size_t task = 0; task < task_outputs_.size(); ++task) {
      const int64_t width = model_.ppnet_hidden_units.back();
      add("ppnet_output_" + model_.towers[task].name, task_outputs_[task].data(), width, width);
    }
    return list;
  }

 private:
  // ---- one step's frame -------------------------------------------------------------------------

  void Begin(const ModelInput& input, bool train) {
    // Masks are drawn by the global number of a row (law L2): a worker's slice begins at first_row.
    const int64_t shift = MutantActive(Mutant::kDropoutByLocalRow) ? 0 : input.batch->first_row;
    if (!encoders_.empty()) encoders_.Begin(input, {train, seed_, input.step, nullptr}, shift);
    if (!embeddings_.empty()) embeddings_.Begin(input);
    // Evaluation keeps the batch's order, because its outputs are those of all domains for every
    // row.
    all_.Begin(input, Joined(encoders_.Outputs(), embeddings_.Outputs()),
               train && options_.routing);
    if (!variational_.empty()) {
      variational_.Begin(input, train, seed_, shift);
      all_.SetFactors({variational_.Factors(model_.main),
                       model_.domain ? variational_.Factors(*model_.domain) : GroupFactors(),
                       model_.uia ? variational_.Factors(*model_.uia) : GroupFactors()});
    }
    gate_sees_gradient_ = MutantActive(Mutant::kGateSeesGradient);
    for (ThreadState& state : threads_) state.losses.assign(slots_.size(), 0);
  }

  template <typename Body>
  void OnEachThread(const Body& body) {
    // BLAS must not start threads of its own: the threads already use all cores.
    team_.Run([&](int thread) {
      const OwnThreadScope own_thread;
      body(&threads_[thread], thread);
    });
  }

  // The blocks of a thread's share of `count` rows, equal within a row.
  template <typename Body>
  void ForEachBlock(int64_t count, int thread, const Body& body) const {
    // Blocks have nearly equal sizes, at most block_rows, instead of being full with a short rest:
    // a product of a few rows is slow, and activations of a block stay in cache from forward to
    // backward. The cut depends on the counts alone.
    const int64_t threads = static_cast<int64_t>(threads_.size());
    const int64_t first = count * thread / threads, share = count * (thread + 1) / threads - first;
    const int64_t blocks = (share + options_.block_rows - 1) / options_.block_rows;
    for (int64_t b = 0; b < blocks; ++b) {
      body(first + share * b / blocks, first + share * (b + 1) / blocks);
    }
  }

  void EncodersForward() {
    if (encoders_.empty()) return;
    OnEachThread([&](ThreadState*, int thread) {
      const TraceScope scope("encoders forward");
      encoders_.Forward(thread, parameters_->values().data());
    });
  }

  void EncodersBackward() {
    if (encoders_.empty()) return;
    OnEachThread([&](ThreadState* state, int thread) {
      const TraceScope scope("encoders backward");
      encoders_.Backward(thread, parameters_->values().data(), GradientsOf(state, thread));
    });
  }

  void EmbeddingsForward() {
    if (embeddings_.empty()) return;
    OnEachThread([&](ThreadState* state, int thread) {
      ForEachBlock(all_.rows(), thread, [&](int64_t begin, int64_t end) {
        embeddings_.Forward(begin, end, parameters_->values().data(), &state->embedding);
      });
    });
  }

  void EmbeddingsBackward() {
    if (embeddings_.empty()) return;
    OnEachThread([&](ThreadState* state, int thread) {
      float* const gradients = GradientsOf(state, thread);
      ForEachBlock(all_.rows(), thread, [&](int64_t begin, int64_t end) {
        embeddings_.Backward(begin, end, parameters_->values().data(), gradients,
                             &state->embedding);
      });
    });
  }

  void VariationalForward() {
    if (variational_.empty()) return;
    OnEachThread([&](ThreadState*, int thread) {
      ForEachBlock(all_.rows(), thread, [&](int64_t begin, int64_t end) {
        variational_.Forward(begin, end, parameters_->values().data());
      });
    });
  }

  void VariationalBackward() {
    if (variational_.empty()) return;
    OnEachThread([&](ThreadState* state, int thread) {
      float* const gradients = GradientsOf(state, thread);
      ForEachBlock(all_.rows(), thread, [&](int64_t begin, int64_t end) {
        variational_.Backward(begin, end, gradients);
      });
    });
  }

  // The arena that a thread adds its parameters' gradients to.
  float* GradientsOf(ThreadState* state, int thread) const {
    // Thread 0 adds to the caller's arena itself, which saves one arena and one pass of the sum.
    return thread == 0 ? parameters_->gradients().data() : state->gradients.data();
  }

  // One array for each leaf with a table, else empty and null. Of those that a group lists,
  // contents are undefined; others, which only encoders read, are zero.
  std::vector<float*> SizeLeafGradients(std::vector<AlignedBuffer<float>>* gradients) const {
    gradients->resize(config_->leaves.size());
    std::vector<float*> pointers(config_->leaves.size(), nullptr);
    for (size_t l = 0; l < config_->leaves.size(); ++l) {
      const Leaf& leaf = config_->leaves[l];
      AlignedBuffer<float>& gradient = (*gradients)[l];
      const size_t floats =
          leaf.table >= 0 ? static_cast<size_t>(VectorsOf(leaf, *all_.in().batch) * leaf.dim) : 0;
      if (all_.Lists(l)) {
        gradient.Resize(floats);
      } else {
        gradient.ResizeZeroed(floats);
      }
      if (leaf.table >= 0) pointers[l] = gradient.data();
    }
    return pointers;
  }

  // ---- forward ----------------------------------------------------------------------------------

  // The group tensors and EPNet.
  void SharedForward(ThreadState* state, int thread) {
    ForEachBlock(all_.rows(), thread, [&](int64_t begin, int64_t end) {
      const TraceScope scope("forward");
      all_.Gather(begin, end);
      if (!model_.domain) return;
      state->network.EpnetForward(end - begin, all_.GateInput(begin), all_.domain_width(),
                                  all_.EpnetHidden(begin), all_.EpnetGate(begin),
                                  all_.Input(begin).Column(all_.uia_width()));
    });
  }

  // For towers: the raw outputs of all domains, in the batch's order, for all rows.
  void EvaluateBlock(ThreadState* state, int64_t begin, int64_t end) {
    const FusedRows rows{end - begin};
    // There is no routing here: prediction reports the output of every domain's tower for every
    // row.
    for (size_t task = 0; task < model_.towers.size(); ++task) {
      Matrix x = all_.Input(begin).Column(all_.uia_width());
      if (model_.uia) {
        x = state->network.PpnetForward(static_cast<int>(task), rows, all_.Input(begin),
                                        all_.uia_width());
        std::copy_n(x.data, rows.count * x.stride, task_outputs_[task].data() + begin * x.stride);
      }
      for (int domain = 0; domain < model_.domain_count; ++domain) {
        const int tower = static_cast<int>(task) * model_.domain_count + domain;
        const int64_t classes = layers_.towers[tower].linear.out;
        std::copy_n(state->network.TowerForward(tower, rows, x), rows.count * classes,
                    logits_[tower].data() + begin * classes);
      }
    }
  }

  StatusOr<LossReport> EvaluationLosses() {
    // A loss with sessions has one tower a task, so the first tower's outputs are all there are.
    std::vector<const float*> raw_outputs(model_.towers.size(), nullptr);
    for (size_t task = 0; task < raw_outputs.size(); ++task) {
      if (HasSessions(model_.towers[task])) {
        raw_outputs[task] = logits_[task * model_.domain_count].data();
      }
    }
    PEPNET_ASSIGN_OR_RETURN(
        sessions_, SessionParts(*config_, slots_, all_.in(), raw_outputs, options_.workers));
    LossReport report;
    for (size_t i = 0; i < slots_.size(); ++i) {
      const LossSlot& slot = slots_[i];
      const Tower& tower = model_.towers[slot.task];
      double sum = 0;
      for (int64_t row = 0; row < all_.rows(); ++row) {
        // The loss of a row is that of its own domain's tower, as in training (law L5).
        const float* const z = logits_[slot.task * model_.domain_count + all_.domain(row)].data() +
                               row * tower.num_class;
        double l = RowLossAndGradient(*slot.loss, tower.num_class, z,
                                      all_.in().batch->labels[tower.label], row, 0, nullptr);
        if (!sessions_[i].losses.empty()) l += sessions_[i].losses[row];
        // The scale is w / W over the global batch: the workers' sums add up to the loss of the
        // global batch.
        sum += l * static_cast<double>((*all_.in().row_scales)[slot.task][row]);
      }
      report.names.push_back(slot.loss->name);
      report.values.push_back(sum);
    }
    return report;
  }

  std::vector<ModelOutput> Outputs() const {
    std::vector<ModelOutput> outputs;
    for (const OutputRule& rule : rules_) {
      ModelOutput output{rule.name, rule.width, {}};
      const int classes = model_.towers[rule.tower / model_.domain_count].num_class;
      output.values.reserve(static_cast<size_t>(all_.rows() * std::max(rule.width, 1)));
      AppendOutputs(rule.kind, all_.rows(), classes, logits_[rule.tower].data(), &output.values);
      outputs.push_back(std::move(output));
    }
    return outputs;
  }

  // ---- training ---------------------------------------------------------------------------------

  // The metrics of training batches are over all rows, so their tasks take all rows.
  bool WantsScores(int task) const { return !model_.towers[task].train_metrics.empty(); }

  std::vector<std::vector<float>> TrainScores() const {
    std::vector<std::vector<float>> scores(AnyTrainMetrics(*config_) ? model_.towers.size() : 0);
    for (size_t task = 0; task < scores.size(); ++task) {
      const Tower& tower = model_.towers[task];
      if (!WantsScores(static_cast<int>(task))) continue;
      AppendOutputs(MetricOutputKind(tower), all_.rows(), tower.num_class,
                    train_logits_[task].data(), &scores[task]);
    }
    return scores;
  }

  void PrepareGradients() {
    train_logits_.resize(model_.towers.size());
    for (size_t task = 0; task < train_logits_.size(); ++task) {
      if (WantsScores(static_cast<int>(task))) {
        Sized(&train_logits_[task], all_.rows() * model_.towers[task].num_class);
      }
    }
    all_.SizeGradients();
    const size_t arena = parameters_->gradients().size();
    // The arenas of other threads are zero between steps: AddThreadGradients() leaves them so, and
    // only a new size clears them here.
    threads_[0].network.SetGradients(parameters_->gradients().data());
    for (size_t i = 1; i < threads_.size(); ++i) {
      if (threads_[i].gradients.size() != arena) threads_[i].gradients.ResizeZeroed(arena);
      threads_[i].network.SetGradients(threads_[i].gradients.data());
    }
  }

  // The parts of losses that need the raw outputs of all rows, of all workers, before any gradient.
  // Their tasks go forward once more for backward, to the same bits: what forward keeps is kept for
  // a block alone.
  Status CompareSessions() {
    std::vector<const float*> raw_outputs(model_.towers.size(), nullptr);
    session_logits_.resize(model_.towers.size());
    for (size_t task = 0; task < raw_outputs.size(); ++task) {
      if (!HasSessions(model_.towers[task])) continue;
      raw_outputs[task] =
          Sized(&session_logits_[task], all_.rows() * model_.towers[task].num_class);
      OnEachThread([&](ThreadState* state, int thread) {
        ForEachBlock(all_.rows(), thread, [&](int64_t begin, int64_t end) {
          const TraceScope scope("forward");
          SessionForward(state, static_cast<int>(task), begin, end);
        });
      });
    }
    PEPNET_ASSIGN_OR_RETURN(
        sessions_, SessionParts(*config_, slots_, all_.in(), raw_outputs, options_.workers));
    return absl::OkStatus();
  }

  // The raw outputs of the positions [begin, end), with dropout. There are no domain towers: config
  // refuses them with more than one class.
  void SessionForward(ThreadState* state, int task, int64_t begin, int64_t end) {
    const FusedRows rows = RowsOfBlock(state, begin, end, [](int64_t i) { return i; });
    Matrix x = all_.Input(begin).Column(all_.uia_width());
    if (model_.uia) {
      x = state->network.PpnetForward(task, rows, all_.Input(begin), all_.uia_width());
    }
    const float* const z = state->network.TowerForward(task, rows, x);
    const int64_t classes = model_.towers[task].num_class;
    for (int64_t i = 0; i < rows.count; ++i) {
      std::copy_n(z + i * classes, classes,
                  session_logits_[task].data() + state->rows[i] * classes);
    }
  }

  // The rows at the positions position(i), begin <= i < end, into state->rows and
  // state->global_rows.
  template <typename Position>
  FusedRows RowsOfBlock(ThreadState* state, int64_t begin, int64_t end, const Position& position) {
    const int64_t shift = MutantActive(Mutant::kDropoutByLocalRow) ? 0 : all_.in().batch->first_row;
    state->rows.clear();
    state->global_rows.clear();
    for (int64_t i = begin; i < end; ++i) {
      state->rows.push_back(all_.row(position(i)));
      state->global_rows.push_back(shift + state->rows.back());
    }
    return {end - begin, true, seed_, all_.in().step, state->global_rows.data()};
  }

  // Positions that count for the task, into selected_. Returns whether these are all.
  bool SelectRows(int task) {
    const std::vector<float>& scale = (*all_.in().row_scales)[task];
    selected_.clear();
    const bool every_row =
        !options_.routing || WantsScores(task) || HasSessions(model_.towers[task]);
    for (int64_t i = 0; i < all_.rows(); ++i) {
      if (every_row || scale[all_.row(i)] != 0) selected_.push_back(i);
    }
    return static_cast<int64_t>(selected_.size()) == all_.rows();
  }

  // Forward, loss and backward of one task for the selected positions [begin, end).
  void TrainBlock(ThreadState* state, int task, int64_t begin, int64_t end, bool all_rows,
                  bool fresh, double gradient_scale) {
    const int64_t count = end - begin, width = all_.input_width();
    const FusedRows rows = RowsOfBlock(state, begin, end, [&](int64_t i) { return selected_[i]; });
    // The block is read and written in place where every row counts; else its rows are gathered to
    // a dense block first, since the products want rows side by side.
    Matrix input = all_.Input(begin), input_gradient = all_.InputGradient(begin);
    if (!all_rows) {
      input = {Sized(&state->input, count * width), width};
      input_gradient = {Sized(&state->input_gradient, count * width), width};
      for (int64_t i = 0; i < count; ++i) {
        std::copy_n(all_.Input(selected_[begin + i]).data, width, input.Row(i).data);
      }
    }
    // A gathered block has a gradient array of its own, which the first product may overwrite; it
    // is added to the shared one at the end. In place, only the first task may overwrite.
    const bool overwrite = fresh || (!all_rows && !gate_sees_gradient_);
    if (!all_rows && !overwrite) std::fill_n(input_gradient.data, count * width, 0.0f);

    Matrix x = input.Column(all_.uia_width()), x_gradient = input_gradient.Column(all_.uia_width());
    if (model_.uia) {
      const TraceScope scope("forward");
      x = state->network.PpnetForward(task, rows, input, all_.uia_width());
      // With PPNet the towers read its output, whose gradient is an array of the thread; without it
      // they read E, and their gradient goes to the input's gradient directly.
      x_gradient = {Sized(&state->task_gradient, count * x.stride), x.stride};
    }
    TrainTowers(state, task, rows, x, x_gradient, model_.uia || overwrite, gradient_scale);
    if (model_.uia) {
      const TraceScope scope("backward");
      state->network.PpnetBackward(task, rows, input, all_.uia_width(), x_gradient, input_gradient,
                                   overwrite, gate_sees_gradient_);
    }
    if (all_rows) return;
    // Positions of a task are distinct, so no two threads add to the same row.
    for (int64_t i = 0; i < count; ++i) {
      AddTo(width, input_gradient.Row(i).data, all_.InputGradient(selected_[begin + i]).data);
    }
  }

  // With routing each run of rows of one domain goes through that domain's tower, else all rows
  // through all.
  void TrainTowers(ThreadState* state, int task, const FusedRows& rows, Matrix x, Matrix x_gradient,
                   bool overwrite, double gradient_scale) {
    auto train = [&](int64_t domain, int64_t first, int64_t last, bool fresh) {
      // Rows of a part stay where they are; only the view moves, and with it the global row numbers
      // that dropout is drawn by.
      const int tower = task * model_.domain_count + static_cast<int>(domain);
      FusedRows part = rows;
      part.count = last - first;
      part.global += first;
      const float* z = nullptr;
      {
        const TraceScope scope("forward");
        z = state->network.TowerForward(tower, part, x.Row(first));
        Losses(state, task, domain, first, last, z, gradient_scale);
      }
      const TraceScope scope("backward");
      state->network.TowerBackward(tower, part, x.Row(first), state->logit_gradient.data(),
                                   fresh ? 0 : 1, x_gradient.Row(first));
    };
    // Without routing every row goes through every domain's tower. Rows of other domains have a
    // zero gradient there (see Losses()), so the result is the same; the tests compare the two.
    if (!options_.routing) {
      for (int64_t domain = 0; domain < model_.domain_count; ++domain) {
        train(domain, 0, rows.count, overwrite && domain == 0);
      }
      return;
    }
    // Sorting by domain in FusedBatch::Begin() has made a domain's rows consecutive, so there are
    // at most as many runs as domains.
    for (int64_t first = 0; first < rows.count;) {
      const int64_t domain = all_.domain(state->rows[first]);
      int64_t last = first;
      while (last < rows.count && all_.domain(state->rows[last]) == domain) ++last;
      train(domain, first, last, overwrite);
      first = last;
    }
  }

  // Losses of the block's rows [first, last) and their gradient at the raw outputs, into
  // logit_gradient.
  void Losses(ThreadState* state, int task, int64_t domain, int64_t first, int64_t last,
              const float* z, double gradient_scale) {
    const Tower& tower = model_.towers[task];
    const std::vector<float>& scale = (*all_.in().row_scales)[task];
    const int64_t size = (last - first) * tower.num_class;
    float* const gradient = Sized(&state->logit_gradient, size);
    // Rows without a loss here (another domain's, without routing) must send back zeros.
    std::fill_n(gradient, size, 0.0f);
    for (int64_t i = first; WantsScores(task) && i < last; ++i) {
      const int64_t row = state->rows[i];
      if (model_.domain_label >= 0 && all_.domain(row) != domain) continue;
      std::copy_n(z + (i - first) * tower.num_class, tower.num_class,
                  train_logits_[task].data() + row * tower.num_class);
    }
    for (size_t slot = 0; slot < slots_.size(); ++slot) {
      if (slots_[slot].task != task) continue;
      for (int64_t i = first; i < last; ++i) {
        const int64_t row = state->rows[i];
        if (all_.domain(row) != domain && model_.domain_label >= 0) continue;
        // gradient_scale is 1/N under accumulation of N batches. It belongs to the gradient alone:
        // the reported loss is that of this batch.
        const float factor = static_cast<float>(scale[row] * gradient_scale);
        const int64_t at = (i - first) * tower.num_class;
        double l =
            RowLossAndGradient(*slots_[slot].loss, tower.num_class, z + at,
                               all_.in().batch->labels[tower.label], row, factor, gradient + at);
        // The part of sessions has been computed before, for all rows and workers
        // (CompareSessions()); its gradient holds the scales of all rows already.
        if (const SessionPart& part = sessions_[slot]; !part.losses.empty()) {
          l += part.losses[row];
          for (int64_t c = 0; c < tower.num_class; ++c) {
            gradient[at + c] +=
                static_cast<float>(gradient_scale) * part.gradient[row * tower.num_class + c];
          }
        }
        state->losses[slot] += l * static_cast<double>(scale[row]);
      }
    }
  }

  // EPNet, and the gradient of each leaf and of each computed source as the sum over the groups
  // that list it.
  void SharedBackward(ThreadState* state, int thread, const std::vector<float*>& leaves,
                      const std::vector<float*>& computed) {
    ForEachBlock(all_.rows(), thread, [&](int64_t begin, int64_t end) {
      const TraceScope scope("backward");
      if (model_.domain) {
        state->network.EpnetBackward(end - begin, all_.GateInput(begin), all_.domain_width(),
                                     all_.EpnetHidden(begin), all_.EpnetGate(begin),
                                     all_.InputGradient(begin).Column(all_.uia_width()),
                                     all_.DomainGradient(begin), gate_sees_gradient_);
      }
      all_.ScatterFactors(begin, end);
      all_.Scatter(begin, end, leaves, computed);
    });
  }

  // In thread order; the threads' arenas are zero again afterwards.
  void AddThreadGradients() {
    if (threads_.size() == 1) return;
    // Each member adds one slice of the arena over all threads in thread order: every float is
    // summed by one thread, so the bits do not depend on which member is faster.
    const std::span<float> total = parameters_->gradients();
    const int64_t size = static_cast<int64_t>(total.size()), threads = team_.size();
    team_.Run([&](int thread) {
      const int64_t begin = size * thread / threads, end = size * (thread + 1) / threads;
      for (size_t i = 1; i < threads_.size(); ++i) {
        AddTo(end - begin, threads_[i].gradients.data() + begin, total.data() + begin);
        std::fill_n(threads_[i].gradients.data() + begin, end - begin, 0.0f);
      }
    });
  }

  const JobConfig* const config_;
  const Model& model_;
  DenseParameters* const parameters_;
  const uint64_t seed_;
  const FusedOptions options_;
  const FusedLayers layers_;
  const std::vector<LossSlot> slots_;
  const std::vector<OutputRule> rules_;
  ThreadTeam team_;
  std::vector<ThreadState> threads_;  // by member of the team

  // The batch under way.
  FusedEncoders encoders_;
  FusedEmbeddings embeddings_;
  FusedVariational variational_;
  FusedBatch all_;
  bool gate_sees_gradient_ = false;
  std::vector<int64_t> selected_;                            // the current task's positions
  std::vector<AlignedBuffer<float>> logits_, task_outputs_;  // evaluation: by tower, by task
  // By task, in the batch's order: of the row's own domain.
  std::vector<AlignedBuffer<float>> train_logits_;
  // By task with sessions, in the batch's order.
  std::vector<AlignedBuffer<float>> session_logits_;
  std::vector<SessionPart> sessions_;  // by loss slot
};

}  // namespace

std::unique_ptr<PepnetModel> MakeFusedModel(const JobConfig* config, DenseParameters* parameters,
                                            uint64_t seed, int threads,
                                            const FusedOptions& options) {
  return std::make_unique<FusedModel>(config, parameters, seed, threads, options);
}

std::string WhyFusedEngineDoesNotRun(const Model& model, const ModelOptions& options) {
  if (options.device.kind != ComputeDevice::Kind::kHost) return "on CPUs only";
  // Goes through libtorch's autocast.
  if (options.bf16) return "in float32 only, not with mixed_precision BF16";
  if (NormalisesOverRows(model)) return "rows one by one, and this network has batch norm or Dice";
  if (model.pareto_weights) return "one backward pass a step, not with use_pareto_loss_weight";
  for (const Activation& activation : Activations(model)) {
    const ActivationType& type = TypeOf(activation.kind);
    if (activation.weights > 1) return "nn.PReLU with one weight only";
    if (!IsElementwise(type)) {
      return absl::StrCat("functions of one number behind a layer, and ", type.function,
                          " is none");
    }
  }
  return "";
}

}  // namespace pepnet
