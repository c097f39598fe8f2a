// SPDX-License-Identifier: MIT
#include "engine/correction_store.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/notice.h"
#include "os/file.h"
#include "os/machine.h"

namespace spillway {
namespace {

constexpr uint64_t kFileBytesMax = MiB;
constexpr int64_t kAgeMax_s = 24 * 3600;

std::string corrections_path() {
  const std::string folder = cache_folder();
  return folder.empty() ? "" : folder + "/corrections.json";
}

}  // namespace

std::vector<Correction> load_corrections() {
  const std::string path = corrections_path();
  if (path.empty()) return {};
  const auto text = read_text_file(path, kFileBytesMax);
  if (!text) return {};
  auto all = decode_corrections(*text);
  if (!all) {
    notice(fmt::format("{}: {}; it is ignored", path, all.error().message()));
    return {};
  }
  std::erase_if(*all, [now = unix_s()](const Correction& one) { return one.unix_s < now - kAgeMax_s; });
  return std::move(*all);
}

Result<void> remember_run(const Correction& run) {
  const std::string path = corrections_path();
  if (path.empty()) return {};
  const std::vector<Correction> before = load_corrections();
  const std::vector<Correction> after = remember(before, run);
  if (after == before) return {};
  return replace_file(path, encode_corrections(after));
}

}  // namespace spillway
