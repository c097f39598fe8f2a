// SPDX-License-Identifier: MIT
#include "serve/body_reading.h"

namespace spillway {

Result<FairPlaces::Place> place_to_read(const WebRequest& request) {
  static FairPlaces places(4);
  if (request.body.size() <= kShortTextBytesMax) return FairPlaces::Place();
  return places.take(request.asker(), true);
}

}  // namespace spillway
