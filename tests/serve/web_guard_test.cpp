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
  const WebGuard guard({.loopback = true, .machine = "Workstation", .origins = {}, .api_key = ""});
  for (const char* host : {"", "localhost:11434", "127.0.0.1", "[::1]:11434", "192.168.1.7:80", "workstation",
                           "a.localhost", "printer.local", "svc.internal", "0.0.0.0"})
    EXPECT_EQ(status(guard, request({{"host", host}})), 200) << host;
  for (const char* host : {"evil.example", "evil.example:11434", "127.0.0.1.evil.example", "8.8.8.8",
                           "localhost.evil.example", "300.0.0.1", "127.0.0", "fe", "fd.evil.example", "fcafe"})
    EXPECT_EQ(status(guard, request({{"host", host}})), 403) << host;
  const WebGuard open({.loopback = false, .machine = "", .origins = {}, .api_key = ""});
  EXPECT_EQ(status(open, request({{"host", "evil.example"}})), 200);
}

TEST(WebGuard, PagesOfOtherSitesMayNot) {
  const WebGuard guard({.loopback = true, .machine = "", .origins = {"https://*.mine.example"}, .api_key = ""});
  for (const char* origin : {"http://localhost:3000", "https://127.0.0.1", "app://obsidian.md", "vscode-webview://x",
                             "tauri://localhost", "https://chat.mine.example"})
    EXPECT_EQ(status(guard, request({{"host", "localhost"}, {"origin", origin}})), 200) << origin;
  for (const char* origin : {"http://evil.example", "null", "http://localhost.evil.example", "https://mine.example"})
    EXPECT_EQ(status(guard, request({{"host", "localhost"}, {"origin", origin}})), 403) << origin;
  EXPECT_EQ(status(guard, request({{"host", "localhost:11434"}, {"origin", "http://localhost:11434"}})), 200);
}

TEST(WebGuard, APreflightIsAnswered) {
  const WebGuard guard({.loopback = true, .machine = "", .origins = {}, .api_key = "secret"});
  const WebRequest preflight = request({{"host", "localhost"}, {"origin", "http://localhost:3000"}}, "OPTIONS");
  EXPECT_EQ(status(guard, preflight), 204);
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"Access-Control-Allow-Origin", "http://localhost:3000"}, {"Vary", "Origin"}};
  EXPECT_EQ(guard.cors_headers(preflight), expected);
  EXPECT_TRUE(guard.cors_headers(request({{"host", "localhost"}})).empty());
}

TEST(WebGuard, AllOriginsIsSaidAsAStar) {
  const WebGuard guard({.loopback = false, .machine = "", .origins = {"*"}, .api_key = ""});
  const std::vector<std::pair<std::string, std::string>> expected = {{"Access-Control-Allow-Origin", "*"}};
  EXPECT_EQ(guard.cors_headers(request({{"origin", "http://any.example"}})), expected);
}

TEST(WebGuard, TheKeyIsAskedForEverywhereButForLife) {
  const WebGuard guard({.loopback = true, .machine = "", .origins = {}, .api_key = "secret"});
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
  const WebGuard without({.loopback = true, .machine = "", .origins = {}, .api_key = ""});
  EXPECT_EQ(status(without, request({{"authorization", "Bearer anything"}})), 200);
}

}  // namespace
}  // namespace spillway
