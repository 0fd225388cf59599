// The rows of a block in tiles: consecutive rows whose positions together fit into a cache, with
// the arrays that belong to a position packed, whether or not the rows use all of their sequence.
// Internal to this folder.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "worker/model/fused/encoders/sequence_encoder.h"

namespace pepnet {

// Rows of at least so many positions multiply their own joined weight (row_kernels.h). Below,
// building it costs more than the half of the product that it saves.
inline constexpr int64_t kLongRow = 12;

// Encoder::max_length as RowLength() wants it.
inline int64_t PositionLimit(const Encoder& encoder) {
  return encoder.max_length > 0 ? encoder.max_length : std::numeric_limits<int64_t>::max();
}

// Positions of row b that exist; `limit`: the first so many at most.
inline int64_t RowLength(const SequenceBlock& block, int64_t b, int64_t limit) {
  return std::min<int64_t>(block.offsets[b + 1] - block.offsets[b], limit);
}

struct RowTile {
  const SequenceBlock* block = nullptr;
  int64_t limit = 0;  // as RowLength() wants it
  int64_t first_row = 0, rows = 0;
  // Within the block's packed arrays, where a tile begins on a cache line.
  int64_t first_position = 0, positions = 0;
  int64_t long_positions = 0;  // of long rows: these stand first in the tile
};

// One row that is not empty.
struct TileRow {
  int64_t row = 0;                  // of the block
  int64_t start = 0, length = 0;    // its positions within the tile's packed arrays
  int64_t source = 0;               // its first position in `sequence`, in floats
  const float* sequence = nullptr;  // [length, C]
};

// Calls body(TileRow) for each row of the tile that is not empty, in the order of the packed
// arrays.
template <typename Body>
void ForEachRow(const RowTile& tile, const Body& body) {
  int64_t start = 0;
  for (const bool is_long : {true, false}) {
    for (int64_t b = tile.first_row; b < tile.first_row + tile.rows; ++b) {
      const int64_t length = RowLength(*tile.block, b, tile.limit);
      if (length == 0 || (length >= kLongRow) != is_long) continue;
      const int64_t source = tile.block->offsets[b] * tile.block->width;
      body(TileRow{b, start, length, source, tile.block->sequence + source});
      start += length;
    }
  }
}

// Matrix products may round differently on another alignment, and a tile must give the same bits
// wherever it lies: 16 positions of any width are a whole number of cache lines.
inline int64_t RoundedPositions(int64_t positions) { return (positions + 15) / 16 * 16; }

// Calls body(RowTile) for tiles of at most `most` positions each, or of one row. All rows are in
// one, empty ones too.
template <typename Body>
void ForEachTile(const SequenceBlock& block, int64_t limit, int64_t most, const Body& body) {
  RowTile tile;
  tile.block = &block;
  tile.limit = limit;
  while (tile.first_row < block.rows) {
    tile.rows = tile.positions = tile.long_positions = 0;
    while (tile.first_row + tile.rows < block.rows) {
      const int64_t length = RowLength(block, tile.first_row + tile.rows, limit);
      if (tile.rows > 0 && tile.positions + length > most) break;
      tile.positions += length;
      if (length >= kLongRow) tile.long_positions += length;
      ++tile.rows;
    }
    body(tile);
    tile.first_row += tile.rows;
    tile.first_position += RoundedPositions(tile.positions);
  }
}

// Room in the packed arrays: for the whole block, and for its largest tile.
struct PackedSize {
  int64_t block = 0, tile = 0;
};
inline PackedSize PackedSizeOf(const SequenceBlock& block, int64_t limit, int64_t most) {
  PackedSize size;
  ForEachTile(block, limit, most, [&](const RowTile& tile) {
    size.block = tile.first_position + tile.positions;
    size.tile = std::max(size.tile, tile.positions);
  });
  return size;
}
// The most that PackedSize::block is for a block of `positions`: two consecutive tiles hold more
// than `most`.
inline int64_t MostPacked(int64_t positions, int64_t most) {
  return positions + 15 * (2 * positions / most + 1);
}

}  // namespace pepnet
