#include "common/checkpoint/safetensors.h"

#include <cstring>
#include <filesystem>
#include <limits>
#include <span>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "common/file/file.h"
#include "tests/common/checkpoint/test_files.h"
#include "tests/support/paths.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A file with the given header text and data, whether valid or not.
std::string FileOf(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + data;
}

class SafetensorsTest : public testing::Test {
 protected:
  StatusOr<std::unique_ptr<SafetensorsReader>> OpenBytes(const std::string& bytes) {
    WriteBytes(path_, bytes);
    return SafetensorsReader::Open(path_);
  }
  void ExpectRefused(const std::string& header, const std::string& data,
                     const std::string& reason) {
    const auto reader = OpenBytes(FileOf(header, data));
    ASSERT_FALSE(reader.ok()) << header;
    EXPECT_EQ(reader.status().code(), absl::StatusCode::kDataLoss) << header;
    EXPECT_THAT(reader, IsError(HasSubstr(reason))) << header;
    EXPECT_THAT(reader, IsError(HasSubstr(path_)));
  }

  TemporaryDirectory directory_;
  const std::string path_ = directory_ / "x.safetensors";
};

TEST_F(SafetensorsTest, WhatIsWrittenIsReadBack) {
  const std::vector<float> a = {1.5f, -0.0f, std::numeric_limits<float>::denorm_min()};
  const std::vector<double> b = {0.1, 3.0};
  const std::vector<int64_t> c = {INT64_MIN, 7, INT64_MAX, 0};
  ASSERT_OK_AND_ASSIGN(auto writer,
                       SafetensorsWriter::Create(path_, {{"z \"quoted\" \xc3\xa9", "F32", {3}},
                                                         {"b", "F64", {1, 2, 1}},
                                                         {"empty", "F32", {0, 17}},
                                                         {"c", "I64", {2, 2}},
                                                         {"scalar", "F32", {}}}));
  // In pieces that do not respect tensors.
  std::string data;
  data.append(reinterpret_cast<const char*>(a.data()), 12);
  data.append(reinterpret_cast<const char*>(b.data()), 16);
  data.append(reinterpret_cast<const char*>(c.data()), 32);
  data.append(reinterpret_cast<const char*>(a.data()), 4);
  for (size_t i = 0; i < data.size(); i += 7) {
    ASSERT_OK(writer->Append(data.data() + i, std::min<size_t>(7, data.size() - i)));
  }
  ASSERT_OK_AND_ASSIGN(const auto result, writer->Finish());
  ASSERT_OK_AND_ASSIGN(const auto sum, ChecksumFile(path_));
  EXPECT_EQ(result.bytes, sum.bytes);
  EXPECT_EQ(result.crc32c, sum.crc32c);

  ASSERT_OK_AND_ASSIGN(auto reader, SafetensorsReader::Open(path_));
  EXPECT_EQ(reader->tensors().size(), 5u);
  ASSERT_OK_AND_ASSIGN(const auto floats, reader->ReadFloats("z \"quoted\" \xc3\xa9"));
  EXPECT_EQ(std::memcmp(floats.data(), a.data(), 12), 0);
  EXPECT_EQ(reader->ReadDoubles("b").value(), b);
  EXPECT_THAT(reader->ReadFloats("b").value(), ElementsAre(0.1f, 3.0f));
  EXPECT_EQ(reader->ReadIntegers("c").value(), c);
  EXPECT_TRUE(reader->ReadFloats("empty").value().empty());
  EXPECT_THAT(reader->ReadFloats("scalar").value(), ElementsAre(1.5f));
  EXPECT_THAT(reader->tensors().at("b").shape, ElementsAre(1, 2, 1));
  ASSERT_OK_AND_ASSIGN(const auto view, reader->ViewFloats("z \"quoted\" \xc3\xa9"));
  EXPECT_EQ(view[0], 1.5f);
  // The data start at a multiple of 8.
  EXPECT_EQ(ReadBytes(path_)[0] % 8, 0);
}

TEST_F(SafetensorsTest, NoTensorsAtAllIsAValidFile) {
  ASSERT_OK_AND_ASSIGN(auto writer, SafetensorsWriter::Create(path_, {}));
  ASSERT_OK(writer->Finish());
  EXPECT_TRUE(SafetensorsReader::Open(path_).value()->tensors().empty());
}

TEST_F(SafetensorsTest, LongTensorsAreReadInPieces) {
  constexpr int64_t kCount = 200'003;
  std::vector<double> values(kCount);
  for (int64_t i = 0; i < kCount; ++i) values[i] = 0.5 * static_cast<double>(i);
  ASSERT_OK_AND_ASSIGN(auto writer, SafetensorsWriter::Create(path_, {{"a", "F64", {kCount}}}));
  ASSERT_OK(writer->Append(values.data(), values.size() * sizeof(double)));
  ASSERT_OK(writer->Finish());
  ASSERT_OK_AND_ASSIGN(auto reader, SafetensorsReader::Open(path_));
  std::vector<double> seen;
  size_t largest = 0;
  ASSERT_OK(reader->VisitDoubles("a", [&](std::span<const double> piece) {
    largest = std::max(largest, piece.size());
    seen.insert(seen.end(), piece.begin(), piece.end());
  }));
  EXPECT_EQ(seen, values);
  EXPECT_LT(largest, values.size());
  EXPECT_EQ(reader->ReadFloats("a").value().back(), static_cast<float>(values.back()));
}

// A mapped page that is gone would end the process.
TEST_F(SafetensorsTest, AFileThatIsCutWhileItIsReadIsAnError) {
  ASSERT_OK_AND_ASSIGN(auto writer, SafetensorsWriter::Create(path_, {{"a", "F32", {100'000}}}));
  const std::vector<float> values(100'000, 1.0f);
  ASSERT_OK(writer->Append(values.data(), values.size() * sizeof(float)));
  ASSERT_OK(writer->Finish());
  ASSERT_OK_AND_ASSIGN(auto reader, SafetensorsReader::Open(path_));
  std::filesystem::resize_file(path_, 5000);
  EXPECT_THAT(reader->ReadFloats("a"), IsError(HasSubstr("cut while it was read")));
  EXPECT_THAT(reader->ReadFloats("a"), IsError(HasSubstr(path_)));
}

TEST_F(SafetensorsTest, WrongRequestsAreErrors) {
  ASSERT_OK_AND_ASSIGN(auto writer,
                       SafetensorsWriter::Create(path_, {{"f", "F32", {2}}, {"d", "F64", {1}}}));
  const float two[2] = {1e10f, 2.5f};
  const double one = 1e300;
  ASSERT_OK(writer->Append(two, 8));
  EXPECT_FALSE(writer->Finish().ok()) << "declared data are missing";
  ASSERT_OK(writer->Append(&one, 8));
  EXPECT_FALSE(writer->Append(&one, 1).ok()) << "more than declared";
  ASSERT_OK(writer->Finish());
  ASSERT_OK_AND_ASSIGN(auto reader, SafetensorsReader::Open(path_));
  EXPECT_EQ(reader->ReadFloats("x").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(reader->ViewFloats("d").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(reader->ReadIntegers("f"), IsError(HasSubstr("element 1 is 2.5")));
  EXPECT_FALSE(reader->ReadIntegers("d").ok()) << "1e300 is no int64";
  EXPECT_EQ(SafetensorsReader::Open(directory_ / "none").status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_FALSE(SafetensorsReader::Open(directory_.path()).ok()) << "a directory";

  EXPECT_FALSE(SafetensorsWriter::Create(path_, {{"a", "F32", {1}}, {"a", "F32", {1}}}).ok());
  EXPECT_FALSE(SafetensorsWriter::Create(path_, {{"__metadata__", "F32", {1}}}).ok());
  EXPECT_FALSE(SafetensorsWriter::Create(path_, {{"a", "F16", {1}}}).ok());
  EXPECT_FALSE(SafetensorsWriter::Create(path_, {{"a", "F32", {-1}}}).ok());
  EXPECT_FALSE(
      SafetensorsWriter::Create(path_, {{"a", "F32", {int64_t{1} << 40, int64_t{1} << 40}}}).ok());
  EXPECT_FALSE(SafetensorsWriter::Create(path_, {{"not utf-8 \xff", "F32", {1}}}).ok());
}

TEST_F(SafetensorsTest, HeadersThatDoNotFitAreRefused) {
  ExpectRefused("[1]", "", "not a JSON object");
  ExpectRefused("{", "", "not valid JSON");
  ExpectRefused("{} x", "", "not valid JSON");
  ExpectRefused("", "", "not valid JSON");
  ExpectRefused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "123",
                "do not lie within");
  ExpectRefused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", "1234",
                "do not lie within");
  ExpectRefused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}})", "1234",
                "pair of offsets");
  ExpectRefused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]}})",
                "1234", "do not lie");
  ExpectRefused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551616]}})",
                "1234", "pair of");
  ExpectRefused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", "1234",
                "does not fit 4 bytes");
  ExpectRefused(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", "1234",
                "not a list of sizes");
  ExpectRefused(R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", "1234",
                "not a list of sizes");
  ExpectRefused(R"({"a":{"dtype":"F32","shape":"1","data_offsets":[0,4]}})", "1234", "not a list");
  ExpectRefused(R"({"a":{"dtype":4,"shape":[1],"data_offsets":[0,4]}})", "1234",
                "\"dtype\" is not a string");
  ExpectRefused(R"({"a":{"shape":[1],"data_offsets":[0,4]}})", "1234", "\"dtype\" is missing");
  ExpectRefused(R"({"a":7})", "", "expected a JSON object");
  // 2^62 * 4 bytes wraps to 0 in 64 bits.
  ExpectRefused(R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", "",
                "does not fit");
  ExpectRefused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "12345",
                "the tensors end at 4");
  ExpectRefused(
      R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[5,9]}})",
      "123456789", "(gap)");
  ExpectRefused(
      R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
      "123456", "(overlap)");
  ExpectRefused(
      R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
      "12345678", "named twice");
  ExpectRefused(R"({"a":{"dtype":"F32","dtype":"I64","shape":[1],"data_offsets":[0,4]}})", "1234",
                "named twice");
}

TEST_F(SafetensorsTest, ForeignFilesAreRead) {
  // Metadata is ignored, an unknown dtype is listed, and what stands behind it at an odd address
  // can be copied.
  ASSERT_OK_AND_ASSIGN(
      auto reader,
      OpenBytes(FileOf(
          R"({"__metadata__":{"format":"pt"},"odd":{"dtype":"F99","shape":[3],"data_offsets":[0,5]},)"
          R"("half":{"dtype":"F16","shape":[1],"data_offsets":[5,7]},)"
          R"("f":{"dtype":"F32","shape":[1],"data_offsets":[7,11]}}  )",
          std::string("abcdehh\0\0\xc0\x3f", 11))));
  EXPECT_EQ(reader->tensors().size(), 3u);
  EXPECT_EQ(reader->ReadFloats("odd").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(reader->ReadFloats("half"), IsError(HasSubstr("F16")));
  EXPECT_THAT(reader->ReadFloats("f").value(), ElementsAre(1.5f));
}

TEST_F(SafetensorsTest, RecordedFilesOfTheReferenceAreRead) {
  int files = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(SourceDir() + "/tests/golden")) {
    if (entry.path().extension() != ".safetensors") continue;
    ++files;
    ASSERT_OK_AND_ASSIGN(auto reader, SafetensorsReader::Open(entry.path().string()));
    for (const auto& [name, info] : reader->tensors()) {
      EXPECT_EQ(reader->ReadDoubles(name).value().size(), static_cast<size_t>(info.elements()))
          << name;
    }
  }
  EXPECT_GT(files, 0);
}

TEST_F(SafetensorsTest, EveryTruncationIsRefused) {
  const std::string whole =
      FileOf(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "12345678");
  ASSERT_OK(OpenBytes(whole));
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_EQ(OpenBytes(whole.substr(0, length)).status().code(), absl::StatusCode::kDataLoss)
        << length;
  }
}

TEST_F(SafetensorsTest, NoFlippedByteCrashesTheReader) {
  const std::string whole = FileOf(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                                   R"("b":{"dtype":"I64","shape":[1],"data_offsets":[8,16]}})",
                                   "1234567812345678");
  for (size_t i = 0; i < whole.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = whole;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
      const auto reader = OpenBytes(damaged);
      // Without a checksum of its own, a file cannot know about flipped data.
      if (!reader.ok()) continue;
      for (const auto& [name, info] : (*reader)->tensors()) {
        (void)(*reader)->ReadDoubles(name);
        (void)(*reader)->ReadIntegers(name);
        (void)(*reader)->ViewFloats(name);
      }
    }
  }
}

}  // namespace
}  // namespace pepnet
