// SPDX-License-Identifier: MIT
#include "model/projector_search.h"

#include <gtest/gtest.h>

namespace spillway {
namespace {

std::string projector_found(const std::string& model, std::vector<std::string> names) {
  names.push_back(model);
  return projector_of(model, names, [](const std::string& name) { return name.find("mmproj") != std::string::npos; });
}

TEST(ProjectorSearch, OneThatNamesNoModelIsTheFoldersModels) {
  EXPECT_EQ(projector_found("gemma-3-4b-it-Q4_K_M.gguf", {"mmproj-F16.gguf"}), "mmproj-F16.gguf");
  EXPECT_EQ(
      projector_found("gemma-3-4b-it-Q4_K_M.gguf", {"mmproj-model-f16.gguf", "gemma-3-4b-it-Q8_0.gguf", "README.md"}),
      "mmproj-model-f16.gguf");
  EXPECT_EQ(
      projector_found("Qwen2.5-VL-72B-UD-Q4_K_XL-00001-of-00002.gguf",
                      {"mmproj.gguf", "Qwen2.5-VL-72B-UD-Q4_K_XL-00002-of-00002.gguf", "Qwen2.5-VL-72B-BF16.gguf"}),
      "mmproj.gguf");
  EXPECT_EQ(projector_found("gemma-3-4b-it-Q4_K_M.gguf", {"mmproj-F16.gguf", "llama-3-8b-Q4_K_M.gguf"}), "")
      << "it may be the other's";
  EXPECT_EQ(projector_found("it-Q4_K_M.gguf", {"mmproj-F16.gguf", "imatrix.gguf", "mtp-it.gguf"}), "mmproj-F16.gguf");
}

TEST(ProjectorSearch, OneThatNamesAModelIsThatModelsAlone) {
  const std::vector<std::string> names = {"mmproj-gemma-3-4b-it-f16.gguf", "llava-7b.mmproj-Q8_0.gguf",
                                          "llama-3-8b-Q4_K_M.gguf"};
  EXPECT_EQ(projector_found("gemma-3-4b-it-Q4_K_M.gguf", names), "mmproj-gemma-3-4b-it-f16.gguf");
  EXPECT_EQ(projector_found("Gemma-3-4B-it-IQ4_XS.gguf", names), "mmproj-gemma-3-4b-it-f16.gguf");
  EXPECT_EQ(projector_found("llava-7b-Q4_0.gguf", names), "llava-7b.mmproj-Q8_0.gguf");
  EXPECT_EQ(projector_found("gemma-3-4b-Q4_K_M.gguf", names), "");
  EXPECT_EQ(projector_found("gemma-3-4b-it-abliterated-Q4_K_M.gguf", names), "");
  EXPECT_EQ(projector_found("llava-7b-Q4_0.gguf", {"mmproj-llava-13b-f16.gguf"}), "");
}

TEST(ProjectorSearch, OfSeveralTheOneInF16IsTaken) {
  EXPECT_EQ(projector_found("m-Q4_0.gguf", {"mmproj-F32.gguf", "mmproj-BF16.gguf", "mmproj-F16.gguf"}),
            "mmproj-F16.gguf");
  EXPECT_EQ(projector_found("m-Q4_0.gguf", {"mmproj-F32.gguf", "mmproj-BF16.gguf"}), "mmproj-BF16.gguf");
}

}  // namespace
}  // namespace spillway
