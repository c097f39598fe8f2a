// SPDX-License-Identifier: MIT
#include "hw/probe_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "base/bytes.h"
#include "os/home_folder.h"
#include "os/machine.h"

namespace spillway {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kFileBytesMin = 4 * MiB;
constexpr size_t kFolderEntriesMax = 50000;  // a second of looking on a slow disk
constexpr size_t kFilesMax = 128;

struct Candidate {
  fs::path path;
  uint64_t bytes = 0;
};

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

// Volume of a path, as a key that two of its files share, and the volume.
std::map<std::pair<std::string, std::string>, std::vector<Candidate>> by_volume(
    const std::vector<std::string>& folders) {
  std::map<std::pair<std::string, std::string>, std::vector<Candidate>> volumes;
  std::set<fs::path> seen;
  size_t n_entries = 0;
  for (const std::string& folder : folders) {
    std::error_code ec;
    fs::recursive_directory_iterator entry(folder, fs::directory_options::skip_permission_denied, ec), end;
    for (; !ec && entry != end && n_entries < kFolderEntriesMax; entry.increment(ec), ++n_entries) {
      std::error_code ignored;
      if (entry->is_symlink(ignored) || !entry->is_regular_file(ignored)) continue;
      const uint64_t bytes = entry->file_size(ignored);
      if (ignored || bytes < kFileBytesMin || !seen.insert(fs::canonical(entry->path(), ignored)).second) continue;
      if (const auto volume = volume_of(entry->path()))
        volumes[{volume->mount_point, volume->disk}].push_back({entry->path(), bytes});
    }
  }
  return volumes;
}

}  // namespace

std::vector<std::string> model_folders() {
  std::vector<std::string> folders;
  for (const char* name : {"OLLAMA_MODELS", "LLAMA_CACHE", "HF_HOME"})
    if (const std::string folder = environment(name); !folder.empty()) folders.push_back(folder);
  if (const std::string home = home_folder(); !home.empty())
    for (const char* below : {"models", ".ollama/models/blobs", ".cache/llama.cpp", ".lmstudio/models",
                              ".cache/huggingface/hub", ".local/share/spillway"})
      folders.push_back(home + "/" + below);
  folders.emplace_back("/usr/share/ollama/.ollama/models/blobs");
  return folders;
}

std::vector<std::string> library_folders() { return {"/usr/lib", "/usr/local/lib", "/usr/bin", "/opt"}; }

Result<ProbeFiles> find_probe_files(const std::vector<std::string>& folders, uint64_t bytes_min, uint64_t bytes_enough,
                                    const std::optional<Volume>& only_on) {
  // 1. The volume with most to read.
  auto volumes = by_volume(folders);
  if (only_on)
    std::erase_if(volumes, [&](const auto& volume) {
      return volume.first != std::pair{only_on->mount_point, only_on->disk};
    });
  const auto total = [](const std::vector<Candidate>& candidates) {
    uint64_t bytes = 0;
    for (const Candidate& candidate : candidates) bytes += candidate.bytes;
    return bytes;
  };
  const auto best = std::max_element(volumes.begin(), volumes.end(),
                                     [&](const auto& a, const auto& b) { return total(a.second) < total(b.second); });
  const auto none = [&] {
    return error(Code::kNotFound, fmt::format("no files of {} in all were found to measure a disk with; name a model",
                                              format_bytes(bytes_min)));
  };
  if (best == volumes.end()) return none();

  // 2. Its largest files.
  std::vector<Candidate> candidates = best->second;
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return std::tie(b.bytes, a.path) < std::tie(a.bytes, b.path);
  });
  ProbeFiles found;
  found.volume = {best->first.first, best->first.second};
  uint64_t bytes = 0;
  for (const Candidate& candidate : candidates) {
    if (bytes >= bytes_enough || found.files.size() >= kFilesMax) break;
    auto file = open_file(candidate.path);
    if (!file) continue;
    bytes += (*file)->size_bytes();
    found.files.push_back(std::move(*file));
  }
  if (bytes < bytes_min) return none();
  return found;
}

}  // namespace spillway
