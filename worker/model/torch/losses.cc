#include "worker/model/torch/losses.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/sigmoid.h>

#include <torch/csrc/autograd/custom_function.h>

#include "worker/model/fused/row_loss.h"
#include "worker/model/session_loss.h"
#include "worker/model/torch/device/transfer.h"

namespace pepnet {
namespace {

// max(z, 0) - z y + log(1 + exp(-|z|)), with y <- y (1 - s) + s / 2
at::Tensor BinaryCrossEntropy(const Loss& loss, const at::Tensor& z, const at::Tensor& label) {
  const double s = loss.label_smoothing;
  const at::Tensor y = s > 0 ? label.mul(1 - s).add(s / 2) : label;
  return at::binary_cross_entropy_with_logits(z, y, {}, {}, at::Reduction::None);
}

// sg(alpha y (1 - p)^gamma + (1 - alpha) (1 - y) p^gamma) * bce, p = sigmoid(z)
at::Tensor BinaryFocal(const Loss& loss, const at::Tensor& z, const at::Tensor& y) {
  const double alpha = loss.focal_alpha, gamma = loss.focal_gamma;
  at::Tensor modulation;
  {
    // The modulation is a weight of the row and not a part of what is derived.
    const at::NoGradGuard no_grad;
    const at::Tensor p = at::sigmoid(z), not_p = at::sigmoid(z.neg()), not_y = y.neg().add(1);
    modulation = y.mul(alpha).mul(not_p.pow(gamma)).add(not_y.mul(1 - alpha).mul(p.pow(gamma)));
  }
  return at::binary_cross_entropy_with_logits(z, y, {}, {}, at::Reduction::None).mul(modulation);
}

at::Tensor SoftmaxCrossEntropy(const Loss& loss, const at::Tensor& z, const at::Tensor& label) {
  constexpr int64_t kNothingIgnored = -100;
  return at::cross_entropy_loss(z, label, {}, at::Reduction::None, kNothingIgnored,
                                loss.label_smoothing);
}

// The row's own part.
at::Tensor Jrc(const Loss& loss, const at::Tensor& z, const at::Tensor& label) {
  return SoftmaxCrossEntropy(loss, z, label).mul(loss.jrc_alpha);
}

at::Tensor SquaredError(const Loss&, const at::Tensor& z, const at::Tensor& y) {
  return z.sub(y).pow(2);
}

// The losses that libtorch can say itself: written independently of the fused engine's formulas,
// which tests compare with them. `z`: [rows], with classes [rows, classes].
struct TensorExpression {
  LossKind kind;
  at::Tensor (*loss)(const Loss&, const at::Tensor& z, const at::Tensor& label);
};
constexpr TensorExpression kExpressions[] = {{LossKind::kBinaryCrossEntropy, BinaryCrossEntropy},
                                             {LossKind::kBinaryFocal, BinaryFocal},
                                             {LossKind::kSoftmaxCrossEntropy, SoftmaxCrossEntropy},
                                             {LossKind::kL2, SquaredError},
                                             {LossKind::kJrc, Jrc}};

// `values`, `integers`: the label as numbers of the one and the other kind; a loss reads one of
// them.
at::Tensor OneLoss(const Loss& loss, const at::Tensor& output, const at::Tensor& values,
                   const at::Tensor& integers) {
  for (const TensorExpression& expression : kExpressions) {
    if (expression.kind != loss.kind) continue;
    if (HasClasses(TypeOf(loss.kind))) return expression.loss(loss, output, integers);
    return expression.loss(loss, output.squeeze(1), values.to(output.scalar_type()));
  }
  return RowFormulaLoss(loss, output, values, integers);
}

// RowLossAndGradient() of every row. Forward keeps dl/dz of each row, so that backward is one
// product.
class RowFormula : public torch::autograd::Function<RowFormula> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& output,
                            const Loss* loss, const LabelColumn* label) {
    const at::Tensor z = output.detach().to(at::kCPU, at::kFloat).contiguous();
    const int64_t rows = z.size(0), classes = z.size(1);
    // The values are in double, as the fused engine sums them.
    at::Tensor values = at::empty({rows}, at::kDouble);
    at::Tensor derivatives = at::zeros({rows, classes}, at::kFloat);
    for (int64_t row = 0; row < rows; ++row) {
      values.data_ptr<double>()[row] =
          RowLossAndGradient(*loss, static_cast<int>(classes), z.data_ptr<float>() + row * classes,
                             *label, row, 1.0, derivatives.data_ptr<float>() + row * classes);
    }
    context->save_for_backward({derivatives.to(output.device(), output.scalar_type())});
    return values.to(output.device(), output.scalar_type());
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    return {context->get_saved_variables()[0].mul(gradients[0].unsqueeze(1)), {}, {}};
  }
};

}  // namespace

at::Tensor RowFormulaLoss(const Loss& loss, const at::Tensor& output, const at::Tensor& values,
                          const at::Tensor& integers) {
  LabelColumn label;
  const at::Tensor reals = values.to(at::kCPU, at::kFloat).contiguous();
  label.values.assign(reals.data_ptr<float>(), reals.data_ptr<float>() + reals.numel());
  const at::Tensor classes = integers.to(at::kCPU, at::kLong).contiguous();
  label.integers.assign(classes.data_ptr<int64_t>(), classes.data_ptr<int64_t>() + classes.numel());
  return RowFormula::apply(output, &loss, &label);
}

LabelTensors MakeLabels(const Batch& batch) {
  LabelTensors labels;
  for (const LabelColumn& column : batch.labels) {
    labels.values.push_back(AlignedTensor<float>(column.values, at::kFloat));
    labels.integers.push_back(AlignedTensor<int64_t>(column.integers, at::kLong));
  }
  return labels;
}

std::vector<RowLoss> RowLosses(const JobConfig& config, const LabelTensors& labels,
                               const std::vector<at::Tensor>& towers) {
  const Model& model = config.model;
  at::Tensor domain;  // [rows, 1]
  if (model.domain_label >= 0) domain = labels.integers[model.domain_label].unsqueeze(1);
  std::vector<at::Tensor> outputs;  // by task
  // Each row's loss is that of its own domain's tower; gather() sends gradients to that one alone.
  for (size_t task = 0; task < model.towers.size(); ++task) {
    at::Tensor& output = outputs.emplace_back(towers[task * model.domain_count]);
    if (!domain.defined()) continue;
    // Config refuses domain towers with more than one class, so that each output is one column.
    const auto first = towers.begin() + task * model.domain_count;
    output =
        at::cat(std::vector<at::Tensor>(first, first + model.domain_count), 1).gather(1, domain);
  }
  std::vector<RowLoss> losses;
  for (const LossSlot& slot : LossSlots(config)) {
    const int label = model.towers[slot.task].label;
    losses.push_back(
        {slot.loss->name, slot.task,
         OneLoss(*slot.loss, outputs[slot.task], labels.values[label], labels.integers[label])});
  }
  return losses;
}

}  // namespace pepnet
