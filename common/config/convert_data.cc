#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"

#include "common/config/convert.h"
#include "common/config/parse/text_parser.h"

namespace pepnet {
namespace {

// Lists and maps keep the type that the file gives them.
ColumnType ColumnTypeOf(config::FieldType type) {
  if (type == config::INT32 || type == config::INT64) return ColumnType::kInteger;
  if (type == config::FLOAT || type == config::DOUBLE) return ColumnType::kFloating;
  if (type == config::STRING) return ColumnType::kString;
  return ColumnType::kUnspecified;
}

// "name:TYPE;name:TYPE;"
Status ParseInputFields(const config::DataConfig& data, const ConfigSource& source,
                        std::vector<InputField>* out) {
  // BIGINT and INT are MaxCompute's words for INT64 and INT32. A name may hold a colon, so the type
  // stands behind the last one.
  for (const auto& part : absl::StrSplit(data.input_fields_str(), ';')) {
    const std::string piece(absl::StripAsciiWhitespace(part));
    if (piece.empty()) continue;
    const size_t colon = piece.rfind(':');
    const std::string name(absl::StripAsciiWhitespace(piece.substr(0, colon)));
    std::string type_name = colon == std::string::npos ? "" : piece.substr(colon + 1);
    type_name = absl::AsciiStrToUpper(absl::StripAsciiWhitespace(type_name));
    if (type_name == "BIGINT") type_name = "INT64";
    if (type_name == "INT") type_name = "INT32";
    config::FieldType type;
    if (name.empty() || !config::FieldType_Parse(type_name, &type)) {
      return source.Error(data, "input_fields_str", "\"", piece,
                          "\" is not of the form name:TYPE, TYPE such as BIGINT, "
                          "DOUBLE or STRING");
    }
    out->push_back({name, ColumnTypeOf(type)});
  }
  return absl::OkStatus();
}

// A label or a weight that is listed twice would be two columns of a batch with the same values,
// and towers could name only the first.
Status CheckNoDuplicates(const config::DataConfig& data, const std::string& field,
                         const google::protobuf::RepeatedPtrField<std::string>& names,
                         const ConfigSource& source) {
  std::set<std::string> seen;
  for (const std::string& name : names) {
    if (name.empty()) return source.Error(data, field, "a name is empty");
    if (!seen.insert(name).second) {
      return source.Error(data, field, "\"", name, "\" is listed twice");
    }
  }
  return absl::OkStatus();
}

// The columns of the files in their order, by one of two fields, and the types that they are to be
// read as.
Status ConvertInputFields(const config::DataConfig& data, const ConfigSource& source,
                          DataConfig* out) {
  if (data.input_fields_size() > 0 && data.has_input_fields_str()) {
    return source.Error(data, "input_fields_str",
                        "input_fields is set as well; keep one of the two");
  }
  for (const config::Field& field : data.input_fields()) {
    if (field.input_name().empty()) {
      return source.Error(field, "input_name", "is missing; expected a column name");
    }
    out->input_fields.push_back({field.input_name(), field.has_input_type()
                                                         ? ColumnTypeOf(field.input_type())
                                                         : ColumnType::kUnspecified});
  }
  if (data.has_input_fields_str()) {
    PEPNET_RETURN_IF_ERROR(ParseInputFields(data, source, &out->input_fields));
  }
  std::set<std::string> seen;
  for (const InputField& field : out->input_fields) {
    if (!seen.insert(field.name).second) {
      return source.Error(data, data.has_input_fields_str() ? "input_fields_str" : "input_fields",
                          "column \"", field.name, "\" is listed twice");
    }
  }
  // Columns are found by name, never by position alone. A format without names in its files (CSV
  // without a header) needs the list.
  if (out->dataset_type.has_value() && !TypeOf(*out->dataset_type).names_columns &&
      !out->with_header && out->input_fields.empty()) {
    return source.Error(
        data, "with_header", "false (the default), so the columns of the ",
        TypeOf(*out->dataset_type).name,
        " files have no names; set with_header: true, or list them in input_fields");
  }
  return absl::OkStatus();
}

Status ConvertEventTime(const config::EventTime& from, const ConfigSource& source,
                        DataConfig* out) {
  // Servers count whole seconds; a column of a finer unit is divided by units_per_second.
  constexpr std::pair<const char*, int64_t> kUnits[] = {
      {"SECONDS", 1}, {"MILLISECONDS", 1000}, {"MICROSECONDS", 1'000'000}};
  constexpr uint64_t kMostSeconds = 100'000'000'000;  // beyond any event time
  if (from.field().empty()) {
    return source.Error(from, "field", "is missing; expected the name of an input column");
  }
  EventTimeColumn column;
  column.name = from.field();
  const auto unit = std::find_if(std::begin(kUnits), std::end(kUnits),
                                 [&](const auto& known) { return from.unit() == known.first; });
  if (unit == std::end(kUnits)) {
    return source.Error(from, "unit", "\"", from.unit(),
                        "\"; expected SECONDS, MILLISECONDS or MICROSECONDS");
  }
  column.units_per_second = unit->second;
  if (from.max_jump_seconds() == 0 || from.max_jump_seconds() > kMostSeconds) {
    return source.Error(from, "max_jump_seconds", from.max_jump_seconds(), "; expected 1 to ",
                        kMostSeconds, " seconds");
  }
  column.max_jump_seconds = static_cast<int64_t>(from.max_jump_seconds());
  for (const InputField& field : out->input_fields) {
    if (field.name != column.name || field.type == ColumnType::kInteger ||
        field.type == ColumnType::kUnspecified) {
      continue;
    }
    return source.Error(from, "field", "\"", column.name, "\" is declared by input_fields as ",
                        field.type == ColumnType::kString ? "a text" : "a floating point number",
                        "; expected whole numbers (INT64)");
  }
  out->event_time = std::move(column);
  return absl::OkStatus();
}

}  // namespace

Status ConvertData(const config::DataConfig& data, ConfigSource* source, DataConfig* out) {
  out->dataset_type_name = config::DatasetType_Name(data.dataset_type());
  // A dataset_type that is not read is no error: many configs leave its default, OdpsDataset, and
  // are run on files all the same. The ending of the paths decides then.
  out->dataset_type = FindKind<DatasetType>(&FileFormatType::dataset, out->dataset_type_name);
  if (!out->dataset_type.has_value()) {
    source->Note(data, "dataset_type",
                 absl::StrCat(out->dataset_type_name,
                              data.has_dataset_type() ? "" : ", the schema's default,",
                              " is not read; the ending of the input paths (",
                              ListOfKinds<DatasetType>(&FileFormatType::ending, " or "),
                              ") decides how to read them"));
  }
  if (data.fg_mode() == config::FG_BUCKETIZE) {
    return source->Error(data, "fg_mode",
                         "FG_BUCKETIZE is not supported; expected FG_NONE, FG_NORMAL or FG_DAG");
  }
  out->fg_mode = data.fg_mode() == config::FG_NONE ? FgMode::kNone : FgMode::kNormal;
  out->fg_encoded_multival_sep = data.fg_encoded_multival_sep();
  if (out->fg_encoded_multival_sep.empty()) {
    return source->Error(data, "fg_encoded_multival_sep",
                         "is empty; expected the text between two values");
  }
  if (data.batch_size() == 0) {
    return source->Error(data, "batch_size", "0; expected at least 1 row");
  }
  out->batch_size = data.batch_size();
  if (data.has_eval_batch_size() && data.eval_batch_size() == 0) {
    return source->Error(data, "eval_batch_size",
                         "0; expected at least 1 row, or remove it to use batch_size");
  }
  // 0 means "not set" from here on.
  out->eval_batch_size = data.eval_batch_size();
  PEPNET_RETURN_IF_ERROR(CheckNoDuplicates(data, "label_fields", data.label_fields(), *source));
  PEPNET_RETURN_IF_ERROR(
      CheckNoDuplicates(data, "sample_weight_fields", data.sample_weight_fields(), *source));
  out->labels.assign(data.label_fields().begin(), data.label_fields().end());
  out->sample_weights.assign(data.sample_weight_fields().begin(),
                             data.sample_weight_fields().end());
  if (data.delimiter().size() != 1) {
    return source->Error(data, "delimiter", "\"", data.delimiter(), "\" has ",
                         data.delimiter().size(), " bytes; expected 1");
  }
  out->delimiter = data.delimiter()[0];
  out->with_header = data.with_header();
  PEPNET_RETURN_IF_ERROR(ConvertInputFields(data, *source, out));
  if (data.has_event_time()) {
    PEPNET_RETURN_IF_ERROR(ConvertEventTime(data.event_time(), *source, out));
  }
  // Each reader is a thread with buffers of its own.
  if (data.num_workers() > 1024) {
    return source->Error(data, "num_workers", data.num_workers(),
                         " reader threads; expected at most 1024");
  }
  if (data.num_workers() == 0) source->Note(data, "num_workers", "0 is read as 1 reader thread");
  out->num_workers = data.num_workers() == 0 ? 1 : static_cast<int>(data.num_workers());
  out->drop_remainder = data.drop_remainder();
  out->shuffle = data.shuffle();
  if (data.shuffle_buffer_size() == 0) {
    return source->Error(data, "shuffle_buffer_size",
                         "0; expected at least 1 batch, or shuffle: false");
  }
  out->shuffle_buffer_size = data.shuffle_buffer_size();
  return absl::OkStatus();
}

}  // namespace pepnet
