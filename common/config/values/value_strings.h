// Values that a config holds as small expressions inside strings, and floats as the decimals the
// user wrote.
#pragma once

#include <cstdint>
#include <string>

#include "common/base/status.h"
#include "common/job_config/activation.h"
#include "common/job_config/feature.h"
#include "common/job_config/table.h"

namespace pepnet {

// The shortest decimal that reads back as `value`, as a double: 0.001f gives 0.001, not
// 0.0010000000474974513.
double ShortestDecimal(float value);

// "nn.ReLU", "nn.LeakyReLU(negative_slope=0.2)", ... The text alone; "" is the caller's business.
// `axes`: of what the activation is applied to, [rows, channels] or, in attentions, [rows,
// positions, channels].
StatusOr<Activation> ParseActivation(const std::string& text, int axes = 2);

// An initialiser of torch.nn.init with its arguments by name, for a table of `rows` rows of `dim`
// floats: "nn.init.uniform_,a=-0.01,b=0.01", "nn.init.zeros_",
// "nn.init.kaiming_normal_,a=0,mode='fan_out'", ...
//
// xavier_ and kaiming_ give U(-sqrt(3) d, sqrt(3) d) or N(0, d), with fan_in = dim and fan_out =
// rows (spec 1.9):
//   xavier    d = gain sqrt(2 / (fan_in + fan_out))
//   kaiming   d = calculate_gain(nonlinearity, a) / sqrt(fan_in, or fan_out with that mode)
StatusOr<Initializer> ParseInitializer(const std::string& text, int64_t rows, int dim);

// "method=log10,threshold=1e-10,default=-10", "method=zscore,mean=0,standard_deviation=1",
// "method=minmax,min=0,max=1", "method=expression,expr=log(x+3)": what stands behind expr= is one
// formula, commas and all.
StatusOr<Normalizer> ParseNormalizer(const std::string& text);

}  // namespace pepnet
