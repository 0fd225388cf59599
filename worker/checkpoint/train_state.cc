#include "worker/checkpoint/train_state.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/str_join.h"
#include "common/base/mutant.h"
#include "common/file/file.h"

namespace pepnet {
namespace {

constexpr char kDenseFile[] = "dense.safetensors";
constexpr char kTrainerFile[] = "trainer.json";
constexpr char kAccumulated[] = "accumulated_gradient";
constexpr size_t kFloatsPerWrite = size_t{1} << 18;

// One array of the checkpoint: a view of one parameter's floats in some arena.
struct Item {
  std::string name;
  std::vector<int64_t> shape;
  std::span<float> values;
};

std::span<float> Slice(AlignedBuffer<float>& arena, const DenseParameters& parameters, int i) {
  return {arena.data() + parameters.offset(i), static_cast<size_t>(parameters.specs()[i].elements())};
}

bool InsideWindow(const TrainState& state) {
  for (float g : state.accumulated_gradients) {
    if (g != 0) return true;
  }
  return false;
}

std::vector<Item> ListItems(TrainState& state, bool with_accumulated) {
  std::vector<Item> items;
  const std::vector<ParameterSpec>& specs = state.parameters.specs();
  for (int i = 0; i < static_cast<int>(specs.size()); ++i) {
    items.push_back({specs[i].name, specs[i].shape, state.parameters.value(i)});
  }
  for (auto& [slot, arena] : state.optimizer.slots()) {
    for (int i = 0; i < static_cast<int>(specs.size()); ++i) {
      items.push_back({absl::StrCat(specs[i].name, "/", slot), specs[i].shape, Slice(arena, state.parameters, i)});
    }
  }
  if (with_accumulated) {
    for (int i = 0; i < static_cast<int>(specs.size()); ++i) {
      items.push_back({absl::StrCat(specs[i].name, "/", kAccumulated), specs[i].shape,
                       Slice(state.accumulated_gradients, state.parameters, i)});
    }
  }
  return items;
}

Status ReadInto(const SafetensorsReader& reader, const std::string& directory, const std::string& name,
                const std::vector<int64_t>& shape, std::span<float> out) {
  auto it = reader.tensors().find(name);
  if (it == reader.tensors().end()) {
    return absl::NotFoundError(absl::StrCat(directory, "/", kDenseFile, " holds no tensor ", name,
                                            "; it was written by another config or version"));
  }
  if (it->second.shape != shape) {
    return InvalidInput(directory, "/", kDenseFile, ": ", name, " has shape [", absl::StrJoin(it->second.shape, ", "),
                        "], this config needs [", absl::StrJoin(shape, ", "), "]");
  }
  PEPNET_ASSIGN_OR_RETURN(std::vector<float> values, reader.ReadFloats(name));
  std::copy(values.begin(), values.end(), out.begin());
  return absl::OkStatus();
}

}  // namespace

TrainState::TrainState(const JobConfig& config, uint64_t seed)
    : parameters(DenseParameterList(config)), optimizer(config.train.dense_optimizer, parameters.values().size()) {
  counters.seed = seed;
  counters.window = config.train.gradient_accumulation_steps;
  parameters.Initialize(seed);
  accumulated_gradients.ResizeZeroed(parameters.values().size());
}

void CopyDenseState(TrainState& state, DenseImage* image) {
  const bool inside_window = InsideWindow(state);
  image->tensors.clear();
  size_t floats = 0;
  const std::vector<Item> items = ListItems(state, inside_window);
  for (const Item& item : items) floats += item.values.size();
  image->floats.Resize(floats);
  float* out = image->floats.data();
  for (const Item& item : items) {
    image->tensors.push_back({item.name, "F32", item.shape});
    out = std::copy(item.values.begin(), item.values.end(), out);
  }
  const TrainCounters& c = state.counters;
  nlohmann::ordered_json json = {{"finished_steps", c.finished_steps},
                                 {"epoch", c.position.epoch},
                                 {"rows_in_epoch", c.position.rows_in_epoch},
                                 {"window_epochs", c.window_epochs},
                                 {"inside_window", inside_window},
                                 {"window", c.window},
                                 {"optimizer_steps", state.optimizer.steps()},
                                 {"seed", c.seed},
                                 {"batch_size", c.batch_size},
                                 {"worker_count", c.worker_count},
                                 {"threads", c.threads}};
  if (!state.train_metrics.empty()) json["train_metrics"] = state.train_metrics;
  image->counters = json.dump(2) + "\n";
}

Status WriteDenseFiles(const DenseImage& image, CheckpointWriter& writer, std::vector<FileEntry>* files) {
  PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsWriter> out,
                          SafetensorsWriter::Create(writer.temporary_directory() + "/" + kDenseFile, image.tensors));
  // In pieces: the writer gathers what it is given before it writes.
  for (size_t first = 0; first < image.floats.size(); first += kFloatsPerWrite) {
    const size_t count = std::min(kFloatsPerWrite, image.floats.size() - first);
    PEPNET_RETURN_IF_ERROR(out->Append(image.floats.data() + first, count * sizeof(float)));
  }
  PEPNET_ASSIGN_OR_RETURN(SafetensorsWriter::Result sum, out->Finish());
  files->push_back({kDenseFile, sum.bytes, sum.crc32c});
  PEPNET_ASSIGN_OR_RETURN(FileEntry entry, writer.WriteFile(kTrainerFile, image.counters));
  files->push_back(entry);
  return absl::OkStatus();
}

Status ReadDenseFiles(const std::string& directory, TrainState* state) {
  PEPNET_ASSIGN_OR_RETURN(std::string text, ReadFile(directory + "/" + kTrainerFile));
  bool inside_window = false;
  int64_t written_window = 1;
  const int64_t window = state->counters.window;
  try {
    const nlohmann::json json = nlohmann::json::parse(text);
    TrainCounters& c = state->counters;
    c.finished_steps = json.at("finished_steps");
    c.position.epoch = json.at("epoch");
    c.position.rows_in_epoch = json.at("rows_in_epoch");
    c.window_epochs = json.at("window_epochs");
    c.seed = json.at("seed");
    c.batch_size = json.at("batch_size");
    c.worker_count = json.at("worker_count");
    c.threads = json.at("threads");
    inside_window = json.at("inside_window");
    written_window = json.at("window");
    state->optimizer.set_steps(json.at("optimizer_steps"));
    if (json.contains("train_metrics"))
      state->train_metrics = json["train_metrics"].get<decltype(state->train_metrics)>();
  } catch (const nlohmann::json::exception& error) {
    return absl::DataLossError(absl::StrCat(directory, "/", kTrainerFile, " is damaged: ", error.what()));
  }
  if (inside_window && written_window != window) {
    return InvalidInput(directory, " was saved inside a window of gradient_accumulation_steps: ", written_window,
                        ", this config has ", window, "; continue with the old value to the end of the window");
  }
  PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsReader> reader,
                          SafetensorsReader::Open(directory + "/" + kDenseFile));
  for (Item& item : ListItems(*state, inside_window)) {
    PEPNET_RETURN_IF_ERROR(ReadInto(*reader, directory, item.name, item.shape, item.values));
  }
  if (MutantActive(Mutant::kResumeForgetsDenseState)) {
    state->optimizer.set_steps(0);
    for (auto& slot : state->optimizer.slots()) slot.second.ResizeZeroed(slot.second.size());
  }
  return absl::OkStatus();
}

Status ReadDenseValues(const std::string& directory, DenseParameters* parameters) {
  PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsReader> reader,
                          SafetensorsReader::Open(directory + "/" + kDenseFile));
  for (int i = 0; i < static_cast<int>(parameters->specs().size()); ++i) {
    const ParameterSpec& spec = parameters->specs()[i];
    PEPNET_RETURN_IF_ERROR(ReadInto(*reader, directory, spec.name, spec.shape, parameters->value(i)));
  }
  return absl::OkStatus();
}

StatusOr<std::vector<std::string>> ReadDenseValuesByName(const std::string& directory,
                                                         const std::map<std::string, std::string>& map,
                                                         DenseParameters* parameters) {
  PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsReader> reader,
                          SafetensorsReader::Open(directory + "/" + kDenseFile));
  std::vector<std::string> missing;
  for (int i = 0; i < static_cast<int>(parameters->specs().size()); ++i) {
    const ParameterSpec& spec = parameters->specs()[i];
    auto mapped = map.find(spec.name);
    const std::string& theirs = mapped == map.end() ? spec.name : mapped->second;
    auto it = reader->tensors().find(theirs);
    if (it == reader->tensors().end() && mapped != map.end()) {
      return InvalidInput("fine_tune_ckpt_param_map maps ", spec.name, " to '", theirs, "', which ", directory,
                          " does not hold");
    }
    if (it == reader->tensors().end() || it->second.shape != spec.shape) {
      missing.push_back(spec.name);
      continue;
    }
    PEPNET_RETURN_IF_ERROR(ReadInto(*reader, directory, theirs, spec.shape, parameters->value(i)));
  }
  return missing;
}

std::string CpuDescription() {
  __builtin_cpu_init();
  std::string result = "x86-64";
  if (__builtin_cpu_supports("avx2")) result += " avx2";
  if (__builtin_cpu_supports("fma")) result += " fma";
  if (__builtin_cpu_supports("avx512f")) result += " avx512f";
  return result;
}

}  // namespace pepnet
