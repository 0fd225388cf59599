#include "common/base/screen.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/mutex.h"

namespace pepnet {
namespace {

constexpr int kUsualWidth = 80;  // of a terminal that does not say
constexpr char kSeparator[] = "  ";
constexpr char kEraseToEnd[] = "\x1b[K";

// The state of standard error, which all threads share; the lock makes a line one piece.
struct State {
  Mutex mutex;
  bool open ABSL_GUARDED_BY(mutex) = false;  // the cursor stands behind a progress line
  std::atomic<bool> allowed = true;          // guards nothing
};

State& TheState() {
  static State* const state = new State;  // never destroyed: threads may log until the process ends
  return *state;
}

// Writes without buffers: what was said before a crash stands on the screen.
void WriteAll(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(STDERR_FILENO, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      // Standard error may be a pipe that was set to non-blocking by another process that shares
      // it.
      pollfd wait = {STDERR_FILENO, POLLOUT, 0};
      if (poll(&wait, 1, /*timeout=*/1000) == 0) return;  // nobody reads
    } else if (errno != EINTR) {
      return;
    }
  }
}

// The character at the beginning of `text`, which is not empty, and its bytes; a byte that begins
// none stands for itself.
uint32_t FirstCharacter(std::string_view text, size_t* bytes) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
  *bytes = 1;
  if (length == 1 || text.size() < length) return lead;
  uint32_t character = lead & (0xffu >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    if ((next & 0xc0) != 0x80) return lead;
    character = (character << 6) | (next & 0x3fu);
  }
  *bytes = length;
  return character;
}

struct Range {
  uint32_t first, last;
};
// Combining marks, and characters without width, of the scripts that names are written in.
constexpr Range kNoWidth[] = {
    {0x0300, 0x036f}, {0x0483, 0x0489}, {0x0591, 0x05bd}, {0x0610, 0x061a}, {0x064b, 0x065f},
    {0x200b, 0x200f}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}, {0xfeff, 0xfeff}};
// East Asian wide and full-width characters (Unicode's EastAsianWidth W and F, in blocks).
constexpr Range kWide[] = {
    {0x1100, 0x115f}, {0x2e80, 0x303e}, {0x3041, 0xa4cf}, {0xac00, 0xd7a3},   {0xf900, 0xfaff},
    {0xfe30, 0xfe6f}, {0xff00, 0xff60}, {0xffe0, 0xffe6}, {0x1f300, 0x1faff}, {0x20000, 0x3fffd}};

bool IsIn(uint32_t character, const Range* begin, const Range* end) {
  return std::any_of(begin, end, [=](const Range& range) {
    return range.first <= character && character <= range.last;
  });
}

int WidthOf(uint32_t character) {
  if (IsIn(character, std::begin(kNoWidth), std::end(kNoWidth))) return 0;
  return IsIn(character, std::begin(kWide), std::end(kWide)) ? 2 : 1;
}

// As much of `text` as fits into `columns`.
std::string_view Cut(std::string_view text, int columns) {
  size_t end = 0;
  int width = 0;
  while (end < text.size()) {
    size_t bytes = 0;
    width += WidthOf(FirstCharacter(text.substr(end), &bytes));
    if (width > columns) break;
    end += bytes;
  }
  return text.substr(0, end);
}

}  // namespace

void AllowProgress(bool allowed) { TheState().allowed = allowed; }

bool ProgressIsDrawn() {
  if (!TheState().allowed || isatty(STDERR_FILENO) == 0) return false;
  const char* const terminal = std::getenv("TERM");
  return terminal != nullptr && *terminal != '\0' && std::strcmp(terminal, "dumb") != 0;
}

void DrawProgress(const std::vector<std::string>& parts) {
  // The last column stays free: a terminal that has filled it may have moved on to the next line.
  const std::string text = FitParts(parts, ScreenWidth(kUsualWidth) - 1);
  // The whole line goes out in one write(): two would let a line of another process come between.
  std::string bytes = "\r";
  bytes += text;
  bytes += kEraseToEnd;
  State& state = TheState();
  MutexLock lock(&state.mutex);
  WriteAll(bytes);
  state.open = true;
}

void EndProgress() {
  State& state = TheState();
  MutexLock lock(&state.mutex);
  if (state.open) WriteAll("\n");
  state.open = false;
}

void EraseProgress() {
  State& state = TheState();
  MutexLock lock(&state.mutex);
  if (state.open) WriteAll(absl::StrCat("\r", kEraseToEnd));
  state.open = false;
}

void WriteScreenLines(std::string_view text) {
  State& state = TheState();
  MutexLock lock(&state.mutex);
  // The progress line stays where it is and ends; it is drawn anew below the next time.
  std::string bytes = state.open ? "\n" : "";
  bytes += text;
  bytes += "\n";
  WriteAll(bytes);
  state.open = false;
}

int ScreenWidth(int otherwise) {
  winsize size = {};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return otherwise;
  return size.ws_col;
}

std::string FitParts(const std::vector<std::string>& parts, int columns) {
  std::string line;
  int width = 0;
  for (const std::string& part : parts) {
    if (line.empty()) {
      line = Cut(part, columns);
      width = DisplayWidth(line);
      continue;
    }
    const int wider = width + static_cast<int>(sizeof(kSeparator) - 1) + DisplayWidth(part);
    // Parts come by importance, so the rest goes, even where a later one is short enough.
    if (wider > columns) break;
    line += kSeparator;
    line += part;
    width = wider;
  }
  return line;
}

int DisplayWidth(std::string_view text) {
  int width = 0;
  while (!text.empty()) {
    size_t bytes = 0;
    width += WidthOf(FirstCharacter(text, &bytes));
    text.remove_prefix(bytes);
  }
  return width;
}

}  // namespace pepnet
