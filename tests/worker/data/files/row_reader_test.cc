// The conformance test of both readers, over columns of text that both formats can hold.
#include "worker/data/files/row_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"
#include "tests/worker/data/data_files.h"
#include "worker/data/files/column_view.h"

namespace pepnet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RowReaderTest : public ::testing::TestWithParam<DatasetType> {
 protected:
  RowReaderTest() {
    format_.type = GetParam();
    format_.with_header = true;
  }

  // A file with columns a ("a0", "a1", ...), b (empty in every third row) and c.
  std::string WriteRows(int rows, int64_t row_group_rows = 4) {
    const std::string path = dir_.Path("rows");
    std::string csv = "a,b,c\n", a, b, c;
    for (int i = 0; i < rows; ++i) {
      const std::string n = std::to_string(i);
      const std::string comma = i == 0 ? "" : ",";
      csv += "a" + n + "," + (i % 3 == 0 ? "" : "b" + n) + ",c" + n + "\n";
      a += comma + "\"a" + n + "\"";
      b += comma + (i % 3 == 0 ? "null" : "\"b" + n + "\"");
      c += comma + "\"c" + n + "\"";
    }
    if (GetParam() == DatasetType::kCsv) return dir_.Write("rows", csv);
    WriteParquet(path,
                 {{"a", JsonArray(arrow::utf8(), "[" + a + "]")},
                  {"b", JsonArray(arrow::utf8(), "[" + b + "]")},
                  {"c", JsonArray(arrow::utf8(), "[" + c + "]")}},
                 row_group_rows);
    return path;
  }

  std::unique_ptr<RowReader> Open(const std::string& path,
                                  const std::vector<std::string>& columns) {
    auto reader = OpenRowReader(path, format_, columns);
    EXPECT_OK(reader);
    return std::move(reader).value();
  }

  static void AppendRows(const RowChunk& chunk, std::string* text) {
    for (int64_t row = 0; row < chunk.rows->num_rows(); ++row) {
      *text += std::to_string(chunk.first_row + row) + ":";
      for (int column = 0; column < chunk.rows->num_columns(); ++column) {
        const ColumnView view = *ColumnView::Make(chunk.rows->column(column));
        *text += view.IsEmpty(row) ? "-" : std::string(view.Text(row));
      }
      *text += " ";
    }
  }

  // All remaining rows, read in steps of `step`.
  static std::string ReadAll(RowReader* reader, int64_t step) {
    std::string text;
    while (true) {
      const auto chunk = reader->Read(step);
      EXPECT_OK(chunk);
      if (!chunk.ok() || chunk->rows->num_rows() == 0) return text;
      EXPECT_LE(chunk->rows->num_rows(), step);
      AppendRows(*chunk, &text);
    }
  }

  TestDirectory dir_;
  FileFormat format_;
};

TEST_P(RowReaderTest, ColumnsComeInTheOrderAskedFor) {
  const std::string path = WriteRows(3);
  EXPECT_EQ(ReadAll(Open(path, {"c", "b"}).get(), 10), "0:c0- 1:c1b1 2:c2b2 ");
  EXPECT_EQ(ReadAll(Open(path, {"a"}).get(), 10), "0:a0 1:a1 2:a2 ");
}

TEST_P(RowReaderTest, TheStepDoesNotMatter) {
  const std::string path = WriteRows(11);
  const std::string whole = ReadAll(Open(path, {"a", "b"}).get(), 100);
  for (const int step : {1, 2, 3, 4, 5, 11}) {
    EXPECT_EQ(ReadAll(Open(path, {"a", "b"}).get(), step), whole) << step;
  }
}

TEST_P(RowReaderTest, SkipEqualsReadingAndForgetting) {
  const std::string path = WriteRows(11);
  for (int before = 0; before <= 5; ++before) {
    for (int skip = 0; skip <= 12; ++skip) {
      const auto reader = Open(path, {"a"});
      if (before > 0) {
        for (int read = 0; read < before;) read += reader->Read(before - read)->rows->num_rows();
      }
      EXPECT_EQ(*reader->Skip(skip), std::min(skip, 11 - before)) << before << " " << skip;
      std::string expected;
      for (int row = before + skip; row < 11; ++row) {
        expected += std::to_string(row) + ":a" + std::to_string(row) + " ";
      }
      EXPECT_EQ(ReadAll(reader.get(), 100), expected) << before << " " << skip;
    }
  }
}

TEST_P(RowReaderTest, ChunksOutliveTheReader) {
  std::string text;
  RowChunk chunk;
  {
    const auto reader = Open(WriteRows(2), {"a"});
    chunk = *reader->Read(2);
  }
  AppendRows(chunk, &text);
  EXPECT_EQ(text, "0:a0 1:a1 ");
}

TEST_P(RowReaderTest, FileWithoutRowsEndsAtOnce) {
  const auto reader = Open(WriteRows(0), {"b", "a"});
  ASSERT_OK_AND_ASSIGN(const auto chunk, reader->Read(5));
  EXPECT_EQ(chunk.rows->num_rows(), 0);
  EXPECT_EQ(chunk.rows->num_columns(), 2);
  EXPECT_EQ(*reader->Skip(5), 0);
}

TEST_P(RowReaderTest, MissingColumnIsNamedWithTheFileAndWhatItHas) {
  const std::string path = WriteRows(1);
  const auto reader = OpenRowReader(path, format_, {"a", "price"});
  ASSERT_FALSE(reader.ok());
  EXPECT_EQ(reader.status().message(),
            "'" + path + "' has no column 'price'; its columns are a, b, c");
}

TEST_P(RowReaderTest, MissingFileIsNamed) {
  const auto reader = OpenRowReader(dir_.Path("absent"), format_, {"a"});
  EXPECT_THAT(reader, IsError(HasSubstr("cannot open '" + dir_.Path("absent"))));
}

TEST_P(RowReaderTest, ListsAllColumns) {
  ASSERT_OK_AND_ASSIGN(const auto columns, ListColumns(WriteRows(1), format_));
  EXPECT_THAT(columns, ElementsAre("a", "b", "c"));
}

TEST_P(RowReaderTest, KnowsItsRowsOnlyWhereThatIsCheap) {
  EXPECT_EQ(Open(WriteRows(9), {"a"})->known_rows(), GetParam() == DatasetType::kCsv ? -1 : 9);
}

INSTANTIATE_TEST_SUITE_P(Readers, RowReaderTest,
                         ::testing::Values(DatasetType::kCsv, DatasetType::kParquet),
                         [](const auto& info) {
                           return info.param == DatasetType::kCsv ? "Csv" : "Parquet";
                         });

}  // namespace
}  // namespace pepnet
