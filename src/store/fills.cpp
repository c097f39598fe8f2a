// SPDX-License-Identifier: MIT
#include "store/fills.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>

#include "base/check.h"
#include "store/tuning.h"

namespace spillway {
namespace {

// The blocks that `range` begins and ends in, whole.
ByteRange blocks_around(ByteRange range, ReadAlignment alignment) {
  const uint64_t begin = round_down(range.offset, alignment.offset);
  return {begin, round_up(range.end(), alignment.offset) - begin};
}

}  // namespace

Status read_failure(const File& file, uint64_t offset, int64_t result) {
  if (result < 0)
    return {Code::kIo,
            fmt::format("{}: reading at {} failed: {}", file.path(), offset, std::strerror(static_cast<int>(-result)))};
  return {Code::kChanged, fmt::format("{}: the file ended early at {}; was it changed while in use?", file.path(),
                                      offset + static_cast<uint64_t>(result))};
}

void place_plain(uint32_t, ByteRange part, const std::byte* from, std::byte* to) {
  std::memcpy(to + part.offset, from, part.bytes);
}

Result<std::unique_ptr<Fills>> Fills::open(IoQueue& queue, Workers& workers, const Options& options, Done done) {
  CHECK(options.read_bytes > 0 && options.read_bytes % kPageBytes == 0);
  CHECK(options.one_read_bytes_max >= options.read_bytes && options.one_read_bytes_max % kPageBytes == 0);
  std::unique_ptr<Fills> fills(new Fills(queue, workers, options, std::move(done)));
  for (uint32_t i = 0; i < fills->chunks_.size(); ++i) fills->free_chunks_.push_back(i);
  fills->outcomes_.reserve(fills->chunks_.size());
  if (options.part_bytes_max == 0) return fills;
  // A part, and what else its first and last blocks hold.
  const uint64_t one_bytes = round_up(options.part_bytes_max + 2 * kPageBytes, kPageBytes);
  const uint64_t n = std::max<uint64_t>(options.buffer_bytes / one_bytes, 2);
  ASSIGN_OR_RETURN(fills->buffers_, HugeArea::reserve(n * one_bytes, kPageBytes));
  RETURN_IF_ERROR(fills->buffers_.resize(n * one_bytes));
  MutexLock lock(fills->mu_);
  for (uint64_t i = 0; i < n; ++i) fills->free_buffers_.push_back(fills->buffers_.data() + i * one_bytes);
  return fills;
}

Fills::~Fills() {
  // Nobody is above a destructor who could catch what is thrown.
  try {
    for (auto& queue : unsent_)
      while (!queue.empty()) drop_unsent(*queue.front());
  } catch (const std::exception&) {
    for (auto& queue : unsent_) queue.clear();
  }
  while (is_busy()) {
    try {
      wait();
    } catch (const std::exception&) {  // what came is counted, and that is all that matters now
    }
  }
}

// --- what is to be done --------------------------------------------------------------------------------------------

uint32_t Fills::n_chunks(const Piece& piece, const File& file) const {
  if (piece.from != nullptr) return 1;
  const uint64_t bytes =
      piece.part_bytes > 0 ? piece.range.bytes : blocks_around(piece.range, file.read_alignment()).bytes;
  const uint64_t each = piece.part_bytes > 0 ? piece.part_bytes : options_.read_bytes;
  return static_cast<uint32_t>((bytes + each - 1) / each);
}

void Fills::begin(Fill fill) {
  uint32_t n = 0;
  for (const Piece& piece : fill.pieces) n += n_chunks(piece, *fill.file);
  CHECK(n > 0);
  std::list<Progress> one;
  Progress& progress = one.emplace_back();
  progress.fill = std::move(fill);
  progress.chunks_left = n;
  progress.self = one.begin();
  unsent_[progress.fill.urgent ? 0 : 1].push_back(&progress);
  MutexLock lock(mu_);
  begun_.splice(begun_.end(), one);
}

void Fills::submit() {
  for (auto& queue : unsent_)
    while (!queue.empty() && send_next(queue)) {
    }
}

// The next chunk of a queue's first fill; false when there is no place in the queue, or no buffer, for it. A fill
// leaves the queue before its last chunk is handed over: from then on a worker may end it, and it is gone.
bool Fills::send_next(std::deque<Progress*>& queue) {
  Progress& progress = *queue.front();
  const auto& pieces = progress.fill.pieces;
  const Piece& piece = pieces[progress.next_piece];
  const auto next_piece = [&] {
    progress.next_offset = 0;
    if (++progress.next_piece == pieces.size()) queue.pop_front();
  };
  if (piece.from != nullptr) {
    next_piece();
    copy(progress, piece);
    return true;
  }
  if (free_chunks_.empty()) return false;
  const ReadAlignment alignment = progress.fill.file->read_alignment();
  Chunk chunk{.progress = &progress, .piece = progress.next_piece};
  uint64_t whole_bytes = 0;
  if (piece.part_bytes > 0) {
    chunk.buffer = take_buffer();
    if (chunk.buffer == nullptr) return false;
    whole_bytes = piece.range.bytes;
    chunk.part = {progress.next_offset, std::min(piece.part_bytes, whole_bytes - progress.next_offset)};
    const ByteRange wanted{piece.range.offset + chunk.part.offset, chunk.part.bytes};
    const ByteRange blocks = blocks_around(wanted, alignment);
    chunk.file_offset = blocks.offset;
    chunk.bytes = blocks.bytes;
    chunk.bytes_needed = wanted.end() - blocks.offset;
    chunk.destination = chunk.buffer;
    progress.next_offset += chunk.part.bytes;
  } else {
    const ByteRange blocks = blocks_around(piece.range, alignment);
    whole_bytes = blocks.bytes;
    chunk.file_offset = blocks.offset + progress.next_offset;
    chunk.bytes = std::min<uint64_t>(options_.read_bytes, whole_bytes - progress.next_offset);
    chunk.bytes_needed = std::min(chunk.bytes, piece.range.end() - chunk.file_offset);
    chunk.destination = piece.to - (piece.range.offset - blocks.offset) + progress.next_offset;
    progress.next_offset += chunk.bytes;
  }
  if (progress.next_offset == whole_bytes) next_piece();
  send_read(chunk);
  return true;
}

void Fills::send_read(const Chunk& chunk) {
  const uint32_t index = free_chunks_.back();
  free_chunks_.pop_back();
  chunks_[index] = chunk;
  Chunk& sent = chunks_[index];
  ++sent.tries;
  queue_.submit({sent.progress->fill.file, sent.file_offset + sent.bytes_here, sent.destination + sent.bytes_here,
                 next_read_bytes(sent), index});
}

uint32_t Fills::next_read_bytes(const Chunk& chunk) const {
  return static_cast<uint32_t>(std::min<uint64_t>(chunk.bytes - chunk.bytes_here, options_.one_read_bytes_max));
}

void Fills::copy(Progress& progress, const Piece& piece) {
  // Made before it is counted: what is counted is waited for.
  std::function<void()> job = [this, &progress, &piece] {
    std::memcpy(piece.to, piece.from, piece.from_bytes);
    finish_chunk(progress);
    give_buffer(nullptr);
  };
  {
    MutexLock lock(mu_);
    ++n_placing_;
  }
  workers_.post(std::move(job));
}

// --- what is done --------------------------------------------------------------------------------------------------

bool Fills::is_busy() const {
  if (queue_.in_flight() > 0) return true;
  MutexLock lock(mu_);
  return n_placing_ > 0;
}

void Fills::wait() {
  if (queue_.in_flight() > 0) {
    outcomes_.clear();
    queue_.wait(outcomes_);
    for (const ReadOutcome& outcome : outcomes_) complete(outcome);
    return;
  }
  MutexLock lock(mu_);
  const uint32_t before = n_placing_;
  while (n_placing_ > 0 && n_placing_ >= before) placed_.wait(mu_);
}

void Fills::complete(const ReadOutcome& outcome) {
  const auto index = static_cast<uint32_t>(outcome.tag);
  Chunk chunk = chunks_[index];
  free_chunks_.push_back(index);
  Progress& progress = *chunk.progress;
  const uint64_t more_bytes = outcome.result > 0 ? static_cast<uint64_t>(outcome.result) : 0;
  const bool enough = outcome.result >= 0 && chunk.bytes_here + more_bytes >= chunk.bytes_needed;
  if (!enough && !progress.failure && more_bytes == next_read_bytes(chunk)) {
    chunk.bytes_here += more_bytes;
    chunk.tries = 0;
    return send_read(chunk);
  }
  if (!enough && !progress.failure && chunk.tries < kReadTries) return send_read(chunk);
  if (!enough && !progress.failure) {
    progress.failure = read_failure(*progress.fill.file, chunk.file_offset + chunk.bytes_here, outcome.result);
    // Nothing more of it is worth reading; what is in flight must still land before the memory can be used again.
    if (progress.next_piece < progress.fill.pieces.size()) drop_unsent(progress);
  }
  if (chunk.buffer == nullptr) return finish_chunk(progress);
  if (progress.failure) {
    give_buffer(chunk.buffer);
    return finish_chunk(progress);
  }
  const Piece& piece = progress.fill.pieces[chunk.piece];
  const uint64_t skipped = piece.range.offset + chunk.part.offset - chunk.file_offset;
  std::function<void()> job = [this, &progress, &piece, part = chunk.part, buffer = chunk.buffer, skipped] {
    options_.place(progress.fill.tensor, part, buffer + skipped, piece.to);
    finish_chunk(progress);
    give_buffer(buffer);
    give_buffer(nullptr);
  };
  {
    MutexLock lock(mu_);
    ++n_placing_;
  }
  workers_.post(std::move(job));
}

// What was not sent yet counts as done.
void Fills::drop_unsent(Progress& progress) {
  for (auto& queue : unsent_) std::erase(queue, &progress);
  const auto& pieces = progress.fill.pieces;
  uint32_t n_unsent = 0;
  for (size_t p = progress.next_piece; p < pieces.size(); ++p) n_unsent += n_chunks(pieces[p], *progress.fill.file);
  const Piece& next = pieces[progress.next_piece];
  n_unsent -=
      static_cast<uint32_t>(progress.next_offset / (next.part_bytes > 0 ? next.part_bytes : options_.read_bytes));
  progress.next_piece = pieces.size();
  finish_chunk(progress, n_unsent);
}

// The last one of a fill ends it.
void Fills::finish_chunk(Progress& progress, uint32_t n) {
  if (progress.chunks_left.fetch_sub(n) != n) return;
  std::list<Progress> ended;
  {
    MutexLock lock(mu_);
    ended.splice(ended.end(), begun_, progress.self);
  }
  done_(progress.fill.tag, progress.failure);
}

std::byte* Fills::take_buffer() {
  MutexLock lock(mu_);
  if (free_buffers_.empty()) return nullptr;
  std::byte* buffer = free_buffers_.back();
  free_buffers_.pop_back();
  return buffer;
}

// nullptr: a worker is done with a job.
void Fills::give_buffer(std::byte* buffer) {
  MutexLock lock(mu_);
  if (buffer != nullptr) {
    free_buffers_.push_back(buffer);
    return;
  }
  --n_placing_;
  placed_.notify_all();  // with the lock: who waits may be about to destroy this
}

}  // namespace spillway
