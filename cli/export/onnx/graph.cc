#include "cli/export/onnx/graph.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/file/crc32c.h"
#include "common/file/file.h"
#include "onnx-ml.pb.h"

namespace pepnet {
namespace {

// IR version 8 is that of ONNX 1.12, which brought opset 17, and of 1.13, which brought 18.
constexpr int kOpset = 17, kMlOpset = 2, kIrVersion = 8;
constexpr int64_t kAlignment = 4096;  // of external data: runtimes map the file
// protobuf's limit of 2 GiB, less some room for what wraps the graph.
constexpr int64_t kLargestModel = (int64_t{1} << 31) - (1 << 20);

int ElementType(OnnxGraph::Type type) {
  switch (type) {
    case OnnxGraph::Type::kFloat:
      return onnx::TensorProto::FLOAT;
    case OnnxGraph::Type::kDouble:
      return onnx::TensorProto::DOUBLE;
    case OnnxGraph::Type::kInt64:
      return onnx::TensorProto::INT64;
    case OnnxGraph::Type::kString:
      return onnx::TensorProto::STRING;
    case OnnxGraph::Type::kBool:
      return onnx::TensorProto::BOOL;
  }
  return onnx::TensorProto::UNDEFINED;
}

void Describe(onnx::ValueInfoProto* info, const std::string& name, OnnxGraph::Type type,
              const OnnxGraph::Shape& shape) {
  info->set_name(name);
  onnx::TypeProto::Tensor* const tensor = info->mutable_type()->mutable_tensor_type();
  tensor->set_elem_type(ElementType(type));
  tensor->mutable_shape();  // present, also for a scalar
  for (const OnnxGraph::Dimension& dimension : shape) {
    onnx::TensorShapeProto::Dimension* const dim = tensor->mutable_shape()->add_dim();
    if (dimension.symbol.empty()) {
      dim->set_dim_value(dimension.size);
    } else {
      dim->set_dim_param(dimension.symbol);
    }
  }
}

std::string BaseName(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

// Hidden in the .cc file so that the header needs neither protobuf nor ONNX's schema, which takes
// long to compile.
struct OnnxGraph::State {
  std::string path;
  int64_t external_bytes;
  onnx::ModelProto model;
  std::unique_ptr<FileWriter> external;
  std::map<std::string, uint32_t> crcs;  // of the constants' bytes, by name
  int64_t made_names = 0;
  std::string part = "model";  // that of the nodes that are added

  std::string NewName(const std::string& stem) { return absl::StrCat(stem, "#", made_names++); }

  onnx::NodeProto* AddNode(const std::string& op) {
    onnx::NodeProto* const node = model.mutable_graph()->add_node();
    node->set_op_type(op);
    node->set_name(absl::StrCat(part, "/", op, "#", model.graph().node_size()));
    return node;
  }

  // The checksum is of the caller's bytes, before any copy: ReadBack() then covers the whole way to
  // disk.
  onnx::TensorProto* AddConstant(const std::string& name, onnx::TensorProto::DataType type,
                                 const std::vector<int64_t>& dims, const void* data, size_t bytes) {
    onnx::TensorProto* const tensor = model.mutable_graph()->add_initializer();
    tensor->set_name(name.empty() ? NewName("constant") : name);
    tensor->set_data_type(type);
    for (const int64_t dim : dims) tensor->add_dims(dim);
    crcs[tensor->name()] = ExtendCrc32c(0, data, bytes);
    return tensor;
  }

  // The file is made at the first tensor that is too large, so small models are one file. Offsets
  // are multiples of a page, and the location is relative, so that both files can be moved
  // together.
  Status AppendExternal(onnx::TensorProto* tensor, const void* data, size_t bytes) {
    if (external == nullptr) {
      PEPNET_ASSIGN_OR_RETURN(external, FileWriter::Create(path + ".data"));
    }
    const std::string padding((kAlignment - external->bytes() % kAlignment) % kAlignment, '\0');
    PEPNET_RETURN_IF_ERROR(external->Append(padding.data(), padding.size()));
    tensor->set_data_location(onnx::TensorProto::EXTERNAL);
    const std::pair<const char*, std::string> entries[] = {
        {"location", BaseName(path) + ".data"},
        {"offset", absl::StrCat(external->bytes())},
        {"length", absl::StrCat(bytes)}};
    for (const auto& [key, value] : entries) {
      onnx::StringStringEntryProto* const entry = tensor->add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    }
    return external->Append(data, bytes);
  }

  // Every constant of the files on disk against the checksum taken when it was added.
  Status ReadBack() const {
    PEPNET_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
    onnx::ModelProto read;
    if (!read.ParseFromString(bytes)) {
      return absl::DataLossError(absl::StrCat(path, " cannot be read back"));
    }
    if (external != nullptr) {
      PEPNET_ASSIGN_OR_RETURN(const FileChecksum sum, ChecksumFile(path + ".data"));
      if (sum.bytes != external->bytes() || sum.crc32c != external->crc32c()) {
        return absl::DataLossError(
            absl::StrCat(path, ".data does not read back as it was written"));
      }
    }
    if (read.graph().node_size() != model.graph().node_size() ||
        read.graph().initializer_size() != static_cast<int>(crcs.size())) {
      return absl::DataLossError(absl::StrCat(path, " does not read back as it was written"));
    }
    // Constants in the other file are covered by its checksum above.
    for (const onnx::TensorProto& tensor : read.graph().initializer()) {
      if (tensor.data_location() == onnx::TensorProto::EXTERNAL) continue;
      const auto found = crcs.find(tensor.name());
      if (found == crcs.end() ||
          found->second != ExtendCrc32c(0, tensor.raw_data().data(), tensor.raw_data().size())) {
        return absl::DataLossError(
            absl::StrCat(path, ": ", tensor.name(), " does not read back as it was written"));
      }
    }
    return absl::OkStatus();
  }
};

OnnxGraph::OnnxGraph(std::string path, int64_t external_bytes) : state_(std::make_unique<State>()) {
  state_->path = std::move(path);
  state_->external_bytes = external_bytes;
  onnx::ModelProto& model = state_->model;
  model.set_ir_version(kIrVersion);
  model.set_producer_name("pepnet");
  model.mutable_graph()->set_name("pepnet");
  onnx::OperatorSetIdProto* opset = model.add_opset_import();
  opset->set_domain("");
  opset->set_version(kOpset);
  opset = model.add_opset_import();
  opset->set_domain("ai.onnx.ml");
  opset->set_version(kMlOpset);
}

OnnxGraph::~OnnxGraph() = default;

OnnxGraph::Value OnnxGraph::Input(const std::string& name, Type type, const Shape& shape,
                                  const std::string& comment) {
  onnx::ValueInfoProto* const info = state_->model.mutable_graph()->add_input();
  Describe(info, name, type, shape);
  info->set_doc_string(comment);
  return name;
}

void OnnxGraph::Output(const Value& value, const std::string& name, Type type, const Shape& shape) {
  // An output has a name of its own: the value may be an output twice, or an input of others.
  onnx::NodeProto* const node = state_->AddNode("Identity");
  node->add_input(value);
  node->add_output(name);
  Describe(state_->model.mutable_graph()->add_output(), name, type, shape);
}

StatusOr<OnnxGraph::Value> OnnxGraph::Floats(const std::string& name,
                                             const std::vector<int64_t>& dims,
                                             std::span<const float> values) {
  onnx::TensorProto* const tensor =
      state_->AddConstant(name, onnx::TensorProto::FLOAT, dims, values.data(), values.size_bytes());
  if (static_cast<int64_t>(values.size_bytes()) > state_->external_bytes) {
    PEPNET_RETURN_IF_ERROR(state_->AppendExternal(tensor, values.data(), values.size_bytes()));
  } else {
    tensor->set_raw_data(values.data(), values.size_bytes());
  }
  return tensor->name();
}

OnnxGraph::Value OnnxGraph::Doubles(const std::vector<int64_t>& dims,
                                    std::span<const double> values) {
  onnx::TensorProto* const tensor =
      state_->AddConstant("", onnx::TensorProto::DOUBLE, dims, values.data(), values.size_bytes());
  tensor->set_raw_data(values.data(), values.size_bytes());
  return tensor->name();
}

OnnxGraph::Value OnnxGraph::Integers(const std::vector<int64_t>& dims,
                                     std::span<const int64_t> values) {
  onnx::TensorProto* const tensor =
      state_->AddConstant("", onnx::TensorProto::INT64, dims, values.data(), values.size_bytes());
  tensor->set_raw_data(values.data(), values.size_bytes());
  return tensor->name();
}

OnnxGraph::Value OnnxGraph::Apply(const std::string& op, const std::vector<Value>& inputs,
                                  const std::vector<Attribute>& attributes,
                                  const std::string& domain) {
  onnx::NodeProto* const node = state_->AddNode(op);
  node->set_domain(domain);
  for (const Value& input : inputs) node->add_input(input);
  for (const Attribute& from : attributes) {
    onnx::AttributeProto* const to = node->add_attribute();
    to->set_name(from.name);
    if (const auto* number = std::get_if<int64_t>(&from.value)) {
      to->set_type(onnx::AttributeProto::INT);
      to->set_i(*number);
    } else if (const auto* real = std::get_if<float>(&from.value)) {
      to->set_type(onnx::AttributeProto::FLOAT);
      to->set_f(*real);
    } else if (const auto* numbers = std::get_if<std::vector<int64_t>>(&from.value)) {
      to->set_type(onnx::AttributeProto::INTS);
      for (const int64_t n : *numbers) to->add_ints(n);
    } else {
      to->set_type(onnx::AttributeProto::STRINGS);
      for (const std::string& text : std::get<std::vector<std::string>>(from.value)) {
        to->add_strings(text);
      }
    }
  }
  std::string output = state_->NewName(op);
  node->add_output(output);
  return output;
}

OnnxGraph::Value OnnxGraph::Cast(const Value& value, Type to) {
  return Apply("Cast", {value}, {{"to", static_cast<int64_t>(ElementType(to))}});
}

void OnnxGraph::BeginPart(std::string part) { state_->part = std::move(part); }

// The opset is only raised where it must be: older runtimes read the models that do not need it.
void OnnxGraph::RequireOpset(int version) {
  onnx::OperatorSetIdProto* const opset = state_->model.mutable_opset_import(0);
  opset->set_version(std::max<int64_t>(opset->version(), version));
}

void OnnxGraph::SetMetadata(const std::string& key, const std::string& value) {
  onnx::StringStringEntryProto* const entry = state_->model.add_metadata_props();
  entry->set_key(key);
  entry->set_value(value);
}

StatusOr<std::vector<std::string>> OnnxGraph::Write() {
  std::vector<std::string> files = {BaseName(state_->path)};
  if (state_->external != nullptr) {
    PEPNET_RETURN_IF_ERROR(state_->external->Finish());
    files.push_back(BaseName(state_->path) + ".data");
  }
  // protobuf would abort in place of an error.
  if (static_cast<int64_t>(state_->model.ByteSizeLong()) > kLargestModel) {
    return InvalidInput(state_->path, " would have ", state_->model.ByteSizeLong(),
                        " bytes, and an ONNX file has at most 2 GiB; pass a smaller "
                        "--onnx_external_mb, so that the tables go to ",
                        BaseName(state_->path), ".data");
  }
  PEPNET_RETURN_IF_ERROR(WriteFileAtomically(state_->path, state_->model.SerializeAsString()));
  PEPNET_RETURN_IF_ERROR(state_->ReadBack());
  return files;
}

}  // namespace pepnet
