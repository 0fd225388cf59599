#include "worker/data/encode/event_times.h"

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include <algorithm>
#include <vector>

#include "common/checkpoint/event_point.h"
#include "worker/data/files/number_text.h"

// arrow::Type has many more values than the ones that are told apart here.
#pragma GCC diagnostic ignored "-Wswitch-enum"

namespace pepnet {
namespace {

constexpr int64_t kSecondsOfDay = 86400;

// The factors by which the numbers of a column become seconds.
struct Scale {
  int64_t units_per_second = 1, seconds_per_unit = 1;
};

int64_t PerSecond(arrow::TimeUnit::type unit) {
  switch (unit) {
    case arrow::TimeUnit::SECOND:
      return 1;
    case arrow::TimeUnit::MILLI:
      return 1000;
    case arrow::TimeUnit::MICRO:
      return 1'000'000;
    case arrow::TimeUnit::NANO:
      return 1'000'000'000;
  }
  return 1;
}

Scale ScaleOf(const EventTimeColumn& event_time, const arrow::DataType& type) {
  if (type.id() == arrow::Type::TIMESTAMP) {
    return {PerSecond(static_cast<const arrow::TimestampType&>(type).unit()), 1};
  }
  if (type.id() == arrow::Type::DATE32) return {1, kSecondsOfDay};
  return {event_time.units_per_second, 1};
}

StatusOr<int64_t> SecondsOf(const ColumnView& view, int64_t row, const Scale& scale) {
  int64_t number = 0;
  const bool whole = view.kind() == ColumnView::Kind::kText
                         ? ParseInteger(view.Text(row), &number) == NumberText::kOk
                         : view.Integer(row, &number);
  if (!whole) {
    return InvalidInput("the event time ", QuoteCell(view.ToText(row)), " is not a whole number");
  }
  if (number < 0) {
    return InvalidInput("the event time ", number,
                        " is before 1970; leave the cell empty where the time is not known");
  }
  // The comparison divides, since a product could overflow; the limit catches a wrong unit, the
  // usual mistake.
  if (number / scale.units_per_second >= kEndOfEventTime / scale.seconds_per_unit) {
    return InvalidInput(
        "the event time ", number, " is beyond the year 5138 with ", scale.units_per_second,
        " units a second; is data_config.event_time.unit another one, as MILLISECONDS?");
  }
  // Times are cut to whole seconds before they are multiplied.
  return number / scale.units_per_second * scale.seconds_per_unit;
}

}  // namespace

StatusOr<int64_t> LatestEventTime(const EventTimeColumn& event_time, bool texts_are_numbers,
                                  const RowSelection& selection, int column) {
  PEPNET_ASSIGN_OR_RETURN(const std::vector<ColumnView> views, ViewColumn(selection, column));
  std::vector<Scale> scales;
  for (size_t i = 0; i < views.size(); ++i) {
    const arrow::DataType& type = *selection.chunks[i].rows->column(column)->type();
    const bool empty = type.id() == arrow::Type::NA;  // a column of nulls only
    const bool whole =
        views[i].kind() == ColumnView::Kind::kInteger && type.id() != arrow::Type::BOOL;
    const bool text = views[i].kind() == ColumnView::Kind::kText && texts_are_numbers;
    if (views[i].is_list() || !(whole || text || empty)) {
      return InvalidInput(
          "'", *selection.chunks[i].path, "' column '", event_time.name,
          "': event times need a column of whole numbers, timestamps or dates, but it has type ",
          views[i].type_name());
    }
    scales.push_back(ScaleOf(event_time, type));
  }
  // The value 0 means that no row has a time: 1970 itself is no event.
  int64_t latest = 0;
  PEPNET_RETURN_IF_ERROR(ForEachRow(selection, views, [&](int chunk, int64_t row) -> Status {
    if (views[chunk].IsEmpty(row)) return absl::OkStatus();
    const StatusOr<int64_t> seconds = SecondsOf(views[chunk], row, scales[chunk]);
    if (!seconds.ok()) {
      return AtCell(selection.chunks[chunk], row, event_time.name, seconds.status());
    }
    latest = std::max(latest, *seconds);
    return absl::OkStatus();
  }));
  return latest;
}

}  // namespace pepnet
