// SPDX-License-Identifier: MIT
// Slices of lengths that are no multiple of a block come to lie right in each of the ways that a disk leaves: at a
// shifted address, through a buffer, by the page cache. What the kernel says of the disk is said by this program, never
// more than this disk takes.
#include <gmock/gmock.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "engine/test_switches.h"
#include "engine/verify.h"
#include "layout/slot_shape.h"
#include "model/gguf_model.h"

namespace {

// What every file's disk is said to want of reads; nullopt: what it does want.
std::optional<spillway::ReadAlignment> g_said;

}  // namespace

// The program's own statx stands before the C library's.
extern "C" int statx(int folder, const char* path, int flags, unsigned mask, struct statx* out) {
  const auto rc = static_cast<int>(::syscall(SYS_statx, folder, path, flags, mask, out));
#ifdef STATX_DIOALIGN
  if (rc == 0 && g_said && (mask & STATX_DIOALIGN) != 0) {
    out->stx_mask |= STATX_DIOALIGN;
    out->stx_dio_offset_align = static_cast<uint32_t>(g_said->offset);
    out->stx_dio_mem_align = static_cast<uint32_t>(g_said->memory);
  }
#endif
  return rc;
}

namespace spillway {
namespace {

enum class Kind { kInPlace, kShifted, kStaged, kBuffered };

struct Disk {
  const char* name;
  Kind kind;
  ReadAlignment said;
};

struct OddModel {
  const char* name;
  const char* file;
  uint64_t slice_bytes;  // of each expert of a layer's first matrix
};

// gpt-oss's own length is no multiple of 512 either: few disks take it in place.
constexpr OddModel kOfSectors{"OfSectors", "quantized/tiny-gpt-oss.gguf", 34'816};
constexpr OddModel kAsGptOssHasThem{"AsGptOssHasThem", "slices-gpt-oss.gguf", 4'406'400};

struct Way {
  OddModel model;
  Disk disk;
};

class OddSlices : public testing::TestWithParam<Way> {
 protected:
  void TearDown() override { g_said.reset(); }
};
INSTANTIATE_TEST_SUITE_P(Ways, OddSlices,
                         testing::Values(Way{kOfSectors, {"InPlace", Kind::kInPlace, {512, 512}}},
                                         Way{kOfSectors, {"Shifted", Kind::kShifted, {4096, 512}}},
                                         Way{kOfSectors, {"Staged", Kind::kStaged, {4096, 4096}}},
                                         Way{kOfSectors, {"Buffered", Kind::kBuffered, {1, 1}}},
                                         Way{kAsGptOssHasThem, {"Shifted", Kind::kShifted, {512, 4}}},
                                         Way{kAsGptOssHasThem, {"Staged", Kind::kStaged, {4096, 512}}},
                                         Way{kAsGptOssHasThem, {"Buffered", Kind::kBuffered, {1, 1}}}),
                         [](const auto& way) { return std::string(way.param.model.name) + way.param.disk.name; });

Kind kind_of(const TensorInfo& experts, ReadAlignment alignment) {
  const SlotShape slot = slot_shape(experts.range, experts.slices, {}, {alignment.offset, alignment.memory});
  if (slot.part_bytes > 0) return Kind::kStaged;
  if (alignment == ReadAlignment{}) return Kind::kBuffered;
  return slot.data_offset == experts.range.offset % alignment.offset ? Kind::kInPlace : Kind::kShifted;
}

TEST_P(OddSlices, AreStreamedBitForBit) {
  const auto& [odd, disk] = GetParam();
  const std::string path = std::string(SPILLWAY_TEST_MODELS) + "/" + odd.file;
  const bool direct = disk.kind != Kind::kBuffered;
  uint64_t weight_bytes = 0;
  {
    const auto before = open_gguf_model(path, {.direct = direct});
    ASSERT_TRUE(before) << before.error().message();
    const ReadAlignment real = before->files.front()->read_alignment();
    if (direct &&
        (!before->files.front()->is_direct() || real.offset > disk.said.offset || real.memory > disk.said.memory))
      GTEST_SKIP() << "this disk wants offsets of " << real.offset << " and addresses of " << real.memory;
    if (direct) g_said = disk.said;
    const auto model = open_gguf_model(path, {.direct = direct});
    ASSERT_TRUE(model) << model.error().message();
    weight_bytes = model->weight_bytes();
    // It is what it is meant to be.
    const auto experts = std::find_if(model->tensors.begin(), model->tensors.end(), [](const TensorInfo& tensor) {
      return tensor.name == "blk.0.ffn_up_exps.weight";
    });
    ASSERT_NE(experts, model->tensors.end());
    EXPECT_EQ(experts->range.bytes / experts->slices, odd.slice_bytes);
    EXPECT_EQ(model->files.front()->read_alignment(), disk.said);
    EXPECT_EQ(kind_of(*experts, disk.said), disk.kind);
  }
  for (const IoQueueKind reader : {IoQueueKind::kBest, IoQueueKind::kThreads}) {
    const bool first = reader == IoQueueKind::kBest, long_slices = odd.slice_bytes > MiB;
    if (long_slices && !first) break;
    VerifyOptions options;
    options.path = path;
    options.weights_bytes = weight_bytes * 45 / 100;
    options.kernels = Kernels::kPlain;
    options.n_threads = 2;
    options.n_prompt = long_slices ? 8 : 24;
    options.n_decode = 6;
    options.n_seqs = 2;
    options.extent_bytes_min = kPageBytes;
    options.reader = reader;
    options.direct_io = direct;
    const auto report = verify(options);
    ASSERT_TRUE(report) << report.error().message();
    EXPECT_TRUE(report->exact) << report->first_difference;
    EXPECT_GT(report->outputs_compared, 0u);
    EXPECT_GT(report->bytes_streamed, odd.slice_bytes * 8);
    EXPECT_EQ(report->ungated, 0u);
    if (long_slices || !first) continue;
    // It can fail.
    const auto corrupted =
        verify(options, [](const LoadOptions& load) { return load_for_test(load, {.corrupt_extent = true}); });
    ASSERT_TRUE(corrupted) << corrupted.error().message();
    EXPECT_FALSE(corrupted->exact);
  }
}

}  // namespace
}  // namespace spillway
