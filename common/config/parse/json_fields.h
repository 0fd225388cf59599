// JsonFields: sets fields of a config message from JSON values, for --edit_config_json and for
// pipeline configs in JSON.
//
// Values: numbers and booleans may also be texts ("7", "True"), as may enum values (their names or
// numbers). A list or a
//         single value for a repeated field; an object, or a text in protobuf's text format, for a
//         message, which it replaces; {"word": row} for vocab_dict; null unsets. What stands inside
//         messages that IsUnsupported() is skipped.
// Names:  the schema's, or lowerCamelCase inside of objects.
// Failure: InvalidArgument that names field and value.
#pragma once

#include <string>

#include <google/protobuf/message.h>

#include "nlohmann/json_fwd.hpp"

#include "common/base/status.h"
#include "common/config/parse/config_source.h"

namespace pepnet {

class JsonFields {
 public:
  // A field that is set counts as written by `origin`; "": the file that `source` names. With
  // `ignore_unknown_fields`, a name that the schema does not know leaves a note instead of being an
  // error.
  JsonFields(std::string origin, ConfigSource* source, bool ignore_unknown_fields = false)
      : origin_(std::move(origin)),
        source_(source),
        ignore_unknown_fields_(ignore_unknown_fields) {}

  // The whole field.
  Status Set(const nlohmann::ordered_json& value, const google::protobuf::FieldDescriptor& field,
             google::protobuf::Message* message) const;
  // Element `index` of a repeated field.
  Status SetElement(const nlohmann::ordered_json& value,
                    const google::protobuf::FieldDescriptor& field, int index,
                    google::protobuf::Message* message) const;
  // All members of `object`.
  Status SetAll(const nlohmann::ordered_json& object, google::protobuf::Message* message) const;

 private:
  Status SetOne(const nlohmann::ordered_json& value, const google::protobuf::FieldDescriptor& field,
                int index, google::protobuf::Message* message) const;
  Status SetMessage(const nlohmann::ordered_json& value,
                    const google::protobuf::FieldDescriptor& field, int index,
                    google::protobuf::Message* message) const;

  const std::string origin_;
  ConfigSource* const source_;
  const bool ignore_unknown_fields_;
};

// The field of `message` of that name; the error suggests one.
StatusOr<const google::protobuf::FieldDescriptor*> FindField(
    const google::protobuf::Message& message, const std::string& name);

// `text` as a JSON object without names that are given twice; messages begin with `where` and show
// `example`.
StatusOr<nlohmann::ordered_json> ParseJsonObject(const std::string& text, const std::string& where,
                                                 const std::string& example);

}  // namespace pepnet
