// Plain logging functions for files that include torch (see common/base/logging.h).
#pragma once

#include <string>

namespace pepnet {

// For whoever asked for --verbose.
void LogVerbose(const std::string& message);
bool LogsVerbosely();
void LogInfo(const std::string& message);
// The same with the line ends in `message`: a table, say.
void LogLines(const std::string& message);
void LogWarning(const std::string& message);
void LogError(const std::string& message);
// Ends the process with the message if `condition` is false: only for our own bugs.
void CheckOrDie(bool condition, const std::string& message);

}  // namespace pepnet
