#include "worker/data/files/parquet_reader.h"

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <parquet/arrow/writer.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"
#include "tests/worker/data/data_files.h"
#include "worker/data/files/column_view.h"

namespace pepnet {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Writes the column, reads it back and shows every row's elements: "1,2|-|".
std::string RoundTrip(const std::shared_ptr<arrow::Array>& values) {
  TestDirectory dir;
  WriteParquet(dir.Path("p"),
               {{"other", JsonArray(arrow::list(arrow::int8()), "[[1],[],[2,3]]")}, {"v", values}},
               2);
  const auto reader = OpenParquetReader(dir.Path("p"), {"v"});
  EXPECT_OK(reader);
  std::string text;
  while (true) {
    const auto chunk = (*reader)->Read(100);
    EXPECT_OK(chunk);
    if (chunk->rows->num_rows() == 0) return text;
    const auto view = ColumnView::Make(chunk->rows->column(0));
    if (!view.ok()) return std::string(view.status().message());
    for (int64_t row = 0; row < chunk->rows->num_rows(); ++row) {
      if (chunk->first_row + row > 0) text.push_back('|');
      const ColumnView::Range range = view->Elements(row);
      for (int64_t element = range.begin; element < range.end; ++element) {
        absl::StrAppend(&text, element > range.begin ? "," : "",
                        view->IsEmpty(element) ? std::string(1, '-') : view->ToText(element));
        double weight = 0;
        if (view->is_map() && view->MapValue(element, &weight)) absl::StrAppend(&text, ":", weight);
      }
    }
  }
}

TEST(ParquetReaderTest, ReadsEveryTypeAColumnMayHave) {
  for (const auto& type :
       {arrow::int8(), arrow::int16(), arrow::int32(), arrow::int64(), arrow::uint8(),
        arrow::uint16(), arrow::uint32(), arrow::uint64(), arrow::float32(), arrow::float64()}) {
    EXPECT_EQ(RoundTrip(JsonArray(type, "[1, null, 3]")), "1|-|3") << type->ToString();
  }
  EXPECT_EQ(RoundTrip(JsonArray(arrow::uint64(), "[18446744073709551615, 1, 2]")),
            "18446744073709551615|1|2");
  for (const auto& type : {arrow::utf8(), arrow::large_utf8(), arrow::binary(), arrow::utf8_view(),
                           arrow::dictionary(arrow::int32(), arrow::utf8())}) {
    EXPECT_EQ(RoundTrip(JsonArray(type, R"(["a", null, "bc"])")), "a|-|bc") << type->ToString();
  }
  EXPECT_EQ(RoundTrip(JsonArray(arrow::list(arrow::int64()), "[[1, 2], [], null]")), "1,2||");
  EXPECT_EQ(RoundTrip(JsonArray(arrow::large_list(arrow::utf8()), R"([["a", null], ["b"], []])")),
            "a,-|b|");
  EXPECT_EQ(RoundTrip(JsonArray(arrow::list(arrow::float32()), "[[0.5], [], [1]]")), "0.5||1");
  EXPECT_EQ(RoundTrip(JsonArray(arrow::map(arrow::utf8(), arrow::float32()),
                                R"([[["a", 0.5]], [], [["b", 2], ["c", 1]]])")),
            "a:0.5||b:2,c:1");
  EXPECT_EQ(RoundTrip(JsonArray(arrow::null(), "[null, null, null]")), "-|-|-");
}

TEST(ParquetReaderTest, ReadsTypesThatMeanNumbers) {
  EXPECT_EQ(RoundTrip(JsonArray(arrow::boolean(), "[true, null, false]")), "1|-|0");
  EXPECT_EQ(RoundTrip(JsonArray(arrow::float16(), "[0.5, null, 65504]")), "0.5|-|65504");
  EXPECT_EQ(RoundTrip(JsonArray(arrow::date32(), "[19000, null, -1]")), "19000|-|-1");
  for (const auto unit : {arrow::TimeUnit::MILLI, arrow::TimeUnit::MICRO, arrow::TimeUnit::NANO}) {
    EXPECT_EQ(RoundTrip(JsonArray(arrow::timestamp(unit, "UTC"), "[1700000000000, null, -1]")),
              "1700000000000|-|-1");
  }
  EXPECT_EQ(RoundTrip(JsonArray(arrow::decimal128(20, 2), R"(["1.50", null, "-0.25"])")),
            "1.50|-|-0.25");
  EXPECT_EQ(
      RoundTrip(JsonArray(arrow::decimal128(38, 0), R"(["7", null, "99999999999999999999"])")),
      "7|-|99999999999999999999");
  EXPECT_EQ(RoundTrip(JsonArray(arrow::decimal256(40, 1), R"(["1.5", null, "2.0"])")), "1.5|-|2.0");
  EXPECT_EQ(RoundTrip(JsonArray(arrow::list(arrow::boolean()), "[[true], [], [false, true]]")),
            "1||0,1");
}

TEST(ParquetReaderTest, ReadsListsOfFixedSize) {
  EXPECT_EQ(RoundTrip(JsonArray(arrow::fixed_size_list(arrow::float32(), 2),
                                "[[0.5, 1], null, [2, null]]")),
            "0.5,1||2,-");
  EXPECT_EQ(
      RoundTrip(JsonArray(arrow::fixed_size_list(arrow::utf8(), 1), R"([["a"], ["b"], ["c"]])")),
      "a|b|c");
}

// The values behind the texts, and a view of a part of an array.
TEST(ParquetReaderTest, ViewsTellTheKindAndTheValueOfNumbers) {
  const auto view = [](const std::shared_ptr<arrow::DataType>& type, const std::string& json) {
    auto made = ColumnView::Make(JsonArray(type, json)->Slice(1));
    EXPECT_OK(made);
    return *std::move(made);
  };
  const ColumnView flag = view(arrow::boolean(), "[false, true]");
  int64_t integer = 0;
  EXPECT_EQ(flag.kind(), ColumnView::Kind::kInteger);
  EXPECT_TRUE(flag.Integer(0, &integer));
  EXPECT_EQ(integer, 1);
  EXPECT_EQ(flag.Real(0), 1);
  const ColumnView price = view(arrow::decimal128(10, 2), R"(["0.00", "1.25"])");
  EXPECT_EQ(price.kind(), ColumnView::Kind::kReal);
  EXPECT_EQ(price.Real(0), 1.25);
  const ColumnView number =
      view(arrow::decimal128(30, 0), R"(["0", "12", "99999999999999999999"])");
  EXPECT_EQ(number.kind(), ColumnView::Kind::kInteger);
  EXPECT_TRUE(number.Integer(0, &integer));
  EXPECT_EQ(integer, 12);
  EXPECT_FALSE(number.Integer(1, &integer));
  EXPECT_EQ(number.Real(1), 1e20);
  EXPECT_EQ(view(arrow::float16(), "[0, 0.25]").Real(0), 0.25);
  const ColumnView pairs = view(arrow::fixed_size_list(arrow::int32(), 2), "[[1, 2], [3, 4]]");
  EXPECT_TRUE(pairs.is_list());
  EXPECT_EQ(pairs.ToText(pairs.Elements(0).begin), "3");
  EXPECT_EQ(pairs.Elements(0).end - pairs.Elements(0).begin, 2);
}

TEST(ParquetReaderTest, TypesThatMeanNoValueAreRefusedByName) {
  EXPECT_EQ(RoundTrip(JsonArray(arrow::list(arrow::list(arrow::int8())), "[[[1]], [], null]")),
            "the type list<element: int8> is not supported; write the column as numbers, texts, "
            "lists of them, or a map "
            "from text or integer to number");
  for (const auto& type :
       {arrow::time64(arrow::TimeUnit::MICRO), arrow::duration(arrow::TimeUnit::SECOND)}) {
    EXPECT_THAT(RoundTrip(JsonArray(type, "[1, null, 3]")),
                HasSubstr("the type " + type->ToString() +
                          " is not supported; write the column as numbers"));
  }
}

TEST(ParquetReaderTest, SkippedRowGroupsAreNotDecoded) {
  TestDirectory dir;
  std::string json("[0");
  for (int i = 1; i < 3000; ++i) absl::StrAppend(&json, ",", i);
  WriteParquet(dir.Path("p"), {{"v", JsonArray(arrow::int64(), json + "]")}}, 1000);
  // Damage the pages of the first row group: only a reader that decodes them notices.
  std::fstream file(dir.Path("p"), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4);
  file << std::string(200, '\xff');
  file.close();
  ASSERT_OK_AND_ASSIGN(const auto reader, OpenParquetReader(dir.Path("p"), {"v"}));
  EXPECT_EQ(*reader->Skip(1500), 1500);
  ASSERT_OK_AND_ASSIGN(const auto chunk, reader->Read(1));
  EXPECT_EQ(chunk.first_row, 1500);
  EXPECT_EQ(ColumnView::Make(chunk.rows->column(0))->ToText(0), "1500");
  const auto from_start = OpenParquetReader(dir.Path("p"), {"v"});
  const auto damaged = (*from_start)->Read(10);
  ASSERT_FALSE(damaged.ok());
  EXPECT_THAT(damaged, IsError(HasSubstr("cannot read '" + dir.Path("p") + "' as Parquet: ")));
}

TEST(ParquetReaderTest, ForeignOrTruncatedFilesAreOneSentenceWithThePath) {
  TestDirectory dir;
  WriteParquet(dir.Path("whole"), {{"v", JsonArray(arrow::int64(), "[1, 2, 3]")}});
  std::ifstream in(dir.Path("whole"), std::ios::binary);
  std::stringstream bytes;
  bytes << in.rdbuf();
  const std::string whole = bytes.str();
  for (size_t size = 0; size < whole.size(); size += 7) {
    const std::string path = dir.Write("cut", whole.substr(0, size));
    const auto reader = OpenParquetReader(path, {"v"});
    ASSERT_FALSE(reader.ok()) << size;
    const std::string message(reader.status().message());
    EXPECT_THAT(message, HasSubstr("cannot read '" + path + "' as Parquet: ")) << size;
    EXPECT_THAT(message, Not(HasSubstr("\n"))) << size;
  }
  EXPECT_FALSE(OpenParquetReader(dir.Write("csv", "a,b\n1,2\n3,4\n5,6\n"), {"a"}).ok());
}

// A megabyte that stands in every row takes a megabyte of the file, and would take a gigabyte
// decoded at once.
TEST(ParquetReaderTest, FewRowsOfALongWordAreDecodedAtOnce) {
  TestDirectory dir;
  std::string json = "[";
  for (int row = 0; row < 1000; ++row) absl::StrAppend(&json, row > 0 ? "," : "", row % 2);
  arrow::StringBuilder words;
  ASSERT_TRUE(words.AppendValues({std::string(1 << 20, 'x'), "short"}).ok());
  const auto column =
      arrow::DictionaryArray::FromArrays(arrow::dictionary(arrow::int32(), arrow::utf8()),
                                         JsonArray(arrow::int32(), json + "]"), *words.Finish());
  const auto texts = (*column)->View(arrow::dictionary(arrow::int32(), arrow::utf8()));
  ASSERT_TRUE(texts.ok());
  auto schema =
      arrow::schema({arrow::field("v", arrow::dictionary(arrow::int32(), arrow::utf8()))});
  auto file = *arrow::io::FileOutputStream::Open(dir.Path("p"));
  // Without Arrow's own schema the column is read as texts.
  ASSERT_TRUE(parquet::arrow::WriteTable(
                  *arrow::Table::Make(schema, {*texts}), arrow::default_memory_pool(), file, 1000,
                  parquet::WriterProperties::Builder().dictionary_pagesize_limit(8 << 20)->build())
                  .ok());
  ASSERT_OK_AND_ASSIGN(const auto reader, OpenParquetReader(dir.Path("p"), {"v"}));
  ASSERT_EQ(reader->schema()->field(0)->type()->ToString(), "string");
  int64_t rows = 0, bytes = 0;
  while (true) {
    ASSERT_OK_AND_ASSIGN(const auto chunk, reader->Read(1000));
    if (chunk.rows->num_rows() == 0) break;
    EXPECT_LE(chunk.rows->num_rows(), 256);
    ASSERT_OK_AND_ASSIGN(const auto view, ColumnView::Make(chunk.rows->column(0)));
    for (int64_t row = 0; row < chunk.rows->num_rows(); ++row) {
      bytes += static_cast<int64_t>(view.Text(row).size());
    }
    rows += chunk.rows->num_rows();
  }
  EXPECT_EQ(rows, 1000);
  EXPECT_EQ(bytes, 500 * ((int64_t{1} << 20) + 5));
}

// Each byte of the column set to the largest value: whatever comes back was in the dictionary, and
// an index outside of it is an error.
TEST(ParquetReaderTest, NoDamagedIndexReadsBehindTheDictionary) {
  TestDirectory dir;
  std::string json = "[";
  for (int row = 0; row < 300; ++row) {
    absl::StrAppend(&json, row > 0 ? "," : "", "\"word-", row * 7 % 5, "\"");
  }
  const auto words = arrow::dictionary(arrow::int32(), arrow::utf8());
  WriteParquet(dir.Path("p"), {{"v", JsonArray(words, json + "]")}});
  std::stringstream whole;
  whole << std::ifstream(dir.Path("p"), std::ios::binary).rdbuf();
  const std::string bytes = whole.str();
  int refused = 0;
  for (size_t at = 4; at < std::min<size_t>(bytes.size(), 400); ++at) {
    std::string damaged = bytes;
    damaged[at] = '\xff';
    const auto reader = OpenParquetReader(dir.Write("d", damaged), {"v"});
    if (!reader.ok()) continue;
    const auto chunk = (*reader)->Read(1000);
    if (!chunk.ok()) {
      refused +=
          std::string(chunk.status().message()).find("of a dictionary of 5") != std::string::npos
              ? 1
              : 0;
      continue;
    }
    ASSERT_OK_AND_ASSIGN(const auto view, ColumnView::Make(chunk->rows->column(0)));
    for (int64_t row = 0; row < chunk->rows->num_rows(); ++row) {
      if (view.IsEmpty(row)) continue;
      EXPECT_LE(view.ToText(row).size(), 6u) << at;
    }
  }
  EXPECT_GT(refused, 0) << "no byte was an index";
}

}  // namespace
}  // namespace pepnet
