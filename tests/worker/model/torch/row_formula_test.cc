// The torch engine computes losses and activations without a libtorch expression from formulas,
// which are measured here on those that have one: the fused engine's formulas against libtorch's,
// values and gradients.
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include "common/job_config/job_config.h"
#include "worker/model/torch/layers.h"
#include "worker/model/torch/losses.h"

namespace pepnet {
namespace {

// Largest |a - b| over 1 + |b|.
double Distance(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return a.sub(b).abs().div(b.abs().add(1)).max().item<double>();
}

TEST(RowFormulaTest, EveryLossIsLibtorchsInValueAndGradient) {
  constexpr int64_t kRows = 7;
  for (const LossKind kind : AllKinds<LossKind>()) {
    const LossType& type = TypeOf(kind);
    JobConfig config;
    config.data.labels = {"y"};
    Tower& tower = config.model.towers.emplace_back();
    tower.name = "t";
    tower.label = 0;
    tower.num_class = HasClasses(type) ? 3 : 1;
    Loss& loss = tower.losses.emplace_back();
    loss.kind = kind;
    loss.name = "l";
    if (kind != LossKind::kL2) loss.label_smoothing = 0.1;
    LabelTensors labels;
    labels.integers.push_back(at::arange(kRows, at::kLong).remainder(HasClasses(type) ? 3 : 2));
    labels.values.push_back(labels.integers[0].to(at::kFloat));
    const at::Tensor z = at::arange(kRows * tower.num_class, at::kFloat)
                             .mul(0.7)
                             .sub(3)
                             .sin()
                             .mul(4)
                             .view({kRows, tower.num_class});
    const at::Tensor weights = at::arange(kRows, at::kFloat).add(0.5);

    at::Tensor ours = z.clone().set_requires_grad(true), theirs = z.clone().set_requires_grad(true);
    const at::Tensor formula = RowFormulaLoss(loss, ours, labels.values[0], labels.integers[0]);
    const at::Tensor expression = RowLosses(config, labels, {theirs}).front().values;
    EXPECT_LT(Distance(formula, expression), 1e-5) << type.name;
    formula.mul(weights).sum().backward();
    expression.mul(weights).sum().backward();
    EXPECT_LT(Distance(ours.grad(), theirs.grad()), 1e-5) << type.name;
  }
}

TEST(RowFormulaTest, EveryFixedActivationIsLibtorchsInValueAndGradient) {
  for (const ActivationKind kind : AllKinds<ActivationKind>()) {
    const ActivationType& type = TypeOf(kind);
    if (type.weight != nullptr || !IsElementwise(type)) continue;
    const Activation activation = DefaultActivation(kind);
    const at::Tensor x = at::arange(24, at::kFloat).sub(11.5).mul(0.3).view({4, 6});
    const at::Tensor weights = at::arange(24, at::kFloat).add(0.5).view({4, 6});
    at::Tensor ours = x.clone().set_requires_grad(true), theirs = x.clone().set_requires_grad(true);
    const at::Tensor kernel = KernelActivated(activation, ours);
    DenseParameters none{std::vector<ParameterSpec>{}};
    LeafMaker maker(&none);
    const at::Tensor expression = ActivationLayer(&maker, "module", activation)(theirs, {});
    EXPECT_LT(Distance(kernel, expression), 1e-5) << type.name;
    kernel.mul(weights).sum().backward();
    expression.mul(weights).sum().backward();
    EXPECT_LT(Distance(ours.grad(), theirs.grad()), 1e-5) << type.name;
  }
}

}  // namespace
}  // namespace pepnet
