// Products, sums and softmax over the positions of one row, for sequence encoders. Without torch.
//
// Arrays:  `positions` vectors of `width` floats, dense. Order of additions: a function of the
//          shape alone.
// Threads: none; functions of their arguments.
// NaN:     goes through.
#pragma once

#include <cstdint>

namespace pepnet {

// y[i] = x_i . w
void Dots(int64_t positions, int64_t width, const float* x, const float* w, float* y);
// y = sum over i of weights[i] x_i; the second adds it to y. Positions in their order.
void WeightedSum(int64_t positions, int64_t width, const float* weights, const float* x, float* y);
void AddWeightedSum(int64_t positions, int64_t width, const float* weights, const float* x,
                    float* y);
// y = scale * sum over i of x_i
void ScaledSum(int64_t positions, int64_t width, float scale, const float* x, float* y);
// y_i = x
void FillRows(int64_t positions, int64_t width, const float* x, float* y);
// y_i += weights[i] x
void AddOuter(int64_t positions, int64_t width, const float* weights, const float* x, float* y);
// y_i = weights[i] x
void Outer(int64_t positions, int64_t width, const float* weights, const float* x, float* y);
// y_i += scale * x
void AddScaledToEach(int64_t positions, int64_t width, float scale, const float* x, float* y);

// x = relu(x), and with x the result:  d = x > 0 ? d : 0;  sums[c] += sum over i of d_i[c] (sums
// null: none)
void Relu(int64_t count, float* x);
void ReluBackward(int64_t positions, int64_t width, const float* x, float* d, float* sums);

// z = exp(z - max z) / sum of it
void Softmax(int64_t positions, float* z);
// The same for each of `rows` dense rows.
void SoftmaxRows(int64_t rows, int64_t positions, float* z);
// d, the gradient of w = softmax(z), becomes that of z: w (d - w . d)
void SoftmaxBackward(int64_t positions, const float* w, float* d);

// Attention of n positions, w [n, n], whose sum over the first index alone is asked for; mask m [n,
// n], null: all ones. mean[j] = share * sum over i of m_ij w_ij
void MaskedColumnMeans(int64_t n, float share, const float* w, const float* mask, float* mean);
// d[j]: the gradient of sum over i of m_ij w_ij. w becomes the gradient of softmax's input.
void MaskedSoftmaxBackward(int64_t n, const float* d, const float* mask, float* w);

// x *= scale;  y *= x;  y += scale * x;  the sum of x
void Scale(int64_t count, float scale, float* x);
void MultiplyBy(int64_t count, const float* x, float* y);
void AddScaled(int64_t count, float scale, const float* x, float* y);
float Sum(int64_t count, const float* x);

// A linear layer over [s ; q * s] whose q is the same for a whole row is a linear layer over s.
// With the two halves of its weight transposed, a and b [channels, width]:  w[c] = a[c] + q[c] b[c]
void JoinedWeight(int64_t channels, int64_t width, const float* a, const float* b, const float* q,
                  float* w);
// d, the gradient of w:  da += d;  db[c] += q[c] d[c];  dq[c] += d[c] . b[c]  (dq null: none)
void JoinedWeightBackward(int64_t channels, int64_t width, const float* d, const float* b,
                          const float* q, float* da, float* db, float* dq);
// The same without joining: y_i = [s_i ; q * s_i], and with d the gradient of y:
//   ds_i += d_i[first half] + q * d_i[second half]
//   dq   += sum over i of s_i * d_i[second half]  (dq null: none)
void PackWithProduct(int64_t positions, int64_t channels, const float* s, const float* q, float* y);
void PackWithProductBackward(int64_t positions, int64_t channels, const float* s, const float* q,
                             const float* d, float* ds, float* dq);

// y = sum over i of prelu(z[i]) x_i / positions
void PreluWeightedMean(int64_t positions, int64_t width, float slope, const float* z,
                       const float* x, float* y);
// With d the gradient of y:  dz[i] is overwritten by z[i]'s, dx_i is added to. Returns the slope's.
float PreluWeightedMeanBackward(int64_t positions, int64_t width, float slope, const float* z,
                                const float* x, const float* d, float* dz, float* dx);

}  // namespace pepnet
