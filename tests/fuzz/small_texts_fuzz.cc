// Small languages inside strings: expressions of the config, patterns of names, plans of --inject,
// numbers, cells, vocabulary files, tokenizers, JSON. The first byte chooses one, the rest is the
// text.
#include "common/base/text.h"
#include "common/checkpoint/strict_json.h"
#include "common/config/values/tokenizer_file.h"
#include "common/config/values/value_strings.h"
#include "common/config/values/vocabulary.h"
#include "common/expression/expression.h"
#include "common/expression/name_pattern.h"
#include "common/job_config/type_table.h"
#include "common/net/packing.h"
#include "common/process/fault_plan.h"
#include "common/tokenizer/word_tokenizer.h"
#include "tests/fuzz/fuzz_support.h"
#include "worker/data/files/number_text.h"

namespace pepnet {
namespace {

void CheckPrintable(const std::string& text) {
  const std::string shown = Printable(text, 100);
  Expect(IsUtf8(shown), "printable text is UTF-8");
  Expect(shown.size() <= 4 * 100 + 3, "printable text is cut");
  for (const char c : shown) {
    Expect(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f, "no control characters");
  }
  const std::string message = PrintableMessage(text, false);
  Expect(IsUtf8(message) && message.find('\n') == std::string::npos,
         "a message is one line of UTF-8");
  Expect(MarkdownText(text).find('<') == std::string::npos, "no tag in Markdown");
  Expect(!QuoteCell(text).empty(), "a cell has quotes");
}

void CheckNumbers(const std::string& text) {
  int64_t integer = 0;
  double real = 0;
  const bool is_integer = ParseInteger(text, &integer) == NumberText::kOk;
  const bool is_real = ParseReal(text, &real) == NumberText::kOk;
  Expect(!is_integer || is_real, "an integer is a number, too");
  Expect(!is_real || real - real == 0, "a number is finite");
}

// A formula that parses is computed for a value and for cells, whatever they hold.
void CheckFormula(const std::string& text) {
  const auto formula = Expression::Parse(text, {"x", "y"});
  ExpectClear(formula.status());
  if (!formula.ok()) return;
  const double x[] = {0.5, -3, 1e300}, y[] = {7};
  if (!formula->reads_cells()) formula->Compute({x, 2});
  const std::span<const double> cells[] = {x, y};
  std::vector<double> out;
  formula->ComputeCells(cells, 2, &out);
  Expect(out.size() <= 3, "a formula has a value per place");
}

// A pattern that parses is matched against names, itself among them.
void CheckPattern(const std::string& text) {
  const auto pattern = NamePattern::Parse(text);
  ExpectClear(pattern.status());
  if (!pattern.ok()) return;
  const bool once = pattern->Matches("model.epnet.gate_nu.dense_layers.0.weight");
  Expect(once == pattern->Matches("model.epnet.gate_nu.dense_layers.0.weight"),
         "a match is a function of the name");
  pattern->Matches(text);
  pattern->Matches(std::string(300, 'a'));
}

// Words are of the text, or of its lower case, and hold no blank.
void CheckWords(const std::string& text) {
  for (const WordSplit split : AllKinds<WordSplit>()) {
    Tokenizer description;
    description.split = split;
    description.lower_case = text.size() % 2 == 0;
    description.has_unknown = true;
    description.added = {"[A]", "[AB"};
    const std::map<std::string, int64_t> vocabulary = {{"[A]", 0}, {"[AB", 1}};
    std::vector<std::string> tokens;
    const Status status = WordTokenizer(description, &vocabulary).Append(text, &tokens);
    ExpectClear(status);
    size_t bytes = 0;
    for (const std::string& token : tokens) {
      Expect(!token.empty() && token.find_first_of(" \t\n") == std::string::npos,
             "a word without blanks");
      bytes += token.size();
    }
    Expect(!status.ok() || bytes <= text.size(), "no word that is not in the text");
  }
}

}  // namespace
}  // namespace pepnet

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pepnet;
  FuzzInput input(data, size);
  const auto choice = input.Take<uint8_t>();
  const std::string text = input.TakeRest();
  switch (choice % 12) {
    case 0:
      ExpectClear(ParseActivation(text).status());
      break;
    case 1:
      ExpectClear(ParseInitializer(text, 1000, 8).status());
      break;
    case 2:
      ExpectClear(ParseNormalizer(text).status());
      CheckFormula(text);
      break;
    case 3:
      ExpectClear(ParseFaultPlan(text).status());
      break;
    case 4:
      ExpectClear(ParseWireDtype(text).status());
      break;
    case 5:
      ExpectClear(ParseVocabularyFile(text, "words.txt").status());
      break;
    case 6:
      CheckNumbers(text);
      break;
    case 7:
      ExpectClear(ParseStrictJson(text).status());
      break;
    case 8:
      CheckPrintable(text);
      break;
    case 9:
      ExpectClear(ParseTokenizerFile(text, "tokenizer.json").status());
      break;
    case 10:
      CheckWords(text);
      break;
    default:
      CheckPattern(text);
      break;
  }
  return 0;
}
