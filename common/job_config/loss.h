// Loss: what a task tower minimises, and the description of each kind. The formula of a row and its
// derivative are in worker/model/fused/row_loss.cc; docs/extending.md shows how a kind is added.
#pragma once

#include <span>
#include <string>

#include "common/job_config/parameter.h"
#include "common/job_config/type_table.h"

namespace pepnet {

enum class LossKind { kBinaryCrossEntropy, kBinaryFocal, kSoftmaxCrossEntropy, kL2, kJrc };
struct Loss {
  LossKind kind = LossKind::kBinaryCrossEntropy;
  std::string name;  // "<type>_<tower>", e.g. "binary_cross_entropy_ctr"
  double label_smoothing = 0;
  double focal_gamma = 2, focal_alpha = 0.5;
  double jrc_alpha = 0.5;
  // Of a loss with sessions: index of the feature whose first id is a row's session.
  int session_feature = -1;
};

// The values that a loss accepts as labels.
enum class LabelRule {
  kNumber,     // any finite number
  kZeroOrOne,  // 0 or 1
  kClass,      // an integer, 0 <= label < num_class
};

// The outputs of a tower with the loss, made from its raw output z.
enum class TowerOutput {
  kValue,               // "y" = z
  kProbability,         // "logits" = z, "probs" = sigmoid(z)
  kClassProbabilities,  // "logits" = z, "probs" = softmax(z); num_class of them, 2 or more
};

struct LossType {
  // Field of config::LossConfig; in checkpoints and in names of losses, so it never changes.
  const char* name;
  LabelRule label;
  TowerOutput output;
  std::span<const Parameter<Loss>> parameters;
  // Name of the parameter that names a feature whose first id is a row's session; null: none. Such
  // a loss has a second part, which compares the rows of a session (worker/model/session_loss.h).
  const char* session_field = nullptr;
  int num_class = 0;  // the only one that it can have; 0: any that fits `output`
};

// A tower with num_class of 2 or more; the other losses have num_class 1.
constexpr bool HasClasses(const LossType& type) {
  return type.output == TowerOutput::kClassProbabilities;
}
constexpr bool HasProbabilities(const LossType& type) { return type.output != TowerOutput::kValue; }
constexpr bool HasSessions(const LossType& type) { return type.session_field != nullptr; }

namespace loss_types {

inline constexpr Parameter<Loss> kSmoothing[] = {
    Number<&Loss::label_smoothing>("label_smoothing", kBelowOne)};
inline constexpr Parameter<Loss> kFocal[] = {
    Number<&Loss::focal_alpha>("alpha", {0, false, 1, false, "0 < alpha < 1"}),
    Number<&Loss::focal_gamma>("gamma", kNotNegative)};

inline constexpr LossType kBinaryCrossEntropy = {"binary_cross_entropy", LabelRule::kZeroOrOne,
                                                 TowerOutput::kProbability, kSmoothing};
inline constexpr LossType kBinaryFocal = {"binary_focal_loss", LabelRule::kZeroOrOne,
                                          TowerOutput::kProbability, kFocal};
inline constexpr LossType kSoftmaxCrossEntropy = {"softmax_cross_entropy", LabelRule::kClass,
                                                  TowerOutput::kClassProbabilities, kSmoothing};
inline constexpr LossType kL2 = {"l2_loss", LabelRule::kNumber, TowerOutput::kValue, {}};
inline constexpr Parameter<Loss> kJrcParameters[] = {Number<&Loss::jrc_alpha>("alpha", kUpToOne)};
inline constexpr LossType kJrc = {
    "jrc_loss",     LabelRule::kClass, TowerOutput::kClassProbabilities,
    kJrcParameters, "session_name",    2};

}  // namespace loss_types

constexpr const LossType* FindType(LossKind kind) {
  switch (kind) {
    case LossKind::kBinaryCrossEntropy:
      return &loss_types::kBinaryCrossEntropy;
    case LossKind::kBinaryFocal:
      return &loss_types::kBinaryFocal;
    case LossKind::kSoftmaxCrossEntropy:
      return &loss_types::kSoftmaxCrossEntropy;
    case LossKind::kL2:
      return &loss_types::kL2;
    case LossKind::kJrc:
      return &loss_types::kJrc;
  }
  return nullptr;
}

}  // namespace pepnet
