#include "worker/model/fused/fused_network.h"

#include <algorithm>

#include "worker/model/dropout_mask.h"
#include "worker/model/fused/kernels/sized_buffer.h"

namespace pepnet {

KernelActivation FusedNetwork::Function(const FusedActivation& activation) const {
  return {activation.kind,
          activation.weight >= 0 ? values_[activation.weight] : activation.parameter,
          activation.parameter2};
}

KernelDropout FusedNetwork::Dropout(const FusedDropout& dropout, const FusedRows& rows) {
  // A key for each (layer, step); the row and the element make the rest of the counter, so a mask
  // is the same on any thread and any worker (law L2).
  if (!rows.dropout || dropout.ratio <= 0) return {};
  return {dropout.ratio, DropoutKey(rows.seed, dropout.number, rows.step), rows.global,
          Sized(&mask_row_, layers_->widest)};
}

// ---- matrix products ----------------------------------------------------------------------------

void FusedNetwork::LinearForward(const FusedLinear& linear, int64_t rows, ConstMatrix x, float* y) {
  // Matrix shapes: x [rows, in], weight [out, in] as PyTorch keeps it, y and dy [rows, out].
  //   y = x W^T      dW += dy^T x      dx = dy W
  GemmNT(rows, linear.out, linear.in, x, {values_ + linear.weight, linear.in}, 0, {y, linear.out});
}

void FusedNetwork::WeightGradient(const FusedLinear& linear, int64_t rows, ConstMatrix x,
                                  const float* dy) {
  GemmTN(linear.out, linear.in, rows, {dy, linear.out}, x, 1,
         {gradients_ + linear.weight, linear.in});
}

void FusedNetwork::InputGradient(const FusedLinear& linear, int64_t rows, const float* dy,
                                 int64_t first, int64_t columns, float beta, Matrix x_gradient) {
  GemmNN(rows, columns, linear.out, {dy, linear.out}, {values_ + linear.weight + first, linear.in},
         beta, x_gradient);
}

// ---- gates --------------------------------------------------------------------------------------

void FusedNetwork::GateForward(const FusedGate& gate, int64_t rows, ConstMatrix x, float* hidden,
                               float* out) {
  LinearForward(gate.first, rows, x, hidden);
  BiasRelu(rows, gate.first.out, ValueAt(gate.first.bias), hidden);
  LinearForward(gate.second, rows, {hidden, gate.first.out}, out);
}

void FusedNetwork::GateBackward(const FusedGate& gate, int64_t rows, ConstMatrix x,
                                const float* hidden, const float* d) {
  // d is dL/d out of the gate's second layer. Backward through hidden = relu(x W1^T + b1):
  //   dW2 += d^T hidden      dh = (d W2) * (hidden > 0)      dW1 += dh^T x
  // The second layer's bias has had its gradient from the elementwise kernel. dL/dx is left to the
  // caller: most of x stands behind a stop-gradient.
  const int64_t width = gate.first.out;
  float* const hidden_gradient = Sized(&hidden_gradient_, rows * width);
  WeightGradient(gate.second, rows, {hidden, width}, d);
  InputGradient(gate.second, rows, d, 0, width, 0, {hidden_gradient, width});
  BiasReluBackward(rows, width, hidden, hidden_gradient, GradientAt(gate.first.bias));
  WeightGradient(gate.first, rows, x, hidden_gradient);
}

// ---- EPNet --------------------------------------------------------------------------------------

void FusedNetwork::EpnetForward(int64_t rows, Matrix gate_input, int64_t domain_width,
                                float* hidden, float* gate, Matrix out) {
  const FusedGate& net = *layers_->epnet;
  // With S the domain group and M the main one, E = gate([S ; sg(M)]) * M (spec 1.3): the gate's
  // bias, its sigmoid and the product are one pass over the block.
  GateForward(net, rows, gate_input, hidden, gate);
  const Matrix main = gate_input.Column(domain_width);
  pepnet::GateForward(rows, net.second.out, ValueAt(net.second.bias), net.gamma, main.data,
                      main.stride, gate, out.data, out.stride);
}

void FusedNetwork::EpnetBackward(int64_t rows, Matrix gate_input, int64_t domain_width,
                                 const float* hidden, float* gate, Matrix d, float* domain_gradient,
                                 bool gate_sees_gradient) {
  const FusedGate& net = *layers_->epnet;
  const Matrix main = gate_input.Column(domain_width);
  // The kernel turns d into the gradient of main through the product and `gate` into that of the
  // gate's output, in place: nothing reads either of the two again.
  pepnet::GateBackward(rows, net.second.out, net.gamma, main.data, main.stride, gate, d.data,
                       d.stride, GradientAt(net.second.bias));
  GateBackward(net, rows, gate_input, hidden, gate);
  const float* const hidden_gradient = hidden_gradient_.data();
  // The gate sees main detached, so its input gradient is computed for the domain columns alone:
  // exact, and without a product over the widest columns.
  InputGradient(net.first, rows, hidden_gradient, 0, domain_width, 0,
                {domain_gradient, domain_width});
  if (gate_sees_gradient) {
    InputGradient(net.first, rows, hidden_gradient, domain_width, net.second.out, 1, d);
  }
}

// ---- PPNet --------------------------------------------------------------------------------------

GateProduct FusedNetwork::ProductOf(const FusedPpnetLayer& layer, const FusedRows& rows,
                                    PpnetBuffers* buffers) {
  GateProduct product;
  product.rows = rows.count;
  product.width = layer.linear.out;
  product.activation = Function(layer.activation);
  product.gamma = layer.gate.gamma;
  product.dropout = Dropout(layer.dropout, rows);
  product.a_bias = ValueAt(layer.linear.bias);
  product.s_bias = ValueAt(layer.gate.second.bias);
  product.a = buffers->linear.data();
  product.s = buffers->gate.data();
  product.out = buffers->out.data();
  return product;
}

Matrix FusedNetwork::PpnetForward(int task, const FusedRows& rows, Matrix gate_input,
                                  int64_t uia_width) {
  // x_0 = E, x_{i+1} = dropout(f(x_i A_i^T + a_i) * gamma * sigmoid(gate_i(q))), q = [U ; sg(E)]
  // (spec 1.4). All layers' gates read the same q.
  const std::vector<FusedPpnetLayer>& net = layers_->ppnet[task];
  if (ppnet_.size() < net.size()) ppnet_.resize(net.size());
  Matrix x = gate_input.Column(uia_width);
  for (size_t i = 0; i < net.size(); ++i) {
    const FusedPpnetLayer& layer = net[i];
    PpnetBuffers& buffers = ppnet_[i];
    const int64_t width = layer.linear.out;
    LinearForward(layer.linear, rows.count, x, Sized(&buffers.linear, rows.count * width));
    GateForward(layer.gate, rows.count, gate_input,
                Sized(&buffers.hidden, rows.count * layer.gate.first.out),
                Sized(&buffers.gate, rows.count * width));
    Sized(&buffers.out, rows.count * width);
    GateProductForward(ProductOf(layer, rows, &buffers));
    x = {buffers.out.data(), width};
  }
  return x;
}

void FusedNetwork::PpnetBackward(int task, const FusedRows& rows, Matrix gate_input,
                                 int64_t uia_width, Matrix d, Matrix gate_input_gradient,
                                 bool fresh, bool gate_sees_gradient) {
  const std::vector<FusedPpnetLayer>& net = layers_->ppnet[task];
  // The order matters, because gradients take the places of activations:
  //   1. the elementwise kernel turns a and s into their gradients; it reads d, which is in `out`;
  //   2. the gate's products read s and `hidden`;
  //   3. the product of the weight's gradient reads x, the output of the layer below, which
  //   4. that of the input's gradient overwrites: it is the d of the layer below.
  for (size_t i = net.size(); i-- > 0;) {
    const FusedPpnetLayer& layer = net[i];
    PpnetBuffers& buffers = ppnet_[i];
    GateProductBackward(ProductOf(layer, rows, &buffers), d.data, d.stride,
                        GradientAt(layer.linear.bias), GradientAt(layer.gate.second.bias),
                        GradientAt(layer.activation.weight));
    // Of all products that write to gate_input_gradient, the first to reach a column overwrites it:
    // the top layer's gate those of U, the bottom layer's linear path those of E. Filling it with
    // zeros first would cost a pass over the widest array of the block.
    const bool first_write = fresh && i + 1 == net.size();
    // The gate: its input's own columns alone get a gradient.
    GateBackward(layer.gate, rows.count, gate_input, buffers.hidden.data(), buffers.gate.data());
    const int64_t columns = gate_sees_gradient ? layer.gate.first.in : uia_width;
    InputGradient(layer.gate.first, rows.count, hidden_gradient_.data(), 0, columns,
                  first_write ? 0 : 1, gate_input_gradient);
    // The linear path. Below the first layer the gradient takes the place of the layer's output.
    const Matrix x =
        i > 0 ? Matrix{ppnet_[i - 1].out.data(), layer.linear.in} : gate_input.Column(uia_width);
    WeightGradient(layer.linear, rows.count, x, buffers.linear.data());
    const Matrix x_gradient = i > 0 ? x : gate_input_gradient.Column(uia_width);
    const bool overwrite = i > 0 || (fresh && !gate_sees_gradient);
    InputGradient(layer.linear, rows.count, buffers.linear.data(), 0, layer.linear.in,
                  overwrite ? 0 : 1, x_gradient);
    d = x_gradient;
  }
}

// ---- towers -------------------------------------------------------------------------------------

Activated FusedNetwork::ActivatedOf(const FusedMlpLayer& layer, const FusedRows& rows,
                                    MlpBuffers* buffers) {
  // Layer norm adds the linear layer's bias itself, before it takes the mean.
  const bool norm = layer.norm_weight >= 0;
  Activated activated;
  activated.rows = rows.count;
  activated.width = layer.linear.out;
  activated.activation = Function(layer.activation);
  activated.dropout = Dropout(layer.dropout, rows);
  activated.bias = norm ? nullptr : ValueAt(layer.linear.bias);
  activated.u = norm ? buffers->normalised.data() : buffers->linear.data();
  activated.out = buffers->out.data();
  activated.kept = buffers->kept.data();
  return activated;
}

float* FusedNetwork::TowerForward(int tower, const FusedRows& rows, Matrix x) {
  const FusedTower& net = layers_->towers[tower];
  if (mlp_.size() < net.mlp.size()) mlp_.resize(net.mlp.size());
  for (size_t i = 0; i < net.mlp.size(); ++i) {
    const FusedMlpLayer& layer = net.mlp[i];
    MlpBuffers& buffers = mlp_[i];
    const int64_t width = layer.linear.out, size = rows.count * width;
    LinearForward(layer.linear, rows.count, x, Sized(&buffers.linear, size));
    if (layer.norm_weight >= 0) {
      LayerNormForward(rows.count, width, ValueAt(layer.linear.bias), ValueAt(layer.norm_weight),
                       ValueAt(layer.norm_bias), buffers.linear.data(),
                       Sized(&buffers.rstd, rows.count), Sized(&buffers.normalised, size));
    }
    // The mask is kept as bytes: without a gate beside it a zero output does not tell a dropped
    // element from one that is zero of itself.
    if (rows.dropout && layer.dropout.ratio > 0) {
      buffers.kept.Resize(std::max(buffers.kept.size(), static_cast<size_t>(size)));
    }
    Sized(&buffers.out, size);
    ActivatedForward(ActivatedOf(layer, rows, &buffers));
    x = {buffers.out.data(), width};
  }
  float* const logits = Sized(&logits_, rows.count * net.linear.out);
  LinearForward(net.linear, rows.count, x, logits);
  AddBias(rows.count, net.linear.out, ValueAt(net.linear.bias), logits);
  return logits;
}

void FusedNetwork::TowerBackward(int tower, const FusedRows& rows, Matrix x, const float* d,
                                 float beta, Matrix x_gradient) {
  const FusedTower& net = layers_->towers[tower];
  // Input of layer i, and where its gradient goes: into the place of the output below, which
  // nothing needs any more.
  auto below = [&](size_t i) {
    return i > 0 ? Matrix{mlp_[i - 1].out.data(), net.mlp[i - 1].linear.out} : x;
  };
  auto backward = [&](const FusedLinear& linear, size_t i, const float* dy) {
    WeightGradient(linear, rows.count, below(i), dy);
    InputGradient(linear, rows.count, dy, 0, linear.in, i > 0 ? 0 : beta,
                  i > 0 ? below(i) : x_gradient);
  };
  AddColumnSums(rows.count, net.linear.out, d, GradientAt(net.linear.bias));
  backward(net.linear, net.mlp.size(), d);
  // As in PpnetBackward(): the output of a layer is overwritten by its gradient once the layer
  // above has used it for its weights.
  for (size_t i = net.mlp.size(); i-- > 0;) {
    const FusedMlpLayer& layer = net.mlp[i];
    MlpBuffers& buffers = mlp_[i];
    const bool norm = layer.norm_weight >= 0;
    ActivatedBackward(ActivatedOf(layer, rows, &buffers), buffers.out.data(),
                      norm ? nullptr : GradientAt(layer.linear.bias),
                      GradientAt(layer.activation.weight));
    if (norm) {
      LayerNormBackward(rows.count, layer.linear.out, ValueAt(layer.norm_weight),
                        buffers.rstd.data(), buffers.normalised.data(), buffers.linear.data(),
                        GradientAt(layer.linear.bias), GradientAt(layer.norm_weight),
                        GradientAt(layer.norm_bias));
    }
    backward(layer.linear, i, buffers.linear.data());
  }
}

}  // namespace pepnet
