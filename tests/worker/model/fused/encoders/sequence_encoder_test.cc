#include "worker/model/fused/encoders/sequence_encoder.h"

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>

#include <gtest/gtest.h>
#include "absl/strings/str_cat.h"

#include "tests/worker/model/fused/encoders/naive_encoder.h"
#include "worker/model/fused/kernels/fused_gemm.h"

namespace pepnet {
namespace {

constexpr int kChannels = 5;
constexpr uint64_t kSeed = 20250731;

struct EncoderCase {
  std::string name;
  Encoder encoder;
  bool bitwise_rows = false;  // a row's bits do not depend on its block
};

void PrintTo(const EncoderCase& c, std::ostream* out) { *out << c.name; }

EncoderCase Case(const std::string& name, EncoderKind kind,
                 const std::function<void(Encoder*)>& change = nullptr) {
  EncoderCase c;
  c.name = name;
  c.encoder.kind = kind;
  c.encoder.module = "model.embedding_group._group_name_to_seq_encoders.all.0";
  c.encoder.channels = kChannels;
  c.encoder.attn_mlp.hidden_units = {7, 4};
  c.encoder.attn_mlp.dropout_ratio = {0, 0};
  c.encoder.windows = {1, 3, 9};
  c.encoder.attention_width = 12;  // heads wider than C
  c.encoder.heads = 2;
  c.encoder.dropout_layer = 3;
  if (change != nullptr) change(&c.encoder);
  c.encoder.width = EncoderOutputWidth(c.encoder, kChannels);
  c.bitwise_rows = kind == EncoderKind::kPooling || kind == EncoderKind::kSimpleAttention;
  return c;
}

void Hidden(Encoder* encoder, std::vector<int> units, double dropout = 0) {
  encoder->attn_mlp.dropout_ratio.assign(units.size(), dropout);
  encoder->attn_mlp.hidden_units = std::move(units);
}

std::vector<EncoderCase> Cases() {
  using Kind = EncoderKind;
  std::vector<EncoderCase> cases = {
      Case("pooling_mean", Kind::kPooling),
      Case("pooling_mean_of_4", Kind::kPooling, [](Encoder* e) { e->max_length = 4; }),
      Case("pooling_sum", Kind::kPooling, [](Encoder* e) { e->mean = false; }),
      Case("pooling_sum_of_4", Kind::kPooling,
           [](Encoder* e) {
             e->mean = false;
             e->max_length = 4;
           }),
      Case("simple_attention", Kind::kSimpleAttention),
      Case("simple_attention_of_4", Kind::kSimpleAttention, [](Encoder* e) { e->max_length = 4; }),
      Case("din_of_1", Kind::kDin, [](Encoder* e) { e->max_length = 1; }),
      Case("din_of_4", Kind::kDin, [](Encoder* e) { e->max_length = 4; }),
      Case("din_of_15", Kind::kDin, [](Encoder* e) { e->max_length = 15; }),
      Case("din_one_layer", Kind::kDin, [](Encoder* e) { Hidden(e, {17}); }),
      Case("din_three_layers", Kind::kDin,
           [](Encoder* e) {
             Hidden(e, {16, 9, 3});
           }),
      Case("din_without_bias", Kind::kDin, [](Encoder* e) { e->attn_mlp.bias = false; }),
      Case("din_layer_norm", Kind::kDin, [](Encoder* e) { e->attn_mlp.use_ln = true; }),
      Case("din_layer_norm_without_bias", Kind::kDin,
           [](Encoder* e) {
             e->attn_mlp.use_ln = true;
             e->attn_mlp.bias = false;
             e->attn_mlp.activation = {ActivationKind::kPrelu, 0.25};
           }),
      Case("din_dropout", Kind::kDin,
           [](Encoder* e) {
             Hidden(e, {7, 4}, 0.3);
           }),
      Case("windows", Kind::kMultiWindowDin),
      Case("windows_one", Kind::kMultiWindowDin, [](Encoder* e) { e->windows = {3}; }),
      Case("windows_beyond_all", Kind::kMultiWindowDin,
           [](Encoder* e) {
             e->windows = {2, 0, 14, 30, 5};
           }),
      Case("windows_layer_norm", Kind::kMultiWindowDin,
           [](Encoder* e) {
             e->attn_mlp.use_ln = true;
             e->attn_mlp.activation.kind = ActivationKind::kSilu;
           }),
      Case("windows_dropout", Kind::kMultiWindowDin, [](Encoder* e) { Hidden(e, {6}, 0.3); }),
      Case("self_wide_heads", Kind::kSelfAttention),
      Case("self_narrow_heads", Kind::kSelfAttention, [](Encoder* e) { e->heads = 4; }),
      Case("self_heads_of_c", Kind::kSelfAttention,
           [](Encoder* e) {
             e->attention_width = 10;
             e->heads = 2;
           }),
      Case("self_one_head", Kind::kSelfAttention, [](Encoder* e) { e->heads = 1; }),
      Case("self_of_4", Kind::kSelfAttention, [](Encoder* e) { e->max_length = 4; }),
      Case("self_dropout", Kind::kSelfAttention, [](Encoder* e) { e->dropout = 0.3; }),
      Case("self_dropout_narrow_heads_of_4", Kind::kSelfAttention,
           [](Encoder* e) {
             e->dropout = 0.3;
             e->heads = 6;
             e->max_length = 4;
           }),
  };
  for (const ActivationKind kind : AllKinds<ActivationKind>()) {
    if (!IsElementwise(TypeOf(kind))) continue;  // is left to the reference engine
    cases.push_back(Case(absl::StrCat("din_", TypeOf(kind).name), Kind::kDin,
                         [kind](Encoder* e) { e->attn_mlp.activation = DefaultActivation(kind); }));
  }
  return cases;
}

// A block of random rows with its encoder; the arrays begin in the middle of larger ones.
struct Block {
  Block(const Encoder& encoder, const std::vector<int>& lengths)
      : encoder(encoder), parameters(Specs(encoder)) {
    std::mt19937_64 random(kSeed);
    std::normal_distribution<float> normal;
    parameters.Initialize(kSeed);
    for (size_t i = 0; i < parameters.specs().size(); ++i) {
      for (float& value : parameters.value(static_cast<int>(i))) {
        value = 1.5f * value + 0.2f * normal(random);
      }
    }
    offsets.push_back(3);
    for (const int length : lengths) offsets.push_back(offsets.back() + length);
    sequence.Resize(offsets.back() * kChannels);
    for (float& value : sequence) value = normal(random);
    query.ResizeZeroed(rows() * kChannels);
    for (int64_t b = 0; b < rows(); ++b) {
      // One channel narrower than the sequence, as a narrow query is padded.
      for (int c = 0; c < kChannels - 1; ++c) query[b * kChannels + c] = normal(random);
      global_rows.push_back(1000 + 7 * b);
    }
    d_out.Resize(rows() * (encoder.width + 2));
    for (float& value : d_out) value = normal(random);
  }

  static std::vector<ParameterSpec> Specs(const Encoder& encoder) {
    std::vector<ParameterSpec> specs = {{"one.before", {3}, ParameterSpec::Init::kOne, 0, 0}};
    AppendEncoderParameters(encoder, &specs);
    return specs;
  }

  int64_t rows() const { return static_cast<int64_t>(offsets.size()) - 1; }
  bool has_query() const { return TypeOf(encoder.kind).needs_query; }
  // Rows first to first + count - 1.
  SequenceBlock View(int64_t first, int64_t count) const {
    return {count,
            kChannels,
            offsets.data() + first,
            sequence.data(),
            has_query() ? query.data() + first * kChannels : nullptr,
            global_rows.data() + first};
  }
  SequenceBlock View() const { return View(0, rows()); }
  EncoderPass Pass(EncoderBuffers* scratch = nullptr) const { return {true, 99, 7, scratch}; }

  NaiveInput Naive() const {
    NaiveInput in;
    for (int64_t b = 0; b < rows(); ++b) {
      std::vector<Vector>& row = in.sequence.emplace_back();
      for (int t = offsets[b]; t < offsets[b + 1]; ++t) {
        row.emplace_back(sequence.data() + t * kChannels, sequence.data() + (t + 1) * kChannels);
      }
      in.query.emplace_back(query.data() + b * kChannels, query.data() + (b + 1) * kChannels);
    }
    in.global_rows = global_rows;
    in.train = true;
    in.seed = 99;
    in.step = 7;
    return in;
  }
  NaiveParameters NaiveValues() const {
    NaiveParameters values;
    for (size_t i = 0; i < parameters.specs().size(); ++i) {
      const std::span<const float> value = parameters.value(static_cast<int>(i));
      values[parameters.specs()[i].name] = Vector(value.begin(), value.end());
    }
    return values;
  }

  const Encoder encoder;
  DenseParameters parameters;
  std::vector<int32_t> offsets;
  AlignedBuffer<float> sequence, query, d_out;  // d_out's rows are width + 2 apart
  std::vector<int64_t> global_rows;
};

struct Gradients {
  explicit Gradients(const Block& block, float initial = 0) {
    sequence.assign(block.sequence.size(), initial);
    query.assign(block.query.size(), initial);
    parameters.assign(block.parameters.arena_floats(), initial);
  }
  std::vector<float> sequence, query, parameters;
};

void Backward(const SequenceEncoder& encoder, Block& block, int64_t first, int64_t count,
              SequenceEncoder::Saved* saved, Gradients* gradients,
              EncoderBuffers* scratch = nullptr) {
  const int64_t stride = encoder.width() + 2;
  encoder.Backward(block.parameters.values().data(), block.View(first, count), block.Pass(scratch),
                   block.d_out.data() + first * stride, stride, saved, gradients->sequence.data(),
                   block.has_query() ? gradients->query.data() + first * kChannels : nullptr,
                   gradients->parameters.data());
}

std::vector<float> Forward(const SequenceEncoder& encoder, Block& block, int64_t first,
                           int64_t count, SequenceEncoder::Saved* saved = nullptr,
                           EncoderBuffers* scratch = nullptr) {
  // Whatever was there is overwritten.
  std::vector<float> out(count * encoder.width(), std::numeric_limits<float>::quiet_NaN());
  encoder.Forward(block.parameters.values().data(), block.View(first, count), block.Pass(scratch),
                  out.data(), encoder.width(), saved);
  return out;
}

// Empty rows, single positions, rows around the length from which on a row joins its weights,
// lengths above max_length.
const std::vector<int> kLengths = {0, 1, 5, 13, 3, 0, 20, 2, 12, 11, 17, 1, 0};
// For self attention, whose formula takes long.
const std::vector<int> kFewLengths = {0, 1, 5, 3, 0, 2, 8};
// More than one tile.
std::vector<int> ManyLengths() {
  std::vector<int> lengths;
  for (int b = 0; b < 150; ++b) lengths.push_back(b % 7 == 3 ? 0 : (b * 37) % 61);
  lengths.push_back(700);
  return lengths;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void ExpectNear(double value, double reference, double tolerance, const std::string& what) {
  EXPECT_NEAR(value, reference, tolerance * (1 + std::abs(reference))) << what;
}

class SequenceEncoderTest : public testing::TestWithParam<EncoderCase> {
 protected:
  SequenceEncoderTest()
      : lengths_(GetParam().encoder.kind == EncoderKind::kSelfAttention ? kFewLengths : kLengths),
        block_(GetParam().encoder, lengths_),
        encoder_(MakeSequenceEncoder(block_.encoder, kChannels, block_.parameters)) {}

  const OwnThreadScope one_thread_;
  const std::vector<int> lengths_;
  Block block_;
  std::unique_ptr<SequenceEncoder> encoder_;
};

TEST_P(SequenceEncoderTest, ForwardIsTheFormulaOfThePaddedBatch) {
  ASSERT_EQ(encoder_->width(), block_.encoder.width);
  const std::vector<float> out = Forward(*encoder_, block_, 0, block_.rows());
  const std::vector<Vector> expected =
      NaiveEncode(block_.encoder, block_.Naive(), block_.NaiveValues());
  for (int64_t b = 0; b < block_.rows(); ++b) {
    for (int64_t c = 0; c < encoder_->width(); ++c) {
      ExpectNear(out[b * encoder_->width() + c], expected[b][c], 1e-5,
                 absl::StrCat("row ", b, " channel ", c));
      if (lengths_[b] == 0 && c < encoder_->width() - kChannels) {
        EXPECT_EQ(out[b * encoder_->width() + c], 0.0f);
      }
    }
  }
}

TEST_P(SequenceEncoderTest, BackwardAddsTheDerivativeOfEverything) {
  Gradients gradients(block_, 0.5f);
  SequenceEncoder::Saved saved;
  Forward(*encoder_, block_, 0, block_.rows(), &saved);
  Backward(*encoder_, block_, 0, block_.rows(), &saved, &gradients);

  NaiveInput in = block_.Naive();
  NaiveParameters values = block_.NaiveValues();
  const int64_t stride = encoder_->width() + 2;
  auto weighted = [&](size_t b, const Vector& out) {
    double sum = 0;
    for (size_t c = 0; c < out.size(); ++c) sum += out[c] * block_.d_out[b * stride + c];
    return sum;
  };
  // Of the row alone, or of all rows.
  auto total = [&](int64_t only) {
    double sum = 0;
    if (only >= 0) {
      NaiveInput row = in;
      row.sequence = {in.sequence[only]};
      row.query = {in.query[only]};
      row.global_rows = {in.global_rows[only]};
      return weighted(only, NaiveEncode(block_.encoder, row, values)[0]);
    }
    const std::vector<Vector> out = NaiveEncode(block_.encoder, in, values);
    for (size_t b = 0; b < out.size(); ++b) sum += weighted(b, out[b]);
    return sum;
  };
  // move(step) changes what the derivative is by.
  auto derivative = [&](const std::function<void(double)>& move, int64_t only) {
    constexpr double kStep = 1e-6;
    move(kStep);
    const double above = total(only);
    move(-2 * kStep);
    const double below = total(only);
    move(kStep);
    return (above - below) / (2 * kStep);
  };
  const double tolerance = 5e-5;
  for (int64_t b = 0; b < block_.rows(); ++b) {
    for (int t = 0; t < lengths_[b]; ++t) {
      for (int c = 0; c < kChannels; ++c) {
        ExpectNear(gradients.sequence[(block_.offsets[b] + t) * kChannels + c] - 0.5,
                   derivative([&](double step) { in.sequence[b][t][c] += step; }, b), tolerance,
                   absl::StrCat("row ", b, " position ", t, " channel ", c));
      }
    }
    for (int c = 0; c < kChannels; ++c) {
      const double expected =
          block_.has_query() ? derivative([&](double step) { in.query[b][c] += step; }, b) : 0;
      ExpectNear(gradients.query[b * kChannels + c] - 0.5, expected, tolerance,
                 absl::StrCat("query of row ", b));
    }
  }
  // Some elements of each parameter, and all of them along a direction.
  std::mt19937_64 random(kSeed);
  std::normal_distribution<double> normal;
  for (size_t i = 0; i < block_.parameters.specs().size(); ++i) {
    const ParameterSpec& spec = block_.parameters.specs()[i];
    const float* const gradient =
        gradients.parameters.data() + block_.parameters.offset(static_cast<int>(i));
    Vector& value = values[spec.name];
    for (size_t e = 0; e < value.size(); e += value.size() / 4 + 1) {
      ExpectNear(gradient[e] - 0.5, derivative([&](double step) { value[e] += step; }, -1),
                 tolerance, absl::StrCat(spec.name, " element ", e));
    }
    Vector direction(value.size());
    double along = 0;
    for (size_t e = 0; e < value.size(); ++e) {
      direction[e] = normal(random) / std::sqrt(static_cast<double>(value.size()));
      along += direction[e] * (gradient[e] - 0.5);
    }
    auto move = [&](double step) {
      for (size_t e = 0; e < value.size(); ++e) value[e] += step * direction[e];
    };
    ExpectNear(along, derivative(move, -1), tolerance, spec.name);
  }
  // The positions before the block are nobody's.
  for (int i = 0; i < block_.offsets[0] * kChannels; ++i) EXPECT_EQ(gradients.sequence[i], 0.5f);
}

TEST_P(SequenceEncoderTest, KeptAndComputedAgainAgreeToTheBit) {
  Block block(GetParam().encoder, ManyLengths());
  SequenceEncoder::Saved saved;
  EncoderBuffers scratch;
  const std::vector<float> kept = Forward(*encoder_, block, 0, block.rows(), &saved, &scratch);
  EXPECT_TRUE(SameBits(kept, Forward(*encoder_, block, 0, block.rows())));
  Gradients from_kept(block), from_scratch(block), again(block);
  Backward(*encoder_, block, 0, block.rows(), &saved, &from_kept, &scratch);
  Backward(*encoder_, block, 0, block.rows(), nullptr, &from_scratch);
  EXPECT_TRUE(SameBits(from_kept.sequence, from_scratch.sequence));
  EXPECT_TRUE(SameBits(from_kept.query, from_scratch.query));
  EXPECT_TRUE(SameBits(from_kept.parameters, from_scratch.parameters));
  // The arrays of another block, and of other encoders, are in the way of nothing.
  Forward(*encoder_, block, 3, 5, &saved, &scratch);
  Forward(*encoder_, block, 0, block.rows(), &saved, &scratch);
  Backward(*encoder_, block, 0, block.rows(), &saved, &again, &scratch);
  EXPECT_TRUE(SameBits(from_kept.sequence, again.sequence));
  EXPECT_TRUE(SameBits(from_kept.query, again.query));
  EXPECT_TRUE(SameBits(from_kept.parameters, again.parameters));
}

TEST_P(SequenceEncoderTest, RowDependsOnItsBlockByRoundingAlone) {
  Block block(GetParam().encoder, ManyLengths());
  const std::vector<float> together = Forward(*encoder_, block, 0, block.rows());
  Gradients whole(block), alone(block);
  Backward(*encoder_, block, 0, block.rows(), nullptr, &whole);
  for (int64_t b = 0; b < block.rows(); ++b) {
    const std::vector<float> row = Forward(*encoder_, block, b, 1);
    const std::vector<float> part(together.begin() + b * encoder_->width(),
                                  together.begin() + (b + 1) * encoder_->width());
    if (GetParam().bitwise_rows) {
      EXPECT_TRUE(SameBits(row, part)) << "row " << b;
    }
    for (size_t c = 0; c < row.size(); ++c) {
      ExpectNear(row[c], part[c], 1e-5, absl::StrCat("row ", b));
    }
    Backward(*encoder_, block, b, 1, nullptr, &alone);
  }
  if (GetParam().bitwise_rows) {
    EXPECT_TRUE(SameBits(whole.sequence, alone.sequence));
    EXPECT_TRUE(SameBits(whole.query, alone.query));
  }
  auto compare = [](const std::vector<float>& a, const std::vector<float>& b, double tolerance,
                    const char* what) {
    double largest = 0;
    for (const float value : b) largest = std::max<double>(largest, std::abs(value));
    for (size_t i = 0; i < a.size(); ++i) {
      ASSERT_NEAR(a[i], b[i], tolerance * largest) << what << " " << i;
    }
  };
  compare(whole.sequence, alone.sequence, 1e-5, "sequence");
  compare(whole.query, alone.query, 1e-5, "query");
  compare(whole.parameters, alone.parameters, 1e-5, "parameter");
}

TEST_P(SequenceEncoderTest, NaNOfAPositionReachesItsRowAndNoOther) {
  block_.sequence[block_.offsets[6] * kChannels + 1] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> out = Forward(*encoder_, block_, 0, block_.rows());
  for (int64_t b = 0; b < block_.rows(); ++b) {
    bool nan = false;
    for (int64_t c = 0; c < encoder_->width(); ++c) {
      nan |= std::isnan(out[b * encoder_->width() + c]);
    }
    EXPECT_EQ(nan, b == 6) << "row " << b;
  }
}

TEST_P(SequenceEncoderTest, BlocksOfEmptyRowsAndOfNoRows) {
  Block block(GetParam().encoder, {0, 0, 0});
  for (const int64_t rows : {int64_t{0}, int64_t{3}}) {
    SequenceEncoder::Saved saved;
    for (const float value : Forward(*encoder_, block, 0, rows, &saved)) {
      EXPECT_TRUE(std::isfinite(value));
    }
    Gradients gradients(block);
    Backward(*encoder_, block, 0, rows, &saved, &gradients);
    for (const float value : gradients.parameters) EXPECT_EQ(value, 0.0f);
  }
}

TEST_P(SequenceEncoderTest, NothingIsDroppedInEvaluation) {
  Encoder without = block_.encoder;
  without.dropout = 0;
  without.attn_mlp.dropout_ratio.assign(without.attn_mlp.hidden_units.size(), 0);
  const std::unique_ptr<SequenceEncoder> other =
      MakeSequenceEncoder(without, kChannels, block_.parameters);
  std::vector<float> evaluated(block_.rows() * encoder_->width());
  SequenceBlock view = block_.View();
  view.global_rows = nullptr;
  encoder_->Forward(block_.parameters.values().data(), view, {}, evaluated.data(),
                    encoder_->width(), nullptr);
  EXPECT_TRUE(SameBits(evaluated, Forward(*other, block_, 0, block_.rows())));
}

INSTANTIATE_TEST_SUITE_P(Kinds, SequenceEncoderTest, testing::ValuesIn(Cases()),
                         [](const testing::TestParamInfo<EncoderCase>& info) {
                           return info.param.name;
                         });

}  // namespace
}  // namespace pepnet
