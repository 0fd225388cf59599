#include "common/tokenizer/word_tokenizer.h"
#include "worker/data/derive/operators.h"

namespace pepnet {
namespace {

class Tokenize : public ColumnOperator {
 public:
  explicit Tokenize(const Feature& feature)
      : vocabulary_(feature.vocabulary),
        default_text_(feature.op->gives_elements ? feature.op->default_text : ""),
        tokenizer_(feature.op->tokenizer, &vocabulary_) {}

  InputForm FormOf(int) const override { return {InputForm::Kind::kTokens, ""}; }  // the whole text

  Status Apply(std::span<const InputCell> inputs, OperatorOutput* out) const override {
    for (const std::string_view text : inputs[0].tokens()) {
      PEPNET_RETURN_IF_ERROR(tokenizer_.Append(text, &out->tokens));
    }
    return out->tokens.empty() ? tokenizer_.Append(default_text_, &out->tokens) : absl::OkStatus();
  }

 private:
  const std::map<std::string, int64_t> vocabulary_;
  // Of which each token is an element; else the default_value of the feature does.
  const std::string default_text_;
  const WordTokenizer tokenizer_;
};

}  // namespace

std::unique_ptr<ColumnOperator> MakeTokenize(const Feature& feature) {
  return std::make_unique<Tokenize>(feature);
}

}  // namespace pepnet
