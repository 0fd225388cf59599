#include "common/config/values/vocabulary.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

#include "common/base/text.h"
#include "common/file/file.h"
#include "common/job_config/table.h"

namespace pepnet {
namespace {

// A table of kAnyId rows would be one whose ids have no end, so one row less is the largest.
constexpr uint64_t kLargestRow = static_cast<uint64_t>(kAnyId) - 2;

constexpr int64_t kMaxVocabularyBytes = int64_t{1} << 30;
constexpr char kByteOrderMark[] = "\xef\xbb\xbf";

int64_t LargestRow(const std::map<std::string, int64_t>& vocabulary) {
  int64_t largest = -1;
  for (const auto& [word, row] : vocabulary) largest = std::max(largest, row);
  return largest;
}

// The default value is split like a cell, so each of its tokens is a word of its own.
std::vector<std::string> DefaultTokens(const config::IdFeature& id) {
  std::vector<std::string> tokens;
  for (const auto& token : absl::StrSplit(id.default_value(), id.separator(), absl::SkipEmpty())) {
    tokens.emplace_back(token);
  }
  return tokens;
}

// vocab_dict: rows as given. Two words may share a row; a row number may be left out.
Status ReadEntries(const config::IdFeature& id, const ConfigSource& source, Feature* feature) {
  for (const config::VocabularyEntry& entry : id.vocab_dict()) {
    if (!entry.has_key() || !entry.has_value()) {
      return source.Error(entry, "", "an entry needs both key and value");
    }
    if (entry.value() > kLargestRow) {
      return source.Error(entry, "value", entry.value(), " is not a row number; expected 0 to ",
                          kLargestRow);
    }
    if (!feature->vocabulary.emplace(entry.key(), static_cast<int64_t>(entry.value())).second) {
      return source.Error(entry, "key", "\"", entry.key(), "\" is given twice");
    }
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<std::map<std::string, int64_t>> ParseVocabularyFile(const std::string& contents,
                                                             const std::string& path) {
  std::vector<std::string> lines;
  if (contents.rfind("\xff\xfe", 0) == 0 || contents.rfind("\xfe\xff", 0) == 0) {
    return InvalidInput(path, ": it is UTF-16; save it as UTF-8");
  }
  for (const auto& line : absl::StrSplit(contents, '\n')) lines.emplace_back(line);
  // Editors on Windows write the mark; it is no part of the first word.
  if (lines[0].rfind(kByteOrderMark, 0) == 0) lines[0].erase(0, std::strlen(kByteOrderMark));
  // The line feed at the end of the file ends the last line and begins none.
  if (!lines.empty() && lines.back().empty()) lines.pop_back();
  std::map<std::string, int64_t> vocabulary;
  bool with_rows = false;
  for (size_t i = 0; i < lines.size(); ++i) {
    std::string line = lines[i];
    if (!line.empty() && line.back() == '\r') line.pop_back();
    const std::string where = absl::StrCat(path, ":", i + 1);
    // The first line decides what all lines are. One that differs is refused instead of guessed at
    // (law L7).
    const size_t gap = line.find_last_of(" \t");
    uint64_t row = 0;
    const bool has_row = gap != std::string::npos && absl::SimpleAtoi(line.substr(gap + 1), &row);
    if (i == 0) with_rows = has_row;
    if (has_row != with_rows) {
      return InvalidInput(
          where, ": \"", Printable(line, 200), "\" ", has_row ? "gives" : "lacks",
          " a row number, unlike the first line; write `word` or `word row` in all lines");
    }
    if (row > kLargestRow) {
      return InvalidInput(where, ": ", row, " is not a row number; expected 0 to ", kLargestRow);
    }
    const std::string word =
        with_rows ? line.substr(0, line.find_last_not_of(" \t", gap) + 1) : line;
    if (word.find('\0') != std::string::npos) {
      return InvalidInput(where, ": the word \"", Printable(word, 200),
                          "\" holds a zero byte; is the file text in UTF-8?");
    }
    if (word.empty()) return InvalidInput(where, ": no word in this line");
    if (!vocabulary.emplace(word, with_rows ? static_cast<int64_t>(row) : static_cast<int64_t>(i))
             .second) {
      return InvalidInput(where, ": word \"", Printable(word, 200), "\" is given twice");
    }
  }
  if (vocabulary.empty()) return InvalidInput(path, ": the vocabulary is empty");
  return vocabulary;
}

Status BuildVocabulary(const config::IdFeature& id, const ConfigSource& source, Feature* feature) {
  const bool with_default = id.has_default_bucketize_value();
  std::string field = "vocab_list";
  if (id.vocab_list_size() > 0) {
    // Without default_bucketize_value row 0 is that of the default value and row 1 that of unknown
    // words, as in the reference.
    const int64_t first = with_default ? 0 : 2;
    for (const std::string& word : id.vocab_list()) {
      const int64_t row = first + static_cast<int64_t>(feature->vocabulary.size());
      if (!feature->vocabulary.emplace(word, row).second) {
        return source.Error(id, field, "\"", word, "\" is listed twice");
      }
    }
    feature->rows = first + id.vocab_list_size();
    if (!with_default) {
      // A listed word stays.
      for (const std::string& token : DefaultTokens(id)) feature->vocabulary.emplace(token, 0);
    }
  } else if (id.vocab_dict_size() > 0) {
    field = "vocab_dict";
    PEPNET_RETURN_IF_ERROR(ReadEntries(id, source, feature));
    feature->rows = LargestRow(feature->vocabulary) + 1;
    if (!with_default) {
      // The default value's row is 0 even where a vocab_dict gives it another one, while a word of
      // a vocab_list keeps its row: both as the reference does (table in the header).
      for (const std::string& token : DefaultTokens(id)) feature->vocabulary[token] = 0;
    }
  } else {
    field = "vocab_file";
    if (!with_default) {
      return source.Error(
          id, field, "needs default_bucketize_value, the row of words that are not in the file");
    }
    const std::string path = id.asset_dir().empty()
                                 ? id.vocab_file()
                                 : absl::StrCat(id.asset_dir(), "/", id.vocab_file());
    const auto contents = ReadFile(path, kMaxVocabularyBytes);
    if (!contents.ok()) return Annotate(contents.status(), source.Where(id, field));
    auto words = ParseVocabularyFile(*contents, path);
    if (!words.ok()) return Annotate(words.status(), source.Where(id, field));
    feature->vocabulary = *std::move(words);
    feature->rows = LargestRow(feature->vocabulary) + 1;
  }
  feature->unknown_id = with_default ? static_cast<int64_t>(id.default_bucketize_value()) : 1;
  if (with_default && id.default_bucketize_value() >= static_cast<uint64_t>(feature->rows)) {
    return source.Error(id, "default_bucketize_value", id.default_bucketize_value(),
                        " is outside the table of ", feature->rows, " rows; expected a row of ",
                        field);
  }
  // A vocab_dict whose largest row is 0 is all that can get here.
  if (feature->unknown_id >= feature->rows) {
    return source.Error(id, field, "unknown words go to row 1, but the table has ", feature->rows,
                        " row; set default_bucketize_value");
  }
  return absl::OkStatus();
}

}  // namespace pepnet
