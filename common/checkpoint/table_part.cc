#include "common/checkpoint/table_part.h"

#include <bit>
#include <climits>
#include <cstring>
#include <optional>

#include "absl/strings/str_format.h"
#include "arrow/type.h"
#include "xxhash.h"

#include "common/base/copy_row.h"
#include "common/base/log_functions.h"
#include "common/base/partition.h"
#include "common/checkpoint/strict_json.h"
#include "common/checkpoint/table_part_schema.h"

namespace pepnet {
namespace {

static_assert(std::endian::native == std::endian::little,
              "digests are defined over little-endian bytes");

std::string DumpOrDie(const nlohmann::ordered_json& value) {
  StatusOr<std::string> text = DumpJson(value);
  // TablePartWriter::Create refuses names that are not UTF-8.
  CheckOrDie(text.ok(), std::string(text.status().message()));
  return *std::move(text);
}

StatusOr<std::vector<BucketEntry>> ParseBuckets(const nlohmann::json& part, int64_t part_rows) {
  const auto list = part.find("buckets");
  if (list == part.end() || !list->is_array()) {
    return absl::DataLossError("\"buckets\" is missing or not a list");
  }
  std::vector<BucketEntry> buckets;
  int64_t rows = 0;
  for (const auto& item : *list) {
    BucketEntry entry;
    const int64_t lowest = buckets.empty() ? 0 : buckets.back().bucket + 1;
    PEPNET_ASSIGN_OR_RETURN(const int64_t bucket,
                            JsonInteger(item, "bucket", lowest, kBucketCount - 1));
    entry.bucket = static_cast<int>(bucket);
    // The member is redundant on purpose: people and other tools find a bucket without adding up
    // those before it.
    PEPNET_RETURN_IF_ERROR(JsonInteger(item, "first_row", rows, rows).status());
    PEPNET_ASSIGN_OR_RETURN(entry.rows, JsonInteger(item, "rows", 1, part_rows - rows));
    PEPNET_ASSIGN_OR_RETURN(const std::string digest, JsonString(item, "digest"));
    PEPNET_ASSIGN_OR_RETURN(entry.digest, RowDigest::Parse(digest));
    rows += entry.rows;
    buckets.push_back(entry);
  }
  if (rows != part_rows) {
    return absl::DataLossError(
        absl::StrCat("the buckets hold ", rows, " rows, expected ", part_rows));
  }
  return buckets;
}

// The kind whose name is the member `name`; FP32 where there is none.
StatusOr<ValueKind> ParseValueKind(const nlohmann::json& item, const char* name) {
  if (!item.contains(name)) return ValueKind::kFp32;
  PEPNET_ASSIGN_OR_RETURN(const std::string data_type, JsonString(item, name));
  const std::optional<ValueKind> kind = FindKind<ValueKind>(&ValueType::name, data_type);
  if (kind.has_value()) return *kind;
  return absl::DataLossError(absl::StrCat("\"", name, "\" is \"", data_type, "\", expected ",
                                          ListOfKinds<ValueKind>(&ValueType::name, " or ")));
}

StatusOr<PartEntry> ParsePart(const nlohmann::json& item) {
  PartEntry part;
  PEPNET_ASSIGN_OR_RETURN(part.table, JsonString(item, "table"));
  PEPNET_ASSIGN_OR_RETURN(part.file, JsonString(item, "file"));
  PEPNET_ASSIGN_OR_RETURN(part.rows, JsonInteger(item, "rows", 0, INT64_MAX));
  PEPNET_ASSIGN_OR_RETURN(const int64_t dim, JsonInteger(item, "dim", 0, INT_MAX));
  PEPNET_ASSIGN_OR_RETURN(const int64_t state_dim, JsonInteger(item, "state_dim", 0, INT_MAX));
  part.dim = static_cast<int>(dim);
  part.state_dim = static_cast<int>(state_dim);
  PEPNET_ASSIGN_OR_RETURN(part.value_kind, ParseValueKind(item, "data_type"));
  PEPNET_ASSIGN_OR_RETURN(part.state_kind, ParseValueKind(item, "state_data_type"));
  if (item.contains("clicks")) {
    if (!item["clicks"].is_boolean()) {
      return absl::DataLossError("\"clicks\" is neither true nor false");
    }
    part.counts_clicks = item["clicks"].get<bool>();
    if (part.counts_clicks && part.state_dim == 0) {
      return absl::DataLossError("\"clicks\" without a state");
    }
  }
  PEPNET_ASSIGN_OR_RETURN(part.bytes, JsonInteger(item, "bytes", 0, INT64_MAX));
  PEPNET_ASSIGN_OR_RETURN(part.crc32c, JsonCrc32c(item, "crc32c"));
  PEPNET_ASSIGN_OR_RETURN(part.buckets, ParseBuckets(item, part.rows));
  return part;
}

}  // namespace

void RowDigest::Add(const RowDigest& other) {
  // A sum mod 2^128 does not depend on the order of rows. It is a sum and not an exclusive or,
  // under which two equal rows would cancel. The carry is the overflow of the lower half.
  lo += other.lo;
  hi += other.hi + (lo < other.lo ? 1 : 0);
}

std::string RowDigest::ToString() const { return absl::StrFormat("%016x%016x", hi, lo); }

StatusOr<RowDigest> RowDigest::Parse(const std::string& hex) {
  if (hex.size() != 32 || hex.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return absl::DataLossError(absl::StrCat("digest '", hex, "' is not 32 lower-case hex digits"));
  }
  return RowDigest{.lo = std::stoull(hex.substr(16), nullptr, 16),
                   .hi = std::stoull(hex.substr(0, 16), nullptr, 16)};
}

RowDigest DigestOfRow(int64_t id, std::span<const float> value, std::span<const float> state,
                      int64_t frequency, int64_t last_step) {
  // The bytes that are hashed stand as common/checkpoint/table_part.h draws them, little-endian.
  thread_local std::vector<unsigned char> row;  // reused: one allocation per thread, not per row
  row.resize(3 * sizeof(int64_t) + value.size_bytes() + state.size_bytes());
  unsigned char* out = row.data();
  const auto append_integer = [&out](int64_t integer) {
    std::memcpy(out, &integer, sizeof(integer));
    out += sizeof(integer);
  };
  const auto append_floats = [&out](std::span<const float> floats) {
    CopyRow(floats.data(), floats.size(), out);
    out += floats.size_bytes();
  };
  append_integer(id);
  append_floats(value);
  append_floats(state);
  append_integer(frequency);
  append_integer(last_step);
  const XXH128_hash_t hash = XXH3_128bits(row.data(), row.size());
  return RowDigest{.lo = hash.low64, .hi = hash.high64};
}

std::string PercentEncode(const std::string& name) {
  std::string encoded;
  for (size_t i = 0; i < name.size(); ++i) {
    const auto c = static_cast<unsigned char>(name[i]);
    const bool letter_or_digit =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    // A leading dot would hide the directory, and "." and ".." are not names at all.
    if (letter_or_digit || c == '_' || c == '-' || (c == '.' && i > 0)) {
      encoded.push_back(name[i]);
    } else {
      absl::StrAppendFormat(&encoded, "%%%02X", c);
    }
  }
  return encoded;
}

std::string PartEntriesToJson(const std::vector<PartEntry>& parts) {
  std::string text = "[";
  for (size_t i = 0; i < parts.size(); ++i) {
    const PartEntry& part = parts[i];
    nlohmann::ordered_json head;
    head["table"] = part.table;
    head["file"] = part.file;
    head["rows"] = part.rows;
    head["dim"] = part.dim;
    head["state_dim"] = part.state_dim;
    if (part.value_kind != ValueKind::kFp32) head["data_type"] = TypeOf(part.value_kind).name;
    if (part.state_kind != ValueKind::kFp32) head["state_data_type"] = TypeOf(part.state_kind).name;
    if (part.counts_clicks) head["clicks"] = true;
    head["bytes"] = part.bytes;
    head["crc32c"] = Crc32cToHex(part.crc32c);
    std::string line = DumpOrDie(head);
    line.pop_back();  // the closing brace comes behind the buckets
    absl::StrAppend(&text, i > 0 ? "," : "", "\n", line, ",\"buckets\":[");
    // A bucket has a line of its own, so that a diff of two manifests shows which buckets have
    // changed.
    int64_t first_row = 0;
    for (size_t b = 0; b < part.buckets.size(); ++b) {
      const BucketEntry& bucket = part.buckets[b];
      absl::StrAppend(&text, b > 0 ? "," : "", "\n  {\"bucket\":", bucket.bucket,
                      ",\"first_row\":", first_row, ",\"rows\":", bucket.rows, ",\"digest\":\"",
                      bucket.digest.ToString(), "\"}");
      first_row += bucket.rows;
    }
    absl::StrAppend(&text, "]}");
  }
  return text + "]";
}

StatusOr<std::vector<PartEntry>> PartEntriesFromJson(const std::string& json) {
  PEPNET_ASSIGN_OR_RETURN(const nlohmann::json list, ParseStrictJson(json));
  if (!list.is_array()) return absl::DataLossError("the parts are not a list");
  std::vector<PartEntry> parts;
  for (const auto& item : list) {
    StatusOr<PartEntry> part = ParsePart(item);
    if (!part.ok()) return Annotate(part.status(), absl::StrCat("part ", parts.size()));
    parts.push_back(*std::move(part));
  }
  return parts;
}

std::shared_ptr<arrow::Schema> TablePartSchema(int dim, int state_dim) {
  const auto floats = [](int width) {
    return arrow::fixed_size_list(arrow::field("item", arrow::float32(), /*nullable=*/false),
                                  width);
  };
  // No field may be null: a row has all of its numbers.
  arrow::FieldVector fields = {arrow::field("id", arrow::int64(), false)};
  if (dim > 0) fields.push_back(arrow::field("value", floats(dim), false));
  if (state_dim > 0) fields.push_back(arrow::field("state", floats(state_dim), false));
  fields.push_back(arrow::field("frequency", arrow::int64(), false));
  fields.push_back(arrow::field("last_step", arrow::int64(), false));
  return arrow::schema(std::move(fields));
}

Status FromArrow(const arrow::Status& status, absl::StatusCode code, const std::string& what) {
  if (status.ok()) return absl::OkStatus();
  return Status(code, absl::StrCat(what, ": ", status.ToString()));
}

}  // namespace pepnet
