// SPDX-License-Identifier: MIT
// Any bytes as a heat profile: ignored, or as many values as there are extents, all finite and not negative. Half of
// the inputs get a right checksum, or nothing behind it would ever be reached.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/hash.h"
#include "store/heat_profile.h"

namespace {

const std::string kKey = "fuzzed model";

void check_decoded(std::string_view text, size_t n_extents) {
  const auto heat = spillway::decode_heat(text, kKey, n_extents);
  if (!heat) return;
  CHECK(heat->size() == n_extents);
  for (const double value : *heat) CHECK(std::isfinite(value) && value >= 0);
  // What was read is written and read again as the same.
  const std::string again = spillway::encode_heat(kKey, *heat);
  const auto twice = spillway::decode_heat(again, kKey, n_extents);
  CHECK(twice && spillway::encode_heat(kKey, *twice) == again);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  if (bytes == 0) return 0;
  const size_t n_extents = data[0] % 16;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, bytes - 1);
  check_decoded(text, n_extents);

  const std::string with_none = spillway::encode_heat(kKey, {});
  std::string whole = with_none.substr(0, with_none.rfind("sum ")) + std::string(text);
  spillway::Fnv1a sum;
  sum.add(whole.data(), whole.size());
  char line[32];
  std::snprintf(line, sizeof line, "sum %016llx\n", static_cast<unsigned long long>(sum.value()));
  check_decoded(whole + line, n_extents);
  return 0;
}
