#include "worker/data/files/csv_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"
#include "tests/worker/data/data_files.h"
#include "worker/data/files/column_view.h"

namespace pepnet {
namespace {

using ::testing::HasSubstr;

// All rows of columns x and y as "x.y|x.y"; the error's text instead if there is one.
std::string Read(const std::string& bytes, FileFormat format) {
  TestDirectory dir;
  const auto reader = OpenRowReader(dir.Write("f.csv", bytes), format, {"x", "y"});
  if (!reader.ok()) return std::string(reader.status().message());
  std::string text;
  while (true) {
    const auto chunk = (*reader)->Read(1000);
    if (!chunk.ok()) return std::string(chunk.status().message());
    if (chunk->rows->num_rows() == 0) return text;
    const ColumnView x = *ColumnView::Make(chunk->rows->column(0)),
                     y = *ColumnView::Make(chunk->rows->column(1));
    for (int64_t row = 0; row < chunk->rows->num_rows(); ++row) {
      absl::StrAppend(&text, text.empty() ? "" : "|", x.ToText(row), ".", y.ToText(row));
    }
  }
}

std::string ReadWithHeader(const std::string& bytes) {
  FileFormat format;
  format.with_header = true;
  return Read(bytes, format);
}

TEST(CsvReaderTest, LineEndsAreLfAndCrLf) {
  EXPECT_EQ(ReadWithHeader("x,y\n1,2\n3,4\n"), "1.2|3.4");
  EXPECT_EQ(ReadWithHeader("x,y\r\n1,2\r\n3,4\r\n"), "1.2|3.4");
  EXPECT_EQ(ReadWithHeader("x,y\n1,2\n3,4"), "1.2|3.4") << "no line end behind the last row";
  EXPECT_EQ(ReadWithHeader("x,y\n1\r1,2\x1d"
                           "2\x0b\x0c\n"),
            "1\r1.2\x1d"
            "2\x0b\x0c")
      << "other control characters are data";
}

TEST(CsvReaderTest, EmptyLinesAreNoRows) {
  EXPECT_EQ(ReadWithHeader("\nx,y\n\n1,2\n\r\n3,4\n\n"), "1.2|3.4");
  EXPECT_EQ(ReadWithHeader("x,y\n,\n"), ".");
}

TEST(CsvReaderTest, QuotesFollowRfc4180) {
  EXPECT_EQ(ReadWithHeader("\"x\",y\n\"a,b\",\"c\"\"d\"\n"), "a,b.c\"d");
  EXPECT_EQ(ReadWithHeader("x,y\n\"line\nbreak\",\"\"\n\"\"\"\",2\r\n"), "line\nbreak.|\".2");
  EXPECT_EQ(ReadWithHeader("x,y\na\"b,c\"\"\n"), "a\"b.c\"\"") << "a quote inside a field is data";
  EXPECT_THAT(ReadWithHeader("x,y\n1,2\n\"a\"b,c\n"),
              HasSubstr("f.csv' row 2, column 'x': there is text behind the closing quote"));
  EXPECT_THAT(ReadWithHeader("x,y\n1,2\n3,\"abc\n"),
              HasSubstr("f.csv' row 2: the file ends inside a quoted field"));
}

TEST(CsvReaderTest, OnlyTheEmptyCellIsNull) {
  EXPECT_EQ(ReadWithHeader("x,y\nNA,null\nnan, \n007,1e3\n"), "NA.null|nan. |007.1e3");
}

TEST(CsvReaderTest, ByteOrderMarkIsNoPartOfTheFirstName) {
  EXPECT_EQ(ReadWithHeader("\xEF\xBB\xBFx,y\n1,2\n"), "1.2");
}

TEST(CsvReaderTest, RaggedRowsAreErrorsWithTheRow) {
  EXPECT_THAT(ReadWithHeader("x,y\n1,2\n3\n"),
              HasSubstr("f.csv' row 2 has 1 cells, but there are 2 columns in the header"));
  EXPECT_THAT(ReadWithHeader("x,y\n1,2,\n"), HasSubstr("row 1 has 3 cells"));
}

TEST(CsvReaderTest, HeaderNamesMustBeUniqueWhereUsed) {
  EXPECT_EQ(ReadWithHeader("z,x,z,y\n0,1,0,2\n"), "1.2");
  EXPECT_THAT(ReadWithHeader("x,x,y\n0,1,2\n"), HasSubstr("more than one column 'x'"));
}

TEST(CsvReaderTest, NoBytesIsNoRows) {
  EXPECT_EQ(ReadWithHeader(""), "");
  EXPECT_EQ(ReadWithHeader("\n\n"), "");
}

TEST(CsvReaderTest, NamesComeFromInputFieldsWithoutHeader) {
  FileFormat format;
  format.delimiter = '\t';
  format.field_names = {"y", "z", "x"};
  EXPECT_EQ(Read("1\t2\t3\n4\t5\t6\n", format), "3.1|6.4");
  EXPECT_EQ(Read("", format), "");
  format.field_names = {"y"};
  EXPECT_THAT(Read("1\n", format), HasSubstr("has no column 'x'"));
  format.field_names = {};
  EXPECT_THAT(Read("1\n", format), HasSubstr("with_header"));
}

TEST(CsvReaderTest, RecordsMayCrossBlocksOfTheFile) {
  // Cells of about a third of a block, quoted with a line end inside: every boundary falls into
  // some record.
  std::string bytes = "x,y\n", expected;
  for (int i = 0; i < 12; ++i) {
    const std::string cell(350'000 + i, static_cast<char>('a' + i));
    absl::StrAppend(&bytes, "\"", cell, "\n\",", cell, "\n");
    absl::StrAppend(&expected, i == 0 ? "" : "|", cell, "\n.", cell);
  }
  EXPECT_TRUE(ReadWithHeader(bytes) == expected);
}

TEST(CsvReaderTest, SkippingHonoursQuotes) {
  TestDirectory dir;
  FileFormat format;
  format.with_header = true;
  const auto reader = *OpenRowReader(dir.Write("f.csv", "x\n\"a\n\"\"b\"\nc\nd\n"), format, {"x"});
  EXPECT_EQ(*reader->Skip(2), 2);
  const RowChunk chunk = *reader->Read(5);
  EXPECT_EQ(chunk.first_row, 2);
  EXPECT_EQ(ColumnView::Make(chunk.rows->column(0))->Text(0), "d");
}

// The ends of records, byte by byte: what the reader finds in jumps. Returns the records that are
// rows; *open: the text ends inside a quoted field.
std::vector<std::string> RecordsOf(const std::string& text, bool* open) {
  enum class State { kFieldStart, kPlain, kQuoted, kQuoteInQuoted };
  State state = State::kFieldStart;
  std::vector<std::string> records;
  std::string record;
  const auto end = [&] {
    if (!record.empty()) records.push_back(record);
    record.clear();
    state = State::kFieldStart;
  };
  for (const char c : text) {
    if (state != State::kQuoted && c == '\n') {
      if (!record.empty() && record.back() == '\r') record.pop_back();
      end();
      continue;
    }
    record.push_back(c);
    if (state == State::kQuoted) {
      if (c == '"') state = State::kQuoteInQuoted;
    } else if (c == ',') {
      state = State::kFieldStart;
    } else if (c == '"' && state != State::kPlain) {
      state = State::kQuoted;
    } else {
      state = State::kPlain;
    }
  }
  *open = state == State::kQuoted;
  if (!*open) end();
  return records;
}

TEST(CsvReaderTest, RecordsEndWhereTheyEndByteByByte) {
  TestDirectory dir;
  FileFormat format;
  format.field_names = {"x", "y"};
  std::mt19937 random(11);
  int with_quotes = 0, ends_open = 0;
  for (int round = 0; round < 1000; ++round) {
    std::string text;
    for (int i = 0; i < 1 + round % 23; ++i) text.push_back("ab,,\"\"\n\n\r"[random() % 9]);
    bool open = false;
    const std::vector<std::string> records = RecordsOf(text, &open);
    with_quotes += text.find('"') != std::string::npos && records.size() > 1 ? 1 : 0;
    ends_open += open ? 1 : 0;
    const std::string path = dir.Write("f.csv", text);
    const auto reader = *OpenRowReader(path, format, {"x", "y"});
    const auto skipped = reader->Skip(1000);
    EXPECT_EQ(skipped.ok(), !open) << testing::PrintToString(text);
    if (!open) {
      EXPECT_EQ(skipped.value_or(-1), static_cast<int64_t>(records.size()))
          << testing::PrintToString(text);
    }
    // Buffered records are cut alike, and decoded alike.
    const auto buffered = (*OpenRowReader(path, format, {"x", "y"}))->Buffer(1000);
    ASSERT_EQ(buffered.ok(), !open);
    for (int64_t row = 0; buffered.ok() && row < (*buffered)->size(); ++row) {
      const auto one = *OpenRowReader(dir.Write("one.csv", records[row]), format, {"x", "y"});
      const auto picked = (*buffered)->Pick(std::vector<int64_t>{row});
      const auto read = one->Read(1);
      ASSERT_EQ(picked.ok(), read.ok()) << testing::PrintToString(text);
      if (!read.ok()) continue;
      EXPECT_TRUE(picked->chunk.rows->Equals(*read->rows)) << testing::PrintToString(text);
      EXPECT_EQ(picked->chunk.Number(0), row);
    }
  }
  EXPECT_GT(with_quotes, 150);
  EXPECT_GT(ends_open, 30);
}

TEST(CsvReaderTest, ReadingIsCounted) {
  TestDirectory dir;
  FileFormat format;
  format.field_names = {"x"};
  const std::string path = dir.Write("f.csv", "a\nb\nc\nd\ne\n");
  const auto counts = std::make_shared<ReadCounts>();
  const auto show = [&] {
    return absl::StrCat(counts->decoded_rows, " ", counts->passed_rows, " ", counts->bytes);
  };
  const auto reader = *OpenRowReader(path, format, {"x"}, counts);
  EXPECT_EQ(*reader->Skip(1), 1);
  EXPECT_EQ(show(), "0 1 10");
  EXPECT_OK(reader->Read(1));
  EXPECT_EQ(show(), "1 1 10");
  const auto buffered = *reader->Buffer(2);
  EXPECT_EQ(show(), "1 3 10");
  EXPECT_OK(buffered->Pick(std::vector<int64_t>{1}));
  EXPECT_EQ(show(), "2 2 10") << "a row that is picked is no longer passed over";
}

}  // namespace
}  // namespace pepnet
