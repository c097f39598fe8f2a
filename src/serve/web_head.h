// SPDX-License-Identifier: MIT
// The first lines of requests and replies, as text and back. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "serve/web.h"

namespace spillway {

// The path and query of a request's target into `request`: "/a%20b?c=d", "http://host/a" as to a proxy, "*". A host in
// it takes the place of that in the headers, as HTTP says.
//   InvalidArgument   anything else
Result<void> read_target(std::string_view target, WebRequest& request);

struct ReplyHead {
  bool is_http_1_0 = false;
  bool closes = false;                     // the connection ends with this reply
  std::optional<uint64_t> content_length;  // nullopt: a stream; in chunks, for HTTP/1.1
};
// Up to the empty line. Headers of a value that cannot stand there are left out.
std::string reply_head(const WebReply& reply, const ReplyHead& head);

const char* reason_of(int status);

}  // namespace spillway
