#include "common/config/parse/json_parser.h"

#include "nlohmann/json.hpp"

#include "common/config/parse/json_fields.h"

namespace pepnet {

Status ParseJson(const std::string& text, bool ignore_unknown_fields, ConfigSource* source,
                 config::EasyRecConfig* config, std::vector<std::string>* all) {
  // The function has several ways out and one end, which records the message or the fault.
  const auto parse = [&]() -> Status {
    PEPNET_ASSIGN_OR_RETURN(
        const nlohmann::ordered_json object,
        ParseJsonObject(text, source->name(), "{\"train_input_path\": \"train.parquet\", ...}"));
    return Annotate(JsonFields("", source, ignore_unknown_fields).SetAll(object, config),
                    source->name());
  };
  const Status parsed = parse();
  if (parsed.ok()) {
    // JSON has no lines here, but elements have positions, which messages name.
    source->Record(*config);
  } else if (all != nullptr) {
    all->assign(1, std::string(parsed.message()));
  }
  return parsed;
}

}  // namespace pepnet
