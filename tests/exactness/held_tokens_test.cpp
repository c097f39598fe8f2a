// SPDX-License-Identifier: MIT
// What a sequence is said to hold, it holds: cut, taken back to a checkpoint, saved and restored, what is computed
// behind it is what a sequence computes that did nothing else. On an example of every kind of memory that libllama has,
// and with SPILLWAY_ALL_ARCHS in the environment on all architectures.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "os/temp_folder.h"

namespace spillway {
namespace {

constexpr size_t kPart = 32;
// Windowed layers have 256 cells at least, and only beyond those is anything lost.
constexpr uint32_t kContext = 256, kContextWindowed = 768;
// Weights and sums are in 32 bits. A restored window lies in another order, and is summed in that.
constexpr double kRoundingMax = 1e-5;

using Tokens = std::vector<TokenId>;

class HeldSequence {
 public:
  explicit HeldSequence(const std::string& path, const CacheFormat& cache = {}) {
    LoadOptions options;
    options.path = path;
    options.mode = Mode::kResident;
    options.n_ctx = kContextWindowed;
    options.n_ubatch = kPart;
    options.n_seq_max = 2;
    options.cache = cache;
    options.n_threads = 1;  // several would wait for each other where the machine is busy
    options.kernels = Kernels::kPlain;
    options.shared_context = options.measure_compute = options.keep_heat = false;
    auto engine = Engine::load(options);
    if (!engine) {
      why_ = engine.error().message();
      return;
    }
    engine_ = std::move(*engine);
    const ModelInfo& model = engine_->model();
    makes_text_ = model.has_decoder && !model.has_encoder;
    // Position embeddings of some end with what they were trained for.
    n_ = (model.window > 0 ? kContextWindowed : kContext) - 2 * kPart;
    std::mt19937 random(7);
    for (uint32_t i = 0; i < kContextWindowed; ++i) {
      first_.push_back(static_cast<TokenId>(random() % static_cast<uint32_t>(model.n_vocab)));
      other_.push_back(static_cast<TokenId>(random() % static_cast<uint32_t>(model.n_vocab)));
    }
  }

  const std::string& why() const { return why_; }
  bool makes_text() const { return engine_ != nullptr && makes_text_; }

  void check() {
    const ModelInfo& model = engine_->model();
    const size_t half = n_ / 2 / kPart * kPart;
    // 1. Computed as it is, with a checkpoint on the way.
    compute(0, first_, 0, half);
    const std::string checkpoint = engine_->save_state(0, StatePart::kCheckpoint);
    compute(0, first_, half, n_);
    EXPECT_EQ(engine_->held(0).n, n_);
    const std::string whole = engine_->save_state(0, StatePart::kWhole);
    const TempFolder folder;
    ASSERT_TRUE(engine_->save_state_file(0, folder.path() + "/kv", std::span(first_).first(n_)));

    // 2. Cut where it says that it can be: bit for bit. Elsewhere it is empty, and not a little wrong.
    for (const size_t wanted : {n_ - kPart, half, kPart}) {
      refill();
      const size_t n = engine_->cut(0, wanted);
      EXPECT_TRUE(n == wanted || n == 0);
      EXPECT_EQ(engine_->held(0).n, n);
      if (model.window == 0 && !model.is_recurrent) {
        EXPECT_EQ(n, wanted);
      }
      n_cut_ += n > 0;
      if (n > 0) expect_continues(n, 0, "cut");
    }

    // 3. Back to the checkpoint; and the same where the rest was restored.
    if (model.needs_checkpoints) {
      refill();
      ASSERT_TRUE(engine_->restore_state(0, checkpoint, StatePart::kCheckpoint, half));
      expect_continues(half, kRoundingMax, "checkpoint");
      ASSERT_TRUE(engine_->restore_state(0, whole, StatePart::kWhole, n_));
      ASSERT_TRUE(engine_->restore_state(0, checkpoint, StatePart::kCheckpoint, half));
      expect_continues(half, kRoundingMax, "checkpoint behind a restored state");
    }

    // 4. Restored, from memory and from a file, into a sequence that held something else.
    compute_anew(0, other_, n_);
    ASSERT_TRUE(engine_->restore_state(0, whole, StatePart::kWhole, n_));
    const HeldTokens said = HeldTokens::restored(n_, model.window, model.is_recurrent);
    EXPECT_EQ(engine_->held(0).cut_to(half), said.cut_to(half));
    expect_continues(n_, model.window > 0 ? kRoundingMax : 0, "restored");
    compute_anew(0, other_, n_);
    ASSERT_TRUE(engine_->restore_state_file(0, folder.path() + "/kv", n_));
    expect_continues(n_, model.window > 0 ? kRoundingMax : 0, "restored from a file");

    // 5. What does not fit leaves nothing.
    EXPECT_FALSE(engine_->restore_state(0, std::string_view(whole).substr(0, whole.size() / 2), StatePart::kWhole, n_));
    EXPECT_EQ(engine_->held(0).n, 0u);
  }

 private:
  void compute(int32_t seq, const Tokens& tokens, size_t from, size_t to) {
    for (size_t at = from; at < to; at += kPart) {
      std::vector<BatchToken> batch;
      for (size_t i = at; i < std::min(at + kPart, to); ++i)
        batch.push_back({tokens[i], static_cast<int32_t>(i), seq, i + 1 == to});
      const auto computed = engine_->decode(batch);
      ASSERT_TRUE(computed) << computed.error().message();
    }
  }
  void compute_anew(int32_t seq, const Tokens& tokens, size_t n) {
    engine_->cut(seq, 0);
    compute(seq, tokens, 0, n);
  }
  void refill() { compute_anew(0, first_, n_); }
  std::vector<float> logits() {
    const std::span<const float> now = engine_->logits(-1);
    return {now.begin(), now.end()};
  }
  // Behind the first `n` tokens in sequence 0, other ones.
  void expect_continues(size_t n, double rounding, const char* what) {
    Tokens tokens(first_.begin(), first_.begin() + static_cast<std::ptrdiff_t>(n));
    tokens.insert(tokens.end(), other_.begin(), other_.begin() + kPart);
    compute(0, tokens, n, n + kPart);
    const std::vector<float> got = logits();
    compute_anew(1, first_, n);
    compute(1, tokens, n, n + kPart);
    const std::vector<float> right = logits();
    ASSERT_EQ(got.size(), right.size());
    double largest = 0, difference = 0;
    for (size_t i = 0; i < right.size(); ++i) {
      largest = std::max(largest, std::abs(static_cast<double>(right[i])));
      difference = std::max(difference, std::abs(static_cast<double>(got[i]) - static_cast<double>(right[i])));
    }
    EXPECT_LE(difference, rounding * largest) << what << " at " << n;
  }

  std::unique_ptr<Engine> engine_;
  std::string why_;
  bool makes_text_ = false;
  size_t n_ = 0, n_cut_ = 0;
  Tokens first_, other_;
};

std::vector<std::string> models() {
  const std::string archs = std::string(SPILLWAY_TEST_MODELS) + "/archs/";
  std::vector<std::string> paths;
  if (std::getenv("SPILLWAY_ALL_ARCHS") != nullptr) {
    for (const auto& entry : std::filesystem::directory_iterator(archs))
      if (entry.path().extension() == ".gguf") paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    return paths;
  }
  for (const char* name : {"llama-dense", "gemma3-dense", "gpt-oss-moe", "llama4-moe", "cohere2-dense", "mamba-dense",
                           "mamba2-dense", "jamba-dense", "falcon-h1-dense", "qwen3next-moe", "kimi-linear-moe",
                           "lfm2-dense", "deepseek2-moe", "deepseek32-moe", "minimax-01-moe", "plamo3-dense"})
    paths.push_back(archs + name + ".gguf");
  return paths;
}

TEST(HeldSequence, HoldsWhatItSays) {
  if (!std::filesystem::exists(std::string(SPILLWAY_TEST_MODELS) + "/archs")) GTEST_SKIP() << "no llama.cpp-tests";
  int n_checked = 0;
  for (const std::string& path : models()) {
    SCOPED_TRACE(path);
    if (!std::filesystem::exists(path)) continue;  // of another libllama
    HeldSequence sequence(path);
    if (!sequence.makes_text()) {
      EXPECT_EQ(sequence.why(), "");
      continue;
    }
    sequence.check();
    ++n_checked;
  }
  EXPECT_GE(n_checked, 12);
}

TEST(HeldSequence, HoldsWhatItSaysInOtherFormats) {
  const std::string archs = std::string(SPILLWAY_TEST_MODELS) + "/archs/";
  if (!std::filesystem::exists(archs)) GTEST_SKIP() << "no llama.cpp-tests";
  const CacheFormat mixed{.type_k = "q8_0", .type_v = "q4_0"}, alike{.type_k = "q8_0", .type_v = "q8_0"},
      unfused{.type_k = "q5_1", .type_v = "bf16", .flash = FlashAttention::kOff};
  for (const auto& [name, cache] :
       {std::pair{"gemma3-dense", mixed}, std::pair{"deepseek2-moe", alike}, std::pair{"jamba-dense", unfused}}) {
    SCOPED_TRACE(name);
    HeldSequence sequence(archs + name + ".gguf", cache);
    ASSERT_TRUE(sequence.makes_text()) << sequence.why();
    sequence.check();
  }
}

}  // namespace
}  // namespace spillway
