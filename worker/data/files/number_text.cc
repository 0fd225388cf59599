#include "worker/data/files/number_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace pepnet {

NumberText ParseInteger(std::string_view text, int64_t* value) {
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, *value);
  // from_chars() takes no blanks, no "+" and no locale: "1 " and "1,5" are not numbers on any
  // machine.
  if (error == std::errc::invalid_argument || stop != end) return NumberText::kNotANumber;
  return error == std::errc() ? NumberText::kOk : NumberText::kTooLarge;
}

NumberText ParseReal(std::string_view text, double* value) {
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, *value);
  if (error == std::errc::invalid_argument || stop != end) return NumberText::kNotANumber;
  if (error == std::errc::result_out_of_range) {
    // from_chars does not say whether the magnitude is too large or too small.
    *value = std::strtod(std::string(text).c_str(), nullptr);
    return std::isfinite(*value) ? NumberText::kOk : NumberText::kTooLarge;
  }
  // "nan" and "inf" parse, and are not data.
  return std::isfinite(*value) ? NumberText::kOk : NumberText::kNotANumber;
}

StatusOr<double> ReadReal(std::string_view text) {
  double value = 0;
  switch (ParseReal(text, &value)) {
    case NumberText::kOk:
      return value;
    case NumberText::kTooLarge:
      return InvalidInput(QuoteCell(text), " is too large for a number");
    case NumberText::kNotANumber:
      break;
  }
  return InvalidInput(QuoteCell(text), " is not a finite decimal number", NumberRemedy(text));
}

std::string NumberRemedy(std::string_view text) {
  double value = 0;
  const absl::string_view stripped =
      absl::StripAsciiWhitespace(absl::string_view(text.data(), text.size()));
  if (stripped.size() < text.size()) {
    const bool number =
        ParseReal(std::string_view(stripped.data(), stripped.size()), &value) == NumberText::kOk;
    return stripped.empty() ? "; it is blanks only: a cell without a value is empty"
           : number         ? "; it has blanks around it: remove them from the data"
                            : "";
  }
  static constexpr std::string_view kMissing[] = {"na",   "n/a",  "#n/a", "#na",  "nan",
                                                  "-nan", "null", "none", "<na>", "nil",
                                                  "\\n",  "-",    "?",    "."};
  const std::string lower = absl::AsciiStrToLower(stripped);
  if (std::find(std::begin(kMissing), std::end(kMissing), lower) == std::end(kMissing)) return "";
  return "; a cell without a value is empty, so write nothing where a value is missing";
}

std::string QuoteCell(std::string_view text) {
  constexpr size_t kShown = 60;
  const std::string shown =
      absl::Utf8SafeCEscape(absl::string_view(text.data(), std::min(text.size(), kShown)));
  return absl::StrCat("'", shown, text.size() > kShown ? "..." : "", "'");
}

}  // namespace pepnet
