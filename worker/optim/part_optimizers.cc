#include "worker/optim/part_optimizers.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/logging.h"
#include "common/base/text.h"
#include "common/expression/name_pattern.h"

namespace pepnet {
namespace {

// The name that patterns are matched against.
std::string MatchedName(const JobConfig& config, const std::string& name) {
  for (const DenseEmbedding& embedding : config.model.embeddings) {
    if (name != embedding.projection && name != embedding.mixing && name != embedding.meta) {
      continue;
    }
    const std::string& feature = config.features[config.leaves[embedding.leaf].feature].name;
    const std::string end = absl::StrCat("_", feature, ".weight");
    return absl::EndsWith(name, end) ? name.substr(0, name.size() - end.size()) : name;
  }
  return name;
}

}  // namespace

std::vector<int> OptimizersOf(const JobConfig& config, const std::vector<ParameterSpec>& specs) {
  std::vector<NamePattern> patterns;
  for (const PartOptimizer& part : config.train.part_optimizers) {
    auto pattern = NamePattern::Parse(part.pattern);
    CHECK(pattern.ok()) << pattern.status().message();  // the config's loader has parsed it
    patterns.push_back(*std::move(pattern));
  }
  std::vector<int> owners;
  for (const ParameterSpec& spec : specs) {
    // The patterns are tried in the order of the config, and the first one that matches owns the
    // parameter: each has one optimizer.
    if (!spec.trained) {
      owners.push_back(kNoOptimizer);
      continue;
    }
    const std::string name = patterns.empty() ? "" : MatchedName(config, spec.name);
    const auto matches = [&name](const NamePattern& pattern) { return pattern.Matches(name); };
    const auto found = std::find_if(patterns.begin(), patterns.end(), matches);
    owners.push_back(found == patterns.end() ? kMainOptimizer
                                             : static_cast<int>(found - patterns.begin()));
  }
  return owners;
}

std::vector<std::string> IdlePartOptimizers(const JobConfig& config) {
  std::vector<std::string> sentences;
  if (config.train.part_optimizers.empty()) return sentences;
  const std::vector<int> owners = OptimizersOf(config, DenseParameterList(config));
  for (size_t p = 0; p < config.train.part_optimizers.size(); ++p) {
    if (std::find(owners.begin(), owners.end(), static_cast<int>(p)) != owners.end()) continue;
    sentences.push_back(
        absl::StrCat("part_optimizers[", p, "] is ignored: regex_pattern \"",
                     Printable(config.train.part_optimizers[p].pattern, 200),
                     "\" matches the whole name of no dense parameter that is left to it"));
  }
  return sentences;
}

DenseOptimizers::DenseOptimizers(const JobConfig& config, const DenseParameters& parameters)
    : owners_(OptimizersOf(config, parameters.specs())),
      main_(config.train.dense_optimizer,
            RunsOfParameters(parameters, [this](int i) { return owners_[i] == kMainOptimizer; })) {
  for (size_t i = 0; i < owners_.size(); ++i) {
    offsets_.push_back(parameters.offset(static_cast<int>(i)));
    elements_.push_back(static_cast<size_t>(parameters.specs()[i].elements()));
  }
  for (int p = 0; p < static_cast<int>(config.train.part_optimizers.size()); ++p) {
    std::vector<ArenaRun> runs =
        RunsOfParameters(parameters, [this, p](int i) { return owners_[i] == p; });
    // A part without a parameter has no state and is no part of a checkpoint; IdlePartOptimizers()
    // says so.
    if (runs.empty()) continue;
    parts_.push_back(p);
    part_states_.emplace_back(config.train.part_optimizers[p].optimizer, std::move(runs));
  }
}

// The optimizers have disjoint runs of one arena, so their order changes no bit.
void DenseOptimizers::Step(std::span<float> values, std::span<const float> gradients, double rate,
                           std::span<const double> part_rates) {
  main_.Step(values, gradients, rate);
  for (size_t i = 0; i < parts_.size(); ++i) {
    part_states_[i].Step(values, gradients, part_rates[parts_[i]]);
  }
}

void DenseOptimizers::set_steps(int64_t steps) {
  main_.set_steps(steps);
  for (DenseOptimizerState& state : part_states_) state.set_steps(steps);
}

std::vector<DenseOptimizers::Slot> DenseOptimizers::Slots() {
  std::vector<Slot> slots;
  const auto add = [&](int owner, DenseOptimizerState* state) {
    // The slots go slot by slot and not parameter by parameter: this is the order of checkpoints,
    // which must not change.
    for (auto& [name, floats] : state->slots()) {
      for (size_t i = 0; i < owners_.size(); ++i) {
        if (owners_[i] != owner || elements_[i] == 0) continue;
        slots.push_back({name,
                         static_cast<int>(i),
                         {floats.data() + state->OffsetInSlot(offsets_[i]), elements_[i]}});
      }
    }
  };
  add(kMainOptimizer, &main_);
  for (size_t i = 0; i < parts_.size(); ++i) add(parts_[i], &part_states_[i]);
  return slots;
}

}  // namespace pepnet
