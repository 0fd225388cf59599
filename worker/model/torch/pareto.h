// Pareto weights of losses (spec 2.3; Lin et al., "A Pareto-Efficient Algorithm for Multiple
// Objective Optimization in E-Commerce Recommendation", RecSys 2019). Internal to this folder:
// includes torch.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "common/base/status.h"

namespace pepnet {

class Collective;

// The tensors that one loss starts backward from, and their gradients.
struct LossRoots {
  std::vector<at::Tensor> values, gradients;
};

// The weights x + least of K losses, with G_k the gradient of loss k, A = G G^T of shape [K, K]
// (row-major) and least_k >= 0 of a sum below 1. w solves
//   [ A  1 ] [ w  ]   [ -A least      ]
//   [ 1' 0 ] [ mu ] = [ 1 - sum least ]    (where it is singular: the solution of the least norm)
// and x is the point nearest to w with x >= 0 and sum x = 1 - sum least.
std::vector<double> ParetoWeights(const std::vector<double>& gram,
                                  const std::vector<double>& least);

// The losses' weights, by which the gradients of their roots are scaled. G_k is taken by
// `parameters` and is summed over the workers (null: there is only this one): a collective
// operation, for which K passes of backward are made and all parts of the graph are kept. The
// parameters' own .grad stays as it is.
// Errors: the exchange failed.
StatusOr<std::vector<double>> WeighLosses(const std::vector<double>& least,
                                          const std::vector<at::Tensor>& parameters,
                                          Collective* workers, std::vector<LossRoots>* losses);

}  // namespace pepnet
