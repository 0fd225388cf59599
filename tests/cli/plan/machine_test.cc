#include "cli/plan/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_replace.h"
#include "common/file/file.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace pepnet {
namespace {

using testing::HasSubstr;

constexpr char kTrain[] = R"({"bench": "train", "settings": {"workers": "2"}, "rows": [
  {"batch": 1024, "speed": 8000, "read": 5, "pool": 5, "compute": 60, "update": 10, "pull": 20},
  {"batch": 8192, "speed": {"median": 10000, "least": 1, "most": 2}, "read": 0, "pool": 0, "compute": 45, "update": 5}]})";
constexpr char kService[] = R"({"bench": "service", "rows": [
  {"table": 1000000, "pull x2": 20, "push": 10}, {"table": 10000000, "pull x2": {"median": 15, "least": 1, "most": 9}, "push": 5}]})";
constexpr char kReader[] = R"({"bench": "reader", "rows": [
  {"batch": 8192, "workers": 1, "per core": 2.5, "decode alone": 4, "pass over alone": {"median": 50, "least": 1, "most": 60}},
  {"batch": 1024, "workers": 8, "per core": 1, "decode alone": 4, "pass over alone": 50}]})";
constexpr char kAllreduce[] =
    R"({"bench": "allreduce", "rows": [{"array": 16384, "bus rate": 1}, {"array": 2621440, "bus rate": 3}]})";

class MachineTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& text) {
    EXPECT_OK(WriteFileAtomically(directory_ / name, text));
    return directory_ / name;
  }
  TemporaryDirectory directory_;
};

TEST_F(MachineTest, TakesTheRowNearestToTheJob) {
  const std::vector<std::string> all = {Write("t", kTrain), Write("s", kService),
                                        Write("r", kReader), Write("a", kAllreduce)};
  StatusOr<Machine> machine = ReadMachine(all, 1000);
  ASSERT_OK(machine);
  EXPECT_DOUBLE_EQ(machine->worker_samples_per_second, 8000 / 2.0 / 0.8);
  EXPECT_DOUBLE_EQ(machine->pull_rows_per_second, 15e6);
  EXPECT_DOUBLE_EQ(machine->push_rows_per_second, 5e6);
  EXPECT_DOUBLE_EQ(machine->reader_rows_per_second, 2.5e6) << "of one worker";
  EXPECT_DOUBLE_EQ(machine->decode_rows_per_second, 4e6);
  EXPECT_DOUBLE_EQ(machine->pass_rows_per_second, 50e6);
  EXPECT_DOUBLE_EQ(machine->sum_bytes_per_second, 3e9);
  EXPECT_DOUBLE_EQ(ReadMachine(all, 100000)->worker_samples_per_second, 10000 / 2.0 / 0.5);
}

TEST_F(MachineTest, SaysWhatIsMissingOrWrong) {
  EXPECT_THAT(ReadMachine({Write("t", kTrain)}, 1), IsError(HasSubstr("pepnet bench service")));
  EXPECT_THAT(ReadMachine({Write("x", "{}")}, 1), IsError(HasSubstr("no report of pepnet bench")));
  EXPECT_THAT(ReadMachine({Write("x", "{")}, 1), IsError(HasSubstr("x")));
  EXPECT_THAT(ReadMachine({Write("x", R"({"bench": "dense", "rows": []})")}, 1),
              IsError(HasSubstr("'pepnet bench dense', expected one of")));
  EXPECT_THAT(
      ReadMachine({Write("x", R"({"bench": "reader", "rows": [{"batch": 1, "workers": 1}]})")}, 1),
      IsError(HasSubstr("no column 'per core'")));
  EXPECT_THAT(
      ReadMachine({Write("x", R"({"bench": "reader", "rows": [{"batch": 1, "workers": 2}]})")}, 1),
      IsError(HasSubstr("no row for --workers 1")));
  EXPECT_THAT(ReadMachine({Write("x", absl::StrReplaceAll(kTrain, {{R"("2")", R"("two")"}}))}, 1),
              IsError(HasSubstr("'workers' is 'two', expected a number from 1")));
  EXPECT_FALSE(ReadMachine({directory_ / "absent"}, 1).ok());
}

}  // namespace
}  // namespace pepnet
