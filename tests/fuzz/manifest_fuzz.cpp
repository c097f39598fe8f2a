// SPDX-License-Identifier: MIT
// Any bytes as the manifest or the config of a stored model: what is read is written so that it reads the same again.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/utf8.h"
#include "model/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace spillway;
  const std::string_view text(reinterpret_cast<const char*>(data), bytes);
  (void)parse_digest(text);
  const ModelConfig config = parse_config(text);
  const ModelConfig again = parse_config(config_text(config));
  CHECK(again.family == config.family && again.families == config.families && again.format == config.format);
  const auto manifest = parse_manifest(text);
  if (!manifest) return 0;
  (void)manifest->size_bytes();
  for (const std::string& digest : manifest->digests()) CHECK(parse_digest(digest) == digest);
  if (manifest->config.digest.empty()) return 0;
  const auto same = parse_manifest(manifest_text(*manifest));
  CHECK(same && same->digests() == manifest->digests() && same->size_bytes() == manifest->size_bytes());
  return 0;
}
