// Table: one embedding table of the job, how its rows begin and how their values are kept.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/job_config/row_policy.h"
#include "common/job_config/type_table.h"

namespace pepnet {

// First value of a row. kDefault: U(-sqrt(1/rows), sqrt(1/rows)). The formulas:
// ps/table/row_initializer.h.
enum class InitKind { kDefault, kUniform, kNormal, kConstant, kTruncatedNormal, kEye, kSparse };
struct Initializer {
  InitKind kind = InitKind::kDefault;
  // uniform: low; normal, truncated normal: mean; constant: value; sparse: share of zeros in a
  // column
  double a = 0;
  double b = 1;     // uniform: high; normal, truncated normal, sparse: standard deviation
  double low = -2;  // truncated normal: the least value
  double high = 2;  // truncated normal: the greatest value

  friend bool operator==(const Initializer&, const Initializer&) = default;
};

// Why a normal distribution cannot be cut to [low, high]; "": it can.
std::string TruncationFault(const Initializer& initializer);

struct InitializerType {
  const char* name;      // in checkpoints and on the wire: never changes
  const char* function;  // in init_fn: "nn.init.uniform_"; null: what an empty init_fn means
  // Arguments of the function that are a, b, low and high, null: it has none. `defaults`: without
  // them.
  const char* arguments[4] = {nullptr, nullptr, nullptr, nullptr};
  Initializer defaults = {};
  int required = 0;  // so many of the arguments, counted from the first, must be given
  // Why the numbers do not fit; "": they do. May be null.
  std::string (*check)(const Initializer&) = nullptr;
};

namespace initializer_types {

inline constexpr InitializerType kDefault = {"default", nullptr};
inline constexpr InitializerType kUniform = {
    "uniform",
    "nn.init.uniform_",
    {"a", "b"},
    {InitKind::kUniform, 0, 1},
    0,
    [](const Initializer& init) {
      return init.a > init.b ? absl::StrCat("needs a <= b, got a=", init.a, ", b=", init.b)
                             : std::string();
    }};
inline constexpr InitializerType kNormal = {
    "normal",
    "nn.init.normal_",
    {"mean", "std"},
    {InitKind::kNormal, 0, 1},
    0,
    [](const Initializer& init) {
      return init.b < 0 ? absl::StrCat("needs std >= 0, got ", init.b) : std::string();
    }};
inline constexpr InitializerType kConstant = {
    "constant", "nn.init.constant_", {"val"}, {InitKind::kConstant, 0, 0}, 1};
inline constexpr InitializerType kTruncatedNormal = {"truncated_normal",
                                                     "nn.init.trunc_normal_",
                                                     {"mean", "std", "a", "b"},
                                                     {InitKind::kTruncatedNormal, 0, 1, -2, 2},
                                                     0,
                                                     TruncationFault};
inline constexpr InitializerType kEye = {"eye", "nn.init.eye_", {}, {InitKind::kEye}};
inline constexpr InitializerType kSparse = {
    "sparse",
    "nn.init.sparse_",
    {"sparsity", "std"},
    {InitKind::kSparse, 0, 0.01},
    1,
    [](const Initializer& init) {
      if (!(init.a >= 0 && init.a <= 1)) {
        return absl::StrCat("needs a sparsity from 0 to 1, got ", init.a);
      }
      return init.b < 0 ? absl::StrCat("needs std >= 0, got ", init.b) : std::string();
    }};

}  // namespace initializer_types

constexpr const InitializerType* FindType(InitKind kind) {
  switch (kind) {
    case InitKind::kDefault:
      return &initializer_types::kDefault;
    case InitKind::kUniform:
      return &initializer_types::kUniform;
    case InitKind::kNormal:
      return &initializer_types::kNormal;
    case InitKind::kConstant:
      return &initializer_types::kConstant;
    case InitKind::kTruncatedNormal:
      return &initializer_types::kTruncatedNormal;
    case InitKind::kEye:
      return &initializer_types::kEye;
    case InitKind::kSparse:
      return &initializer_types::kSparse;
  }
  return nullptr;
}

// The `rows` of a table that has a row for every int64 but the least one.
inline constexpr int64_t kAnyId = int64_t{1} << 62;
// The ids of a table of `rows` rows.
struct IdRange {
  int64_t first, last;
  constexpr bool Contains(int64_t id) const { return id >= first && id <= last; }
};
constexpr IdRange IdsOf(int64_t rows) {
  return rows == kAnyId
             ? IdRange{-std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::max()}
             : IdRange{0, rows - 1};
}
// For messages: "0 to 99".
inline std::string IdRangeText(int64_t rows) {
  return absl::StrCat(IdsOf(rows).first, " to ", IdsOf(rows).last);
}

// The type of a row's values on a server, and that of its optimizer state (kFp32 or kBf16).
// ps/table/store/value_codec.h says how they are rounded.
enum class ValueKind { kFp32, kFp16, kBf16, kInt8 };

struct ValueType {
  // In configs (data_type), checkpoints and on the wire: never changes.
  const char* name;
  int64_t (*value_bytes)(int dim);  // of the values of a row, in whole words of 4 bytes
};

namespace value_types {

inline constexpr ValueType kFp32 = {"FP32", [](int dim) { return int64_t{4} * dim; }};
inline constexpr ValueType kFp16 = {"FP16", [](int dim) { return (int64_t{2} * dim + 3) / 4 * 4; }};
inline constexpr ValueType kBf16 = {"BF16", [](int dim) { return (int64_t{2} * dim + 3) / 4 * 4; }};
// And a byte of scale.
inline constexpr ValueType kInt8 = {"INT8", [](int dim) { return (int64_t{dim} + 1 + 3) / 4 * 4; }};

}  // namespace value_types

constexpr const ValueType* FindType(ValueKind kind) {
  switch (kind) {
    case ValueKind::kFp32:
      return &value_types::kFp32;
    case ValueKind::kFp16:
      return &value_types::kFp16;
    case ValueKind::kBf16:
      return &value_types::kBf16;
    case ValueKind::kInt8:
      return &value_types::kInt8;
  }
  return nullptr;
}

// The parts of a row on a server.
struct RowShape {
  int dim = 0;        // values
  int state_dim = 0;  // numbers of optimizer state
  ValueKind value_kind = ValueKind::kFp32;
  ValueKind state_kind = ValueKind::kFp32;
  bool counts_clicks = false;  // in a float behind the state

  int64_t bytes() const {
    return TypeOf(value_kind).value_bytes(dim) + TypeOf(state_kind).value_bytes(state_dim) +
           (counts_clicks ? int64_t{sizeof(float)} : 0);
  }
};

struct Table {
  // embedding_name or <feature_name>_emb, with the group's embedding_name_suffix behind it. Tables
  // of sequence groups are others than those of the same name that groups pool from:
  // "sequence.<dim>." stands before their names.
  std::string name;
  int64_t rows = 0;  // which are those of IdsOf(rows)
  int dim = 0;
  Initializer initializer;
  bool trainable = true;
  bool sequence = false;  // of sequence groups
  // Of a table that grows with the ids that occur, whose `rows` are only the range of its ids: rows
  // to plan for.
  int64_t expected_rows = 0;
  RowPolicy policy = {};  // of a table that grows
  ValueKind value_kind = ValueKind::kFp32;

  bool grows() const { return expected_rows > 0; }
  int64_t RowsToPlanFor() const { return grows() ? expected_rows : rows; }
};

// "16", and for other types than FP32 "16 BF16".
std::string NumbersText(int count, ValueKind kind);

// The counters of a filter stand in words of so many bytes, as many in each bucket.
inline constexpr int64_t kFilterWordBytes = 8;

// Bytes that a row of RowShape::bytes() takes on a server at most: values, state, what is known of
// the row, its entry in the index and in the list of its bucket, and the counter of one candidate
// where the policy counts them.
int64_t MostBytesPerRow(int64_t row_bytes, const RowPolicy& policy);
// The most rows that the policy allows the table on all servers; 0: no limit.
int64_t RowLimit(int64_t row_bytes, const RowPolicy& policy);

// Why the policy cannot be carried out for rows of `row_bytes`, as a clause that begins with the
// field; "": it can.
std::string RowPolicyFault(const RowPolicy& policy, int64_t row_bytes);

// The effect of the policy, in words, with clauses between commas: "at most 5000 rows: rows unnamed
// for longest leave first, ...". "" if it does nothing.
std::string RowPolicyText(const RowPolicy& policy);

// Name of a sequence group's table, from what its configs call it.
std::string SequenceTableName(const std::string& name, int dim);
// Name of the table's weights in checkpoints and exports (spec 7).
std::string TableParameterName(const Table& table);
// Name in exports of the ids whose rows the weights of a table that grows are.
std::string TableIdsName(const Table& table);
// The name of the table whose weights are called so; nullopt: it is no such name.
std::optional<std::string> TableOfParameter(const std::string& parameter);

}  // namespace pepnet
