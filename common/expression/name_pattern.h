// NamePattern: a regular expression that is matched against a whole name, as Python's
// re.fullmatch() does.
//
// Syntax:    literals, `.`, `[a-z]`, `[^...]`, \d \w \s \D \W \S, `\` before punctuation, `(...)`,
//            `(?:...)`, `|`, `*`, `+`, `?`, `{m}`, `{m,}`, `{,n}`, `{m,n}`, `^`, `$`; a `?` behind
//            a repetition changes nothing. What Python has beyond that (looking ahead and behind,
//            references to groups, flags) is an error.
// Characters: code points of UTF-8; a byte that begins none is a character of its own. \d, \w and
// \s mean ASCII.
// Time:      Matches() takes the length of the name times at most kMaxStates, whatever the pattern:
//            all its states move together, and nothing is tried twice.
// Threads:   immutable; any number of threads may match with one.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"

namespace pepnet {

class NamePattern {
 public:
  static constexpr size_t kMaxLength = 1024, kMaxStates = 10000;
  // Groups within one another; repetitions of {m,n}.
  static constexpr int kMaxDepth = 50, kMaxCount = 1000;

  // Error: a text that is no such expression, or one that is larger than the limits; the message
  // gives the column, counted from 1.
  static StatusOr<NamePattern> Parse(std::string_view text);

  bool Matches(std::string_view name) const;

 private:
  class Parser;

  // The characters that may stand at a place: code points from first to second, both included.
  struct Characters {
    std::vector<std::pair<uint32_t, uint32_t>> ranges;
    bool negated = false;
    bool Contain(uint32_t character) const;
  };
  struct State {
    enum class Kind { kCharacters, kSplit, kBegin, kEnd, kMatch };
    Kind kind = Kind::kMatch;
    Characters characters;  // of kCharacters: what leads on to `next`
    int next = 0;           // kBegin and kEnd lead on without a character, at that place only
    int other = 0;          // of kSplit: leads on to either
  };

  std::vector<State> states_;
  int start_ = 0;
};

}  // namespace pepnet
