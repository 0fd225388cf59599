#include "worker/data/history/data_choice.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "common/base/mutant.h"
#include "common/base/text.h"
#include "worker/data/history/history_json.h"

namespace pepnet {
namespace {

constexpr int64_t kMostBytesWithoutRows = int64_t{1} << 20;  // of a file: a header, a footer

std::string Quoted(const FileIdentity& file) {
  return absl::StrCat("'", Printable(file.path), "'");
}

std::string Count(size_t count, const std::string& noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

// "3 files (first 'a.csv')".
std::string Named(const std::vector<FileIdentity>& files) {
  return absl::StrCat(Count(files.size(), "file"), " (", files.size() == 1 ? "" : "first ",
                      Quoted(files.front()), ")");
}

std::string Passes(int64_t count) { return count == 1 ? "once" : absl::StrCat(count, " times"); }

// Each recorded file with the given one that holds the same data.
struct Comparison {
  std::vector<std::optional<FileIdentity>>
      // By index of the recorded files: at its present path, with its known rows.
      found;
  std::vector<FileIdentity> missing;  // recorded ones without
  std::vector<FileIdentity> fresh;    // given ones that neither run nor are trained
  std::vector<FileIdentity> trained;  // given ones that are trained
  int64_t moved = 0;
  std::string first_move;  // "'a' is now 'b'"
};

Comparison Compare(const DataHistory& history, const std::vector<FileIdentity>& given) {
  Comparison result;
  std::multimap<DataKey, size_t> free;  // given files that no recorded one has taken
  // Copies of one file have one key: each recorded file takes one of them, and none is taken twice.
  for (size_t i = 0; i < given.size(); ++i) free.emplace(KeyOf(given[i]), i);
  result.found.resize(history.files.size());
  const auto take = [&](size_t index, bool same_path) {
    const FileIdentity& recorded = history.files[index];
    const auto [begin, end] = free.equal_range(KeyOf(recorded));
    const auto it = std::find_if(begin, end, [&](const auto& entry) {
      return !same_path || given[entry.second].path == recorded.path;
    });
    if (it == end) return;
    result.found[index] = given[it->second];
    // The user's file has no row count; that of the checkpoint spares reading it.
    result.found[index]->rows = recorded.rows;
    free.erase(it);
  };
  // Files that did not move come first: of copies with one name each keeps its own.
  for (size_t i = 0; i < result.found.size(); ++i) take(i, /*same_path=*/true);
  for (size_t i = 0; i < result.found.size(); ++i) {
    if (!result.found[i].has_value()) take(i, /*same_path=*/false);
    const FileIdentity& recorded = history.files[i];
    if (!result.found[i].has_value()) {
      result.missing.push_back(recorded);
    } else if (result.found[i]->path != recorded.path && result.moved++ == 0) {
      result.first_move = absl::StrCat(Quoted(recorded), " is now ", Quoted(*result.found[i]));
    }
  }
  std::set<DataKey> trained;
  for (const FileIdentity& file : history.trained) trained.insert(KeyOf(file));
  std::set<size_t> left;  // in the order in which they were given
  for (const auto& [key, index] : free) left.insert(index);
  // Files that are left are told apart: those that an earlier pass trained, which are not read
  // again, and those that are new.
  for (const size_t index : left) {
    (trained.count(KeyOf(given[index])) > 0 ? result.trained : result.fresh)
        .push_back(given[index]);
  }
  return result;
}

std::vector<FileIdentity> Present(const Comparison& comparison) {
  std::vector<FileIdentity> files;
  for (const auto& file : comparison.found) {
    if (file.has_value()) files.push_back(*file);
  }
  return files;
}

const FileIdentity* WithPath(const std::vector<FileIdentity>& files, const std::string& path) {
  const auto found =
      std::find_if(files.begin(), files.end(), [&](const auto& file) { return file.path == path; });
  return found == files.end() ? nullptr : &*found;
}

// Says which of the files that are new stand where others were read before.
void NoteChanged(const DataHistory& history, const std::vector<FileIdentity>& fresh,
                 DataChoice* choice) {
  std::set<std::string> read;
  for (const auto* files : {&history.files, &history.trained}) {
    for (const FileIdentity& file : *files) read.insert(file.path);
  }
  std::vector<FileIdentity> changed;
  for (const FileIdentity& file : fresh) {
    if (read.count(file.path) > 0) changed.push_back(file);
  }
  if (changed.empty()) return;
  choice->warnings.push_back(
      absl::StrCat(Named(changed), changed.size() == 1 ? " has" : " have",
                   " other content than before under the same path; it counts as new data"));
}

void NoteMoves(const Comparison& comparison, DataChoice* choice) {
  if (comparison.moved == 0) return;
  choice->notes.push_back(
      absl::StrCat(Count(static_cast<size_t>(comparison.moved), "training file"),
                   " moved with the same name, size and digest, and the data are the same: ",
                   comparison.first_move, comparison.moved > 1 ? ", ..." : ""));
}

// Leaves new files without any row out: there is nothing to train on.
Status DropRowless(const CountRows& count, Comparison* comparison,
                   std::vector<std::string>* notes) {
  for (const FileIdentity& file : comparison->fresh) {
    // A large file is taken to have rows without a look at it; counting a CSV file means reading
    // it.
    int64_t rows = file.bytes > kMostBytesWithoutRows ? 1 : file.rows;
    if (rows < 0) {
      PEPNET_ASSIGN_OR_RETURN(rows, count(file));
    }
    if (rows > 0) return absl::OkStatus();
  }
  if (comparison->fresh.empty()) return absl::OkStatus();
  notes->push_back(
      absl::StrCat(Named(comparison->fresh),
                   " had not been read before and will not be: there is no row in it"));
  comparison->fresh.clear();
  return absl::OkStatus();
}

std::string RestartAdvice(const DataQuestion& question) {
  return absl::StrCat("add --restart_data_at_step=", question.finished_steps,
                      " to read the given files from their first row");
}

DataChoice BeginGiven(const DataQuestion& question, std::vector<FileIdentity> files,
                      int64_t epoch) {
  DataChoice choice;
  // `files` were identified before; what the history was reading becomes trained in the same step,
  // so that no file is in both lists.
  choice.history = BeginFiles(question.history, std::move(files), epoch);
  choice.position = {epoch, 0};
  // Passes are counted from the start of the training, over all files, so that (seed, epoch,
  // window) is never used for two passes.
  choice.last_epoch = question.num_epochs > 0 ? epoch + question.num_epochs : 0;
  return choice;
}

StatusOr<DataChoice> Restart(const DataQuestion& question) {
  // The flag names the step so that it takes effect once: a scheduler that starts the same command
  // again must not throw the training back to the first row.
  if (question.restart_at_step != question.finished_steps) {
    return InvalidInput("--restart_data_at_step=", question.restart_at_step,
                        ", but training goes on from step ", question.finished_steps,
                        "; give that step to read the files from their first row there, or ",
                        "leave the flag out to go on in the data");
  }
  // An abandoned pass counts as one, so that the next has another shuffle.
  const int64_t epoch = question.position.epoch + (question.position.rows_in_epoch > 0 ? 1 : 0);
  DataChoice choice = BeginGiven(question, question.given, epoch);
  choice.history.restarted_at_step = question.restart_at_step;
  choice.notes.push_back(
      absl::StrCat("--restart_data_at_step=", question.restart_at_step, ": ", Named(question.given),
                   " will be read from the first row, whether read before or not"));
  return choice;
}

// A position alone: the files given are taken for those that were read, as versions did that
// recorded none.
DataChoice Unchecked(const DataQuestion& question) {
  DataChoice choice = BeginGiven(question, question.given, 0);
  choice.position = question.position;
  const DataPosition& position = question.position;
  choice.notes.push_back(absl::StrCat(
      "the checkpoint does not say which files were read, so the data cannot be checked: ",
      "epoch ", position.epoch, ", row ", position.rows_in_epoch,
      " is looked for in the files given"));
  if (question.num_epochs == 0 || position.epoch < question.num_epochs) return choice;
  choice.nothing_left = true;
  choice.warnings.push_back(
      absl::StrCat("nothing is left to train: ", Passes(question.num_epochs),
                   " (num_epochs) through the data had been done; raise num_epochs, or ",
                   RestartAdvice(question)));
  return choice;
}

// ---- between two passes -------------------------------------------------------------------------

DataChoice NothingLeft(const DataQuestion& question, const Comparison& comparison) {
  DataChoice choice;
  choice.history = question.history;
  choice.position = question.position;
  choice.nothing_left = true;
  choice.warnings.push_back(
      absl::StrCat("nothing is left to train: ", Named(question.given), " had been trained ",
                   Passes(question.num_epochs), " (num_epochs)",
                   comparison.trained.empty() ? "" : " or with earlier data",
                   "; give files that are new, raise num_epochs, or ", RestartAdvice(question)));
  return choice;
}

DataChoice BetweenPassesOfSteps(const DataQuestion& question, const Comparison& comparison) {
  // "Same" needs all three: a file that went, one that is new, one that an earlier pass trained.
  const bool same =
      comparison.missing.empty() && comparison.fresh.empty() && comparison.trained.empty();
  DataChoice choice =
      BeginGiven(question, same ? Present(comparison) : question.given, question.position.epoch);
  if (same) {
    // The passes go on being counted from where they began: a change of nothing is no new
    // beginning.
    choice.history.first_epoch = question.history.first_epoch;
  } else {
    choice.notes.push_back(absl::StrCat("the files differ from those of the pass before: ",
                                        Named(question.given), " will be read from here on"));
  }
  return choice;
}

StatusOr<DataChoice> BetweenPasses(DataQuestion question, const CountRows& count) {
  const int64_t epoch = question.position.epoch;
  // A file of which no pass began has not been read, and is new when it comes back.
  // No pass over them began.
  if (epoch == question.history.first_epoch) question.history.files.clear();
  Comparison comparison = Compare(question.history, question.given);
  if (question.num_epochs == 0) return BetweenPassesOfSteps(question, comparison);
  std::vector<std::string> notes;
  PEPNET_RETURN_IF_ERROR(DropRowless(count, &comparison, &notes));
  // These are the passes that the running files are still owed.
  const int64_t left = question.history.first_epoch + question.num_epochs - epoch;
  std::vector<FileIdentity> stay = Present(comparison);
  DataChoice choice;
  // The files that stay finish their passes first; new ones wait after them, so that no pass
  // changes its rows under way.
  if (left > 0 && !stay.empty()) {
    choice = BeginGiven(question, std::move(stay), question.history.first_epoch);
    choice.position = question.position;
    choice.next = comparison.fresh;
    NoteMoves(comparison, &choice);
    if (!choice.next.empty()) {
      choice.notes.push_back(absl::StrCat(Named(choice.next),
                                          " will be read behind the passes that are left, ",
                                          Passes(question.num_epochs)));
    }
  } else if (!comparison.fresh.empty()) {
    choice = BeginGiven(question, comparison.fresh, epoch);
    const size_t old = question.given.size() - comparison.fresh.size();
    choice.notes.push_back(
        absl::StrCat(Named(comparison.fresh), " had not been read before and will be trained ",
                     Passes(question.num_epochs), " (num_epochs)",
                     old == 0 ? ""
                              : absl::StrCat("; ", Count(old, "given file"),
                                             " had been trained, and will not be again")));
  } else {
    choice = NothingLeft(question, comparison);
    choice.notes = std::move(notes);
    return choice;
  }
  choice.notes.insert(choice.notes.begin(), notes.begin(), notes.end());
  NoteChanged(question.history, comparison.fresh, &choice);
  // Missing files had passes left. They cannot be done, and the user must hear of it (law L7).
  if (left > 0 && !comparison.missing.empty()) {
    choice.warnings.push_back(absl::StrCat(
        Named(comparison.missing), " of the ", Count(question.history.files.size(), "file"),
        " read so far not being given, the passes over them that were left (", left, " of ",
        question.num_epochs, ") are left out"));
  }
  return choice;
}

// ---- inside a pass ------------------------------------------------------------------------------

// At an edge of a window all rows before it are read and none after it, in either order of rows.
bool AtEdge(int64_t row, int64_t window) { return window == 0 || row % window == 0; }

std::string OrderName(int64_t window) {
  return window == 0 ? "no shuffle" : absl::StrCat("a shuffle within ", window, " rows");
}

Status CheckOrder(const DataQuestion& question) {
  const int64_t before = question.history.window_rows, now = question.window_rows;
  const int64_t row = question.position.rows_in_epoch;
  // Inside a window the rows that were read are spread over it by the old permutation. A new one
  // would pick others: some twice, some never.
  if (before == now || (AtEdge(row, before) && AtEdge(row, now))) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the order of the rows changed inside a pass: ", OrderName(before), " before, ",
                   OrderName(now), " now, at row ", row,
                   ", so rows would be lost or trained twice; keep shuffle, and "
                   "shuffle_buffer_size * batch_size * workers",
                   before > 0 ? absl::StrCat(" = ", before) : "", ", to the end of the pass, or ",
                   RestartAdvice(question)));
}

Status MissingFile(const DataQuestion& question, const FileIdentity& file) {
  const FileIdentity* now = WithPath(question.given, file.path);
  const std::string what =
      now == nullptr ? "is not among the files given"
      : now->bytes != file.bytes
          ? absl::StrCat("has changed (it had ", file.bytes, " bytes, now ", now->bytes, ")")
          : absl::StrCat("has changed (it still has ", file.bytes, " bytes, but other content)");
  return absl::FailedPreconditionError(absl::StrCat(
      "the training file ", Quoted(file), " ", what, ", and the checkpoint at step ",
      question.finished_steps, " stands inside a pass that has read rows of it (epoch ",
      question.position.epoch, ", row ", question.position.rows_in_epoch,
      "), so rows would be lost or trained twice; give the files of that pass as they were ",
      "(another directory will do), go back with --checkpoint_path, or ", RestartAdvice(question)));
}

// The files of a running pass that are left where some are missing.
struct Remainder {
  std::vector<FileIdentity> files;
  bool pass_is_over = false;  // no row is left of it
};

StatusOr<Remainder> WithoutMissing(const DataQuestion& question, const Comparison& comparison,
                                   const CountRows& count) {
  const int64_t row = question.position.rows_in_epoch, window = question.history.window_rows;
  // Rows before it are read, or lie in a window whose rows are: with a shuffle the whole of a
  // window counts as read once its first row is, since any of its rows may have been the first.
  const int64_t frontier = window == 0 ? row : (row + window - 1) / window * window;
  Remainder remainder;
  // rows of the files in front of the first missing one; then of those that are kept
  int64_t before = 0;
  bool met_missing = false, rows_left = false;
  for (size_t i = 0; i < comparison.found.size(); ++i) {
    if (!comparison.found[i].has_value()) {
      // Rows of this file were read, or may have been. Without the file the position would point
      // into another one (law L4).
      if (!met_missing && before < frontier) {
        return MissingFile(question, question.history.files[i]);
      }
      // Rows of this pass are left if the files that are kept hold some after the position, or
      // after the first missing file.
      if (!met_missing) rows_left = before > row;
      met_missing = true;
      continue;
    }
    FileIdentity file = *comparison.found[i];
    if (file.rows < 0) {
      PEPNET_ASSIGN_OR_RETURN(const int64_t rows, count(file));
      before += rows;
      rows_left = rows_left || (met_missing && rows > 0);
    } else {
      before += file.rows;
      rows_left = rows_left || (met_missing && file.rows > 0);
    }
    remainder.files.push_back(std::move(file));
  }
  remainder.pass_is_over = met_missing && !rows_left;
  return remainder;
}

StatusOr<DataChoice> InsidePass(DataQuestion question, const CountRows& count) {
  // The order of rows is checked first: with another order no row is known to be read.
  PEPNET_RETURN_IF_ERROR(CheckOrder(question));
  const int64_t epoch = question.position.epoch;
  const DataHistory recorded = question.history;
  Comparison comparison = Compare(recorded, question.given);
  DataChoice choice;
  if (question.num_epochs > 0) {
    PEPNET_RETURN_IF_ERROR(DropRowless(count, &comparison, &choice.notes));
  }
  // Without a missing file nothing has to be counted, which is the usual case and costs nothing.
  Remainder remainder{Present(comparison)};
  if (!comparison.missing.empty()) {
    PEPNET_ASSIGN_OR_RETURN(remainder, WithoutMissing(question, comparison, count));
  }
  const bool one = comparison.missing.size() == 1;
  const std::string gone =
      comparison.missing.empty()
          ? ""
          : absl::StrCat(Named(comparison.missing), " of the running pass ", one ? "has" : "have",
                         " changed or ", one ? "is" : "are", " not given any more; no row of ",
                         one ? "it" : "them", " had been read in this pass, which goes on without");
  // A file that the first pass had not come to was never read: should it come back, it is new.
  if (epoch == question.history.first_epoch) question.history.files = Present(comparison);
  // All that was left of the pass is in files that are gone, so the rules between passes decide.
  if (remainder.pass_is_over) {
    question.position = {epoch + 1, 0};
    PEPNET_ASSIGN_OR_RETURN(choice, BetweenPasses(question, count));
    choice.warnings.insert(choice.warnings.begin(), gone);
    return choice;
  }
  std::vector<std::string> notes = std::move(choice.notes);
  choice = BeginGiven(question, std::move(remainder.files), question.history.first_epoch);
  choice.notes = std::move(notes);
  choice.position = question.position;
  if (!gone.empty()) choice.warnings.push_back(gone);
  NoteMoves(comparison, &choice);
  NoteChanged(recorded, comparison.fresh, &choice);
  // With num_steps the running pass ends with its own files, and the next one takes the given ones.
  if (question.num_epochs == 0) {
    if (comparison.fresh.empty() && comparison.trained.empty()) return choice;
    choice.last_epoch = epoch + 1;
    choice.next = question.given;
    choice.notes.push_back(
        absl::StrCat(Count(comparison.fresh.size() + comparison.trained.size(), "file"),
                     " that the running pass does not have will be read from the next pass on"));
    return choice;
  }
  choice.next = comparison.fresh;
  // num_epochs was lowered below the passes that are done; the pass under way would be one too
  // many.
  if (choice.last_epoch <= epoch) {
    choice.nothing_left = true;
    choice.warnings.push_back(
        absl::StrCat("nothing is left to train: pass ", epoch - choice.history.first_epoch + 1,
                     " over the data is under way, but num_epochs is ", question.num_epochs,
                     "; raise num_epochs, or ", RestartAdvice(question)));
  } else if (!choice.next.empty()) {
    choice.notes.push_back(
        absl::StrCat(Named(choice.next), " had not been read before and will be trained ",
                     Passes(question.num_epochs), " (num_epochs) behind the ",
                     Count(choice.history.files.size(), "file"), " of the running pass"));
  }
  return choice;
}

}  // namespace

StatusOr<DataChoice> ChooseData(const DataQuestion& question, const CountRows& count) {
  const DataPosition& position = question.position;
  // The flag has done its work in an earlier run that went on after its step.
  const bool restarted = question.history.known &&
                         question.history.restarted_at_step == question.restart_at_step &&
                         question.finished_steps > question.restart_at_step;
  const bool nothing_read = position.epoch == 0 && position.rows_in_epoch == 0;
  StatusOr<DataChoice> choice = DataChoice();
  // The flag comes first, since it overrides all; then the questions are whether anything has been
  // read, whether the checkpoint knows what, and where the position is.
  if (question.restart_at_step >= 0 && !restarted) {
    choice = Restart(question);
  } else if (nothing_read) {
    choice = BeginGiven(question, question.given, 0);
  } else if (!question.history.known || MutantActive(Mutant::kResumeTrustsFiles)) {
    choice = Unchecked(question);
  } else if (position.rows_in_epoch == 0) {
    choice = BetweenPasses(question, count);
  } else {
    choice = InsidePass(question, count);
  }
  // The window of this run belongs to the history that it will save, whatever the choice was.
  if (choice.ok()) choice->history.window_rows = question.window_rows;
  return choice;
}

DataChoice NextFiles(const DataChoice& choice, const DataPosition& position, int64_t num_epochs) {
  // A pass without a last batch (drop_remainder, files that went) ends where it stands.
  const int64_t epoch = position.epoch + (position.rows_in_epoch > 0 ? 1 : 0);
  DataChoice next;
  next.history = BeginFiles(choice.history, choice.next, epoch);
  next.position = {epoch, 0};
  next.last_epoch = num_epochs > 0 ? epoch + num_epochs : 0;
  return next;
}

std::string EncodeChoice(const DataChoice& choice) {
  const nlohmann::ordered_json json = {{"history", HistoryToJson(choice.history)},
                                       {"epoch", choice.position.epoch},
                                       {"rows_in_epoch", choice.position.rows_in_epoch},
                                       {"last_epoch", choice.last_epoch},
                                       {"next", FilesToJson(choice.next)},
                                       {"nothing_left", choice.nothing_left}};
  return json.dump();
}

StatusOr<DataChoice> DecodeChoice(const std::string& text) {
  PEPNET_ASSIGN_OR_RETURN(const nlohmann::json json, ParseStrictJson(text));
  DataChoice choice;
  const auto history = json.find("history");
  if (history == json.end()) return absl::DataLossError("\"history\" is missing");
  PEPNET_ASSIGN_OR_RETURN(choice.history, HistoryFromJson(*history));
  PEPNET_ASSIGN_OR_RETURN(choice.position.epoch, JsonInteger(json, "epoch", 0, INT64_MAX));
  PEPNET_ASSIGN_OR_RETURN(choice.position.rows_in_epoch,
                          JsonInteger(json, "rows_in_epoch", 0, INT64_MAX));
  PEPNET_ASSIGN_OR_RETURN(choice.last_epoch, JsonInteger(json, "last_epoch", 0, INT64_MAX));
  PEPNET_ASSIGN_OR_RETURN(choice.next, FilesFromJson(json, "next"));
  choice.nothing_left = json.value("nothing_left", false);
  return choice;
}

}  // namespace pepnet
