// SPDX-License-Identifier: MIT
#include "serve/body_reading.h"

namespace spillway {
namespace {

constexpr size_t kLargeReplyBytes = 1 << 20;

}  // namespace

Result<FairPlaces::Place> place_to_read(const WebRequest& request) {
  static FairPlaces places(4);
  if (request.body.size() <= kShortTextBytesMax) return FairPlaces::Place();
  return places.take(request.asker(), true);
}

Result<FairPlaces::Place> place_to_write(const WebRequest& request, size_t bytes) {
  static FairPlaces places(2);  // long ones have half of them
  if (bytes <= kLargeReplyBytes) return FairPlaces::Place();
  return places.take(request.asker(), true);
}

Status too_many_at_once() { return {Code::kBusy, "too many large requests at once, try again"}; }

}  // namespace spillway
