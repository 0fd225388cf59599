// AdmissionFilter: how many steps have named ids that have no row, counted in memory of a fixed
// size: a counting Bloom filter for each bucket of the table.
//
//   counters  of a bucket: 4 bits each where the policy counts to 15 at most, else 8, in 64-bit
//             words, the first in the lowest bits
//   place i   of an id, i = 0 .. kHashes - 1: with h = Mix64(row hash ^ kSalt), a = lower and
//             b = upper half of h, b odd: ((a + i * b mod 2^32) * counters) >> 32
//   count     of an id: the smallest of its counters. Never less than the steps that have named it,
//             halved when the counters were; more where other ids share all its counters.
//
// Order:    a step's ids are all counted before any is asked for, and counters stop at the same
//           number, so that the order of ids does not matter.
// Halving:  each bucket's counters once in h = filter_halve_steps steps: those of bucket b at the
//           steps that divided by h leave b * h / 1024, rounded down.
// Copies:   an image of all counters costs nothing; a bucket that is changed while one may be held
//           is copied first.
// Memory:   a bucket has none before its first id.
// Threads:  one. Images are read by any.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/job_config/row_policy.h"

namespace pepnet {

class AdmissionFilter {
 public:
  static constexpr int kHashes = 4;
  using Words = std::vector<uint64_t>;
  // The counters of a bucket, which stay as they are; null: all are 0. Shared by the filter and by
  // images of it, which go when the last checkpoint is written, or when the filter ends.
  using Image = std::vector<std::shared_ptr<const Words>>;  // by bucket

  // Precondition: policy.filters(), and RowPolicyFault() finds no fault.
  explicit AdmissionFilter(const RowPolicy& policy);

  // A step names the ids of these row hashes, each once. Counters stop at policy.admit_after_steps.
  void Count(std::span<const uint64_t> row_hashes);
  int64_t CountOf(uint64_t row_hash) const;
  // At the end of `step`: halves the counters of the buckets whose turn it is.
  void Forget(int64_t step);

  // The counters as they are now.
  Image TakeImage() const;
  // Precondition: words.size() is bucket_words().
  void Load(int bucket, std::span<const uint64_t> words);
  int counter_bits() const { return bits_; }
  int64_t bucket_words() const { return words_; }
  uint64_t memory_bytes() const;

 private:
  std::array<uint64_t, kHashes> PlacesOf(uint64_t row_hash) const;
  uint64_t CounterAt(const Words& words, uint64_t place) const {
    return words[place / per_word_] >> (place % per_word_ * bits_) & most_;
  }
  // The words of a bucket, to be changed.
  Words& Writable(int bucket);

  int bits_;
  uint64_t per_word_, most_, limit_;
  int64_t words_, halve_steps_;
  uint64_t counters_;  // of a bucket
  std::vector<std::shared_ptr<Words>> buckets_;
  // An image may hold the words of the bucket; nobody sees that from outside.
  mutable std::vector<bool> imaged_;
};

}  // namespace pepnet
