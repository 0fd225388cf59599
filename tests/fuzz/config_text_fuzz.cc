// The text of a pipeline config, in today's dialect or the old one, through parsing and validation.
#include "common/config/load.h"
#include "tests/fuzz/fuzz_support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pepnet;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const StatusOr<JobConfig> config = ParseJobConfig(text, "job.config", {});
  ExpectClear(config.status());

  // `check-config` goes on behind a fault; it must come to the same verdict.
  std::vector<std::string> faults;
  const StatusOr<JobConfig> checked = ParseJobConfig(text, "job.config", {}, &faults);
  Expect(checked.ok() == config.ok(), "the same verdict with and without a list of all faults");
  Expect(checked.ok() || !faults.empty(), "a refused config has a fault in the list");

  ConfigOverrides lenient;
  lenient.ignore_unknown_fields = true;
  ExpectClear(ParseJobConfig(text, "job.config", lenient).status());
  return 0;
}
