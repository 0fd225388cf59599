#include "common/job_config/shape_description.h"

#include <charconv>
#include <map>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "common/base/hash.h"

// One fact per line, "<what>: <value>". Doubles are written with all their digits, text with
// escapes, so that equal lines mean equal facts.
namespace pepnet {
namespace {

// to_chars() writes the shortest digits that read back to the same double, so equal texts are equal
// numbers.
std::string Number(double value) {
  char text[64];
  return std::string(text, std::to_chars(text, text + sizeof(text), value).ptr);
}

std::string Quote(const std::string& text) { return absl::StrCat("\"", absl::CEscape(text), "\""); }

std::string TextOf(const Activation& activation) {
  const ActivationType& type = TypeOf(activation.kind);
  // A weight that is trained is no part of the shape, the number of weights is.
  if (type.weight != nullptr) {
    return absl::StrCat(type.name, activation.weights > 1
                                       ? absl::StrCat(" of ", activation.weights, " weights")
                                       : "");
  }
  const std::string second =
      type.arguments.size() > 1 ? absl::StrCat(", ", Number(activation.parameter2)) : "";
  return absl::StrCat(type.name, "(", Number(activation.parameter), second, ")");
}

std::string TextOf(const std::vector<int>& values) {
  std::string text = "[";
  for (const int value : values) absl::StrAppend(&text, text.size() > 1 ? ", " : "", value);
  return text + "]";
}

// Columns may be renamed, so inputs are only counted.
void AppendOperator(const FeatureOperator& op, const std::string& name, std::string* out) {
  absl::StrAppend(out, name, " computed by: ", TypeOf(op.kind).name, " of ", op.inputs.size(),
                  " inputs");
  for (size_t i = 0; i < op.inputs.size(); ++i) {
    if (op.inputs[i].by_element) absl::StrAppend(out, ", input ", i, " by element");
  }
  absl::StrAppend(out, op.gives_tokens ? ", tokens" : ", numbers");
  if (!op.prefix.empty()) absl::StrAppend(out, ", prefix ", Quote(op.prefix));
  for (size_t i = 0; i < op.shows_key.size(); ++i) {
    if (op.shows_key[i]) absl::StrAppend(out, ", with key ", i);
  }
  for (size_t i = 0; i < op.takes_all.size(); ++i) {
    if (op.takes_all[i]) absl::StrAppend(out, ", every key ", i);
  }
  if (op.value_dim > 1) {
    absl::StrAppend(out, ", ", op.value_dim, " values by ", Quote(op.value_separator));
  }
  if (op.combiner.has_value()) absl::StrAppend(out, ", ", TypeOf(*op.combiner).name);
  if (op.by_bytes) absl::StrAppend(out, ", by bytes");
  if (op.kind == OperatorKind::kOverlap) absl::StrAppend(out, ", ", TypeOf(op.method).name);
  for (const auto& [word, value] : op.value_map) {
    absl::StrAppend(out, ", ", Quote(word), " ", Number(value));
  }
  if (!op.formula.empty()) {
    absl::StrAppend(out, ", ", Quote(op.formula.text()));
    for (const std::string& variable : op.formula.variables()) {
      absl::StrAppend(out, ", variable ", Quote(variable));
    }
  }
  if (op.kind == OperatorKind::kTokenize) {
    const Tokenizer& tokenizer = op.tokenizer;
    absl::StrAppend(
        out, ", ", TypeOf(tokenizer.split).name, tokenizer.lower_case ? ", lower case" : "",
        tokenizer.has_unknown ? "" : ", without unknown", op.gives_elements ? ", elements" : "");
    for (const std::string& added : tokenizer.added) absl::StrAppend(out, ", added ", Quote(added));
    if (tokenizer.text.has_value()) {
      absl::StrAppend(out, ", texts to", tokenizer.text->to_upper ? " upper" : "",
                      tokenizer.text->to_lower ? " lower" : "",
                      tokenizer.text->removes_blanks ? " no blanks" : "", " up to ",
                      tokenizer.text->most_characters);
    }
    if (!op.default_text.empty()) absl::StrAppend(out, ", default ", Quote(op.default_text));
  }
  if (op.fill_missing.has_value()) absl::StrAppend(out, ", fill ", Number(*op.fill_missing));
  absl::StrAppend(out, "\n");
}

// All that decides which ids or numbers a cell becomes: with another separator or default the same
// rows of a table would mean other things.
void AppendFeature(const Feature& feature, const JobConfig& config, std::string* out) {
  const std::string name = absl::StrCat("feature ", Quote(feature.name));
  std::vector<std::string> tables;
  for (const Leaf& leaf : config.leaves) {
    const bool is_ours = &config.features[leaf.feature] == &feature;
    // A feature may have a table for pooling and another for sequences (decision 0013).
    if (is_ours && leaf.table >= 0) tables.push_back(Quote(config.tables[leaf.table].name));
  }
  absl::StrAppend(out, name, ": ", TypeOf(feature.kind).name, ", ", TypeOf(feature.bucketizer).name,
                  ", table ", tables.empty() ? "none" : absl::StrJoin(tables, " and "), ", width ",
                  feature.dim, ", rows ", feature.rows, ", ",
                  feature.pooling == Pooling::kSum ? "sum" : "mean",
                  feature.weighted ? ", weighted" : "", ", value_dim ", feature.value_dim,
                  ", separator ", Quote(feature.separator), ", empty cell ",
                  feature.default_value ? Quote(*feature.default_value) : "none", "\n");
  if (feature.sequence) {
    absl::StrAppend(out, name, " sequence: delimiter ", Quote(feature.sequence->delimiter),
                    ", at most ", feature.sequence->max_elements, " elements",
                    feature.sequence->fills_empty ? ", empty ones filled" : "", "\n");
  }
  if (feature.op) AppendOperator(*feature.op, name, out);
  if (feature.embedding) {
    const DenseEmbedding& embedding = *feature.embedding;
    absl::StrAppend(out, name, " embedding: ", TypeOf(embedding.kind).name, ", width ",
                    embedding.width);
    if (embedding.kind == DenseEmbeddingKind::kAutoDis) {
      absl::StrAppend(out, ", channels ", embedding.channels, ", temperature ",
                      Number(embedding.temperature), ", keep_prob ", Number(embedding.keep_prob));
    }
    absl::StrAppend(out, "\n");
  }
  if (feature.bucketizer == Bucketizer::kVocabulary) {
    uint64_t digest = 0;
    for (const auto& [word, row] : feature.vocabulary) {
      digest = HashCombine(HashCombine(digest, HashName(word)), row);
    }
    absl::StrAppend(out, name, " vocabulary: ", feature.vocabulary.size(), " words, digest ",
                    absl::Hex(digest), ", unknown ", feature.unknown_id, "\n");
  }
  if (!feature.boundaries.empty()) {
    absl::StrAppend(out, name, " boundaries:");
    for (const double boundary : feature.boundaries) absl::StrAppend(out, " ", Number(boundary));
    absl::StrAppend(out, "\n");
  }
  if (feature.normalizer.kind != NormalizerKind::kNone) {
    absl::StrAppend(out, name, " normalizer: ", TypeOf(feature.normalizer.kind).name, " ",
                    Number(feature.normalizer.a), " ", Number(feature.normalizer.b),
                    feature.normalizer.expression.empty()
                        ? ""
                        : " " + Quote(feature.normalizer.expression.text()),
                    "\n");
  }
}

std::string NameOf(int leaf, const JobConfig& config) {
  return Quote(config.features[config.leaves[leaf].feature].name);
}

// Features in their order, since that is the order of the columns that the network's weights belong
// to.
void AppendGroup(const std::optional<FeatureGroup>& group, const std::string& name,
                 const JobConfig& config, std::string* out) {
  absl::StrAppend(out, "group ", name, ":");
  if (!group) absl::StrAppend(out, " none");
  if (group) {
    for (const int leaf : group->leaves) absl::StrAppend(out, " ", NameOf(leaf, config));
    for (const int encoder : group->encoders) absl::StrAppend(out, " encoder ", encoder);
    if (group->variational) absl::StrAppend(out, ", variational dropout");
  }
  absl::StrAppend(out, "\n");
}

void AppendSequenceGroup(const SequenceGroup& group, const JobConfig& config, std::string* out) {
  absl::StrAppend(out, "sequence group ", Quote(group.name), ": query");
  for (const int leaf : group.query) absl::StrAppend(out, " ", NameOf(leaf, config));
  absl::StrAppend(out, ", sequence");
  for (const int leaf : group.sequence) absl::StrAppend(out, " ", NameOf(leaf, config));
  absl::StrAppend(out, "\n");
}

// Dropout is no part: it shapes no parameter and may change between runs.
void AppendEncoder(size_t number, const Encoder& encoder, const JobConfig& config,
                   std::string* out) {
  absl::StrAppend(out, "encoder ", number, ": ", TypeOf(encoder.kind).name, " of ",
                  Quote(config.model.sequence_groups[encoder.sequence_group].name), ", at most ",
                  encoder.max_length, " positions");
  switch (encoder.kind) {
    case EncoderKind::kPooling:
      absl::StrAppend(out, encoder.mean ? ", mean" : ", sum");
      break;
    case EncoderKind::kSimpleAttention:
      break;
    case EncoderKind::kMultiWindowDin:
      absl::StrAppend(out, ", windows ", TextOf(encoder.windows));
      [[fallthrough]];
    case EncoderKind::kDin:
      absl::StrAppend(out, ", mlp ", TextOf(encoder.attn_mlp.hidden_units), " ",
                      TextOf(encoder.attn_mlp.activation), encoder.attn_mlp.bias ? "" : ", no bias",
                      encoder.attn_mlp.use_ln ? ", layer norm" : "",
                      encoder.attn_mlp.use_bn ? ", batch norm" : "");
      break;
    case EncoderKind::kSelfAttention:
      absl::StrAppend(out, ", width ", encoder.attention_width, ", heads ", encoder.heads);
      break;
  }
  absl::StrAppend(out, "\n");
}

// Kinds of losses are facts, as they decide what an output means; weights of losses may change.
void AppendTower(const Tower& tower, std::string* out) {
  absl::StrAppend(out, "tower ", Quote(tower.name), ": num_class ", tower.num_class, ", ");
  if (tower.mlp) {
    absl::StrAppend(out, "mlp ", TextOf(tower.mlp->hidden_units), " ",
                    TextOf(tower.mlp->activation), tower.mlp->bias ? "" : ", no bias",
                    tower.mlp->use_ln ? ", layer norm" : "",
                    tower.mlp->use_bn ? ", batch norm" : "");
  } else {
    absl::StrAppend(out, "no mlp");
  }
  for (const Loss& loss : tower.losses) absl::StrAppend(out, ", ", TypeOf(loss.kind).name);
  absl::StrAppend(out, "\n");
}

// The lines of a description, by what stands before ": ".
std::map<std::string, std::string> Facts(const std::string& description,
                                         std::vector<std::string>* order) {
  std::map<std::string, std::string> facts;
  for (const auto& view : absl::StrSplit(description, '\n')) {
    const std::string line(view);
    if (line.empty()) continue;
    // A fact is called by the text before its first ": ". Of two facts of one name, as where a
    // quoted name holds ": ", only the first is compared here; the texts as a whole have been
    // compared before.
    const std::string key = line.substr(0, line.find(": "));
    if (facts.emplace(key, line).second) order->push_back(key);
  }
  return facts;
}

}  // namespace

// Checkpoints hold this text (design section 7): a new fact must be written only where it differs
// from what older checkpoints meant without it, or none of them would load any more.
std::string ShapeDescription(const JobConfig& config) {
  std::string out =
      absl::StrCat("fg_mode: ", config.data.fg_mode == FgMode::kNone ? "none" : "normal", "\n");
  for (const Table& table : config.tables) {
    absl::StrAppend(&out, "table ", Quote(table.name), ": rows ", table.rows, ", width ", table.dim,
                    ", init ", TypeOf(table.initializer.kind).name);
    if (table.initializer.kind != InitKind::kDefault) {
      absl::StrAppend(&out, " ", Number(table.initializer.a), " ", Number(table.initializer.b));
    }
    // Limits, expiry and data_type are no facts: they may change between save and restore.
    absl::StrAppend(&out, table.trainable ? "" : ", not trainable", "\n");
  }
  for (const Feature& feature : config.features) {
    if (feature.is_read) AppendFeature(feature, config, &out);
  }
  const Model& model = config.model;
  for (const SequenceGroup& group : model.sequence_groups) AppendSequenceGroup(group, config, &out);
  for (size_t e = 0; e < model.encoders.size(); ++e) {
    AppendEncoder(e, model.encoders[e], config, &out);
  }
  AppendGroup(model.main, "all", config, &out);
  AppendGroup(model.domain, "domain", config, &out);
  AppendGroup(model.uia, "uia", config, &out);
  if (model.domain) {
    absl::StrAppend(&out, "epnet: hidden ", model.epnet_hidden_unit, ", gamma ",
                    Number(model.epnet_gamma), "\n");
  }
  if (model.uia) {
    absl::StrAppend(&out, "ppnet: hidden ", TextOf(model.ppnet_hidden_units), ", ",
                    TextOf(model.ppnet_activation), ", gamma ", Number(model.ppnet_gamma), "\n");
  }
  absl::StrAppend(&out, "towers per task: ", model.domain_count,
                  model.domain_label < 0 ? "" : ", by domain", "\n");
  for (const Tower& tower : model.towers) AppendTower(tower, &out);
  absl::StrAppend(&out, "sparse optimizer: ", TypeOf(config.train.sparse_optimizer.kind).name,
                  "\n");
  absl::StrAppend(&out, "dense optimizer: ", TypeOf(config.train.dense_optimizer.kind).name, "\n");
  for (size_t p = 0; p < config.train.part_optimizers.size(); ++p) {
    const PartOptimizer& part = config.train.part_optimizers[p];
    absl::StrAppend(&out, "part optimizer ", p, ": ", TypeOf(part.optimizer.kind).name, " of ",
                    Quote(part.pattern), "\n");
  }
  return out;
}

// The first fact in the order of the config is named: one sentence says more than a diff of
// hundreds of lines.
std::string FirstDifference(const std::string& ours, const std::string& theirs) {
  if (ours == theirs) return "";
  std::vector<std::string> our_order, their_order;
  const auto our_facts = Facts(ours, &our_order);
  const auto their_facts = Facts(theirs, &their_order);
  for (const std::string& key : our_order) {
    const auto it = their_facts.find(key);
    const std::string& line = our_facts.at(key);
    if (it == their_facts.end()) {
      return absl::StrCat("the config has \"", line, "\", the checkpoint has no such line");
    }
    if (it->second != line) {
      return absl::StrCat("the config has \"", line, "\", the checkpoint has \"", it->second, "\"");
    }
  }
  for (const std::string& key : their_order) {
    if (our_facts.count(key) == 0) {
      return absl::StrCat("the checkpoint has \"", their_facts.at(key),
                          "\", the config has no such line");
    }
  }
  return "the config and the checkpoint list the same facts in a different order";
}

}  // namespace pepnet
