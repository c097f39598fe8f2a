// SPDX-License-Identifier: MIT
// Bodies of requests on their way to what they ask for. As a tree of JSON a body takes up to twenty times its size, so
// large ones are read two at a time, clients in turns.
//
// Threads: any.
#pragma once

#include <string_view>

#include "base/status.h"
#include "serve/web.h"
#include "serving/fair_places.h"

namespace spillway {

// While it lives the request's body may be read. Null for a small one, which never waits.
//   Cancelled   who asked has left
Result<FairPlaces::Place> place_to_read(const WebRequest& request);

// What `parse` makes of the body. What it leaves behind should be no tree of JSON.
//   errors of place_to_read() and of `parse`
template <typename Parse>
auto read_body(const WebRequest& request, const Parse& parse) -> decltype(parse(std::string_view())) {
  ASSIGN_OR_RETURN(const auto place, place_to_read(request));
  return parse(request.body);
}

}  // namespace spillway
