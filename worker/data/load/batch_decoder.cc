#include "worker/data/load/batch_decoder.h"

#include <arrow/array/concatenate.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include <algorithm>
#include <utility>

#include "common/process/trace.h"
#include "worker/data/encode/event_times.h"

namespace pepnet {

int ColumnPlan::Add(const std::string& name) {
  const auto found = std::find(names.begin(), names.end(), name);
  // A column that several features read is read from the file once.
  if (found != names.end()) return static_cast<int>(found - names.begin());
  names.push_back(name);
  return static_cast<int>(names.size()) - 1;
}

ColumnPlan PlanColumns(const JobConfig& config, LabelSet labels,
                       const std::vector<std::string>& reserved, bool event_times) {
  ColumnPlan plan;
  for (const Feature& feature : config.features) {
    for (const std::string& column : ColumnsOf(feature)) plan.features.push_back(plan.Add(column));
  }
  switch (labels) {
    case LabelSet::kAll:
      for (const std::string& label : config.data.labels) plan.labels.push_back(plan.Add(label));
      for (const std::string& weight : config.data.sample_weights) {
        plan.sample_weights.push_back(plan.Add(weight));
      }
      break;
    case LabelSet::kDomain:
      // Prediction of a model with domain towers needs the domain of a row and no other label.
      plan.labels.assign(config.data.labels.size(), -1);
      plan.labels[config.model.domain_label] =
          plan.Add(config.data.labels[config.model.domain_label]);
      break;
    case LabelSet::kNone:
      break;
  }
  for (const std::string& column : reserved) plan.reserved.push_back(plan.Add(column));
  if (event_times && config.data.event_time.has_value()) {
    plan.event_time = plan.Add(config.data.event_time->name);
  }
  return plan;
}

StatusOr<std::unique_ptr<BatchDecoder>> BatchDecoder::Create(
    const JobConfig& config, const LoaderOptions& options, DatasetType file_type, ColumnPlan plan,
    std::shared_ptr<arrow::Schema> reserved_schema) {
  std::unique_ptr<BatchDecoder> decoder(new BatchDecoder());
  decoder->plan_ = std::move(plan);
  decoder->reserved_schema_ = std::move(reserved_schema);
  decoder->event_time_ = config.data.event_time;
  decoder->texts_are_numbers_ = TypeOf(file_type).text_only;
  const bool finished_ids = config.data.fg_mode == FgMode::kNone;
  PEPNET_ASSIGN_OR_RETURN(
      decoder->features_,
      FeatureEncoder::Create(config.features,
                             {options.farm_hash, options.clamp_out_of_range, finished_ids}));
  if (options.labels != LabelSet::kNone) {
    PEPNET_ASSIGN_OR_RETURN(decoder->labels_, LabelEncoder::Create(config, file_type));
  }
  return decoder;
}

StatusOr<Batch> BatchDecoder::Decode(const CutBatch& cut, EncodeCounts* counts) const {
  TraceScope scope("decode");
  Batch batch;
  batch.rows = cut.rows.rows;
  batch.first_row = cut.first_row;
  batch.global_rows = cut.global_rows;
  batch.last_in_epoch = cut.last_in_epoch;
  batch.position_after = cut.position_after;
  batch.origin = DescribeOrigin(cut.rows);
  PEPNET_RETURN_IF_ERROR(features_->Encode(cut.rows, plan_.features, &batch, counts));
  if (labels_ != nullptr) {
    PEPNET_RETURN_IF_ERROR(labels_->Encode(cut.rows, plan_.labels, plan_.sample_weights, &batch));
  }
  if (plan_.event_time >= 0) {
    PEPNET_ASSIGN_OR_RETURN(batch.event_time, LatestEventTime(*event_time_, texts_are_numbers_,
                                                              cut.rows, plan_.event_time));
  }
  if (reserved_schema_ != nullptr) {
    PEPNET_ASSIGN_OR_RETURN(batch.reserved, Reserve(cut.rows));
  }
  return batch;
}

StatusOr<std::shared_ptr<arrow::RecordBatch>> BatchDecoder::Reserve(
    const RowSelection& rows) const {
  arrow::ArrayVector columns;
  for (size_t i = 0; i < plan_.reserved.size(); ++i) {
    const auto& type = reserved_schema_->field(static_cast<int>(i))->type();
    arrow::ArrayVector pieces;
    for (const RowRun& run : rows.runs) {
      const RowChunk& chunk = rows.chunks[run.chunk];
      const auto column = chunk.rows->column(plan_.reserved[i]);
      // The writer joins the pieces to one column of one type; a silent cast would change what the
      // user gets back.
      if (!column->type()->Equals(*type)) {
        return InvalidInput("'", *chunk.path, "' column '",
                            reserved_schema_->field(static_cast<int>(i))->name(), "' has type ",
                            column->type()->ToString(), ", but ", type->ToString(),
                            " in the first file; a reserved column has one type");
      }
      pieces.push_back(column->Slice(run.begin, run.count));
    }
    auto joined = pieces.empty() ? arrow::MakeEmptyArray(type) : arrow::Concatenate(pieces);
    if (!joined.ok()) {
      return InvalidInput("reserved columns of ", DescribeOrigin(rows), ": ",
                          joined.status().message());
    }
    columns.push_back(std::move(joined).ValueOrDie());
  }
  return arrow::RecordBatch::Make(reserved_schema_, rows.rows, std::move(columns));
}

}  // namespace pepnet
