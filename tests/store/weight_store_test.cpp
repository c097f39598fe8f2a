// SPDX-License-Identifier: MIT
// The store as a whole, on a simulated disk: memory, reads and threads under the cache's bookkeeping.
#include "store/weight_store.h"

#include <gmock/gmock.h>
#include <sys/resource.h>

#include <atomic>
#include <new>
#include <random>
#include <set>

#include "os/machine.h"
#include "sim_model.h"

#if defined(__SANITIZE_THREAD__)
// In a whole tensor a read writes the blocks around a slice, and so the edges of its neighbours, which a worker may be
// copying: both write what the file has there.
extern "C" const char* __tsan_default_suppressions() { return "race:spillway::Fills::copy\n"; }
#endif

namespace spillway {
namespace {

using testing::HasSubstr;

struct StoreSetup {
  SimDiskOptions disk = {};
  std::vector<Tensors> tensors = {{6, 64 * KiB, 8}, {6, 112 * KiB, 4}, {16, 48 * KiB}, {3, 3000}};
  double share = 0.55;  // of what holding everything takes
  bool repacked = false;
  unsigned n_workers = 2;
};

class StoreBench {
 public:
  explicit StoreBench(StoreSetup setup = {}) : disk_(setup.disk), model_(disk_, setup.tensors) {
    std::vector<WeightShape> shapes;
    for (const TensorInfo& tensor : model_.tensors())
      shapes.push_back(setup.repacked && tensor.slice_bytes() % 64 == 0 ? backwards_shape(tensor) : WeightShape{});
    LayoutRequest request = model_.request(UINT64_MAX / 2, std::move(shapes));
    const uint64_t all_bytes = resident_bytes(request);
    request.weights_budget_bytes = static_cast<uint64_t>(setup.share * static_cast<double>(all_bytes));
    layout_ = lay_out(request).value();
    store_ = WeightStore::open(layout_, disk_.open_queue(6),
                               {.files = model_.files(),
                                .read_bytes = 4 * kPageBytes,
                                .n_workers = setup.n_workers,
                                .place = setup.repacked ? Place(place_backwards) : Place(place_plain),
                                .pool_passes = 4})
                 .value();
  }

  SimDisk& disk() { return disk_; }
  const Layout& layout() const { return layout_; }
  WeightStore& store() { return *store_; }
  uint32_t n_extents() const { return store_->n_extents(); }
  uint32_t n_sliced() const {  // without whole tensors
    uint32_t n = 0;
    for (const Extent& extent : layout_.extents) n += extent.pool != Pool::kWhole;
    return n;
  }

  // Whether an extent that is held in `slot` reads as the file, in its form.
  bool is_right(ExtentId id, uint32_t slot) const {
    const Extent& extent = layout_.extents[index_of(id)];
    const std::byte* data = store_->area(extent.slot_class).slot(slot) + extent.data_offset;
    return layout_.form(extent.tensor) == Form::kRepacked ? is_backwards(model_, extent.range, data)
                                                          : model_.is_at(extent.range, data);
  }
  Result<bool> acquire(const Ids& wanted, bool scan = false) {
    auto acquired = store_->acquire(wanted, scan, slots_);
    for (size_t i = 0; acquired && i < wanted.size(); ++i)
      EXPECT_TRUE(is_right(wanted[i], slots_[i])) << "extent " << index_of(wanted[i]);
    return acquired;
  }
  Result<bool> use(const Ids& wanted, bool scan = false) {
    auto acquired = acquire(wanted, scan);
    if (acquired) store_->release(wanted);
    return acquired;
  }
  const std::vector<uint32_t>& slots() const { return slots_; }
  Ids of_pool(Pool pool) const {
    Ids all;
    for (uint32_t e = 0; e < layout_.extents.size(); ++e)
      if (layout_.extents[e].pool == pool) all.push_back(ExtentId{e});
    return all;
  }

 private:
  SimDisk disk_;
  SimModel model_;
  Layout layout_;
  std::unique_ptr<WeightStore> store_;
  std::vector<uint32_t> slots_;
};

struct StoreWay {
  const char* name;
  ReadAlignment alignment;
  uint64_t odd_bytes;  // longer than a whole number of blocks
  bool repacked;
};
class EveryWay : public testing::TestWithParam<StoreWay> {
 protected:
  StoreSetup setup() const {
    return {.disk = {.seed = test_seed(), .alignment = GetParam().alignment},
            .tensors = {{8, 8 * (8 * KiB + GetParam().odd_bytes), 8}, {8, 12 * KiB + GetParam().odd_bytes}},
            .share = 0.8,
            .repacked = GetParam().repacked};
  }
};
INSTANTIATE_TEST_SUITE_P(
    Reads, EveryWay,
    testing::Values(StoreWay{"InPlace", {4096, 4096}, 0, false}, StoreWay{"Shifted", {512, 4}, 32, false},
                    StoreWay{"StagedForTheAddress", {512, 512}, 128, false},
                    StoreWay{"StagedForPages", {4096, 4096}, 160, false}, StoreWay{"Buffered", {1, 1}, 34, false},
                    StoreWay{"Repacked", {4096, 4096}, 64, true}, StoreWay{"RepackedBuffered", {1, 1}, 64, true}),
    [](const auto& way) { return way.param.name; });

TEST_P(EveryWay, EveryExtentReadsAsTheFile) {
  StoreBench bench(setup());
  bool any_staged = false;
  for (const Extent& extent : bench.layout().extents) any_staged = any_staged || extent.part_bytes > 0;
  EXPECT_EQ(any_staged, GetParam().repacked || std::string(GetParam().name).starts_with("Staged"));
  for (int round = 0; round < 2; ++round)
    for (uint32_t n = 0; n < bench.n_sliced(); ++n) ASSERT_TRUE(bench.use(ids({n})));
}

TEST_P(EveryWay, AWholeTensorIsPutTogetherFromMemoryAndDisk) {
  StoreBench bench(setup());
  // Some slices are there already.
  for (uint32_t n = 0; n < bench.n_sliced(); n += 3) ASSERT_TRUE(bench.use(ids({n})));
  ASSERT_TRUE(bench.store().has_room_for_whole());
  bench.store().set_pass_kind(PassKind::kWhole);
  const Ids whole = bench.of_pool(Pool::kWhole);
  bench.store().request(whole, Priority::kCertain);
  for (int round = 0; round < 2; ++round)
    for (const ExtentId id : whole) ASSERT_TRUE(bench.use({id}, true));
  EXPECT_GT(bench.store().stats().bytes_copied, 0u);
  bench.store().set_pass_kind(PassKind::kRouted);
  for (uint32_t n = 0; n < bench.n_sliced(); ++n) ASSERT_TRUE(bench.use(ids({n})));
  EXPECT_LE(bench.store().pool_bytes(), bench.layout().pool_bytes);
}

TEST(WeightStore, SlicesOfATensorLieAlikeInTheirSlots) {
  StoreBench bench({.disk = {.alignment = {512, 512}}, .tensors = {{2, 8 * 6144, 8}, {1, 9000}}});
  const Ids experts = bench.of_pool(Pool::kExperts);
  for (const ExtentId id : experts)
    EXPECT_EQ(
        bench.layout().extents[index_of(id)].data_offset,
        bench.layout().extents[bench.layout().first_extent[bench.layout().extents[index_of(id)].tensor]].data_offset);
}

TEST(WeightStore, AMissIsReadAndAHitIsNot) {
  StoreBench bench;
  ASSERT_TRUE(bench.use(ids({3})));
  const uint64_t reads = bench.disk().reads_done();
  ASSERT_TRUE(bench.use(ids({3})));
  EXPECT_EQ(bench.disk().reads_done(), reads);
  const StoreStats stats = bench.store().stats();
  EXPECT_EQ(stats.misses, 1u);
  EXPECT_EQ(stats.hits, 1u);
  EXPECT_EQ(stats.bytes_read, bench.store().extent(ExtentId{3}).range.bytes);
}

TEST(WeightStore, MoreThanFitsIsOutOfBudgetAndNothingIsHeld) {
  StoreBench bench;
  const Ids experts = bench.of_pool(Pool::kExperts);
  const auto refused = bench.acquire(experts);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kOutOfBudget);
  EXPECT_THAT(refused.error().message(), HasSubstr("extents are needed at once"));
  for (const ExtentId id : experts) ASSERT_TRUE(bench.use({id}));
}

TEST(WeightStore, SaysWhetherAsManyAgainCouldBeHeld) {
  StoreBench bench;
  const uint32_t n_slots = bench.store().n_slots(0);
  ASSERT_GE(n_slots, 4u);
  EXPECT_EQ(bench.acquire(ids_from(0, n_slots / 2)).value(), true);
  EXPECT_EQ(bench.acquire(ids_from(n_slots / 2, n_slots - n_slots / 2)).value(), false);
  EXPECT_FALSE(bench.store().is_ready(ids({n_slots})));
  bench.store().release(ids_from(0, n_slots));
}

TEST(WeightStore, NothingToAcquireIsAcquired) {
  StoreBench bench;
  EXPECT_TRUE(bench.use({}));
}

// --- failures ---

TEST(WeightStore, AFailingDiskFailsWhoWaitsAndNobodyLater) {
  StoreBench bench;
  bench.disk().options().fail_all = true;
  const auto failed = bench.acquire(ids({5}));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), Code::kIo);
  EXPECT_THAT(failed.error().message(), HasSubstr("sim:/0: reading at"));
  ASSERT_TRUE(bench.store().wait_until_read(kSoon));
  bench.disk().options().fail_all = false;
  EXPECT_TRUE(bench.use(ids({5})));
}

TEST(WeightStore, AFileThatShrankIsSaidToHaveChanged) {
  StoreBench bench;
  bench.disk().shrink_files_to(8192);
  const auto failed = bench.acquire(ids({20}));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), Code::kChanged);
}

// What a thread throws has nobody above it: the process would end.
TEST(WeightStore, AReaderWithoutMemoryFailsWhoWaitsAndAllLater) {
  std::atomic<bool> out_of_memory{false};
  StoreBench bench({.disk = {.before_read = [&](const ReadRequest&) {
                      if (out_of_memory) throw std::bad_alloc();
                    }}});
  ASSERT_TRUE(bench.use(ids({5})));
  EXPECT_TRUE(bench.store().check());
  out_of_memory = true;
  const auto failed = bench.acquire(ids({6}));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), Code::kUnavailable);
  EXPECT_FALSE(bench.store().check());
  out_of_memory = false;
  EXPECT_FALSE(bench.use(ids({5}))) << "what lies where is not known any more";
  EXPECT_FALSE(bench.store().is_ready(ids({5})));
  EXPECT_TRUE(bench.store().wait_until_read(kSoon));
}

// --- sizes ---

TEST(WeightStore, GivesMemoryBackAndTakesItAgain) {
  StoreBench bench({.share = 0.8});
  bench.store().request(bench.of_pool(Pool::kExperts), Priority::kSpeculative);
  bench.store().request(bench.of_pool(Pool::kRing), Priority::kCertain);
  ASSERT_TRUE(bench.store().wait_until_read(kSoon));
  const uint64_t full_bytes = bench.store().pool_bytes();
  EXPECT_LE(full_bytes, bench.layout().pool_bytes);
  for (const uint64_t bytes : {full_bytes / 2, bench.store().deal().bytes_min(), uint64_t{0}, full_bytes}) {
    bench.store().set_pool_bytes(bytes);
    ASSERT_TRUE(bench.store().wait_until_shrunk(kSoon)) << bytes;
    EXPECT_LE(bench.store().pool_bytes(), bytes);
    EXPECT_LE(bench.store().stats().resident_bytes, bytes);
    if (bytes == 0) continue;
    for (uint32_t n = 0; n < bench.n_sliced(); ++n) ASSERT_TRUE(bench.use(ids({n})));
  }
}

TEST(WeightStore, WithoutSlotsNothingCanBeHeld) {
  StoreBench bench;
  bench.store().set_pool_bytes(0);
  const auto refused = bench.acquire(ids({0}));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kOutOfBudget);
}

TEST(WeightStore, WhereTheSystemGivesNoMoreMemoryThatWhichIsThereIsUsed) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "their own memory counts";
#endif
  StoreBench bench({.tensors = {{8, 4 * MiB, 8}}, .share = 0.8});
  const uint64_t planned_bytes = bench.store().allowed_bytes();
  bench.store().set_pool_bytes(bench.store().deal().bytes_min());
  ASSERT_TRUE(bench.store().wait_until_shrunk(kSoon));
  ASSERT_TRUE(bench.store().wait_until_read(kSoon));  // the least is taken
  const Ids many = ids_from(0, bench.store().n_slots(0) + 4);
  rlimit data{};
  ASSERT_EQ(::getrlimit(RLIMIT_DATA, &data), 0);
  const rlimit no_more{process_usage().data_bytes + 1 * MiB, data.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_DATA, &no_more), 0);
  bench.store().set_pool_bytes(planned_bytes);
  uint32_t n_used = 0;
  for (uint32_t n = 0; n < bench.n_sliced(); ++n) n_used += bench.use(ids({n})).has_value();
  const auto refused = bench.acquire(many);
  ASSERT_EQ(::setrlimit(RLIMIT_DATA, &data), 0);
  EXPECT_EQ(n_used, bench.n_sliced());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kOutOfBudget);
  EXPECT_THAT(refused.error().message(), HasSubstr("mprotect"));
  EXPECT_TRUE(bench.use(many)) << "there is more again";
}

TEST(WeightStore, WhatIsHeldStaysRightWhileTheRestGoes) {
  StoreBench bench({.share = 0.8});
  const uint32_t n = std::min(6u, bench.store().n_slots(0));
  ASSERT_TRUE(bench.acquire(ids_from(0, n)));
  const std::vector<uint32_t> slots = bench.slots();
  bench.store().set_pool_bytes(bench.store().deal().bytes_min());
  EXPECT_FALSE(bench.store().wait_until_shrunk(kNow));
  for (uint32_t i = 0; i < n; ++i) EXPECT_TRUE(bench.is_right(ExtentId{i}, slots[i]));
  bench.store().release(ids_from(0, n));
  EXPECT_TRUE(bench.store().wait_until_shrunk(kSoon));
}

TEST(WeightStore, AClassThatFitsWhollyIsHeldAtOnce) {
  StoreBench bench({.share = 1.3});
  const Ids experts = bench.of_pool(Pool::kExperts);
  ASSERT_FALSE(experts.empty());
  EXPECT_FALSE(bench.store().acquire_all(0));
  bench.store().request(experts, Priority::kSpeculative);
  ASSERT_TRUE(bench.store().wait_until_read(kSoon));
  ASSERT_TRUE(bench.store().acquire_all(0));
  for (const ExtentId id : experts) {
    if (bench.store().extent(id).slot_class != 0) continue;
    EXPECT_TRUE(bench.is_right(id, bench.store().number_in_class(id)));
  }
  bench.store().release_all(0);
}

// --- everything at once ---

struct StoreChaos {
  const char* name;
  SimDiskOptions disk;
  bool repacked;
};
class RandomUse : public testing::TestWithParam<StoreChaos> {};
INSTANTIATE_TEST_SUITE_P(
    Disks, RandomUse,
    testing::Values(StoreChaos{"Sound", {}, false}, StoreChaos{"SoundRepacked", {.alignment = {512, 512}}, true},
                    StoreChaos{"SometimesFailing", {.fault_every_nth = 37, .short_every_nth = 23}, false},
                    StoreChaos{
                        "OftenFailing", {.fault_every_nth = 5, .short_every_nth = 7, .reorder_window = 3}, true}),
    [](const auto& chaos) { return chaos.param.name; });

// Whatever is held reads as the file, while sizes change and reads fail.
TEST_P(RandomUse, ReadsAsTheFileUnderAnyPressure) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  StoreSetup setup{.disk = GetParam().disk, .repacked = GetParam().repacked};
  setup.disk.seed = test_seed();
  StoreBench bench(setup);
  WeightStore& store = bench.store();
  struct Held {
    Ids ids;
    std::vector<uint32_t> slots;
  };
  std::vector<Held> held;
  int n_acquired = 0, n_failed = 0;
  const auto release = [&](size_t i) {
    store.release(held[i].ids);
    held.erase(held.begin() + static_cast<ptrdiff_t>(i));
  };
  for (int step = 0; step < 1500; ++step) {
    const auto near = static_cast<uint32_t>(random() % bench.n_extents());
    const uint32_t slot_class = store.extent(ExtentId{near}).slot_class;
    std::set<ExtentId> chosen;
    for (uint64_t n = 1 + random() % 5; n > 0; --n)
      if (const ExtentId id{static_cast<uint32_t>(near + random() % 10) % bench.n_extents()};
          store.extent(id).slot_class == slot_class)
        chosen.insert(id);
    const Ids wanted(chosen.begin(), chosen.end());
    switch (random() % 12) {
      case 0:
      case 1:
        store.request(wanted, static_cast<Priority>(random() % kPriorities));
        break;
      case 2:
        store.cancel(wanted);
        break;
      case 3:
        store.drop_interest();
        store.begin_pass();
        break;
      case 4:
        store.set_pool_bytes(bench.layout().pool_bytes * (1 + random() % 4) / 4);
        break;
      case 5:
        store.set_pass_kind(random() % 2 == 0 ? PassKind::kWhole : PassKind::kRouted);
        break;
      case 6:
      case 7:
        if (!held.empty()) release(random() % held.size());
        break;
      default: {
        const auto acquired = bench.acquire(wanted);
        if (acquired) {
          ++n_acquired;
          if (!wanted.empty()) held.push_back({wanted, bench.slots()});
        } else if (acquired.error().code() == Code::kOutOfBudget) {
          if (!held.empty()) release(0);
        } else {
          ++n_failed;
        }
      }
    }
    for (const Held& hold : held)
      for (size_t i = 0; i < hold.ids.size(); ++i) ASSERT_TRUE(bench.is_right(hold.ids[i], hold.slots[i])) << step;
  }
  while (!held.empty()) release(0);
  store.set_pool_bytes(bench.layout().pool_bytes);
  store.set_pass_kind(PassKind::kRouted);
  ASSERT_TRUE(store.wait_until_shrunk(kSoon));
  EXPECT_LE(store.pool_bytes(), bench.layout().pool_bytes);
  for (uint32_t n = 0; n < bench.n_sliced(); ++n)
    for (int tries = 0; !bench.use(ids({n})); ++tries) ASSERT_LT(tries, 1000);
  EXPECT_GT(n_acquired, 100);
  // A read fails for good when it failed several times in a row: where few fail, it may be that none does.
  const uint64_t every_nth = GetParam().disk.fault_every_nth;
  if (every_nth == 0) {
    EXPECT_EQ(n_failed, 0);
  } else if (every_nth <= 5) {
    EXPECT_GT(n_failed, 0);
  }
}

// Nothing but reads and waiting: the memory of the pool and its page tables stay as they are while it is used.
TEST(WeightStore, UsingItMapsNothingAndFaultsNowhere) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "their allocators map memory as they like";
#endif
  StoreBench bench({.share = 0.7, .n_workers = 1});
  for (int round = 0; round < 3; ++round)
    for (uint32_t n = 0; n < bench.n_sliced(); ++n) ASSERT_TRUE(bench.use(ids({n})));
  ASSERT_TRUE(bench.store().wait_until_read(kSoon));
  const std::string maps_before = read_text_file("/proc/self/maps").value();
  for (uint32_t n = 0; n < bench.n_sliced(); ++n) {
    std::vector<uint32_t> slots;
    ASSERT_TRUE(bench.store().acquire(ids({n}), false, slots));
    bench.store().release(ids({n}));
  }
  EXPECT_EQ(read_text_file("/proc/self/maps").value(), maps_before);
}

}  // namespace
}  // namespace spillway
