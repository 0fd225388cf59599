// Cells of sequences and of computed features through a CSV file and the encoders. The first byte
// chooses whether the cells are computed or read as they are (FG_NONE). Each line of the rest is
// one cell, column by column of MakeFuzzSequenceJob(), and stands in the file in quotes, so that
// what is mutated is cells. They hold "|" between values and ";" between elements.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "tests/fuzz/fuzz_job.h"
#include "tests/fuzz/fuzz_support.h"

namespace pepnet {
namespace {

constexpr size_t kMostRows = 8;

std::string FileOf(const std::vector<std::string>& columns, const std::vector<std::string>& cells) {
  std::string text = absl::StrCat(absl::StrJoin(columns, ","), "\n");
  const size_t rows =
      std::min(kMostRows, (cells.size() + columns.size() - 2) / (columns.size() - 1));
  size_t next = 0;
  for (size_t row = 0; row < rows; ++row) {
    for (size_t column = 0; column < columns.size(); ++column) {
      std::string cell;
      if (columns[column] == "clk") {
        cell = "1";
      } else if (next < cells.size()) {
        cell = cells[next++];
      }
      absl::StrAppend(&text, column > 0 ? "," : "", "\"",
                      absl::StrReplaceAll(cell, {{"\"", "\"\""}}), "\"");
    }
    text += "\n";
  }
  return text;
}

}  // namespace
}  // namespace pepnet

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pepnet;
  static const JobConfig kComputed = MakeFuzzSequenceJob(FgMode::kNormal);
  static const JobConfig kFinished = MakeFuzzSequenceJob(FgMode::kNone);
  FuzzInput input(data, size);
  const JobConfig& config = (input.Take<uint8_t>() & 1) != 0 ? kFinished : kComputed;
  const std::vector<std::string> cells = absl::StrSplit(input.TakeRest(), '\n');
  const MemoryFile file(FileOf(PlanColumns(config, LabelSet::kAll, {}).names, cells));
  ExpectClear(DecodeFile(file.path(), config, ',', false));
  return 0;
}
