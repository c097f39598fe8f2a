// SPDX-License-Identifier: MIT
// With the same kernels the logits are the same wherever the weights are, and those of libllama alone. With the other
// ones they are not, so that this can fail. One model has tensors that nothing uses, in the middle of its file and at
// the end, another is in several files.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "engine/adapter_writer.h"
#include "engine/engine.h"
#include "os/temp_folder.h"

namespace spillway {
namespace {

struct Way {
  Kernels kernels = Kernels::kPlain;
  Mode mode = Mode::kResident;
  unsigned percent = 0;  // of the weights, in memory
  bool by_libllama = false;
  std::vector<LoraAdapter> adapters = {};
};

// Of a prompt of 40 tokens and 12 single ones behind it.
Result<std::vector<float>> logits_of(const std::string& path, const Way& way) {
  LoadOptions options;
  options.path = path;
  options.kernels = way.kernels;
  options.mode = way.mode;
  if (way.percent > 0) {
    ASSIGN_OR_RETURN(const GgufModel model, open_gguf_model(path));
    options.weights_bytes = model.weight_bytes() * way.percent / 100;
  }
  options.extent_bytes_min = kPageBytes;
  options.n_ctx = 256;
  options.n_threads = 2;
  options.n_outputs = 40;
  options.measure_compute = options.keep_heat = false;
  options.by_libllama = way.by_libllama;
  options.adapters = way.adapters;
  ASSIGN_OR_RETURN(const auto engine, Engine::load(options));
  if (!way.by_libllama && engine->placement().kernels != way.kernels) return error(Code::kInternal, "other kernels");
  std::mt19937 random(11);
  std::vector<float> all;
  int32_t pos = 0;
  for (const int n : {40, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}) {
    std::vector<BatchToken> batch;
    for (int i = 0; i < n; ++i, ++pos)
      batch.push_back({static_cast<TokenId>(random() % static_cast<unsigned>(engine->model().n_vocab)), pos, 0, true});
    RETURN_IF_ERROR(engine->decode(batch));
    for (int32_t i = 0; i < n; ++i) {
      const auto logits = engine->logits(i);
      all.insert(all.end(), logits.begin(), logits.end());
    }
  }
  return all;
}

// Repacked forms may take more memory than the file has (AMX's tiles): with the first budget from the way's up that
// suffices.
Result<std::vector<float>> streamed_logits_of(const std::string& path, Way way) {
  for (const unsigned last = way.percent + 90;; way.percent += 15) {
    auto logits = logits_of(path, way);
    if (logits || logits.error().code() != Code::kOutOfBudget || way.percent >= last) return logits;
  }
}

std::string test_name(const testing::TestParamInfo<const char*>& one) {
  std::string name = one.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

class KernelsOf : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Models, KernelsOf,
                         testing::Values("dense-Q4_0", "dense-Q4_K_M", "moe-Q4_0", "moe-IQ4_XS", "tied-Q4_0",
                                         "tiny-glm4moe", "split-00001-of-00003"),
                         test_name);
class AdaptersOf : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Models, AdaptersOf,
                         testing::Values("dense-Q4_0", "dense-Q4_K_M", "moe-Q4_0", "moe-IQ4_XS", "tied-Q4_0"),
                         test_name);

TEST_P(KernelsOf, OneModelHasOneSetOfLogits) {
  const std::string path = std::string(SPILLWAY_TEST_MODELS) + "/quantized/" + GetParam() + ".gguf";
  const auto model = open_gguf_model(path);
  ASSERT_TRUE(model) << model.error().message();
  if (GetParam() == std::string("tiny-glm4moe")) {
    // As they are laid out: used, unused, used, unused.
    std::string uses;
    for (const TensorInfo& tensor : model->tensors)
      if (const char use = tensor.unused ? 'u' : '.'; uses.empty() || uses.back() != use) uses += use;
    ASSERT_EQ(uses, ".u.u");
  }
  std::vector<std::vector<float>> by_kernels;
  for (const Kernels kernels : {Kernels::kPlain, Kernels::kRepacked}) {
    const auto alone = logits_of(path, {.kernels = kernels, .by_libllama = true});
    ASSERT_TRUE(alone) << alone.error().message();
    ASSERT_FALSE(alone->empty());
    std::vector<Way> ways = {{.kernels = kernels},
                             {.kernels = kernels, .mode = Mode::kStream, .percent = 80},
                             {.kernels = kernels, .mode = Mode::kStream, .percent = model->n_expert > 0 ? 40u : 76u}};
    if (kernels == Kernels::kPlain) ways.push_back({.kernels = kernels, .mode = Mode::kMmap});
    for (const Way& way : ways) {
      const auto ours = streamed_logits_of(path, way);
      ASSERT_TRUE(ours) << ours.error().message() << " at " << way.percent;
      EXPECT_EQ(*ours, *alone) << kernels_name(kernels) << ", " << mode_name(way.mode) << " at " << way.percent;
    }
    by_kernels.push_back(*alone);
  }
  // Every x86-64 and ARM processor that libllama knows well has repacked kernels for this one.
  if (GetParam() == std::string("dense-Q4_0")) {
    EXPECT_NE(by_kernels[0], by_kernels[1]);
  }
}

// They round differently, so what some have computed of a prompt is not what others go on with.
TEST(KeptPrompts, AreOfUseToTheKernelsThatComputedThem) {
  const auto key_of = [](Kernels kernels, Mode mode) {
    LoadOptions options;
    options.path = std::string(SPILLWAY_TEST_MODELS) + "/quantized/dense-Q4_0.gguf";
    options.kernels = kernels;
    options.mode = mode;
    options.n_ctx = 256;
    options.n_threads = 2;
    options.measure_compute = options.keep_heat = false;
    const auto engine = Engine::load(options);
    EXPECT_TRUE(engine) << (engine ? "" : engine.error().message());
    return engine ? (*engine)->model().state_key : "";
  };
  const std::string plain = key_of(Kernels::kPlain, Mode::kResident);
  EXPECT_EQ(plain, key_of(Kernels::kPlain, Mode::kMmap));
  EXPECT_NE(plain, key_of(Kernels::kRepacked, Mode::kResident));
}

// As a file system or a download that knows capitals alone has them.
TEST(SplitModel, IsFoundAndLoadedWhereItsPartsAreCalledInCapitals) {
  const std::string of = std::string(SPILLWAY_TEST_MODELS) + "/quantized/split-";
  const TempFolder folder;
  for (const std::string part : {"00001", "00002", "00003"})
    std::filesystem::create_symlink(of + part + "-of-00003.gguf", folder.at("SPLIT-" + part + "-OF-00003.GGUF"));
  const auto model = open_gguf_model(folder.at("SPLIT-00001-OF-00003.GGUF"));
  ASSERT_TRUE(model) << model.error().message();
  EXPECT_EQ(model->files.size(), 3u);
  for (const Mode mode : {Mode::kResident, Mode::kStream}) {
    const Way way{.kernels = Kernels::kPlain, .mode = mode, .percent = mode == Mode::kStream ? 80u : 0u};
    const auto capitals = streamed_logits_of(folder.at("SPLIT-00001-OF-00003.GGUF"), way);
    ASSERT_TRUE(capitals) << capitals.error().message();
    EXPECT_EQ(*capitals, streamed_logits_of(of + "00001-of-00003.gguf", way).value());
  }
}

TEST_P(AdaptersOf, AddTheSameWhereverTheWeightsAre) {
  const std::string path = std::string(SPILLWAY_TEST_MODELS) + "/quantized/" + GetParam() + ".gguf";
  const TempFolder folder;
  std::vector<LoraAdapter> adapters = {{.path = folder.at("a.gguf"), .scale = 0.5f},
                                       {.path = folder.at("b.gguf"), .scale = -2}};
  {
    const auto model = open_gguf_model(path);
    ASSERT_TRUE(model) << model.error().message();
    ASSERT_TRUE(write_adapter(*model, adapters[0].path, {.rank = 8, .seed = 5}));
    // Of one matrix alone.
    const auto is_last = [](const TensorInfo& tensor) { return tensor.name == "blk.1.attn_output.weight"; };
    ASSERT_TRUE(write_adapter(*model, adapters[1].path, {.rank = 3, .seed = 6, .changes = is_last}));
  }
  for (const Kernels kernels : {Kernels::kPlain, Kernels::kRepacked}) {
    const auto alone = logits_of(path, {.kernels = kernels, .by_libllama = true, .adapters = adapters});
    ASSERT_TRUE(alone) << alone.error().message();
    for (const unsigned percent : {0u, 80u}) {
      const Mode mode = percent == 0 ? Mode::kResident : Mode::kStream;
      const auto ours =
          streamed_logits_of(path, {.kernels = kernels, .mode = mode, .percent = percent, .adapters = adapters});
      ASSERT_TRUE(ours) << ours.error().message() << " at " << percent;
      EXPECT_EQ(*ours, *alone) << kernels_name(kernels) << " at " << percent;
    }
    for (const auto& fewer : {std::vector<LoraAdapter>{}, {adapters[0]}, {adapters[1]}}) {
      const auto others = logits_of(path, {.kernels = kernels, .adapters = fewer});
      ASSERT_TRUE(others) << others.error().message();
      EXPECT_NE(*others, *alone) << "with " << fewer.size();
    }
  }
}

}  // namespace
}  // namespace spillway
