// SPDX-License-Identifier: MIT
#include "serve/ui/ui_files.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>

namespace spillway {
namespace {

namespace fs = std::filesystem;
using testing::StartsWith;

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

std::set<std::string> paths() {
  std::set<std::string> found;
  for (const UiFile& file : ui_files()) found.emplace(file.path);
  return found;
}

TEST(UiFiles, EveryFileOfTheFolderIsCompiledInByteForByte) {
  std::set<std::string> on_disk;
  for (const auto& entry : fs::directory_iterator(SPILLWAY_UI_FOLDER)) {
    const std::string ending = entry.path().extension().string();
    if (ending == ".html" || ending == ".css" || ending == ".js" || ending == ".svg")
      on_disk.insert("/ui/" + entry.path().filename().string());
  }
  EXPECT_EQ(paths(), on_disk);
  for (const UiFile& file : ui_files()) {
    const fs::path path = fs::path(SPILLWAY_UI_FOLDER) / fs::path(file.path).filename();
    EXPECT_EQ(std::string(file.bytes), read_file(path)) << file.path;
    EXPECT_FALSE(file.bytes.empty()) << file.path;
  }
}

TEST(UiFiles, ABrowserRunsModulesOnlyWithTheTypeOfJavaScript) {
  for (const UiFile& file : ui_files()) {
    const std::string type(file.content_type);
    if (file.path.ends_with(".js")) {
      EXPECT_THAT(type, StartsWith("text/javascript")) << file.path;
    } else {
      EXPECT_THAT(type, testing::Not(StartsWith("text/javascript"))) << file.path;
    }
  }
}

TEST(UiFiles, WhatAFileNamesIsThere) {
  const std::regex reference(R"re((?:src|href)="(/ui/[^"]+)"|from "\./([^"]+)")re");
  const std::set<std::string> there = paths();
  size_t n_references = 0;
  for (const UiFile& file : ui_files()) {
    const std::string text(file.bytes);
    for (std::sregex_iterator at(text.begin(), text.end(), reference), end; at != end; ++at) {
      const std::string target = (*at)[1].matched ? (*at)[1].str() : "/ui/" + (*at)[2].str();
      EXPECT_TRUE(there.count(target)) << file.path << " names " << target;
      ++n_references;
    }
  }
  EXPECT_GT(n_references, 10u);
}

TEST(UiFiles, NothingTurnsTextIntoMarkupAndNothingComesFromElsewhere) {
  for (const UiFile& file : ui_files()) {
    for (const char* word : {"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"})
      EXPECT_EQ(file.bytes.find(word), std::string_view::npos) << file.path << ": " << word;
    for (const char* word : {"src=\"http", "href=\"http", "url(http", "@import", "from \"http"})
      EXPECT_EQ(file.bytes.find(word), std::string_view::npos) << file.path << ": " << word;
  }
}

}  // namespace
}  // namespace spillway
