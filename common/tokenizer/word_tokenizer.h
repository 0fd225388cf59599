// WordTokenizer: cuts a text into words of a vocabulary, as Hugging Face's tokenizers do whose
// model is WordLevel (docs/spec.md 3.11). In this order:
//
//   TextNormalizer        of the feature: ASCII letters to upper or lower case, ASCII blanks
//                         removed
//   added tokens          cut out where they stand, the longest first; they are tokens as they are
//   lower case            of what lies between them, if the tokenizer has it
//   words                 WhitespaceSplit: between blanks. Whitespace: runs of \w, and of what is
//                         neither \w nor blank
//   vocabulary            a word that is not in it is a token where the tokenizer has an unknown
//                         word, else dropped
//
// Source:    github.com/huggingface/tokenizers, whose answers are recorded in the tests.
// Threads:   immutable. Ownership: borrows the vocabulary.
// Failure:   InvalidArgument for a text that is not UTF-8, or of which a character's case or kind
//            matters and is not known here (common/tokenizer/characters.h). The Status tells the
//            character; the caller adds the place.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/job_config/operator.h"

namespace pepnet {

class WordTokenizer {
 public:
  WordTokenizer(Tokenizer description, const std::map<std::string, int64_t>* vocabulary);

  // Appends the tokens of `text`.
  Status Append(std::string_view text, std::vector<std::string>* tokens) const;

 private:
  // The added token that `text` begins with; "": none.
  std::string_view AddedTokenAt(std::string_view text) const;
  Status AppendWords(std::string_view text, std::vector<std::string>* tokens) const;
  void AppendWord(std::string* word, std::vector<std::string>* tokens) const;

  const Tokenizer description_;
  const std::map<std::string, int64_t>& vocabulary_;
};

}  // namespace pepnet
