// ConfigSource: remembers where each field of a parsed config was written, so that every later
// message can say "file:line: path.to.field". Edited or generated fields have no line; for them the
// place is the file alone.
//
// Threads: one. Ownership: keeps addresses of the message's sub-messages, so it must not outlive
// the message.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>

#include "common/base/status.h"

namespace pepnet {

class ConfigSource {
 public:
  explicit ConfigSource(std::string name) : name_(std::move(name)) {}

  const std::string& name() const { return name_; }

  // Takes the lines of all fields of `root` as the text parser saw them. Later messages are named
  // by their path in `root`; an element keeps the position that it has now, also where elements
  // before it are removed.
  void Record(const google::protobuf::Message& root,
              const google::protobuf::TextFormat::ParseInfoTree& tree);
  // The same for a `root` that was not read from text: no field has a line.
  void Record(const google::protobuf::Message& root);

  // `message` and everything below is about to change: its lines are forgotten, and it counts as
  // written by `origin`.
  void MarkEdited(const google::protobuf::Message& message, const std::string& origin);
  // The same for one field of `message`.
  void MarkFieldEdited(const google::protobuf::Message& message,
                       const google::protobuf::FieldDescriptor& field, const std::string& origin);
  // `to` (same type and content) inherits the lines of `from`.
  void CopyLines(const google::protobuf::Message& from, const google::protobuf::Message& to);
  // Field `to` of `message` inherits the line of its field `from`.
  void RenameField(const google::protobuf::Message& message, const std::string& from,
                   const std::string& to);

  // While it lives, messages about `copy` are messages about `original`, whose fields of the same
  // names it was made from; and so on for the messages in those fields.
  class StandIn {
   public:
    StandIn(ConfigSource* source, const google::protobuf::Message& copy,
            const google::protobuf::Message& original);
    ~StandIn();
    StandIn(const StandIn&) = delete;
    StandIn& operator=(const StandIn&) = delete;

   private:
    void Add(const google::protobuf::Message& copy, const google::protobuf::Message& original);

    ConfigSource& source_;
    std::vector<const google::protobuf::Message*> copies_;
  };

  // 1-based line of a field (its first element if repeated), else of the message around it, else 0.
  int Line(const google::protobuf::Message& message, const std::string& field = "",
           int index = 0) const;

  // "file:12: train_config.num_steps". `field` "" names the message itself.
  std::string Where(const google::protobuf::Message& message, const std::string& field = "",
                    int index = 0) const;

  // InvalidArgument "<Where>: <text>".
  template <typename... Args>
  Status Error(const google::protobuf::Message& message, const std::string& field,
               const Args&... text) const {
    return InvalidInput(Where(message, field), ": ", text...);
  }

  // One sentence for the log, with the place in front; repeated sentences are kept once.
  void Note(const google::protobuf::Message& message, const std::string& field,
            const std::string& text);
  void AddNote(std::string note);
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  using FieldKey = std::pair<const google::protobuf::Message*, std::string>;

  void RecordMessage(const google::protobuf::Message& message,
                     const google::protobuf::TextFormat::ParseInfoTree& tree, int line);
  void RecordPositions(const google::protobuf::Message& message);
  // The message that `message` stands in for, else itself.
  const google::protobuf::Message& Original(const google::protobuf::Message& message) const;
  // Path of `target` below `from`, as messages from the outside in; false if it is not there.
  bool FindPath(const google::protobuf::Message& from, const google::protobuf::Message* target,
                std::vector<const google::protobuf::Message*>* messages, std::string* path) const;

  const std::string name_;
  const google::protobuf::Message* root_ = nullptr;
  std::map<FieldKey, std::vector<int>> field_lines_;  // by element
  // Line of the message's own field.
  std::map<const google::protobuf::Message*, int> message_lines_;
  std::map<const google::protobuf::Message*, int> positions_;  // of elements of repeated fields
  // By StandIn's copy.
  std::map<const google::protobuf::Message*, const google::protobuf::Message*> originals_;
  std::map<FieldKey, std::string> origins_;  // field "": the whole message
  std::vector<std::string> notes_;
};

}  // namespace pepnet
