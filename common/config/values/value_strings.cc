#include "common/config/values/value_strings.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <numbers>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

#include "common/base/text.h"

namespace pepnet {
namespace {

using Arguments = std::map<std::string, std::string>;

constexpr double kMaxWidth = 1 << 24;  // of a layer

// "a=1,b=2" -> {a: 1, b: 2}; an argument without name or given twice is an error.
StatusOr<Arguments> ParseArguments(const std::string& text) {
  Arguments arguments;
  if (absl::StripAsciiWhitespace(text).empty()) return arguments;
  for (const auto& part : absl::StrSplit(text, ',')) {
    const std::string piece(absl::StripAsciiWhitespace(part));
    const size_t equal = piece.find('=');
    if (equal == std::string::npos) {
      return InvalidInput("\"", piece, "\" is not of the form name=value");
    }
    const std::string name(absl::StripAsciiWhitespace(piece.substr(0, equal)));
    const std::string value(absl::StripAsciiWhitespace(piece.substr(equal + 1)));
    if (!arguments.emplace(name, value).second) {
      return InvalidInput("argument ", name, " is given twice");
    }
  }
  return arguments;
}

// Moves argument `name` out of `arguments` into `value`; absent leaves `value` alone.
Status TakeNumber(const std::string& name, Arguments* arguments, double* value) {
  auto it = arguments->find(name);
  if (it == arguments->end()) return absl::OkStatus();
  if (!absl::SimpleAtod(it->second, value) || !std::isfinite(*value)) {
    return InvalidInput(name, "=", it->second, " is not a number");
  }
  arguments->erase(it);
  return absl::OkStatus();
}

// Functions take the arguments that they know out of the map; the rest is unknown to them and must
// not be ignored (law L7).
Status NothingLeft(const Arguments& arguments, const std::string& of) {
  if (arguments.empty()) return absl::OkStatus();
  return InvalidInput("argument ", arguments.begin()->first, " is not supported for ", of);
}

}  // namespace

double ShortestDecimal(float value) {
  if (!std::isfinite(value)) return value;
  char text[64];
  // A config says 0.1 and means it; the float32 field holds 0.100000001490116. The shortest decimal
  // that reads back to the same float is what was written, and becomes the nearest double.
  const auto written = std::to_chars(text, text + sizeof(text), value);
  double result = 0;
  std::from_chars(text, written.ptr, result);
  return result;
}

namespace {

// Functions of torch.nn that cannot stand behind a layer here, and the reason.
struct RefusedActivation {
  const char* function;
  const char* reason;
};
constexpr RefusedActivation kRefusedActivations[] = {
    {"nn.GLU", "halves the width of its layer"},
    {"nn.MultiheadAttention", "is no function of one tensor"},
    {"nn.Softmax2d", "works on images"},
};

// torch.nn writes some functions in two ways, by an argument that is a word.
StatusOr<ActivationKind> KindByApproximation(ActivationKind kind, Arguments* arguments) {
  const auto it = arguments->find("approximate");
  if (kind != ActivationKind::kGelu || it == arguments->end()) return kind;
  const std::string word = it->second;
  arguments->erase(it);
  if (word == "'none'" || word == "\"none\"") return kind;
  if (word == "'tanh'" || word == "\"tanh\"") return ActivationKind::kGeluTanh;
  return InvalidInput("approximate=", word, " is neither 'none' nor 'tanh'");
}

// Leaves dim=-1, the channels, in `activation`, which works over one axis of a layer's result of
// `axes` axes. `given`: whether the config says which; torch takes the rows of three axes else.
Status TakeAxis(const std::string& name, bool given, int axes, Activation* activation) {
  const double dim = activation->parameter;
  const std::string expected = axes == 2 ? "expected dim=-1 or dim=1, the channels of a row"
                                         : "expected dim=-1 or dim=2, the channels of a position";
  if (!given && axes != 2) {
    return InvalidInput(name, " without dim works over the rows of a batch; ", expected);
  }
  if (dim != -1 && dim != axes - 1) return InvalidInput(name, "(dim=", dim, "): ", expected);
  activation->parameter = -1;
  return absl::OkStatus();
}

}  // namespace

StatusOr<Activation> ParseActivation(const std::string& text, int axes) {
  const std::string trimmed(absl::StripAsciiWhitespace(text));
  const size_t open = trimmed.find('(');
  std::string name(absl::StripAsciiWhitespace(trimmed.substr(0, open)));
  // The reference evaluates the text in Python, where both names are imported.
  if (name.starts_with("torch.nn.")) name = name.substr(std::string("torch.").size());
  Arguments arguments;
  if (open != std::string::npos) {
    if (trimmed.back() != ')') return InvalidInput("\"", text, "\" lacks the closing parenthesis");
    PEPNET_ASSIGN_OR_RETURN(arguments,
                            ParseArguments(trimmed.substr(open + 1, trimmed.size() - open - 2)));
  }
  // Does not change the result.
  if (const auto inplace = arguments.find("inplace"); inplace != arguments.end()) {
    if (inplace->second != "True" && inplace->second != "False") {
      return InvalidInput("inplace=", inplace->second, " is neither True nor False");
    }
    arguments.erase(inplace);
  }
  for (const RefusedActivation& refused : kRefusedActivations) {
    if (name == refused.function) {
      return InvalidInput(name, " ", refused.reason, "; use another activation");
    }
  }
  const std::optional<ActivationKind> named =
      FindKind<ActivationKind>(&ActivationType::function, name);
  if (!named.has_value()) {
    return InvalidInput("unknown activation \"", text, "\"; known are ",
                        ListOfKinds<ActivationKind>(&ActivationType::function, " and "));
  }
  PEPNET_ASSIGN_OR_RETURN(const ActivationKind kind, KindByApproximation(*named, &arguments));
  const ActivationType& type = TypeOf(kind);
  Activation activation = DefaultActivation(kind);
  const bool axis_given = arguments.count("dim") > 0;
  // The arguments of a type stand in the order of the two numbers.
  double* const values[] = {&activation.parameter, &activation.parameter2};
  for (size_t i = 0; i < type.arguments.size(); ++i) {
    const ActivationArgument& argument = type.arguments[i];
    if (argument.required && arguments.count(argument.name) == 0) {
      return InvalidInput(name, " needs ", argument.name, "=<number>");
    }
    PEPNET_RETURN_IF_ERROR(TakeNumber(argument.name, &arguments, values[i]));
  }
  // Whether num_parameters fits the layers is CheckWeights()' business, which knows their widths.
  if (kind == ActivationKind::kPrelu) {
    double parameters = 1;
    PEPNET_RETURN_IF_ERROR(TakeNumber("num_parameters", &arguments, &parameters));
    if (!(parameters >= 1 && parameters <= kMaxWidth && parameters == std::floor(parameters))) {
      return InvalidInput("num_parameters=", parameters, "; expected 1 or the width of the layer");
    }
    activation.weights = static_cast<int>(parameters);
  }
  if (type.mixes_channels) PEPNET_RETURN_IF_ERROR(TakeAxis(name, axis_given, axes, &activation));
  const std::string wrong = type.check != nullptr ? type.check(activation) : "";
  if (!wrong.empty()) return InvalidInput(name, " ", wrong);
  PEPNET_RETURN_IF_ERROR(NothingLeft(arguments, name));
  return activation;
}

namespace {

// torch.nn.init.calculate_gain(): by which factor a layer's outputs must be larger for their
// variance to survive the activation. `a`: the slope of leaky_relu. nullopt: torch knows no such
// activation.
std::optional<double> GainOf(const std::string& nonlinearity, double a) {
  constexpr const char* kLinear[] = {"linear",           "conv1d",          "conv2d",
                                     "conv3d",           "sigmoid",         "conv_transpose1d",
                                     "conv_transpose2d", "conv_transpose3d"};
  for (const char* linear : kLinear) {
    if (nonlinearity == linear) return 1;
  }
  if (nonlinearity == "tanh") return 5.0 / 3;
  if (nonlinearity == "relu") return std::numbers::sqrt2;
  if (nonlinearity == "leaky_relu") return std::sqrt(2 / (1 + a * a));
  if (nonlinearity == "selu") return 0.75;
  return std::nullopt;
}

// Moves argument `name`, a text in quotes, out of `arguments` into `value`; absent leaves `value`
// alone.
Status TakeText(const std::string& name, Arguments* arguments, std::string* value) {
  const auto it = arguments->find(name);
  if (it == arguments->end()) return absl::OkStatus();
  const std::string& text = it->second;
  if (text.size() < 2 || (text[0] != '\'' && text[0] != '"') || text.back() != text[0]) {
    return InvalidInput(name, "=", text, " is not a text in quotes");
  }
  *value = text.substr(1, text.size() - 2);
  arguments->erase(it);
  return absl::OkStatus();
}

// The deviation of a kaiming_ initialiser.
StatusOr<double> KaimingDeviation(double fan_in, double fan_out, Arguments* arguments) {
  double a = 0;
  std::string mode = "fan_in", nonlinearity = "leaky_relu";
  PEPNET_RETURN_IF_ERROR(TakeNumber("a", arguments, &a));
  PEPNET_RETURN_IF_ERROR(TakeText("mode", arguments, &mode));
  PEPNET_RETURN_IF_ERROR(TakeText("nonlinearity", arguments, &nonlinearity));
  if (mode != "fan_in" && mode != "fan_out") {
    return InvalidInput("mode='", mode, "'; expected 'fan_in' or 'fan_out'");
  }
  const std::optional<double> gain = GainOf(nonlinearity, a);
  if (!gain.has_value()) {
    return InvalidInput("nonlinearity='", nonlinearity,
                        "'; expected 'linear', 'sigmoid', 'tanh', 'relu', 'leaky_relu' or 'selu'");
  }
  return *gain / std::sqrt(mode == "fan_in" ? fan_in : fan_out);
}

// An initialiser whose range follows from the shape of the table; nullopt: `name` is none.
StatusOr<std::optional<Initializer>> ScaledInitializer(const std::string& name, double rows,
                                                       double dim, Arguments* arguments) {
  const bool is_xavier = name == "nn.init.xavier_uniform_" || name == "nn.init.xavier_normal_";
  const bool is_kaiming = name == "nn.init.kaiming_uniform_" || name == "nn.init.kaiming_normal_";
  if (!is_xavier && !is_kaiming) return std::nullopt;
  double deviation = 0;
  if (is_xavier) {
    double gain = 1;
    PEPNET_RETURN_IF_ERROR(TakeNumber("gain", arguments, &gain));
    if (gain < 0) return InvalidInput(name, " needs gain >= 0, got ", gain);
    // A uniform distribution on [-b, b] has the deviation b / sqrt(3): hence `bound` below.
    deviation = gain * std::sqrt(2 / (dim + rows));
  } else {
    PEPNET_ASSIGN_OR_RETURN(deviation, KaimingDeviation(dim, rows, arguments));
  }
  PEPNET_RETURN_IF_ERROR(NothingLeft(*arguments, name));
  if (name == "nn.init.xavier_normal_" || name == "nn.init.kaiming_normal_") {
    return Initializer{InitKind::kNormal, 0, deviation};
  }
  const double bound = std::sqrt(3.0) * deviation;
  return Initializer{InitKind::kUniform, -bound, bound};
}

}  // namespace

StatusOr<Initializer> ParseInitializer(const std::string& text, int64_t rows, int dim) {
  const size_t comma = text.find(',');
  const std::string name(absl::StripAsciiWhitespace(text.substr(0, comma)));
  PEPNET_ASSIGN_OR_RETURN(Arguments arguments,
                          ParseArguments(comma == std::string::npos ? "" : text.substr(comma + 1)));
  for (const InitKind kind : AllKinds<InitKind>()) {
    const InitializerType& type = TypeOf(kind);
    if (type.function == nullptr || name != type.function) continue;
    Initializer init = type.defaults;
    double* const values[] = {&init.a, &init.b, &init.low, &init.high};
    for (int i = 0; i < 4; ++i) {
      if (type.arguments[i] == nullptr) continue;
      if (i < type.required && arguments.count(type.arguments[i]) == 0) {
        return InvalidInput(name, " needs ", type.arguments[i], "=<number>");
      }
      PEPNET_RETURN_IF_ERROR(TakeNumber(type.arguments[i], &arguments, values[i]));
    }
    const std::string wrong = type.check != nullptr ? type.check(init) : "";
    if (!wrong.empty()) return InvalidInput(name, " ", wrong);
    PEPNET_RETURN_IF_ERROR(NothingLeft(arguments, name));
    return init;
  }
  // Two names for a constant, which need no kind of their own in plans and checkpoints.
  if (name == "nn.init.zeros_" || name == "nn.init.ones_") {
    PEPNET_RETURN_IF_ERROR(NothingLeft(arguments, name));
    return Initializer{InitKind::kConstant, name == "nn.init.ones_" ? 1.0 : 0.0, 0};
  }
  PEPNET_ASSIGN_OR_RETURN(const std::optional<Initializer> scaled,
                          ScaledInitializer(name, static_cast<double>(std::max<int64_t>(rows, 1)),
                                            std::max(dim, 1), &arguments));
  if (scaled.has_value()) return *scaled;
  if (name == "nn.init.orthogonal_") {
    return InvalidInput(
        name,
        " makes the rows of the whole table depend on each other, but a row begins with a function "
        "of its own id; use nn.init.xavier_normal_ or nn.init.normal_,std=");
  }
  if (name == "nn.init.dirac_") {
    return InvalidInput(
        name, " is of convolutions, with 3 to 5 dimensions, but a table has 2; use nn.init.eye_");
  }
  return InvalidInput(
      "unknown initialiser \"", text,
      "\"; known are nn.init.uniform_,a=,b= nn.init.normal_,mean=,std= nn.init.constant_,val= "
      "nn.init.zeros_ nn.init.ones_ nn.init.trunc_normal_,mean=,std=,a=,b= "
      "nn.init.xavier_uniform_,gain= nn.init.xavier_normal_,gain= "
      "nn.init.kaiming_uniform_,a=,mode=,nonlinearity= "
      "nn.init.kaiming_normal_,a=,mode=,nonlinearity= "
      "nn.init.eye_ and nn.init.sparse_,sparsity=,std=");
}

namespace {

// The formula behind "method=expression,expr=", in any spacing; nullopt: it is another method.
std::optional<std::string> FormulaIn(const std::string& text) {
  std::string_view rest = text;
  const auto take = [&rest](std::string_view word) {
    while (!rest.empty() && absl::ascii_isspace(rest[0])) rest.remove_prefix(1);
    if (rest.substr(0, word.size()) != word) return false;
    rest.remove_prefix(word.size());
    return true;
  };
  for (const char* word : {"method", "=", "expression", ",", "expr", "="}) {
    if (!take(word)) return std::nullopt;
  }
  return std::string(rest);
}

}  // namespace

StatusOr<Normalizer> ParseNormalizer(const std::string& text) {
  // Formulas go first: their commas and equal signs would confuse ParseArguments().
  if (const std::optional<std::string> formula = FormulaIn(text); formula.has_value()) {
    Normalizer normalizer;
    normalizer.kind = NormalizerKind::kExpression;
    PEPNET_ASSIGN_OR_RETURN(normalizer.expression, Expression::Parse(*formula, {"x"}));
    if (!normalizer.expression.reads_cells()) return normalizer;
    return InvalidInput(
        "the formula \"", Printable(*formula, 200),
        "\" holds a function of whole cells; a normalizer computes one value at a time");
  }
  PEPNET_ASSIGN_OR_RETURN(Arguments arguments, ParseArguments(text));
  // A missing method is "", which is no normalizer and is refused below with the list of all.
  const std::string method = arguments["method"];
  arguments.erase("method");
  const std::optional<NormalizerKind> kind =
      FindKind<NormalizerKind>(&NormalizerType::name, method);
  if (!kind.has_value() || *kind == NormalizerKind::kNone) {
    std::vector<std::string> names;
    for (const NormalizerKind known : AllKinds<NormalizerKind>()) {
      if (known != NormalizerKind::kNone) names.emplace_back(TypeOf(known).name);
    }
    return InvalidInput("normalizer \"", text, "\" is not supported; method is ",
                        JoinNames(names, " or "));
  }
  if (*kind == NormalizerKind::kExpression) {
    return InvalidInput("\"", text,
                        "\" has no formula; expected method=expression,expr=<formula of x>");
  }
  const NormalizerType& type = TypeOf(*kind);
  Normalizer normalizer;
  normalizer.kind = *kind;
  double* const values[] = {&normalizer.a, &normalizer.b};
  for (int i = 0; i < 2; ++i) {
    if (arguments.count(type.arguments[i]) == 0) {
      return InvalidInput("method=", method, " needs ", type.arguments[i], "=<number>");
    }
    PEPNET_RETURN_IF_ERROR(TakeNumber(type.arguments[i], &arguments, values[i]));
  }
  const std::string wrong = type.check(normalizer);
  if (!wrong.empty()) return InvalidInput("method=", method, " ", wrong);
  PEPNET_RETURN_IF_ERROR(NothingLeft(arguments, absl::StrCat("method=", method)));
  return normalizer;
}

}  // namespace pepnet
