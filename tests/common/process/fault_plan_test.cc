#include "common/process/fault_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using testing::HasSubstr;

TEST(FaultPlanTest, EveryKindOfTheHeaderIsRead) {
  ASSERT_OK_AND_ASSIGN(const auto plan,
                       ParseFaultPlan("kill:rank=1,step=17; "
                                      "kill:point=after_fsync,nth=3;stop:rank=2,step=4;fail-write:"
                                      "nth=3,path=ckpt;fail-fsync:nth=2;"
                                      "fail-rename:nth=1;enospc:after=1MB;bitflip:nth=2,bit=77;"
                                      "delay:max_ms=5,seed=9;drop-reply:nth=4;"));
  ASSERT_EQ(plan.size(), 10u);
  EXPECT_EQ(plan[0].rank, 1);
  EXPECT_EQ(plan[0].step, 17);
  EXPECT_FALSE(plan[0].MeetsRank(0));
  EXPECT_EQ(plan[1].point, "after_fsync");
  EXPECT_EQ(plan[1].nth, 3);
  EXPECT_TRUE(plan[1].MeetsRank(5));
  EXPECT_EQ(plan[2].kind, FaultKind::kStop);
  EXPECT_EQ(plan[3].path, "ckpt");
  EXPECT_EQ(plan[6].after_bytes, 1 << 20);
  EXPECT_EQ(plan[7].bit, 77);
  EXPECT_EQ(plan[8].max_ms, 5);
  EXPECT_EQ(plan[8].seed, 9u);
  EXPECT_EQ(plan[9].kind, FaultKind::kDropReply);
  EXPECT_TRUE(ParseFaultPlan("")->empty());
}

TEST(FaultPlanTest, SizesHaveUnits) {
  for (const auto& [text, bytes] : std::vector<std::pair<std::string, int64_t>>{{"0", 0},
                                                                                {"100", 100},
                                                                                {"64k", 65536},
                                                                                {"64KB", 65536},
                                                                                {"2M", 2 << 20},
                                                                                {"1GB", 1 << 30},
                                                                                {"7B", 7}}) {
    ASSERT_OK_AND_ASSIGN(const auto plan, ParseFaultPlan("enospc:after=" + text));
    EXPECT_EQ(plan[0].after_bytes, bytes) << text;
  }
}

TEST(FaultPlanTest, AnErrorSaysWhatIsKnown) {
  const auto error = [](const std::string& text) {
    return std::string(ParseFaultPlan(text).status().message());
  };
  EXPECT_THAT(error("explode:nth=1"),
              HasSubstr("no fault 'explode'; known are kill, stop, fail-write, fail-fsync"));
  EXPECT_THAT(error("fail-write:nht=1"), HasSubstr("no key 'nht'; known are rank, nth, path"));
  EXPECT_THAT(error("kill:point=after_lunch"),
              HasSubstr("known points are before_write, mid_write"));
  EXPECT_THAT(error("kill:rank=1"), HasSubstr("expected either step=S or point=P"));
  EXPECT_THAT(error("kill:step=1,point=after_fsync"), HasSubstr("expected either"));
  EXPECT_THAT(error("fail-write:nth"), HasSubstr("has no value"));
  EXPECT_THAT(error("fail-write:nth=0"), HasSubstr("at least 1"));
  EXPECT_THAT(error("fail-write:nth=x"), HasSubstr("nth=x"));
  EXPECT_THAT(error("enospc:after=1TB"), HasSubstr("a size like"));
  EXPECT_THAT(error("enospc:after="), HasSubstr("a size like"));
  EXPECT_THAT(error("stop:rank=1"), HasSubstr("expected step"));
  EXPECT_THAT(error("delay:seed=1"), HasSubstr("max_ms"));
  EXPECT_THAT(error("kill:step=3;bad"), HasSubstr("--inject \"bad\""));
}

}  // namespace
}  // namespace pepnet
