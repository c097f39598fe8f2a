// SPDX-License-Identifier: MIT
// Machine profiles come from anybody (`--profile FILE`): any text is refused in one line, or read into figures that are
// possible and written back equal.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "hw/profile_json.h"

namespace {

void require(bool fact) {
  if (!fact) std::abort();
}

void require_possible(const std::vector<spillway::MatmulRate>& rates) {
  for (const auto& rate : rates)
    for (const double figure : {rate.decode_bytes_per_s, rate.prefill_flops_per_s, rate.expert_prefill_flops_per_s})
      require(std::isfinite(figure) && figure >= 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto profile = spillway::decode_profile({reinterpret_cast<const char*>(data), size});
  if (!profile) {
    require(!profile.error().message().empty() && profile.error().message().find('\n') == std::string::npos);
    return 0;
  }
  require(std::isfinite(profile->ram_bytes_per_s) && profile->ram_bytes_per_s >= 0);
  require(profile->measured_unix_s >= 0);
  require_possible(profile->matmul);
  for (const auto& device : profile->devices) {
    require_possible(device.matmul);
    require(device.memory_bytes_free <= device.memory_bytes_total);
  }
  const auto again = spillway::decode_profile(spillway::encode_profile(*profile));
  require(again.has_value() && spillway::encode_profile(*again) == spillway::encode_profile(*profile));
  return 0;
}
