// SPDX-License-Identifier: MIT
#include "fetch/hub_repository.h"

#include <gmock/gmock.h>

#include "fetch/http.h"
#include "fetch/retry.h"

namespace spillway {
namespace {

using testing::HasSubstr;

TEST(HubFiles, AListThatIsNoneIsRefused) {
  EXPECT_TRUE(parse_hub_files("[]"));
  EXPECT_TRUE(parse_hub_files(R"([{"type":"directory","path":"x"}, 7])"));
  for (const char* text : {"", "{}", "x", R"([{"type":"file"}])", R"([{"type":"file","path":"x","size":-1}])",
                           R"([{"type":"file","path":"x","size":1,"lfs":{"oid":"../../x"}}])",
                           R"([{"type":"file","path":"x","size":1,"lfs":{}}])"})
    EXPECT_FALSE(parse_hub_files(text)) << text;
}

TEST(HubFiles, NamesThatATerminalWouldObeyAreNotListed) {
  const auto files = parse_hub_files(R"([{"type":"file","path":"a\u001b[2J.gguf","size":1},)"
                                     R"({"type":"file","path":"a\nb.gguf","size":1},)"
                                     R"({"type":"file","path":"\u009b2J.gguf","size":1},)"
                                     R"({"type":"file","path":"caf\u00e9.gguf","size":1}])");
  ASSERT_TRUE(files) << files.error().message();
  ASSERT_THAT(*files, testing::SizeIs(1));
  EXPECT_EQ(files->front().path, "caf\xc3\xa9.gguf");
}

TEST(HubFiles, AListThatIsMadeToCostMuchIsRefused) {
  const auto refused = [](const std::string& text) {
    const auto files = parse_hub_files(text);
    return files ? std::string() : files.error().message();
  };
  EXPECT_THAT(refused(std::string(1000, '[') + std::string(1000, ']')), HasSubstr("too deeply"));
  std::string many = "[0";
  for (int i = 0; i < 1'000'000; ++i) many += ",0";
  EXPECT_THAT(refused(many + "]"), HasSubstr("more than 1000000 values"));
  EXPECT_THAT(refused(R"([{"type":"file","size":1,"path":")" + std::string(5000, 'x') + R"("}])"),
              HasSubstr("longer than"));
}

TEST(Http, PartsOfAUrl) {
  EXPECT_EQ(origin_of_url("https://example.com:5000/a/b?c"), "https://example.com:5000");
  EXPECT_EQ(host_of_url("https://example.com:5000/a"), "example.com:5000");
  EXPECT_EQ(host_of_url("https://user:secret@example.com/a"), "example.com");
  EXPECT_EQ(host_of_url("http://example.com"), "example.com");
  EXPECT_EQ(percent_encode_path("a b/c#d?e%f\xc3\xa9~.-_"), "a%20b/c%23d%3Fe%25f%C3%A9~.-_");
}

TEST(Http, AContentRangeSaysWhereAPartBegins) {
  EXPECT_EQ(parse_content_range("bytes 5-9/100")->from, 5u);
  EXPECT_EQ(parse_content_range("bytes 5-9/100")->total_bytes, 100u);
  EXPECT_EQ(parse_content_range("bytes 0-9/*")->total_bytes, 0u);
  for (const char* header : {"", "bytes", "bytes */100", "bytes 1-2", "bytes -1-2/3", "items 1-2/3", "bytes 1/2-3"})
    EXPECT_FALSE(parse_content_range(header)) << header;
}

TEST(Retry, AServerSaysForHowLongItWantsToBeLeftAlone) {
  const auto wait = [](const std::string& name, const std::string& value) {
    HttpHead head;
    head.headers[name] = value;
    return server_wait_s(head);
  };
  EXPECT_EQ(wait("retry-after", "7"), 7);
  EXPECT_EQ(wait("ratelimit", "\"resolvers\";r=0;t=55"), 55);
  EXPECT_EQ(wait("ratelimit", "\"api\";r=4;t=10, \"resolvers\";r=0;t=3"), 3);
  EXPECT_EQ(wait("ratelimit", "\"api\";r=4;t=10"), 0);
  EXPECT_EQ(wait("ratelimit", "x;r=0;t="), 0);
  EXPECT_EQ(wait("x", "7"), 0);
}

TEST(Retry, OnlySecondsAreARetryAfter) {
  EXPECT_EQ(retry_after_s("7"), 7);
  for (const char* header : {"", "-1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT", "99999999999"})
    EXPECT_EQ(retry_after_s(header), 0) << header;
}

}  // namespace
}  // namespace spillway
