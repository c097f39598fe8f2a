// SPDX-License-Identifier: MIT
// Images through a projector: the logits behind one are those of libmtmd and libllama alone, bit for bit, with weights
// that stay and weights that stream; and what is in the context behind it is what libllama says.
//
// Three kinds of projector: of one token a patch, of images whose tokens see the later ones, and of images of any size
// whose tokens have positions in two dimensions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <llama.h>
#include <mtmd-helper.h>
#include <mtmd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "backend/llama_handles.h"
#include "base/bytes.h"
#include "engine/engine.h"
#include "engine/marked_text.h"
#include "engine/projector_writer.h"
#include "engine/webp_writer.h"
#include "model/ggml_log.h"
#include "model/gguf_model.h"
#include "model/projector_file.h"
#include "os/temp_folder.h"
#include "serving/scheduler.h"

namespace spillway {
namespace {

using testing::HasSubstr;

constexpr uint32_t kContext = 512;
constexpr const char* kBefore = "what is this? ";
constexpr const char* kBehind = " say it in words";

struct Seeing {
  const char* name;
  ProjectorShape shape;
  const char* model;  // below the tests' models
};
constexpr Seeing kLlava{"Llava", ProjectorShape::kLlava, "quantized/dense-Q8_0.gguf"};
constexpr Seeing kLlavaMoe{"LlavaMoe", ProjectorShape::kLlava, "quantized/moe-Q4_0.gguf"};
constexpr Seeing kGemma3{"Gemma3", ProjectorShape::kGemma3, "quantized/tiny-gemma3.gguf"};
constexpr Seeing kQwen2Vl{"Qwen2Vl", ProjectorShape::kQwen2Vl, "archs/qwen2vl-dense.gguf"};

std::shared_ptr<const std::string> picture(uint64_t seed = 1, uint32_t width = 200, uint32_t height = 120) {
  return std::make_shared<const std::string>(bmp_picture(width, height, seed));
}

class VisionTest : public testing::TestWithParam<Seeing> {
 protected:
  const TempFolder folder_;
  const std::string path_ = std::string(SPILLWAY_TEST_MODELS) + "/" + GetParam().model;
  const std::string projector_ = folder_.path() + "/mmproj.gguf";

  void SetUp() override {
    const auto model = open_gguf_model(path_, {.direct = false});
    ASSERT_TRUE(model) << model.error().message();
    ASSERT_TRUE(
        write_projector(projector_, {.shape = GetParam().shape, .n_embd_text = static_cast<uint32_t>(model->n_embd)}));
  }

  LoadOptions options(Mode mode) const {
    LoadOptions load;
    load.path = path_;
    load.projector_path = projector_;
    load.mode = mode;
    load.kernels = Kernels::kPlain;
    if (mode == Mode::kStream) load.weights_bytes = std::filesystem::file_size(path_) / 2;
    if (mode == Mode::kResident) load.weights_bytes = 2 * std::filesystem::file_size(path_);
    load.n_ctx = kContext;
    load.n_ubatch = 256;
    load.n_seq_max = 2;
    load.shared_context = false;
    load.extent_bytes_min = kPageBytes;
    load.n_threads = 2;
    load.measure_compute = load.keep_heat = false;
    return load;
  }
  std::unique_ptr<Engine> load(Mode mode) const {
    auto engine = Engine::load(options(mode));
    EXPECT_TRUE(engine) << (engine ? "" : engine.error().message());
    return engine ? std::move(*engine) : nullptr;
  }

  // Of a text with an image in it, by libmtmd and libllama alone.
  struct Reference {
    std::vector<float> logits;
    llama_pos n_past = 0;
    std::vector<llama_token> text_tokens;
  };
  Reference reference(const std::string& image) const {
    Reference result;
    EXPECT_TRUE(start_llama());
    mtmd_helper_log_set(on_ggml_log, nullptr);
    llama_model_params model_params = llama_model_default_params();
    model_params.use_extra_bufts = false;
    const LlamaModelPtr model(llama_model_load_from_file(path_.c_str(), model_params));
    llama_context_params context_params = llama_context_default_params();
    context_params.n_ctx = kContext;
    context_params.n_ubatch = 256;
    context_params.n_threads = context_params.n_threads_batch = 2;
    const LlamaContextPtr context(llama_init_from_model(model.get(), context_params));
    mtmd_context_params params = mtmd_context_params_default();
    params.use_gpu = params.print_timings = params.warmup = false;
    params.n_threads = 2;
    mtmd::context_ptr mtmd(mtmd_init_from_file(projector_.c_str(), model.get(), params));
    EXPECT_NE(mtmd, nullptr);
    mtmd::bitmap_ptr bitmap(mtmd_helper_bitmap_init_from_buf(mtmd.get(),
                                                             reinterpret_cast<const unsigned char*>(image.data()),
                                                             image.size(), false, mtmd_helper_init_opt_default())
                                .bitmap);
    const std::string text = kBefore + std::string(mtmd_default_marker()) + kBehind;
    const mtmd_input_text input{
        .text = text.data(), .text_len = text.size(), .add_special = true, .parse_special = true};
    const mtmd_bitmap* bitmaps[] = {bitmap.get()};
    mtmd::input_chunks_ptr chunks(mtmd_input_chunks_init());
    EXPECT_EQ(mtmd_tokenize(mtmd.get(), chunks.get(), &input, bitmaps, 1), 0);
    for (size_t c = 0; c < mtmd_input_chunks_size(chunks.get()); ++c) {
      size_t n = 0;
      const llama_token* tokens = mtmd_input_chunk_get_tokens_text(mtmd_input_chunks_get(chunks.get(), c), &n);
      if (tokens != nullptr) result.text_tokens.insert(result.text_tokens.end(), tokens, tokens + n);
    }
    EXPECT_EQ(mtmd_helper_eval_chunks(mtmd.get(), context.get(), chunks.get(), 0, 0, 2048, true, &result.n_past), 0);
    const float* logits = llama_get_logits_ith(context.get(), -1);
    EXPECT_NE(logits, nullptr);
    if (logits != nullptr)
      result.logits.assign(logits, logits + llama_vocab_n_tokens(llama_model_get_vocab(model.get())));
    return result;
  }

  struct Asked {
    std::vector<TokenId> tokens;
    PromptImages images;
  };
  static Asked ask(const Engine& engine, const std::vector<std::shared_ptr<const std::string>>& files,
                   const std::string& behind = kBehind) {
    MarkedImages images;
    std::string text = kBefore;
    for (const auto& file : files) {
      const std::string mark = new_image_mark();
      const auto added = images.add(engine, mark, file);
      EXPECT_TRUE(added) << (added ? "" : added.error().message());
      text += mark;
    }
    const auto tokens = images.tokenize(engine, text + behind, true, true);
    EXPECT_TRUE(tokens);
    return {.tokens = tokens.value_or(std::vector<TokenId>()), .images = images.images()};
  }

  static std::vector<float> logits_of(Engine& engine, const Asked& asked, int32_t seq = 0) {
    engine.cut(seq, 0);
    for (size_t at = 0; at < asked.tokens.size();) {
      if (is_image_place(asked.tokens[at])) {
        const PromptImage& image = *asked.images.at(asked.tokens[at]);
        const auto outcome = engine.decode_image(image, seq, static_cast<int32_t>(at));
        EXPECT_TRUE(outcome) << (outcome ? "" : outcome.error().message());
        if (!outcome) return {};
        at += image.n_positions;
        EXPECT_EQ(engine.held(seq).n, at);
        continue;
      }
      std::vector<BatchToken> batch;
      for (; at < asked.tokens.size() && !is_image_place(asked.tokens[at]); ++at)
        batch.push_back({.id = asked.tokens[at], .pos = static_cast<int32_t>(at), .seq = seq});
      batch.back().want_logits = at == asked.tokens.size();
      const auto outcome = engine.decode(batch);
      EXPECT_TRUE(outcome) << (outcome ? "" : outcome.error().message());
    }
    const auto logits = engine.logits(-1);
    return {logits.begin(), logits.end()};
  }

  static std::vector<TokenId> texts_of(const std::vector<TokenId>& tokens) {
    std::vector<TokenId> texts;
    for (const TokenId id : tokens)
      if (!is_image_place(id)) texts.push_back(id);
    return texts;
  }
};
INSTANTIATE_TEST_SUITE_P(Projectors, VisionTest, testing::Values(kLlava, kLlavaMoe, kGemma3, kQwen2Vl),
                         [](const auto& seeing) { return seeing.param.name; });

TEST_P(VisionTest, LogitsBehindAnImageAreThoseOfLibmtmdAlone) {
  const auto image = picture();
  const Reference expected = reference(*image);
  ASSERT_FALSE(expected.logits.empty());
  for (const Mode mode : {Mode::kResident, Mode::kStream, Mode::kMmap}) {
    SCOPED_TRACE(mode_name(mode));
    const auto engine = load(mode);
    ASSERT_NE(engine, nullptr);
    ASSERT_TRUE(engine->model().sees_images);
    const Asked asked = ask(*engine, {image});
    EXPECT_EQ(texts_of(asked.tokens), expected.text_tokens);
    EXPECT_EQ(asked.tokens.size(), static_cast<size_t>(expected.n_past));
    EXPECT_EQ(logits_of(*engine, asked, 1), expected.logits);
    EXPECT_EQ(logits_of(*engine, asked), expected.logits) << "in another sequence";
    EXPECT_EQ(engine->stats().bytes_read > 0, mode == Mode::kStream);
    const Asked other = ask(*engine, {picture(2)});
    EXPECT_NE(logits_of(*engine, other), expected.logits) << "the image makes no difference";
    EXPECT_NE(other.tokens, asked.tokens);
    EXPECT_EQ(ask(*engine, {std::make_shared<const std::string>(*image)}).tokens, asked.tokens)
        << "the same image again has another place";
    const auto webp = std::make_shared<const std::string>(webp_of(*image));
    EXPECT_EQ(logits_of(*engine, ask(*engine, {webp})), expected.logits) << "as WebP";
  }
}

TEST_P(VisionTest, ASequenceIsCutBehindItsImageAndGoesOnAsIfNothingElseHadFollowed) {
  const auto engine = load(Mode::kResident);
  ASSERT_NE(engine, nullptr);
  const auto image = picture();
  const Asked asked = ask(*engine, {image});
  const std::vector<float> expected = logits_of(*engine, asked);
  logits_of(*engine, ask(*engine, {image}, " and something else that is longer than that"));
  size_t end = asked.tokens.size();
  while (!is_image_place(asked.tokens[end - 1])) --end;
  ASSERT_EQ(engine->cut(0, end), end);
  EXPECT_EQ(engine->held(0).n, end);
  std::vector<BatchToken> rest;
  for (size_t at = end; at < asked.tokens.size(); ++at)
    rest.push_back(
        {.id = asked.tokens[at], .pos = static_cast<int32_t>(at), .want_logits = at + 1 == asked.tokens.size()});
  ASSERT_TRUE(engine->decode(rest));
  const auto logits = engine->logits(-1);
  EXPECT_EQ(std::vector<float>(logits.begin(), logits.end()), expected);
}

TEST_P(VisionTest, AnswersAreReusedBehindTheSameImageAndNeverBehindAnother) {
  const auto engine = load(Mode::kStream);
  ASSERT_NE(engine, nullptr);
  const auto scheduler = Scheduler::start(*engine, {.n_sequences = 2});
  struct Answer {
    std::string text;
    size_t cached = 0;
  };
  const auto answer = [&](const Asked& asked, bool fresh) {
    GenerateRequest request;
    request.prompt = asked.tokens;
    request.images = asked.images;
    request.sampling.temp = 0;
    request.max_tokens = 12;
    request.ignore_eos = true;
    request.fresh = fresh;
    Answer result;
    const auto ticket = scheduler->submit(request);
    EXPECT_TRUE(ticket) << (ticket ? "" : ticket.error().message());
    if (!ticket) return result;
    for (;;) {
      TicketUpdate update = (*ticket)->wait(std::chrono::seconds(60));
      result.text += update.text;
      if (!update.outcome) continue;
      EXPECT_FALSE(update.outcome->failure) << update.outcome->failure->message();
      EXPECT_TRUE(update.outcome->context.empty()) << "places of images are nobody's business";
      result.cached = update.outcome->cached_tokens;
      return result;
    }
  };
  // Long enough that its beginning is worth keeping.
  const auto one = picture(1, 400, 400), other = picture(2, 400, 400);
  const Asked first = ask(*engine, {one}), second = ask(*engine, {other}), again = ask(*engine, {one}, " in a word"),
              both = ask(*engine, {one, other}), twice = ask(*engine, {one, one});
  const std::vector<const Asked*> all = {&first, &second, &again, &both, &twice};
  std::vector<std::string> expected;
  for (const Asked* asked : all) expected.push_back(answer(*asked, true).text);
  // In an order in which each finds something of those before it in the slots.
  size_t n_cached = 0;
  for (const size_t i : {0, 2, 1, 3, 4, 0, 3, 1, 2, 4}) {
    const Answer got = answer(*all[i], false);
    EXPECT_EQ(got.text, expected[i]) << "of prompt " << i;
    EXPECT_LT(got.cached, all[i]->tokens.size());
    n_cached += got.cached;
  }
  const bool is_long = next_image(first.tokens, 0) + 64 <= first.tokens.size();
  EXPECT_TRUE(!is_long || n_cached > 0);
}

// libmtmd asks ffprobe about what is no image.
TEST_P(VisionTest, ADamagedImageStartsNoOtherProgram) {
  const std::string ran = folder_.path() + "/ran";
  for (const char* name : {"ffprobe", "ffmpeg"}) {
    const std::string program = folder_.path() + "/" + name;
    std::ofstream(program) << "#!/bin/sh\ntouch " << ran << "\n";
    std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  }
  const char* before = std::getenv("PATH");
  const std::string path = before == nullptr ? "" : before;
  ::setenv("PATH", (folder_.path() + ":" + path).c_str(), 1);
  const auto engine = Engine::load(options(Mode::kMmap));
  ASSERT_TRUE(engine) << engine.error().message();
  std::string damaged = "\x89PNG\r\n\x1a\n" + std::string(4, '\0') + "IHDR";
  damaged += std::string("\0\0\0\x09\0\0\0\x09\x08\x02\0\0\0", 13);
  const auto seen =
      (*engine)->inspect_image(std::make_shared<const std::string>(damaged + std::string(60, 'x') + "IEND"));
  ::setenv("PATH", path.c_str(), 1);
  ASSERT_FALSE(seen);
  EXPECT_THAT(seen.error().message(), HasSubstr("it is damaged"));
  EXPECT_FALSE(std::filesystem::exists(ran));
}

TEST_P(VisionTest, WhatTheProjectorTakesIsCounted) {
  LoadOptions seeing = options(Mode::kStream);
  seeing.weights_bytes = 0;
  seeing.ram_bytes = 2 * GiB;
  LoadOptions blind = seeing;
  blind.projector_path.clear();
  const auto with = Engine::load(seeing);
  ASSERT_TRUE(with) << with.error().message();
  const uint64_t seen_bytes = (*with)->memory().other_bytes;
  const auto file = open_projector_file(projector_);
  ASSERT_TRUE(file);
  const auto without = Engine::load(blind);
  ASSERT_TRUE(without);
  EXPECT_GE(seen_bytes + 8 * MiB, (*without)->memory().other_bytes + file->need_bytes());
  // And refused before it is taken.
  seeing.ram_bytes = (*without)->memory().other_bytes + file->need_bytes() / 2;
  EXPECT_FALSE(Engine::load(seeing));
  seeing.projector_is_optional = true;
  const auto optional = Engine::load(seeing);
  ASSERT_TRUE(optional) << optional.error().message();
  EXPECT_FALSE((*optional)->model().sees_images);
  EXPECT_THAT((*optional)->model().blind_why, HasSubstr("raise --ram"));
}

class WrongProjectors : public VisionTest {};
INSTANTIATE_TEST_SUITE_P(Llava, WrongProjectors, testing::Values(kLlava),
                         [](const auto& seeing) { return seeing.param.name; });

TEST_P(WrongProjectors, AreRefusedWithAReason) {
  const auto refused = [&](const ProjectorSpec& spec, const std::string& why) {
    EXPECT_TRUE(write_projector(projector_, spec));
    LoadOptions load = options(Mode::kResident);
    load.projector_path = projector_;
    const auto engine = Engine::load(load);
    ASSERT_FALSE(engine) << why;
    EXPECT_THAT(engine.error().message(), HasSubstr(why));
  };
  const auto model = open_gguf_model(path_, {.direct = false});
  ASSERT_TRUE(model);
  const auto width = static_cast<uint32_t>(model->n_embd);
  refused({.n_embd_text = width * 2}, "n_embd");
  refused({.n_embd_text = width, .leave_out = "mm.2.weight"}, "mm.2.weight");
  refused({.n_embd_text = width,
           .change_keys = [](gguf_context* gguf) { gguf_set_val_str(gguf, "clip.projector_type", "nonsense"); }},
          "nonsense");
  refused({.n_embd_text = width,
           .change_keys = [](gguf_context* gguf) { gguf_set_val_u32(gguf, "clip.vision.attention.head_count", 7); }},
          "GGML_ASSERT");
  refused({.n_embd_text = width,
           .change_keys = [](gguf_context* gguf) { gguf_set_val_u32(gguf, "clip.vision.image_size", 4096); }},
          "positions for 64 patches");
  for (const char* name : {"v.blk.0.attn_q.weight", "v.blk.1.attn_k.weight", "v.blk.1.ln2.bias", "v.blk.0.ffn_up.bias"})
    refused({.shape = ProjectorShape::kGemma3, .n_embd_text = width, .leave_out = name},
            "of its 2 blocks have a tensor");
  refused({.shape = ProjectorShape::kQwen2Vl, .n_embd_text = width, .leave_out = "v.blk.0.attn_v.bias"},
          "1 of its 2 blocks have a tensor attn_v.bias");
  refused({.shape = ProjectorShape::kQwen2Vl,
           .n_embd_text = width,
           .change_keys = [](gguf_context* gguf) { gguf_set_val_u32(gguf, "clip.vision.block_count", 0); }},
          "no blocks");
  for (const float epsilon : {-1.0f, std::numeric_limits<float>::quiet_NaN(), 1e30f})
    refused(
        {.n_embd_text = width,
         .change_keys =
             [&](gguf_context* gguf) { gguf_set_val_f32(gguf, "clip.vision.attention.layer_norm_epsilon", epsilon); }},
        "layer_norm_epsilon");
  refused({.n_embd_text = width,
           .change_keys = [](gguf_context* gguf) { gguf_set_val_bool(gguf, "clip.has_vision_encoder", false); }},
          "does not see");
  LoadOptions load = options(Mode::kResident);
  load.projector_path = path_;
  const auto engine = Engine::load(load);
  ASSERT_FALSE(engine);
  EXPECT_THAT(engine.error().message(), HasSubstr("not a projector"));
}

TEST_P(WrongProjectors, AModelWithoutOneSeesNothing) {
  LoadOptions load = options(Mode::kResident);
  load.projector_path.clear();
  const auto engine = Engine::load(load);
  ASSERT_TRUE(engine);
  EXPECT_FALSE((*engine)->model().sees_images);
  EXPECT_EQ((*engine)->inspect_image(picture()).error().code(), Code::kUnsupported);
}

TEST_P(WrongProjectors, BadImagesAreRefusedBeforeAnythingIsComputed) {
  const auto engine = load(Mode::kResident);
  ASSERT_NE(engine, nullptr);
  const auto why = [&](std::string bytes) -> std::string {
    const auto seen = engine->inspect_image(std::make_shared<const std::string>(std::move(bytes)));
    return seen ? "it was taken" : seen.error().message();
  };
  const std::string good = *picture();
  EXPECT_EQ(why(good), "it was taken");
  EXPECT_THAT(why(""), HasSubstr("empty"));
  EXPECT_THAT(why("hello"), HasSubstr("no image"));
  EXPECT_THAT(why(good.substr(0, 1000)), HasSubstr("cut off"));
  EXPECT_THAT(why("RIFF....WEBPVP8 "), HasSubstr("WebP image is cut off"));
  std::string huge = good;
  huge[20] = '\x7f';  // 8 million points wide
  EXPECT_THAT(why(huge), HasSubstr("too large"));
}

}  // namespace
}  // namespace spillway
