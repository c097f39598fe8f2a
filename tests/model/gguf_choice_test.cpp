// SPDX-License-Identifier: MIT
#include "model/gguf_choice.h"

#include <gmock/gmock.h>

#include <map>

namespace spillway {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// A repository whose headers are told: what is not named here is a model.
struct Repository {
  std::vector<std::string> paths;
  std::map<std::string, GgufKind> kinds = {};
  std::vector<std::string> read = {};  // whose header was looked at

  // Paths of what is chosen, or the message.
  std::vector<std::string> chosen(const std::string& wanted) {
    const auto candidates = gguf_candidates(paths);
    const auto outcome = choose_gguf(candidates, wanted, [&](const GgufCandidate& one) -> Result<GgufKind> {
      read.push_back(one.path);
      const auto found = kinds.find(one.path);
      return found == kinds.end() ? GgufKind::kModel : found->second;
    });
    if (!outcome) return {outcome.error().message()};
    std::vector<std::string> files;
    for (const size_t file : candidates[*outcome].files) files.push_back(paths[file]);
    return files;
  }
};

TEST(GgufChoice, AQuantizationIsAWordOfItsOwn) {
  Repository repository{{"README.md", "m-Q4_K_S.gguf", "m-Q4_K_M.gguf", "m-UD-Q4_K_M.gguf", "m.IQ4_XS.gguf",
                         "m-Q4_0.gguf", "m-f16.gguf", "mmproj-m-f16.gguf", "m-Q4_0_4_4.gguf", "imatrix.gguf",
                         "m_q8_0.gguf"}};
  EXPECT_THAT(repository.chosen("Q4_K_M"), ElementsAre("m-Q4_K_M.gguf"));
  EXPECT_THAT(repository.chosen("ud-q4_k_m"), ElementsAre("m-UD-Q4_K_M.gguf"));
  EXPECT_THAT(repository.chosen("Q4_0"), ElementsAre("m-Q4_0.gguf"));
  EXPECT_THAT(repository.chosen("iq4_xs"), ElementsAre("m.IQ4_XS.gguf"));
  EXPECT_THAT(repository.chosen("F16"), ElementsAre("m-f16.gguf"));
  EXPECT_THAT(repository.chosen("Q8_0"), ElementsAre("m_q8_0.gguf"));
  EXPECT_THAT(repository.chosen("latest"), ElementsAre("m-Q4_K_M.gguf"));
  EXPECT_THAT(repository.chosen("m-Q4_K_S.gguf"), ElementsAre("m-Q4_K_S.gguf")) << "a file's name";
  EXPECT_THAT(repository.chosen("Q4_K"), ElementsAre(HasSubstr("nothing is called 'Q4_K'; there is: m-Q4_K_S")));
  EXPECT_THAT(repository.chosen("4_K_M"), ElementsAre(HasSubstr("nothing is called")));
}

TEST(GgufChoice, ASplitModelIsAllItsPartsInOrder) {
  Repository repository{{"Q8_0/m-Q8_0-00002-of-00003.gguf", "Q8_0/m-Q8_0-00001-of-00003.gguf",
                         "Q8_0/m-Q8_0-00003-of-00003.gguf", "m-Q4_0.gguf"}};
  const auto all = ElementsAre("Q8_0/m-Q8_0-00001-of-00003.gguf", "Q8_0/m-Q8_0-00002-of-00003.gguf",
                               "Q8_0/m-Q8_0-00003-of-00003.gguf");
  EXPECT_THAT(repository.chosen("q8_0"), all);
  EXPECT_THAT(repository.chosen("Q8_0/m-Q8_0-00002-of-00003.gguf"), all) << "a later part means the model";
  EXPECT_THAT(repository.chosen("m-Q8_0.gguf"), all);
  EXPECT_THAT((Repository{{"m-Q8_0-00001-of-00002.gguf"}}.chosen("Q8_0")), ElementsAre(HasSubstr("m-Q8_0-00002")));
  EXPECT_THAT((Repository{{"m-Q8_0-00002-of-00002.gguf"}}.chosen("Q8_0")), ElementsAre(HasSubstr("m-Q8_0-00001")));
  EXPECT_THAT((Repository{{"m-Q8_0-00001-of-00002.gguf", "m-Q4_0.gguf"}}.chosen("Q4_0")), ElementsAre("m-Q4_0.gguf"))
      << "what another model lacks is no matter";
}

TEST(GgufChoice, WithoutAQuantizationTheNearestToQ4KMIsTaken) {
  EXPECT_THAT((Repository{{"m-Q2_K.gguf", "m-Q8_0.gguf", "m-Q4_0.gguf"}}.chosen("latest")), ElementsAre("m-Q4_0.gguf"));
  EXPECT_THAT((Repository{{"only.gguf"}}.chosen("latest")), ElementsAre("only.gguf"));
  EXPECT_THAT((Repository{{"README.md", "model.safetensors"}}.chosen("latest")),
              ElementsAre(HasSubstr("no GGUF file")));
  EXPECT_THAT((Repository{{}}.chosen("Q8_0")), ElementsAre(HasSubstr("no GGUF file")));
}

TEST(GgufChoice, WhatStandsBesideAModelIsToldByItsHeaderAndNotByItsName) {
  Repository repository{{"MTP/m-MTP-Q4_K_M.gguf", "mtp-m-Q4_K_M.gguf", "mmproj-F16.gguf", "m-Q8_0.gguf"},
                        {{"MTP/m-MTP-Q4_K_M.gguf", GgufKind::kDrafter},
                         {"mtp-m-Q4_K_M.gguf", GgufKind::kDrafter},
                         {"mmproj-F16.gguf", GgufKind::kProjector}}};
  EXPECT_THAT(repository.chosen("latest"), ElementsAre("m-Q8_0.gguf"));
  EXPECT_THAT(repository.read, ElementsAre("m-Q8_0.gguf")) << "names say where to look first";
  EXPECT_THAT(repository.chosen("Q4_K_M"),
              ElementsAre(AllOf(HasSubstr("no model: "), HasSubstr("mtp-m-Q4_K_M.gguf is a drafter"))));
  EXPECT_THAT(repository.chosen("mmproj-F16.gguf"), ElementsAre(HasSubstr("mmproj-F16.gguf is a projector")));

  Repository lying{{"m-Q4_K_M.gguf", "mmproj-m-Q5_K_M.gguf"}, {{"m-Q4_K_M.gguf", GgufKind::kProjector}}};
  EXPECT_THAT(lying.chosen("latest"), ElementsAre("mmproj-m-Q5_K_M.gguf"));

  Repository beside{{"mtp.gguf", "imatrix.gguf"},
                    {{"mtp.gguf", GgufKind::kDrafter}, {"imatrix.gguf", GgufKind::kImportance}}};
  EXPECT_THAT(beside.chosen("latest"), ElementsAre(AllOf(HasSubstr("mtp.gguf is a drafter"),
                                                         HasSubstr("imatrix.gguf is an importance matrix"))));
}

TEST(GgufChoice, AModelWhoseNameSoundsLikeSomethingElseIsFound) {
  Repository repository{{"code-assistant-Q4_K_M.gguf", "code-assistant-Q8_0.gguf"}};
  EXPECT_THAT(repository.chosen("latest"), ElementsAre("code-assistant-Q4_K_M.gguf"));
  EXPECT_THAT(repository.chosen("q8_0"), ElementsAre("code-assistant-Q8_0.gguf"));
}

TEST(GgufChoice, APathMeansTheFileInThatFolder) {
  Repository repository{{"Q4/model.gguf", "Q8/model.gguf"}};
  EXPECT_THAT(repository.chosen("Q8/model.gguf"), ElementsAre("Q8/model.gguf"));
  EXPECT_THAT(repository.chosen("q8/MODEL.gguf"), ElementsAre("Q8/model.gguf"));
  EXPECT_THAT(repository.chosen("Q8"), ElementsAre("Q8/model.gguf"));
  EXPECT_THAT(repository.chosen("model.gguf"), ElementsAre("Q4/model.gguf"));
}

TEST(GgufChoice, AHeaderThatCanNotBeReadEndsTheSearchAndADamagedOneDoesNot) {
  const auto candidates = gguf_candidates({"m-Q4_K_M.gguf", "m-Q8_0.gguf"});
  const auto with = [&](Code code) {
    return choose_gguf(candidates, "latest", [&](const GgufCandidate& one) -> Result<GgufKind> {
      if (one.path == "m-Q4_K_M.gguf") return error(code, "why");
      return GgufKind::kModel;
    });
  };
  EXPECT_EQ(with(Code::kCorrupt).value(), 1u);
  EXPECT_EQ(with(Code::kUnavailable).error().message(), "why");
}

TEST(GgufChoice, QuantizationsAreReadFromNames) {
  const std::pair<std::string, std::string> rows[] = {{"m-Q4_K_M.gguf", "Q4_K_M"},
                                                      {"m.i1-IQ2_XXS.gguf", "IQ2_XXS"},
                                                      {"model_q8_0.gguf", "Q8_0"},
                                                      {"gpt-oss-20b-mxfp4.gguf", "MXFP4"},
                                                      {"m-MXFP4_MOE.gguf", "MXFP4_MOE"},
                                                      {"m-UD-Q4_K_XL-00001-of-00002.gguf", "UD-Q4_K_XL"},
                                                      {"UD-IQ1_S/m-00001-of-00002.gguf", "UD-IQ1_S"},
                                                      {"BF16/m.gguf", "BF16"},
                                                      {"m-fp16-q4_0.gguf", "Q4_0"},
                                                      {"m-TQ1_0.gguf", "TQ1_0"},
                                                      {"Qwen3-8B.gguf", ""},
                                                      {"q.gguf", ""},
                                                      {"quick-7b.gguf", ""},
                                                      {"m-Q4_0_4_4.gguf", "Q4_0_4_4"}};
  for (const auto& [path, quantization] : rows) EXPECT_EQ(quantization_in_name(path), quantization) << path;
}

// Each name is looked at once: a list of thousands of long ones took half a minute, one of first parts far more.
TEST(GgufChoice, ALongListOfLongNamesIsLookedThrough) {
  constexpr size_t kModels = 3000;
  std::vector<std::string> paths, whole;
  for (size_t i = 0; i < kModels; ++i) {
    const std::string stem = std::string(1000, 'm') + std::to_string(i);
    paths.push_back(stem + "-00001-of-04096.gguf");
    whole.push_back(stem + "-Q4_K_M-Q4_0-Q8_0.gguf");
  }
  const auto candidates = gguf_candidates(paths);
  ASSERT_EQ(candidates.size(), kModels);
  for (const GgufCandidate& one : candidates) EXPECT_THAT(one.missing_part, testing::EndsWith("-00002-of-04096.gguf"));
  const auto others = gguf_candidates(whole);
  const auto chosen = choose_gguf(others, "latest", [](const GgufCandidate& one) -> Result<GgufKind> {
    return one.files.front() + 1 == kModels ? GgufKind::kModel : GgufKind::kAdapter;
  });
  ASSERT_TRUE(chosen) << chosen.error().message();
  EXPECT_EQ(*chosen, kModels - 1);
}

TEST(GgufChoice, OfASplitModelWithoutItsFirstPartTheFirstThatIsMissingIsNamed) {
  const auto candidates = gguf_candidates(
      {"m-00003-of-00004.gguf", "m-00002-of-00004.gguf", "n-00001-of-00002.gguf", "n-00001-of-00002.gguf"});
  ASSERT_EQ(candidates.size(), 2u);
  EXPECT_EQ(candidates[0].path, "m-00001-of-00004.gguf");
  EXPECT_EQ(candidates[0].missing_part, "m-00001-of-00004.gguf");
  EXPECT_THAT(candidates[0].files, ElementsAre(1u, 0u));
  EXPECT_EQ(candidates[1].missing_part, "n-00002-of-00002.gguf");
  EXPECT_THAT(candidates[1].files, ElementsAre(2u));
}

TEST(GgufChoice, WhatToAskForBringsThatCandidateBack) {
  const std::vector<std::string> paths = {"m-Q4_K_M.gguf",
                                          "m-UD-Q4_K_M.gguf",
                                          "m-other-Q4_K_M.gguf",
                                          "plain.gguf",
                                          "Q8/model.gguf",
                                          "Q4/model.gguf",
                                          "My Model.gguf",
                                          "mmproj-F16.gguf",
                                          "m-Q2_K-00001-of-00002.gguf",
                                          "m-Q2_K-00002-of-00002.gguf"};
  const auto candidates = gguf_candidates(paths);
  ASSERT_EQ(candidates.size(), 9u);
  for (size_t i = 0; i < candidates.size(); ++i) {
    const auto again = choose_gguf(candidates, wanted_for(candidates, i),
                                   [](const GgufCandidate&) { return Result<GgufKind>(GgufKind::kModel); });
    ASSERT_TRUE(again) << again.error().message();
    EXPECT_EQ(*again, i) << wanted_for(candidates, i);
  }
  EXPECT_EQ(wanted_for(candidates, 0), "Q4_K_M");
  EXPECT_EQ(wanted_for(candidates, 1), "UD-Q4_K_M");
  EXPECT_EQ(wanted_for(candidates, 2), "m-other-Q4_K_M.gguf");
  EXPECT_EQ(wanted_for(candidates, 8), "Q2_K");
}

}  // namespace
}  // namespace spillway
