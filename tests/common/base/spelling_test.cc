#include "common/base/spelling.h"

#include <gtest/gtest.h>

namespace pepnet {
namespace {

TEST(SpellingTest, TypingErrorsAreSeen) {
  EXPECT_EQ(NearestName("batchsize", {"batch_size", "label_fields"}), "batch_size");
  EXPECT_EQ(NearestName("labelf_ields", {"batch_size", "label_fields"}), "label_fields");
  EXPECT_EQ(NearestName("model_dir_path", {"model_dir"}), "model_dir");
  EXPECT_EQ(NearestName("mun_epochs", {"num_epochs", "num_steps"}), "num_epochs");
  EXPECT_EQ(NearestName("max_rosw", {"max_rows", "min_rows"}), "max_rows");
  EXPECT_EQ(NearestName("shuffle", {"batch_size"}), "");
  EXPECT_EQ(Suggestion("batchsize", {"batch_size"}), " (did you mean \"batch_size\"?)");
  EXPECT_EQ(Suggestion("shuffle", {"batch_size"}), "");
}

TEST(SpellingTest, AnotherThingIsNoTypingError) {
  EXPECT_EQ(NearestName("min_batch_size", {"batch_size"}), "");
  EXPECT_EQ(NearestName("no_shuffle", {"shuffle"}), "");
  EXPECT_EQ(NearestName("max_rows", {"min_rows"}), "");
  EXPECT_EQ(NearestName("max_row", {"min_rows", "max_rows"}), "max_rows");
}

}  // namespace
}  // namespace pepnet
