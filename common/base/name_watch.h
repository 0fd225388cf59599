// NameWatch: finds a name that an object of a JSON text gives twice. nlohmann-json keeps one of the
// two values without a word.
//
//     NameWatch<Json> watch;
//     const Json value = Json::parse(text, watch.Callback());
//     if (!watch.duplicate().empty()) ...
#pragma once

#include <set>
#include <string>
#include <vector>

namespace pepnet {

template <typename Json>
class NameWatch {
 public:
  // For Json::parse(); borrows this object.
  auto Callback() {
    return [this](int, typename Json::parse_event_t event, Json& parsed) {
      if (event == Json::parse_event_t::object_start) {
        open_objects_.emplace_back();
      } else if (event == Json::parse_event_t::object_end) {
        open_objects_.pop_back();
      } else if (event == Json::parse_event_t::key) {
        const auto& name = parsed.template get_ref<const std::string&>();
        if (!open_objects_.back().insert(name).second) duplicate_ = name;
      }
      return true;
    };
  }

  // The last such name, "" if there is none.
  const std::string& duplicate() const { return duplicate_; }

 private:
  std::vector<std::set<std::string>> open_objects_;
  std::string duplicate_;
};

}  // namespace pepnet
