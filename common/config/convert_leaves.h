// From features and from what groups read of them to leaves and their tables
// (common/job_config/leaf.h).
#pragma once

#include <compare>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/config/parse/config_source.h"
#include "common/job_config/job_config.h"
#include "proto/pipeline.pb.h"

namespace pepnet {

// The message of one feature.
struct FeatureMessage {
  // Of a kind or an operator; without one, what should hold it.
  const google::protobuf::Message* message = nullptr;
  std::optional<FeatureKind> kind;
  std::optional<OperatorKind> op;                  // computes the cells; kind is not set
  const config::SequenceFeature* group = nullptr;  // that it belongs to
  bool is_sequence = false;
  // The cells of its inputs hold elements: sequence_<kind>, or a feature of a sequence_feature.
  // Else a sequence is made of one text.
  bool is_in_sequence = false;
};

// The features that an entry of feature_configs holds: several of a sequence_feature, else one.
std::vector<FeatureMessage> FeatureMessages(const config::FeatureConfig& config);

// A key tells the leaves of a job apart. The order of keys is the order of the leaves.
struct LeafKey {
  int feature = -1;
  bool of_sequence_group = false;  // looked up in a table of the sequence groups
  std::string suffix;              // embedding_name_suffix
  std::strong_ordering operator<=>(const LeafKey&) const = default;
};

class LeafPlan {
 public:
  explicit LeafPlan(const std::vector<Feature>& features) : features_(features) {}

  // A group reads this leaf. Returns the key by which Find() knows it.
  LeafKey Add(LeafKey key);
  // Fills out->leaves and out->tables, and Feature::is_read.
  Status Build(const config::EasyRecConfig& config, ConfigSource* source, JobConfig* out);
  // After Build(): index into JobConfig::leaves.
  int Find(const LeafKey& key) const { return places_.at(key); }

 private:
  const std::vector<Feature>& features_;
  std::map<LeafKey, int> places_;
};

}  // namespace pepnet
