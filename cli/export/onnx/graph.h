// OnnxGraph: an ONNX model under construction, behind a header without protobuf.
//
// A value is the name of a tensor. Operators are those of opset 17 and ai.onnx.ml 2, which any
// runtime since 2022 has, or of a higher opset that is asked for.
// Constants of more than `external_bytes` go to <path>.data while they are added (ONNX's external
// data), so that the model file stays below protobuf's 2 GiB; all else goes into the model file.
//
// Threads: one. Failure: Write() leaves a model that has been read back and compared, or an error.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "common/base/status.h"

namespace pepnet {

class OnnxGraph {
 public:
  using Value = std::string;
  enum class Type { kFloat, kDouble, kInt64, kString, kBool };
  struct Dimension {
    std::string symbol;  // "batch"; "": the number
    int64_t size = 0;
  };
  using Shape = std::vector<Dimension>;
  struct Attribute {
    std::string name;
    std::variant<int64_t, float, std::vector<int64_t>, std::vector<std::string>> value;
  };

  OnnxGraph(std::string path, int64_t external_bytes);
  ~OnnxGraph();

  Value Input(const std::string& name, Type type, const Shape& shape, const std::string& comment);
  void Output(const Value& value, const std::string& name, Type type, const Shape& shape);

  // Constants; `name` empty: a name is made. dims empty: a scalar.
  StatusOr<Value> Floats(const std::string& name, const std::vector<int64_t>& dims,
                         std::span<const float> values);
  Value Doubles(const std::vector<int64_t>& dims, std::span<const double> values);
  Value Integers(const std::vector<int64_t>& dims, std::span<const int64_t> values);

  // The result of an operator. Domain "" is ONNX's own.
  Value Apply(const std::string& op, const std::vector<Value>& inputs,
              const std::vector<Attribute>& attributes = {}, const std::string& domain = "");
  Value Cast(const Value& value, Type to);

  // The nodes from here on are of this part of the model, and are named "<part>/<operator>#<n>":
  // what pictures and profiles of the model show.
  void BeginPart(std::string part);

  // Operators of this opset are used, too.
  void RequireOpset(int version);
  void SetMetadata(const std::string& key, const std::string& value);

  // Names of the files written, relative to the model's directory.
  StatusOr<std::vector<std::string>> Write();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pepnet
