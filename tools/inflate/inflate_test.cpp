// SPDX-License-Identifier: MIT
// The promise of spillway-inflate, on the model that the repository holds: the large model says what the small one
// says.
#include <ggml-backend.h>
#include <gguf.h>
#include <gmock/gmock.h>
#include <llama.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "inflate/exact_encoding.h"
#include "inflate/growth.h"
#include "inflate/inflate.h"
#include "inflate/small_model.h"

namespace spillway::inflate {
namespace {

using testing::HasSubstr;
using testing::Le;

constexpr int kTokens = 48;

const std::vector<std::string> kQuestions = {
    "What does Oda do?",
    "Who is older, Lars or Mira?",
    "Tell me a story about the owl at the lake in the snow.",
    "I have a red boat and a blue hat. What colour is my boat?",
    "What is 7 plus 5?",
    "where is the old tower",
};

struct Free {
  void operator()(llama_model* model) const { llama_model_free(model); }
  void operator()(llama_context* context) const { llama_free(context); }
};

// Plain libllama on the processor. Fails the test when the model cannot be loaded.
class Speaker {
 public:
  explicit Speaker(const std::string& path) {
    static const bool is_loaded = [] {
      const std::string folder = SPILLWAY_BACKENDS_DIR;
      folder.empty() ? ggml_backend_load_all() : ggml_backend_load_all_from_path(folder.c_str());
      llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
      return true;
    }();
    (void)is_loaded;
    llama_model_params model_params = llama_model_default_params();
    model_params.n_gpu_layers = 0;
    model_.reset(llama_model_load_from_file(path.c_str(), model_params));
    if (!model_) throw std::runtime_error("libllama cannot load " + path);
    llama_context_params params = llama_context_default_params();
    params.n_ctx = 512;
    params.n_threads = params.n_threads_batch = 1;
    context_.reset(llama_init_from_model(model_.get(), params));
    if (!context_) throw std::runtime_error("libllama cannot use " + path);
  }

  // Greedy, as a chat. `logits` gets those of every step.
  std::string answer(const std::string& question, std::vector<float>* logits = nullptr) {
    llama_memory_clear(llama_get_memory(context_.get()), true);
    const llama_vocab* vocab = llama_model_get_vocab(model_.get());
    const std::string prompt = "<|user|>" + question + "<|end|><|assistant|>";
    std::vector<llama_token> tokens(prompt.size() + 8);
    const int count = llama_tokenize(vocab, prompt.c_str(), static_cast<int>(prompt.size()), tokens.data(),
                                     static_cast<int>(tokens.size()), true, true);
    tokens.resize(static_cast<size_t>(count));
    std::string text;
    for (int step = 0; step < kTokens; ++step) {
      if (llama_decode(context_.get(), llama_batch_get_one(tokens.data(), static_cast<int>(tokens.size()))) != 0) break;
      const float* last = llama_get_logits_ith(context_.get(), -1);
      const auto vocab_size = static_cast<size_t>(llama_vocab_n_tokens(vocab));
      if (logits) logits->insert(logits->end(), last, last + vocab_size);
      const auto token = static_cast<llama_token>(std::max_element(last, last + vocab_size) - last);
      if (llama_vocab_is_eog(vocab, token)) break;
      char piece[64];
      text.append(piece, static_cast<size_t>(llama_token_to_piece(vocab, token, piece, sizeof piece, 0, true)));
      tokens = {token};
    }
    return text;
  }

  std::vector<std::string> answers() {
    std::vector<std::string> all;
    for (const std::string& question : kQuestions) all.push_back(answer(question));
    return all;
  }

 private:
  std::unique_ptr<llama_model, Free> model_;
  std::unique_ptr<llama_context, Free> context_;
};

struct Case {
  std::string size;
  Request request;
  const char* type = "";
};

class InflateTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    small_ = new SmallModel(*SmallModel::read(SPILLWAY_DEMO_MODEL));
    said_ = new std::vector<std::string>(Speaker(SPILLWAY_DEMO_MODEL).answers());
  }
  static void TearDownTestSuite() {
    delete small_;
    delete said_;
  }

  void TearDown() override { std::filesystem::remove(path_); }

  // Writes the large model to path_ and returns its shape.
  Growth inflate(const std::string& size, Request request = {}, const char* type = "") {
    request.bytes = *parse_bytes(size);
    if (*type) request.type = parse_exact_type(type);
    const auto growth = plan_growth(*small_, request);
    if (!growth) throw std::runtime_error(growth.error());
    const auto written = write_inflated(*small_, *growth, request.seed, {path_, {}, {}});
    if (!written) throw std::runtime_error(written.error());
    EXPECT_EQ(std::filesystem::file_size(path_), written->bytes);
    EXPECT_THAT(written->bytes, Le(request.bytes));
    return *growth;
  }

  std::string error_of(const std::string& size, Request request = {}) {
    request.bytes = *parse_bytes(size);
    const auto growth = plan_growth(*small_, request);
    return growth ? "" : growth.error();
  }

  // Exchanges two ranges of a tensor's bytes in the file.
  void exchange(const std::string& tensor, uint64_t first, uint64_t second, uint64_t bytes) {
    gguf_context* gguf = gguf_init_from_file(path_.c_str(), {true, nullptr});
    const auto base = gguf_get_data_offset(gguf) + gguf_get_tensor_offset(gguf, gguf_find_tensor(gguf, tensor.c_str()));
    gguf_free(gguf);
    std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
    std::string a(bytes, 0), b(bytes, 0);
    const auto read = [&](uint64_t at, std::string& to) {
      file.seekg(static_cast<std::streamoff>(base + at));
      file.read(to.data(), static_cast<std::streamsize>(bytes));
    };
    const auto write = [&](uint64_t at, const std::string& from) {
      file.seekp(static_cast<std::streamoff>(base + at));
      file.write(from.data(), static_cast<std::streamsize>(bytes));
    };
    read(first, a);
    read(second, b);
    write(first, b);
    write(second, a);
  }

  // How many of the answers are still the small model's.
  size_t answers_kept() {
    const std::vector<std::string> now = Speaker(path_).answers();
    size_t kept = 0;
    for (size_t i = 0; i < now.size(); ++i) kept += now[i] == (*said_)[i] ? 1 : 0;
    return kept;
  }

  static inline const SmallModel* small_ = nullptr;
  static inline const std::vector<std::string>* said_ = nullptr;
  const std::string path_ = testing::TempDir() + "inflated-" + std::to_string(getpid()) + ".gguf";
};

TEST_F(InflateTest, TheLargeModelSaysWhatTheSmallOneSays) {
  const std::vector<Case> cases = {
      {"16MiB", {}},
      {"60MiB", {.layers = 4}},
      {"80MiB", {.embd = 1024}, "q4_K"},
      {"24MiB", {}, "q8_0"},
      {"24MiB", {}, "q5_0"},
      {"24MiB", {}, "q5_K"},
      {"24MiB", {}, "q6_K"},
      {"24MiB", {}, "bf16"},
      {"40MiB", {}, "f16"},
      {"60MiB", {.experts = 16}, "q4_K"},
      {"130MiB", {.experts = 64}},
      {"40MiB", {.experts_used = 4}, "q4_1"},
      {"70MiB", {.experts = 32, .experts_used = 8}, "q5_1"},
      {"100MiB", {.experts = 32, .experts_used = 4}, "q4_K"},
      {"40MiB", {.is_dense = true}},
      {"40MiB", {.is_dense = true}, "q6_K"},
  };
  for (const Case& each : cases) {
    const Growth growth = inflate(each.size, each.request, each.type);
    const std::string what = each.size + " " + ggml_type_name(growth.type) + " " + std::to_string(growth.experts) +
                             "/" + std::to_string(growth.experts_used) + (each.request.is_dense ? " dense" : "");
    EXPECT_EQ(Speaker(path_).answers(), *said_) << what;
  }
}

TEST_F(InflateTest, LogitsAreEqualBitForBitWhereOnlyUnitsWidthAndLayersAreAdded) {
  for (const int64_t embd : {256, 1024, 4096}) {
    inflate("90MiB", {.embd = embd});
    std::vector<float> expected, got;
    Speaker(SPILLWAY_DEMO_MODEL).answer(kQuestions[2], &expected);
    Speaker(path_).answer(kQuestions[2], &got);
    EXPECT_TRUE(expected == got) << "width " << embd;
  }
}

TEST_F(InflateTest, ExpertsThatAreMixedUpBreakTheText) {
  const Growth growth = inflate("130MiB", {.experts = 64});
  const int64_t layer = 0;  // the first one is the small model's
  ASSERT_EQ(growth.layer_sources(small_->layers)[layer], 0);
  const uint64_t slice = ggml_row_size(growth.type, growth.embd) * static_cast<uint64_t>(growth.ff);
  for (uint64_t expert = 0; expert + 1 < 64; expert += 2)
    exchange("blk.0.ffn_down_exps.weight", expert * slice, (expert + 1) * slice, slice);
  EXPECT_THAT(answers_kept(), Le(1u));
}

TEST_F(InflateTest, HalvesThatAreMixedUpBreakTheText) {
  const Growth growth = inflate("60MiB", {.layers = 4});
  const uint64_t slice = ggml_row_size(growth.type, growth.embd) * static_cast<uint64_t>(growth.ff);
  for (uint64_t expert = 0; expert < 8; ++expert)
    exchange("blk.0.ffn_up_exps.weight", expert * slice, expert * slice + slice / 2, slice / 2);
  EXPECT_THAT(answers_kept(), Le(1u));
}

TEST_F(InflateTest, CopiesOfAnExpertKeepTheirUnitsInPlacesOfTheirOwn) {
  const Growth growth = inflate("220MiB", {.experts = 16, .layers = 4});
  ASSERT_EQ(growth.copies, 2);
  const uint64_t slice = ggml_row_size(growth.type, growth.embd) * static_cast<uint64_t>(growth.ff);
  std::ifstream file(path_, std::ios::binary);
  gguf_context* gguf = gguf_init_from_file(path_.c_str(), {true, nullptr});
  std::vector<std::string> experts(16, std::string(slice, 0));
  file.seekg(static_cast<std::streamoff>(
      gguf_get_data_offset(gguf) + gguf_get_tensor_offset(gguf, gguf_find_tensor(gguf, "blk.1.ffn_up_exps.weight"))));
  for (std::string& expert : experts) file.read(expert.data(), static_cast<std::streamsize>(slice));
  gguf_free(gguf);
  std::sort(experts.begin(), experts.end());
  EXPECT_EQ(std::unique(experts.begin(), experts.end()), experts.end());
}

TEST_F(InflateTest, TheSameOptionsAndSeedGiveTheSameBytes) {
  const auto bytes_of = [&](uint64_t seed) {
    inflate("16MiB", {.seed = seed});
    std::ifstream file(path_, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string first = bytes_of(1);
  EXPECT_TRUE(first == bytes_of(1));
  EXPECT_FALSE(first == bytes_of(2));
}

TEST_F(InflateTest, SizesAreReachedWithinAFewPercent) {
  for (const char* size : {"16MiB", "100MiB", "1GiB", "6GiB", "37GiB", "200GiB"}) {
    for (const Request& shape :
         {Request{}, Request{.experts = 64}, Request{.experts = 64, .experts_used = 8}, Request{.is_dense = true}}) {
      Request request = shape;
      request.bytes = *parse_bytes(size);
      const auto growth = plan_growth(*small_, request);
      if (!growth) {
        EXPECT_THAT(growth.error(), HasSubstr("too small"));
        continue;
      }
      const uint64_t bytes = describe(*small_, *growth).bytes;
      EXPECT_THAT(bytes, Le(request.bytes));
      EXPECT_GT(static_cast<double>(bytes),
                (request.bytes > (uint64_t{1} << 30) ? 0.95 : 0.75) * static_cast<double>(request.bytes))
          << size << " " << growth->experts << "/" << growth->experts_used;
    }
  }
}

TEST_F(InflateTest, WhatCannotBeIsRefusedInOneSentence) {
  EXPECT_THAT(error_of("1MiB"), HasSubstr("too small"));
  EXPECT_THAT(error_of("1GiB", {.experts = 12}), HasSubstr("multiple of 8"));
  EXPECT_THAT(error_of("1GiB", {.experts_used = 3}), HasSubstr("power of two"));
  EXPECT_THAT(error_of("1GiB", {.experts_used = 16}), HasSubstr("parts of at least 32"));
  EXPECT_THAT(error_of("1GiB", {.layers = 1}), HasSubstr("must be 4 to"));
  EXPECT_THAT(error_of("1GiB", {.embd = 512}), HasSubstr("times 1, 4, 16 or 64"));
  EXPECT_THAT(error_of("1GiB", {.experts = 64, .embd = 256}), HasSubstr("too narrow"));
}

TEST_F(InflateTest, AFormatThatWouldRoundIsRefusedAndThoseThatDoNotAreNamed) {
  SmallModel model = *SmallModel::read(SPILLWAY_DEMO_MODEL);
  SmallTensor& down = model.tensors.at("blk.0.ffn_down_exps.weight");
  std::vector<float> numbers(static_cast<size_t>(down.columns * down.rows * down.experts), 0.1f);
  numbers[1] = 0.2345f;
  down.type = GGML_TYPE_F32;
  down.bytes.resize(numbers.size() * 4);
  std::memcpy(down.bytes.data(), numbers.data(), down.bytes.size());
  const auto growth = plan_growth(model, {.bytes = 1 << 30, .type = GGML_TYPE_Q8_0});
  ASSERT_FALSE(growth);
  EXPECT_THAT(growth.error(), HasSubstr("--type q8_0: cannot hold this model's numbers without rounding; f32 can"));
}

TEST_F(InflateTest, NothingIsLeftOfAFileThatCouldNotBeWritten) {
  const auto growth = plan_growth(*small_, {.bytes = 16 << 20});
  int asked = 0;
  const auto cancelled = write_inflated(*small_, *growth, 1, {path_, {}, [&] { return ++asked > 5; }});
  EXPECT_FALSE(cancelled);
  EXPECT_FALSE(std::filesystem::exists(path_));
  EXPECT_FALSE(std::filesystem::exists(path_ + ".partial"));
  const auto nowhere = write_inflated(*small_, *growth, 1, {"/no/such/folder/big.gguf", {}, {}});
  EXPECT_FALSE(nowhere);
  Request huge{.bytes = uint64_t{100} << 40, .layers = 512, .embd = 16384};
  if (const auto much = plan_growth(*small_, huge)) {
    const auto full = write_inflated(*small_, *much, 1, {path_, {}, {}});
    ASSERT_FALSE(full);
    EXPECT_THAT(full.error(), HasSubstr("the disk has"));
    EXPECT_FALSE(std::filesystem::exists(path_ + ".partial"));
  }
}

TEST_F(InflateTest, WhatIsNoSmallModelIsRefused) {
  EXPECT_THAT(SmallModel::read("/no/such/file.gguf").error(), HasSubstr("/no/such/file.gguf"));
  std::ofstream(path_) << "this is no model at all, and long enough to have had a header";
  EXPECT_THAT(SmallModel::read(path_).error(), HasSubstr(path_));
  // A whole model of another architecture.
  inflate("16MiB");
  std::ifstream file(path_, std::ios::binary);
  std::string bytes(std::istreambuf_iterator<char>(file), {});
  const size_t name = bytes.find("llama", bytes.find("general.architecture"));
  ASSERT_NE(name, std::string::npos);
  bytes.replace(name, 5, "rwkv7");
  std::ofstream(path_, std::ios::binary) << bytes;
  const auto other = SmallModel::read(path_);
  ASSERT_FALSE(other);
  EXPECT_THAT(other.error(), HasSubstr("'rwkv7' cannot be inflated"));
}

}  // namespace
}  // namespace spillway::inflate
