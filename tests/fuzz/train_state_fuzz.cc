// The worker's part of a checkpoint: trainer.json, or dense.safetensors beside a trainer.json that
// is right. The first byte chooses, the rest is the file.
#include "tests/fuzz/fuzz_job.h"
#include "tests/fuzz/fuzz_support.h"
#include "tests/support/temporary_directory.h"
#include "worker/checkpoint/train_state.h"

namespace pepnet {
namespace {

// A directory in which each of the two files is a link that can be turned to a file in memory.
class DenseDirectory {
 public:
  explicit DenseDirectory(const JobConfig& config) {
    TrainState state(config, 1);
    DenseImage image;
    CopyDenseState(state, &image);
    auto writer = CheckpointWriter::Begin(scratch_ / "model", 1);
    std::vector<FileEntry> files;
    Expect(writer.ok() && WriteDenseFiles(image, *writer, &files).ok(),
           "the right files can be written");
    for (const char* name : {"trainer.json", "dense.safetensors"}) {
      right_.emplace_back(
          ReadFile(absl::StrCat(writer->temporary_directory(), "/", name)).value_or(""));
    }
  }
  const std::string& path() const { return scratch_.path(); }
  const std::string& right(int file) const { return right_[file]; }
  // `contents` by file, as in right().
  void Show(const MemoryFile& trainer, const MemoryFile& dense) {
    Link(trainer, "trainer.json");
    Link(dense, "dense.safetensors");
  }

 private:
  void Link(const MemoryFile& file, const char* name) {
    const std::string link = scratch_ / name;
    std::filesystem::remove(link);
    std::filesystem::create_symlink(file.path(), link);
  }
  const TemporaryDirectory scratch_;
  std::vector<std::string> right_;
};

}  // namespace
}  // namespace pepnet

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pepnet;
  static const JobConfig kConfig = MakeFuzzJob(DatasetType::kCsv, true);
  static DenseDirectory directory(kConfig);
  FuzzInput input(data, size);
  const bool dense = (input.Take<uint8_t>() & 1) != 0;
  const std::string contents = input.TakeRest();
  const MemoryFile trainer_file(dense ? directory.right(0) : contents);
  const MemoryFile dense_file(dense ? contents : directory.right(1));
  directory.Show(trainer_file, dense_file);

  TrainState state(kConfig, 1);
  const Status read = ReadDenseFiles(directory.path(), &state);
  ExpectClear(read);
  if (read.ok()) {
    Expect(state.counters.finished_steps >= 0 && state.counters.position.rows_in_epoch >= 0,
           "counters from 0");
    DenseImage image;
    CopyDenseState(state, &image);  // what was read can be saved again
  }
  DenseParameters parameters(state.parameters.specs());
  ExpectClear(ReadDenseValues(directory.path(), DenseValues::kWeights, &parameters));
  ExpectClear(ReadDenseValuesByName(directory.path(), {}, &parameters).status());
  return 0;
}
