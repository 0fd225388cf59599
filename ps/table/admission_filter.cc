#include "ps/table/admission_filter.h"

#include <algorithm>

#include "common/base/hash.h"
#include "common/base/logging.h"
#include "common/base/partition.h"
#include "common/base/processor.h"
#include "common/job_config/table.h"

namespace pepnet {
namespace {

// Else the places would follow from the bucket's bits.
constexpr uint64_t kSalt = 0x61646d697373696f;
constexpr size_t kPrefetchIds = 8;  // whose counters are asked for ahead of their use

}  // namespace

AdmissionFilter::AdmissionFilter(const RowPolicy& policy)
    : bits_(policy.admit_after_steps <= 15 ? 4 : 8),
      per_word_(64 / static_cast<uint64_t>(bits_)),
      most_((uint64_t{1} << bits_) - 1),
      limit_(static_cast<uint64_t>(policy.admit_after_steps)),
      words_(policy.filter_bytes / (kBucketCount * kFilterWordBytes)),
      halve_steps_(policy.filter_halve_steps),
      counters_(static_cast<uint64_t>(words_) * per_word_),
      buckets_(kBucketCount),
      imaged_(kBucketCount, false) {
  CHECK(policy.filters() && limit_ <= most_ && words_ > 0);
}

std::array<uint64_t, AdmissionFilter::kHashes> AdmissionFilter::PlacesOf(uint64_t row_hash) const {
  // Double hashing: two hashes a and b give all places a + i b, nearly as good as independent ones.
  // An odd b is never 0. The product maps 32 bits to [0, counters) without a division.
  const uint64_t mixed = Mix64(row_hash ^ kSalt);
  const auto a = static_cast<uint32_t>(mixed), b = static_cast<uint32_t>(mixed >> 32) | 1;
  std::array<uint64_t, kHashes> places;
  for (uint32_t i = 0; i < kHashes; ++i) places[i] = uint64_t{a + i * b} * counters_ >> 32;
  return places;
}

AdmissionFilter::Words& AdmissionFilter::Writable(int bucket) {
  // Copy on write: an image shares the words of all buckets, so the first change of a bucket behind
  // it replaces them here, and the image keeps the old ones until the checkpoint is written.
  std::shared_ptr<Words>& words = buckets_[bucket];
  if (words == nullptr) {
    words = std::make_shared<Words>(static_cast<size_t>(words_), 0);
  } else if (imaged_[bucket]) {
    words = std::make_shared<Words>(*words);
  }
  imaged_[bucket] = false;
  return *words;
}

void AdmissionFilter::Count(std::span<const uint64_t> row_hashes) {
  for (size_t i = 0; i < row_hashes.size(); ++i) {
    if (i + kPrefetchIds < row_hashes.size()) {
      const uint64_t later = row_hashes[i + kPrefetchIds];
      if (const Words* const words = buckets_[BucketOf(later)].get(); words != nullptr) {
        for (const uint64_t place : PlacesOf(later)) {
          PrefetchWrite(&(*words)[place / per_word_]);
        }
      }
    }
    Words& words = Writable(BucketOf(row_hashes[i]));
    // Counters stop at the limit, beyond which nobody asks, so that none carries into its neighbour
    // in the word.
    for (const uint64_t place : PlacesOf(row_hashes[i])) {
      if (CounterAt(words, place) < limit_) {
        words[place / per_word_] += uint64_t{1} << (place % per_word_ * bits_);
      }
    }
  }
}

int64_t AdmissionFilter::CountOf(uint64_t row_hash) const {
  const Words* const words = buckets_[BucketOf(row_hash)].get();
  if (words == nullptr) return 0;
  uint64_t count = limit_;
  for (const uint64_t place : PlacesOf(row_hash)) count = std::min(count, CounterAt(*words, place));
  return static_cast<int64_t>(count);
}

void AdmissionFilter::Forget(int64_t step) {
  // Without the bit that would come down from the counter above.
  const uint64_t lower = bits_ == 4 ? 0x7777777777777777 : 0x7f7f7f7f7f7f7f7f;
  // The buckets take turns, spread evenly over halve_steps_ steps. 128 bits: the product of two
  // legal numbers may have 72.
  const auto first_from = [&](int64_t turn) {
    const auto product = static_cast<__int128>(turn) * kBucketCount;
    return static_cast<int>((product + halve_steps_ - 1) / halve_steps_);
  };
  const int64_t turn = step % halve_steps_;
  for (int bucket = first_from(turn); bucket < first_from(turn + 1); ++bucket) {
    if (buckets_[bucket] == nullptr) continue;
    for (uint64_t& word : Writable(bucket)) word = word >> 1 & lower;
  }
}

AdmissionFilter::Image AdmissionFilter::TakeImage() const {
  imaged_.assign(imaged_.size(), true);
  return {buckets_.begin(), buckets_.end()};
}

void AdmissionFilter::Load(int bucket, std::span<const uint64_t> words) {
  CHECK_EQ(static_cast<int64_t>(words.size()), words_);
  if (std::all_of(words.begin(), words.end(), [](uint64_t word) { return word == 0; })) return;
  std::copy(words.begin(), words.end(), Writable(bucket).begin());
}

uint64_t AdmissionFilter::memory_bytes() const {
  const auto used = std::count_if(buckets_.begin(), buckets_.end(),
                                  [](const auto& words) { return words != nullptr; });
  return static_cast<uint64_t>(used) * static_cast<uint64_t>(words_ * kFilterWordBytes);
}

}  // namespace pepnet
