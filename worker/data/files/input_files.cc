#include "worker/data/files/input_files.h"

#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "common/file/current_directory.h"
#include "common/job_config/job_config.h"

namespace pepnet {
namespace {

std::string_view BaseName(std::string_view path) { return path.substr(path.find_last_of('/') + 1); }

// Appends the files that one element of the comma list stands for.
Status Expand(const std::string& pattern, std::vector<std::string>* paths) {
  // A path that exists is taken literally before it is looked at as a pattern: names may hold
  // brackets.
  struct stat info;
  const bool exists = stat(pattern.c_str(), &info) == 0;
  if (exists && S_ISDIR(info.st_mode)) {
    return InvalidInput("input path '", pattern, "' is a directory; name its files, for example '",
                        pattern, "/*'");
  }
  if (exists && !S_ISREG(info.st_mode)) {
    return InvalidInput(
        "input path '", pattern,
        "' is not a regular file; data are read more than once, so write them to one");
  }
  if (exists) {
    paths->push_back(pattern);
    return absl::OkStatus();
  }
  if (pattern.find("://") != std::string::npos) {
    return InvalidInput(
        "input path '", pattern,
        "' is an address; only files are read: mount the storage, or copy the files to a disk");
  }
  if (pattern.find_first_of("*?[") == std::string::npos) {
    const int error = errno;
    return absl::NotFoundError(absl::StrCat("input path '", pattern, "' cannot be read: ",
                                            std::strerror(error), CurrentDirectoryNote(pattern)));
  }
  glob_t found;
  std::memset(&found, 0, sizeof(found));
  // With GLOB_ERR, a directory that cannot be read is an error and not a smaller set of files (law
  // L7).
  const int rc = glob(pattern.c_str(), GLOB_ERR | GLOB_MARK, nullptr, &found);
  Status status;
  if (rc == GLOB_NOMATCH) {
    status = absl::NotFoundError(absl::StrCat("no file matches the input pattern '", pattern, "'",
                                              CurrentDirectoryNote(pattern)));
  } else if (rc != 0) {
    status = absl::UnavailableError(absl::StrCat(
        "input pattern '", pattern, "' cannot be expanded: one of its directories is not there or ",
        "cannot be read", CurrentDirectoryNote(pattern)));
  }
  // Names that begin with "_" say how others were written (_SUCCESS, _metadata); they are no data
  // unless a pattern asks for them.
  const bool asks = BaseName(pattern).substr(0, 1) == "_";
  size_t passed_over = 0;
  for (size_t i = 0; status.ok() && i < found.gl_pathc; ++i) {
    const std::string path = found.gl_pathv[i];
    if (!asks && BaseName(path).substr(0, 1) == "_" && ++passed_over > 0) continue;
    if (path.back() == '/') {
      status = InvalidInput("input pattern '", pattern, "' matches the directory '", path,
                            "'; match only files");
    } else {
      paths->push_back(path);
    }
  }
  if (status.ok() && passed_over > 0 && passed_over == found.gl_pathc) {
    status = absl::NotFoundError(
        absl::StrCat("the input pattern '", pattern,
                     "' matches only names that begin with \"_\", which are no data"));
  }
  globfree(&found);
  return status;
}

bool EndsWith(std::string_view text, std::string_view ending) {
  return text.size() >= ending.size() && text.substr(text.size() - ending.size()) == ending;
}

StatusOr<DatasetType> TypeByEnding(const std::vector<std::string>& paths,
                                   const std::string& type_name) {
  const std::vector<DatasetType> types = AllKinds<DatasetType>();
  std::vector<size_t> files(types.size(), 0);  // by type
  for (const std::string& path : paths) {
    const auto found = std::find_if(types.begin(), types.end(), [&](DatasetType type) {
      return EndsWith(path, TypeOf(type).ending);
    });
    if (found == types.end()) {
      return InvalidInput("dataset_type ", type_name, " leaves the file type to the paths, and '",
                          path, "' ends neither in ",
                          ListOfKinds<DatasetType>(&FileFormatType::ending, " nor in "),
                          "; rename it or set dataset_type");
    }
    ++files[found - types.begin()];
  }
  std::vector<std::string> mixed;
  for (size_t i = 0; i < types.size(); ++i) {
    if (files[i] > 0) mixed.push_back(absl::StrCat(files[i], " ", TypeOf(types[i]).ending));
  }
  if (mixed.size() > 1) {
    return InvalidInput("dataset_type ", type_name,
                        " leaves the file type to the paths, and they mix ",
                        JoinNames(mixed, " and "), " files (first '", paths.front(), "', last '",
                        paths.back(), "'); give files of one type");
  }
  return types[std::find_if(files.begin(), files.end(), [](size_t count) { return count > 0; }) -
               files.begin()];
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
    // Most likely the name of a table in a system we do not read.
    if (!expanded.ok() && !type.has_value()) {
      return Annotate(expanded,
                      absl::StrCat("dataset_type ", type_name, " is not read; give ",
                                   ListOfKinds<DatasetType>(&FileFormatType::ending, " or "),
                                   " files on the command line"));
    }
    PEPNET_RETURN_IF_ERROR(expanded);
  }
  if (files.paths.empty()) return InvalidInput("the input path '", input_path, "' names no file");
  // The paths are sorted, so that all workers read the files in one order however they were listed.
  std::sort(files.paths.begin(), files.paths.end());
  // Files are told apart by device and inode: under two names, or through a link, one would be
  // trained twice.
  std::map<std::pair<dev_t, ino_t>, const std::string*> seen;  // one file may have several names
  for (const std::string& path : files.paths) {
    struct stat info;
    if (stat(path.c_str(), &info) != 0) continue;  // the reader says what is wrong with it
    const auto [other, is_new] = seen.emplace(std::pair(info.st_dev, info.st_ino), &path);
    if (is_new) continue;
    return InvalidInput(
        "the input path '", input_path, "' names the file '", path, "' more than once",
        *other->second == path ? "" : absl::StrCat(", the other time as '", *other->second, "'"));
  }
  return InputFilesOf(std::move(files.paths), type, type_name);
}

StatusOr<InputFiles> FindJobFiles(const JobConfig& config, const std::string& input_path) {
  StatusOr<InputFiles> files =
      FindInputFiles(input_path, config.data.dataset_type, config.data.dataset_type_name);
  if (files.ok()) return files;
  if (input_path == config.train_input_path) return Annotate(files.status(), "train_input_path");
  if (input_path == config.eval_input_path) return Annotate(files.status(), "eval_input_path");
  return files;
}

StatusOr<InputFiles> InputFilesOf(std::vector<std::string> paths, std::optional<DatasetType> type,
                                  const std::string& type_name) {
  InputFiles files;
  files.paths = std::move(paths);
  if (type.has_value()) {
    files.type = *type;
  } else {
    PEPNET_ASSIGN_OR_RETURN(files.type, TypeByEnding(files.paths, type_name));
  }
  return files;
}

}  // namespace pepnet
