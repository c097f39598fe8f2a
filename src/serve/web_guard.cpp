// SPDX-License-Identifier: MIT
#include "serve/web_guard.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/utf8.h"
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

// '*' in the pattern stands for any text. Only the last one that was met is tried again.
bool matches(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, behind_star = std::string_view::npos, tried = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      behind_star = ++p;
      tried = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p, ++t;
    } else if (behind_star != std::string_view::npos) {
      p = behind_star;
      t = ++tried;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

// "host:port" and "[v6]:port" without the port; nullopt: neither.
std::optional<std::string> without_port(std::string_view host) {
  std::string_view port;
  if (host.starts_with('[')) {
    const size_t end = host.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    port = host.substr(end + 1);
    host = host.substr(1, end - 1);
  } else if (const size_t colon = host.find(':'); colon != std::string_view::npos) {
    port = host.substr(colon);
    host = host.substr(0, colon);
  }
  const bool number = port.empty() || (port.starts_with(':') && port.size() <= 6 &&
                                       port.substr(1).find_first_not_of("0123456789") == std::string_view::npos);
  return number ? std::optional(lower(std::string(host))) : std::nullopt;
}

// 16 bytes of IPv6; an IPv4 address as the one of IPv6 that stands for it.
using Address = std::array<unsigned char, 16>;

std::optional<Address> parse_address(std::string text) {
  if (const size_t zone = text.find('%'); zone != std::string::npos) text.resize(zone);
  Address address{};
  if (inet_pton(AF_INET6, text.c_str(), address.data()) == 1) return address;
  address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0};
  if (inet_pton(AF_INET, text.c_str(), address.data() + 12) == 1) return address;
  return std::nullopt;
}

bool is_loopback(const Address& address) {
  static const Address kOne = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  static const Address kFour = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 0};
  return address == kOne || std::equal(address.begin(), address.begin() + 13, kFour.begin());
}

// 0.0.0.0 and ::, by which a client means its own machine.
bool is_unspecified(const Address& address) {
  static const Address kNone{};
  static const Address kFour = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0};
  return address == kNone || address == kFour;
}

// Whether it lives may be asked without a key, and the page loads without one: it asks for it then.
bool is_open(const std::string& path) {
  return path == "/" || path == "/health" || path == "/v1/health" || path == "/ui" || path.starts_with("/ui/");
}

// Equal in time that does not depend on where they differ.
bool equal_in_constant_time(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size(); ++i)
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b.empty() ? 0 : b[i % b.size()]);
  return difference == 0;
}

}  // namespace

bool is_loopback_address(std::string_view address) {
  if (address.starts_with('[') && address.ends_with(']')) address = address.substr(1, address.size() - 2);
  const auto parsed = parse_address(std::string(address));
  return parsed && is_loopback(*parsed);
}

WebGuard::WebGuard(GuardOptions options) : options_(std::move(options)) {
  for (const char* scheme : {"http://", "https://"})
    for (const char* host : {"localhost", "127.0.0.1", "0.0.0.0", "[::1]"})
      for (const char* port : {"", ":*"}) options_.origins.push_back(std::string(scheme) + host + port);
  for (const char* scheme : {"app://*", "file://*", "tauri://*", "vscode-webview://*", "vscode-file://*"})
    options_.origins.push_back(scheme);
}

// A page that makes its own name resolve to an address of ours still sends that name as Host. Who knows the key is no
// such page.
bool WebGuard::host_allowed(const WebRequest& request) const {
  const std::string header = request.header("host");
  if (!options_.api_key.empty() || header.empty()) return true;
  const auto host = without_port(header);
  if (!host) return false;
  if (const auto address = parse_address(*host)) {
    if (is_loopback(*address) || is_unspecified(*address)) return true;
    if (address == parse_address(request.local)) return true;
    if (options_.own_addresses)
      for (const std::string& own : options_.own_addresses())
        if (address == parse_address(own)) return true;
  }
  const std::string machine = lower(options_.machine);
  if (*host == "localhost" || host->ends_with(".localhost")) return true;
  if (!machine.empty() && (*host == machine || *host == machine + ".local")) return true;
  // What containers call the machine that they run on.
  for (const char* name : {"host.docker.internal", "gateway.docker.internal", "host.containers.internal"})
    if (*host == name) return true;
  return std::any_of(options_.hosts.begin(), options_.hosts.end(),
                     [&](const std::string& pattern) { return matches(lower(pattern), *host); });
}

bool WebGuard::origin_allowed(const std::string& origin) const {
  return std::any_of(options_.origins.begin(), options_.origins.end(),
                     [&](const std::string& pattern) { return matches(pattern, origin); });
}

bool WebGuard::anybody_allowed() const {
  return std::find(options_.origins.begin(), options_.origins.end(), "*") != options_.origins.end();
}

bool WebGuard::key_given(const WebRequest& request) const {
  const std::string bearer = request.header("authorization"), key = request.header("x-api-key");
  return (bearer.starts_with("Bearer ") && equal_in_constant_time(bearer.substr(7), options_.api_key)) ||
         equal_in_constant_time(key, options_.api_key);
}

std::optional<WebReply> WebGuard::check(const WebRequest& request) const {
  const auto refuse = [&](int status, const std::string& why) -> WebReply {
    return {.status = status, .body = error_body(request, status, why)};
  };
  if (!host_allowed(request))
    return refuse(403, fmt::format("\"{}\" is none of this server's names: allow it with --hosts, or use --api-key",
                                   shortened(request.header("host"))));
  const std::string origin = request.header("origin"), host = request.header("host");
  const bool cross = !origin.empty() && origin != "http://" + host && origin != "https://" + host;
  if (cross && !origin_allowed(origin))
    return refuse(403,
                  fmt::format("pages of {} may not use this server: allow them with --origins", shortened(origin)));
  // Images, frames and links of another page come without an Origin. A browser says so in a header of its own.
  if (origin.empty() && request.header("sec-fetch-site") == "cross-site" && !is_open(request.path) &&
      !anybody_allowed())
    return refuse(403, "pages of other sites may not use this server: allow them with --origins");
  if (request.method == "OPTIONS") {
    WebReply reply{.status = 204, .content_type = "", .body = ""};
    if (cross)
      reply.headers = {{"Access-Control-Allow-Methods", kAllowedMethods},
                       {"Access-Control-Allow-Headers", kAllowedHeaders},
                       {"Access-Control-Max-Age", "43200"}};
    return reply;
  }
  if (options_.api_key.empty() || is_open(request.path) || key_given(request)) return std::nullopt;
  WebReply unknown = refuse(401, "invalid API key");
  unknown.headers = {{"WWW-Authenticate", "Bearer"}};
  return unknown;
}

std::vector<std::pair<std::string, std::string>> WebGuard::cors_headers(const WebRequest& request) const {
  const std::string origin = request.header("origin"), host = request.header("host");
  if (origin.empty() || origin == "http://" + host || origin == "https://" + host || !origin_allowed(origin)) return {};
  if (anybody_allowed()) return {{"Access-Control-Allow-Origin", "*"}};
  return {{"Access-Control-Allow-Origin", origin}, {"Vary", "Origin"}};
}

}  // namespace spillway
