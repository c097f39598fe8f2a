// SPDX-License-Identifier: MIT
#include "model/model_name.h"

#include <gmock/gmock.h>

namespace spillway {
namespace {

struct NameRow {
  std::string text, full, shown;
};

TEST(ModelName, FillsInWhatIsLeftOutAndShowsTheShortestFormWithATag) {
  const std::string repeated_a(80, 'a');
  const NameRow rows[] = {
      {"llama3.2", "registry.ollama.ai/library/llama3.2:latest", "llama3.2:latest"},
      {"llama3.3:70b", "registry.ollama.ai/library/llama3.3:70b", "llama3.3:70b"},
      {"me/it", "registry.ollama.ai/me/it:latest", "me/it:latest"},
      {"library/it:x", "registry.ollama.ai/library/it:x", "it:x"},
      {"example.com/me/it", "example.com/me/it:latest", "example.com/me/it:latest"},
      {"example.com/library/it", "example.com/library/it:latest", "example.com/library/it:latest"},
      {"localhost:5000/me/it", "localhost:5000/me/it:latest", "localhost:5000/me/it:latest"},
      {"localhost:5000/me/it:1", "localhost:5000/me/it:1", "localhost:5000/me/it:1"},
      {"hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M", "hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M",
       "hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M"},
      {"https://example.com/me/it:1", "example.com/me/it:1", "example.com/me/it:1"},
      {"REGISTRY.ollama.AI/Library/It", "REGISTRY.ollama.AI/Library/It:latest", "It:latest"},
      {"_x-y.z_:a..b", "registry.ollama.ai/library/_x-y.z_:a..b", "_x-y.z_:a..b"},
      {repeated_a, "registry.ollama.ai/library/" + repeated_a + ":latest", repeated_a + ":latest"},
  };
  for (const NameRow& row : rows) {
    SCOPED_TRACE(row.text);
    const auto name = parse_model_name(row.text);
    ASSERT_TRUE(name) << name.error().message();
    EXPECT_EQ(name->full(), row.full);
    EXPECT_EQ(name->shown(), row.shown);
    EXPECT_FALSE(name->plain_http);
    // Both forms are names again, of the same model.
    for (const std::string& form : {name->full(), name->shown()}) {
      const auto again = parse_model_name(form);
      ASSERT_TRUE(again) << form;
      EXPECT_TRUE(same_name(*name, *again)) << form;
    }
  }
}

TEST(ModelName, PlainHttpIsRemembered) {
  const auto name = parse_model_name("http://localhost:5000/me/it:1");
  ASSERT_TRUE(name);
  EXPECT_TRUE(name->plain_http);
  EXPECT_EQ(name->full(), "localhost:5000/me/it:1");
}

TEST(ModelName, NothingThatLeadsOutOfAFolderIsAName) {
  const std::string texts[] = {"",
                               ":",
                               "/",
                               ":x",
                               "x:",
                               "x/",
                               "/x",
                               "//x",
                               "a//x",
                               ".",
                               "..",
                               "../x",
                               "../../etc/passwd",
                               "a/../x",
                               "../a/x",
                               "x:..",
                               "x:../y",
                               "..:x",
                               "/etc/passwd",
                               "a/b/c/d",
                               "-x",
                               ".x",
                               "x:-y",
                               "x:.y",
                               "me.you/x",  // a namespace has no '.'
                               "x y",
                               "x\ty",
                               "x\\y",
                               "..\\x",
                               "x%2fy",
                               "x:y:z",
                               "a:b/x",
                               "x@sha256:abc",
                               "m\xc3\xb6"
                               "del",
                               std::string("x\0y", 3),
                               "x\ny",
                               std::string(81, 'a'),
                               "x:" + std::string(81, 'a'),
                               std::string(81, 'a') + "/x",
                               std::string(256, 'a') + "/b/x",
                               "http://",
                               "ftp://x/y/z"};
  for (const std::string& text : texts) {
    const auto name = parse_model_name(text);
    EXPECT_FALSE(name) << text << " became " << name->full();
    if (name) continue;
    EXPECT_EQ(name.error().code(), Code::kInvalidArgument) << text;
    EXPECT_THAT(name.error().message(), testing::StartsWith("invalid model name"));
    EXPECT_THAT(name.error().message(), testing::Not(testing::HasSubstr("\n")));
    EXPECT_LT(name.error().message().size(), 140u);
  }
}

TEST(ModelName, CaseDoesNotDistinguishNames) {
  const auto name = [](const char* text) { return parse_model_name(text).value(); };
  EXPECT_TRUE(same_name(name("Qwen3:8B"), name("qwen3:8b")));
  EXPECT_TRUE(same_name(name("HF.co/A/b:Q8_0"), name("hf.co/a/B:q8_0")));
  EXPECT_TRUE(same_name(name("hf.co/a/b:Q8_0"), name("huggingface.co/a/b:Q8_0"))) << "one repository";
  EXPECT_FALSE(same_name(name("qwen3:8b"), name("qwen3:4b")));
  EXPECT_FALSE(same_name(name("me/qwen3"), name("you/qwen3")));
}

TEST(ModelName, HuggingFaceHasTwoHosts) {
  EXPECT_TRUE(parse_model_name("hf.co/a/b").value().is_hugging_face());
  EXPECT_TRUE(parse_model_name("HuggingFace.co/a/b:Q8_0").value().is_hugging_face());
  EXPECT_FALSE(parse_model_name("a/b").value().is_hugging_face());
  EXPECT_FALSE(parse_model_name("hf.co.example.com/a/b").value().is_hugging_face());
}

TEST(ModelName, APathGivesANameThatParses) {
  const std::pair<std::string, std::string> rows[] = {{"/models/qwen3-8b-Q4_K_M.gguf", "qwen3-8b-Q4_K_M:latest"},
                                                      {"My Model (1).GGUF", "My-Model--1-:latest"},
                                                      {"/a/b/", "b:latest"},
                                                      {"-x.gguf", "m-x:latest"},
                                                      {"..", "m..:latest"},
                                                      {"", "m:latest"},
                                                      {std::string(200, 'x'), std::string(80, 'x') + ":latest"},
                                                      {std::string(200, '-'), "m" + std::string(79, '-') + ":latest"}};
  for (const auto& [path, shown] : rows) {
    const ModelName name = name_for_path(path);
    EXPECT_EQ(name.shown(), shown);
    EXPECT_TRUE(parse_model_name(name.shown())) << name.shown();
  }
}

}  // namespace
}  // namespace spillway
