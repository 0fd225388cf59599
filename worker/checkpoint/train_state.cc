#include "worker/checkpoint/train_state.h"

#include <dlfcn.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/str_join.h"
#include "common/base/mutant.h"
#include "common/base/text.h"
#include "common/checkpoint/strict_json.h"
#include "common/file/file.h"
#include "worker/data/history/history_json.h"

namespace pepnet {
namespace {

constexpr char kDenseFile[] = "dense.safetensors";
constexpr char kTrainerFile[] = "trainer.json";
constexpr char kAccumulated[] = "accumulated_gradient";
constexpr char kAverage[] = "average";
constexpr size_t kFloatsPerWrite = size_t{1} << 18;
constexpr int64_t kMaxTrainerBytes = int64_t{1} << 30;
constexpr int64_t kMaxCounter = int64_t{1} << 62;  // sums of two still fit

// One array of the checkpoint: a view of one parameter's floats in some arena.
struct Item {
  std::string name;
  std::vector<int64_t> shape;
  std::span<float> values;
};

std::span<float> Slice(AlignedBuffer<float>& arena, const DenseParameters& parameters, int i) {
  return {arena.data() + parameters.offset(i),
          static_cast<size_t>(parameters.specs()[i].elements())};
}

// The sums themselves tell: after the last step of a window they are zero.
bool InsideWindow(const TrainState& state) {
  for (float g : state.accumulated_gradients) {
    if (g != 0) return true;
  }
  return false;
}

// The things that a checkpoint holds beside the parameters.
struct Extent {
  bool optimizers = true, averages = true, accumulated = false;
};

// The arrays stand in the order of the file, which is also the order of reading:
//   parameters | slots of the optimizers | averages | sums of the accumulation window
std::vector<Item> ListItems(TrainState& state, const Extent& extent) {
  std::vector<Item> items;
  const std::vector<ParameterSpec>& specs = state.parameters.specs();
  for (int i = 0; i < static_cast<int>(specs.size()); ++i) {
    items.push_back({specs[i].name, specs[i].shape, state.parameters.value(i)});
  }
  if (extent.optimizers) {
    for (const DenseOptimizers::Slot& slot : state.optimizers.Slots()) {
      const ParameterSpec& spec = specs[slot.parameter];
      items.push_back({absl::StrCat(spec.name, "/", slot.name), spec.shape, slot.values});
    }
  }
  for (int i = 0; extent.averages && i < static_cast<int>(specs.size()); ++i) {
    if (!state.averages.Has(i)) continue;
    items.push_back(
        {absl::StrCat(specs[i].name, "/", kAverage), specs[i].shape, state.averages.value(i)});
  }
  if (extent.accumulated) {
    for (int i = 0; i < static_cast<int>(specs.size()); ++i) {
      // Statistics gather no gradients.
      if (!specs[i].trained) continue;
      items.push_back({absl::StrCat(specs[i].name, "/", kAccumulated), specs[i].shape,
                       Slice(state.accumulated_gradients, state.parameters, i)});
    }
  }
  return items;
}

Status ReadInto(const SafetensorsReader& reader, const std::string& directory,
                const std::string& name, const std::vector<int64_t>& shape, std::span<float> out) {
  auto it = reader.tensors().find(name);
  if (it == reader.tensors().end()) {
    return absl::NotFoundError(absl::StrCat(directory, "/", kDenseFile, " holds no tensor ", name,
                                            "; it was written by another config or version"));
  }
  if (it->second.shape != shape) {
    return InvalidInput(directory, "/", kDenseFile, ": ", name, " has shape [",
                        absl::StrJoin(it->second.shape, ", "), "], this config needs [",
                        absl::StrJoin(shape, ", "), "]");
  }
  PEPNET_ASSIGN_OR_RETURN(std::vector<float> values, reader.ReadFloats(name));
  std::copy(values.begin(), values.end(), out.begin());
  return absl::OkStatus();
}

bool HasAverages(const SafetensorsReader& reader) {
  const std::string end = absl::StrCat("/", kAverage);
  const auto& tensors = reader.tensors();
  return std::any_of(tensors.begin(), tensors.end(),
                     [&](const auto& tensor) { return tensor.first.ends_with(end); });
}

// Weights for use: what is not finite would make every output of the model that it reaches so,
// without a word.
Status CheckFinite(const std::string& directory, const std::string& name,
                   std::span<const float> values) {
  const auto wrong =
      std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
  if (wrong == values.end()) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(directory, "/", kDenseFile, ": ", name, " holds ", *wrong, " at position ",
                   wrong - values.begin(),
                   "; weights that are not finite cannot be used, choose another checkpoint"));
}

Status ReadCounters(const std::string& text, TrainState* state, bool* inside_window,
                    int64_t* written_window) {
  PEPNET_ASSIGN_OR_RETURN(const nlohmann::json json, ParseStrictJson(text));
  TrainCounters& c = state->counters;
  PEPNET_ASSIGN_OR_RETURN(c.finished_steps, JsonInteger(json, "finished_steps", 0, kMaxCounter));
  PEPNET_ASSIGN_OR_RETURN(c.position.epoch, JsonInteger(json, "epoch", 0, kMaxCounter));
  PEPNET_ASSIGN_OR_RETURN(c.position.rows_in_epoch,
                          JsonInteger(json, "rows_in_epoch", 0, kMaxCounter));
  PEPNET_ASSIGN_OR_RETURN(c.window_epochs, JsonInteger(json, "window_epochs", 0, kMaxCounter));
  PEPNET_ASSIGN_OR_RETURN(c.seed, JsonUnsigned(json, "seed"));
  PEPNET_ASSIGN_OR_RETURN(c.batch_size, JsonInteger(json, "batch_size", 0, kMaxCounter));
  PEPNET_ASSIGN_OR_RETURN(const int64_t workers, JsonInteger(json, "worker_count", 0, INT_MAX));
  PEPNET_ASSIGN_OR_RETURN(const int64_t threads, JsonInteger(json, "threads", 0, INT_MAX));
  c.worker_count = static_cast<int>(workers);
  c.threads = static_cast<int>(threads);
  PEPNET_ASSIGN_OR_RETURN(*written_window, JsonInteger(json, "window", 0, kMaxCounter));
  // There are never more updates than micro-batches: another number means damage.
  PEPNET_ASSIGN_OR_RETURN(const int64_t optimizer_steps,
                          JsonInteger(json, "optimizer_steps", 0, c.finished_steps));
  state->optimizers.set_steps(optimizer_steps);
  // The boolean is always written, so its absence is damage; "data" and "train_metrics" are written
  // only where there are any.
  const auto inside = json.find("inside_window");
  if (inside == json.end() || !inside->is_boolean()) {
    return absl::DataLossError("\"inside_window\" is not true or false");
  }
  *inside_window = inside->get<bool>();
  c.data = DataHistory();
  if (const auto data = json.find("data"); data != json.end()) {
    const StatusOr<DataHistory> history = HistoryFromJson(*data);
    if (!history.ok()) return Annotate(history.status(), "\"data\"");
    c.data = *history;
  }
  const auto metrics = json.find("train_metrics");
  if (metrics == json.end()) return absl::OkStatus();
  // The library throws on members of another kind.
  try {
    state->train_metrics = metrics->get<decltype(state->train_metrics)>();
  } catch (const nlohmann::json::exception& error) {
    return absl::DataLossError(absl::StrCat("\"train_metrics\": ", JsonErrorText(error.what())));
  }
  return absl::OkStatus();
}

// The matrix products that libtorch's MKL takes in this program where it would take others by
// itself (docs/decisions/0029-products-with-avx512.md), or where its environment variables hold it
// back: bits depend on them.
std::string UnusualProducts() {
  // MKL's own function, which follows these variables; a libtorch without MKL has none.
  auto* const detect = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "mkl_serv_cpu_detect"));
  if (detect == nullptr) return "";
  constexpr int kAnyVendor = 0, kAvx2 = 5, kAvx512 = 7;
  const int kind = detect();
  int usual = kAnyVendor;
  if (__builtin_cpu_is("intel")) usual = __builtin_cpu_supports("avx512f") ? kAvx512 : kind;
  if (kind == usual) return "";
  return absl::StrCat(", products of kind ",
                      kind == kAvx512 ? "avx512" : (kind == kAvx2 ? "avx2" : absl::StrCat(kind)));
}

}  // namespace

TrainState::TrainState(const JobConfig& config, uint64_t seed)
    : parameters(DenseParameterList(config)),
      optimizers(config, parameters),
      averages(config.train.ema_decay, parameters) {
  counters.seed = seed;
  counters.window = config.train.gradient_accumulation_steps;
  parameters.Initialize(seed);
  averages.StartFrom(parameters.values());
  accumulated_gradients.ResizeZeroed(parameters.values().size());
}

// The training step waits for this copy: it is one pass over the arrays into memory that is kept,
// and touches no file.
void CopyDenseState(TrainState& state, DenseImage* image) {
  const bool inside_window = InsideWindow(state);
  image->tensors.clear();
  size_t floats = 0;
  const std::vector<Item> items = ListItems(state, {.accumulated = inside_window});
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
                                 {"optimizer_steps", state.optimizers.steps()},
                                 {"seed", c.seed},
                                 {"batch_size", c.batch_size},
                                 {"worker_count", c.worker_count},
                                 {"threads", c.threads}};
  // A checkpoint of a run that does not know its files says nothing about them, and is not made to
  // look as if it did.
  if (c.data.known) json["data"] = HistoryToJson(c.data);
  if (!state.train_metrics.empty()) json["train_metrics"] = state.train_metrics;
  image->counters = json.dump(2) + "\n";
}

Status WriteDenseFiles(const DenseImage& image, CheckpointWriter& writer,
                       std::vector<FileEntry>* files) {
  PEPNET_ASSIGN_OR_RETURN(
      std::unique_ptr<SafetensorsWriter> out,
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

Status ReadDenseFiles(const std::string& directory, TrainState* state, bool with_optimizer_state) {
  PEPNET_ASSIGN_OR_RETURN(const std::string text,
                          ReadFile(directory + "/" + kTrainerFile, kMaxTrainerBytes));
  bool inside_window = false;
  int64_t written_window = 1;
  // The config's window stays: the file's is compared with it below.
  const int64_t window = state->counters.window;
  const int64_t optimizer_steps = state->optimizers.steps();
  if (const Status read = ReadCounters(text, state, &inside_window, &written_window); !read.ok()) {
    return absl::DataLossError(
        absl::StrCat(directory, "/", kTrainerFile, " is damaged: ", read.message()));
  }
  // The sums are of so many micro-batches. With another window the optimizer's step would come at
  // another place.
  if (inside_window && written_window != window) {
    return InvalidInput(
        directory, " was saved inside a window of gradient_accumulation_steps: ", written_window,
        ", this config has ", window, "; continue with the old value to the end of the window");
  }
  PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsReader> reader,
                          SafetensorsReader::Open(directory + "/" + kDenseFile));
  // Fresh optimizers have made no steps, whatever the file says.
  if (!with_optimizer_state) state->optimizers.set_steps(optimizer_steps);
  const bool averages = with_optimizer_state && HasAverages(*reader);
  // The list is that of this config, so a tensor that the file lacks is an error with its name, and
  // one that it has beside is not read.
  for (Item& item : ListItems(*state, {with_optimizer_state, averages, inside_window})) {
    PEPNET_RETURN_IF_ERROR(ReadInto(*reader, directory, item.name, item.shape, item.values));
  }
  // Averages begin at the weights where the file has none, as after the first step.
  if (!averages || MutantActive(Mutant::kResumeForgetsAverages)) {
    state->averages.StartFrom(state->parameters.values());
  }
  if (MutantActive(Mutant::kResumeForgetsDenseState)) {
    state->optimizers.set_steps(0);
    for (const DenseOptimizers::Slot& slot : state->optimizers.Slots()) {
      std::fill(slot.values.begin(), slot.values.end(), 0.0f);
    }
  }
  return absl::OkStatus();
}

StatusOr<bool> HoldsAverages(const std::string& directory) {
  PEPNET_ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsReader> reader,
                          SafetensorsReader::Open(directory + "/" + kDenseFile));
  return HasAverages(*reader);
}

Status ReadDenseValues(const std::string& directory, DenseValues which,
                       DenseParameters* parameters) {
  PEPNET_ASSIGN_OR_RETURN(std::unique_ptr<SafetensorsReader> reader,
                          SafetensorsReader::Open(directory + "/" + kDenseFile));
  const bool averages = which == DenseValues::kAverages && HasAverages(*reader);
  for (int i = 0; i < static_cast<int>(parameters->specs().size()); ++i) {
    const ParameterSpec& spec = parameters->specs()[i];
    // Statistics have no average (ParameterSpec::trained).
    const std::string name =
        averages && spec.trained ? absl::StrCat(spec.name, "/", kAverage) : spec.name;
    PEPNET_RETURN_IF_ERROR(ReadInto(*reader, directory, name, spec.shape, parameters->value(i)));
    PEPNET_RETURN_IF_ERROR(CheckFinite(directory, name, parameters->value(i)));
  }
  return absl::OkStatus();
}

Status CheckHoldsState(const Manifest& manifest, const JobConfig& config) {
  // The manifest names what was verified. A file beside it could be anything.
  for (const char* file : {kDenseFile, kTrainerFile}) {
    const auto named = [file](const FileEntry& entry) { return entry.file == file; };
    if (std::any_of(manifest.files.begin(), manifest.files.end(), named)) continue;
    return absl::DataLossError(absl::StrCat("the manifest does not name ", file));
  }
  for (const Table& table : config.tables) {
    const auto of_table = [&table](const PartEntry& part) { return part.table == table.name; };
    if (std::any_of(manifest.parts.begin(), manifest.parts.end(), of_table)) continue;
    return absl::DataLossError(absl::StrCat("the manifest names no part of table ", table.name));
  }
  return absl::OkStatus();
}

StatusOr<std::vector<std::string>> ReadDenseValuesByName(
    const std::string& directory, const std::map<std::string, std::string>& map,
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
      return InvalidInput("fine_tune_ckpt_param_map maps ", spec.name, " to '", theirs, "', which ",
                          directory, " does not hold");
    }
    // Another shape counts as missing, as under another name: the caller reports how many kept
    // their initial values.
    if (it == reader->tensors().end() || it->second.shape != spec.shape) {
      missing.push_back(spec.name);
      continue;
    }
    PEPNET_RETURN_IF_ERROR(ReadInto(*reader, directory, theirs, spec.shape, parameters->value(i)));
    PEPNET_RETURN_IF_ERROR(CheckFinite(directory, theirs, parameters->value(i)));
  }
  return missing;
}

std::string CpuDescription() {
  __builtin_cpu_init();
  std::string result = "x86-64";
  if (__builtin_cpu_supports("avx2")) result += " avx2";
  if (__builtin_cpu_supports("fma")) result += " fma";
  if (__builtin_cpu_supports("avx512f")) result += " avx512f";
  return result + UnusualProducts();
}

}  // namespace pepnet
