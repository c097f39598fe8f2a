// SPDX-License-Identifier: MIT
#include "fetch/hugging_face_files.h"

#include <gmock/gmock.h>

#include "fetch/http.h"
#include "fetch/retry.h"

namespace spillway {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<HfFile> files(const std::vector<std::string>& paths) {
  std::vector<HfFile> out;
  for (const std::string& path : paths) out.push_back({path, 1, std::string(64, 'a')});
  return out;
}

// Paths of what is chosen, or the message.
std::vector<std::string> chosen(const std::vector<std::string>& paths, const std::string& quant) {
  const auto outcome = choose_hf_files(files(paths), quant);
  if (!outcome) return {outcome.error().message()};
  std::vector<std::string> names;
  for (const HfFile& file : *outcome) names.push_back(file.path);
  return names;
}

TEST(HuggingFaceFiles, AQuantizationIsAWordOfItsOwn) {
  const std::vector<std::string> repository = {"README.md",       "m-Q4_K_S.gguf", "m-Q4_K_M.gguf", "m-UD-Q4_K_M.gguf",
                                               "m.IQ4_XS.gguf",   "m-Q4_0.gguf",   "m-f16.gguf",    "mmproj-m-f16.gguf",
                                               "m-Q4_0_4_4.gguf", "imatrix.gguf",  "m_q8_0.gguf"};
  EXPECT_THAT(chosen(repository, "Q4_K_M"), ElementsAre("m-Q4_K_M.gguf"));
  EXPECT_THAT(chosen(repository, "ud-q4_k_m"), ElementsAre("m-UD-Q4_K_M.gguf"));
  EXPECT_THAT(chosen(repository, "Q4_0"), ElementsAre("m-Q4_0.gguf"));
  EXPECT_THAT(chosen(repository, "iq4_xs"), ElementsAre("m.IQ4_XS.gguf"));
  EXPECT_THAT(chosen(repository, "F16"), ElementsAre("m-f16.gguf"));
  EXPECT_THAT(chosen(repository, "Q8_0"), ElementsAre("m_q8_0.gguf"));
  EXPECT_THAT(chosen(repository, "latest"), ElementsAre("m-Q4_K_M.gguf"));
  EXPECT_THAT(chosen(repository, "m-Q4_K_S.gguf"), ElementsAre("m-Q4_K_S.gguf")) << "a file's name";
  EXPECT_THAT(chosen(repository, "Q4_K"), ElementsAre(HasSubstr("nothing called 'Q4_K'; there is: m-Q4_K_S")));
  EXPECT_THAT(chosen(repository, "4_K_M"), ElementsAre(HasSubstr("nothing called")));
}

TEST(HuggingFaceFiles, ASplitModelIsAllItsPartsInOrder) {
  const std::vector<std::string> repository = {"Q8_0/m-Q8_0-00002-of-00003.gguf", "Q8_0/m-Q8_0-00001-of-00003.gguf",
                                               "Q8_0/m-Q8_0-00003-of-00003.gguf", "m-Q4_0.gguf"};
  EXPECT_THAT(chosen(repository, "q8_0"),
              ElementsAre("Q8_0/m-Q8_0-00001-of-00003.gguf", "Q8_0/m-Q8_0-00002-of-00003.gguf",
                          "Q8_0/m-Q8_0-00003-of-00003.gguf"));
  EXPECT_THAT(chosen({"m-Q8_0-00001-of-00002.gguf"}, "Q8_0"), ElementsAre(HasSubstr("lacks the part m-Q8_0-00002")));
  EXPECT_THAT(chosen({"m-Q8_0-00001-of-00002.gguf", "m-Q4_0.gguf"}, "Q4_0"), ElementsAre("m-Q4_0.gguf"))
      << "what another model lacks is no matter";
}

TEST(HuggingFaceFiles, WithoutAQuantizationTheNearestToQ4KMIsTaken) {
  EXPECT_THAT(chosen({"m-Q2_K.gguf", "m-Q8_0.gguf", "m-Q4_0.gguf"}, "latest"), ElementsAre("m-Q4_0.gguf"));
  EXPECT_THAT(chosen({"only.gguf"}, "latest"), ElementsAre("only.gguf"));
  EXPECT_THAT(chosen({"README.md", "model.safetensors"}, "latest"), ElementsAre(HasSubstr("no GGUF model")));
  EXPECT_THAT(chosen({}, "Q8_0"), ElementsAre(HasSubstr("no GGUF model")));
}

TEST(HuggingFaceFiles, AListThatIsNoneIsRefused) {
  EXPECT_TRUE(parse_hf_files("[]"));
  EXPECT_TRUE(parse_hf_files(R"([{"type":"directory","path":"x"}, 7])"));
  for (const char* text : {"", "{}", "x", R"([{"type":"file"}])", R"([{"type":"file","path":"x","size":-1}])",
                           R"([{"type":"file","path":"x","size":1,"lfs":{"oid":"../../x"}}])",
                           R"([{"type":"file","path":"x","size":1,"lfs":{}}])"})
    EXPECT_FALSE(parse_hf_files(text)) << text;
}

TEST(Http, PartsOfAUrl) {
  EXPECT_EQ(origin_of_url("https://example.com:5000/a/b?c"), "https://example.com:5000");
  EXPECT_EQ(host_of_url("https://example.com:5000/a"), "example.com:5000");
  EXPECT_EQ(host_of_url("https://user:secret@example.com/a"), "example.com");
  EXPECT_EQ(host_of_url("http://example.com"), "example.com");
  EXPECT_EQ(percent_encode_path("a b/c#d?e%f\xc3\xa9~.-_"), "a%20b/c%23d%3Fe%25f%C3%A9~.-_");
}

TEST(Retry, OnlySecondsAreARetryAfter) {
  EXPECT_EQ(retry_after_s("7"), 7);
  for (const char* header : {"", "-1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT", "99999999999"})
    EXPECT_EQ(retry_after_s(header), 0) << header;
}

}  // namespace
}  // namespace spillway
