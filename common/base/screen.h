// Screen: standard error as a person reads it: log lines and, below them, one progress line that is
// drawn again in its place.
//
// A progress line is at most as wide as the terminal, is written by one call, and ends with a line
// end before anything else is written, so that no other line touches it.
//
// State:   of the process, as standard error is: whether a progress line is open, and whether one
//          is wanted.
// Threads: any. Log lines come here through common/base/logging.cc.
// Failure: what standard error does not take is lost, as with any log.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pepnet {

// Whether anybody wants progress lines (SetLogDetail() of common/base/logging.h says it); at first,
// yes.
void AllowProgress(bool allowed);
// True if they are wanted and standard error is a terminal on which a line can be drawn again (not
// TERM=dumb).
bool ProgressIsDrawn();
// Draws the progress line in place of the last one: `parts` with two blanks between them. Parts
// that do not fit on the terminal are left out from the end; a first part that does not fit is cut.
void DrawProgress(const std::vector<std::string>& parts);
// Closes the progress line: what comes next stands below it.
void EndProgress();
// Takes the progress line away: what comes next stands in its place.
void EraseProgress();
// Writes `text`, whole lines without the last line end, below the progress line.
void WriteScreenLines(std::string_view text);

// Columns of the terminal at standard error; `otherwise` if it is none.
int ScreenWidth(int otherwise);

// The text that DrawProgress() writes on `columns` columns.
std::string FitParts(const std::vector<std::string>& parts, int columns);
// Columns that UTF-8 text takes on a terminal: 2 for East Asian wide characters, 0 for combining
// ones, else 1.
int DisplayWidth(std::string_view text);

}  // namespace pepnet
