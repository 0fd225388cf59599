// --edit_config_json on a config that is right.
#include "common/config/load.h"
#include "tests/fuzz/fuzz_job.h"
#include "tests/fuzz/fuzz_support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pepnet;
  static const std::string kText = FuzzJobText(DatasetType::kCsv, true);
  ConfigOverrides overrides;
  overrides.edit_config_json.assign(reinterpret_cast<const char*>(data), size);
  ExpectClear(ParseJobConfig(kText, "job.config", overrides).status());
  return 0;
}
