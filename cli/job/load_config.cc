#include "cli/job/load_config.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/logging.h"
#include "common/config/load.h"
#include "worker/model/parameters.h"
#include "worker/optim/part_optimizers.h"

namespace pepnet {
namespace {

// 256 GiB of weights, and as much of gradients.
constexpr int64_t kMostParameters = int64_t{1} << 36;

// Widths that are legal one by one may make a network that no machine holds.
Status CheckNetworkSize(const JobConfig& config) {
  int64_t sum = 0;
  for (const ParameterSpec& spec : DenseParameterList(config)) {
    if (__builtin_add_overflow(sum, spec.elements(), &sum) || sum > kMostParameters) {
      return InvalidInput("the network has more than ", kMostParameters, " parameters up to ",
                          spec.name, " (", absl::StrJoin(spec.shape, " x "),
                          "); make its layers narrower");
    }
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<JobConfig> LoadConfig(const ConfigFlags& flags, bool ignore_unknown_fields,
                               std::vector<std::string>* all) {
  ConfigOverrides overrides;
  overrides.edit_config_json = flags.edit_config_json;
  overrides.set = flags.set;
  overrides.model_dir = flags.model_dir;
  overrides.train_input_path = flags.train_input_path;
  overrides.eval_input_path = flags.eval_input_path;
  overrides.fine_tune_checkpoint = flags.fine_tune_checkpoint;
  overrides.dataset_type = flags.dataset_type;
  overrides.ignore_unknown_fields = ignore_unknown_fields;
  overrides.for_training = flags.for_training;
  PEPNET_ASSIGN_OR_RETURN(JobConfig config,
                          LoadJobConfig(flags.pipeline_config_path, overrides, all));
  PEPNET_RETURN_IF_ERROR(Annotate(CheckNetworkSize(config), flags.pipeline_config_path));
  return config;
}

Status NameInputFlags(const ConfigFlags& flags, const Status& status) {
  if (status.ok()) return status;
  std::string text(status.message());
  for (const auto& [field, value] : {std::pair("train_input_path", &flags.train_input_path),
                                     std::pair("eval_input_path", &flags.eval_input_path)}) {
    if (value->empty()) continue;
    // Behind "worker 1: " as well, but not inside of another name.
    const std::string beginning = absl::StrCat(field, ": ");
    const size_t at = text.find(beginning);
    if (at == 0 || (at != std::string::npos && text[at - 1] == ' ')) text.insert(at, "--");
  }
  Status named(status.code(), text);
  status.ForEachPayload(
      [&](absl::string_view type, const absl::Cord& payload) { named.SetPayload(type, payload); });
  return named;
}

void LogNotes(const JobConfig& config) {
  for (const std::string& note : config.notes) LOG(INFO) << note;
  for (const std::string& note : IdlePartOptimizers(config)) LOG(INFO) << note;
}

}  // namespace pepnet
