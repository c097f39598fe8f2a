// SPDX-License-Identifier: MIT
// A request and its reply as the server's routes see them; which HTTP library carries them does not show.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "serve/random_id.h"

namespace spillway {

struct WebRequest {
  std::string method, path;
  std::map<std::string, std::string> headers;  // names in lower case
  std::map<std::string, std::string> query;
  std::string body;
  std::string remote;             // address of the client
  std::function<bool()> is_gone;  // the client closed the connection; may be empty
  // For a body that is not to be held in memory: hands it over piece by piece; `sink` returns false to stop.
  // Returns false when it did not come whole. Empty when `body` holds it.
  std::function<bool(const std::function<bool(std::string_view)>& sink)> read_body;
  std::string id = random_id("req_", 24);  // what errors and the reply's headers call it

  std::string header(const std::string& lower_case_name) const {
    const auto found = headers.find(lower_case_name);
    return found == headers.end() ? "" : found->second;
  }
};

// Writes to the client at once. false: it is gone, or reads nothing for too long.
using WebSink = std::function<bool(std::string_view bytes)>;

struct WebReply {
  int status = 200;
  std::string content_type = "application/json; charset=utf-8";
  std::string body{};
  std::vector<std::pair<std::string, std::string>> headers{};
  // Instead of `body`: called once, on the thread of the request.
  std::function<void(const WebSink&)> stream{};
};

}  // namespace spillway
