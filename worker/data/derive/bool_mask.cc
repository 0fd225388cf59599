#include "worker/data/derive/operators.h"
#include "worker/data/files/number_text.h"

namespace pepnet {
namespace {

class BoolMask : public ColumnOperator {
 public:
  explicit BoolMask(const Feature& feature) : separator_(feature.separator) {}

  InputForm FormOf(int) const override { return {InputForm::Kind::kTokens, separator_}; }

  Status Apply(std::span<const InputCell> inputs, OperatorOutput* out) const override {
    const auto values = inputs[0].tokens(), mask = inputs[1].tokens();
    if (values.empty()) return absl::OkStatus();
    if (values.size() != mask.size()) {
      return InvalidInput("the values are ", values.size(), ", but the mask has ", mask.size(),
                          "; expected one true or false per value");
    }
    for (size_t i = 0; i < values.size(); ++i) {
      const bool keeps = mask[i] == "true" || mask[i] == "1";
      if (!keeps && mask[i] != "false" && mask[i] != "0") {
        return InvalidInput("the mask holds ", QuoteCell(mask[i]),
                            "; expected true, false, 1 or 0");
      }
      if (keeps) out->tokens.emplace_back(values[i]);
    }
    return absl::OkStatus();
  }

 private:
  const std::string separator_;
};

}  // namespace

std::unique_ptr<ColumnOperator> MakeBoolMask(const Feature& feature) {
  return std::make_unique<BoolMask>(feature);
}

}  // namespace pepnet
