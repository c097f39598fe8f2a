// SPDX-License-Identifier: MIT
#include "model/hub_name.h"

#include <gmock/gmock.h>

#include "model/model_name.h"

namespace spillway {
namespace {

struct Row {
  std::string text, wanted, revision, shown;
};

TEST(HubName, EveryFormThatPeopleTypeOrPasteAsksForTheSame) {
  const Row rows[] = {
      {"hf.co/a/b", "latest", "main", "hf.co/a/b:latest"},
      {"hf.co/a/b/", "latest", "main", "hf.co/a/b:latest"},
      {"hf.co/a/b:Q4_K_M", "Q4_K_M", "main", "hf.co/a/b:Q4_K_M"},
      {"HF.co/a/b:Q4_K_M@main", "Q4_K_M", "main", "hf.co/a/b:Q4_K_M"},
      {"hf://a/b", "latest", "main", "hf.co/a/b:latest"},
      {"hf.co/a/b:m-Q4_K_M.gguf", "m-Q4_K_M.gguf", "main", "hf.co/a/b:m-Q4_K_M.gguf"},
      {"hf.co/a/b/m-Q4_K_M.gguf", "m-Q4_K_M.gguf", "main", "hf.co/a/b:m-Q4_K_M.gguf"},
      {"hf.co/a/b/Q4/m.gguf", "Q4/m.gguf", "main", "hf.co/a/b:Q4/m.gguf"},
      {"hf.co/a/b/UD-Q4_K_XL", "UD-Q4_K_XL", "main", "hf.co/a/b:UD-Q4_K_XL"},
      {"hf.co/a/b/My Model (v2).gguf", "My Model (v2).gguf", "main", "hf.co/a/b:My%20Model%20%28v2%29.gguf"},
      {"hf.co/a/b/My%20Model.gguf", "My Model.gguf", "main", "hf.co/a/b:My%20Model.gguf"},
      {"hf.co/a/b/100%.gguf", "100%.gguf", "main", "hf.co/a/b:100%25.gguf"},
      {"hf.co/a/b/x@y.gguf", "x@y.gguf", "main", "hf.co/a/b:x%40y.gguf"},
      {"hf.co/a/b/-x.gguf", "-x.gguf", "main", "hf.co/a/b:%2Dx.gguf"},
      {"hf.co/a/b@v1.0", "latest", "v1.0", "hf.co/a/b:latest@v1.0"},
      {"hf.co/a/b@refs/pr/1", "latest", "refs/pr/1", "hf.co/a/b:latest@refs/pr/1"},
      {"hf.co/a/b@feature/x", "latest", "feature/x", "hf.co/a/b:latest@feature/x"},
      {"hf.co/a/b@refs/pr/1:Q8_0", "Q8_0", "refs/pr/1", "hf.co/a/b:Q8_0@refs/pr/1"},
      {"hf.co/a/b:Q8_0@refs/pr/1", "Q8_0", "refs/pr/1", "hf.co/a/b:Q8_0@refs/pr/1"},
      {"hf.co/a/b@refs/pr/1/Q4/m.gguf", "Q4/m.gguf", "refs/pr/1", "hf.co/a/b:Q4/m.gguf@refs/pr/1"},
      {"hf.co/a/b@v1/Q4/m.gguf", "Q4/m.gguf", "v1", "hf.co/a/b:Q4/m.gguf@v1"},
      {"hf.co/a/b@feature%2Fx/m.gguf", "m.gguf", "feature/x", "hf.co/a/b:m.gguf@feature/x"},
      {"hf.co/a/b/Q4/m.gguf@feature/x", "Q4/m.gguf", "feature/x", "hf.co/a/b:Q4/m.gguf@feature/x"},
      {"https://huggingface.co/a/b", "latest", "main", "huggingface.co/a/b:latest"},
      {"https://huggingface.co/a/b/tree/main", "latest", "main", "huggingface.co/a/b:latest"},
      {"https://huggingface.co/a/b/tree/main/Q8_0", "Q8_0", "main", "huggingface.co/a/b:Q8_0"},
      {"https://huggingface.co/a/b/tree/v2", "latest", "v2", "huggingface.co/a/b:latest@v2"},
      {"https://huggingface.co/a/b/blob/main/m.gguf", "m.gguf", "main", "huggingface.co/a/b:m.gguf"},
      {"https://huggingface.co/a/b/blob/main/m.gguf?show_file_info=m.gguf", "m.gguf", "main",
       "huggingface.co/a/b:m.gguf"},
      {"https://www.huggingface.co/a/b/resolve/refs%2Fpr%2F1/Q4/m.gguf?download=true", "Q4/m.gguf", "refs/pr/1",
       "huggingface.co/a/b:Q4/m.gguf@refs/pr/1"},
      {"https://huggingface.co/a/b/resolve/refs/pr/12/m.gguf", "m.gguf", "refs/pr/12",
       "huggingface.co/a/b:m.gguf@refs/pr/12"},
      {"hf.co/a/b@v1.gguf/m.gguf", "m.gguf", "v1.gguf", "hf.co/a/b:m.gguf@v1%2Egguf"},
      {"hf.co/mlx.community/Some.Model-1.5_b:F16", "F16", "main", "hf.co/mlx.community/Some.Model-1.5_b:F16"},
      {"hf.co/a/" + std::string(96, 'x'), "latest", "main", "hf.co/a/" + std::string(96, 'x') + ":latest"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.text);
    const auto name = parse_model_name(row.text);
    ASSERT_TRUE(name) << name.error().message();
    const HubReference reference = hub_reference(name->tag);
    EXPECT_EQ(reference.wanted, row.wanted);
    EXPECT_EQ(reference.revision, row.revision);
    EXPECT_EQ(name->shown(), row.shown);
    EXPECT_TRUE(name->is_hugging_face());
    for (const std::string& form : {name->full(), name->shown()}) {
      const auto again = parse_model_name(form);
      ASSERT_TRUE(again) << form;
      EXPECT_EQ(*again, *name) << form;
    }
  }
}

TEST(HubName, WhatLeadsElsewhereOrIsNoModelIsNoName) {
  for (const std::string& text : {std::string("hf.co/"),
                                  std::string("hf.co/a"),
                                  std::string("hf.co/a/"),
                                  std::string("hf.co/a//x.gguf"),
                                  std::string("hf.co/../b"),
                                  std::string("hf.co/a/.."),
                                  std::string("hf.co/a/b/../c.gguf"),
                                  std::string("hf.co/a/b/%2e%2e/c.gguf"),
                                  std::string("hf.co/a/b:"),
                                  std::string("hf.co/a/b@"),
                                  std::string("hf.co/a/b@../x"),
                                  std::string("hf.co/a/b@%2F"),
                                  std::string("hf.co/a/b//x.gguf"),
                                  std::string("hf.co/.a/b"),
                                  std::string("hf.co/a/b.."),
                                  std::string("hf.co/a b/c"),
                                  std::string("hf.co/a/b\nc"),
                                  std::string("hf.co/a/b:x%0Ay"),
                                  std::string("hf.co/datasets/a/b"),
                                  std::string("https://huggingface.co/spaces/a/b"),
                                  "hf.co/a/" + std::string(97, 'x'),
                                  "hf.co/a/b:" + std::string(201, 'x')}) {
    const auto name = parse_model_name(text);
    EXPECT_FALSE(name) << text << " became " << name->full();
    if (name) continue;
    EXPECT_EQ(name.error().code(), Code::kInvalidArgument) << text;
    EXPECT_THAT(name.error().message(),
                testing::AllOf(testing::StartsWith("invalid model name"), testing::Not(testing::HasSubstr("\n"))));
  }
}

TEST(HubName, OllamasSiteMeansItsRegistry) {
  EXPECT_EQ(parse_model_name("https://ollama.com/library/qwen3:8b").value().shown(), "qwen3:8b");
  EXPECT_EQ(parse_model_name("ollama.com/me/it").value().shown(), "me/it:latest");
}

}  // namespace
}  // namespace spillway
