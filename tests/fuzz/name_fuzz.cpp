// SPDX-License-Identifier: MIT
// Any text as a model's name, a manifest, a digest, a name of a file: refused in one line, or safe as a path and the
// same when it is written and read again.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/utf8.h"
#include "model/gguf_choice.h"
#include "model/gguf_metadata.h"
#include "model/manifest.h"
#include "model/model_name.h"

namespace spillway {
namespace {

void check_safe(const std::string& part) {
  CHECK(!part.empty() && part != "." && part != "..");
  CHECK(part.find('/') == std::string::npos && part.find('\0') == std::string::npos && part.front() != '.');
}

// Below the folder it is looked up in, four parts deep, whatever the file system makes of dots.
void check_inside(const std::string& path) {
  const std::filesystem::path whole = std::filesystem::path("/store") / path;
  CHECK(whole.lexically_normal() == whole);
  CHECK(std::distance(whole.begin(), whole.end()) == 6);
}

void check_name(const ModelName& name) {
  for (const std::string* part : {&name.host, &name.name_space, &name.model, &name.tag}) check_safe(*part);
  check_inside(name.manifest_path());
  for (const std::string& form : {name.full(), name.shown()}) {
    const auto again = parse_model_name(form);
    CHECK(again && same_name(*again, name));
  }
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  std::istringstream stream{std::string(text)};
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

void check_manifest(const Manifest& manifest) {
  for (const std::string& digest : manifest.digests()) {
    CHECK(parse_digest(digest) == digest);
    check_safe(blob_file_name(digest));
  }
  if (manifest.config.digest.empty()) return;
  const auto again = parse_manifest(manifest_text(manifest));
  CHECK(again && again->size_bytes() == manifest.size_bytes() && again->digests() == manifest.digests());
}

}  // namespace
}  // namespace spillway

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace spillway;
  const std::string_view text(reinterpret_cast<const char*>(data), bytes);
  if (const auto name = parse_model_name(text))
    check_name(*name);
  else
    CHECK(name.error().message().find('\n') == std::string::npos);
  check_name(name_for_path(text));
  if (const auto digest = parse_digest(text)) check_safe(blob_file_name(*digest));
  if (const auto manifest = parse_manifest(text)) check_manifest(*manifest);
  parse_config(text);
  CHECK(valid_utf8(valid_utf8(text)) == valid_utf8(text));
  const std::vector<std::string> paths = lines_of(text);
  const std::vector<GgufCandidate> candidates = gguf_candidates(paths);
  for (size_t i = 0; i < std::min<size_t>(candidates.size(), 8); ++i) {
    CHECK(!candidates[i].files.empty() && candidates[i].files.back() < paths.size());
    const auto chosen = choose_gguf(candidates, wanted_for(candidates, i),
                                    [](const GgufCandidate&) { return Result<GgufKind>(GgufKind::kModel); });
    CHECK(chosen ? *chosen < candidates.size() : !candidates[i].missing_part.empty());
  }
  const GgufParts parts = gguf_parts(std::string(text));
  CHECK(parts.named < parts.paths.size() && parts.paths[parts.named] == text);
  return 0;
}
