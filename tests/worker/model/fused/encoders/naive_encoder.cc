#include "tests/worker/model/fused/encoders/naive_encoder.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/worker/model/reference_model.h"
#include "worker/model/dropout_mask.h"

namespace pepnet {
namespace {

// A batch padded to [B, T, C], with its mask.
struct Padded {
  int64_t longest = 0;
  std::vector<std::vector<Vector>> sequence;
  std::vector<std::vector<bool>> valid;
  std::vector<int64_t> length;  // before max_length
};

Padded Pad(const Encoder& encoder, const NaiveInput& input) {
  Padded padded;
  for (const auto& row : input.sequence) {
    padded.longest = std::max<int64_t>(padded.longest, static_cast<int64_t>(row.size()));
  }
  for (const auto& row : input.sequence) {
    padded.length.push_back(static_cast<int64_t>(row.size()));
    std::vector<Vector> positions = row;
    positions.resize(padded.longest, Vector(encoder.channels, 0));
    std::vector<bool> valid(padded.longest);
    for (int64_t t = 0; t < padded.longest; ++t) valid[t] = t < padded.length.back();
    if (encoder.max_length > 0 && encoder.max_length < padded.longest) {
      positions.resize(encoder.max_length);
      valid.resize(encoder.max_length);
    }
    padded.sequence.push_back(positions);
    padded.valid.push_back(valid);
  }
  if (encoder.max_length > 0) {
    padded.longest = std::min<int64_t>(padded.longest, encoder.max_length);
  }
  return padded;
}

class Naive {
 public:
  Naive(const Encoder& encoder, const NaiveInput& input, const NaiveParameters& parameters)
      : encoder_(encoder), in_(input), parameters_(parameters), padded_(Pad(encoder, input)) {}

  Vector Row(int64_t b) const {
    switch (encoder_.kind) {
      case EncoderKind::kPooling:
        return Pooled(b);
      case EncoderKind::kSimpleAttention: {
        Vector scores;
        for (int64_t t = 0; t < padded_.longest; ++t) {
          double score = 0;
          for (int c = 0; c < encoder_.channels; ++c) {
            score += padded_.sequence[b][t][c] * in_.query[b][c];
          }
          scores.push_back(score);
        }
        return Weighted(b, Softmax(scores, padded_.valid[b]));
      }
      case EncoderKind::kDin: {
        Vector scores;
        for (int64_t t = 0; t < padded_.longest; ++t) {
          const Vector &q = in_.query[b], &s = padded_.sequence[b][t];
          Vector x = q;
          x.insert(x.end(), s.begin(), s.end());
          for (int c = 0; c < encoder_.channels; ++c) x.push_back(q[c] - s[c]);
          for (int c = 0; c < encoder_.channels; ++c) x.push_back(q[c] * s[c]);
          scores.push_back(Score(b, t, x));
        }
        return Weighted(b, Softmax(scores, padded_.valid[b]));
      }
      case EncoderKind::kMultiWindowDin:
        return MultiWindow(b);
      case EncoderKind::kSelfAttention:
        return SelfAttention(b);
    }
    return {};
  }

 private:
  const Vector& Parameter(const std::string& name) const {
    return parameters_.at(encoder_.module + name);
  }

  // x W^T + b, the bias if there is one.
  Vector Linear(const std::string& module, const Vector& x) const {
    const Vector& weight = Parameter(module + ".weight");
    Vector y(weight.size() / x.size(), 0);
    for (size_t o = 0; o < y.size(); ++o) {
      for (size_t i = 0; i < x.size(); ++i) y[o] += weight[o * x.size() + i] * x[i];
    }
    if (parameters_.count(encoder_.module + module + ".bias") > 0) {
      for (size_t o = 0; o < y.size(); ++o) y[o] += Parameter(module + ".bias")[o];
    }
    return y;
  }

  // Mask of a row of `width` elements of one of the encoder's dropout layers; ones where nothing is
  // dropped.
  Vector Mask(int64_t b, int64_t layer, double ratio, int64_t width) const {
    std::vector<float> mask(width, 1.0f);
    if (in_.train && ratio > 0) {
      FillDropoutMask(DropoutKey(in_.seed, encoder_.dropout_layer + layer, in_.step), ratio,
                      in_.global_rows[b], 1, width, mask.data());
    }
    return Vector(mask.begin(), mask.end());
  }

  // Linear(MLP(x)) of position t.
  double Score(int64_t b, int64_t t, Vector x) const {
    const Mlp& mlp = encoder_.attn_mlp;
    for (size_t layer = 0; layer < mlp.hidden_units.size(); ++layer) {
      const std::string perceptron = ".mlp.mlp." + std::to_string(layer) + ".perceptron.";
      x = Linear(perceptron + "0", x);
      const size_t width = x.size();
      if (mlp.use_ln) {
        double mean = 0, variance = 0;
        for (double v : x) mean += v / static_cast<double>(width);
        for (double v : x) variance += (v - mean) * (v - mean) / static_cast<double>(width);
        for (size_t c = 0; c < width; ++c) {
          x[c] =
              (x[c] - mean) / std::sqrt(variance + 1e-5) * Parameter(perceptron + "1.weight")[c] +
              Parameter(perceptron + "1.bias")[c];
        }
      }
      const std::string function = perceptron + (mlp.use_ln ? "2" : "1") + ".weight";
      const double weight =
          mlp.activation.kind == ActivationKind::kPrelu ? Parameter(function)[0] : 0;
      const int64_t length = std::count(padded_.valid[b].begin(), padded_.valid[b].end(), true);
      if (t >= length) continue;  // padding: its score is masked
      const Vector mask =
          Mask(b, static_cast<int64_t>(layer), mlp.dropout_ratio[layer], length * width);
      for (size_t c = 0; c < width; ++c) {
        x[c] = ReferenceActivation(mlp.activation, x[c], weight) * mask[t * width + c];
      }
    }
    return Linear(".linear", x)[0];
  }

  static Vector Softmax(Vector scores, const std::vector<bool>& valid) {
    double sum = 0;
    for (size_t t = 0; t < scores.size(); ++t) {
      scores[t] = valid[t] ? std::exp(scores[t]) : 0;
      sum += scores[t];
    }
    for (double& score : scores) score = sum > 0 ? score / sum : 0;
    return scores;
  }

  Vector Weighted(int64_t b, const Vector& weights) const {
    Vector out(encoder_.channels, 0);
    for (int64_t t = 0; t < padded_.longest; ++t) {
      for (int c = 0; c < encoder_.channels; ++c) out[c] += weights[t] * padded_.sequence[b][t][c];
    }
    return out;
  }

  Vector Pooled(int64_t b) const {
    Vector out = Weighted(b, Vector(padded_.longest, 1));
    double divisor = 1;
    if (encoder_.mean) {
      const int64_t length = padded_.length[b];
      divisor = static_cast<double>(std::max<int64_t>(
          encoder_.max_length > 0 ? std::min<int64_t>(length, encoder_.max_length) : length, 1));
    }
    for (double& value : out) value /= divisor;
    return out;
  }

  Vector MultiWindow(int64_t b) const {
    Vector out;
    int64_t t = 0;
    for (const int window : encoder_.windows) {
      Vector sum(encoder_.channels, 0);
      double count = 0;
      for (int i = 0; i < window; ++i, ++t) {
        if (t >= padded_.longest || !padded_.valid[b][t]) continue;
        const Vector &q = in_.query[b], &s = padded_.sequence[b][t];
        Vector x = s;
        for (int c = 0; c < encoder_.channels; ++c) x.push_back(q[c] * s[c]);
        x.insert(x.end(), q.begin(), q.end());
        double a = Score(b, t, x);
        if (a <= 0) a *= Parameter(".active.weight")[0];
        for (int c = 0; c < encoder_.channels; ++c) sum[c] += a * s[c];
        ++count;
      }
      for (double value : sum) out.push_back(value / std::max(count, 1.0));
    }
    out.insert(out.end(), in_.query[b].begin(), in_.query[b].end());
    return out;
  }

  // x P^T + p of part `index` of in_proj.
  Vector InProjection(int index, const Vector& x) const {
    const size_t width = x.size();
    Vector y(width);
    for (size_t o = 0; o < width; ++o) {
      const size_t row = index * width + o;
      y[o] = Parameter("._multihead_attn.in_proj_bias")[row];
      for (size_t i = 0; i < width; ++i) {
        y[o] += Parameter("._multihead_attn.in_proj_weight")[row * width + i] * x[i];
      }
    }
    return y;
  }

  Vector SelfAttention(int64_t b) const {
    const int64_t width = encoder_.attention_width, heads = encoder_.heads, d = width / heads;
    const int64_t length = std::count(padded_.valid[b].begin(), padded_.valid[b].end(), true);
    std::vector<Vector> q, k, v;
    for (const Vector& s : padded_.sequence[b]) {
      q.push_back(InProjection(0, Linear("._query", s)));
      k.push_back(InProjection(1, Linear("._key", s)));
      v.push_back(InProjection(2, Linear("._value", s)));
    }
    const Vector mask = Mask(b, 0, encoder_.dropout, heads * length * length);
    Vector sum(width, 0);
    for (int64_t i = 0; i < padded_.longest; ++i) {
      if (!padded_.valid[b][i]) continue;
      Vector context(width, 0);
      for (int64_t h = 0; h < heads; ++h) {
        Vector scores(padded_.longest, 0);
        for (int64_t j = 0; j < padded_.longest; ++j) {
          for (int64_t e = h * d; e < (h + 1) * d; ++e) scores[j] += q[i][e] * k[j][e];
          scores[j] /= std::sqrt(static_cast<double>(d));
        }
        const Vector weights = Softmax(scores, padded_.valid[b]);
        for (int64_t j = 0; j < length; ++j) {
          const double weight = weights[j] * mask[(h * length + i) * length + j];
          for (int64_t e = h * d; e < (h + 1) * d; ++e) context[e] += weight * v[j][e];
        }
      }
      const Vector out = Linear("._multihead_attn.out_proj", context);
      for (int64_t e = 0; e < width; ++e) sum[e] += out[e];
    }
    for (double& value : sum) value /= static_cast<double>(std::max<int64_t>(padded_.length[b], 1));
    return sum;
  }

  const Encoder& encoder_;
  const NaiveInput& in_;
  const NaiveParameters& parameters_;
  const Padded padded_;
};

}  // namespace

std::vector<Vector> NaiveEncode(const Encoder& encoder, const NaiveInput& input,
                                const NaiveParameters& parameters) {
  const Naive naive(encoder, input, parameters);
  std::vector<Vector> out;
  for (size_t b = 0; b < input.sequence.size(); ++b) {
    out.push_back(naive.Row(static_cast<int64_t>(b)));
  }
  return out;
}

}  // namespace pepnet
