// Paths of the checkout and its build. Compiled once, so that the compiler cache knows every other
// file of the tests from a checkout in another place.
#pragma once

#include <string>

namespace pepnet {

std::string SourceDir();  // the repository's root
std::string BinaryDir();  // holds pepnet and pepnet_ps

}  // namespace pepnet
