// SPDX-License-Identifier: MIT
#include "fetch/http.h"

#include <gmock/gmock.h>

#include <stdexcept>

#include "test_server.h"

namespace spillway {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint64_t kBytesMax = 1 << 20;

HttpRequest request_of(const std::string& url) {
  return {.url = url, .accept = {}, .bearer_token = {}, .if_range = {}, .cancelled = {}};
}

// Names lead where their owners say, and to another place a moment later.
TEST(Http, WhatAServerOutsideNamesDoesNotLeadIntoOurOwnNetwork) {
  const TestServer server([](const TestRequest&) { return TestAnswer{.body = "secret"}; });
  HttpRequest request = request_of(server.url());
  request.from_outside = true;
  const auto refused = http_get_text(request, kBytesMax);
  ASSERT_FALSE(refused);
  EXPECT_STREQ(code_name(refused.error().code()), code_name(Code::kPermissionDenied));
  EXPECT_THAT(refused.error().message(), HasSubstr("leads into the network of this machine (127.0.0.1)"));
  EXPECT_THAT(server.requests(), IsEmpty());

  const auto text = http_get_text(request_of(server.url()), kBytesMax);
  ASSERT_TRUE(text) << text.error().message();
  EXPECT_TRUE(text->head.in_own_network);
}

TEST(Http, WhatIsThrownMeanwhileIsThrownBehindLibcurlAndTheNextRequestGoesOn) {
  const TestServer server([](const TestRequest&) { return TestAnswer{.body = "text"}; });
  HttpSession session;
  const HttpSink throws_at_data{.begin = [](const HttpHead&) -> Result<void> { return {}; },
                                .data = [](std::string_view) -> Result<void> { throw std::length_error("data"); }};
  const HttpSink throws_at_begin{.begin = [](const HttpHead&) -> Result<void> { throw std::length_error("begin"); },
                                 .data = [](std::string_view) -> Result<void> { return {}; }};
  const HttpRequest request = request_of(server.url());
  for (const HttpSink* sink : {&throws_at_data, &throws_at_begin}) {
    EXPECT_THROW((void)session.get(request, *sink), std::length_error);
    const auto text = http_get_text(session, request, kBytesMax);
    ASSERT_TRUE(text) << text.error().message();
    EXPECT_EQ(text->body, "text");
  }
}

}  // namespace
}  // namespace spillway
