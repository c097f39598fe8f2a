// SPDX-License-Identifier: MIT
#include "serve/web_guard.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "serve/error_body.h"

namespace spillway {
namespace {

constexpr const char* kAllowedMethods = "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS";
constexpr const char* kAllowedHeaders =
    "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,X-Api-Key,Anthropic-Version,Anthropic-Beta,"
    "Anthropic-Dangerous-Direct-Browser-Access,OpenAI-Beta,x-stainless-arch,x-stainless-async,"
    "x-stainless-custom-poll-interval,x-stainless-helper-method,x-stainless-lang,x-stainless-os,"
    "x-stainless-package-version,x-stainless-poll-helper,x-stainless-retry-count,x-stainless-runtime,"
    "x-stainless-runtime-version,x-stainless-timeout";

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text;
}

// '*' in the pattern stands for any text.
bool matches(std::string_view pattern, std::string_view text) {
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == text;
  const std::string_view head = pattern.substr(0, star), tail = pattern.substr(star + 1);
  if (!text.starts_with(head)) return false;
  for (size_t at = head.size(); at <= text.size(); ++at)
    if (matches(tail, text.substr(at))) return true;
  return false;
}

// "host:port" and "[v6]:port" without the port.
std::string without_port(std::string_view host) {
  if (host.starts_with('[')) return std::string(host.substr(1, host.find(']') - 1));
  const size_t colon = host.find(':');
  return std::string(colon != std::string_view::npos && host.find(':', colon + 1) != std::string_view::npos
                         ? host
                         : host.substr(0, colon));
}

std::optional<std::array<int, 4>> parse_ipv4(std::string_view text) {
  std::array<int, 4> parts{};
  for (size_t i = 0; i < 4; ++i) {
    const size_t dot = text.find('.');
    const std::string_view part = text.substr(0, dot);
    if ((i < 3) == (dot == std::string_view::npos) || part.empty() || part.size() > 3) return std::nullopt;
    const auto [end, failed] = std::from_chars(part.data(), part.data() + part.size(), parts[i]);
    if (failed != std::errc() || end != part.data() + part.size() || parts[i] > 255) return std::nullopt;
    text.remove_prefix(dot == std::string_view::npos ? text.size() : dot + 1);
  }
  return parts;
}

bool is_local_address(const std::string& host) {
  if (const auto ip = parse_ipv4(host)) {
    const auto& [a, b, c, d] = *ip;
    return a == 127 || a == 10 || (a == 192 && b == 168) || (a == 172 && b >= 16 && b < 32) || (a | b | c | d) == 0;
  }
  // A name is none of these, whatever it begins with.
  if (host.find(':') == std::string::npos || host.find_first_not_of("0123456789abcdef:") != std::string::npos)
    return false;
  return host == "::1" || host == "::" || host.starts_with("fd") || host.starts_with("fc");
}

// Equal in time that does not depend on where they differ.
bool equal_in_constant_time(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size(); ++i)
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b.empty() ? 0 : b[i % b.size()]);
  return difference == 0;
}

}  // namespace

WebGuard::WebGuard(GuardOptions options) : options_(std::move(options)) {
  for (const char* scheme : {"http://", "https://"})
    for (const char* host : {"localhost", "127.0.0.1", "0.0.0.0", "[::1]"})
      for (const char* port : {"", ":*"}) options_.origins.push_back(std::string(scheme) + host + port);
  for (const char* scheme : {"app://*", "file://*", "tauri://*", "vscode-webview://*", "vscode-file://*"})
    options_.origins.push_back(scheme);
}

// A page that makes its own name resolve to 127.0.0.1 still sends that name as Host.
bool WebGuard::host_allowed(const std::string& header) const {
  if (!options_.loopback || header.empty()) return true;
  const std::string host = lower(without_port(header));
  if (host == "localhost" || host == lower(options_.machine) || is_local_address(host)) return true;
  for (const char* suffix : {".localhost", ".local", ".internal"})
    if (host.ends_with(suffix)) return true;
  return false;
}

bool WebGuard::origin_allowed(const std::string& origin) const {
  return std::any_of(options_.origins.begin(), options_.origins.end(),
                     [&](const std::string& pattern) { return matches(pattern, origin); });
}

bool WebGuard::key_given(const WebRequest& request) const {
  const std::string bearer = request.header("authorization"), key = request.header("x-api-key");
  return (bearer.starts_with("Bearer ") && equal_in_constant_time(bearer.substr(7), options_.api_key)) ||
         equal_in_constant_time(key, options_.api_key);
}

std::optional<WebReply> WebGuard::check(const WebRequest& request) const {
  const WebReply forbidden{.status = 403, .content_type = "text/plain", .body = ""};
  if (!host_allowed(request.header("host"))) return forbidden;
  const std::string origin = request.header("origin"), host = request.header("host");
  const bool cross = !origin.empty() && origin != "http://" + host && origin != "https://" + host;
  if (cross && !origin_allowed(origin)) return forbidden;
  if (request.method == "OPTIONS") {
    WebReply reply{.status = 204, .content_type = "", .body = ""};
    if (cross)
      reply.headers = {{"Access-Control-Allow-Methods", kAllowedMethods},
                       {"Access-Control-Allow-Headers", kAllowedHeaders},
                       {"Access-Control-Max-Age", "43200"}};
    return reply;
  }
  // Whether it lives may be asked without a key, and the page loads without one: it asks for it then.
  const bool open = request.path == "/" || request.path == "/health" || request.path == "/v1/health" ||
                    request.path == "/ui" || request.path.starts_with("/ui/");
  if (options_.api_key.empty() || open || key_given(request)) return std::nullopt;
  return WebReply{
      .status = 401, .body = error_body(request, 401, "invalid API key"), .headers = {{"WWW-Authenticate", "Bearer"}}};
}

std::vector<std::pair<std::string, std::string>> WebGuard::cors_headers(const WebRequest& request) const {
  const std::string origin = request.header("origin"), host = request.header("host");
  if (origin.empty() || origin == "http://" + host || origin == "https://" + host || !origin_allowed(origin)) return {};
  if (std::find(options_.origins.begin(), options_.origins.end(), "*") != options_.origins.end())
    return {{"Access-Control-Allow-Origin", "*"}};
  return {{"Access-Control-Allow-Origin", origin}, {"Vary", "Origin"}};
}

}  // namespace spillway
