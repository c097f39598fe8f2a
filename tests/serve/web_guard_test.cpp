// SPDX-License-Identifier: MIT
#include "serve/web_guard.h"

#include <gtest/gtest.h>

namespace spillway {
namespace {

WebRequest request(std::map<std::string, std::string> headers, std::string method = "GET",
                   std::string path = "/api/tags") {
  WebRequest r;
  r.method = std::move(method);
  r.path = std::move(path);
  r.headers = std::move(headers);
  return r;
}
int status(const WebGuard& guard, const WebRequest& r) {
  const auto refused = guard.check(r);
  return refused ? refused->status : 200;
}

TEST(WebGuard, ANameThatAPageMadeResolveToUsIsNoHost) {
  GuardOptions options{.machine = "Workstation", .origins = {}, .api_key = ""};
  options.hosts = {"ai.mine.example", "*.lab.example"};
  options.own_addresses = [] { return std::vector<std::string>{"192.168.1.7", "fe80::1%eth0", "fd00::7"}; };
  const WebGuard guard(options);
  const auto status_for = [&](const std::string& host) {
    WebRequest asked = request({{"host", host}});
    asked.local = "10.0.0.9";
    return status(guard, asked);
  };
  for (const char* host :
       {"", "localhost:11434", "LOCALHOST", "127.0.0.1", "127.9.9.9:1", "[::1]:11434", "[::ffff:127.0.0.1]:11434",
        "192.168.1.7:80", "10.0.0.9", "[::ffff:10.0.0.9]:5", "[fd00::7]", "workstation", "workstation.local:11434",
        "a.localhost", "host.docker.internal:11434", "0.0.0.0", "[::]:11434", "ai.mine.example", "x.lab.example:443"})
    EXPECT_EQ(status_for(host), 200) << host;
  for (const char* host : {"evil.example",
                           "evil.example:11434",
                           "127.0.0.1.evil.example",
                           "8.8.8.8",
                           "192.168.1.8",
                           "10.0.0.10",
                           "localhost.evil.example",
                           "300.0.0.1",
                           "127.0.0",
                           "fe",
                           "fd.evil.example",
                           "fcafe",
                           "printer.local",
                           "svc.internal",
                           "other.mine.example",
                           "lab.example",
                           "[fd00::8]",
                           "[::1",
                           "localhost:x",
                           "localhost:1:2",
                           "::1x",
                           "localhost\t",
                           "localhost,evil.example",
                           "127.1",
                           "2130706433",
                           "0x7f.1"})
    EXPECT_EQ(status_for(host), 403) << host;
  EXPECT_NE(guard.check(request({{"host", "evil.example"}}))->body.find("--hosts"), std::string::npos);
}

TEST(WebGuard, WhoKnowsTheKeyMayCallTheServerAsItLikes) {
  const WebGuard guard({.machine = "", .origins = {}, .api_key = "secret"});
  EXPECT_EQ(status(guard, request({{"host", "evil.example"}, {"x-api-key", "secret"}})), 200);
  EXPECT_EQ(status(guard, request({{"host", "evil.example"}})), 401);
}

TEST(WebGuard, LoopbackIsKnownInEverySpelling) {
  for (const char* address :
       {"127.0.0.1", "127.1.2.3", "::1", "[::1]", "::ffff:127.0.0.1", "::ffff:7f00:1", "0:0:0:0:0:0:0:1", "::1%lo"})
    EXPECT_TRUE(is_loopback_address(address)) << address;
  for (const char* address : {"0.0.0.0", "::", "128.0.0.1", "::2", "::ffff:10.0.0.1", "localhost", "", "127.0.0.1.x"})
    EXPECT_FALSE(is_loopback_address(address)) << address;
}

TEST(WebGuard, APatternOfManyStarsTakesNoTime) {
  const WebGuard guard({.machine = "", .origins = {"https://*a*a*a*a*a*a*b"}, .api_key = ""});
  const std::string origin = "https://" + std::string(60'000, 'a');
  EXPECT_EQ(status(guard, request({{"host", "localhost"}, {"origin", origin}})), 403);
  EXPECT_EQ(status(guard, request({{"host", "localhost"}, {"origin", origin + "b"}})), 200);
}

TEST(WebGuard, PagesOfOtherSitesMayNot) {
  const WebGuard guard({.machine = "", .origins = {"https://*.mine.example"}, .api_key = ""});
  for (const char* origin : {"http://localhost:3000", "https://127.0.0.1", "app://obsidian.md", "vscode-webview://x",
                             "tauri://localhost", "https://chat.mine.example"})
    EXPECT_EQ(status(guard, request({{"host", "localhost"}, {"origin", origin}})), 200) << origin;
  for (const char* origin : {"http://evil.example", "null", "http://localhost.evil.example", "https://mine.example"})
    EXPECT_EQ(status(guard, request({{"host", "localhost"}, {"origin", origin}})), 403) << origin;
  EXPECT_EQ(status(guard, request({{"host", "localhost:11434"}, {"origin", "http://localhost:11434"}})), 200);
}

// An image of another page has no Origin; its browser says where it comes from.
TEST(WebGuard, APageOfAnotherSiteMayNotWithoutAnOriginEither) {
  const auto asks = [](const char* site, const char* path) {
    WebRequest asked = request({{"host", "localhost"}, {"sec-fetch-site", site}});
    asked.path = path;
    return asked;
  };
  const WebGuard guard({.machine = "", .origins = {}, .api_key = ""});
  EXPECT_EQ(status(guard, asks("cross-site", "/tokenizer_info")), 403);
  EXPECT_EQ(status(guard, asks("cross-site", "/api/tags")), 403);
  for (const char* site : {"none", "same-origin", "same-site"}) EXPECT_EQ(status(guard, asks(site, "/api/tags")), 200);
  for (const char* path : {"/", "/ui", "/ui/app.js", "/health"})
    EXPECT_EQ(status(guard, asks("cross-site", path)), 200) << path;
  EXPECT_EQ(status(WebGuard({.machine = "", .origins = {"*"}, .api_key = ""}), asks("cross-site", "/api/tags")), 200);
}

TEST(WebGuard, APreflightIsAnswered) {
  const WebGuard guard({.machine = "", .origins = {}, .api_key = "secret"});
  const WebRequest preflight = request({{"host", "localhost"}, {"origin", "http://localhost:3000"}}, "OPTIONS");
  EXPECT_EQ(status(guard, preflight), 204);
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"Access-Control-Allow-Origin", "http://localhost:3000"}, {"Vary", "Origin"}};
  EXPECT_EQ(guard.cors_headers(preflight), expected);
  EXPECT_TRUE(guard.cors_headers(request({{"host", "localhost"}})).empty());
}

TEST(WebGuard, AllOriginsIsSaidAsAStar) {
  const WebGuard guard({.machine = "", .origins = {"*"}, .api_key = ""});
  const std::vector<std::pair<std::string, std::string>> expected = {{"Access-Control-Allow-Origin", "*"}};
  EXPECT_EQ(guard.cors_headers(request({{"origin", "http://any.example"}})), expected);
}

TEST(WebGuard, TheKeyIsAskedForEverywhereButForLife) {
  const WebGuard guard({.machine = "", .origins = {}, .api_key = "secret"});
  EXPECT_EQ(status(guard, request({})), 401);
  EXPECT_EQ(status(guard, request({{"authorization", "Bearer secret"}})), 200);
  EXPECT_EQ(status(guard, request({{"x-api-key", "secret"}})), 200);
  for (const char* wrong : {"Bearer ", "Bearer secre", "Bearer secret1", "secret", "Basic secret"})
    EXPECT_EQ(status(guard, request({{"authorization", wrong}})), 401) << wrong;
  EXPECT_EQ(status(guard, request({}, "GET", "/health")), 200);
  for (
      const auto& [path, body] : std::vector<std::pair<std::string, std::string>>{
          {"/api/chat", R"({"error":"invalid API key"})"},
          {"/v1/chat/completions",
           R"({"error":{"type":"authentication_error","message":"invalid API key","param":null,"code":"invalid_api_key"}})"},
          {"/v1/messages",
           R"({"type":"error","error":{"type":"authentication_error","message":"invalid API key"},"request_id":"req_1"})"}}) {
    WebRequest refused = request({}, "POST", path);
    refused.id = "req_1";
    EXPECT_EQ(guard.check(refused)->body, body);
  }
  const WebGuard without({.machine = "", .origins = {}, .api_key = ""});
  EXPECT_EQ(status(without, request({{"authorization", "Bearer anything"}})), 200);
}

}  // namespace
}  // namespace spillway
