// The file tokenizer.json of Hugging Face's tokenizers, of which the words are cut out by
// common/tokenizer:
//
//     {"model": {"type": "WordLevel", "vocab": {word: id, ...}, "unk_token": word},
//      "pre_tokenizer": {"type": "Whitespace" | "WhitespaceSplit"},
//      "normalizer": null | {"type": "Lowercase"} | {"type": "Sequence", "normalizers": [{"type":
//      "Lowercase"}]}, "added_tokens": [{"id", "content", "special", ...}, ...], "truncation":
//      null, "padding": null, "post_processor": null, "decoder", "version"}
//
// Failure: one sentence that begins with the path. What is refused is what would make other ids
// than the library's.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "common/base/status.h"
#include "common/job_config/operator.h"

namespace pepnet {

struct TokenizerFile {
  Tokenizer tokenizer;  // without what the feature says of texts
  // Words and added tokens; the ids are 0 to size - 1, each once.
  std::map<std::string, int64_t> vocabulary;
  std::string unknown_word;  // the model's unk_token
  int64_t unknown_id = 0;    // of unknown_word; only with tokenizer.has_unknown
};

// `path` is for messages.
StatusOr<TokenizerFile> ParseTokenizerFile(const std::string& contents, const std::string& path);

}  // namespace pepnet
