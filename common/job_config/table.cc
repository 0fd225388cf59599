#include "common/job_config/table.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace pepnet {
namespace {

constexpr char kPooled[] = "model.embedding_group.emb_impls.__BASE__.ebc.embedding_bags.";
constexpr char kSequences[] = "model.embedding_group.seq_emb_impls.__BASE__.ec_dict.";  // <dim>.embeddings.<name>
constexpr char kEmbeddings[] = ".embeddings.";
constexpr char kWeight[] = ".weight";
constexpr char kSequencePrefix[] = "sequence.";

// Sets `head` to the text before `end` and cuts `text` behind it. False if there is no `end`.
bool CutBefore(const std::string& end, std::string* text, std::string* head) {
  const size_t at = text->find(end);
  if (at == std::string::npos) return false;
  *head = text->substr(0, at);
  *text = text->substr(at + end.size());
  return true;
}

}  // namespace

std::string SequenceTableName(const std::string& name, int dim) {
  return absl::StrCat(kSequencePrefix, dim, ".", name);
}

std::string TableParameterName(const Table& table) {
  if (!table.sequence) return absl::StrCat(kPooled, table.name, kWeight);
  const std::string prefix = SequenceTableName("", table.dim);
  return absl::StrCat(kSequences, table.dim, kEmbeddings, table.name.substr(prefix.size()), kWeight);
}

std::optional<std::string> TableOfParameter(const std::string& parameter) {
  if (!absl::EndsWith(parameter, kWeight)) return std::nullopt;
  std::string rest = parameter.substr(0, parameter.size() - (sizeof(kWeight) - 1)), head;
  if (absl::StartsWith(rest, kPooled)) return rest.substr(sizeof(kPooled) - 1);
  if (!absl::StartsWith(rest, kSequences)) return std::nullopt;
  rest = rest.substr(sizeof(kSequences) - 1);
  if (!CutBefore(kEmbeddings, &rest, &head)) return std::nullopt;
  return absl::StrCat(kSequencePrefix, head, ".", rest);
}

}  // namespace pepnet
