// Numbers as text, read strictly: the whole text is the number, no blanks, no leading '+'.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace pepnet {

enum class NumberText { kOk, kNotANumber, kTooLarge };

// A decimal integer ("7", "007", "-1"). kTooLarge: an integer beyond 64 bits.
NumberText ParseInteger(std::string_view text, int64_t* value);

// A decimal number ("0.5", "-1e3"). "nan" and "inf" are kNotANumber; a magnitude beyond double is
// kTooLarge, one below it is 0.
NumberText ParseReal(std::string_view text, double* value);

// ParseReal(), or an error that quotes the text.
StatusOr<double> ReadReal(std::string_view text);

// The remedy for a text that is no number, to stand behind the sentence that says so: blanks around
// a number, a word for a value that is missing. "" for anything else.
std::string NumberRemedy(std::string_view text);

// `text` in single quotes for a message: control characters escaped, long text cut.
std::string QuoteCell(std::string_view text);

}  // namespace pepnet
