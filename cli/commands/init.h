// init: looks at data files and writes a config that trains at once. The work is that of the Python
// package (python/pepnet_trainer/suggest.py); the program becomes it.
#pragma once

#include "common/base/status.h"

namespace pepnet {

// Replaces this process by `pepnet_trainer`'s init with the arguments behind "init". Returns only
// with an error: the package or a Python for it is not found beside the program. The interpreter is
// $PEPNET_PYTHON if set, else that of the sources' .venv, else python3 of PATH.
Status BecomeInit(int argc, char** argv);

}  // namespace pepnet
