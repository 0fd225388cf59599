// The job whose data the targets of the data path read: every kind of feature, label and weight, in
// few columns.
#pragma once

#include "common/job_config/job_config.h"
#include "worker/data/files/row_reader.h"
#include "worker/data/load/batch_decoder.h"

namespace pepnet {

// Columns: clk, buy, dom, sw, uid, iid, hist, tags, word, price, score.
JobConfig MakeFuzzJob(DatasetType type, bool with_header);
// Text of that job's config.
std::string FuzzJobText(DatasetType type, bool with_header);

// A job of sequences and computed features of every kind. Columns: clk, u, i, n, m, t, s, b; those
// of the sequence "q" are q__i and q__n; in FG_NONE the features' own names instead.
JobConfig MakeFuzzSequenceJob(FgMode mode);

// Reads the file at `path` as the job's data and decodes all rows in batches. Ends the process if a
// batch breaks what batch.h promises. Returns the error that ended it, if one did.
Status DecodeFile(const std::string& path, const JobConfig& config, char delimiter, bool farm_hash);
// The same for rows that were decoded already; `reserved` columns are kept in the batch as predict
// does.
Status DecodeChunk(const RowChunk& chunk, const JobConfig& config, const BatchDecoder& decoder);

}  // namespace pepnet
