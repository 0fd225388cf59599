// A manifest whose checksum fits, whatever it says, and the list of parts that a server reports.
#include "common/checkpoint/manifest.h"
#include "common/checkpoint/strict_json.h"
#include "common/file/crc32c.h"
#include "tests/fuzz/fuzz_support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pepnet;
  const std::string text(reinterpret_cast<const char*>(data), size);
  ExpectClear(ManifestFromText(text).status());
  ExpectClear(PartEntriesFromJson(text).status());

  const std::string tail = absl::StrCat(
      ",\n  \"checksum\": \"", Crc32cToHex(ExtendCrc32c(0, text.data(), text.size())), "\"\n}\n");
  const auto manifest = ManifestFromText(text + tail);
  ExpectClear(manifest.status());
  if (!manifest.ok()) return 0;
  const StatusOr<std::string> written = ManifestToText(*manifest);
  Expect(written.ok(), "what was read can be written");
  const auto again = ManifestFromText(*written);
  Expect(again.ok() && *ManifestToText(*again) == *written, "what was written is read as the same");
  return 0;
}
