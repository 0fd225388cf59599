#include "worker/eval/prediction_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "common/base/text.h"
#include "common/checkpoint/strict_json.h"
#include "common/file/file.h"

namespace pepnet {
namespace {

// The list of what predictions have written into the directory (format in the header). What is not
// on it belongs to somebody else and is never touched.
constexpr char kManifest[] = "_pepnet_prediction.json";
constexpr char kFormat[] = "pepnet prediction";
constexpr char kWriting[] = ".writing";
constexpr int64_t kMaxManifestBytes = int64_t{64} << 20;

// "part-00012.parquet", of any number of workers.
bool IsPartName(const std::string& name) {
  const size_t dot = name.find('.');
  if (!absl::StartsWith(name, "part-") || dot == std::string::npos || dot < 10) return false;
  // Names of the list are paths to remove, so they must have exactly this form: no slash, no "..".
  if (name.find_first_not_of("0123456789", 5) != dot) return false;
  const std::string ending = name.substr(dot);
  return ending == ".parquet" || ending == ".csv";
}

// The list as it stands in the file. `writing`: the directory of a prediction under way, or of one
// that was killed.
struct Contents {
  std::vector<PredictionDirectory::Part> parts;
  std::string writing;
  bool complete = false;
};

StatusOr<Contents> Parse(const std::string& text) {
  PEPNET_ASSIGN_OR_RETURN(const nlohmann::json json, ParseStrictJson(text));
  PEPNET_ASSIGN_OR_RETURN(const std::string format, JsonString(json, "format"));
  if (format != kFormat) return absl::DataLossError("it is not of a prediction");
  Contents contents;
  PEPNET_ASSIGN_OR_RETURN(contents.writing, JsonString(json, "writing"));
  if (!contents.writing.empty() && !IsTemporaryNameOf(contents.writing, kWriting)) {
    return absl::DataLossError("\"writing\" names no directory of a prediction");
  }
  const auto complete = json.find("complete");
  contents.complete = complete != json.end() && *complete == true;
  const auto list = json.find("parts");
  if (list == json.end() || !list->is_array()) {
    return absl::DataLossError("\"parts\" is missing or not a list");
  }
  for (const auto& item : *list) {
    PredictionDirectory::Part part;
    PEPNET_ASSIGN_OR_RETURN(part.file, JsonString(item, "file"));
    PEPNET_ASSIGN_OR_RETURN(part.bytes, JsonInteger(item, "bytes", 0, INT64_MAX));
    if (!IsPartName(part.file)) {
      return absl::DataLossError(absl::StrCat("\"", Printable(part.file), "\" is no part"));
    }
    contents.parts.push_back(std::move(part));
  }
  return contents;
}

bool IsListed(const std::vector<PredictionDirectory::Part>& parts, const std::string& name,
              int64_t bytes) {
  return std::any_of(parts.begin(), parts.end(),
                     [&](const auto& p) { return p.file == name && p.bytes == bytes; });
}

// True for a regular file of a size that `parts` lists under its name.
bool IsOwn(const std::vector<PredictionDirectory::Part>& parts, const std::string& directory,
           const std::string& name) {
  struct stat info;
  // lstat() and not stat(): a link that has taken the name is not ours. The size tells a file that
  // somebody has changed.
  return lstat(absl::StrCat(directory, "/", name).c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
         IsListed(parts, name, info.st_size);
}

// A lock that goes with the descriptor; none where the file system has none. flock() ends with the
// process, so a killed prediction leaves no lock behind.
StatusOr<OwnedFd> Lock(const std::string& path) {
  OwnedFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  if (errno != EWOULDBLOCK) return OwnedFd();
  return absl::FailedPreconditionError(absl::StrCat("another prediction is being written into ",
                                                    path,
                                                    "; wait for it, or choose another directory"));
}

}  // namespace

StatusOr<std::unique_ptr<PredictionDirectory>> PredictionDirectory::Enter(const std::string& path,
                                                                          bool overwrite) {
  const bool made = !PathExists(path);
  PEPNET_RETURN_IF_ERROR(MakeDirectories(path));
  PEPNET_ASSIGN_OR_RETURN(OwnedFd lock, Lock(path));
  std::unique_ptr<PredictionDirectory> directory(new PredictionDirectory(path, std::move(lock)));
  directory->made_directory_ = made;
  PEPNET_RETURN_IF_ERROR(directory->Read(overwrite));
  PEPNET_ASSIGN_OR_RETURN(ScratchDirectory writing,
                          ScratchDirectory::MakeBeside(absl::StrCat(path, "/", kWriting)));
  const std::string name = writing.path().substr(path.size() + 1);
  // The list names the scratch directory before anything is written there: a prediction that is
  // killed leaves nothing that the next one does not know as its own.
  PEPNET_RETURN_IF_ERROR(directory->Write(directory->earlier_complete_, directory->earlier_, name));
  directory->writing_ = writing.path();
  writing.Release();
  return directory;
}

PredictionDirectory::~PredictionDirectory() {
  // A prediction that failed leaves the directory as it was, but for parts that already have their
  // names.
  if (!published_ && !writing_.empty()) {
    RemoveTree(writing_).IgnoreError();
    // Parts that were renamed so far stay listed.
    if (parts_.empty() && earlier_.empty()) {
      unlink(absl::StrCat(path_, "/", kManifest).c_str());
    } else {
      std::vector<Part> all = earlier_;
      all.insert(all.end(), parts_.begin(), parts_.end());
      Write(parts_.empty() && earlier_complete_, all, "").IgnoreError();
    }
  }
  if (!published_ && made_directory_) rmdir(path_.c_str());  // fails where anything is in it
}

Status PredictionDirectory::Read(bool overwrite) {
  const std::string manifest = absl::StrCat(path_, "/", kManifest);
  std::string left;
  if (NameIsTaken(manifest)) {
    PEPNET_ASSIGN_OR_RETURN(const std::string text, ReadFile(manifest, kMaxManifestBytes));
    StatusOr<Contents> contents = Parse(text);
    if (!contents.ok()) {
      return InvalidInput(manifest, ": ", contents.status().message(),
                          "; choose another --predict_output_path, or remove the directory if "
                          "nothing in it is needed");
    }
    earlier_complete_ = contents->complete;
    earlier_ = std::move(contents->parts);
    left = contents->writing;
  }
  PEPNET_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(path_));
  std::vector<std::string> leftovers;  // lists that a killed prediction did not come to name
  for (const std::string& name : names) {
    if (IsTemporaryNameOf(name, kManifest)) {
      leftovers.push_back(name);
      continue;
    }
    if (name == kManifest || (!left.empty() && name == left) || IsOwn(earlier_, path_, name)) {
      continue;
    }
    const bool changed = std::any_of(earlier_.begin(), earlier_.end(),
                                     [&](const Part& p) { return p.file == name; });
    return InvalidInput("--predict_output_path ", path_, " holds ", Printable(name),
                        changed ? ", which is no longer what an earlier prediction wrote"
                                : ", which no prediction wrote",
                        "; choose a directory of its own, so that nothing is written over");
  }
  // Parts that somebody has moved away are not ours any more.
  std::erase_if(earlier_, [&](const Part& part) { return !IsOwn({part}, path_, part.file); });
  if (!earlier_.empty() && !overwrite) {
    return InvalidInput("--predict_output_path ", path_, " holds an earlier prediction of ",
                        earlier_.size(), " part(s), the first ", earlier_.front().file,
                        "; add --overwrite to replace it, or choose another directory");
  }
  if (!left.empty()) leftovers.push_back(left);
  for (const std::string& name : leftovers) {
    PEPNET_RETURN_IF_ERROR(RemoveTree(absl::StrCat(path_, "/", name)));
  }
  return absl::OkStatus();
}

Status PredictionDirectory::Write(bool complete, const std::vector<Part>& parts,
                                  const std::string& writing) const {
  nlohmann::ordered_json json = {{"format", kFormat}, {"complete", complete}, {"writing", writing}};
  json["parts"] = nlohmann::ordered_json::array();
  for (const Part& part : parts) {
    json["parts"].push_back({{"file", part.file}, {"bytes", part.bytes}});
  }
  return WriteFileAtomically(absl::StrCat(path_, "/", kManifest), json.dump(1) + "\n");
}

Status PredictionDirectory::BeginPublishing(std::vector<Part> parts) {
  parts_ = std::move(parts);
  std::vector<Part> all = earlier_;
  all.insert(all.end(), parts_.begin(), parts_.end());
  // The list holds old and new parts while files change, and says so: a reader that asks for
  // "complete" waits, and a killed run is cleaned up by the next one.
  PEPNET_RETURN_IF_ERROR(Write(/*complete=*/false, all, writing_.substr(path_.size() + 1)));
  for (const Part& old : earlier_) {
    const bool replaced = std::any_of(parts_.begin(), parts_.end(),
                                      [&](const Part& p) { return p.file == old.file; });
    // Looked at once more: hours may have passed.
    if (!replaced && IsOwn({old}, path_, old.file)) {
      PEPNET_RETURN_IF_ERROR(RemoveTree(absl::StrCat(path_, "/", old.file)));
    }
  }
  for (const Part& part : parts_) {
    if (NameIsTaken(absl::StrCat(path_, "/", part.file)) && !IsOwn(earlier_, path_, part.file)) {
      return InvalidInput(path_, "/", part.file,
                          " appeared while the prediction was made; nothing is written over it");
    }
  }
  return absl::OkStatus();
}

Status PredictionDirectory::EndPublishing() {
  // The list is written last: "complete" is true of a directory that needs no more work.
  PEPNET_RETURN_IF_ERROR(RemoveTree(writing_));
  PEPNET_RETURN_IF_ERROR(Write(/*complete=*/true, parts_, ""));
  published_ = true;
  return absl::OkStatus();
}

}  // namespace pepnet
