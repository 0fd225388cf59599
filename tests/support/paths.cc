#include "tests/support/paths.h"

namespace pepnet {

std::string SourceDir() { return PEPNET_SOURCE_DIR; }
std::string BinaryDir() { return PEPNET_BINARY_DIR; }

}  // namespace pepnet
