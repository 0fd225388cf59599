#include "cli/export/model_card.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/export/onnx/network.h"
#include "common/base/text.h"
#include "common/checkpoint/strict_json.h"
#include "common/file/file.h"
#include "worker/checkpoint/best_evaluation.h"
#include "worker/data/encode/label_encoder.h"
#include "worker/data/encode/sequence_cells.h"
#include "worker/model/output_rules.h"
#include "worker/model/pepnet_model.h"

namespace pepnet {
namespace {

// Inputs are of three types; bool and float occur within the graph alone.
const char* TypeName(OnnxGraph::Type type) {
  switch (type) {
    case OnnxGraph::Type::kInt64:
      return "int64";
    case OnnxGraph::Type::kString:
      return "string";
    case OnnxGraph::Type::kDouble:
      return "double";
    case OnnxGraph::Type::kFloat:
    case OnnxGraph::Type::kBool:
      break;
  }
  return "float";
}

bool Has(const CardInfo& info, const std::string& format) {
  return std::find(info.formats.begin(), info.formats.end(), format) != info.formats.end();
}

constexpr char kOnnxText[] = R"(
## model.onnx

Opset 17 and ai.onnx.ml 2; the batch dimension is free. A column `c` has the inputs `c` (tokens of each cell, `[batch, n]`, padded at the end
with anything), `c.lengths` (`[batch]`, tokens of the cell; 0 is an empty cell, which reads the default value) and, for weighted features,
`c.weights`. A sequence has `c` (`[batch, n, m]`: tokens of
each element), `c.lengths` (elements of the cell) and `c.counts` (`[batch, n]`, tokens of each element; 0 reads the default value).
Ids must be in range; predict refuses others, here the runtime's Gather does. An empty raw cell without default gives NaN.
An input of kind `hash` takes buckets: a graph cannot hash text. `scripts/onnx_inputs.py` makes all inputs from raw cells, hashing included.

| input | type | kind | rows | feature |
| --- | --- | --- | --- | --- |
)";

// The line of train_eval_result.txt beside the checkpoint for its step; "" if there is none.
std::string EvaluationOf(const std::string& checkpoint, int64_t step) {
  const size_t slash = checkpoint.find_last_of('/');
  for (const auto& [evaluated, line] :
       ReadEvaluations(slash == std::string::npos ? "." : checkpoint.substr(0, slash))) {
    if (evaluated == step) return line;
  }
  return "";
}

// Names and widths of what model.onnx gives, sorted by name.
StatusOr<std::vector<ModelOutput>> Outputs(const ExportSource& source) {
  std::vector<ModelOutput> outputs = OutputList(*source.config);
  if (!source.own_domain) return outputs;
  PEPNET_ASSIGN_OR_RETURN(const std::vector<OwnDomainOutput> own_outputs,
                          OwnDomainOutputs(*source.config));
  for (const OwnDomainOutput& own : own_outputs) outputs.push_back({own.name, own.width, {}});
  std::sort(outputs.begin(), outputs.end(),
            [](const auto& x, const auto& y) { return x.name < y.name; });
  return outputs;
}

}  // namespace

// The checksums are those of the files on disk, taken after they were read back.
StatusOr<std::string> ExportJson(const ExportSource& source, const std::string& directory,
                                 const CardInfo& info) {
  const JobConfig& config = *source.config;
  nlohmann::ordered_json json = {{"format_version", 1},
                                 {"pepnet", PEPNET_VERSION},
                                 {"checkpoint", source.checkpoint},
                                 {"step", source.manifest->step},
                                 {"seed", source.manifest->seed},
                                 {"string_hash", source.manifest->string_hash}};
  json["files"] = nlohmann::ordered_json::array();
  for (const std::string& file : info.files) {
    PEPNET_ASSIGN_OR_RETURN(const FileChecksum sum,
                            ChecksumFile(absl::StrCat(directory, "/", file)));
    json["files"].push_back(
        {{"file", file}, {"bytes", sum.bytes}, {"crc32c", Crc32cToHex(sum.crc32c)}});
  }
  json["inputs"] = nlohmann::ordered_json::array();
  for (const OnnxInput& input : OnnxInputs(config)) {
    const Feature& feature = config.features[input.feature];
    json["inputs"].push_back({{"feature", feature.name},
                              {"input", input.name},
                              {"column", feature.column},
                              {"type", TypeName(input.type)},
                              {"separator", feature.separator},
                              {"weighted", feature.weighted},
                              {"bucketizer", TypeOf(feature.bucketizer).card_name},
                              {"rows", feature.rows}});
    // model.onnx takes the cells that an operator computes: the program that serves must compute
    // them from these columns.
    if (feature.op.has_value()) json["inputs"].back()["computed_from"] = ColumnsOf(feature);
    if (TypeOf(feature.bucketizer).onnx == OnnxTokens::kValues) {
      json["inputs"].back()["values"] = feature.dim;
    }
    if (feature.sequence.has_value()) {
      json["inputs"].back()["sequence"] = {{"delimiter", feature.sequence->delimiter},
                                           {"max_elements", feature.sequence->max_elements},
                                           {"one_id", ReadsOneId(feature)}};
    }
  }
  if (source.own_domain) {
    json["own_domain"] = {{"input", OwnDomainInput(config)},
                          {"column", config.data.labels[config.model.domain_label]},
                          {"domains", config.model.domain_count}};
    if (const std::vector<std::string> words = DomainWords(config); !words.empty()) {
      json["own_domain"]["words"] = words;
    }
  }
  PEPNET_ASSIGN_OR_RETURN(const std::vector<ModelOutput> outputs, Outputs(source));
  json["outputs"] = nlohmann::ordered_json::array();
  for (const ModelOutput& output : outputs) {
    json["outputs"].push_back({{"name", output.name}, {"width", output.width}});
  }
  PEPNET_ASSIGN_OR_RETURN(const std::string text, DumpJson(json));
  return text + "\n";
}

// Paths, names and values come from outside and could hold Markdown, hence MarkdownText().
StatusOr<std::string> ModelCard(const ExportSource& source, const CardInfo& info) {
  const JobConfig& config = *source.config;
  PEPNET_ASSIGN_OR_RETURN(const std::vector<ModelOutput> outputs, Outputs(source));
  std::string card =
      absl::StrCat("# PEPNet, step ", source.manifest->step, "\n\nExported by pepnet ",
                   PEPNET_VERSION, " from ", MarkdownText(source.checkpoint), ".\n\n");
  const std::string evaluation = EvaluationOf(source.checkpoint, source.manifest->step);
  absl::StrAppend(&card, "| | |\n| --- | --- |\n| trained on | ",
                  MarkdownText(config.train_input_path), " |\n| evaluated on | ",
                  config.eval_input_path.empty() ? "nothing" : MarkdownText(config.eval_input_path),
                  " |\n| evaluation of this step | ",
                  evaluation.empty() ? "none recorded" : MarkdownText(evaluation),
                  " |\n| compared with eval | ",
                  info.compared_rows < 0
                      ? "no"
                      : absl::StrCat("equal within 1e-5 on ", info.compared_rows, " rows"),
                  " |\n| seed | ", source.manifest->seed, " |\n| trained with | ",
                  source.manifest->worker_count, " workers, batch ", source.manifest->batch_size,
                  ", ", source.manifest->server_count, " servers |\n");
  absl::StrAppend(&card, "\n## Files\n\n");
  for (const std::string& file : info.files) absl::StrAppend(&card, "- ", MarkdownText(file), "\n");
  absl::StrAppend(&card,
                  "- `pipeline.config`: the effective config\n- `export.json`: sizes and crc32c of "
                  "the files, inputs, outputs\n");
  if (Has(info, "safetensors")) {
    absl::StrAppend(&card,
                    "\n`model.safetensors` has every weight under the reference's names, tables as "
                    "full `[rows, dim]` "
                    "tensors, a table "
                    "that grows as the rows it has with their ids in `<name>.ids`; "
                    "`scripts/bench/plain_pytorch.py` has a plain PyTorch PEPNet that loads it.\n");
  }
  if (Has(info, "parquet")) {
    absl::StrAppend(&card,
                    "\n`tables/*.parquet` have the rows that training created: id, value, "
                    "frequency, last_step. Other "
                    "rows of a table "
                    "have their initial value, which only `model.safetensors` (of tables with an "
                    "end) and `model.onnx` hold.\n");
  }
  if (Has(info, "onnx")) {
    card += kOnnxText;
    for (const OnnxInput& input : OnnxInputs(config)) {
      const Feature& feature = config.features[input.feature];
      absl::StrAppend(&card, "| ", MarkdownText(input.name), " | ", TypeName(input.type), " | ",
                      TypeOf(feature.bucketizer).card_name, feature.weighted ? ", weighted" : "",
                      feature.op.has_value()
                          ? absl::StrCat(", computed by ", TypeOf(feature.op->kind).name)
                          : "",
                      " | ", feature.rows, " | ", MarkdownText(feature.name), " |\n");
    }
    if (source.own_domain) {
      absl::StrAppend(&card, "\n`", MarkdownText(OwnDomainInput(config)),
                      "` (`[batch]` int64) is the domain of each row, 0 to ",
                      config.model.domain_count - 1,
                      "; outputs without the number of a domain are those of that domain.\n");
    }
  }
  absl::StrAppend(&card, "\n## Outputs\n\n",
                  absl::StrJoin(outputs, ", ",
                                [](std::string* out, const ModelOutput& output) {
                                  absl::StrAppend(out, MarkdownText(output.name),
                                                  output.width > 0
                                                      ? absl::StrCat(" [batch, ", output.width, "]")
                                                      : " [batch]");
                                }),
                  ": float32.\n\n## Tables\n\n| table | rows | dim |\n| --- | --- | --- |\n");
  for (const Table& table : config.tables) {
    const int64_t rows = table.grows() ? CheckpointedRows(*source.manifest, table) : table.rows;
    absl::StrAppend(&card, "| ", MarkdownText(table.name), " | ", rows, " | ", table.dim, " |\n");
  }
  return card;
}

}  // namespace pepnet
