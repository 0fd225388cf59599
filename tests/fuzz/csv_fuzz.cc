// A CSV file through the reader and the feature and label encoders. The first byte chooses
// delimiter, header and hash, the rest is the file.
#include "tests/fuzz/fuzz_job.h"
#include "tests/fuzz/fuzz_support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pepnet;
  static const JobConfig kWithHeader = MakeFuzzJob(DatasetType::kCsv, true);
  static const JobConfig kHeaderless = MakeFuzzJob(DatasetType::kCsv, false);
  FuzzInput input(data, size);
  const auto options = input.Take<uint8_t>();
  const JobConfig& config = (options & 1) != 0 ? kHeaderless : kWithHeader;
  const char delimiter = (options & 2) != 0 ? '\t' : ',';
  const MemoryFile file(input.TakeRest());
  ExpectClear(DecodeFile(file.path(), config, delimiter, (options & 4) != 0));

  // Rows that are skipped or buffered count the same as rows that are read.
  const FileFormat format = FormatOf(config.data, DatasetType::kCsv);
  const auto reader = OpenRowReader(file.path(), format, {"clk"});
  if (!reader.ok()) return 0;
  const StatusOr<int64_t> skipped = (*reader)->Skip(2);
  ExpectClear(skipped.status());
  if (!skipped.ok()) return 0;
  const auto buffered = (*reader)->Buffer(2);
  ExpectClear(buffered.status());
  if (!buffered.ok() || (*buffered)->size() == 0) return 0;
  const int64_t last = (*buffered)->size() - 1;
  ExpectClear((*buffered)->Pick({&last, 1}).status());
  return 0;
}
