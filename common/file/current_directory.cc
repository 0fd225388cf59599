#include "common/file/current_directory.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace pepnet {

std::string CurrentDirectoryNote(const std::string& path) {
  if (path.starts_with('/')) return "";
  std::error_code error;
  const std::filesystem::path here = std::filesystem::current_path(error);
  return error ? "" : absl::StrCat(" (the current directory is '", here.string(), "')");
}

}  // namespace pepnet
