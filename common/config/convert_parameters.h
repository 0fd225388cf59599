// From the proto message of a described type to its plain struct, through the type's list of
// parameters (common/job_config/parameter.h): no field is named twice.
#pragma once

#include <optional>
#include <span>
#include <string>

#include <google/protobuf/message.h>

#include "common/base/status.h"
#include "common/config/parse/config_source.h"
#include "common/job_config/parameter.h"
#include "common/job_config/type_table.h"

namespace pepnet {

// The field of the oneof `oneof` that `message` sets; null if none.
const google::protobuf::FieldDescriptor* SetMember(const google::protobuf::Message& message,
                                                   const std::string& oneof);

// Whether `message` sets a field, or gives elements of a repeated one. False where it has no field
// of that name.
bool HasField(const google::protobuf::Message& message, const std::string& name);

// Value of one field as a double, checked. A message that lacks the field is a bug:
// CheckDescriptions() finds it.
Status ReadParameter(const google::protobuf::Message& from, const ParameterInfo& parameter,
                     const ConfigSource& source, double* out);

// All parameters of `from`, in the order of the list; the first error counts.
template <typename Owner>
Status ConvertParameters(const google::protobuf::Message& from,
                         std::span<const Parameter<Owner>> parameters, const ConfigSource& source,
                         Owner* out) {
  for (const Parameter<Owner>& parameter : parameters) {
    double value = 0;
    PEPNET_RETURN_IF_ERROR(ReadParameter(from, parameter, source, &value));
    parameter.set(out, value);
  }
  return absl::OkStatus();
}

}  // namespace pepnet
