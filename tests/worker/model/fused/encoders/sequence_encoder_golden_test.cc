// The encoders alone on the golden cases with sequences: tables and layers from init.safetensors,
// rows from train.csv, outputs from inter_f64.safetensors.
#include <algorithm>
#include <cstdlib>
#include <sstream>

#include <gtest/gtest.h>
#include "absl/strings/str_cat.h"

#include "tests/support/golden.h"
#include "tests/support/with_mutant.h"
#include "worker/model/fused/encoders/sequence_encoder.h"
#include "worker/model/fused/kernels/fused_gemm.h"

namespace pepnet {
namespace {

// One column of train.csv as it enters a sequence group.
struct Column {
  std::string name;
  std::string table;  // of ids: the end of its tensor's name; empty: raw values
};

struct GoldenCase {
  std::string name;
  std::vector<Column> query, sequence;
};

void PrintTo(const GoldenCase& c, std::ostream* out) { *out << c.name; }

std::vector<std::string> Elements(const std::string& cell) {
  std::vector<std::string> elements;
  std::istringstream in(cell);
  for (std::string element; std::getline(in, element, ';');) elements.push_back(element);
  return elements;
}

class GoldenEncoderTest : public testing::TestWithParam<GoldenCase> {
 protected:
  GoldenEncoderTest()
      : config_(LoadGoldenConfig(GetParam().name)),
        columns_(GoldenColumns(GetParam().name, config_)),
        init_(OpenGolden(GetParam().name, "init.safetensors")) {}

  // The vectors of one cell, one after the other.
  std::vector<float> Lookup(const Column& column, int64_t row) const {
    std::vector<float> values;
    for (const std::string& element : Elements(columns_.at(column.name)[row])) {
      if (column.table.empty()) {
        values.push_back(std::strtof(element.c_str(), nullptr));
        continue;
      }
      const std::string tensor = absl::StrCat(
          "model.embedding_group.seq_emb_impls.__BASE__.ec_dict.", column.table, ".weight");
      const std::vector<float> table = GoldenFloats(*init_, tensor);
      const int64_t dim = init_->tensors().at(tensor).shape[1], id = std::atoll(element.c_str());
      values.insert(values.end(), table.begin() + id * dim, table.begin() + (id + 1) * dim);
    }
    return values;
  }
  int64_t Width(const Column& column) const {
    if (column.table.empty()) return 1;
    return std::atoll(column.table.c_str());  // "<width>.embeddings.<table>"
  }

  const OwnThreadScope one_thread_;
  const JobConfig config_;
  const std::map<std::string, std::vector<std::string>> columns_;
  const std::unique_ptr<SafetensorsReader> init_;
};

TEST_P(GoldenEncoderTest, OutputsAreThoseOfTheReference) {
  const int64_t rows = static_cast<int64_t>(columns_.at(GetParam().sequence[0].name).size());
  int64_t channels = 0;
  for (const Column& column : GetParam().sequence) channels += Width(column);
  std::vector<int32_t> offsets = {0};
  AlignedBuffer<float> sequence, query;
  query.ResizeZeroed(rows * channels);
  for (int64_t row = 0; row < rows; ++row) {
    int64_t at = row * channels;
    for (const Column& column : GetParam().query) {
      const std::vector<float> values = Lookup(column, row);
      std::copy(values.begin(), values.end(), query.data() + at);
      at += Width(column);
    }
    const int64_t length = static_cast<int64_t>(Lookup(GetParam().sequence[0], row).size()) /
                           Width(GetParam().sequence[0]);
    offsets.push_back(offsets.back() + static_cast<int32_t>(length));
    sequence.Resize(offsets.back() * channels);
    int64_t first = 0;
    for (const Column& column : GetParam().sequence) {
      const std::vector<float> values = Lookup(column, row);
      const int64_t width = Width(column);
      for (int64_t i = 0; i < length; ++i) {
        std::copy_n(values.data() + i * width, width,
                    sequence.data() + (offsets[row] + i) * channels + first);
      }
      first += width;
    }
  }

  const auto inter = OpenGolden(GetParam().name, "inter_f64.safetensors");
  ASSERT_FALSE(config_.model.encoders.empty());
  for (size_t e = 0; e < config_.model.encoders.size(); ++e) {
    const Encoder& encoder = config_.model.encoders[e];
    ASSERT_EQ(encoder.channels, channels);
    std::vector<ParameterSpec> specs;
    AppendEncoderParameters(encoder, &specs);
    DenseParameters parameters(specs);
    for (size_t i = 0; i < specs.size(); ++i) {
      const std::vector<float> values = GoldenFloats(*init_, specs[i].name);
      std::copy(values.begin(), values.end(), parameters.value(static_cast<int>(i)).begin());
    }
    const std::unique_ptr<SequenceEncoder> net = MakeSequenceEncoder(encoder, channels, parameters);
    std::vector<float> out(rows * net->width());
    const SequenceBlock block = {rows,         channels, offsets.data(), sequence.data(),
                                 query.data(), nullptr};
    net->Forward(parameters.values().data(), block, {}, out.data(), net->width(), nullptr);
    const std::string tensor = absl::StrCat("encoder_all_", e);
    EXPECT_EQ(Difference(tensor, out, GoldenDoubles(*inter, tensor), kValueTolerance), "");
  }
}

// Law L1; the mutant padding_is_attended must turn this red, and the golden case seq_pooling.
TEST(PoolingEncoderTest, TheMutantPaddingIsAttendedIsNoticed) {
  Encoder encoder;
  encoder.kind = EncoderKind::kPooling;
  encoder.mean = true;
  DenseParameters parameters({});
  const std::unique_ptr<SequenceEncoder> net = MakeSequenceEncoder(encoder, 1, parameters);
  const int32_t offsets[] = {0, 2, 2, 3};
  const float sequence[] = {1, 3, 8};
  const SequenceBlock block = {3, 1, offsets, sequence, nullptr, nullptr};
  const auto pooled = [&] {
    std::vector<float> out(3);
    net->Forward(parameters.values().data(), block, {}, out.data(), 1, nullptr);
    return out;
  };
  EXPECT_EQ(pooled(), (std::vector<float>{2, 0, 8}));
  PEPNET_NEEDS_MUTANTS();
  const WithMutant faulty(Mutant::kPaddingIsAttended);
  EXPECT_NE(pooled(), (std::vector<float>{2, 0, 8}));
}

INSTANTIATE_TEST_SUITE_P(
    Cases, GoldenEncoderTest,
    testing::Values(GoldenCase{"seq_din",
                               {{"item", "4.embeddings.item_emb"},
                                {"cate", "4.embeddings.cate_emb"}},
                               {{"click__item", "4.embeddings.item_emb"},
                                {"click__cate", "4.embeddings.cate_emb"},
                                {"click__ts", ""}}},
                    GoldenCase{"seq_pooling",
                               {},
                               {{"click__item", "4.embeddings.item_emb"},
                                {"click__cate", "8.embeddings.click__cate_emb"},
                                {"click__price", ""}}},
                    GoldenCase{"seq_attention",
                               {{"item", "8.embeddings.item_emb"}},
                               {{"click__item", "8.embeddings.item_emb"}}}),
    [](const testing::TestParamInfo<GoldenCase>& info) { return info.param.name; });

}  // namespace
}  // namespace pepnet
