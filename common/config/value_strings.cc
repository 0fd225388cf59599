#include "common/config/value_strings.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace pepnet {
namespace {

using Arguments = std::map<std::string, std::string>;

// "a=1,b=2" -> {a: 1, b: 2}; an argument without name or given twice is an error.
StatusOr<Arguments> ParseArguments(const std::string& text) {
  Arguments arguments;
  if (absl::StripAsciiWhitespace(text).empty()) return arguments;
  for (const auto& part : absl::StrSplit(text, ',')) {
    const std::string piece(absl::StripAsciiWhitespace(part));
    const size_t equal = piece.find('=');
    if (equal == std::string::npos) return InvalidInput("\"", piece, "\" is not of the form name=value");
    const std::string name(absl::StripAsciiWhitespace(piece.substr(0, equal)));
    const std::string value(absl::StripAsciiWhitespace(piece.substr(equal + 1)));
    if (!arguments.emplace(name, value).second) return InvalidInput("argument ", name, " is given twice");
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

Status NothingLeft(const Arguments& arguments, const std::string& of) {
  if (arguments.empty()) return absl::OkStatus();
  return InvalidInput("argument ", arguments.begin()->first, " is not supported for ", of);
}

}  // namespace

double ShortestDecimal(float value) {
  if (!std::isfinite(value)) return value;
  char text[64];
  const auto written = std::to_chars(text, text + sizeof(text), value);
  double result = 0;
  std::from_chars(text, written.ptr, result);
  return result;
}

StatusOr<Activation> ParseActivation(const std::string& text) {
  const std::string trimmed(absl::StripAsciiWhitespace(text));
  const size_t open = trimmed.find('(');
  const std::string name(absl::StripAsciiWhitespace(trimmed.substr(0, open)));
  Arguments arguments;
  if (open != std::string::npos) {
    if (trimmed.back() != ')') return InvalidInput("\"", text, "\" lacks the closing parenthesis");
    PEPNET_ASSIGN_OR_RETURN(arguments, ParseArguments(trimmed.substr(open + 1, trimmed.size() - open - 2)));
  }
  arguments.erase("inplace");  // does not change the result
  Activation activation;
  if (name == "nn.ReLU") {
    activation.kind = ActivationKind::kRelu;
  } else if (name == "nn.Sigmoid") {
    activation.kind = ActivationKind::kSigmoid;
  } else if (name == "nn.Tanh") {
    activation.kind = ActivationKind::kTanh;
  } else if (name == "nn.SiLU") {
    activation.kind = ActivationKind::kSilu;
  } else if (name == "nn.Identity") {
    activation.kind = ActivationKind::kIdentity;
  } else if (name == "nn.GELU") {
    activation.kind = ActivationKind::kGelu;
    const auto it = arguments.find("approximate");
    if (it != arguments.end() && (it->second == "'none'" || it->second == "\"none\"")) arguments.erase(it);
  } else if (name == "nn.LeakyReLU") {
    activation.kind = ActivationKind::kLeakyRelu;
    activation.parameter = 0.01;
    PEPNET_RETURN_IF_ERROR(TakeNumber("negative_slope", &arguments, &activation.parameter));
  } else if (name == "nn.ELU") {
    activation.kind = ActivationKind::kElu;
    activation.parameter = 1;
    PEPNET_RETURN_IF_ERROR(TakeNumber("alpha", &arguments, &activation.parameter));
  } else if (name == "nn.PReLU") {
    activation.kind = ActivationKind::kPrelu;
    activation.parameter = 0.25;
    double parameters = 1;
    PEPNET_RETURN_IF_ERROR(TakeNumber("init", &arguments, &activation.parameter));
    PEPNET_RETURN_IF_ERROR(TakeNumber("num_parameters", &arguments, &parameters));
    if (parameters != 1) return InvalidInput("nn.PReLU has one weight here; remove num_parameters");
  } else if (name == "Dice") {
    return InvalidInput("activation Dice is not supported; use nn.PReLU or another of torch.nn");
  } else {
    return InvalidInput("unknown activation \"", text,
                        "\"; known are nn.ReLU, nn.Sigmoid, nn.Tanh, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.Identity, "
                        "nn.ELU and nn.PReLU");
  }
  PEPNET_RETURN_IF_ERROR(NothingLeft(arguments, name));
  return activation;
}

StatusOr<Initializer> ParseInitializer(const std::string& text) {
  const size_t comma = text.find(',');
  const std::string name(absl::StripAsciiWhitespace(text.substr(0, comma)));
  PEPNET_ASSIGN_OR_RETURN(Arguments arguments,
                          ParseArguments(comma == std::string::npos ? "" : text.substr(comma + 1)));
  Initializer init;
  if (name == "nn.init.uniform_") {
    init = {InitKind::kUniform, 0, 1};
    PEPNET_RETURN_IF_ERROR(TakeNumber("a", &arguments, &init.a));
    PEPNET_RETURN_IF_ERROR(TakeNumber("b", &arguments, &init.b));
    if (init.a > init.b) return InvalidInput("nn.init.uniform_ needs a <= b, got a=", init.a, ", b=", init.b);
  } else if (name == "nn.init.normal_") {
    init = {InitKind::kNormal, 0, 1};
    PEPNET_RETURN_IF_ERROR(TakeNumber("mean", &arguments, &init.a));
    PEPNET_RETURN_IF_ERROR(TakeNumber("std", &arguments, &init.b));
    if (init.b < 0) return InvalidInput("nn.init.normal_ needs std >= 0, got ", init.b);
  } else if (name == "nn.init.constant_") {
    if (arguments.count("val") == 0) return InvalidInput("nn.init.constant_ needs val=<number>");
    init = {InitKind::kConstant, 0, 0};
    PEPNET_RETURN_IF_ERROR(TakeNumber("val", &arguments, &init.a));
  } else if (name == "nn.init.zeros_" || name == "nn.init.ones_") {
    init = {InitKind::kConstant, name == "nn.init.ones_" ? 1.0 : 0.0, 0};
  } else {
    return InvalidInput("unknown initialiser \"", text,
                        "\"; known are nn.init.uniform_,a=,b= nn.init.normal_,mean=,std= nn.init.constant_,val= "
                        "nn.init.zeros_ and nn.init.ones_");
  }
  PEPNET_RETURN_IF_ERROR(NothingLeft(arguments, name));
  return init;
}

StatusOr<Normalizer> ParseNormalizer(const std::string& text) {
  PEPNET_ASSIGN_OR_RETURN(Arguments arguments, ParseArguments(text));
  const std::string method = arguments["method"];
  arguments.erase("method");
  Normalizer normalizer;
  const auto take = [&](const char* name, double* value) {
    if (arguments.count(name) == 0) return InvalidInput("method=", method, " needs ", name, "=<number>");
    return TakeNumber(name, &arguments, value);
  };
  if (method == "log10") {
    normalizer.kind = NormalizerKind::kLog10;
    PEPNET_RETURN_IF_ERROR(take("threshold", &normalizer.a));
    PEPNET_RETURN_IF_ERROR(take("default", &normalizer.b));
    if (normalizer.a < 0) return InvalidInput("method=log10 needs threshold >= 0, got ", normalizer.a);
  } else if (method == "zscore") {
    normalizer.kind = NormalizerKind::kZscore;
    PEPNET_RETURN_IF_ERROR(take("mean", &normalizer.a));
    PEPNET_RETURN_IF_ERROR(take("standard_deviation", &normalizer.b));
    if (normalizer.b == 0) return InvalidInput("method=zscore needs a standard_deviation other than 0");
  } else if (method == "minmax") {
    normalizer.kind = NormalizerKind::kMinmax;
    PEPNET_RETURN_IF_ERROR(take("min", &normalizer.a));
    PEPNET_RETURN_IF_ERROR(take("max", &normalizer.b));
    if (normalizer.a == normalizer.b) return InvalidInput("method=minmax needs min and max to differ");
  } else {
    return InvalidInput("normalizer \"", text, "\" is not supported; method is log10, zscore or minmax");
  }
  PEPNET_RETURN_IF_ERROR(NothingLeft(arguments, absl::StrCat("method=", method)));
  return normalizer;
}

}  // namespace pepnet
