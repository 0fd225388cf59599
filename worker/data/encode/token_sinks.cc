#include "worker/data/encode/token_sinks.h"

#include "common/base/hash.h"
#include "common/base/mutant.h"
#include "worker/data/files/number_text.h"

namespace pepnet {
namespace {

// Id of x among boundaries b_1 < ... < b_n: the number of b with b <= x (a choice, spec 3.4).
int64_t BoundaryId(const std::vector<double>& boundaries, double x) {
  return std::upper_bound(boundaries.begin(), boundaries.end(), x) - boundaries.begin();
}

// "5.0": what a whole number looks like in a column of floats.
bool IsWholeWithPoint(std::string_view token) {
  if (token.size() < 3 || token.substr(token.size() - 2) != ".0") return false;
  const std::string_view digits =
      token.substr(token[0] == '-' ? 1 : 0, token.size() - 2 - (token[0] == '-' ? 1 : 0));
  return !digits.empty() && digits.find_first_not_of("0123456789") == std::string_view::npos;
}

StatusOr<float> FiniteFloat(double value, std::string_view what) {
  const float rounded = static_cast<float>(value);
  if (!std::isfinite(rounded)) {
    return InvalidInput(std::string(what), " ", value,
                        " is not a finite float32; correct the data");
  }
  return rounded;
}

}  // namespace

std::string ModeRemedy(const EncoderOptions& options, std::string_view otherwise) {
  if (!options.finished_ids) return std::string(otherwise);
  return "; data_config.fg_mode is FG_NONE, by which the columns hold finished ids: if this one "
         "holds raw values, set "
         "fg_mode: FG_DAG, else correct the data";
}

double Normalize(const Normalizer& normalizer, double x) {
  switch (normalizer.kind) {
    case NormalizerKind::kNone:
      return x;
    case NormalizerKind::kLog10:
      return x > normalizer.a ? std::log10(x) : normalizer.b;
    case NormalizerKind::kZscore:
      return (x - normalizer.a) / normalizer.b;
    case NormalizerKind::kMinmax:
      return (x - normalizer.a) / (normalizer.b - normalizer.a);
    case NormalizerKind::kExpression:
      return normalizer.expression.Compute({&x, 1});
  }
  return x;
}

Status IdSink::AddToken(std::string_view token, bool is_default) {
  if (!feature_.weighted) return AddIdText(token);
  // The last colon counts: ids may hold colons, weights cannot (feature_encoder.h).
  const size_t colon = token.rfind(':');
  double weight = 1;
  if (colon == std::string_view::npos) {
    if (!is_default) {
      return InvalidInput("the token ", QuoteCell(token), " of weighted feature '", feature_.name,
                          "' is not of the form 'id:weight'");
    }
  } else {
    PEPNET_ASSIGN_OR_RETURN(weight, ReadReal(token.substr(colon + 1)));
    token = token.substr(0, colon);
  }
  PEPNET_RETURN_IF_ERROR(AddIdText(token));
  return AddWeight(weight);
}

Status IdSink::AddIdText(std::string_view token) {
  switch (feature_.bucketizer) {
    case Bucketizer::kIdentity: {
      int64_t id = 0;
      const NumberText parsed = ParseInteger(token, &id);
      if (parsed == NumberText::kNotANumber) {
        return InvalidInput(
            QuoteCell(token), " is not an integer, and feature '", feature_.name,
            "' takes ids as they are, ", IdRangeText(feature_.rows),
            ModeRemedy(
                options_,
                "; correct the data, or give the feature a hash_bucket_size or a vocabulary"),
            NumberRemedy(token));
      }
      if (parsed == NumberText::kTooLarge) return AddOutOfRange(token);
      return AddInRange(id);
    }
    case Bucketizer::kHash: {
      ++vocabulary_counts_.tokens;
      // A hash of "5.0" is another row than that of "5", so a column that became floats on its way
      // changes all ids. It is counted and reported, since it is legal (law L7).
      if (IsWholeWithPoint(token) && ++vocabulary_counts_.unknown == 1) {
        vocabulary_counts_.example = std::string(token);
      }
      const uint64_t hash =
          options_.farm_hash ? FarmFingerprint64(token) : LibstdcxxStringHash(token);
      ids_.push_back(static_cast<int64_t>(hash % static_cast<uint64_t>(feature_.rows)));
      return absl::OkStatus();
    }
    case Bucketizer::kVocabulary: {
      const auto word = rule_.vocabulary.find(token);
      ++vocabulary_counts_.tokens;
      if (word == rule_.vocabulary.end()) {
        if (++vocabulary_counts_.unknown == 1) vocabulary_counts_.example = std::string(token);
        ids_.push_back(feature_.unknown_id);
        return absl::OkStatus();
      }
      ids_.push_back(word->second);
      return absl::OkStatus();
    }
    case Bucketizer::kBoundaries: {
      PEPNET_ASSIGN_OR_RETURN(const double x, ReadReal(token));
      return AddReal(x);
    }
    case Bucketizer::kNone:
      break;
  }
  return absl::InternalError("a feature without table has no ids");
}

// Of a feature that does not take ids as they are.
Status IdSink::AddOtherInteger(int64_t value) {
  if (feature_.bucketizer == Bucketizer::kBoundaries) return AddReal(static_cast<double>(value));
  char text[24];
  const auto [end, error] = std::to_chars(text, text + sizeof(text), value);
  return AddIdText(std::string_view(text, end - text));
}

Status IdSink::AddReal(double x) {
  if (!std::isfinite(x)) {
    return InvalidInput("the value ", x, " is not a finite number; correct the data");
  }
  const double normalized = normalize_ ? Normalize(feature_.normalizer, x) : x;
  if (!std::isfinite(normalized)) {
    return InvalidInput("the normalized value ", normalized, " of ", x,
                        " is not a finite number; correct the data or the ", "normalizer");
  }
  ids_.push_back(BoundaryId(feature_.boundaries, normalized));
  return absl::OkStatus();
}

Status IdSink::AddWeight(double weight) {
  PEPNET_ASSIGN_OR_RETURN(const float rounded, FiniteFloat(weight, "the weight"));
  weights_.push_back(rounded);
  return absl::OkStatus();
}

// An error is the default. Row 0 is the embedding of another id: reading it silently would train
// that row with strangers' clicks (law L7).
Status IdSink::AddOutOfRange(std::string_view id) {
  const bool silent = MutantActive(Mutant::kClampToRowZero);
  if (!options_.clamp_out_of_range && !silent) {
    return InvalidInput(
        "id ", std::string(id), " is out of range: feature '", feature_.name, "' has ",
        feature_.rows, " rows, legal ids are ", IdRangeText(feature_.rows),
        "; give the feature more rows, correct the data, ",
        options_.finished_ids
            ? "set fg_mode: FG_DAG if the column holds raw values (data_config.fg_mode "
              "is FG_NONE, by which it holds finished ids), "
            : "",
        "or let such ids read row 0 with --clamp_out_of_range");
  }
  if (!silent) ++clamped_;
  ids_.push_back(0);
  return absl::OkStatus();
}

Status ValueSink::AddText(std::string_view token) {
  PEPNET_ASSIGN_OR_RETURN(const double x, ReadReal(token));
  return Add(x);
}

Status ValueSink::Add(double x) {
  if (!std::isfinite(x)) {
    return InvalidInput("the value ", x, " is not a finite number; correct the data");
  }
  PEPNET_ASSIGN_OR_RETURN(const float value,
                          FiniteFloat(normalize_ ? Normalize(feature_.normalizer, x) : x,
                                      normalize_ ? "the normalized value" : "the value"));
  // More values than dim are counted and not written; Finish() refuses the cell.
  if (count_ < feature_.dim) out_[count_] = value;
  ++count_;
  return absl::OkStatus();
}

Status ValueSink::Finish() const {
  if (count_ == feature_.dim) return absl::OkStatus();
  return InvalidInput(feature_.sequence ? "an element holds " : "the cell holds ", count_,
                      " values, but feature '", feature_.name, "' has value_dim ", feature_.dim);
}

}  // namespace pepnet
