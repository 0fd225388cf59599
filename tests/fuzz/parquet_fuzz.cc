// A Parquet file through our reader and the encoders.
#include "tests/fuzz/fuzz_job.h"
#include "tests/fuzz/fuzz_support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pepnet;
  static const JobConfig kConfig = MakeFuzzJob(DatasetType::kParquet, false);
  const MemoryFile file(std::string(reinterpret_cast<const char*>(data), size));
  ExpectClear(DecodeFile(file.path(), kConfig, ',', false));
  ExpectClear(ListColumns(file.path(), FormatOf(kConfig.data, DatasetType::kParquet)).status());
  ExpectClear(LargestRowGroup(file.path(), DatasetType::kParquet).status());
  return 0;
}
