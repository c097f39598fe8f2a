// SPDX-License-Identifier: MIT
#include "fetch/http.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/utf8.h"

namespace spillway {
namespace {

constexpr int kRedirectsMax = 10;
constexpr size_t kRedirectBodyBytesMax = 1 << 20;
constexpr long kBufferBytes = 512L * 1024;
constexpr size_t kHeadersMax = 200;
constexpr const char* kAccessDenied = "access_denied";  // a Status's reason

struct SlistDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

// Where we have come to, from the URL that was asked for.
struct Hop {
  std::string url;
  int number = 0;
  bool began_in_own_network = false;
};

struct Transfer {
  CURL* curl = nullptr;
  const HttpRequest& request;
  const HttpSink& sink;
  Hop& hop;
  HttpHead head;
  bool begun = false;
  size_t redirect_bytes = 0;
  std::optional<Status> failure;
  std::exception_ptr thrown;  // by what libcurl called: its frames are no place to throw through
  curl_off_t received = 0;
  Stopwatch since_byte;

  bool keep(const Result<void>& outcome) {
    if (!outcome) failure = outcome.error();
    return outcome.has_value();
  }

  int status() const {
    long code = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
    return static_cast<int>(code);
  }
  bool is_redirect() const {
    const int code = status();
    const bool kind = code == 301 || code == 302 || code == 303 || code == 307 || code == 308;
    return kind && !head.header("location").empty();
  }

  bool begin() {
    if (begun) return true;
    begun = true;
    head.status = status();
    head.url = hop.url;
    head.in_own_network = hop.began_in_own_network;
    return keep(sink.begin(head));
  }
};

// What a callback answers; `otherwise`, which ends the transfer, where it throws.
template <typename Call, typename Answer>
Answer answer_of(Transfer& transfer, Answer otherwise, const Call& call) {
  try {
    return call();
  } catch (...) {
    transfer.thrown = std::current_exception();
    return otherwise;
  }
}

std::string_view trimmed(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

void take_header(HttpHead& head, std::string_view line) {
  if (line.starts_with("HTTP/")) head.headers.clear();
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || head.headers.size() >= kHeadersMax) return;
  std::string name(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  head.headers[name] = trimmed(line.substr(colon + 1));
}

size_t on_header(char* data, size_t, size_t bytes, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  return answer_of(transfer, size_t{0}, [&] {
    take_header(transfer.head, trimmed({data, bytes}));
    return bytes;
  });
}

size_t on_data(char* data, size_t, size_t bytes, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  return answer_of(transfer, size_t{0}, [&]() -> size_t {
    // What a redirect says besides is nobody's.
    if (transfer.is_redirect()) return (transfer.redirect_bytes += bytes) <= kRedirectBodyBytesMax ? bytes : 0;
    return transfer.begin() && transfer.keep(transfer.sink.data({data, bytes})) ? bytes : 0;
  });
}

// Called once a second also when nothing comes. libcurl's own measure of a stall is an average over some seconds, which
// the last burst keeps up.
int look_at_progress(Transfer& transfer, curl_off_t received) {
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

int on_progress(void* user, curl_off_t, curl_off_t received, curl_off_t, curl_off_t) {
  auto& transfer = *static_cast<Transfer*>(user);
  return answer_of(transfer, 1, [&] { return look_at_progress(transfer, received); });
}

// Before the request is sent: whom we are connected to, by address. Behind a proxy that is always the proxy.
int look_at_address(Transfer& transfer, const char* address) {
  const bool own = is_own_network(address);
  if (transfer.hop.number == 0) transfer.hop.began_in_own_network = own && !transfer.request.from_outside;
  if (!own || transfer.hop.began_in_own_network) return CURL_PREREQFUNC_OK;
  transfer.failure = Status(Code::kPermissionDenied, fmt::format("{}: leads into the network of this machine ({})",
                                                                 host_of_url(transfer.request.url), address));
  return CURL_PREREQFUNC_ABORT;
}

int on_connected(void* user, char* address, char*, int, int) {
  auto& transfer = *static_cast<Transfer*>(user);
  return answer_of(transfer, CURL_PREREQFUNC_ABORT, [&] { return look_at_address(transfer, address); });
}

// `location` as a whole URL; empty when it is none, or none that may be followed.
std::string next_url(const std::string& from, const std::string& location) {
  const std::unique_ptr<CURLU, void (*)(CURLU*)> url(curl_url(), curl_url_cleanup);
  char* text = nullptr;
  if (url == nullptr || curl_url_set(url.get(), CURLUPART_URL, from.c_str(), 0) != CURLUE_OK ||
      curl_url_set(url.get(), CURLUPART_URL, location.c_str(), CURLU_URLENCODE) != CURLUE_OK ||
      curl_url_get(url.get(), CURLUPART_URL, &text, 0) != CURLUE_OK)
    return "";
  std::string next(text);
  curl_free(text);
  const bool same_host_by_http =
      next.starts_with("http://") && from.starts_with("http://") && name_of_url(next) == name_of_url(from);
  return next.starts_with("https://") || same_host_by_http ? next : "";
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
    case CURLE_OUT_OF_MEMORY:  // so libcurl calls a line of more than 100 kB, too
      return {
          Code::kUnavailable,
          fmt::format("{}: a header of its answer is longer than libcurl takes, or memory is out", host_of_url(url))};
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

namespace {

// One request and its answer; a redirect is an answer, too.
Result<Transfer> perform(CURL* curl, const HttpRequest& request, const HttpSink& sink, Hop& hop) {
  Transfer transfer{.curl = curl,
                    .request = request,
                    .sink = sink,
                    .hop = hop,
                    .head = {},
                    .failure = {},
                    .thrown = nullptr,
                    .since_byte = {}};
  curl_easy_reset(curl);  // connections are kept
  curl_easy_setopt(curl, CURLOPT_URL, hop.url.c_str());
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "spillway");
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, kBufferBytes);
  curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request.connect_timeout_s * 1000));
  curl_easy_setopt(curl, CURLOPT_PREREQFUNCTION, on_connected);
  curl_easy_setopt(curl, CURLOPT_PREREQDATA, &transfer);

  if (!request.bearer_token.empty() && origin_of_url(hop.url) == origin_of_url(request.url)) {
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
  if (transfer.thrown) std::rethrow_exception(transfer.thrown);
  if (request.reached != nullptr) {
    curl_off_t connect_us = 0;
    curl_easy_getinfo(curl, CURLINFO_CONNECT_TIME_T, &connect_us);
    *request.reached = code == CURLE_OK || connect_us > 0;
  }
  if (transfer.failure) return Failure(*transfer.failure);
  if (code != CURLE_OK) return Failure(transport_error(code, detail, hop.url));
  return transfer;
}

}  // namespace

HttpSession::HttpSession() {
  initialize_curl();
  curl_ = curl_easy_init();
}

HttpSession::~HttpSession() { curl_easy_cleanup(curl_); }

Result<HttpHead> HttpSession::get(const HttpRequest& request, const HttpSink& sink) {
  if (curl_ == nullptr) return error(Code::kInternal, "libcurl gave no handle");
  // An answer may come before a transfer's own look at it.
  if (request.cancelled && request.cancelled()) return error(Code::kCancelled, "cancelled");
  for (Hop hop{.url = request.url}; hop.number <= kRedirectsMax; ++hop.number) {
    ASSIGN_OR_RETURN(Transfer transfer, perform(curl_, request, sink, hop));
    if (!transfer.is_redirect()) {
      if (!transfer.begin()) return Failure(*transfer.failure);  // an answer without a body
      return std::move(transfer.head);
    }
    const std::string location = transfer.head.header("location");
    const std::string next = next_url(hop.url, location);
    if (next.empty())
      return error(Code::kPermissionDenied, fmt::format("{}: redirects to {}, which is not followed",
                                                        host_of_url(hop.url), shortened(location)));
    hop.url = next;
  }
  return error(Code::kUnsupported, fmt::format("{}: more than {} redirects", host_of_url(request.url), kRedirectsMax));
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
      return Status(Code::kPermissionDenied, fmt::format("{}: access denied ({})", host, head.status))
          .with_reason(kAccessDenied);
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

bool is_access_denied(const Status& failure) { return failure.reason() == kAccessDenied; }

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

std::string name_of_url(std::string_view url) {
  std::string host = host_of_url(url);
  for (char& c : host)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  if (host.starts_with('[')) return host.substr(1, host.find(']') - 1);
  return host.substr(0, host.find(':'));
}

bool is_own_network(const std::string& address) {
  std::array<unsigned char, 16> ip{};
  std::array<unsigned char, 4> four{};
  bool is_four = inet_pton(AF_INET, address.c_str(), four.data()) == 1;
  if (!is_four) {
    if (inet_pton(AF_INET6, address.substr(0, address.find('%')).c_str(), ip.data()) != 1) return false;
    constexpr std::array<unsigned char, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    is_four = std::equal(kMapped.begin(), kMapped.end(), ip.begin());
    if (is_four) std::copy(ip.begin() + 12, ip.end(), four.begin());
  }
  if (is_four)
    return four[0] == 0 || four[0] == 127 || four[0] == 10 || (four[0] == 172 && (four[1] & 0xf0u) == 16) ||
           (four[0] == 192 && four[1] == 168) || (four[0] == 169 && four[1] == 254) ||
           (four[0] == 100 && (four[1] & 0xc0u) == 64);
  const bool none_or_loopback =
      std::all_of(ip.begin(), ip.begin() + 15, [](auto byte) { return byte == 0; }) && ip[15] <= 1;
  return none_or_loopback || (ip[0] & 0xfeu) == 0xfc || (ip[0] == 0xfe && (ip[1] & 0xc0u) == 0x80);
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
