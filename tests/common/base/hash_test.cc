#include "common/base/hash.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace pepnet {
namespace {

// Frozen: these decide where a row lives and what it starts with.
TEST(HashTest, GoldenValues) {
  EXPECT_EQ(Mix64(0), 0u);
  EXPECT_EQ(Mix64(1), 0x5692161d100b05e5u);
  EXPECT_EQ(Mix64(0xffffffffffffffffu), 0xb4d055fcf2cbbd7bu);
  EXPECT_EQ(HashCombine(1, 2), 0x7018eb47a52c2595u);
  EXPECT_EQ(HashCombine(2, 1), 0xd04ba4a2b36a25f3u);
  EXPECT_EQ(HashName(""), 0xf52a15e9a9b5e89bu);
  EXPECT_EQ(HashName("user_id_emb"), 0x58166f72657ab493u);
}

// Expected values of the reference (spec 3.2).
TEST(HashTest, StringHashOfTheReference) {
  const struct {
    const char* text;
    uint64_t bucket;
  } cases[] = {{"abc", 33}, {"efg", 44}, {"hij", 66}, {"xyz", 13},
               {"1", 95},   {"2", 70},   {"3", 13},   {"4", 56}};
  for (const auto& c : cases) EXPECT_EQ(LibstdcxxStringHash(c.text) % 100, c.bucket) << c.text;
}

#if defined(__GLIBCXX__) && defined(__x86_64__)
TEST(HashTest, StringHashIsTheLibrarysAtEveryLength) {
  std::string text;
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(LibstdcxxStringHash(text), std::hash<std::string>()(text)) << text.size() << " bytes";
    text += static_cast<char>(i * 89 + 130);
  }
}
#endif

TEST(HashTest, FarmFingerprintOfTheReference) {
  EXPECT_EQ(FarmFingerprint64("1") % 100, 49u);
  EXPECT_EQ(FarmFingerprint64("2") % 100, 59u);
  EXPECT_EQ(FarmFingerprint64("3") % 100, 21u);
}

// Values of the public library, at the borders of its length classes.
TEST(HashTest, FarmFingerprintAtEveryLengthClass) {
  std::string alphabet;
  for (int i = 0; i < 300; ++i) alphabet += static_cast<char>('a' + i % 26);
  const struct {
    size_t bytes;
    uint64_t expected;
  } cases[] = {
      {0, 0x9ae16a3b2f90404full},   {1, 0xb3454265b6df75e3ull},   {3, 0x24a5b3a074e7f369ull},
      {4, 0x1a5502de4a1f8101ull},   {7, 0x3c40c92b1ccb7355ull},   {8, 0xfee9d22990c82909ull},
      {16, 0x54630bad7705cebdull},  {17, 0x9e2106c72d7793a8ull},  {32, 0xff96b8a54087359aull},
      {33, 0x1bd257e2fc3da812ull},  {64, 0x9c4a595c23bb9bfaull},  {65, 0x2434d8917886fe2aull},
      {128, 0xc3244d5ec8a4474aull}, {129, 0x9b1ca0571b8cefd4ull}, {300, 0x93480430f4019a90ull},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(FarmFingerprint64(alphabet.substr(0, c.bytes)), c.expected) << c.bytes << " bytes";
  }
}

}  // namespace
}  // namespace pepnet
