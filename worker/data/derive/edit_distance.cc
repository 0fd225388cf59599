#include <algorithm>
#include <numeric>

#include "worker/data/derive/operators.h"

namespace pepnet {
namespace {

// The work is the product of the lengths.
constexpr size_t kMostCharacters = 4096;

class EditDistance : public ColumnOperator {
 public:
  explicit EditDistance(const Feature& feature)
      : by_bytes_(feature.op->by_bytes), gives_tokens_(feature.op->gives_tokens) {}

  InputForm FormOf(int) const override { return {InputForm::Kind::kTokens, ""}; }  // the whole text

  Status Apply(std::span<const InputCell> inputs, OperatorOutput* out) const override {
    std::vector<std::string_view> texts[2];
    for (int i = 0; i < 2; ++i) {
      if (inputs[i].empty()) return absl::OkStatus();
      if (inputs[i].tokens().size() > 1) {
        return InvalidInput("a cell holds ", inputs[i].tokens().size(),
                            " texts; the distance is of one and one");
      }
      texts[i] = Characters(inputs[i].tokens()[0]);
      if (texts[i].size() > kMostCharacters) {
        return InvalidInput("a text has ", texts[i].size(), " characters; expected at most ",
                            kMostCharacters);
      }
    }
    const size_t distance = Distance(texts[0], texts[1]);
    if (gives_tokens_) {
      out->tokens.push_back(absl::StrCat(distance));
    } else {
      out->numbers.push_back(static_cast<double>(distance));
    }
    return absl::OkStatus();
  }

 private:
  // Bytes, or characters of UTF-8: a byte and the bytes 10xxxxxx behind it.
  std::vector<std::string_view> Characters(std::string_view text) const {
    std::vector<std::string_view> characters;
    for (size_t begin = 0; begin < text.size();) {
      size_t end = begin + 1;
      while (!by_bytes_ && end < text.size() &&
             (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
        ++end;
      characters.push_back(text.substr(begin, end - begin));
      begin = end;
    }
    return characters;
  }

  // Levenshtein's: insertions, deletions and replacements of one character. best[j]: of a's first i
  // and b's first j.
  static size_t Distance(const std::vector<std::string_view>& a,
                         const std::vector<std::string_view>& b) {
    std::vector<size_t> best(b.size() + 1);
    std::iota(best.begin(), best.end(), size_t{0});
    // One row of the table is enough: best[j + 1] still holds the row above, and `diagonal` what
    // stood there before it was overwritten.
    for (size_t i = 0; i < a.size(); ++i) {
      size_t diagonal = best[0];
      best[0] = i + 1;
      for (size_t j = 0; j < b.size(); ++j) {
        const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
        diagonal = best[j + 1];
        best[j + 1] = std::min({replaced, best[j] + 1, best[j + 1] + 1});
      }
    }
    return best.back();
  }

  const bool by_bytes_, gives_tokens_;
};

}  // namespace

std::unique_ptr<ColumnOperator> MakeEditDistance(const Feature& feature) {
  return std::make_unique<EditDistance>(feature);
}

}  // namespace pepnet
