#include "worker/data/history/data_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_join.h"
#include "tests/support/status_matchers.h"

namespace pepnet {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A file of 10 rows, known or not. `content` stands for all its bytes.
FileIdentity File(const std::string& path, const std::string& content = "", int64_t rows = 10) {
  FileIdentity file;
  file.path = path;
  file.bytes = 100;
  file.digest = absl::StrCat("digest of ",
                             content.empty() ? path.substr(path.find_last_of('/') + 1) : content);
  file.rows = rows;
  return file;
}

std::vector<FileIdentity> Files(const std::vector<std::string>& paths) {
  std::vector<FileIdentity> files;
  for (const std::string& path : paths) files.push_back(File(path));
  return files;
}

std::string Paths(const std::vector<FileIdentity>& files) {
  return absl::StrJoin(files, " ",
                       [](std::string* out, const FileIdentity& file) { out->append(file.path); });
}

// "a b from epoch 0 row 5 to 2, then c, trained d": what is read now, from where to which epoch;
// the files behind it; and those of earlier passes.
std::string Show(const DataChoice& choice) {
  return absl::StrCat(
      choice.nothing_left ? "nothing of " : "", Paths(choice.history.files), " from epoch ",
      choice.position.epoch, " row ", choice.position.rows_in_epoch, " to ", choice.last_epoch,
      choice.next.empty() ? "" : ", then " + Paths(choice.next),
      choice.history.trained.empty() ? "" : ", trained " + Paths(choice.history.trained));
}

StatusOr<int64_t> TenRows(const FileIdentity&) { return 10; }
StatusOr<int64_t> NeverAsked(const FileIdentity& file) {
  return absl::InternalError("asked for the rows of " + file.path);
}

// A checkpoint at step 7 of a training on `files`, `num_epochs` times, unshuffled.
DataQuestion After(const std::vector<std::string>& files, DataPosition position,
                   const std::vector<std::string>& given, int64_t num_epochs = 1) {
  DataQuestion question;
  question.history = BeginFiles(DataHistory(), Files(files), 0);
  question.position = position;
  question.finished_steps = 7;
  question.given = Files(given);
  question.num_epochs = num_epochs;
  return question;
}

// ---- the start ----------------------------------------------------------------------------------

TEST(DataChoiceTest, AFirstRunReadsWhatItIsGiven) {
  DataQuestion question = After({}, {0, 0}, {"a", "b"}, 3);
  question.history = DataHistory();
  const StatusOr<DataChoice> choice = ChooseData(question, NeverAsked);
  ASSERT_OK(choice);
  EXPECT_EQ(Show(*choice), "a b from epoch 0 row 0 to 3");
  EXPECT_TRUE(choice->history.known);
  EXPECT_THAT(choice->notes, IsEmpty());
}

TEST(DataChoiceTest, TheSameFilesGoOnAtTheirRowWithoutAWord) {
  const StatusOr<DataChoice> choice =
      ChooseData(After({"a", "b"}, {1, 15}, {"a", "b"}, 3), NeverAsked);
  ASSERT_OK(choice);
  EXPECT_EQ(Show(*choice), "a b from epoch 1 row 15 to 3");
  EXPECT_THAT(choice->notes, IsEmpty());
  EXPECT_THAT(choice->warnings, IsEmpty());
}

TEST(DataChoiceTest, ACheckpointWithoutFilesGoesOnByItsPositionAndSaysSo) {
  DataQuestion question = After({}, {0, 15}, {"a", "b"});
  question.history = DataHistory();
  StatusOr<DataChoice> choice = ChooseData(question, NeverAsked);
  ASSERT_OK(choice);
  EXPECT_EQ(Show(*choice), "a b from epoch 0 row 15 to 1");
  EXPECT_TRUE(choice->history.known);
  EXPECT_THAT(choice->notes, ElementsAre(HasSubstr("the data cannot be checked: epoch 0, row 15")));
  question.position = {1, 0};
  choice = ChooseData(question, NeverAsked);
  ASSERT_OK(choice);
  EXPECT_TRUE(choice->nothing_left);
  EXPECT_THAT(choice->warnings, ElementsAre(HasSubstr("add --restart_data_at_step=7")));
}

// ---- inside a pass ------------------------------------------------------------------------------

TEST(DataChoiceTest, MovedFilesAreTheSameDataInTheirOldOrder) {
  // By path the new directories would be read in another order.
  const StatusOr<DataChoice> choice =
      ChooseData(After({"x/a", "x/b"}, {0, 15}, {"1/b", "2/a"}), NeverAsked);
  ASSERT_OK(choice);
  EXPECT_EQ(Show(*choice), "2/a 1/b from epoch 0 row 15 to 1");
  EXPECT_THAT(choice->notes, ElementsAre(HasSubstr("2 training files moved")));
}

TEST(DataChoiceTest, CopiesOfOneNameAndContentKeepTheirPlaces) {
  DataQuestion question = After({}, {0, 15}, {});
  question.history.files = {File("1/a", "same"), File("2/a", "same")};
  question.given = {File("2/a", "same"), File("1/a", "same")};
  const StatusOr<DataChoice> choice = ChooseData(question, NeverAsked);
  ASSERT_OK(choice);
  EXPECT_EQ(Show(*choice), "1/a 2/a from epoch 0 row 15 to 1");
}

TEST(DataChoiceTest, AFileThatVanishedBehindItsFirstRowIsRefused) {
  for (const int64_t row : {1, 10, 11, 20}) {
    const Status status =
        ChooseData(After({"a", "b", "c"}, {0, row}, {"b", "c"}), NeverAsked).status();
    EXPECT_THAT(status.message(), AllOf(HasSubstr("'a' is not among the files given"),
                                        HasSubstr("row " + absl::StrCat(row)),
                                        HasSubstr("--restart_data_at_step=7")));
  }
  // Row 11 is the second file's first.
  EXPECT_THAT(
      ChooseData(After({"a", "b", "c"}, {0, 11}, {"a", "c"}), NeverAsked).status().message(),
      HasSubstr("'b' is not among"));
}

TEST(DataChoiceTest, AFileThatChangedBehindItsFirstRowIsRefused) {
  DataQuestion question = After({"a", "b"}, {0, 3}, {"a", "b"});
  question.given[0] = File("a", "other content");
  EXPECT_THAT(ChooseData(question, NeverAsked).status().message(),
              HasSubstr("'a' has changed (it still has 100 bytes, but other content)"));
  question.given[0].bytes = 120;
  EXPECT_THAT(ChooseData(question, NeverAsked).status().message(),
              HasSubstr("'a' has changed (it had 100 bytes, now 120)"));
}

TEST(DataChoiceTest, AnotherFileSetInTheMiddleOfAPassIsRefused) {
  EXPECT_THAT(ChooseData(After({"1/a"}, {0, 3}, {"2/b"}), NeverAsked).status().message(),
              HasSubstr("'1/a' is not among"));
}

TEST(DataChoiceTest, AFileWhoseTurnHadNotComeMayGoWithAWarning) {
  StatusOr<DataChoice> choice = ChooseData(After({"a", "b", "c"}, {0, 10}, {"a", "c"}), NeverAsked);
  ASSERT_OK(choice);
  // B is not "trained": should it come back, it is new.
  EXPECT_EQ(Show(*choice), "a c from epoch 0 row 10 to 1");
  EXPECT_THAT(choice->warnings,
              ElementsAre(HasSubstr(
                  "1 file ('b') of the running pass has changed or is not given any more")));
  // Nothing is left of the pass.
  choice = ChooseData(After({"a", "b"}, {0, 10}, {"a"}, 2), NeverAsked);
  ASSERT_OK(choice);
  EXPECT_EQ(Show(*choice), "a from epoch 1 row 0 to 2");
  // In a second pass b was read once.
  choice = ChooseData(After({"a", "b", "c"}, {1, 10}, {"a", "c"}, 2), NeverAsked);
  ASSERT_OK(choice);
  EXPECT_EQ(Show(*choice), "a c from epoch 1 row 10 to 2, trained b");
}

TEST(DataChoiceTest, AFileThatChangedBeforeItsTurnIsReadAsNew) {
  DataQuestion question = After({"a", "b", "c"}, {0, 10}, {"a", "b", "c"});
  question.given[1] = File("b", "repaired");
  const StatusOr<DataChoice> choice = ChooseData(question, NeverAsked);
  ASSERT_OK(choice);
  EXPECT_EQ(Show(*choice), "a c from epoch 0 row 10 to 1, then b");
  EXPECT_THAT(choice->warnings,
              testing::Contains(HasSubstr("other content than before under the same path")));
}

TEST(DataChoiceTest, RowsThatAreNotKnownAreCounted) {
  DataQuestion question = After({"a", "b", "c"}, {0, 10}, {"a", "c"});
  for (FileIdentity& file : question.history.files) file.rows = -1;
  ASSERT_OK(ChooseData(question, TenRows));
  question.position.rows_in_epoch = 11;
  EXPECT_THAT(ChooseData(question, TenRows).status().message(), HasSubstr("'b' is not among"));
}

TEST(DataChoiceTest, AWindowThatBeganHoldsItsFilesFast) {
  DataQuestion question = After({"a", "b", "c"}, {0, 6}, {"a", "c"});
  question.history.window_rows = question.window_rows = 4;  // row 6 lies in rows 4 to 7, all of a
  EXPECT_OK(ChooseData(question, NeverAsked));
  question.position.rows_in_epoch = 9;  // rows 8 to 11, two of them of b
  EXPECT_THAT(ChooseData(question, NeverAsked).status().message(), HasSubstr("'b' is not among"));
}

TEST(DataChoiceTest, AnotherOrderInsideAPassIsRefusedButAtAnEdge) {
  DataQuestion question = After({"a", "b"}, {0, 6}, {"a", "b"});
  const auto allowed = [&](int64_t before, int64_t now) {
    question.history.window_rows = before;
    question.window_rows = now;
    return ChooseData(question, NeverAsked).ok();
  };
  EXPECT_TRUE(allowed(4, 4));
  EXPECT_TRUE(allowed(0, 0));
  EXPECT_TRUE(allowed(3, 2));
  EXPECT_TRUE(allowed(6, 0));
  EXPECT_TRUE(allowed(0, 6));
  EXPECT_FALSE(allowed(0, 4));
  EXPECT_FALSE(allowed(4, 0));
  EXPECT_FALSE(allowed(3, 4));
  question.position = {1, 0};
  question.num_epochs = 2;
  EXPECT_TRUE(allowed(4, 5)) << "between passes any order will do";
}

TEST(DataChoiceTest, NewFilesAreReadBehindTheRunningPassWhereverTheySort) {
  const StatusOr<DataChoice> choice =
      ChooseData(After({"b", "c"}, {0, 5}, {"a", "b", "c", "d"}, 2), NeverAsked);
  ASSERT_OK(choice);
  EXPECT_EQ(Show(*choice), "b c from epoch 0 row 5 to 2, then a d");
  EXPECT_THAT(choice->notes,
              ElementsAre(HasSubstr(
                  "2 files (first 'a') had not been read before and will be trained 2 times")));
  const DataChoice next = NextFiles(*choice, {2, 0}, 2);
  EXPECT_EQ(Show(next), "a d from epoch 2 row 0 to 4, trained b c");
  EXPECT_EQ(Show(NextFiles(*choice, {1, 18}, 2)), "a d from epoch 2 row 0 to 4, trained b c")
      << "a pass without last batch";
}

// ---- between passes -----------------------------------------------------------------------------

TEST(DataChoiceTest, TheNextDayIsTrainedOnce) {
  DataQuestion question = After({"1/a"}, {1, 0}, {"2/b"});
  StatusOr<DataChoice> choice = ChooseData(question, NeverAsked);
  ASSERT_OK(choice);
  EXPECT_EQ(Show(*choice), "2/b from epoch 1 row 0 to 2, trained 1/a");
  // Day 3, by a glob over all days.
  question.history = choice->history;
  question.position = {2, 0};
  question.given = Files({"1/a", "2/b", "3/c"});
  choice = ChooseData(question, NeverAsked);
  ASSERT_OK(choice);
  EXPECT_EQ(Show(*choice), "3/c from epoch 2 row 0 to 3, trained 1/a 2/b");
  EXPECT_THAT(choice->notes,
              ElementsAre(HasSubstr("2 given files had been trained, and will not be again")));
  // A back-fill of day 0, and all again.
  question.history = choice->history;
  question.position = {3, 0};
  question.given = Files({"0/z"});
  choice = ChooseData(question, NeverAsked);
  ASSERT_OK(choice);
  EXPECT_EQ(Show(*choice), "0/z from epoch 3 row 0 to 4, trained 1/a 2/b 3/c");
  question.history = choice->history;
  question.position = {4, 0};
  question.given = Files({"0/z", "1/a", "2/b", "3/c"});
  choice = ChooseData(question, NeverAsked);
  ASSERT_OK(choice);
  EXPECT_TRUE(choice->nothing_left);
  EXPECT_THAT(
      choice->warnings,
      ElementsAre(AllOf(HasSubstr("4 files (first '0/z') had been trained once"),
                        HasSubstr("raise num_epochs"), HasSubstr("--restart_data_at_step=7"))));
}

TEST(DataChoiceTest, ACopyUnderTheSameNameIsNotTrainedAgain) {
  const StatusOr<DataChoice> choice = ChooseData(After({"1/a"}, {1, 0}, {"copy/a"}), NeverAsked);
  ASSERT_OK(choice);
  EXPECT_TRUE(choice->nothing_left);
}

TEST(DataChoiceTest, AFileThatIsWrittenAnewEachDayIsNewData) {
  DataQuestion question = After({"today"}, {1, 0}, {"today"});
  question.given[0] = File("today", "the second day");
  const StatusOr<DataChoice> choice = ChooseData(question, NeverAsked);
  ASSERT_OK(choice);
  EXPECT_EQ(Show(*choice), "today from epoch 1 row 0 to 2, trained today");
  EXPECT_THAT(choice->warnings,
              ElementsAre(HasSubstr("other content than before under the same path")));
}

TEST(DataChoiceTest, NewFilesWithoutRowsAreNoReasonToGoOn) {
  DataQuestion question = After({"a"}, {1, 0}, {"a", "empty"});
  question.given[1].rows = -1;
  const auto no_rows = [](const FileIdentity&) -> StatusOr<int64_t> { return 0; };
  StatusOr<DataChoice> choice = ChooseData(question, no_rows);
  ASSERT_OK(choice);
  EXPECT_TRUE(choice->nothing_left);
  EXPECT_THAT(choice->notes, ElementsAre(HasSubstr("there is no row in it")));
  question.position = {0, 5};
  choice = ChooseData(question, no_rows);
  ASSERT_OK(choice);
  EXPECT_EQ(Show(*choice), "a from epoch 0 row 5 to 1");
}

TEST(DataChoiceTest, MoreEpochsGoOverTheSameFilesAgain) {
  StatusOr<DataChoice> choice = ChooseData(After({"a", "b"}, {1, 0}, {"a", "b"}, 3), NeverAsked);
  ASSERT_OK(choice);
  EXPECT_EQ(Show(*choice), "a b from epoch 1 row 0 to 3");
  EXPECT_THAT(choice->warnings, IsEmpty());
  // Of the files of the last passes those that stay have the passes that are left.
  choice = ChooseData(After({"a", "b"}, {1, 0}, {"b", "c"}, 3), NeverAsked);
  ASSERT_OK(choice);
  EXPECT_EQ(Show(*choice), "b from epoch 1 row 0 to 3, then c, trained a");
  EXPECT_THAT(choice->warnings, ElementsAre(HasSubstr("2 of 3")));
  choice = ChooseData(After({"a", "b"}, {1, 0}, {"c"}, 3), NeverAsked);
  ASSERT_OK(choice);
  EXPECT_EQ(Show(*choice), "c from epoch 1 row 0 to 4, trained a b");
  EXPECT_THAT(choice->warnings, ElementsAre(HasSubstr("2 of 3")));
}

// ---- num_steps ----------------------------------------------------------------------------------

TEST(DataChoiceTest, StepsRepeatWhatTheyAreGiven) {
  StatusOr<DataChoice> choice = ChooseData(After({"a"}, {4, 0}, {"a", "b"}, 0), NeverAsked);
  ASSERT_OK(choice);
  EXPECT_EQ(Show(*choice), "a b from epoch 4 row 0 to 0");
  choice = ChooseData(After({"a"}, {4, 5}, {"a", "b"}, 0), NeverAsked);
  ASSERT_OK(choice);
  EXPECT_EQ(Show(*choice), "a from epoch 4 row 5 to 5, then a b");
  EXPECT_EQ(Show(NextFiles(*choice, {5, 0}, 0)), "a b from epoch 5 row 0 to 0");
  EXPECT_FALSE(ChooseData(After({"a"}, {4, 5}, {"b"}, 0), NeverAsked).ok());
}

// ---- restart ------------------------------------------------------------------------------------

TEST(DataChoiceTest, ARestartReadsTheGivenFilesWhateverWasRead) {
  DataQuestion question = After({"a", "b"}, {0, 5}, {"a", "c"});
  question.restart_at_step = 7;
  StatusOr<DataChoice> choice = ChooseData(question, NeverAsked);
  ASSERT_OK(choice);
  EXPECT_EQ(Show(*choice), "a c from epoch 1 row 0 to 2, trained b");
  // Started again with the same flag behind step 7, it goes on.
  question.history = choice->history;
  question.position = {1, 5};
  question.finished_steps = 9;
  choice = ChooseData(question, NeverAsked);
  ASSERT_OK(choice);
  EXPECT_EQ(Show(*choice), "a c from epoch 1 row 5 to 2, trained b");
  // Not at a step at which no restart took place.
  question.restart_at_step = 8;
  EXPECT_THAT(ChooseData(question, NeverAsked).status().message(),
              HasSubstr("--restart_data_at_step=8, but training goes on from step 9"));
}

TEST(DataChoiceTest, ARestartHelpsACheckpointWithoutFiles) {
  DataQuestion question = After({}, {1, 0}, {"a"});
  question.history = DataHistory();
  question.restart_at_step = 7;
  const StatusOr<DataChoice> choice = ChooseData(question, NeverAsked);
  ASSERT_OK(choice);
  EXPECT_EQ(Show(*choice), "a from epoch 1 row 0 to 2");
}

// ---- between the workers ------------------------------------------------------------------------

TEST(DataChoiceTest, WorkersAreToldTheWholeChoice) {
  DataChoice choice;
  choice.history = BeginFiles(DataHistory(), {File("dir/100%.csv"), File("a\xff")}, 3);
  choice.history = BeginFiles(choice.history, {File("\xc3\xa9\n", "", -1)}, 5);
  choice.history.window_rows = 64;
  choice.history.restarted_at_step = 11;
  choice.position = {6, 7};
  choice.last_epoch = 8;
  choice.next = Files({"later"});
  choice.nothing_left = true;
  for (std::vector<FileIdentity>* files :
       {&choice.history.files, &choice.history.trained, &choice.next}) {
    for (FileIdentity& file : *files) file.digest = std::string(32, 'd');
  }
  const StatusOr<DataChoice> decoded = DecodeChoice(EncodeChoice(choice));
  ASSERT_OK(decoded);
  EXPECT_EQ(Show(*decoded), Show(choice));
  EXPECT_EQ(EncodeChoice(*decoded), EncodeChoice(choice));
  EXPECT_EQ(decoded->history.files[0].rows, -1);
  EXPECT_EQ(decoded->history.restarted_at_step, 11);
  EXPECT_EQ(decoded->history.window_rows, 64);
}

}  // namespace
}  // namespace pepnet
