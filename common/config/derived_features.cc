#include "common/config/derived_features.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>

#include "absl/strings/ascii.h"

#include "common/base/text.h"
#include "common/config/convert_parameters.h"
#include "common/config/convert_table.h"
#include "common/config/values/value_strings.h"
#include "common/file/file.h"

namespace pepnet {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr char kAll[] = "ALL";
constexpr int kMaxDepth = 100;   // of features that are computed from features
constexpr int kUnresolved = -2;  // OperatorInput::feature before ResolveInputs()

// True if one field says how tokens become ids: the feature then reads tokens, else numbers.
bool HasIdBucketizer(const Message& message) {
  return std::any_of(std::begin(kIdBucketizers), std::end(kIdBucketizers),
                     [&](const char* field) { return HasField(message, field); });
}

// Some operators give tokens always and some never; of the others, which can give either, the
// config decides by whether it says how tokens become ids.
bool GivesTokens(const FeatureMessage& from) {
  switch (*from.op) {
    case OperatorKind::kCombo:
    case OperatorKind::kBoolMask:
    case OperatorKind::kTokenize:
      return true;
    case OperatorKind::kLookup:
    case OperatorKind::kMatch:
    case OperatorKind::kCombine:
    case OperatorKind::kEditDistance:
      return HasIdBucketizer(*from.message);
    case OperatorKind::kExpr:
    case OperatorKind::kOverlap:
    case OperatorKind::kKvDotProduct:
      return false;
  }
  return false;
}

// Copies the fields of `from` that `to` has, too, in the same form. Texts carry them: their numbers
// may differ.
void CopySameFields(const Message& from, Message* to) {
  // Fields are matched by name and form, since the numbers of the two messages differ: they are
  // printed as text and read back.
  const std::unique_ptr<Message> same(from.New());
  same->CopyFrom(from);
  std::vector<const FieldDescriptor*> fields;
  from.GetReflection()->ListFields(from, &fields);
  for (const FieldDescriptor* field : fields) {
    const FieldDescriptor* const other = to->GetDescriptor()->FindFieldByName(field->name());
    if (other == nullptr || other->cpp_type() != field->cpp_type() ||
        other->is_repeated() != field->is_repeated() ||
        other->message_type() != field->message_type()) {
      same->GetReflection()->ClearField(same.get(), field);
    }
  }
  std::string text;
  google::protobuf::TextFormat::PrintToString(*same, &text);
  google::protobuf::TextFormat::MergeFromString(text, to);
  // The one field whose default differs.
  const FieldDescriptor* const default_value =
      from.GetDescriptor()->FindFieldByName("default_value");
  if (default_value == nullptr) return;
  to->GetReflection()->SetString(to, to->GetDescriptor()->FindFieldByName("default_value"),
                                 from.GetReflection()->GetString(from, default_value));
}

// The inputs of one operator, as they are read.
class Inputs {
 public:
  Inputs(const FeatureMessage& from, const DataConfig& data, const ConfigSource& source)
      : from_(from), data_(data), source_(source) {}

  Status Add(const std::string& field, const std::string& text, int index = 0) {
    const std::optional<NamedInput> input = SplitInput(text);
    // InvalidInput() instead of source_.Error(), which would show the line of the first element of
    // a repeated field.
    if (!input.has_value()) {
      return InvalidInput(
          source_.Where(*from_.message, field, index), ": \"", text,
          "\"; expected user:, item: or context: and an input column, or feature: and a feature");
    }
    inputs_.push_back({input->column, input->side == "feature" ? kUnresolved : -1});
    sides_.push_back(input->side);
    return absl::OkStatus();
  }

  // All of a repeated field.
  Status AddAll(const std::string& field,
                const google::protobuf::RepeatedPtrField<std::string>& texts) {
    for (int i = 0; i < texts.size(); ++i) PEPNET_RETURN_IF_ERROR(Add(field, texts[i], i));
    return absl::OkStatus();
  }

  // A field that has to be there.
  Status AddRequired(const std::string& field, const std::string& text) {
    if (text.empty()) {
      return source_.Error(*from_.message, field,
                           "is missing; expected a side and an input column");
    }
    return Add(field, text);
  }

  // Their names, by which a formula calls them.
  std::vector<std::string> Columns() const {
    std::vector<std::string> columns;
    for (const OperatorInput& input : inputs_) columns.push_back(input.column);
    return columns;
  }

  // Its name as the column of the sequence_feature.
  std::string WholeName(const std::string& column) const {
    return absl::StrCat(from_.group != nullptr ? from_.group->sequence_name() : "",
                        data_.sequence_joint, column);
  }

  // Decides which inputs of a sequence are sequences, and what their columns are called. Where the
  // operator gives the elements itself none is.
  StatusOr<std::vector<OperatorInput>> Finish(bool gives_elements) {
    if (!from_.is_sequence || gives_elements) return std::move(inputs_);
    const std::vector<std::string> chosen = SequenceFields();
    for (const std::string& field : chosen) {
      const bool known =
          std::any_of(inputs_.begin(), inputs_.end(),
                      [&](const OperatorInput& input) { return input.column == field; });
      if (known) continue;
      return source_.Error(*from_.message, "sequence_fields", "\"", field,
                           "\"; expected the column of an input");
    }
    bool any = false;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      OperatorInput& input = inputs_[i];
      const bool is_feature = input.feature == kUnresolved;
      // sequence_fields decide where they are set; else the only input is the sequence, and of
      // several those of side item are.
      input.by_element = !chosen.empty()
                             ? std::count(chosen.begin(), chosen.end(), input.column) > 0
                         : inputs_.size() == 1 ? !is_feature
                                               : sides_[i] == "item";
      if (!input.by_element) continue;
      any = true;
      if (is_feature) {
        return source_.Error(
            *from_.message, "sequence_fields", "\"", input.column,
            "\" is a feature; only columns can be the sequences of a computed feature");
      }
      // The columns of a sequence_feature are called <sequence_name><joint><column>, like its
      // features.
      if (from_.group != nullptr) input.column = WholeName(input.column);
    }
    if (any) return std::move(inputs_);
    return source_.Error(*from_.message, "",
                         "none of the inputs is a sequence; expected one of side item",
                         from_.group != nullptr ? ", or sequence_fields that name one" : "");
  }

 private:
  std::vector<std::string> SequenceFields() const {
    const auto* reflection = from_.message->GetReflection();
    const FieldDescriptor* const field =
        from_.message->GetDescriptor()->FindFieldByName("sequence_fields");
    std::vector<std::string> names;
    for (int i = 0; i < reflection->FieldSize(*from_.message, field); ++i) {
      names.push_back(reflection->GetRepeatedString(*from_.message, field, i));
    }
    return names;
  }

  const FeatureMessage& from_;
  const DataConfig& data_;
  const ConfigSource& source_;
  std::vector<OperatorInput> inputs_;
  std::vector<std::string> sides_;
};

Status ReadCombiner(const Message& from, const std::string& text, bool may_be_empty,
                    const ConfigSource& source, std::optional<Combiner>* combiner) {
  const std::string name = absl::AsciiStrToLower(text);
  if (name.empty() && may_be_empty) return absl::OkStatus();
  // "avg" is the reference's other word for mean.
  *combiner = name == "avg" ? Combiner::kMean : FindKind<Combiner>(&CombinerType::name, name);
  if (combiner->has_value()) return absl::OkStatus();
  return source.Error(from, "combiner", "\"", text, "\"; expected ",
                      ListOfKinds<Combiner>(&CombinerType::name, ", "),
                      may_be_empty ? " or \"\"" : "");
}

// Fields such as need_key ask for tokens. Where nothing says how tokens become ids, the feature
// reads numbers and could not obey.
Status CheckDiscrete(const Message& from, const char* field, bool is_set, bool gives_tokens,
                     const ConfigSource& source) {
  if (!is_set || gives_tokens) return absl::OkStatus();
  return source.Error(from, field,
                      "true; tokens need rows: set hash_bucket_size, num_buckets or a vocabulary");
}

// Boundaries are of numbers.
Status CheckOneBucketizer(const Message& from, bool gives_tokens, const ConfigSource& source) {
  if (!gives_tokens || !HasField(from, "boundaries")) return absl::OkStatus();
  return source.Error(from, "boundaries",
                      "a way from tokens to rows is set as well; expected one of them");
}

Status ReadLookup(const config::LookupFeature& from, const ConfigSource& source, Inputs* inputs,
                  FeatureOperator* out) {
  PEPNET_RETURN_IF_ERROR(inputs->AddRequired("map", from.map()));
  PEPNET_RETURN_IF_ERROR(inputs->AddRequired("key", from.key()));
  PEPNET_RETURN_IF_ERROR(
      CheckDiscrete(from, "need_discrete", from.need_discrete(), out->gives_tokens, source));
  PEPNET_RETURN_IF_ERROR(
      CheckDiscrete(from, "need_key", from.need_key(), out->gives_tokens, source));
  out->shows_key = {from.need_key()};
  if (out->gives_tokens) return absl::OkStatus();
  out->value_dim = from.has_value_dim() ? std::max(1, static_cast<int>(from.value_dim())) : 1;
  out->value_separator = from.value_separator();
  if (out->value_dim > 1) {  // each value is taken whole
    if (out->value_separator.empty()) {
      return source.Error(from, "value_separator", "is empty; expected a text");
    }
    return absl::OkStatus();
  }
  return ReadCombiner(from, from.combiner(), true, source, &out->combiner);
}

Status ReadMatch(const config::MatchFeature& from, const ConfigSource& source, Inputs* inputs,
                 FeatureOperator* out) {
  PEPNET_RETURN_IF_ERROR(inputs->AddRequired("nested_map", from.nested_map()));
  for (const auto& [field, text] :
       {std::pair<const char*, std::string>{"pkey", from.pkey()}, {"skey", from.skey()}}) {
    out->takes_all.push_back(text == kAll);
    if (text != kAll) PEPNET_RETURN_IF_ERROR(inputs->AddRequired(field, text));
  }
  PEPNET_RETURN_IF_ERROR(
      CheckDiscrete(from, "need_discrete", from.need_discrete(), out->gives_tokens, source));
  PEPNET_RETURN_IF_ERROR(
      CheckDiscrete(from, "show_pkey", from.show_pkey(), out->gives_tokens, source));
  PEPNET_RETURN_IF_ERROR(
      CheckDiscrete(from, "show_skey", from.show_skey(), out->gives_tokens, source));
  out->shows_key = {from.show_pkey(), from.show_skey()};
  // The reference puts the feature's name before hashed tokens, so the prefix decides which row a
  // token has (docs/spec.md 3.11). Vocabularies list the bare values.
  if (from.has_hash_bucket_size() || from.show_pkey() || from.show_skey()) {
    out->prefix = from.feature_name() + "_";
  }
  if (!out->gives_tokens && from.value_dim() > 1) {
    return source.Error(from, "value_dim", from.value_dim(),
                        "; expected 1: a value of nested_map is one number");
  }
  return absl::OkStatus();
}

Status ReadExpr(const config::ExprFeature& from, const ConfigSource& source, Inputs* inputs,
                FeatureOperator* out) {
  if (from.expression().empty()) {
    return source.Error(from, "expression", "is missing; expected a formula");
  }
  if (from.variables().empty()) {
    return source.Error(from, "variables", "is missing; expected at least one column");
  }
  PEPNET_RETURN_IF_ERROR(inputs->AddAll("variables", from.variables()));
  const StatusOr<Expression> formula = Expression::Parse(from.expression(), inputs->Columns());
  if (!formula.ok()) return Annotate(formula.status(), source.Where(from, "expression"));
  out->formula = *formula;
  if (from.has_fill_missing()) out->fill_missing = ShortestDecimal(from.fill_missing());
  return absl::OkStatus();
}

Status ReadOverlap(const config::OverlapFeature& from, const ConfigSource& source, Inputs* inputs,
                   FeatureOperator* out) {
  PEPNET_RETURN_IF_ERROR(inputs->AddRequired("query", from.query()));
  PEPNET_RETURN_IF_ERROR(inputs->AddRequired("title", from.title()));
  const auto method = FindKind<OverlapMethod>(&OverlapMethodType::name, from.method());
  if (!method.has_value()) {
    return source.Error(
        from, "method",
        from.method().empty() ? "is missing" : absl::StrCat("\"", from.method(), "\""),
        "; expected ", ListOfKinds<OverlapMethod>(&OverlapMethodType::name, " or "));
  }
  out->method = *method;
  return absl::OkStatus();
}

Status ReadKvDotProduct(const config::KvDotProduct& from, const ConfigSource& source,
                        Inputs* inputs) {
  // The field is refused instead of ignored: another delimiter would give other products.
  if (from.has_kv_delimiter()) {
    return source.Error(from, "kv_delimiter", from.kv_delimiter(),
                        "; keys and weights are joined by \":\", remove it");
  }
  PEPNET_RETURN_IF_ERROR(inputs->AddRequired("query", from.query()));
  return inputs->AddRequired("document", from.document());
}

Status ReadCombine(const config::CombineFeature& from, const ConfigSource& source, Inputs* inputs,
                   FeatureOperator* out) {
  PEPNET_RETURN_IF_ERROR(inputs->AddRequired("expression", from.expression()));
  PEPNET_RETURN_IF_ERROR(ReadCombiner(from, from.combiner(), false, source, &out->combiner));
  // The combined number becomes an id where num_buckets is set, and an id has no fraction.
  out->to_integer = out->gives_tokens;
  for (const config::ValueMapEntry& entry : from.value_map()) {
    if (!entry.has_key() || !entry.has_value()) {
      return source.Error(entry, "", "an entry needs both key and value");
    }
    const double value = ShortestDecimal(entry.value());
    if (!std::isfinite(value)) return source.Error(entry, "value", value, "; expected a number");
    if (!out->value_map.emplace(entry.key(), value).second) {
      return source.Error(entry, "key", "\"", entry.key(), "\" is given twice");
    }
  }
  return absl::OkStatus();
}

// The text of operator_params; "" if it is not set.
std::string ParamOf(const config::CustomFeature& from, const std::string& key) {
  for (const config::OperatorParam& param : from.operator_params().fields()) {
    if (param.key() == key) return param.value().string_value();
  }
  return "";
}

// In a sequence_feature the formula calls its inputs <sequence_name>__<column>, all of them, or by
// their columns.
Status ReadSeqExpr(const config::CustomFeature& from, const ConfigSource& source, Inputs* inputs,
                   FeatureOperator* out) {
  out->kind = OperatorKind::kExpr;
  if (out->gives_tokens) {
    return source.Error(
        from, "operator_name",
        "SeqExpr gives numbers; set boundaries in the place of a way from tokens to rows");
  }
  std::string text = ParamOf(from, "formula");
  if (text.empty()) {
    return source.Error(from, "operator_params", "has no formula; expected one as a string_value");
  }
  const bool is_distance = text == "spherical_distance";
  if (is_distance && from.expression_size() != 4) {
    return source.Error(
        from, "expression", "has ", from.expression_size(),
        " inputs; spherical_distance expects longitude, latitude, longitude, latitude");
  }
  PEPNET_RETURN_IF_ERROR(inputs->AddAll("expression", from.expression()));
  std::vector<std::string> names = inputs->Columns();
  if (is_distance) {
    names = {"lng1", "lat1", "lng2", "lat2"};
    text = "haversine(lng1, lat1, lng2, lat2)";
  }
  // A formula names its inputs in one of the two ways throughout. The message that is shown is that
  // about the bare columns, as `expression` lists them.
  StatusOr<Expression> formula = Expression::Parse(text, names);
  if (!formula.ok()) {
    for (std::string& name : names) name = inputs->WholeName(name);
    StatusOr<Expression> of_whole_names = Expression::Parse(text, names);
    if (!of_whole_names.ok()) {
      return Annotate(formula.status(), source.Where(from, "operator_params"));
    }
    formula = std::move(of_whole_names);
  }
  out->formula = *std::move(formula);
  return absl::OkStatus();
}

Status ReadCustom(const config::CustomFeature& from, const ConfigSource& source, Inputs* inputs,
                  FeatureOperator* out) {
  // The params are a map in the reference; the schema here has a list, so that a key that is given
  // twice is found.
  std::set<std::string> keys;
  for (const config::OperatorParam& param : from.operator_params().fields()) {
    if (!keys.insert(param.key()).second) {
      return source.Error(param, "key", "\"", param.key(), "\" is given twice");
    }
  }
  if (from.operator_name() == "SeqExpr") return ReadSeqExpr(from, source, inputs, out);
  if (from.operator_name() != "EditDistance") {
    return source.Error(from, "operator_name", "\"", from.operator_name(),
                        "\"; expected EditDistance or SeqExpr. Compute others beforehand into a "
                        "column, and read that as "
                        "an id_feature or a raw_feature");
  }
  const std::string encoding = absl::AsciiStrToLower(ParamOf(from, "encoding"));
  if (!encoding.empty() && encoding != "utf-8" && encoding != "latin") {
    return source.Error(from, "operator_params", "encoding \"", encoding,
                        "\"; expected utf-8 or latin");
  }
  out->by_bytes = encoding == "latin";
  if (from.expression_size() != 2) {
    return source.Error(from, "expression", "has ", from.expression_size(),
                        " inputs; EditDistance expects two texts");
  }
  return inputs->AddAll("expression", from.expression());
}

// Each token is an element, of the text of one cell: a sequence of texts has no place for them.
Status ReadTokenize(const config::TokenizeFeature& from, bool is_in_sequence,
                    const ConfigSource& source, Inputs* inputs, FeatureOperator* out) {
  out->gives_elements = from.tokens_as_sequence();
  if (out->gives_elements) {
    if (is_in_sequence) {
      return source.Error(from, "tokens_as_sequence",
                          "true; of a sequence of texts, each of which is pooled, remove it");
    }
    if (from.sequence_length() == 0) {
      return source.Error(from, "sequence_length", from.has_sequence_length() ? "0" : "is missing",
                          "; expected the largest number of tokens, 1 or more");
    }
    out->default_text = from.default_value();
  }
  return inputs->AddRequired("expression", from.expression());
}

Status ReadTextNormalizer(const config::TextNormalizer& from, const ConfigSource& source,
                          TextNormalization* out) {
  if (from.norm_options().empty()) {
    return source.Error(from, "norm_options",
                        "is missing; expected TEXT_LOWER2UPPER, TEXT_UPPER2LOWER or "
                        "TEXT_REMOVE_SPACE, or no text_normalizer");
  }
  out->most_characters = from.max_length();
  for (const int option : from.norm_options()) {
    const std::string& name =
        config::TextNormalizeOption_Name(static_cast<config::TextNormalizeOption>(option));
    if (name == "TEXT_LOWER2UPPER") {
      out->to_upper = true;
    } else if (name == "TEXT_UPPER2LOWER") {
      out->to_lower = true;
    } else if (name == "TEXT_REMOVE_SPACE") {
      out->removes_blanks = true;
    } else {
      return source.Error(
          from, "norm_options", name,
          " is not supported; expected TEXT_LOWER2UPPER, TEXT_UPPER2LOWER or "
          "TEXT_REMOVE_SPACE. Change texts in another way beforehand, in the column");
    }
  }
  if (!out->to_upper || !out->to_lower) return absl::OkStatus();
  return source.Error(from, "norm_options",
                      "TEXT_LOWER2UPPER and TEXT_UPPER2LOWER undo each other; remove one of them");
}

// `least` to `most` inputs of `expression`; most 0: any number of them.
template <typename ProtoFeature>
Status ReadSeveral(const ProtoFeature& from, int least, int most, const ConfigSource& source,
                   Inputs* inputs) {
  if (from.expression_size() < least || (most > 0 && from.expression_size() > most)) {
    return source.Error(from, "expression", "has ", from.expression_size(), " inputs; expected ",
                        least, most > 0 ? "" : " or more");
  }
  return inputs->AddAll("expression", from.expression());
}

}  // namespace

std::optional<NamedInput> SplitInput(const std::string& text) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos || colon + 1 == text.size()) return std::nullopt;
  const std::string side = text.substr(0, colon);
  if (side != "user" && side != "item" && side != "context" && side != "feature")
    return std::nullopt;
  return NamedInput{side, text.substr(colon + 1)};
}

// The file is read while the config is converted, because its vocabulary gives the table its rows.
StatusOr<TokenizerFile> ReadTokenizer(const config::TokenizeFeature& from, ConfigSource* source) {
  constexpr int64_t kMaxTokenizerBytes = int64_t{1} << 28;
  if (from.tokenizer_type() != "bpe") {
    return source->Error(
        from, "tokenizer_type", "\"", from.tokenizer_type(),
        "\"; expected bpe, which stands for a tokenizer.json, here with a WordLevel model. Of "
        "other "
        "tokenizers compute the ids beforehand into a column, and read that as an id_feature with "
        "num_buckets");
  }
  if (from.vocab_file().empty())
    return source->Error(from, "vocab_file", "is missing; expected a tokenizer.json");
  const std::string path = from.asset_dir().empty()
                               ? from.vocab_file()
                               : absl::StrCat(from.asset_dir(), "/", from.vocab_file());
  const StatusOr<std::string> contents = ReadFile(path, kMaxTokenizerBytes);
  if (!contents.ok()) return Annotate(contents.status(), source->Where(from, "vocab_file"));
  StatusOr<TokenizerFile> file = ParseTokenizerFile(*contents, path);
  if (!file.ok()) return Annotate(file.status(), source->Where(from, "vocab_file"));
  if (!file->tokenizer.has_unknown) {
    source->Note(from, "vocab_file",
                 absl::StrCat("its unk_token \"", Printable(file->unknown_word, 100),
                              "\" is none of its "
                              "words, so words that are not in it give no id"));
  }
  if (from.has_text_normalizer()) {
    PEPNET_RETURN_IF_ERROR(
        ReadTextNormalizer(from.text_normalizer(), *source, &file->tokenizer.text.emplace()));
  }
  return file;
}

// The message of an id or a raw feature is made up, so that tables, sequences, defaults and checks
// are those of plain features and exist once.
ReadingFeature ReadingFeatureOf(const FeatureMessage& from, const DataConfig& data,
                                int64_t token_rows) {
  const bool computes = data.fg_mode != FgMode::kNone;
  if (GivesTokens(from)) {
    config::IdFeature id;
    CopySameFields(*from.message, &id);
    if (*from.op == OperatorKind::kTokenize) {
      // The vocabulary is the tokenizer's: its words are ids from 0 to token_rows - 1 already.
      id.clear_vocab_file();
      id.clear_asset_dir();
      id.set_num_buckets(static_cast<uint64_t>(token_rows));
      id.set_separator(kBetweenWords);
    }
    // Only combinations and masked tokens are limited to one: the others give what they find.
    if (*from.op != OperatorKind::kCombo && *from.op != OperatorKind::kBoolMask)
      id.set_value_dim(0);
    return id;
  }
  config::RawFeature raw;
  CopySameFields(*from.message, &raw);
  // Id features say 0 for "any number of ids"; a raw feature has a fixed number, by default 1.
  if (raw.value_dim() == 0) raw.clear_value_dim();
  // An empty result is 0 where a value is needed (docs/spec.md 3.11), in the modes that compute:
  // without boundaries always, and for kv_dot_product with them, too.
  const bool needs_value = raw.boundaries_size() == 0 || *from.op == OperatorKind::kKvDotProduct;
  if (computes && needs_value && raw.default_value().empty()) raw.set_default_value("0");
  return raw;
}

// The casts below are safe: an operator kind was found by the name of the field that holds the
// message, and each field has one type.
StatusOr<FeatureOperator> ReadOperator(const FeatureMessage& from, const DataConfig& data,
                                       const ConfigSource& source) {
  FeatureOperator out;
  out.kind = *from.op;
  out.gives_tokens = GivesTokens(from);
  Inputs inputs(from, data, source);
  const Message& message = *from.message;
  PEPNET_RETURN_IF_ERROR(CheckOneBucketizer(message, out.gives_tokens, source));
  Status status;
  switch (out.kind) {
    case OperatorKind::kCombo:
      if (!HasIdBucketizer(message)) {
        return source.Error(
            message, "",
            "does not say how tokens become rows; set one of hash_bucket_size, "
            "vocab_list, vocab_dict, vocab_file, dynamic_table, zch and dynamicemb");
      }
      status =
          ReadSeveral(static_cast<const config::ComboFeature&>(message), 2, 0, source, &inputs);
      break;
    case OperatorKind::kLookup:
      status =
          ReadLookup(static_cast<const config::LookupFeature&>(message), source, &inputs, &out);
      break;
    case OperatorKind::kMatch:
      status = ReadMatch(static_cast<const config::MatchFeature&>(message), source, &inputs, &out);
      break;
    case OperatorKind::kExpr:
      status = ReadExpr(static_cast<const config::ExprFeature&>(message), source, &inputs, &out);
      break;
    case OperatorKind::kOverlap:
      status =
          ReadOverlap(static_cast<const config::OverlapFeature&>(message), source, &inputs, &out);
      break;
    case OperatorKind::kKvDotProduct:
      status = ReadKvDotProduct(static_cast<const config::KvDotProduct&>(message), source, &inputs);
      break;
    case OperatorKind::kBoolMask:
      status =
          ReadSeveral(static_cast<const config::BoolMaskFeature&>(message), 2, 2, source, &inputs);
      break;
    case OperatorKind::kCombine:
      status =
          ReadCombine(static_cast<const config::CombineFeature&>(message), source, &inputs, &out);
      break;
    case OperatorKind::kEditDistance:
      status =
          ReadCustom(static_cast<const config::CustomFeature&>(message), source, &inputs, &out);
      break;
    case OperatorKind::kTokenize:
      status = ReadTokenize(static_cast<const config::TokenizeFeature&>(message),
                            from.is_in_sequence, source, &inputs, &out);
      break;
  }
  PEPNET_RETURN_IF_ERROR(status);
  PEPNET_ASSIGN_OR_RETURN(out.inputs, inputs.Finish(out.gives_elements));
  return out;
}

Status ResolveInputs(const std::vector<FeatureMessage>& messages, const ConfigSource& source,
                     JobConfig* out) {
  // Names are resolved only when all features are converted, since a feature may read one that
  // stands behind it in the file.
  const size_t features = out->features.size();
  std::map<std::string, int> numbers;
  for (size_t f = 0; f < features; ++f) numbers.emplace(out->features[f].name, static_cast<int>(f));
  // Kahn's algorithm: the order in which features can be computed, or a circle, where some never
  // settle.
  std::vector<std::vector<int>> readers(features);  // the features that a feature is an input of
  std::vector<int> waits_for(features, 0);          // inputs that are not settled
  for (size_t f = 0; f < features; ++f) {
    if (!out->features[f].op.has_value()) continue;
    for (OperatorInput& input : out->features[f].op->inputs) {
      if (input.feature != kUnresolved) continue;
      const auto error = [&](const auto&... text) {
        return source.Error(*messages[f].message, "", "the input feature:", input.column, " ",
                            text...);
      };
      const auto found = numbers.find(input.column);
      if (found == numbers.end()) return error("is no feature; expected the name of one");
      input.feature = found->second;
      const Feature& read = out->features[input.feature];
      // An operator sees the text of a cell. What a feature does to that text afterwards (elements,
      // weights, a normalizer) would be lost on the way, so such features are no inputs.
      if (read.sequence.has_value())
        return error("is a sequence; expected a feature with one cell a row");
      if (read.weighted) return error("is weighted; expected a feature without weights");
      if (read.normalizer.kind != NormalizerKind::kNone) {
        return error(
            "has a normalizer, which changes what it reads; expected a feature without one, or its "
            "column");
      }
      readers[input.feature].push_back(static_cast<int>(f));
      ++waits_for[f];
    }
  }
  // Features settle when all their inputs have: first those without, then those that read them, and
  // so on.
  std::vector<int> settled;
  for (size_t f = 0; f < features; ++f) {
    if (waits_for[f] == 0) settled.push_back(static_cast<int>(f));
  }
  std::vector<int> depth(features, 0);
  for (size_t i = 0; i < settled.size(); ++i) {
    for (const int reader : readers[settled[i]]) {
      depth[reader] = std::max(depth[reader], depth[settled[i]] + 1);
      if (--waits_for[reader] == 0) settled.push_back(reader);
    }
  }
  for (size_t f = 0; f < features; ++f) {
    if (waits_for[f] > 0) {
      return source.Error(
          *messages[f].message, "", "feature ", out->features[f].name,
          " reads itself through features that are inputs; expected an order without circles");
    }
    // FeatureEncoder::ReadCells() recurses over inputs; the bound keeps its stack small.
    if (depth[f] > kMaxDepth) {
      return source.Error(*messages[f].message, "", "feature ", out->features[f].name,
                          " is computed from features ", depth[f], " deep; expected at most ",
                          kMaxDepth);
    }
  }
  return absl::OkStatus();
}

}  // namespace pepnet
