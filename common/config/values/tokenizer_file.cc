#include "common/config/values/tokenizer_file.h"

#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "nlohmann/json.hpp"

#include "common/base/text.h"
#include "common/config/parse/json_fields.h"
#include "common/job_config/type_table.h"

namespace pepnet {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kExample[] = "{\"model\": {\"type\": \"WordLevel\", \"vocab\": {\"word\": 0}}, ...}";
constexpr char kRemedy[] =
    "compute the ids beforehand into a column, and read that as an id_feature with num_buckets";

// The member, or null where there is none.
const Json* Member(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

// A part of the file for a message, in ASCII and short.
std::string Shown(const Json& value) {
  return Printable(value.dump(-1, ' ', true, Json::error_handler_t::replace), 100);
}

// The "type" of a part of the file; "" if it has none.
std::string TypeIn(const Json& part) {
  const Json* const type = part.is_object() ? Member(part, "type") : nullptr;
  return type != nullptr && type->is_string() ? type->get<std::string>() : "";
}

// Reads one file into a TokenizerFile, part by part; the first fault ends it.
class Reader {
 public:
  Reader(const Json& file, const std::string& path) : file_(file), path_(path) {}

  StatusOr<TokenizerFile> Read() {
    // A part that is not known may change what the tokenizer gives, so it is refused and not
    // skipped (law L7).
    for (const auto& [name, value] : file_.items()) {
      static const std::set<std::string> kKnown = {"version",        "truncation", "padding",
                                                   "added_tokens",   "normalizer", "pre_tokenizer",
                                                   "post_processor", "decoder",    "model"};
      if (kKnown.count(name) == 0) {
        return Error("\"", Printable(name, 100), "\" is no part of a tokenizer.json");
      }
    }
    for (const char* name : {"truncation", "padding", "post_processor"}) {
      if (Member(file_, name) == nullptr) continue;
      return Error(
          "\"", name,
          "\" is set, but of a text all words are read and none are added; set it to null, or ",
          kRemedy);
    }
    // Added tokens are read behind the model, whose words they may repeat, and behind the
    // normalizer, on which one of their flags depends; ids are checked when all words are there.
    PEPNET_RETURN_IF_ERROR(ReadModel());
    PEPNET_RETURN_IF_ERROR(ReadNormalizer());
    PEPNET_RETURN_IF_ERROR(ReadPreTokenizer());
    PEPNET_RETURN_IF_ERROR(ReadAddedTokens());
    PEPNET_RETURN_IF_ERROR(CheckIds());
    return std::move(out_);
  }

 private:
  template <typename... Text>
  Status Error(const Text&... text) const {
    return InvalidInput(path_, ": ", text...);
  }

  // A JSON number with a fraction or a sign is no id; nlohmann keeps whole numbers from 0 apart.
  StatusOr<int64_t> Id(const Json& value, const std::string& word) const {
    const bool is_id =
        value.is_number_unsigned() && value.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX);
    if (is_id) return static_cast<int64_t>(value.get<uint64_t>());
    return Error("the id of \"", Printable(word, 100), "\" is ", Shown(value),
                 "; expected an integer from 0");
  }

  Status ReadModel() {
    const Json* const model = Member(file_, "model");
    const std::string type = model == nullptr ? "" : TypeIn(*model);
    if (type != "WordLevel") {
      return Error(
          "its model is ",
          type.empty() ? "missing or has no type" : absl::StrCat("\"", Printable(type, 100), "\""),
          "; expected WordLevel. Of other tokenizers ", kRemedy);
    }
    const Json* const vocabulary = Member(*model, "vocab");
    if (vocabulary == nullptr || !vocabulary->is_object()) {
      return Error("its model has no \"vocab\" of words and ids");
    }
    for (const auto& [word, value] : vocabulary->items()) {
      PEPNET_ASSIGN_OR_RETURN(const int64_t id, Id(value, word));
      out_.vocabulary.emplace(word, id);
    }
    const Json* const unknown = Member(*model, "unk_token");
    if (unknown != nullptr && !unknown->is_string()) {
      return Error("unk_token is ", Shown(*unknown), "; expected a text");
    }
    // As in the library.
    out_.unknown_word = unknown == nullptr ? "<unk>" : unknown->get<std::string>();
    const auto found = out_.vocabulary.find(out_.unknown_word);
    out_.tokenizer.has_unknown = found != out_.vocabulary.end();
    if (out_.tokenizer.has_unknown) out_.unknown_id = found->second;
    return absl::OkStatus();
  }

  Status ReadNormalizer() {
    const Json* const normalizer = Member(file_, "normalizer");
    if (normalizer == nullptr) return absl::OkStatus();
    // A Sequence of normalizers applies them one after the other; lower case twice is lower case
    // once.
    std::vector<const Json*> parts = {normalizer};
    if (TypeIn(*normalizer) == "Sequence") {
      const Json* const listed = Member(*normalizer, "normalizers");
      if (listed == nullptr || !listed->is_array()) {
        return Error("its normalizer Sequence lists no \"normalizers\"");
      }
      parts.clear();
      for (const Json& part : *listed) parts.push_back(&part);
    }
    for (const Json* part : parts) {
      if (TypeIn(*part) != "Lowercase") {
        return Error("its normalizer is ", Shown(*part),
                     "; expected none or Lowercase. Of other tokenizers ", kRemedy);
      }
      out_.tokenizer.lower_case = true;
    }
    return absl::OkStatus();
  }

  Status ReadPreTokenizer() {
    const Json* const part = Member(file_, "pre_tokenizer");
    const std::string type = part == nullptr ? "" : TypeIn(*part);
    const std::optional<WordSplit> split = FindKind<WordSplit>(&WordSplitType::name, type);
    if (split.has_value()) {
      out_.tokenizer.split = *split;
      return absl::OkStatus();
    }
    return Error("its pre_tokenizer is ", part == nullptr ? "missing" : Shown(*part), "; expected ",
                 ListOfKinds<WordSplit>(&WordSplitType::name, " or "), ". Of other tokenizers ",
                 kRemedy);
  }

  // Tokens that are cut out of a text wherever they stand. Those that are looked for behind the
  // normalizer, or only as whole words, or with the blanks around them, are not.
  Status ReadAddedTokens() {
    const Json* const added = Member(file_, "added_tokens");
    if (added == nullptr) return absl::OkStatus();
    if (!added->is_array()) return Error("\"added_tokens\" is no list");
    for (const Json& token : *added) {
      const Json* const content = token.is_object() ? Member(token, "content") : nullptr;
      if (content == nullptr || !content->is_string() ||
          content->get_ref<const std::string&>().empty()) {
        return Error("an entry of added_tokens has no \"content\": ", Shown(token));
      }
      const std::string word = content->get<std::string>();
      for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized"}) {
        const Json* const value = Member(token, flag);
        if (value == nullptr || (value->is_boolean() && !value->get<bool>())) continue;
        // A text without capitals is the same behind the normalizer.
        if (std::string_view(flag) == "normalized" && value->is_boolean() &&
            !out_.tokenizer.lower_case)
          continue;
        return Error("the added token \"", Printable(word, 100), "\" has ", flag, " ",
                     Shown(*value), "; expected false. Of other tokenizers ", kRemedy);
      }
      const Json* const id = Member(token, "id");
      if (id == nullptr) return Error("the added token \"", Printable(word, 100), "\" has no id");
      PEPNET_ASSIGN_OR_RETURN(const int64_t number, Id(*id, word));
      const auto [place, is_new] = out_.vocabulary.emplace(word, number);
      if (!is_new && place->second != number) {
        return Error("the added token \"", Printable(word, 100), "\" has the id ", number, ", but ",
                     place->second, " in the vocabulary");
      }
      out_.tokenizer.added.push_back(word);
    }
    return absl::OkStatus();
  }

  // Ids are rows of a table that has one for each word.
  Status CheckIds() const {
    if (out_.vocabulary.empty()) return Error("the vocabulary is empty");
    const auto size = static_cast<int64_t>(out_.vocabulary.size());
    std::vector<const std::string*> words(out_.vocabulary.size());
    for (const auto& [word, id] : out_.vocabulary) {
      if (id >= size) {
        return Error("the id of \"", Printable(word, 100), "\" is ", id,
                     ", but the vocabulary has ", size, " words; expected ids from 0 to ",
                     size - 1);
      }
      if (words[id] != nullptr) {
        return Error("\"", Printable(*words[id], 100), "\" and \"", Printable(word, 100),
                     "\" have the same id, ", id);
      }
      words[id] = &word;
    }
    return absl::OkStatus();
  }

  const Json& file_;
  const std::string& path_;
  TokenizerFile out_;
};

}  // namespace

StatusOr<TokenizerFile> ParseTokenizerFile(const std::string& contents, const std::string& path) {
  PEPNET_ASSIGN_OR_RETURN(const Json file, ParseJsonObject(contents, path, kExample));
  return Reader(file, path).Read();
}

}  // namespace pepnet
