// The files of a run that `pepnet report` reads: the first byte chooses one, the rest is the file.
// Accepted input makes a page and a table, whatever its numbers and names.
#include <filesystem>

#include "cli/report/compare.h"
#include "cli/report/html.h"
#include "cli/report/page.h"
#include "common/base/text.h"
#include "tests/fuzz/fuzz_support.h"
#include "tests/support/temporary_directory.h"

namespace pepnet {
namespace {

constexpr const char* kFiles[] = {
    "metrics.jsonl",   "train_eval_result.txt", "train_eval_slices.jsonl",
    "job_report.json", "best_checkpoint.json",  "pipeline.config",
    "warnings.jsonl",  "train_slices.jsonl",    "explained.json"};

size_t CountOf(const std::string& text, const std::string& word) {
  size_t count = 0;
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++count;
  return count;
}

// Every digit that a chart is drawn with is a number.
void CheckCharts(const std::string& page) {
  for (const char* attribute : {" points=\"", " cx=\"", " cy=\"", " x=\"", " width=\""}) {
    for (size_t at = page.find(attribute); at != std::string::npos;
         at = page.find(attribute, at + 1)) {
      const size_t from = at + std::string(attribute).size();
      const std::string value = page.substr(from, page.find('"', from) - from);
      Expect(value.find_first_not_of("0123456789.,- ") == std::string::npos,
             "coordinates are numbers");
    }
  }
}

}  // namespace
}  // namespace pepnet

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pepnet;
  static const TemporaryDirectory directory;
  FuzzInput input(data, size);
  const char* const name = kFiles[input.Take<uint8_t>() % std::size(kFiles)];
  const MemoryFile file(input.TakeRest());
  const MemoryFile step("{\"step\":1,\"epoch\":0,\"total_loss\":0.5}\n");
  for (const char* other : kFiles) std::filesystem::remove(directory / other);
  std::filesystem::create_symlink(step.path(), directory / kFiles[0]);
  std::filesystem::remove(directory / name);
  std::filesystem::create_symlink(file.path(), directory / name);

  const auto run = ReadRun(directory.path(), {});
  ExpectClear(run.status());
  if (!run.ok()) return 0;
  const std::string page = ReportPage({*run});
  Expect(IsUtf8(page), "a page is UTF-8");
  Expect(CountOf(page, "<script") == 1 && CountOf(page, "</script") == 1,
         "a page has one script element, its data");
  Expect(CountOf(page, "<img") == 0, "no element that the page does not make");
  CheckCharts(page);
  Expect(!CompareText({*run, *run}, 80).empty(), "a table has text");
  return 0;
}
