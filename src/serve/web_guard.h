// SPDX-License-Identifier: MIT
// Who may use the server, decided before anything else: pages of other sites may not (Host and Origin), nor who lacks
// the key. Pure.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "serve/web.h"

namespace spillway {

struct GuardOptions {
  std::string machine;               // this machine's host name
  std::vector<std::string> hosts{};  // more names that the server may be asked for by; '*' stands for anything
  std::vector<std::string> origins;  // more origins that may; '*' in them stands for anything
  std::string api_key;               // empty: none is asked for
  // The addresses of this machine now; null: those that clients connect to are all that is known.
  std::function<std::vector<std::string>()> own_addresses{};
};

class WebGuard {
 public:
  explicit WebGuard(GuardOptions options);

  // A reply that ends the request here: 403 for a foreign Host or Origin, 204 for a preflight, 401 without the key.
  std::optional<WebReply> check(const WebRequest& request) const;

  // What a reply to `request` carries for the browser.
  std::vector<std::pair<std::string, std::string>> cors_headers(const WebRequest& request) const;

 private:
  bool host_allowed(const WebRequest& request) const;
  bool origin_allowed(const std::string& origin) const;
  bool anybody_allowed() const;  // pages of all origins
  bool key_given(const WebRequest& request) const;

  GuardOptions options_;
};

// An address in any spelling that a socket takes ("::ffff:127.0.0.1", "[::1]"). Not a name.
bool is_loopback_address(std::string_view address);

}  // namespace spillway
