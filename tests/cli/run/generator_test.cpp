// SPDX-License-Identifier: MIT
#include "cli/run/generator.h"

#include <gmock/gmock.h>

#include "fake_engine.h"

namespace spillway {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<TokenId> ids(const std::string& text) { return {text.begin(), text.end()}; }

struct Fixture {
  FakeEngine engine;
  GenerationOptions options;
  std::string shown;
  bool interrupt = false;
  GenerationHooks hooks{.on_text =
                            [this](std::string_view text) {
                              shown += text;
                              return true;
                            },
                        .on_prefill = {},
                        .is_interrupted = [this] { return interrupt; }};

  Generation answer(const std::string& prompt) {
    Generator generator(engine, options);
    auto result = generator.generate(ids(prompt), hooks);
    EXPECT_TRUE(result) << result.error().message();
    return *result;
  }
};

TEST(Generator, AnAnswerEndsWithTheModelsEndToken) {
  Fixture f;
  f.engine.script = "hello|never";
  const Generation answer = f.answer("hi");
  EXPECT_EQ(answer.text, "hello");
  EXPECT_EQ(f.shown, "hello");
  EXPECT_EQ(answer.stop_reason, StopReason::kEnd);
  EXPECT_EQ(f.engine.context, "hihello");
  EXPECT_EQ(answer.measured.prompt_tokens, 2u);
  EXPECT_EQ(answer.measured.decode_tokens, 5u);
}

TEST(Generator, TheLastTokenOfALimitedAnswerIsNotComputed) {
  Fixture f;
  f.engine.script = "hello";
  f.options.max_tokens = 3;
  const Generation answer = f.answer("hi");
  EXPECT_EQ(answer.text, "hel");
  EXPECT_EQ(answer.stop_reason, StopReason::kMaxTokens);
  EXPECT_EQ(f.engine.context, "hihe");
}

TEST(Generator, NoTokensMeansThePromptAlone) {
  Fixture f;
  f.options.max_tokens = 0;
  EXPECT_TRUE(f.answer("hi").tokens.empty());
  EXPECT_EQ(f.engine.context, "hi");
}

TEST(Generator, IgnoringTheEndGoesOnBehindIt) {
  Fixture f;
  f.engine.script = "a|b";
  f.options.ignore_eos = true;
  f.options.max_tokens = 3;
  EXPECT_THAT(f.answer("hi").tokens, ElementsAre('a', FakeEngine::kEnd, 'b'));
}

TEST(Generator, AFullContextEndsTheAnswer) {
  Fixture f;
  f.engine.info.n_ctx = 5;
  f.engine.script = "abcdefgh";
  f.options.max_tokens = -1;
  const Generation answer = f.answer("hi");
  EXPECT_EQ(answer.stop_reason, StopReason::kContextFull);
  EXPECT_EQ(answer.text, "abcd");  // the last one needs no place any more
  EXPECT_EQ(f.engine.context, "hiabc");
}

TEST(Generator, APromptBeyondTheContextIsRefusedBeforeAnythingIsComputed) {
  Fixture f;
  f.engine.info.n_ctx = 5;
  Generator generator(f.engine, f.options);
  const auto result = generator.generate(ids("too long"), f.hooks);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message(), HasSubstr("the prompt has 8 tokens and the context room for 5"));
  EXPECT_TRUE(f.engine.batches.empty());
}

TEST(Generator, APromptIsComputedInBatches) {
  Fixture f;
  f.options.n_batch = 4;
  f.options.max_tokens = 0;
  std::vector<size_t> seen;
  f.hooks.on_prefill = [&](size_t done, size_t) { seen.push_back(done); };
  f.answer("0123456789");
  EXPECT_EQ(f.engine.take_batches(), "4 4 2");
  EXPECT_THAT(seen, ElementsAre(0, 4, 8, 10));
}

TEST(Generator, AStopStringIsTakenOutOfTheText) {
  Fixture f;
  f.engine.script = "one END two";
  f.options.stop = {" END"};
  const Generation answer = f.answer("hi");
  EXPECT_EQ(answer.text, "one");
  EXPECT_EQ(f.shown, "one");
  EXPECT_EQ(answer.stop_reason, StopReason::kStopString);
}

TEST(Generator, ATeacherIsFedInsteadOfWhatWouldBeChosen) {
  Fixture f;
  f.engine.script = "wrong";
  f.options.teacher = ids("abc");
  const Generation answer = f.answer("hi");
  EXPECT_EQ(answer.text, "abc");
  EXPECT_EQ(answer.stop_reason, StopReason::kTeacherEnded);
  EXPECT_EQ(f.engine.context, "hiab");
  f.engine.context.clear();
  f.options.max_tokens = 2;
  EXPECT_EQ(f.answer("hi").text, "ab");
}

TEST(Generator, ATeacherBeyondTheVocabularyIsRefused) {
  Fixture f;
  for (const TokenId id : {258, -1}) {
    f.options.teacher = std::vector<TokenId>{id};
    Generator generator(f.engine, f.options);
    const auto answer = generator.generate(ids("hi"), f.hooks);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code(), Code::kInvalidArgument);
  }
}

TEST(Generator, IdsAreTheTextWhereAskedFor) {
  Fixture f;
  f.engine.script = "ab|";
  f.options.as_ids = true;
  EXPECT_EQ(f.answer("hi").text, "97 98");
}

TEST(Generator, WarmUpTokensAreLeftOutOfTheDecodeFigures) {
  Fixture f;
  f.engine.script = "abcdefgh";
  f.options.max_tokens = 8;
  f.options.warmup_tokens = 3;
  const RunMeasurement measured = f.answer("hi").measured;
  EXPECT_EQ(measured.decode_tokens, 4u);  // 7 passes, 3 of them to warm up
  EXPECT_EQ(measured.at_decode.passes, 4u);
  EXPECT_EQ(measured.at_end.passes, 8u);
}

TEST(Generator, TheHashIsOfTheLogitsBehindEveryToken) {
  Fixture f;
  f.engine.script = "ab|";
  f.options.hash_logits = true;
  Fnv1a expected;
  for (const float context_size : {2.0f, 3.0f, 4.0f}) {
    std::vector<float> logits(258, 0.0f);
    logits[0] = context_size;
    expected.add(logits.data(), logits.size() * sizeof(float));
  }
  EXPECT_EQ(f.answer("hi").logits_hash, expected.value());
  f.options.hash_logits = false;
  f.engine.context.clear();
  EXPECT_EQ(f.answer("hi").logits_hash, std::nullopt);
}

TEST(Generator, AnInterruptEndsTheAnswerAndKeepsWhatThereIs) {
  Fixture f;
  f.engine.script = "abcdef";
  f.engine.on_decode = [&](auto) -> Result<void> {
    f.interrupt = f.engine.batches.size() == 2;
    return {};
  };
  Generator generator(f.engine, f.options);
  const auto answer = generator.generate(ids("hi"), f.hooks);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->stop_reason, StopReason::kInterrupted);
  EXPECT_EQ(answer->text, "ab");
  EXPECT_EQ(f.engine.context, "hiab");
}

TEST(Generator, APassThatWasAbortedEndsTheAnswer) {
  Fixture f;
  f.engine.script = "abcdef";
  f.engine.on_decode = [&](auto) -> Result<void> {
    if (f.engine.batches.size() == 2) return error(Code::kCancelled, "stopped");
    return {};
  };
  Generator generator(f.engine, f.options);
  const auto answer = generator.generate(ids("hi"), f.hooks);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->stop_reason, StopReason::kInterrupted);
  EXPECT_EQ(answer->text, "ab");
  EXPECT_EQ(f.engine.context, "hia");
}

TEST(Generator, WhenNobodyReadsTheAnswerEnds) {
  Fixture f;
  f.engine.script = "abc";
  f.hooks.on_text = [](std::string_view) { return false; };
  EXPECT_EQ(f.answer("hi").stop_reason, StopReason::kOutputClosed);
}

TEST(Generator, AnEncoderReadsThePromptAndADecoderStartsAnew) {
  Fixture f;
  f.engine.info.has_encoder = true;
  f.engine.script = "out|";
  const Generation answer = f.answer("in");
  EXPECT_EQ(answer.text, "out");
  EXPECT_EQ(f.engine.encoded, "in");
  EXPECT_EQ(f.engine.context, "^out");
  EXPECT_EQ(answer.measured.prompt_tokens, 2u);
}

TEST(Generator, AModelWithoutLogitsIsNamedWhatItIs) {
  Fixture f;
  f.engine.no_logits = true;
  Generator generator(f.engine, f.options);
  const auto answer = generator.generate(ids("hi"), f.hooks);
  ASSERT_FALSE(answer);
  EXPECT_THAT(answer.error().message(), HasSubstr("computes embeddings, not text"));
}

TEST(Generator, AnEmptyPromptIsRefused) {
  Fixture f;
  Generator generator(f.engine, f.options);
  EXPECT_EQ(generator.generate({}, f.hooks).error().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace spillway
