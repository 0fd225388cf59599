// Standard output is a result like a file: what does not arrive there is an error.
#pragma once

#include "common/base/status.h"

namespace pepnet {

// To be called first. Writing to a pipe that nobody reads, or to a file at the limit of its size,
// becomes an error. Gives closed standard streams a descriptor, so that no file of the program
// becomes number 0, 1 or 2; writing to a standard output that was closed fails.
void HoldStandardStreams();

// Flushes standard output. Unavailable if anything that was written there is lost.
Status CheckStandardOutput();

}  // namespace pepnet
