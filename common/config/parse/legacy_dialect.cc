#include "common/config/parse/legacy_dialect.h"

#include <set>

#include "common/config/parse/text_parser.h"

namespace pepnet {
namespace {

struct Role {
  const char* field;  // of PEPNet in the older dialect
  const char* group;  // fixed name today
};
constexpr Role kRoles[] = {
    {"main_group_name", "all"}, {"domain_group_name", "domain"}, {"uia_group_name", "uia"}};

// The two spellings may stand side by side while they agree.
Status RewriteWideDeep(ConfigSource* source, config::FeatureGroupConfig* group) {
  if (!group->has_wide_deep()) return absl::OkStatus();
  if (group->has_group_type() && group->group_type() != group->wide_deep()) {
    return source->Error(*group, "wide_deep", config::FeatureGroupType_Name(group->wide_deep()),
                         " but group_type is ", config::FeatureGroupType_Name(group->group_type()),
                         "; keep group_type only");
  }
  source->Note(*group, "wide_deep", "older spelling, read as group_type");
  source->RenameField(*group, "wide_deep", "group_type");
  group->set_group_type(group->wide_deep());
  group->clear_wide_deep();
  return absl::OkStatus();
}

// fg_encoded wins over fg_mode where both stand, as in the reference (docs/spec.md 3.1).
void RewriteFgEncoded(ConfigSource* source, config::DataConfig* data) {
  if (!data->has_fg_encoded()) return;
  const config::FgMode mode = data->fg_encoded() ? config::FG_NONE : config::FG_DAG;
  source->Note(*data, "fg_encoded",
               absl::StrCat("older spelling, read as fg_mode: ", config::FgMode_Name(mode)));
  source->RenameField(*data, "fg_encoded", "fg_mode");
  data->set_fg_mode(mode);
  data->clear_fg_encoded();
}

// Gives the groups named by the older fields their fixed names, in the order all, domain, uia.
Status RewriteGroupNames(ConfigSource* source, config::ModelConfig* model) {
  config::PEPNet* pepnet = model->mutable_pepnet();
  const auto* reflection = pepnet->GetReflection();
  const auto* type = pepnet->GetDescriptor();
  bool any = false;
  for (const Role& role : kRoles) {
    any |= reflection->HasField(*pepnet, type->FindFieldByName(role.field));
  }
  // One role that is named decides for all three: the groups' names then have no meaning of their
  // own, not even "domain" (docs/spec.md section 4).
  if (!any) return absl::OkStatus();
  if (!pepnet->has_main_group_name()) {
    return source->Error(
        *pepnet, "main_group_name",
        "is missing, but domain_group_name or uia_group_name is set; name the main group too, or "
        "remove both and name the groups all, domain and uia");
  }
  google::protobuf::RepeatedPtrField<config::FeatureGroupConfig> old_groups;
  // Swaps addresses, so the recorded lines stay valid.
  old_groups.Swap(model->mutable_feature_groups());
  std::set<std::string> used;
  std::vector<std::string> names;
  for (const auto& group : old_groups) names.push_back(group.group_name());
  for (const Role& role : kRoles) {
    const auto* field = type->FindFieldByName(role.field);
    if (!reflection->HasField(*pepnet, field)) continue;
    const std::string name = reflection->GetString(*pepnet, field);
    const config::FeatureGroupConfig* found = nullptr;
    for (const auto& group : old_groups) {
      found = found == nullptr && group.group_name() == name ? &group : found;
    }
    if (found == nullptr) {
      return source->Error(*pepnet, role.field, "no feature group is named \"", name, "\"",
                           Suggestion(name, names));
    }
    used.insert(name);
    // A group may have two roles, so it is copied and not moved.
    config::FeatureGroupConfig* group = model->add_feature_groups();
    *group = *found;
    source->CopyLines(*found, *group);
    group->set_group_name(role.group);
    source->Note(
        *pepnet, role.field,
        absl::StrCat("older spelling, group \"", name, "\" is read as group \"", role.group, "\""));
  }
  for (const auto& group : old_groups) {
    if (used.count(group.group_name()) == 0) {
      source->AddNote(absl::StrCat(
          source->name(), ":", source->Line(group), ": feature group \"", group.group_name(),
          "\" is named by none of main_group_name, domain_group_name and uia_group_name and "
          "is dropped"));
    }
    source->MarkEdited(group, source->name());  // its address may be used again
  }
  for (const Role& role : kRoles) reflection->ClearField(pepnet, type->FindFieldByName(role.field));
  return absl::OkStatus();
}

// A group that the model does not read changes no number, so a note is enough (decision 0018).
void DropGroupsWithoutRole(ConfigSource* source, config::ModelConfig* model) {
  // The loop runs from the end, so that removing a group does not move those still to be looked at.
  for (int i = model->feature_groups_size() - 1; i >= 0; --i) {
    const std::string name = model->feature_groups(i).group_name();
    bool has_role = false;
    for (const Role& role : kRoles) has_role |= name == role.group;
    if (has_role) continue;
    source->Note(
        model->feature_groups(i), "",
        absl::StrCat("feature group \"", name, "\" is none of all, domain and uia and is dropped"));
    model->mutable_feature_groups()->DeleteSubrange(i, 1);
  }
}

}  // namespace

// Names are checked first, since roles are found by them.
Status RewriteLegacyDialect(ConfigSource* source, config::EasyRecConfig* config) {
  if (config->has_data_config()) RewriteFgEncoded(source, config->mutable_data_config());
  if (!config->has_model_config()) return absl::OkStatus();
  config::ModelConfig* model = config->mutable_model_config();
  std::set<std::string> names;
  for (config::FeatureGroupConfig& group : *model->mutable_feature_groups()) {
    if (!group.has_group_name() || group.group_name().empty()) {
      return source->Error(group, "group_name", "is missing; name the group all, domain or uia");
    }
    if (!names.insert(group.group_name()).second) {
      return source->Error(group, "group_name", "\"", group.group_name(),
                           "\" names two groups; merge them or rename one");
    }
    PEPNET_RETURN_IF_ERROR(RewriteWideDeep(source, &group));
  }
  // A model without pepnet is refused later, by name.
  if (!model->has_pepnet()) return absl::OkStatus();
  PEPNET_RETURN_IF_ERROR(RewriteGroupNames(source, model));
  DropGroupsWithoutRole(source, model);
  return absl::OkStatus();
}

}  // namespace pepnet
