// Dropout masks as a function of (seed, layer, step, global row, element), without torch (law L2):
// the same row gets the same mask whichever worker holds it.
#pragma once

#include <cstdint>

namespace pepnet {

// Key of one layer's masks in one step. Layers are numbered over ppnet (task * layers + layer),
// then over the towers' layers, then over those of the sequence encoders (Encoder::dropout_layer),
// then of variational dropout (VariationalDropout::layer).
uint64_t DropoutKey(uint64_t seed, int64_t layer, int64_t step);

// 1 / (1 - ratio), what a kept element is multiplied by; 0 for ratio 1, which keeps none.
float KeptScale(double ratio);

// An element is kept iff word >> 8 >= this: u = k * 2^-24 >= ratio iff k >= ratio * 2^24, which is
// exact in double.
int32_t DropoutThreshold(double ratio);

// Writes mask[row * width + e] for `rows` rows starting at global row `first_row`: 1 / (1 - ratio)
// where the element is kept, else 0. Kept iff u >= ratio, u = the uniform of word e % 4 of Philox
// block e / 4 at (key, global row).
void FillDropoutMask(uint64_t key, double ratio, int64_t first_row, int64_t rows, int64_t width,
                     float* mask);

// u[e] = k * 2^-24 in [0, 1) of elements e < count of a row: those that masks are made of.
void FillUniforms(uint64_t key, int64_t row, int64_t count, float* u);

// mask[i] for element first_element + i of the one row, i < count: a part of the mask of a row that
// is too wide to be wanted at once.
void FillDropoutMaskFrom(uint64_t key, double ratio, int64_t row, int64_t first_element,
                         int64_t count, float* mask);

}  // namespace pepnet
