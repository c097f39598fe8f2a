// SPDX-License-Identifier: MIT
#include "grammar/token_grammar.h"

#include <gmock/gmock.h>

#include <random>

#include "grammar/grammar_text.h"

namespace spillway {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class TokenGrammarTest : public testing::Test {
 protected:
  void use(std::string_view grammar, std::vector<std::string> texts, const TokenGrammar::Limits& limits = {}) {
    texts_ = std::make_shared<const TokenTexts>(std::move(texts));
    tokens_.emplace(grammar_of(grammar), texts_, limits);
  }
  std::vector<std::string> admitted() {
    const auto mask = tokens_->admitted();
    EXPECT_TRUE(mask) << mask.error().message();
    std::vector<std::string> texts;
    for (size_t id = 0; mask && id < texts_->size(); ++id) {
      EXPECT_EQ(*tokens_->admits(static_cast<int32_t>(id)), (**mask)[id]) << id;
      if ((**mask)[id]) texts.push_back(texts_->text(static_cast<int32_t>(id)));
    }
    return texts;
  }
  void go(std::string_view text) {
    for (size_t id = 0; id < texts_->size(); ++id)
      if (texts_->text(static_cast<int32_t>(id)) == text) {
        const auto accepted = tokens_->accept(static_cast<int32_t>(id));
        ASSERT_TRUE(accepted) << accepted.error().message();
        return;
      }
    FAIL() << "no token " << text;
  }

  std::shared_ptr<const TokenTexts> texts_;
  std::optional<TokenGrammar> tokens_;
};

TEST_F(TokenGrammarTest, TokensThatStayWithinTheGrammarAreAdmitted) {
  use(R"(root ::= "[" [0-9]+ ("," [0-9]+)* "]")", {"", "[", "[1", "]", "12", "1,2", ",]", "],", "1]", "a", "[[", "["});
  EXPECT_THAT(admitted(), ElementsAre("[", "[1", "["));
  go("[1");
  EXPECT_THAT(admitted(), ElementsAre("]", "12", "1,2", "1]"));
  EXPECT_FALSE(*tokens_->may_end());
  go("1,2");
  go("]");
  EXPECT_THAT(admitted(), IsEmpty());
  EXPECT_TRUE(*tokens_->may_end());
}

TEST_F(TokenGrammarTest, ATokenThatIsNotAdmittedIsRefused) {
  use(R"(root ::= "a")", {"a", "b", ""});
  for (const int32_t id : {1, 2, 3, -1}) {
    EXPECT_FALSE(*tokens_->admits(id));
    EXPECT_EQ(tokens_->accept(id).error().code(), Code::kInvalidArgument);
  }
  EXPECT_TRUE(tokens_->accept(0)) << "and nothing is lost";
}

TEST_F(TokenGrammarTest, CharactersMayBeSpreadOverTokens) {
  const std::vector<std::string> texts = {"\xc3",     "\xa9",     "\xa8", "\xe2\x82", "\xac", "x\xc3", "\xa9x", "\xf0",
                                          "\x9f\x98", "\x80\x80", "x",    "\xe2",     "\xff", "\xc0",  "\xed",  "\xa0"};
  use(R"(root ::= "é" [x€]+)", texts);
  EXPECT_THAT(admitted(), ElementsAre("\xc3"));
  go("\xc3");
  EXPECT_FALSE(*tokens_->may_end());
  EXPECT_THAT(admitted(), ElementsAre("\xa9", "\xa9x"));
  go("\xa9x");
  EXPECT_THAT(admitted(), ElementsAre("\xe2\x82", "x", "\xe2"));
  go("\xe2\x82");
  EXPECT_FALSE(*tokens_->may_end());
  EXPECT_THAT(admitted(), ElementsAre("\xac"));
  go("\xac");
  EXPECT_TRUE(*tokens_->may_end());

  use(R"(root ::= .+)", texts);
  EXPECT_THAT(admitted(), ElementsAre("\xc3", "\xe2\x82", "x\xc3", "\xf0", "x", "\xe2", "\xed"))
      << "what is no beginning of UTF-8 is not there";
  go("\xed");
  EXPECT_THAT(admitted(), ElementsAre("\x9f\x98", "\x80\x80")) << "and not a0: no surrogates";
}

TEST_F(TokenGrammarTest, TokensAsSuch) {
  use(R"(root ::= <[1]> (!<[2]>)? "a")", {"a", "", "b", "ab"});
  EXPECT_THAT(admitted(), ElementsAre(""));
  ASSERT_TRUE(tokens_->accept(1));
  EXPECT_THAT(admitted(), ElementsAre("a", "", "ab"));
  go("ab");
  EXPECT_THAT(admitted(), ElementsAre("a"));
}

TEST_F(TokenGrammarTest, AgreesWithTryingEveryTokenAlone) {
  std::mt19937 random(5);
  std::vector<std::string> texts;
  for (int i = 0; i < 2000; ++i) {
    std::string text;
    for (size_t n = 1 + random() % 6; n > 0; --n) text += "{}[]\",:ab1 \xc3\xa9"[random() % 13];
    texts.push_back(text);
  }
  const char* const kJson =
      "root ::= value\nvalue ::= object | array | string | [0-9]+\nobject ::= \"{\" (pair (\",\" pair)*)? \"}\"\n"
      "pair ::= string \":\" value\narray ::= \"[\" (value (\",\" value)*)? \"]\"\nstring ::= \"\\\"\" [^\"]* \"\\\"\"";
  use(kJson, texts);
  for (int step = 0; step < 200; ++step) {
    const auto mask = tokens_->admitted();
    ASSERT_TRUE(mask);
    std::vector<int32_t> choices;
    for (size_t id = 0; id < texts.size(); ++id)
      if ((**mask)[id]) choices.push_back(static_cast<int32_t>(id));
    if (choices.empty()) break;
    std::vector<int32_t> alone;
    for (int32_t id = 0; id < static_cast<int32_t>(texts.size()); ++id)
      if (*tokens_->admits(id)) alone.push_back(id);
    ASSERT_EQ(choices, alone);
    ASSERT_TRUE(tokens_->accept(choices[random() % choices.size()]));
  }
}

TEST_F(TokenGrammarTest, TimePerTokenIsBounded) {
  std::vector<std::string> texts;
  for (int i = 0; i < 4096; ++i) {
    std::string text;
    for (int bit = 0; bit < 12; ++bit) text += (i >> bit & 1) != 0 ? 'a' : 'b';
    texts.push_back(text);
  }
  // After a token, hundreds of places are possible, and each token leads to others.
  const char* const kCostly = R"(root ::= [ab]* "a" [ab]{1000} "!")";
  TokenGrammar::Limits limits;
  limits.work_per_token = 1000;
  limits.work_reserve = 5'000'000;
  use(kCostly, texts, limits);
  std::optional<Status> failure;
  for (int i = 0; i < 100 && !failure; ++i) {
    if (const auto mask = tokens_->admitted(); !mask) failure = mask.error();
    if (const auto accepted = tokens_->accept(0x555); !failure && !accepted) failure = accepted.error();
  }
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->code(), Code::kOutOfBudget);
  EXPECT_THAT(failure->message(), HasSubstr("too long per token"));
  EXPECT_EQ(tokens_->admits(0).error().code(), Code::kOutOfBudget) << "and stays so";
}

TEST_F(TokenGrammarTest, ALongAnswerStaysCheap) {
  use(R"(root ::= "\"" [^"]* "\"")", {"\"", "abc", "d", "e\xcc\x81"});
  go("\"");
  for (int i = 0; i < 100'000; ++i) {
    ASSERT_TRUE(tokens_->admitted());
    ASSERT_TRUE(tokens_->accept(1 + i % 3));
  }
  go("\"");
  EXPECT_TRUE(*tokens_->may_end());
}

}  // namespace
}  // namespace spillway
