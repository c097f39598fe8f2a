// SPDX-License-Identifier: MIT
// Bodies of requests on their way to what they ask for, and large replies on theirs. As a tree of JSON a body takes up
// to twenty times its size, so large ones are read two at a time, clients in turns. What a tree took goes back to the
// system before the next one is made: who asked may wait for minutes, and his thread's area of the allocator would keep
// it.
//
// Threads: any.
#pragma once

#include <string_view>

#include "base/status.h"
#include "os/memory.h"
#include "serve/web.h"
#include "serving/fair_places.h"

namespace spillway {

// Trees of smaller bodies take some 5 MB: no reason to go through all areas of the allocator.
inline constexpr size_t kLargeBodyBytes = 256 << 10;

// While it lives the request's body may be read. Null for a small one, which never waits.
//   Cancelled   who asked has left
Result<FairPlaces::Place> place_to_read(const WebRequest& request);

// While it lives a reply of about so many bytes may be made, which takes a few times as much. Null for a small one; of
// others one is made at a time.
//   Cancelled   who asked has left
Result<FairPlaces::Place> place_to_write(const WebRequest& request, size_t bytes);

// What is said where WebRequest::may_take says no.
Status too_many_at_once();

// What `parse` makes of the body. What it leaves behind should be no tree of JSON.
//   errors of place_to_read() and of `parse`
template <typename Parse>
auto read_body(const WebRequest& request, const Parse& parse) -> decltype(parse(std::string_view())) {
  ASSIGN_OR_RETURN(const auto place, place_to_read(request));
  auto parsed = parse(request.body);
  if (request.body.size() > kLargeBodyBytes) give_back_freed_memory();
  return parsed;
}

}  // namespace spillway
