// SPDX-License-Identifier: MIT
#include "fetch/http.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <memory>
#include <mutex>
#include <optional>

#include "base/bytes.h"
#include "base/clock.h"

namespace spillway {
namespace {

constexpr long kRedirectsMax = 10;
constexpr long kBufferBytes = 512 * 1024;
constexpr size_t kHeadersMax = 200;

struct SlistDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

struct Transfer {
  CURL* curl = nullptr;
  const HttpRequest& request;
  const HttpSink& sink;
  HttpHead head;
  bool begun = false;
  std::optional<Status> failure;
  curl_off_t received = 0;
  Stopwatch since_byte;

  bool keep(const Result<void>& outcome) {
    if (!outcome) failure = outcome.error();
    return outcome.has_value();
  }

  // The answer that counts is known when its body begins: those before it were redirects.
  bool begin() {
    if (begun) return true;
    begun = true;
    long status = 0;
    char* url = nullptr;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(curl, CURLINFO_EFFECTIVE_URL, &url);
    head.status = static_cast<int>(status);
    head.url = url == nullptr ? request.url : url;
    return keep(sink.begin(head));
  }
};

std::string_view trimmed(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

size_t on_header(char* data, size_t, size_t bytes, void* user) {
  auto& head = static_cast<Transfer*>(user)->head;
  const std::string_view line = trimmed({data, bytes});
  if (line.starts_with("HTTP/")) head.headers.clear();
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || head.headers.size() >= kHeadersMax) return bytes;
  std::string name(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  head.headers[name] = trimmed(line.substr(colon + 1));
  return bytes;
}

size_t on_data(char* data, size_t, size_t bytes, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  return transfer.begin() && transfer.keep(transfer.sink.data({data, bytes})) ? bytes : 0;
}

// Called once a second also when nothing comes. libcurl's own measure of a stall is an average over some seconds, which
// the last burst keeps up.
int on_progress(void* user, curl_off_t, curl_off_t received, curl_off_t, curl_off_t) {
  auto& transfer = *static_cast<Transfer*>(user);
  const HttpRequest& request = transfer.request;
  if (request.cancelled && request.cancelled()) {
    transfer.failure = Status(Code::kCancelled, "cancelled");
    return 1;
  }
  if (received != transfer.received) transfer.since_byte = Stopwatch();
  transfer.received = received;
  // Before the first byte the connection is made, too.
  const double patience_s = request.stall_timeout_s + (received == 0 ? request.connect_timeout_s : 0);
  if (transfer.since_byte.elapsed_s() < patience_s) return 0;
  transfer.failure =
      Status(Code::kUnavailable, fmt::format("{}: nothing came for {:.0f} s", host_of_url(request.url), patience_s));
  return 1;
}

Status transport_error(CURLcode code, const char* detail, const std::string& url) {
  const std::string why = detail[0] == '\0' ? curl_easy_strerror(code) : detail;
  const std::string line = fmt::format("{}: {}", host_of_url(url), trimmed(why));
  switch (code) {
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
      return {Code::kInvalidArgument, line};
    case CURLE_PEER_FAILED_VERIFICATION:
      return {Code::kPermissionDenied, line};
    case CURLE_TOO_MANY_REDIRECTS:
      return {Code::kUnsupported, line};
    default:
      return {Code::kUnavailable, line};
  }
}

bool parse_number(std::string_view text, uint64_t& value) {
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  return ec == std::errc() && end == text.data() + text.size();
}

void initialize_curl() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

}  // namespace

std::string HttpHead::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

HttpSession::HttpSession() {
  initialize_curl();
  curl_ = curl_easy_init();
}

HttpSession::~HttpSession() { curl_easy_cleanup(curl_); }

Result<HttpHead> HttpSession::get(const HttpRequest& request, const HttpSink& sink) {
  CURL* curl = curl_;
  if (curl == nullptr) return error(Code::kInternal, "libcurl gave no handle");
  curl_easy_reset(curl);  // its connections stay
  Transfer transfer{.curl = curl, .request = request, .sink = sink, .head = {}, .failure = {}, .since_byte = {}};

  curl_easy_setopt(curl, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "spillway");
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, kBufferBytes);
  curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, kRedirectsMax);
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, request.url.starts_with("https:") ? "https" : "http,https");
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request.connect_timeout_s * 1000));

  // libcurl gives this token to the first host alone, unlike a header of our own in some versions.
  if (!request.bearer_token.empty()) {
    curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
    curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, request.bearer_token.c_str());
  }
  std::unique_ptr<curl_slist, SlistDeleter> headers;
  const auto add_header = [&](const std::string& line) {
    curl_slist* longer = curl_slist_append(headers.get(), line.c_str());
    if (longer == nullptr) return;
    static_cast<void>(headers.release());
    headers.reset(longer);
  };
  if (!request.accept.empty()) add_header("Accept: " + request.accept);
  std::string range = fmt::format("{}-", request.range_from);
  if (request.range_bytes > 0) range += fmt::format("{}", request.range_from + request.range_bytes - 1);
  if (request.range_from > 0 || request.range_bytes > 0) {
    curl_easy_setopt(curl, CURLOPT_RANGE, range.c_str());
    if (!request.if_range.empty()) add_header("If-Range: " + request.if_range);
  }
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());

  char detail[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);

  const CURLcode code = curl_easy_perform(curl);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, nullptr);
  if (request.reached != nullptr) {
    curl_off_t connect_us = 0;
    curl_easy_getinfo(curl, CURLINFO_CONNECT_TIME_T, &connect_us);
    *request.reached = code == CURLE_OK || connect_us > 0;
  }
  if (transfer.failure) return tl::unexpected<Status>(*transfer.failure);
  if (code != CURLE_OK) return tl::unexpected<Status>(transport_error(code, detail, request.url));
  if (!transfer.begin()) return tl::unexpected<Status>(*transfer.failure);  // an answer without a body
  return std::move(transfer.head);
}

Result<HttpHead> http_get(const HttpRequest& request, const HttpSink& sink) { return HttpSession().get(request, sink); }

Result<HttpText> http_get_text(const HttpRequest& request, uint64_t bytes_max) {
  HttpSession session;
  return http_get_text(session, request, bytes_max);
}

Result<HttpText> http_get_text(HttpSession& session, const HttpRequest& request, uint64_t bytes_max) {
  HttpText text;
  const HttpSink sink{.begin = [](const HttpHead&) -> Result<void> { return {}; },
                      .data = [&](std::string_view piece) -> Result<void> {
                        if (text.body.size() + piece.size() > bytes_max)
                          return error(Code::kCorrupt, fmt::format("{}: the answer is larger than {}",
                                                                   host_of_url(request.url), format_bytes(bytes_max)));
                        text.body += piece;
                        return {};
                      }};
  ASSIGN_OR_RETURN(text.head, session.get(request, sink));
  return text;
}

Status http_status_error(const HttpHead& head, const std::string& url) {
  const std::string host = host_of_url(head.url.empty() ? url : head.url);
  switch (head.status) {
    case 401:
    case 403:
      return {Code::kPermissionDenied, fmt::format("{}: access denied ({})", host, head.status)};
    case 404:
    case 410:
      return {Code::kNotFound, fmt::format("{}: not found ({})", host, head.status)};
    case 429:
      return {Code::kUnavailable, fmt::format("{}: too many requests ({}); try again later", host, head.status)};
    case 408:
    case 425:
      return {Code::kUnavailable, fmt::format("{}: try again later ({})", host, head.status)};
    default:
      if (head.status >= 500)
        return {Code::kUnavailable, fmt::format("{}: the server failed ({}); try again later", host, head.status)};
      return {Code::kUnsupported, fmt::format("{}: unexpected answer ({})", host, head.status)};
  }
}

std::optional<ContentRange> parse_content_range(std::string_view header) {
  constexpr std::string_view kUnit = "bytes ";
  if (!header.starts_with(kUnit)) return std::nullopt;
  header.remove_prefix(kUnit.size());
  const size_t dash = header.find('-'), slash = header.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || dash > slash) return std::nullopt;
  const std::string_view total = header.substr(slash + 1);
  ContentRange range;
  if (!parse_number(header.substr(0, dash), range.from)) return std::nullopt;
  if (total != "*" && !parse_number(total, range.total_bytes)) return std::nullopt;
  return range;
}

std::string origin_of_url(std::string_view url) {
  const size_t scheme_end = url.find("://");
  const size_t host = scheme_end == std::string_view::npos ? 0 : scheme_end + 3;
  return std::string(url.substr(0, std::min(url.find_first_of("/?#", host), url.size())));
}

// Without a user and password, which are nobody else's business.
std::string host_of_url(std::string_view url) {
  const std::string origin = origin_of_url(url);
  const size_t scheme_end = origin.find("://"), at = origin.rfind('@');
  if (at != std::string::npos) return origin.substr(at + 1);
  return scheme_end == std::string::npos ? origin : origin.substr(scheme_end + 3);
}

std::string percent_encode_path(std::string_view path) {
  std::string out;
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || std::string_view("-._~/").find(c) != std::string_view::npos)
      out += c;
    else
      out += fmt::format("%{:02X}", byte);
  }
  return out;
}

}  // namespace spillway
