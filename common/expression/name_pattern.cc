#include "common/expression/name_pattern.h"

#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/ascii.h"

#include "common/base/text.h"

namespace pepnet {
namespace {

constexpr uint32_t kLastCodePoint = 0x10ffff;

// The characters of `text`; a byte that begins no character of UTF-8 comes as a number above all
// code points.
std::vector<uint32_t> CodePoints(std::string_view text) {
  std::vector<uint32_t> points;
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80   ? 1
                          : lead < 0xc2 ? 0
                          : lead < 0xe0 ? 2
                          : lead < 0xf0 ? 3
                          : lead < 0xf5 ? 4
                                        : 0;
    if (length == 0 || !IsUtf8(text.substr(i, length))) {
      points.push_back(kLastCodePoint + 1 + lead);
      ++i;
      continue;
    }
    uint32_t point = length == 1 ? lead : lead & (0xff >> (length + 1));
    for (size_t k = 1; k < length; ++k) {
      point = point << 6 | (static_cast<unsigned char>(text[i + k]) & 0x3f);
    }
    points.push_back(point);
    i += length;
  }
  return points;
}

}  // namespace

bool NamePattern::Characters::Contain(uint32_t character) const {
  const auto inside = [character](const auto& range) {
    return range.first <= character && character <= range.second;
  };
  return std::any_of(ranges.begin(), ranges.end(), inside) != negated;
}

// Recursive descent to a tree, from which the states are made from the end to the start.
class NamePattern::Parser {
 public:
  Parser(std::string_view text, NamePattern* pattern)
      : shown_(Printable(text, 200)), text_(CodePoints(text)), pattern_(*pattern) {}

  Status Parse() {
    Part whole;
    PEPNET_RETURN_IF_ERROR(ParseChoice(0, &whole));
    if (at_ < text_.size()) return Error(at_, "a ')' without its '('");
    pattern_.states_.resize(1);  // kMatch
    pattern_.start_ = Emit(whole, 0);
    // Repetitions within repetitions multiply: a short text such as ((a{1000}){1000}){1000} asks
    // for a billion states. Emit() stops at the limit; here that becomes an error.
    if (emitted_ > kMaxStates) {
      return InvalidInput("\"", shown_, "\" repeats too much; expected fewer or smaller {m,n}");
    }
    return absl::OkStatus();
  }

 private:
  struct Part {
    enum class Kind { kEmpty, kCharacters, kBegin, kEnd, kSequence, kChoice, kRepeat };
    Kind kind = Kind::kEmpty;
    Characters characters;
    std::vector<Part> parts;  // of kSequence and kChoice; the one that kRepeat repeats
    int least = 0, most = 0;  // of kRepeat; most < 0: no limit
  };

  Status Error(size_t place, const char* what) const {
    return InvalidInput("column ", place + 1, " of \"", shown_, "\": ", what);
  }
  bool Peek(char c) const { return at_ < text_.size() && text_[at_] == static_cast<uint32_t>(c); }
  bool Take(char c) { return Peek(c) && ++at_ > 0; }
  bool Take(std::string_view word) {
    for (size_t i = 0; i < word.size(); ++i) {
      if (at_ + i >= text_.size() || text_[at_ + i] != static_cast<uint32_t>(word[i])) return false;
    }
    at_ += word.size();
    return true;
  }

  // a|b|c, at any depth of groups.
  Status ParseChoice(int depth, Part* out) {
    if (depth > kMaxDepth) return Error(at_, "more than 50 groups within one another");
    out->kind = Part::Kind::kChoice;
    do {
      PEPNET_RETURN_IF_ERROR(ParseSequence(depth, &out->parts.emplace_back()));
    } while (Take('|'));
    return absl::OkStatus();
  }

  // Atoms one after the other, each with its repetition.
  Status ParseSequence(int depth, Part* out) {
    out->kind = Part::Kind::kSequence;
    while (at_ < text_.size() && !Peek('|') && !Peek(')')) {
      Part part;
      PEPNET_RETURN_IF_ERROR(ParseAtom(depth, &part));
      int least = 0, most = 0;
      const size_t place = at_;
      PEPNET_ASSIGN_OR_RETURN(const bool repeated, TakeCount(&least, &most));
      if (repeated) {
        // A lazy repetition matches the same whole names as a greedy one: only which part matches
        // what would differ.
        Take('?');
        int again = 0;
        const size_t next = at_;
        PEPNET_ASSIGN_OR_RETURN(const bool twice, TakeCount(&again, &again));
        if (twice) return Error(next, "a repetition of a repetition; put the first one into ( )");
        if (part.kind == Part::Kind::kBegin || part.kind == Part::Kind::kEnd) {
          return Error(place, "a repetition of ^ or $");
        }
        Part repetition;
        repetition.kind = Part::Kind::kRepeat;
        repetition.least = least;
        repetition.most = most;
        repetition.parts.push_back(std::move(part));
        part = std::move(repetition);
      }
      out->parts.push_back(std::move(part));
    }
    return absl::OkStatus();
  }

  // True if *, +, ? or {m,n} stands here. Braces with anything else in them are literals, as in
  // Python.
  StatusOr<bool> TakeCount(int* least, int* most) {
    if (Take('*')) return *least = 0, *most = -1, true;
    if (Take('+')) return *least = 1, *most = -1, true;
    if (Take('?')) return *least = 0, *most = 1, true;
    const size_t place = at_;
    if (!Take('{')) return false;
    PEPNET_ASSIGN_OR_RETURN(const int low, TakeNumber());
    const bool range = Take(',');
    PEPNET_ASSIGN_OR_RETURN(const int high, range ? TakeNumber() : StatusOr<int>(low));
    if (!Take('}') || (!range && low < 0)) {
      at_ = place;
      return false;
    }
    *least = std::max(low, 0);
    *most = high;
    if (high >= 0 && high < *least) return Error(place, "the larger number stands first in {m,n}");
    return true;
  }

  // -1: none.
  StatusOr<int> TakeNumber() {
    int number = -1;
    const size_t place = at_;
    while (at_ < text_.size() && text_[at_] < 0x80 &&
           absl::ascii_isdigit(static_cast<unsigned char>(text_[at_]))) {
      number = std::max(number, 0) * 10 + static_cast<int>(text_[at_++] - '0');
      if (number > kMaxCount) return Error(place, "more than 1000 repetitions");
    }
    return number;
  }

  Status ParseAtom(int depth, Part* out) {
    const size_t place = at_;
    if (Take('(')) {
      if (Peek('?') && !Take("?:")) {
        return Error(place, "of the groups that begin with (? only (?: is supported");
      }
      PEPNET_RETURN_IF_ERROR(ParseChoice(depth + 1, out));
      if (!Take(')')) return Error(place, "a '(' without its ')'");
      return absl::OkStatus();
    }
    int least = 0, most = 0;
    PEPNET_ASSIGN_OR_RETURN(const bool count, TakeCount(&least, &most));
    if (count) return Error(place, "nothing stands in front of this repetition");
    if (Take('^')) return out->kind = Part::Kind::kBegin, absl::OkStatus();
    if (Take('$')) return out->kind = Part::Kind::kEnd, absl::OkStatus();
    out->kind = Part::Kind::kCharacters;
    if (Take('[')) return ParseSet(place, &out->characters);
    if (Take('.')) {
      out->characters = {{{'\n', '\n'}}, true};
      return absl::OkStatus();
    }
    if (Take('\\')) return ParseEscape(place, &out->characters);
    out->characters.ranges.push_back({text_[at_], text_[at_]});
    ++at_;
    return absl::OkStatus();
  }

  // Behind a backslash. Adds to *out.
  Status ParseEscape(size_t place, Characters* out) {
    if (at_ == text_.size()) return Error(place, "a backslash at the end");
    const uint32_t c = text_[at_++];
    constexpr std::string_view kControl = "t\tn\nr\rf\fv\v";
    const auto add = [&](std::vector<std::pair<uint32_t, uint32_t>> ranges, bool inverted) {
      uint32_t from = 0;
      for (const auto& [first, last] : ranges) {
        if (!inverted) {
          out->ranges.push_back({first, last});
        } else if (from < first) {
          out->ranges.push_back({from, first - 1});
        }
        from = last + 1;
      }
      if (inverted) out->ranges.push_back({from, UINT32_MAX});
      return absl::OkStatus();
    };
    if (c == 'd' || c == 'D') return add({{'0', '9'}}, c == 'D');
    if (c == 'w' || c == 'W') {
      return add({{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}, c == 'W');
    }
    if (c == 's' || c == 'S') return add({{'\t', '\r'}, {' ', ' '}}, c == 'S');
    for (size_t i = 0; i < kControl.size(); i += 2) {
      const auto character = static_cast<uint32_t>(kControl[i + 1]);
      if (c == static_cast<uint32_t>(kControl[i])) return add({{character, character}}, false);
    }
    // Letters and digits behind a backslash mean something in Python (\b, \1, \p), which would be
    // lost as a literal.
    if (c < 0x80 && absl::ascii_isalnum(static_cast<unsigned char>(c))) {
      return Error(place,
                   "this escape is not supported; known are \\d, \\w, \\s, \\D, \\W, \\S, \\t, "
                   "\\n, \\r, \\f, \\v "
                   "and \\ before punctuation");
    }
    return add({{c, c}}, false);
  }

  // Behind '['.
  Status ParseSet(size_t place, Characters* out) {
    out->negated = Take('^');
    for (bool first = true; first || !Peek(']'); first = false) {
      if (at_ == text_.size()) return Error(place, "a '[' without its ']'");
      const size_t begin = at_;
      PEPNET_ASSIGN_OR_RETURN(const std::optional<uint32_t> low, ParseOfSet(out));
      if (!(Peek('-') && at_ + 1 < text_.size() && text_[at_ + 1] != ']')) {
        if (low.has_value()) out->ranges.push_back({*low, *low});
        continue;
      }
      Take('-');
      PEPNET_ASSIGN_OR_RETURN(const std::optional<uint32_t> high, ParseOfSet(out));
      if (!low.has_value() || !high.has_value() || *low > *high) {
        return Error(begin, "a range whose ends are no two characters in their order");
      }
      out->ranges.push_back({*low, *high});
    }
    Take(']');
    return absl::OkStatus();
  }

  // One character; none for a class such as \d, which is added to *out.
  StatusOr<std::optional<uint32_t>> ParseOfSet(Characters* out) {
    const size_t place = at_;
    if (!Take('\\')) return text_[at_++];
    Characters escaped;
    PEPNET_RETURN_IF_ERROR(ParseEscape(place, &escaped));
    if (escaped.ranges.size() == 1 && escaped.ranges[0].first == escaped.ranges[0].second) {
      return escaped.ranges[0].first;
    }
    out->ranges.insert(out->ranges.end(), escaped.ranges.begin(), escaped.ranges.end());
    return std::optional<uint32_t>();
  }

  // States are only added, and refer to each other by number, since the vector moves while it
  // grows.
  int Add(State::Kind kind, int next, int other = 0) {
    pattern_.states_.push_back({kind, {}, next, other});
    return static_cast<int>(pattern_.states_.size()) - 1;
  }

  // The state at which `part` begins, which leads on to `next`. Stops at kMaxStates calls, however
  // repetitions stand within each other.
  int Emit(const Part& part, int next) {
    if (++emitted_ > kMaxStates) return next;
    switch (part.kind) {
      case Part::Kind::kEmpty:
        return next;
      case Part::Kind::kCharacters: {
        const int state = Add(State::Kind::kCharacters, next);
        pattern_.states_[state].characters = part.characters;
        return state;
      }
      case Part::Kind::kBegin:
        return Add(State::Kind::kBegin, next);
      case Part::Kind::kEnd:
        return Add(State::Kind::kEnd, next);
      case Part::Kind::kSequence:
        for (size_t i = part.parts.size(); i-- > 0;) next = Emit(part.parts[i], next);
        return next;
      case Part::Kind::kChoice: {
        int start = Emit(part.parts.back(), next);
        for (size_t i = part.parts.size() - 1; i-- > 0;) {
          start = Add(State::Kind::kSplit, Emit(part.parts[i], next), start);
        }
        return start;
      }
      // x{2,4} becomes x x (x (x)?)?, made from the end to the start. x* is a split that leads into
      // the body, whose end leads back to the split; the split is made first and gets its way into
      // the body afterwards.
      case Part::Kind::kRepeat: {
        int start = next;
        if (part.most < 0) {
          start = Add(State::Kind::kSplit, next, next);
          const int body = Emit(part.parts[0], start);
          pattern_.states_[start].next = body;
        }
        for (int i = part.least; i < part.most && emitted_ <= kMaxStates; ++i) {
          start = Add(State::Kind::kSplit, Emit(part.parts[0], start), next);
        }
        for (int i = 0; i < part.least && emitted_ <= kMaxStates; ++i) {
          start = Emit(part.parts[0], start);
        }
        return start;
      }
    }
    return next;
  }

  const std::string shown_;
  const std::vector<uint32_t> text_;
  NamePattern& pattern_;
  size_t at_ = 0, emitted_ = 0;
};

StatusOr<NamePattern> NamePattern::Parse(std::string_view text) {
  if (text.size() > kMaxLength) {
    return InvalidInput("\"", Printable(text, 40), "\" has ", text.size(),
                        " bytes; expected at most ", kMaxLength);
  }
  NamePattern pattern;
  PEPNET_RETURN_IF_ERROR(Parser(text, &pattern).Parse());
  return pattern;
}

bool NamePattern::Matches(std::string_view name) const {
  // Thompson's construction: all states that the name may have led to are kept at once. A
  // backtracking matcher would try exponentially many ways on patterns such as (a*)*b.
  const std::vector<uint32_t> characters = CodePoints(name);
  std::vector<int> now, next = {start_}, open;
  // The place at which a state was reached last.
  std::vector<size_t> seen_at(states_.size(), SIZE_MAX);
  for (size_t place = 0;; ++place) {
    // All states that are reached here without a character.
    now.clear();
    open.assign(next.begin(), next.end());
    next.clear();
    bool matches = false;
    while (!open.empty()) {
      const int number = open.back();
      open.pop_back();
      // Each state counts once a place, which bounds the work and ends circles of splits, as of
      // (x*)*.
      if (seen_at[number] == place) continue;
      seen_at[number] = place;
      const State& state = states_[number];
      switch (state.kind) {
        case State::Kind::kCharacters:
          now.push_back(number);
          break;
        case State::Kind::kSplit:
          open.push_back(state.next);
          open.push_back(state.other);
          break;
        case State::Kind::kBegin:
          if (place == 0) open.push_back(state.next);
          break;
        case State::Kind::kEnd:
          if (place == characters.size()) open.push_back(state.next);
          break;
        case State::Kind::kMatch:
          matches = true;
          break;
      }
    }
    if (place == characters.size()) return matches;
    for (const int number : now) {
      if (states_[number].characters.Contain(characters[place])) {
        next.push_back(states_[number].next);
      }
    }
  }
}

}  // namespace pepnet
