// SPDX-License-Identifier: MIT
// HTTP GETs, by libcurl: redirects, proxies of the environment, timeouts. Private to this room.
//
// Where a server may send us: by https anywhere but into the network that we ourselves are in (loopback, private and
// link-local addresses), unless it is there itself; by http only to the host that was asked by http. A token is sent to
// the origin that was asked and to no other one. What a server outside names for us to ask next is asked
// `from_outside`.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace spillway {

struct HttpRequest {
  std::string url;
  std::string accept;  // media type; empty: anything
  std::string bearer_token;
  uint64_t range_from = 0;   // bytes before it are not asked for
  uint64_t range_bytes = 0;  // nor those behind so many; 0: up to the end
  std::string if_range;      // an ETag: what was asked for must still be that, or all of it comes
  double connect_timeout_s = 30;
  double stall_timeout_s = 30;
  std::function<bool()> cancelled;
  bool* reached = nullptr;    // set: whether there was a connection at all
  bool from_outside = false;  // not even the first connection may lead into our own network
};

struct HttpHead {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case; of the last answer
  std::string url;                             // where the redirects led
  bool in_own_network = false;                 // who was asked first is there

  std::string header(const std::string& name) const;  // empty when there is none
};

// Called on the calling thread: first `begin` once, then `data` for each piece. An error ends the transfer and is what
// http_get() returns.
struct HttpSink {
  std::function<Result<void>(const HttpHead&)> begin;
  std::function<Result<void>(std::string_view)> data;
};

// One request after the other, over connections that are kept for the next. One thread.
class HttpSession {
 public:
  HttpSession();
  ~HttpSession();
  HttpSession(const HttpSession&) = delete;
  HttpSession& operator=(const HttpSession&) = delete;

  // Any status is an answer, not an error.
  //   Unavailable        no connection, cut off, stalled      PermissionDenied   the certificate is not trusted, or a
  //                                                                              redirect leads where none may
  //   InvalidArgument    no such kind of URL                  Cancelled          and whatever the sink says
  Result<HttpHead> get(const HttpRequest& request, const HttpSink& sink);

 private:
  void* curl_;
};

// The same once.
Result<HttpHead> http_get(const HttpRequest& request, const HttpSink& sink);

// The whole answer as text.
//   Corrupt   more than `bytes_max`, and as above
struct HttpText {
  HttpHead head;
  std::string body;
};
Result<HttpText> http_get_text(const HttpRequest& request, uint64_t bytes_max);
Result<HttpText> http_get_text(HttpSession& session, const HttpRequest& request, uint64_t bytes_max);

// What a status other than 2xx means, in one line that names the URL's host.
//   NotFound  PermissionDenied  Unavailable  Unsupported
Status http_status_error(const HttpHead& head, const std::string& url);

// Whether a server said so (401, 403): PermissionDenied is also said of certificates, and of where it may not lead.
bool is_access_denied(const Status& failure);

// `Content-Range: bytes FROM-TO/TOTAL`; none when it is not like that. TOTAL may be "*": 0 then.
struct ContentRange {
  uint64_t from = 0, total_bytes = 0;
};
std::optional<ContentRange> parse_content_range(std::string_view header);

std::string host_of_url(std::string_view url);           // "example.com:5000"
std::string origin_of_url(std::string_view url);         // "https://example.com:5000"
std::string name_of_url(std::string_view url);           // "example.com", in lower case; "::1"
bool is_own_network(const std::string& address);         // loopback, private, link-local; not for names
std::string percent_encode_path(std::string_view path);  // all but letters, digits, "-._~/"

}  // namespace spillway
