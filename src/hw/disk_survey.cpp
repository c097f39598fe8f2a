// SPDX-License-Identifier: MIT
#include "hw/disk_survey.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "base/bytes.h"
#include "hw/agreement.h"
#include "hw/disk_probe.h"
#include "hw/read_choice.h"
#include "hw/timed_reads.h"
#include "os/machine.h"

namespace spillway {
namespace {

constexpr unsigned kDepths[] = {8, 16, 32};
constexpr size_t kScatteredTries = 2 * std::size(kDepths) + 1;  // each depth with two sizes; the best one once more
constexpr size_t kSequentialTries = 2;
constexpr size_t kTries = kScatteredTries + kSequentialTries + 1;  // and one to find out how slow the disk is

// A try is sized by the disk's first rate; one that gets slower meanwhile (credits that are spent) ends after so many
// times its time.
constexpr double kTryTimesMax = 4;

// More empty reads than this are no accident: weights and programs hold few pages of zeros.
constexpr double kEmptyReadsMax = 0.1;

// Deals blocks of the files out, each once: some in file order, some in no order.
class BlockDealer {
 public:
  BlockDealer(std::span<const File* const> files, uint32_t block_bytes, uint64_t seed) : random_(seed) {
    std::vector<ReadAt> blocks;
    for (const File* file : files)
      for (uint64_t offset = 0; offset + block_bytes <= file->size_bytes(); offset += block_bytes)
        blocks.push_back({file, offset});
    if (blocks.empty()) return;
    std::rotate(blocks.begin(), blocks.begin() + static_cast<std::ptrdiff_t>(random_() % blocks.size()), blocks.end());
    const size_t n_in_order = blocks.size() * kSequentialTries / kTries;
    in_order_.assign(blocks.begin(), blocks.begin() + static_cast<std::ptrdiff_t>(n_in_order));
    scattered_.assign(blocks.begin() + static_cast<std::ptrdiff_t>(n_in_order), blocks.end());
    std::shuffle(scattered_.begin(), scattered_.end(), random_);
  }

  size_t blocks() const { return in_order_.size() + scattered_.size(); }

  std::vector<ReadAt> take_in_order(size_t n) { return take(in_order_, next_in_order_, n); }

  // In pieces of `piece_bytes` of a block, shuffled.
  std::vector<ReadAt> take_scattered(size_t n, uint32_t block_bytes, uint32_t piece_bytes) {
    std::vector<ReadAt> pieces;
    for (const ReadAt& block : take(scattered_, next_scattered_, n))
      for (uint64_t at = 0; at + piece_bytes <= block_bytes; at += piece_bytes)
        pieces.push_back({block.file, block.offset + at});
    std::shuffle(pieces.begin(), pieces.end(), random_);
    return pieces;
  }

 private:
  static std::vector<ReadAt> take(const std::vector<ReadAt>& from, size_t& next, size_t n) {
    const size_t end = std::min(from.size(), next + n);
    std::vector<ReadAt> taken(from.begin() + static_cast<std::ptrdiff_t>(std::min(next, end)),
                              from.begin() + static_cast<std::ptrdiff_t>(end));
    next = end;
    return taken;
  }

  std::mt19937_64 random_;
  std::vector<ReadAt> in_order_, scattered_;
  size_t next_in_order_ = 0, next_scattered_ = 0;
};

struct Tries {
  std::span<const File* const> files;
  const DiskSurveyOptions& options;
  const Region& memory;
  BlockDealer dealer;
  uint32_t block_bytes = 0;
  size_t blocks_per_try = 0;
  size_t n_done = 0;
  uint64_t reads = 0, empty_reads = 0;

  bool go_on(double done_of_try) const {
    return !options.progress || options.progress((static_cast<double>(n_done) + done_of_try) / kTries);
  }
  Result<double> run(IoQueue& queue, const std::vector<ReadAt>& where, uint32_t read_bytes, double limit_s) {
    const ReadTiming timing{
        .limit_s = limit_s, .go_on = [this](double done) { return go_on(done); }, .now_s = options.now_s};
    ASSIGN_OR_RETURN(const TimedReads timed, read_timed(queue, where, read_bytes, memory, timing));
    reads += timed.reads;
    empty_reads += timed.empty_reads;
    ++n_done;
    if (!go_on(0)) return error(Code::kCancelled, "measuring the disk was stopped");
    return timed.bytes_per_s;
  }
  // One block, before a clock starts: a disk that slept is not taken for a slow one.
  Result<void> wake(IoQueue& queue) {
    const auto woken = read_timed(queue, dealer.take_scattered(1, block_bytes, block_bytes), block_bytes, memory);
    if (!woken) return Failure(woken.error());
    return {};
  }
  Result<double> rough(IoQueue& queue) {
    return run(queue, dealer.take_scattered(blocks_per_try, block_bytes, block_bytes), block_bytes, options.try_s);
  }
  Result<double> scattered(IoQueue& queue, uint32_t read_bytes) {
    return run(queue, dealer.take_scattered(blocks_per_try, block_bytes, read_bytes), read_bytes,
               kTryTimesMax * options.try_s);
  }
  Result<double> sequential(IoQueue& queue) {
    return run(queue, dealer.take_in_order(blocks_per_try), block_bytes, kTryTimesMax * options.try_s);
  }
};

}  // namespace

Result<DiskSurvey> survey_disk(std::span<const File* const> files, const DiskSurveyOptions& options) {
  const uint64_t total_bytes = std::accumulate(files.begin(), files.end(), uint64_t{0},
                                               [](uint64_t sum, const File* file) { return sum + file->size_bytes(); });
  const auto too_small = [&] {
    return error(Code::kInvalidArgument, fmt::format("{} of files are too little to measure a disk; {} are needed",
                                                     format_bytes(total_bytes), format_bytes(kSurveyBytesMin)));
  };
  if (files.empty() || total_bytes < kSurveyBytesMin) return too_small();
  const uint32_t block_bytes = disk_read_bytes_max(files.front()->path());
  ASSIGN_OR_RETURN(const Region memory, read_memory());
  Tries tries{.files = files,
              .options = options,
              .memory = memory,
              .dealer = BlockDealer(files, block_bytes, options.seed),
              .block_bytes = block_bytes};
  const size_t blocks_per_try_max = tries.dealer.blocks() / kTries;
  if (blocks_per_try_max < 2) return too_small();

  // 1. How slow? A memory card is not asked for as much as an NVMe disk: beside the time, it has few reads in flight.
  const size_t blocks_wanted_max = options.bytes_per_try_max / block_bytes;
  tries.blocks_per_try = std::max<size_t>(1, std::min(blocks_per_try_max / 4, blocks_wanted_max));
  ASSIGN_OR_RETURN(const auto first_queue, options.open_queue(kDepths[0]));
  RETURN_IF_ERROR(tries.wake(*first_queue));
  ASSIGN_OR_RETURN(const double rough, tries.rough(*first_queue));
  const double wanted = std::min(static_cast<double>(blocks_wanted_max), rough * options.try_s / block_bytes);
  tries.blocks_per_try = std::clamp<size_t>(static_cast<size_t>(wanted), 2, blocks_per_try_max);

  // 2. The first pass, which also finds size and depth.
  DiskSurvey survey;
  DiskFacts& facts = survey.facts;
  facts.direct = std::all_of(files.begin(), files.end(), [](const File* file) { return file->is_direct(); });
  std::vector<ReadRate> tried;
  for (const unsigned depth : kDepths) {
    ASSIGN_OR_RETURN(const auto queue, options.open_queue(depth));
    for (const uint32_t bytes : {static_cast<uint32_t>(round_down(block_bytes / 2, kPageBytes)), block_bytes}) {
      ASSIGN_OR_RETURN(const double bytes_per_s, tries.scattered(*queue, bytes));
      tried.push_back({bytes, depth, bytes_per_s});
    }
  }
  // Something was read: none of them is 0.
  const ReadRate chosen = choose_reads(tried).value_or(tried.front());
  facts.scattered_bytes_per_s = chosen.bytes_per_s;
  facts.read_bytes = chosen.read_bytes;
  facts.depth = chosen.depth;
  ASSIGN_OR_RETURN(const auto queue, options.open_queue(facts.depth));
  ASSIGN_OR_RETURN(facts.sequential_bytes_per_s, tries.sequential(*queue));

  // 3. The second pass, with what was found.
  ASSIGN_OR_RETURN(const double scattered, tries.scattered(*queue, facts.read_bytes));
  ASSIGN_OR_RETURN(const double sequential, tries.sequential(*queue));
  const char* likely = "something else uses the disk, or it slows down under load";
  for (const auto& doubt :
       {doubt_between_passes("disk, scattered reads", facts.scattered_bytes_per_s, scattered, likely),
        doubt_between_passes("disk, sequential reads", facts.sequential_bytes_per_s, sequential, likely)})
    if (doubt) survey.doubts.push_back(*doubt);
  facts.scattered_bytes_per_s = std::max(facts.scattered_bytes_per_s, scattered);
  facts.sequential_bytes_per_s = std::max(facts.sequential_bytes_per_s, sequential);

  // 4. What else speaks against the figures.
  if (!facts.direct)
    survey.doubts.push_back("disk: this file system refuses direct reads; the page cache may have answered instead");
  if (const double empty =
          static_cast<double>(tries.empty_reads) / static_cast<double>(std::max<uint64_t>(tries.reads, 1));
      empty > kEmptyReadsMax)
    survey.doubts.push_back(fmt::format(
        "disk: {:.0f} % of what was read is empty; holes in a file cost no read, so the disk is slower", empty * 100));
  return survey;
}

}  // namespace spillway
