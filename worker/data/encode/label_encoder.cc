#include "worker/data/encode/label_encoder.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"

#include "worker/data/files/number_text.h"

namespace pepnet {
namespace {

ColumnType DeclaredType(const DataConfig& data, const std::string& column) {
  for (const InputField& field : data.input_fields) {
    if (field.name == column) return field.type;
  }
  return ColumnType::kUnspecified;
}

StatusOr<float> FloatFromText(std::string_view text, std::string_view what) {
  double value = 0;
  if (ParseReal(text, &value) != NumberText::kOk || !std::isfinite(static_cast<float>(value))) {
    return InvalidInput("the ", std::string(what), " ", QuoteCell(text), " is not a finite number");
  }
  return static_cast<float>(value);
}

// The label that a word means, 1 or 0.
std::optional<int64_t> LabelOfWord(std::string_view text) {
  constexpr const char* kWords[][2] = {{"false", "true"}, {"no", "yes"}, {"f", "t"}, {"n", "y"}};
  for (const auto& pair : kWords) {
    for (int64_t label = 0; label < 2; ++label) {
      if (absl::EqualsIgnoreCase(absl::string_view(text.data(), text.size()), pair[label])) {
        return label;
      }
    }
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::string> DomainWords(const JobConfig& config) {
  if (config.model.domain_label < 0) return {};
  const std::string& column = config.data.labels[config.model.domain_label];
  for (const Feature& feature : config.features) {
    if (feature.column != column || feature.vocabulary.empty() || feature.sequence.has_value()) {
      continue;
    }
    std::vector<std::pair<int64_t, std::string>> by_row;
    for (const auto& [word, row] : feature.vocabulary) {
      // Row 0 of a vocabulary without default_bucketize_value is that of empty cells, which read
      // the default_value.
      if (row > 0 || feature.unknown_id != 1 || word != feature.default_value) {
        by_row.emplace_back(row, word);
      }
    }
    std::sort(by_row.begin(), by_row.end());
    std::vector<std::string> words;
    for (auto& [row, word] : by_row) words.push_back(std::move(word));
    return words;
  }
  return {};
}

StatusOr<std::unique_ptr<LabelEncoder>> LabelEncoder::Create(const JobConfig& config,
                                                             DatasetType file_type) {
  std::unique_ptr<LabelEncoder> encoder(new LabelEncoder);
  encoder->texts_are_numbers_ = TypeOf(file_type).text_only;
  for (const std::string& column : config.data.labels) {
    Rule& rule = encoder->labels_.emplace_back();
    rule.column = column;
    rule.declared = DeclaredType(config.data, column);
  }
  for (const Tower& tower : config.model.towers) {
    Rule& rule = encoder->labels_[tower.label];
    for (const Loss& loss : tower.losses) {
      // The strictest reader decides: one label may serve several towers.
      switch (TypeOf(loss.kind).label) {
        case LabelRule::kNumber:
          break;
        case LabelRule::kZeroOrOne:
          rule.binary_tower = tower.name;
          break;
        case LabelRule::kClass:
          // Two such towers may read one label; the narrower one decides.
          if (rule.integer_use.empty() || tower.num_class < rule.integer_limit) {
            rule.integer_limit = tower.num_class;
          }
          rule.integer_use = absl::StrCat("the softmax label of tower '", tower.name, "'");
          break;
      }
    }
  }
  if (config.model.domain_label >= 0) {
    Rule& rule = encoder->labels_[config.model.domain_label];
    if (rule.integer_use.empty() || config.model.domain_count < rule.integer_limit) {
      rule.integer_limit = config.model.domain_count;
    }
    rule.integer_use = "the domain label (domain_input_name)";
    rule.words = DomainWords(config);
  }
  // Declarations that cannot be are errors at start, before a row is read.
  for (const Rule& rule : encoder->labels_) {
    if (rule.declared == ColumnType::kString && !rule.TakesWords()) {
      return InvalidInput("input_fields declares the label '", rule.column,
                          "' as a string; a label is a number",
                          rule.integer_use.empty() ? ", or true or false of a binary loss" : "");
    }
  }
  for (const Rule& rule : encoder->labels_) {
    if (!rule.integer_use.empty() && rule.declared == ColumnType::kFloating) {
      return InvalidInput("input_fields declares '", rule.column,
                          "' as a floating point column, but ", rule.integer_use, " is an integer");
    }
  }
  for (const std::string& column : config.data.sample_weights) {
    const ColumnType declared = DeclaredType(config.data, column);
    if (declared == ColumnType::kInteger || declared == ColumnType::kString) {
      return InvalidInput("input_fields declares the sample weight '", column, "' as ",
                          declared == ColumnType::kInteger ? "an integer" : "a string",
                          "; a sample weight is a floating point column (FLOAT or DOUBLE)");
    }
    encoder->sample_weights_.push_back(column);
  }
  return encoder;
}

Status LabelEncoder::Encode(const RowSelection& selection, std::span<const int> label_columns,
                            std::span<const int> sample_weight_columns, Batch* batch) const {
  batch->labels.resize(labels_.size());
  for (size_t i = 0; i < labels_.size(); ++i) {
    if (label_columns[i] < 0) continue;
    PEPNET_RETURN_IF_ERROR(EncodeLabel(labels_[i], selection, label_columns[i], &batch->labels[i]));
  }
  batch->sample_weights.resize(sample_weight_columns.size());
  for (size_t i = 0; i < sample_weight_columns.size(); ++i) {
    PEPNET_RETURN_IF_ERROR(EncodeWeights(sample_weights_[i], selection, sample_weight_columns[i],
                                         &batch->sample_weights[i]));
  }
  return absl::OkStatus();
}

StatusOr<int64_t> LabelEncoder::DomainOfWord(const Rule& rule, std::string_view text) {
  const auto word = std::find(rule.words.begin(), rule.words.end(), text);
  if (word != rule.words.end()) return word - rule.words.begin();
  constexpr size_t kShown = 10;
  const size_t shown = std::min(kShown, rule.words.size());
  return InvalidInput(rule.integer_use, " must be an integer from 0 to ", rule.integer_limit - 1,
                      " or a word of the feature's vocabulary (",
                      absl::StrJoin(rule.words.begin(), rule.words.begin() + shown, ", "),
                      shown < rule.words.size() ? ", ..." : "", "), but the value is ",
                      QuoteCell(text));
}

// Is every chunk's column one of single numbers, of a kind that the use allows?
Status LabelEncoder::CheckColumn(const RowSelection& selection,
                                 const std::vector<ColumnView>& views, const std::string& column,
                                 const std::string& use, bool integers, bool reals,
                                 bool words) const {
  for (size_t i = 0; i < views.size(); ++i) {
    const ColumnView::Kind kind = views[i].kind();
    const bool fits =
        !views[i].is_list() && (kind == ColumnView::Kind::kInteger ? integers
                                : kind == ColumnView::Kind::kReal  ? reals
                                                                   : texts_are_numbers_ || words);
    if (!fits) {
      return InvalidInput("'", *selection.chunks[i].path, "' column '", column, "': ", use,
                          " needs a column of ",
                          !reals      ? "integers"
                          : !integers ? "floating point numbers"
                                      : "numbers",
                          ", but it has type ", views[i].type_name());
    }
  }
  return absl::OkStatus();
}

Status LabelEncoder::EncodeLabel(const Rule& rule, const RowSelection& selection, int column,
                                 LabelColumn* out) const {
  PEPNET_ASSIGN_OR_RETURN(const std::vector<ColumnView> views, ViewColumn(selection, column));
  const bool needs_integers = !rule.integer_use.empty();
  PEPNET_RETURN_IF_ERROR(CheckColumn(
      selection, views, rule.column, needs_integers ? rule.integer_use : "a label", true,
      !needs_integers && rule.declared != ColumnType::kInteger, rule.TakesWords()));
  // A column keeps its integers only if all its cells are integers.
  bool all_integers = true;
  const auto encode = [&](const ColumnView& view, int64_t row) -> Status {
    if (view.IsEmpty(row)) return InvalidInput("the label is empty; every row needs one");
    int64_t integer = 0;
    bool is_integer = false;
    float value = 0;
    if (view.kind() == ColumnView::Kind::kText) {
      // Texts are read from the most exact kind to the least: an integer, a word, a real number. An
      // integer that went through float would lose digits above 2^24.
      is_integer = rule.declared != ColumnType::kFloating &&
                   ParseInteger(view.Text(row), &integer) == NumberText::kOk;
      if (!is_integer && !rule.binary_tower.empty()) {
        const std::optional<int64_t> label = LabelOfWord(view.Text(row));
        is_integer = label.has_value();
        integer = label.value_or(0);
      }
      if (!is_integer && !rule.words.empty()) {
        PEPNET_ASSIGN_OR_RETURN(integer, DomainOfWord(rule, view.Text(row)));
        is_integer = true;
      }
      if (!is_integer && rule.declared == ColumnType::kInteger) {
        return InvalidInput("the label ", QuoteCell(view.Text(row)),
                            " is not an integer, which input_fields declares");
      }
      if (!is_integer) {
        const StatusOr<float> number = FloatFromText(view.Text(row), "label");
        if (!number.ok() && !rule.binary_tower.empty()) {
          return InvalidInput(number.status().message(), ", nor a word: true or false, yes or no");
        }
        PEPNET_ASSIGN_OR_RETURN(value, number);
      }
    } else if (view.kind() == ColumnView::Kind::kInteger) {
      is_integer = view.Integer(row, &integer);
      // A label above int64 is no class; as a number it may be one of a regression.
      if (!is_integer) value = static_cast<float>(view.Real(row));
    } else {
      value = static_cast<float>(view.Real(row));
      if (!std::isfinite(value)) {
        return InvalidInput("the label ", view.Real(row), " is not a finite number");
      }
    }
    // Words of a vocabulary may be digits ("301"), and then look like integers that are out of
    // range.
    if (!rule.words.empty() && is_integer && (integer < 0 || integer >= rule.integer_limit)) {
      // A word that is a number.
      PEPNET_ASSIGN_OR_RETURN(integer, DomainOfWord(rule, view.ToText(row)));
    }
    if (is_integer) value = static_cast<float>(integer);
    if (needs_integers && !(is_integer && integer >= 0 && integer < rule.integer_limit)) {
      return InvalidInput(rule.integer_use, " must be an integer from 0 to ",
                          rule.integer_limit - 1, ", but the value is ",
                          QuoteCell(view.ToText(row)));
    }
    if (!rule.binary_tower.empty() && value != 0 && value != 1) {
      return InvalidInput("the label of the binary loss of tower '", rule.binary_tower,
                          "' must be 0 or 1, but the value is ", QuoteCell(view.ToText(row)));
    }
    out->values.push_back(value);
    all_integers = all_integers && is_integer;
    if (all_integers) out->integers.push_back(integer);
    return absl::OkStatus();
  };
  out->values.reserve(selection.rows);
  PEPNET_RETURN_IF_ERROR(ForEachRow(selection, views, [&](int chunk, int64_t row) -> Status {
    const Status cell = encode(views[chunk], row);
    return cell.ok() ? cell : AtCell(selection.chunks[chunk], row, rule.column, cell);
  }));
  if (!all_integers) out->integers.clear();
  return absl::OkStatus();
}

Status LabelEncoder::EncodeWeights(const std::string& name, const RowSelection& selection,
                                   int column, std::vector<float>* out) const {
  PEPNET_ASSIGN_OR_RETURN(const std::vector<ColumnView> views, ViewColumn(selection, column));
  PEPNET_RETURN_IF_ERROR(
      CheckColumn(selection, views, name, "a sample weight", false, true, false));
  const auto encode = [&](const ColumnView& view, int64_t row) -> Status {
    if (view.IsEmpty(row)) return InvalidInput("the sample weight is empty; every row needs one");
    if (view.kind() == ColumnView::Kind::kText) {
      PEPNET_ASSIGN_OR_RETURN(const float weight, FloatFromText(view.Text(row), "sample weight"));
      out->push_back(weight);
      return absl::OkStatus();
    }
    const float weight = static_cast<float>(view.Real(row));
    if (!std::isfinite(weight)) {
      return InvalidInput("the sample weight ", view.Real(row), " is not a finite number");
    }
    out->push_back(weight);
    return absl::OkStatus();
  };
  out->reserve(selection.rows);
  return ForEachRow(selection, views, [&](int chunk, int64_t row) -> Status {
    const Status cell = encode(views[chunk], row);
    return cell.ok() ? cell : AtCell(selection.chunks[chunk], row, name, cell);
  });
}

}  // namespace pepnet
