// A part of a table as an Arrow IPC file, with a manifest's entry that need not fit: the first 12
// bytes are rows, dim and state_dim, the rest is the file.
#include "common/checkpoint/table_part.h"
#include "tests/fuzz/fuzz_support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pepnet;
  FuzzInput input(data, size);
  PartEntry entry;
  entry.table = "t";
  entry.rows = input.Take<int32_t>() & 0x7fffffff;
  entry.dim = input.Take<int32_t>() & 0x7fffffff;
  entry.state_dim = input.Take<int32_t>() & 0x7fffffff;
  const std::string contents = input.TakeRest();
  entry.bytes = static_cast<int64_t>(contents.size());
  const MemoryFile file(contents);
  entry.file = file.name();
  const auto reader = TablePartReader::Open(MemoryFile::directory(), entry);
  ExpectClear(reader.status());
  if (!reader.ok()) return 0;
  int64_t rows = 0;
  const Status read = (*reader)->Read(0, entry.rows, [&](const RowColumns& columns) -> Status {
    const size_t count = columns.ids.size();
    const auto dim = static_cast<size_t>(entry.dim),
               state_dim = static_cast<size_t>(entry.state_dim);
    Expect(columns.values.size() == count * dim && columns.states.size() == count * state_dim &&
               columns.frequency.size() == count && columns.last_step.size() == count,
           "columns of one length");
    for (size_t row = 0; row < count; ++row) {
      const auto state =
          state_dim == 0 ? columns.states : columns.states.subspan(row * state_dim, state_dim);
      DigestOfRow(columns.ids[row], columns.values.subspan(row * dim, dim), state,
                  columns.frequency[row], columns.last_step[row]);
    }
    rows += static_cast<int64_t>(count);
    return absl::OkStatus();
  });
  ExpectClear(read);
  Expect(!read.ok() || rows == entry.rows, "all rows of the entry");
  return 0;
}
