#include "cli/program/arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

class ArgumentsTest : public ::testing::Test {
 protected:
  ArgumentsTest() {
    app_.set_version_flag("--version", "1");
    CLI::App* train = app_.add_subcommand("train", "");
    train->add_option("--model_dir", text_, "");
    train->add_flag("--continue_train", flag_, "");
    train->add_option("--seed", seed_, "");
    train->add_option("--timeout_s", seconds_, "")
        ->check(CLI::Range(0.001, 1e9, "a positive number of seconds"));
    train->add_option("--rows", rows_, "")
        ->delimiter(',')
        ->check(CLI::Range(1, 100, "a whole number from 1"));
    train->add_option("--edit_config_json", text_, "");
    app_.add_subcommand("bench", "")->add_subcommand("dense", "")->add_flag("--quick", flag_, "");
    app_.add_subcommand("inspect", "")->add_option("path", text_, "");
  }
  std::string Check(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "pepnet");
    return std::string(
        CheckArguments(app_, static_cast<int>(arguments.size()), arguments.data()).message());
  }

  CLI::App app_{"", "pepnet"};
  std::string text_;
  bool flag_ = false;
  uint64_t seed_ = 0;
  double seconds_ = 0;
  std::vector<int64_t> rows_;
};

TEST_F(ArgumentsTest, ValuesMustBeOfTheTypeOfTheirFlag) {
  EXPECT_EQ(Check({"train", "--seed", "18446744073709551615", "--timeout_s=1e-3", "--rows=1,2,3",
                   "--rows", "4"}),
            "");
  EXPECT_EQ(Check({"train", "--edit_config_json", "", "--continue_train"}), "");
  for (const char* seed : {"-1", "18446744073709551616", "1.5", "x", "1e3", " 1", "-"}) {
    EXPECT_EQ(Check({"train", "--seed", seed}),
              absl::StrCat("--seed is \"", seed,
                           "\", expected a whole number from 0 to 18446744073709551615"));
  }
  EXPECT_EQ(
      Check({"train", "--rows=1,x"}),
      "--rows is \"x\", expected a whole number from -9223372036854775808 to 9223372036854775807");
  EXPECT_EQ(
      Check({"train", "--rows=1,9223372036854775808"}),
      "--rows is \"9223372036854775808\", expected a whole number from -9223372036854775808 to "
      "9223372036854775807");
  for (const char* seconds : {"nan", "inf", "-inf", "x"}) {
    EXPECT_EQ(Check({"train", "--timeout_s", seconds}),
              absl::StrCat("--timeout_s is \"", seconds, "\", expected a finite number"));
  }
  for (const char* empty : {"--model_dir=", "--seed="}) {
    EXPECT_EQ(Check({"train", empty}),
              absl::StrCat(std::string(empty).substr(0, std::string(empty).size() - 1),
                           " is empty; give a value or leave the flag out (an unset variable?)"));
  }
  EXPECT_EQ(Check({"train", "--model_dir", ""}),
            "--model_dir is empty; give a value or leave the flag out (an unset variable?)");
  EXPECT_EQ(Check({"train", "--model_dir", "--seed"}), "") << "CLI11 says what is missing";
}

TEST(ProgramWithoutCommands, FlagsAreChecked) {
  CLI::App app("", "pepnet_ps");
  std::string inject;
  app.add_option("--inject", inject, "");
  const char* const nothing[] = {"pepnet_ps"};
  EXPECT_OK(CheckArguments(app, 1, nothing));
  const char* const wrong[] = {"pepnet_ps", "--injct", "kill"};
  EXPECT_THAT(
      CheckArguments(app, 3, wrong),
      IsError(testing::HasSubstr(
          "unknown flag --injct (did you mean \"--inject\"?); pepnet_ps --help lists the flags")));
}

TEST_F(ArgumentsTest, KnownWordsPass) {
  EXPECT_EQ(Check({"--version"}), "");
  EXPECT_EQ(Check({"--help"}), "");
  EXPECT_EQ(Check({"train", "--help"}), "");
  EXPECT_EQ(Check({"train", "--model_dir=x", "--continue_train", "--model_dir", "y"}), "");
  EXPECT_EQ(Check({"bench", "dense", "--quick"}), "");
  EXPECT_EQ(Check({"inspect", "some/path", "--", "--anything"}), "");
}

TEST_F(ArgumentsTest, ALineWithoutACommandNamesAll) {
  EXPECT_EQ(Check({}), "no command is given; expected one of train, bench, inspect");
  EXPECT_EQ(Check({"bench"}), "no bench command is given; expected one of dense");
}

TEST_F(ArgumentsTest, ATypingErrorNamesWhatWasMeant) {
  EXPECT_EQ(
      Check({"trian"}),
      "unknown command 'trian' (did you mean \"train\"?); expected one of train, bench, inspect");
  EXPECT_EQ(Check({"serve"}), "unknown command 'serve'; expected one of train, bench, inspect");
  EXPECT_EQ(Check({"train", "--model_dri=x"}),
            "unknown flag --model_dri (did you mean \"--model_dir\"?); pepnet train --help lists "
            "the flags");
  EXPECT_EQ(Check({"inspect", "x", "--continue_train"}),
            "unknown flag --continue_train; pepnet inspect --help lists the flags");
  app_.get_subcommand("train")->add_option("--set", text_, "");
  EXPECT_EQ(Check({"train", "--num_epochs=1"}),
            "unknown flag --num_epochs; pepnet train --help lists the flags; a field of the config "
            "is set with --set");
  EXPECT_EQ(Check({"bench", "dence"}),
            "unknown command 'bench dence' (did you mean \"dense\"?); expected one of dense");
  EXPECT_EQ(
      Check({"bench", "dense", "--quik"}),
      "unknown flag --quik (did you mean \"--quick\"?); pepnet bench dense --help lists the flags");
  EXPECT_EQ(Check({"--versoin"}),
            "unknown flag --versoin (did you mean \"--version\"?); pepnet --help lists the flags");
}

}  // namespace
}  // namespace pepnet
