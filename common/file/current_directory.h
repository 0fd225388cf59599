// The addition to a message about a relative path that leads nowhere.
#pragma once

#include <string>

namespace pepnet {

// " (the current directory is '/home/me')"; empty for an absolute path.
std::string CurrentDirectoryNote(const std::string& path);

}  // namespace pepnet
