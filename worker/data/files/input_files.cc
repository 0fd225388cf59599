#include "worker/data/files/input_files.h"

#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"

namespace pepnet {
namespace {

// Appends the files that one element of the comma list stands for.
Status Expand(const std::string& pattern, std::vector<std::string>* paths) {
  struct stat info;
  const bool exists = stat(pattern.c_str(), &info) == 0;
  if (exists && S_ISDIR(info.st_mode)) {
    return InvalidInput("input path '", pattern, "' is a directory; name its files, for example '", pattern, "/*'");
  }
  if (exists && !S_ISREG(info.st_mode)) {
    return InvalidInput("input path '", pattern,
                        "' is not a regular file; data are read more than once, so write them to one");
  }
  if (exists) {
    paths->push_back(pattern);
    return absl::OkStatus();
  }
  if (pattern.find_first_of("*?[") == std::string::npos) {
    return absl::NotFoundError(absl::StrCat("input path '", pattern, "' cannot be read: ", std::strerror(errno)));
  }
  glob_t found;
  std::memset(&found, 0, sizeof(found));
  const int rc = glob(pattern.c_str(), GLOB_ERR | GLOB_MARK, nullptr, &found);
  Status status;
  if (rc == GLOB_NOMATCH) {
    status = absl::NotFoundError(absl::StrCat("no file matches the input pattern '", pattern, "'"));
  } else if (rc != 0) {
    status = absl::UnavailableError(
        absl::StrCat("input pattern '", pattern, "' cannot be expanded: a directory cannot be read"));
  }
  for (size_t i = 0; status.ok() && i < found.gl_pathc; ++i) {
    const std::string path = found.gl_pathv[i];
    if (path.back() == '/') {
      status = InvalidInput("input pattern '", pattern, "' matches the directory '", path, "'; match only files");
    } else {
      paths->push_back(path);
    }
  }
  globfree(&found);
  return status;
}

bool EndsWith(std::string_view text, std::string_view ending) {
  return text.size() >= ending.size() && text.substr(text.size() - ending.size()) == ending;
}

StatusOr<DatasetType> TypeByEnding(const std::vector<std::string>& paths, const std::string& type_name) {
  const std::vector<DatasetType> types = AllKinds<DatasetType>();
  std::vector<size_t> files(types.size(), 0);  // by type
  for (const std::string& path : paths) {
    const auto found =
        std::find_if(types.begin(), types.end(), [&](DatasetType type) { return EndsWith(path, TypeOf(type).ending); });
    if (found == types.end()) {
      return InvalidInput("dataset_type ", type_name, " leaves the file type to the paths, and '", path,
                          "' ends neither in ", ListOfKinds<DatasetType>(&FileFormatType::ending, " nor in "),
                          "; rename it or set dataset_type");
    }
    ++files[found - types.begin()];
  }
  std::vector<std::string> mixed;
  for (size_t i = 0; i < types.size(); ++i) {
    if (files[i] > 0) mixed.push_back(absl::StrCat(files[i], " ", TypeOf(types[i]).ending));
  }
  if (mixed.size() > 1) {
    return InvalidInput("dataset_type ", type_name, " leaves the file type to the paths, and they mix ",
                        JoinNames(mixed, " and "), " files (first '", paths.front(), "', last '", paths.back(),
                        "'); give files of one type");
  }
  return types[std::find_if(files.begin(), files.end(), [](size_t count) { return count > 0; }) - files.begin()];
}

}  // namespace

StatusOr<InputFiles> FindInputFiles(const std::string& input_path, std::optional<DatasetType> type,
                                    const std::string& type_name) {
  InputFiles files;
  const std::vector<std::string> patterns = absl::StrSplit(input_path, ',');
  for (const std::string& raw : patterns) {
    const std::string pattern(absl::StripAsciiWhitespace(raw));
    if (pattern.empty()) continue;  // a trailing comma
    const Status expanded = Expand(pattern, &files.paths);
    if (!expanded.ok() && !type.has_value()) {  // most likely the name of a table in a system we do not read
      return Annotate(expanded, absl::StrCat("dataset_type ", type_name, " is not read; give ",
                                             ListOfKinds<DatasetType>(&FileFormatType::ending, " or "),
                                             " files on the command line"));
    }
    PEPNET_RETURN_IF_ERROR(expanded);
  }
  if (files.paths.empty()) return InvalidInput("the input path '", input_path, "' names no file");
  std::sort(files.paths.begin(), files.paths.end());
  const auto twice = std::adjacent_find(files.paths.begin(), files.paths.end());
  if (twice != files.paths.end()) {
    return InvalidInput("the input path '", input_path, "' names the file '", *twice, "' more than once");
  }
  if (type.has_value()) {
    files.type = *type;
  } else {
    PEPNET_ASSIGN_OR_RETURN(files.type, TypeByEnding(files.paths, type_name));
  }
  return files;
}

}  // namespace pepnet
