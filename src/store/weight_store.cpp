// SPDX-License-Identifier: MIT
#include "store/weight_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "base/saturating_sub.h"
#include "layout/tuning.h"
#include "os/machine.h"
#include "store/tuning.h"

namespace spillway {
namespace {

uint64_t part_bytes_max(const std::vector<Extent>& extents) {
  uint64_t bytes = 0;
  for (const Extent& extent : extents) bytes = std::max(bytes, extent.part_bytes);
  return bytes;
}

// The slots that a class can ever have.
uint32_t n_slots_max(const SlotClass& slot_class) {
  return slot_class.pool == Pool::kWhole ? std::min(kWholeSlots, slot_class.n_extents) : slot_class.n_extents;
}

std::vector<uint32_t> numbers_in_classes(const std::vector<Extent>& extents, size_t n_class) {
  std::vector<uint32_t> next(n_class), numbers;
  for (const Extent& extent : extents) numbers.push_back(next[extent.slot_class]++);
  return numbers;
}

Status no_reader() {
  return {Code::kUnavailable,
          "there was no memory left for the thread that reads weights: the model has to be loaded again"};
}

}  // namespace

Result<std::unique_ptr<WeightStore>> WeightStore::open(const Layout& layout, std::unique_ptr<IoQueue> queue,
                                                       StoreOptions options) {
  if (options.read_bytes == 0) options.read_bytes = kReadBytesDefault;
  std::unique_ptr<WeightStore> store(new WeightStore(layout, std::move(queue), std::move(options)));
  RETURN_IF_ERROR(store->take_memory(layout));
  store->reader_ = std::thread([self = store.get()] {
    try {
      self->read_loop();
    } catch (const std::exception&) {  // nobody is above it who could: the process would end
      self->give_up();
    }
  });
  return store;
}

WeightStore::WeightStore(const Layout& layout, std::unique_ptr<IoQueue> queue, StoreOptions options)
    : options_(std::move(options)),
      cache_extents_(layout.extents),
      numbers_(numbers_in_classes(layout.extents, layout.classes.size())),
      classes_(layout.classes),
      deal_(layout),
      unit_bytes_(layout.unit_bytes),
      queue_(std::move(queue)),
      cache_(layout.extents, layout.classes, options_.pool_passes),
      workers_(options_.n_workers) {
  for (const Extent& extent : layout.extents) slice_bytes_.push_back(layout.shapes[extent.tensor].slot_bytes);
}

Result<void> WeightStore::take_memory(const Layout& layout) {
  for (const SlotClass& slot_class : classes_) {
    ASSIGN_OR_RETURN(HugeArea area,
                     HugeArea::reserve(area_bytes(slot_class, n_slots_max(slot_class), unit_bytes_), unit_bytes_));
    areas_.push_back({area.data(), slot_class.slot_bytes});
    memory_.push_back(std::move(area));
  }
  ASSIGN_OR_RETURN(fills_, Fills::open(*queue_, workers_,
                                       {.read_bytes = options_.read_bytes,
                                        .buffer_bytes = layout.buffer_bytes,
                                        .part_bytes_max = part_bytes_max(cache_extents_),
                                        .place = options_.place},
                                       [this](uint64_t tag, const std::optional<Status>& failure) {
                                         try {
                                           finish(ExtentId{static_cast<uint32_t>(tag)}, failure);
                                         } catch (const std::exception&) {
                                           give_up();
                                         }
                                       }));
  MutexLock lock(mu_);
  allowed_bytes_ = layout.pool_bytes;
  cache_.set_n_slots(layout.n_slots);
  return {};
}

WeightStore::~WeightStore() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  work_.notify_all();
  if (reader_.joinable()) reader_.join();
}

// --- who computes --------------------------------------------------------------------------------------------------

void WeightStore::begin_pass() {
  MutexLock lock(mu_);
  cache_.begin_pass();
}

void WeightStore::request(std::span<const ExtentId> ids, Priority priority, bool scan) {
  const double cpu_start_s = thread_cpu_s();
  {
    MutexLock lock(mu_);
    cache_.request(ids, priority, scan);
    idle_ = false;
    stats_.caller_cpu_s += thread_cpu_s() - cpu_start_s;
  }
  work_.notify_one();
}

void WeightStore::cancel(std::span<const ExtentId> ids) {
  MutexLock lock(mu_);
  cache_.cancel(ids);
}

void WeightStore::drop_interest() {
  {
    MutexLock lock(mu_);
    cache_.drop_interest();
  }
  work_.notify_one();
}

Result<bool> WeightStore::acquire(std::span<const ExtentId> ids, bool scan, std::vector<uint32_t>& slots) {
  const double cpu_start_s = thread_cpu_s();
  MutexLock lock(mu_);
  if (broken_) return Failure(no_reader());
  if (!cache_.can_hold(ids))
    return error(Code::kOutOfBudget,
                 fmt::format("{} extents are needed at once, more than fit in the memory for streaming", ids.size()));
  cache_.hold(ids, scan, hold_);
  using State = ResidencyCache::HoldState;
  State state = cache_.state_of(hold_);
  if (state == State::kWaiting) {
    idle_ = false;
    work_.notify_one();
    const Stopwatch waited;
    // Another caller may use hold_ meanwhile.
    ResidencyCache::Hold hold = std::exchange(hold_, {});
    // A reader that rests while somebody waits has slots to fill only when memory that is held goes back, and who holds
    // it waits here.
    while ((state = cache_.state_of(hold)) == State::kWaiting && !idle_ && !broken_) arrived_.wait(mu_);
    hold_ = std::move(hold);
    stats_.wait_s += waited.elapsed_s();
  }
  slots.clear();
  for (const ExtentId id : ids) slots.push_back(cache_.slot_of(id));
  if (state != State::kReady) cache_.let_go(ids);
  stats_.caller_cpu_s += thread_cpu_s() - cpu_start_s;
  if (state == State::kReady)
    return ids.empty() || cache_.n_free_of_holds(extent(ids.front()).slot_class) >= ids.size();
  work_.notify_one();
  if (broken_) return Failure(no_reader());
  if (state == State::kFailed) return Failure(last_failure_);
  return error(Code::kOutOfBudget, "the memory for these extents is still held for others");
}

void WeightStore::release(std::span<const ExtentId> ids) {
  const double cpu_start_s = thread_cpu_s();
  {
    MutexLock lock(mu_);
    cache_.let_go(ids);
    idle_ = false;
    stats_.caller_cpu_s += thread_cpu_s() - cpu_start_s;
  }
  work_.notify_one();
}

Result<void> WeightStore::check() const {
  MutexLock lock(mu_);
  if (broken_) return Failure(no_reader());
  return {};
}

bool WeightStore::is_ready(std::span<const ExtentId> ids) const {
  MutexLock lock(mu_);
  return !broken_ && cache_.can_hold(ids) &&
         std::all_of(ids.begin(), ids.end(), [this](ExtentId id) REQUIRES(mu_) { return cache_.is_resident(id); });
}

bool WeightStore::is_complete(uint32_t slot_class) const {
  MutexLock lock(mu_);
  return cache_.is_complete(slot_class);
}

bool WeightStore::acquire_all(uint32_t slot_class) {
  MutexLock lock(mu_);
  return cache_.hold_all(slot_class);
}

void WeightStore::release_all(uint32_t slot_class) {
  {
    MutexLock lock(mu_);
    cache_.let_go_all(slot_class);
  }
  work_.notify_one();
}

// --- sizes ---------------------------------------------------------------------------------------------------------

void WeightStore::deal_out(uint64_t allowed_bytes, PassKind kind) {
  cache_.set_n_slots(deal_.slots(allowed_bytes, kind));
  allowed_bytes_ = allowed_bytes;
  pass_kind_ = kind;
  idle_ = false;
}

void WeightStore::set_pool_bytes(uint64_t bytes) {
  {
    MutexLock lock(mu_);
    if (bytes == allowed_bytes_) return;
    deal_out(bytes, pass_kind_);
  }
  work_.notify_one();
}

void WeightStore::set_pass_kind(PassKind kind) {
  {
    MutexLock lock(mu_);
    if (kind == pass_kind_) return;
    deal_out(allowed_bytes_, kind);
  }
  work_.notify_one();
}

std::vector<uint32_t> WeightStore::n_routed_slots() const { return deal_.slots(allowed_bytes(), PassKind::kRouted); }

bool WeightStore::has_room_for_whole() const { return deal_.has_room_for_whole(allowed_bytes()); }

uint64_t WeightStore::allowed_bytes() const {
  MutexLock lock(mu_);
  return allowed_bytes_;
}

uint32_t WeightStore::n_slots(uint32_t slot_class) const {
  MutexLock lock(mu_);
  return cache_.n_slots(slot_class);
}

bool WeightStore::is_shrunk() const {
  for (uint32_t c = 0; c < classes_.size(); ++c)
    if (cache_.n_granted(c) > cache_.n_slots(c)) return false;
  return true;
}

bool WeightStore::wait_until_shrunk(std::chrono::milliseconds timeout) {
  MutexLock lock(mu_);
  return arrived_.wait_for(mu_, timeout, [this]() REQUIRES(mu_) { return is_shrunk(); });
}

bool WeightStore::wait_until_read(std::chrono::milliseconds timeout) {
  MutexLock lock(mu_);
  return arrived_.wait_for(mu_, timeout, [this]() REQUIRES(mu_) { return idle_ || broken_; });
}

// --- what there is -------------------------------------------------------------------------------------------------

bool WeightStore::is_resident(ExtentId id) const {
  MutexLock lock(mu_);
  return cache_.is_resident(id);
}

bool WeightStore::all_resident(std::span<const ExtentId> ids) const {
  MutexLock lock(mu_);
  return std::all_of(ids.begin(), ids.end(), [this](ExtentId id) REQUIRES(mu_) { return cache_.is_resident(id); });
}

std::vector<bool> WeightStore::resident() const {
  MutexLock lock(mu_);
  return cache_.resident();
}

StoreStats WeightStore::stats() const {
  const double place_cpu_s = workers_.cpu_s();
  MutexLock lock(mu_);
  StoreStats stats = stats_;
  static_cast<CacheStats&>(stats) = cache_.stats();
  stats.resident_bytes = cache_.resident_bytes();
  stats.pool_bytes = taken_bytes_;
  stats.place_cpu_s = place_cpu_s - place_counted_s_;
  return stats;
}

void WeightStore::reset_stats() {
  const double place_cpu_s = workers_.cpu_s();
  MutexLock lock(mu_);
  stats_ = {};
  place_counted_s_ = place_cpu_s;
  cache_.reset_stats();
}

std::vector<double> WeightStore::heat() const {
  MutexLock lock(mu_);
  return cache_.heat();
}

void WeightStore::set_heat(std::span<const double> heat) {
  MutexLock lock(mu_);
  cache_.set_heat(heat);
}

// --- the reader thread ---------------------------------------------------------------------------------------------

void WeightStore::read_loop() {
  name_thread("spillway-reader");
  cpu_counted_s_ = thread_cpu_s();
  for (;;) {
    // 1. Begin what can begin, until the queue's depth is spoken for: not more, so that demand never queues behind
    // read-ahead.
    Next next = Next::kContinue;
    while ((next = begin_next()) == Next::kContinue) fills_->submit();
    if (next == Next::kStop) return;
    // 2. Take what has arrived; refill the queue from reads already begun.
    fills_->submit();
    if (!fills_->is_busy()) continue;
    fills_->wait();
    fills_->submit();
  }
}

WeightStore::Next WeightStore::begin_next() {
  std::optional<ResidencyCache::Step> step;
  {
    MutexLock lock(mu_);
    if (broken_) return Next::kStop;
    account();
    if (!stopping_ && resize_areas()) return Next::kContinue;
    if (!stopping_ && !fills_->has_unsent()) step = cache_.next();
    if (!step) {
      if (fills_->is_busy() || fills_->has_unsent()) return Next::kWait;
      busy_since_s_ = 0;
      if (stopping_) return Next::kStop;
      // What went on the way of looking may have left memory to give back.
      if (resize_areas()) return Next::kContinue;
      // Who is left has no room in the memory that there is, and the system gives no more.
      if (refused_) cache_.fail_waiting();
      idle_ = true;
      arrived_.notify_all();
      work_.wait(mu_);
      return Next::kContinue;
    }
    if (busy_since_s_ == 0) busy_since_s_ = monotonic_s();
  }
  begin(*step);
  return Next::kContinue;
}

void WeightStore::account() {
  const double now_s = thread_cpu_s();
  stats_.reader_cpu_s += now_s - std::exchange(cpu_counted_s_, now_s);
  if (busy_since_s_ == 0) return;
  const double here_s = monotonic_s();
  stats_.reader_busy_s += here_s - std::exchange(busy_since_s_, here_s);
}

// Gives memory back that no class wants any more, then takes what is wanted and allowed. Whether anything changed.
bool WeightStore::resize_areas() {
  bool changed = false;
  refused_ = false;
  const auto set = [&](uint32_t c, uint32_t n) REQUIRES(mu_) {
    const uint64_t before_bytes = memory_[c].bytes();
    const uint64_t bytes = area_bytes(classes_[c], n, unit_bytes_);
    if (bytes < before_bytes) cache_.grant(c, n);  // nobody begins to read there any more
    const auto resized = memory_[c].resize(bytes);
    if (!resized) {
      last_failure_ = resized.error();
      refused_ = true;
      return false;
    }
    if (bytes >= before_bytes) {
      cache_.grant(c, n);
      if (unit_bytes_ >= kHugePageBytes)
        populate_beside(workers_, memory_[c].data() + before_bytes, memory_[c].bytes() - before_bytes);
    }
    taken_bytes_ += memory_[c].bytes() - before_bytes;
    changed = true;
    arrived_.notify_all();
    return true;
  };
  for (uint32_t c = 0; c < classes_.size(); ++c)
    if (const uint32_t n = std::max(cache_.n_wanted(c), cache_.n_occupied(c)); n < cache_.n_granted(c)) set(c, n);
  for (uint32_t c = 0; c < classes_.size(); ++c) {
    const uint32_t wanted = cache_.n_wanted(c), granted = cache_.n_granted(c);
    if (wanted <= granted) continue;
    // As many as fit now; the rest when others have made room.
    const uint64_t others_bytes = taken_bytes_ - memory_[c].bytes();
    uint32_t n = wanted;
    const uint64_t room_bytes = saturating_sub(allowed_bytes_, others_bytes);
    if (area_bytes(classes_[c], n, unit_bytes_) > room_bytes)
      n = static_cast<uint32_t>(round_down(room_bytes, unit_bytes_) / classes_[c].slot_bytes);
    if (n > granted && !set(c, n)) break;
  }
  return changed;
}

std::byte* WeightStore::data_of(ExtentId id, uint32_t slot) const {
  const Extent& of = extent(id);
  return areas_[of.slot_class].slot(slot) + of.data_offset;
}

void WeightStore::begin(const ResidencyCache::Step& step) {
  if (step.work == ResidencyCache::Work::kMove) {
    const Extent& moved = extent(step.id);
    const SlotArea& area = areas_[moved.slot_class];
    std::memcpy(area.slot(step.slot), area.slot(step.from_slot), area.slot_bytes);
    {
      MutexLock lock(mu_);
      cache_.arrived(step.id);
    }
    arrived_.notify_all();
    return;
  }
  fills_->begin(fill_of(step));
}

// A whole expert tensor is put together from slices that are in memory and reads of those between them.
Fill WeightStore::fill_of(const ResidencyCache::Step& step) const {
  const Extent& read = extent(step.id);
  std::byte* to = data_of(step.id, step.slot);
  Fill fill{.tag = index_of(step.id),
            .file = options_.files[read.file],
            .tensor = read.tensor,
            .urgent = step.urgent,
            .pieces = {}};
  if (read.pool != Pool::kWhole) {
    fill.pieces.push_back({.range = read.range, .to = to, .part_bytes = read.part_bytes});
    return fill;
  }
  const uint64_t n_slices = step.n_slices;
  const uint64_t in_file_bytes = read.range.bytes / n_slices;
  const uint64_t in_memory_bytes =
      slice_bytes_[index_of(step.id)] > 0 ? slice_bytes_[index_of(step.id)] : in_file_bytes;
  size_t next_copied = 0;
  for (uint32_t s = 0; s < n_slices; ++s) {
    const ByteRange range{read.range.offset + s * in_file_bytes, in_file_bytes};
    Piece piece{.range = range, .to = to + s * in_memory_bytes, .part_bytes = read.part_bytes};
    if (next_copied < step.copied.size() && extent(step.copied[next_copied]).slice == s) {
      piece.from = data_of(step.copied[next_copied], step.copied_slots[next_copied]);
      piece.from_bytes = in_memory_bytes;
      ++next_copied;
    } else if (Piece* before = fill.pieces.empty() ? nullptr : &fill.pieces.back();
               before != nullptr && before->from == nullptr && read.part_bytes == 0) {
      before->range.bytes += range.bytes;  // neighbours are read as one
      continue;
    }
    fill.pieces.push_back(piece);
  }
  return fill;
}

void WeightStore::finish(ExtentId id, const std::optional<Status>& failure) {
  if (!failure && options_.corrupt_extent == static_cast<int64_t>(index_of(id))) {
    uint32_t slot = 0;
    {
      MutexLock lock(mu_);
      slot = cache_.slot_of(id);
    }
    data_of(id, slot)[extent(id).range.bytes / 2] ^= std::byte{0x10};
  }
  {
    MutexLock lock(mu_);
    if (failure) {
      last_failure_ = *failure;
      cache_.failed(id);
    } else {
      cache_.arrived(id);
    }
  }
  arrived_.notify_all();
}

void WeightStore::give_up() {
  {
    MutexLock lock(mu_);
    broken_ = true;
  }
  work_.notify_all();
  arrived_.notify_all();
}

}  // namespace spillway
