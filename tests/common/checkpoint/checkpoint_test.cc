#include "common/checkpoint/checkpoint.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/checkpoint/manifest.h"
#include "common/checkpoint/safetensors.h"
#include "common/file/file.h"
#include "tests/common/checkpoint/test_files.h"
#include "tests/common/checkpoint/test_rows.h"
#include "tests/support/status_matchers.h"
#include "tests/support/with_mutant.h"

namespace pepnet {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Writes everything of a checkpoint but its manifest.
StatusOr<Manifest> WriteContents(CheckpointWriter& writer, int64_t step, size_t rows,
                                 int part_count) {
  Manifest manifest;
  manifest.step = step;
  manifest.seed = UINT64_MAX;
  manifest.server_count = part_count;
  manifest.worker_count = 3;
  manifest.batch_size = 17;
  manifest.shape = "table t: dim 2\ntable u: \"quoted\"\n";
  manifest.cpu = "avx2 fma";
  const std::string& directory = writer.temporary_directory();
  for (const char* table : {"t", "u/v"}) {
    PEPNET_ASSIGN_OR_RETURN(const auto parts,
                            WriteParts(directory, table, MakeRows(table, rows, 2, 1), part_count));
    manifest.parts.insert(manifest.parts.end(), parts.begin(), parts.end());
  }
  PEPNET_ASSIGN_OR_RETURN(
      const auto dense,
      SafetensorsWriter::Create(directory + "/dense.safetensors", {{"w", "F32", {2}}}));
  const float w[2] = {1, 2};
  PEPNET_RETURN_IF_ERROR(dense->Append(w, sizeof(w)));
  PEPNET_ASSIGN_OR_RETURN(const auto sum, dense->Finish());
  manifest.files.push_back({"dense.safetensors", sum.bytes, sum.crc32c});
  PEPNET_ASSIGN_OR_RETURN(const FileEntry trainer,
                          writer.WriteFile("trainer.json", "{\"position\": 5}\n"));
  manifest.files.push_back(trainer);
  return manifest;
}

StatusOr<std::string> WriteCheckpoint(const std::string& model_dir, int64_t step, size_t rows = 4,
                                      int part_count = 1) {
  PEPNET_ASSIGN_OR_RETURN(CheckpointWriter writer, CheckpointWriter::Begin(model_dir, step));
  PEPNET_ASSIGN_OR_RETURN(const Manifest manifest, WriteContents(writer, step, rows, part_count));
  return writer.Commit(manifest);
}

// The steps of a command that opens a checkpoint.
Status OpenAndVerify(const std::string& directory, bool contents = true, bool deep = false) {
  PEPNET_ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(directory));
  return VerifyCheckpoint(directory, manifest, contents, deep);
}

class CheckpointTest : public testing::Test {
 protected:
  TemporaryDirectory directory_;
  const std::string model_dir_ = directory_ / "model";
};

TEST_F(CheckpointTest, WhatIsCommittedIsReadBack) {
  ASSERT_OK_AND_ASSIGN(const auto path, WriteCheckpoint(model_dir_, 17, 3000, 3));
  EXPECT_EQ(path, model_dir_ + "/model.ckpt-17");
  EXPECT_FALSE(PathExists(model_dir_ + "/.tmp.model.ckpt-17"));
  ASSERT_OK(OpenAndVerify(path, true, /*deep=*/true));
  const Manifest manifest = ReadManifest(path).value();
  EXPECT_EQ(manifest.step, 17);
  EXPECT_EQ(manifest.seed, UINT64_MAX);
  EXPECT_EQ(manifest.server_count, 3);
  EXPECT_EQ(manifest.worker_count, 3);
  EXPECT_EQ(manifest.batch_size, 17);
  EXPECT_EQ(manifest.shape, "table t: dim 2\ntable u: \"quoted\"\n");
  EXPECT_EQ(manifest.cpu, "avx2 fma");
  ASSERT_EQ(manifest.parts.size(), 6u);
  EXPECT_EQ(manifest.parts[4].file, "tables/u%2Fv/part-00001-of-00003.arrow");
  ASSERT_EQ(manifest.files.size(), 2u);
  EXPECT_EQ(ReadBytes(path + "/trainer.json"), "{\"position\": 5}\n");
}

TEST_F(CheckpointTest, NothingIsVisibleBeforeCommit) {
  ASSERT_OK_AND_ASSIGN(auto writer, CheckpointWriter::Begin(model_dir_, 5));
  EXPECT_TRUE(IsDirectory(writer.temporary_directory()));
  ASSERT_OK_AND_ASSIGN(const auto manifest, WriteContents(writer, 5, 10, 2));
  EXPECT_TRUE(ListCheckpoints(model_dir_).value().empty());
  EXPECT_EQ(ResolveCheckpoint(model_dir_).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(PathExists(writer.temporary_directory() + "/manifest.json"));
  ASSERT_OK(writer.Commit(manifest));
  EXPECT_THAT(ListCheckpoints(model_dir_).value(), ElementsAre(5));
}

// Law L6: a checkpoint is complete, or it does not exist. Mutant: manifest_first.
TEST_F(CheckpointTest, L6ManifestIsWrittenOnlyOverCompleteFiles) {
  for (const Mutant mutant : {Mutant::kNone, Mutant::kManifestFirst}) {
    if (mutant != Mutant::kNone && !kMutantsCompiledIn) continue;
    for (const bool cut_short : {false, true}) {
      const std::string model_dir =
          absl::StrCat(model_dir_, mutant == Mutant::kNone ? "" : "_mutant", cut_short);
      ASSERT_OK_AND_ASSIGN(auto writer, CheckpointWriter::Begin(model_dir, 5));
      ASSERT_OK_AND_ASSIGN(const auto manifest, WriteContents(writer, 5, 10, 2));
      const std::string victim = writer.temporary_directory() + "/" + manifest.parts[1].file;
      if (cut_short) {
        std::filesystem::resize_file(victim, static_cast<uintmax_t>(manifest.parts[1].bytes - 1));
      } else {
        std::filesystem::remove(victim);
      }
      const auto committed = [&] {
        const WithMutant faulty(mutant);
        return writer.Commit(manifest);
      }();
      EXPECT_EQ(committed.status().code(), absl::StatusCode::kDataLoss);
      EXPECT_THAT(committed, IsError(HasSubstr(manifest.parts[1].file)));
      EXPECT_EQ(ListCheckpoints(model_dir).value().empty(), mutant == Mutant::kNone)
          << "the mutant must be seen";
    }
  }
}

TEST_F(CheckpointTest, StaleTemporaryDirectoryIsReplaced) {
  const std::string stale = model_dir_ + "/.tmp.model.ckpt-5/tables/old";
  ASSERT_OK(MakeDirectories(stale));
  WriteBytes(stale + "/x", "x");
  ASSERT_OK_AND_ASSIGN(const auto path, WriteCheckpoint(model_dir_, 5));
  EXPECT_FALSE(PathExists(path + "/tables/old"));
}

TEST_F(CheckpointTest, CompleteCheckpointIsNeverOverwritten) {
  ASSERT_OK_AND_ASSIGN(const auto path, WriteCheckpoint(model_dir_, 5));
  EXPECT_EQ(CheckpointWriter::Begin(model_dir_, 5).status().code(),
            absl::StatusCode::kAlreadyExists);
  ASSERT_OK(OpenAndVerify(path));
  // Without its manifest it is no checkpoint: it is put aside.
  std::filesystem::remove(path + "/manifest.json");
  ASSERT_OK(WriteCheckpoint(model_dir_, 5));
  EXPECT_TRUE(PathExists(model_dir_ + "/model.ckpt-5.damaged/trainer.json"));
  EXPECT_THAT(ListCheckpoints(model_dir_).value(), ElementsAre(5));
}

TEST_F(CheckpointTest, LargestCompleteStepIsResolved) {
  EXPECT_TRUE(ListCheckpoints(model_dir_).value().empty()) << "no directory: no checkpoints";
  EXPECT_EQ(ResolveCheckpoint(model_dir_).status().code(), absl::StatusCode::kNotFound);
  ASSERT_OK(MakeDirectories(model_dir_));
  EXPECT_EQ(ResolveCheckpoint(model_dir_).status().code(), absl::StatusCode::kNotFound);
  for (const int64_t step : {9, 100, 20, 0}) ASSERT_OK(WriteCheckpoint(model_dir_, step));
  // None of these is a complete checkpoint.
  for (const char* name : {".tmp.model.ckpt-200", "model.ckpt-201", "model.ckpt-",
                           "model.ckpt-0300", "model.ckpt-+301", "model.ckpt-302x", "model.ckpt--1",
                           "model.ckpt-99999999999999999999", "xmodel.ckpt-303"}) {
    ASSERT_OK(MakeDirectories(model_dir_ + "/" + name));
    if (std::string(name) != "model.ckpt-201") {
      WriteBytes(model_dir_ + "/" + name + "/manifest.json", "{}");
    }
  }
  EXPECT_THAT(ListCheckpoints(model_dir_).value(), ElementsAre(0, 9, 20, 100));
  const auto newest = ResolveCheckpoint(model_dir_);
  EXPECT_EQ(newest.status().code(), absl::StatusCode::kDataLoss)
      << "an older one is not taken without a word";
  EXPECT_THAT(newest, IsError(HasSubstr("model.ckpt-201 is damaged")));
  EXPECT_THAT(newest, IsError(HasSubstr("model.ckpt-100")));
  std::filesystem::rename(model_dir_ + "/model.ckpt-201", directory_ / "model.ckpt-201");
  EXPECT_EQ(ResolveCheckpoint(model_dir_).value(), model_dir_ + "/model.ckpt-100");
  EXPECT_EQ(ResolveCheckpoint(model_dir_ + "//").value(), model_dir_ + "/model.ckpt-100");
  EXPECT_EQ(ResolveCheckpoint(model_dir_ + "/model.ckpt-9/").value(), model_dir_ + "/model.ckpt-9");
  const auto damaged = ResolveCheckpoint(directory_ / "model.ckpt-201");
  EXPECT_EQ(damaged.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(damaged, IsError(HasSubstr("manifest.json is missing")));
  const auto only = ResolveCheckpoint(directory_.path());
  EXPECT_EQ(only.status().code(), absl::StatusCode::kDataLoss)
      << "a damaged one is not the same as none";
  EXPECT_THAT(only, IsError(HasSubstr("model.ckpt-201 is damaged")));
  EXPECT_EQ(ResolveCheckpoint(model_dir_ + "/model.ckpt-7").status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(ResolveCheckpoint(model_dir_ + "/model.ckpt-9/trainer.json").status().code(),
            absl::StatusCode::kInvalidArgument);
  // A checkpoint that was copied elsewhere under another name.
  std::filesystem::copy(model_dir_ + "/model.ckpt-9", directory_ / "best",
                        std::filesystem::copy_options::recursive);
  EXPECT_EQ(ResolveCheckpoint(directory_ / "best").value(), directory_ / "best");
  ASSERT_OK(OpenAndVerify(directory_ / "best", true, true));
}

TEST_F(CheckpointTest, OldCheckpointsAreRemoved) {
  ASSERT_OK(PruneCheckpoints(model_dir_, 1, -1));  // nothing there
  for (int64_t step = 1; step <= 5; ++step) ASSERT_OK(WriteCheckpoint(model_dir_, step));
  ASSERT_OK(MakeDirectories(model_dir_ + "/.tmp.model.ckpt-3"));
  ASSERT_OK(MakeDirectories(model_dir_ + "/.tmp.other"));
  ASSERT_OK(PruneCheckpoints(model_dir_, 0, -1));
  EXPECT_THAT(ListCheckpoints(model_dir_).value(), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_FALSE(PathExists(model_dir_ + "/.tmp.model.ckpt-3"));
  EXPECT_TRUE(PathExists(model_dir_ + "/.tmp.other")) << "not ours";
  ASSERT_OK(PruneCheckpoints(model_dir_, 2, 1));
  EXPECT_THAT(ListCheckpoints(model_dir_).value(), ElementsAre(1, 4, 5));
  ASSERT_OK(PruneCheckpoints(model_dir_, 10, -1));
  ASSERT_OK(PruneCheckpoints(model_dir_, 1, -1));
  EXPECT_THAT(ListDirectory(model_dir_).value(), ElementsAre(".tmp.other", "model.ckpt-5"));
}

TEST_F(CheckpointTest, WhatHoldsFilesOfOthersIsKept) {
  for (int64_t step = 1; step <= 3; ++step) ASSERT_OK(WriteCheckpoint(model_dir_, step));
  WriteBytes(model_dir_ + "/model.ckpt-1/notes.txt", "mine");
  const std::string with_notes = model_dir_ + "/.tmp.model.ckpt-7",
                    not_ours = model_dir_ + "/.tmp.model.ckpt-mine";
  const std::string doomed = model_dir_ + "/.tmp.model.ckpt-8.tmp.0123456789abcdef";
  for (const std::string& path : {with_notes, not_ours, doomed + "/tables"}) {
    ASSERT_OK(MakeDirectories(path));
  }
  WriteBytes(with_notes + "/notes.txt", "mine");
  WriteBytes(doomed + "/tables/x.arrow", "x");
  ASSERT_OK(PruneCheckpoints(model_dir_, 1, -1));
  EXPECT_THAT(ListCheckpoints(model_dir_).value(), ElementsAre(1, 3));
  EXPECT_EQ(ReadBytes(model_dir_ + "/model.ckpt-1/notes.txt"), "mine");
  EXPECT_EQ(ReadBytes(with_notes + "/notes.txt"), "mine");
  EXPECT_TRUE(PathExists(not_ours));
  EXPECT_FALSE(PathExists(doomed));
}

TEST_F(CheckpointTest, VerifyNamesTheFileAndWhatDiffers) {
  const std::string path = WriteCheckpoint(model_dir_, 1).value();
  const Manifest manifest = ReadManifest(path).value();
  const std::string trainer = path + "/trainer.json", good = ReadBytes(trainer);
  WriteBytes(path + "/notes.txt", "files the manifest does not name are ignored");
  WriteBytes(trainer, "{\"position\": 6}\n");
  Status status = VerifyCheckpoint(path, manifest);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(status, IsError(HasSubstr("trainer.json: expected crc32c")));
  EXPECT_THAT(status, IsError(HasSubstr("found")));
  ASSERT_OK(VerifyCheckpoint(path, manifest, /*contents=*/false));
  WriteBytes(trainer, good + " ");
  status = VerifyCheckpoint(path, manifest, /*contents=*/false);
  EXPECT_EQ(status.message(), absl::StrCat(trainer, ": expected 16 bytes, found 17"));
  std::filesystem::remove(trainer);
  status = VerifyCheckpoint(path, manifest, /*contents=*/false);
  EXPECT_EQ(status.message(), absl::StrCat(trainer, ": the file is missing"));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  ASSERT_OK(MakeDirectories(trainer));
  EXPECT_FALSE(VerifyCheckpoint(path, manifest).ok()) << "a directory instead of a file";
}

TEST_F(CheckpointTest, DeepVerifyRecomputesDigests) {
  const std::string path = WriteCheckpoint(model_dir_, 1, 50).value();
  Manifest manifest = ReadManifest(path).value();
  ASSERT_OK(VerifyCheckpoint(path, manifest, true, true));
  // A manifest that fits its files in every byte but lies about the rows.
  manifest.parts[1].buckets[3].digest.lo ^= 1;
  ASSERT_OK(VerifyCheckpoint(path, manifest));
  const Status status = VerifyCheckpoint(path, manifest, true, true);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(status, IsError(HasSubstr("part-00000-of-00001.arrow: expected bucket")));
  manifest = ReadManifest(path).value();
  manifest.parts[0].table = "other";  // then the rows stand in other buckets
  EXPECT_FALSE(VerifyCheckpoint(path, manifest, true, true).ok());
}

TEST_F(CheckpointTest, EveryFlippedByteIsNoticed) {
  const std::string path = WriteCheckpoint(model_dir_, 1, 2).value();
  ASSERT_OK(OpenAndVerify(path));
  const Manifest manifest = ReadManifest(path).value();
  for (const std::string& file : {std::string("manifest.json"), std::string("dense.safetensors"),
                                  std::string("trainer.json"), manifest.parts[0].file}) {
    const std::string victim = path + "/" + file, whole = ReadBytes(victim);
    for (size_t i = 0; i < whole.size(); ++i) {
      for (const int mask : {0x01, 0x20, 0xff}) {
        std::string damaged = whole;
        damaged[i] = static_cast<char>(damaged[i] ^ mask);
        WriteBytes(victim, damaged);
        const Status status = OpenAndVerify(path);
        ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss)
            << file << " byte " << i << " ^ " << mask;
        ASSERT_THAT(status, IsError(HasSubstr(file)));
      }
    }
    WriteBytes(victim, whole);
  }
  ASSERT_OK(OpenAndVerify(path));
}

TEST_F(CheckpointTest, EveryTruncatedManifestIsNoticed) {
  const std::string path = WriteCheckpoint(model_dir_, 1, 1).value();
  const std::string text = ReadBytes(path + "/manifest.json");
  for (size_t length = 0; length < text.size(); ++length) {
    EXPECT_EQ(ManifestFromText(text.substr(0, length)).status().code(), absl::StatusCode::kDataLoss)
        << length;
  }
  EXPECT_FALSE(ManifestFromText(text + "\n").ok());
}

TEST_F(CheckpointTest, ManifestsThatPointElsewhereAreRefused) {
  Manifest manifest;
  ASSERT_OK(ManifestToText(manifest));
  for (const char* file :
       {"", "/etc/passwd", "../x", "a/../../x", "a//b/", "./a", "manifest.json"}) {
    manifest.files = {{file, 0, 0}};
    EXPECT_FALSE(ManifestToText(manifest).ok()) << file;
  }
  manifest.files = {{"a", 0, 0}, {"a", 0, 0}};
  EXPECT_FALSE(ManifestToText(manifest).ok());
  manifest.files.clear();
  PartEntry part;
  part.table = "t";
  part.file = "p0";
  part.dim = 2;
  manifest.parts = {part, part};
  manifest.parts[1].file = "p1";
  ASSERT_OK(ManifestFromText(ManifestToText(manifest).value()));
  manifest.parts[1].dim = 3;
  EXPECT_FALSE(ManifestToText(manifest).ok()) << "two widths of one table";
}

TEST_F(CheckpointTest, MissingDirectoryAndMissingManifestDiffer) {
  EXPECT_EQ(ReadManifest(model_dir_ + "/model.ckpt-1").status().code(),
            absl::StatusCode::kNotFound);
  ASSERT_OK(MakeDirectories(model_dir_ + "/model.ckpt-1"));
  EXPECT_EQ(ReadManifest(model_dir_ + "/model.ckpt-1").status().code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(CheckpointTest, EventTimesAreReadBackAndEndWithTheStep) {
  Manifest manifest;
  manifest.step = 7;
  EXPECT_EQ(ManifestToText(manifest)->find("event_times"), std::string::npos);
  manifest.event_times = {{3, 1'600'000'000}, {7, 1'600'000'100}};
  ASSERT_OK_AND_ASSIGN(const std::string text, ManifestToText(manifest));
  EXPECT_THAT(text, HasSubstr("\n  \"event_times\": [[3, 1600000000], [7, 1600000100]],"));
  EXPECT_EQ(ManifestFromText(text)->event_times, manifest.event_times);
  manifest.step = 6;
  EXPECT_THAT(ManifestFromText(*ManifestToText(manifest)),
              IsError(HasSubstr("\"event_times\" ends with step 7, expected at most 6")));
}

TEST_F(CheckpointTest, FiltersAreListedReadAndVerified) {
  ASSERT_OK_AND_ASSIGN(CheckpointWriter writer, CheckpointWriter::Begin(model_dir_, 3));
  Manifest manifest;
  manifest.step = 3;
  const std::vector<uint64_t> words = {1, 0x8000000000000002, 3};
  for (const auto& [part, first, end] : {std::tuple(0, 0, 2), {1, 2, kBucketCount}}) {
    FilterEntry entry;
    entry.table = "t/x";
    entry.first_bucket = first;
    entry.end_bucket = end;
    entry.counter_bits = 8;
    entry.bucket_words = 3;
    ASSERT_OK_AND_ASSIGN(entry, WriteFilter(writer.temporary_directory(), entry, part, 2,
                                            [&](int) { return std::span<const uint64_t>(words); }));
    manifest.filters.push_back(entry);
  }
  EXPECT_EQ(manifest.filters[1].file, "tables/t%2Fx/filter-00001-of-00002.safetensors");
  ASSERT_OK_AND_ASSIGN(const std::string path, writer.Commit(manifest));
  ASSERT_OK_AND_ASSIGN(const Manifest read, ReadManifest(path));
  EXPECT_EQ(FilterEntriesToJson(read.filters), FilterEntriesToJson(manifest.filters));
  std::vector<int> buckets;
  EXPECT_OK(ReadFilter(path, read.filters[0], [&](int bucket, std::span<const uint64_t> found) {
    buckets.push_back(bucket);
    EXPECT_TRUE(std::equal(found.begin(), found.end(), words.begin(), words.end()));
  }));
  EXPECT_EQ(buckets, (std::vector<int>{0, 1}));
  EXPECT_OK(VerifyCheckpoint(path, read, true, /*deep=*/true));
  FilterEntry wrong = read.filters[0];
  wrong.bucket_words = 2;
  EXPECT_THAT(ReadFilter(path, wrong, [](int, std::span<const uint64_t>) {}),
              IsError(HasSubstr("expected one tensor counters, I64 [2, 2]")));
  for (const auto& [from, to] : {std::pair("\"counter_bits\":8", "\"counter_bits\":7"),
                                 {"\"bucket_words\":3", "\"bucket_words\":0"},
                                 {"\"end_bucket\":1024", "\"end_bucket\":1025"}}) {
    std::string json = FilterEntriesToJson(manifest.filters);
    const size_t at = json.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    EXPECT_FALSE(FilterEntriesFromJson(json.replace(at, std::string(from).size(), to)).ok()) << to;
  }
  std::string bytes = ReadBytes(path + "/" + read.filters[1].file);
  bytes[bytes.size() / 2] ^= 1;
  WriteBytes(path + "/" + read.filters[1].file, bytes);
  EXPECT_THAT(VerifyCheckpoint(path, read),
              IsError(HasSubstr("filter-00001-of-00002.safetensors")));
}

// Candidates are rows of width 0, with a list of their own, so that nobody takes them for rows.
TEST_F(CheckpointTest, CandidatesAreListedApartAndVerified) {
  ASSERT_OK_AND_ASSIGN(CheckpointWriter writer, CheckpointWriter::Begin(model_dir_, 3));
  Manifest manifest;
  manifest.step = 3;
  ASSERT_OK_AND_ASSIGN(manifest.parts,
                       WriteParts(writer.temporary_directory(), "t", MakeRows("t", 50, 2, 1), 1));
  EXPECT_EQ(ManifestToText(manifest)->find("candidates"), std::string::npos);
  ASSERT_OK_AND_ASSIGN(manifest.candidates,
                       WriteParts(writer.temporary_directory(), "t", MakeRows("t", 90, 0, 0), 2));
  EXPECT_EQ(manifest.candidates[1].file, "tables/t/candidates-00001-of-00002.arrow");
  ASSERT_OK_AND_ASSIGN(const std::string path, writer.Commit(manifest));
  ASSERT_OK_AND_ASSIGN(const Manifest read, ReadManifest(path));
  ASSERT_EQ(read.candidates.size(), 2u);
  EXPECT_EQ(read.candidates[0].rows + read.candidates[1].rows, 90);
  EXPECT_OK(VerifyCheckpoint(path, read, true, /*deep=*/true));
  std::string bytes = ReadBytes(path + "/" + read.candidates[0].file);
  bytes[bytes.size() / 2] ^= 1;
  WriteBytes(path + "/" + read.candidates[0].file, bytes);
  EXPECT_THAT(VerifyCheckpoint(path, read), IsError(HasSubstr("candidates-00000-of-00002.arrow")));

  Manifest wrong = manifest;
  wrong.candidates = manifest.parts;
  wrong.parts.clear();
  EXPECT_THAT(ManifestToText(wrong),
              IsError(HasSubstr("candidates of table t have dim 2 and state_dim 1, expected 0")));
  wrong = manifest;
  wrong.parts = manifest.candidates;
  wrong.candidates.clear();
  EXPECT_THAT(ManifestToText(wrong),
              IsError(HasSubstr("rows of table t have dim 0, expected at least 1")));
}

}  // namespace
}  // namespace pepnet
