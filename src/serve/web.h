// SPDX-License-Identifier: MIT
// A request and its reply as the server's routes see them; which HTTP library carries them does not show.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "serve/random_id.h"
#include "serving/asker.h"

namespace spillway {

struct WebRequest {
  std::string method, path;                    // the path without what encodes it: "%20" is a space
  std::map<std::string, std::string> headers;  // names in lower case
  std::map<std::string, std::string> query;
  std::string body;
  std::string remote;             // address of the client
  std::string local{};            // and ours, which it connected to
  std::function<bool()> is_gone;  // the client closed the connection, or the server stops; may be empty
  bool is_wanted() const { return !is_gone || !is_gone(); }
  Asker asker() const {
    return {.client = remote, .is_waiting = [gone = is_gone] { return !gone || !gone(); }};
  }
  bool takes(uint64_t bytes) const { return !may_take || may_take(bytes); }
  // For a body that is not to be held in memory: hands it over piece by piece; `sink` returns false to stop.
  // Returns false when it did not come whole. Empty when `body` holds it.
  std::function<bool(const std::function<bool(std::string_view)>& sink)> read_body;
  // Counts memory that answering takes beside the body among all bodies, until the reply has been sent. false: they are
  // too much together. May be empty.
  std::function<bool(uint64_t bytes)> may_take{};
  std::function<bool()> is_stopping{};     // the server is; may be empty
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

// What is to be done with a request's body, said before any of it is read.
struct BodyPlan {
  std::optional<WebReply> refusal{};  // not read: this is the answer
  bool in_pieces = false;             // for WebRequest::read_body
  bool takes_forms = false;           // multipart/form-data is no reason to refuse it
};

// Who answers.
class WebHandler {
 public:
  virtual ~WebHandler() = default;

  // For a request whose body has not come yet. Quick: everybody waits for it.
  virtual BodyPlan plan_body(const WebRequest& head) const = 0;

  // By many threads at once. What it throws is logged and answered with 500.
  virtual WebReply handle(const WebRequest& request) = 0;
};

}  // namespace spillway
