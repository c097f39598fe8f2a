// SPDX-License-Identifier: MIT
#include "cli/text_input.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "os/temp_folder.h"

namespace spillway {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(TokenIds, SeparatorsAreCommasBlanksLinesAndBrackets) {
  EXPECT_THAT(*parse_token_ids("1,2,3"), ElementsAre(1, 2, 3));
  EXPECT_THAT(*parse_token_ids(" [10, 20,\n 30]\r\n"), ElementsAre(10, 20, 30));
  EXPECT_THAT(*parse_token_ids("-1"), ElementsAre(-1));  // the engine knows the vocabulary and refuses it
  EXPECT_THAT(*parse_token_ids(" ,\n"), IsEmpty());
}

TEST(TokenIds, AnythingElseIsNamedInTheError) {
  for (const char* text : {"1,2x", "1 two", "99999999999", "--1", "1.5"}) {
    const auto ids = parse_token_ids(text);
    ASSERT_FALSE(ids) << text;
    EXPECT_EQ(ids.error().code(), Code::kInvalidArgument);
    EXPECT_THAT(ids.error().message(), HasSubstr("is not a token id"));
  }
}

TEST(TokenIds, AListOrAFileIsTaken) {
  const TempFolder folder;
  const std::string path = folder.write("ids", "7 8\n9\n");
  EXPECT_THAT(*read_token_ids("7,8"), ElementsAre(7, 8));
  EXPECT_THAT(*read_token_ids(path), ElementsAre(7, 8, 9));
  const auto missing = read_token_ids(path + "-missing");
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message(), HasSubstr("neither a list of token ids nor a file"));
  folder.write("ids", "seven");
  const auto wrong = read_token_ids(path);
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().message(), HasSubstr(path + ": 'seven' is not a token id"));
}

TEST(ReadText, OneNewlineAtTheEndIsNotThePrompts) {
  EXPECT_EQ(without_last_newline("a\n"), "a");
  EXPECT_EQ(without_last_newline("a\r\n"), "a");
  EXPECT_EQ(without_last_newline("a\n\n"), "a\n");
  EXPECT_EQ(without_last_newline("a"), "a");
  EXPECT_EQ(without_last_newline(""), "");
}

TEST(ReadText, WhatCanNotBeReadIsNamed) {
  const TempFolder folder;
  const auto missing = read_text(folder.at("missing"));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), Code::kNotFound);
  EXPECT_THAT(missing.error().message(), HasSubstr("/missing: No such file"));
  const auto directory = read_text(folder.path());
  ASSERT_FALSE(directory);
  EXPECT_EQ(directory.error().code(), Code::kIo);
}

TEST(ReadText, AFileWithoutEndIsRefusedAtItsBound) {
  const auto endless = read_text("/dev/zero");
  ASSERT_FALSE(endless);
  EXPECT_EQ(endless.error().code(), Code::kInvalidArgument);
  EXPECT_THAT(endless.error().message(), HasSubstr("/dev/zero: is larger than 64 MiB"));
  const auto ids = read_token_ids("/dev/zero");
  ASSERT_FALSE(ids);
  EXPECT_THAT(ids.error().message(), HasSubstr("/dev/zero: is larger than"));
  const TempFolder folder;
  const std::string path = folder.write("text", std::string(100, 'a'));
  EXPECT_TRUE(read_text(path, 100));
  EXPECT_FALSE(read_text(path, 99));
}

TEST(FileAndWords, TheLongestBeginningThatIsAFileIsTheFile) {
  const auto split = [](const std::string& text) {
    const auto is_file = [](const std::string& path) {
      return path == "a.png" || path == "my photo.jpg" || path == "a.png b" || path == "it's" || path == "back\\slash";
    };
    const auto found = split_file_and_words(text, is_file);
    return found ? found->file + "|" + found->words : found.error().message();
  };
  EXPECT_EQ(split("a.png"), "a.png|");
  EXPECT_EQ(split("  a.png  what is  it?"), "a.png|what is  it?");
  EXPECT_EQ(split("a.png b c"), "a.png b|c");
  EXPECT_EQ(split("my photo.jpg what?"), "my photo.jpg|what?");
  EXPECT_EQ(split("my\\ photo.jpg what?"), "my photo.jpg|what?");
  EXPECT_EQ(split("\"my photo.jpg\" what?"), "my photo.jpg|what?");
  EXPECT_EQ(split("'my photo.jpg'"), "my photo.jpg|");
  EXPECT_EQ(split("it's"), "it's|");
  EXPECT_EQ(split("back\\slash"), "back\\slash|");
  EXPECT_EQ(split("absent.png what is it?"), "absent.png|what is it?");
  EXPECT_EQ(split("absent\\ file.png what?"), "absent file.png|what?");
  EXPECT_THAT(split(""), HasSubstr("wants a file"));
  EXPECT_THAT(split("   "), HasSubstr("wants a file"));
  EXPECT_THAT(split("\"a.png"), HasSubstr("does not end"));
  EXPECT_EQ(split("~x\\"), "~x\\|");
}

}  // namespace
}  // namespace spillway
