// A safetensors file: its header, and the values of every tensor in every way they are read.
#include "common/checkpoint/safetensors.h"
#include "tests/fuzz/fuzz_support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pepnet;
  const MemoryFile file(std::string(reinterpret_cast<const char*>(data), size));
  const auto reader = SafetensorsReader::Open(file.path());
  ExpectClear(reader.status());
  if (!reader.ok()) return 0;
  for (const auto& [name, info] : (*reader)->tensors()) {
    Expect(info.elements() >= 0 && info.begin <= info.end && info.end <= size,
           "a tensor lies within the file");
    ExpectClear((*reader)->ReadFloats(name).status());
    const auto doubles = (*reader)->ReadDoubles(name);
    Expect(!doubles.ok() || static_cast<int64_t>(doubles->size()) == info.elements(),
           "as many values as elements");
    ExpectClear((*reader)->ReadIntegers(name).status());
    const auto view = (*reader)->ViewFloats(name);
    double sum = 0;
    if (view.ok()) {
      for (const float value : *view) sum += value;
    }
    Expect(sum == sum || sum != sum, "the view can be read");
  }
  return 0;
}
