// Typing errors: which known name was meant.
#pragma once

#include <string>
#include <vector>

namespace pepnet {

// Of `candidates` the one with the fewest single-letter edits from `name`, if it is close enough to
// be a likely typing error; "" otherwise.
std::string NearestName(const std::string& name, const std::vector<std::string>& candidates);

// " (did you mean \"x\"?)" or "".
std::string Suggestion(const std::string& name, const std::vector<std::string>& candidates);

}  // namespace pepnet
