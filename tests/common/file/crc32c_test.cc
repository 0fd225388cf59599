#include "common/file/crc32c.h"

#include <gtest/gtest.h>

#include <string>

namespace pepnet {
namespace {

uint32_t Crc(const std::string& text) { return ExtendCrc32c(0, text.data(), text.size()); }

// Vectors of RFC 3720, appendix B.4, and the usual check value.
TEST(Crc32cTest, KnownAnswers) {
  EXPECT_EQ(Crc(""), 0u);
  EXPECT_EQ(Crc("123456789"), 0xe3069283u);
  EXPECT_EQ(Crc(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc(std::string(32, '\xff')), 0x62a8ab43u);
  std::string ascending, descending;
  for (int i = 0; i < 32; ++i) ascending += static_cast<char>(i);
  for (int i = 31; i >= 0; --i) descending += static_cast<char>(i);
  EXPECT_EQ(Crc(ascending), 0x46dd794eu);
  EXPECT_EQ(Crc(descending), 0x113fdb5cu);
}

TEST(Crc32cTest, PortableCodeAgreesAtEveryLengthAndAlignment) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += static_cast<char>(i * 37 + 11);
  for (size_t begin = 0; begin < 9; ++begin) {
    for (size_t n = 0; begin + n <= text.size(); ++n) {
      ASSERT_EQ(ExtendCrc32c(5, text.data() + begin, n),
                ExtendCrc32cPortable(5, text.data() + begin, n))
          << begin << " " << n;
    }
  }
}

// Long inputs are summed in several streams, whose sums are joined.
TEST(Crc32cTest, PortableCodeAgreesOnLongInputs) {
  std::string text;
  for (uint32_t i = 0; i < 20000; ++i) text += static_cast<char>(i * i * 37 + (i >> 3));
  for (size_t n : {3071, 3072, 3073, 3080, 6143, 6144, 6145, 9216, 19990}) {
    for (size_t begin : {0, 1, 7}) {
      EXPECT_EQ(ExtendCrc32c(5, text.data() + begin, n),
                ExtendCrc32cPortable(5, text.data() + begin, n))
          << begin << " " << n;
    }
  }
}

TEST(Crc32cTest, PiecesGiveTheCrcOfTheWhole) {
  const std::string text = "the crc of the whole is the crc of its pieces";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    EXPECT_EQ(ExtendCrc32c(ExtendCrc32c(0, text.data(), cut), text.data() + cut, text.size() - cut),
              Crc(text))
        << cut;
  }
}

}  // namespace
}  // namespace pepnet
