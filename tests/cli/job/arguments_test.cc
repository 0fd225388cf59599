#include "cli/job/arguments.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

namespace pepnet {
namespace {

class ArgumentsTest : public ::testing::Test {
 protected:
  ArgumentsTest() {
    app_.set_version_flag("--version", "1");
    CLI::App* train = app_.add_subcommand("train", "");
    train->add_option("--model_dir", text_, "");
    train->add_flag("--continue_train", flag_, "");
    app_.add_subcommand("bench", "")->add_subcommand("dense", "")->add_flag("--quick", flag_, "");
    app_.add_subcommand("inspect", "")->add_option("path", text_, "");
  }
  std::string Check(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "pepnet");
    return std::string(CheckArguments(app_, static_cast<int>(arguments.size()), arguments.data()).message());
  }

  CLI::App app_{"", "pepnet"};
  std::string text_;
  bool flag_ = false;
};

TEST_F(ArgumentsTest, KnownWordsPass) {
  EXPECT_EQ(Check({}), "");
  EXPECT_EQ(Check({"--version"}), "");
  EXPECT_EQ(Check({"--help"}), "");
  EXPECT_EQ(Check({"train", "--help"}), "");
  EXPECT_EQ(Check({"train", "--model_dir=x", "--continue_train", "--model_dir", "y"}), "");
  EXPECT_EQ(Check({"bench", "dense", "--quick"}), "");
  EXPECT_EQ(Check({"inspect", "some/path", "--", "--anything"}), "");
}

TEST_F(ArgumentsTest, ATypingErrorNamesWhatWasMeant) {
  EXPECT_EQ(Check({"trian"}),
            "unknown command 'trian' (did you mean \"train\"?); expected one of train, bench, inspect");
  EXPECT_EQ(Check({"serve"}), "unknown command 'serve'; expected one of train, bench, inspect");
  EXPECT_EQ(Check({"train", "--model_dri=x"}),
            "unknown flag --model_dri (did you mean \"--model_dir\"?); pepnet train --help lists the flags");
  EXPECT_EQ(Check({"inspect", "x", "--continue_train"}),
            "unknown flag --continue_train; pepnet inspect --help lists the flags");
  EXPECT_EQ(Check({"bench", "dence"}),
            "unknown command 'bench dence' (did you mean \"dense\"?); expected one of dense");
  EXPECT_EQ(Check({"bench", "dense", "--quik"}),
            "unknown flag --quik (did you mean \"--quick\"?); pepnet bench dense --help lists the flags");
  EXPECT_EQ(Check({"--versoin"}),
            "unknown flag --versoin (did you mean \"--version\"?); pepnet --help lists the flags");
}

}  // namespace
}  // namespace pepnet
