// SPDX-License-Identifier: MIT
#include "model/found_models.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <utility>

#include "base/json_reader.h"
#include "model/hub_name.h"
#include "os/file.h"
#include "os/home_folder.h"

namespace spillway {
namespace {

namespace fs = std::filesystem;

// A folder that somebody else fills is looked at as far as people fill such folders.
constexpr size_t kEntriesMax = 100'000;
constexpr int kDepthMax = 6;
constexpr uint64_t kSettingsBytesMax = 16ull << 20, kRefBytesMax = 4096;

std::string variable_of(const char* name) {
  const char* value = std::getenv(name);
  return below_home(value == nullptr ? "" : value);
}

bool is_folder(const std::string& path) {
  std::error_code ec;
  return fs::is_directory(path, ec);
}

bool has_gguf_name(const std::string& name) {
  constexpr std::string_view kSuffix = ".gguf";
  if (name.size() <= kSuffix.size() || name.starts_with('.')) return false;
  return std::equal(kSuffix.begin(), kSuffix.end(), name.end() - kSuffix.size(),
                    [](char want, unsigned char c) { return std::tolower(c) == want; });
}

std::vector<std::string> folders_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code ec;
  for (fs::directory_iterator it(folder, fs::directory_options::skip_permission_denied, ec), end;
       !ec && it != end && names.size() < kEntriesMax; it.increment(ec)) {
    std::error_code ignored;
    std::string name = it->path().filename().string();
    if (!name.starts_with('.') && it->is_directory(ignored)) names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Files below `folder` relative to it, as far as `wanted` says; links to files count, links to folders do not.
template <typename Wanted>
std::vector<std::string> files_below(const std::string& folder, const Wanted& wanted) {
  std::vector<std::string> paths;
  std::error_code ec;
  size_t n_entries = 0;
  for (fs::recursive_directory_iterator it(folder, fs::directory_options::skip_permission_denied, ec), end;
       !ec && it != end && ++n_entries < kEntriesMax; it.increment(ec)) {
    if (it.depth() >= kDepthMax) it.disable_recursion_pending();
    std::error_code ignored;
    if (wanted(it->path().filename().string()) && it->is_regular_file(ignored))
      paths.push_back(it->path().lexically_relative(folder).generic_string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::vector<std::string> ggufs_below(const std::string& folder) { return files_below(folder, has_gguf_name); }

std::string without_edges(std::string text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) text.pop_back();
  return text;
}

// (revision, commit), main first.
std::vector<std::pair<std::string, std::string>> refs_of(const std::string& repository) {
  std::vector<std::pair<std::string, std::string>> refs;
  for (const std::string& name : files_below(repository + "/refs", [](const std::string&) { return true; }))
    if (auto commit = read_text_file(fmt::format("{}/refs/{}", repository, name), kRefBytesMax))
      refs.emplace_back(name, without_edges(*std::move(commit)));
  std::stable_sort(refs.begin(), refs.end(),
                   [](const auto& a, const auto& b) { return (a.first == "main") > (b.first == "main"); });
  return refs;
}

// The commits of all snapshots, newest first.
std::vector<std::string> snapshots_of(const std::string& repository) {
  std::vector<std::pair<fs::file_time_type, std::string>> found;
  for (const std::string& commit : folders_in(repository + "/snapshots")) {
    std::error_code ec;
    const auto time = fs::last_write_time(fmt::format("{}/snapshots/{}", repository, commit), ec);
    found.emplace_back(ec ? fs::file_time_type::min() : time, commit);
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a > b; });
  std::vector<std::string> commits;
  commits.reserve(found.size());
  for (auto& [time, commit] : found) commits.push_back(std::move(commit));
  return commits;
}

std::string real_path(const std::string& path) {
  std::error_code ec;
  const fs::path real = fs::canonical(path, ec);
  return ec ? path : real.string();
}

std::vector<FoundRepository> revisions_of(const std::string& folder, const std::string& user,
                                          const std::string& repository) {
  const auto refs = refs_of(folder);
  std::vector<FoundRepository> found;
  std::set<std::string> commits;
  std::set<std::pair<std::string, std::string>> seen;  // path in the repository, and the file it leads to
  const auto add = [&](const std::string& revision, const std::string& commit) {
    if (commit.empty() || commit.find('/') != std::string::npos || !commits.insert(commit).second) return;
    FoundRepository one{.user = user,
                        .repository = repository,
                        .revision = revision,
                        .commit = commit,
                        .folder = folder + "/snapshots/" + commit,
                        .paths = {}};
    for (std::string& path : ggufs_below(one.folder))
      if (seen.emplace(path, real_path(one.folder + "/" + path)).second) one.paths.push_back(std::move(path));
    if (!one.paths.empty()) found.push_back(std::move(one));
  };
  for (const auto& [revision, commit] : refs) add(revision, commit);
  const bool has_main = !found.empty() && found.front().revision == "main";
  for (const std::string& commit : snapshots_of(folder)) {
    const bool newest = found.empty() && !has_main;
    add(newest ? "main" : commit, commit);
  }
  return found;
}

}  // namespace

bool FoundRepository::is_revision(std::string_view asked) const {
  constexpr size_t kCommitCharsMin = 7;
  return asked == revision || (asked.size() >= kCommitCharsMin && commit.starts_with(asked));
}

std::vector<FoundRepository> repositories_in_hub_cache(const std::string& folder) {
  constexpr std::string_view kPrefix = "models--", kSeparator = "--";
  std::vector<FoundRepository> found;
  for (const std::string& name : folders_in(folder)) {
    if (!name.starts_with(kPrefix)) continue;
    const std::string id = name.substr(kPrefix.size());
    const size_t at = id.find(kSeparator);
    if (at == std::string::npos) continue;
    const std::string user = id.substr(0, at), repository = id.substr(at + kSeparator.size());
    if (!parse_hub_name(fmt::format("{}/{}", user, repository))) continue;
    for (FoundRepository& one : revisions_of(fmt::format("{}/{}", folder, name), user, repository))
      found.push_back(std::move(one));
  }
  return found;
}

std::vector<FoundRepository> repositories_in_lm_studio(const std::string& folder) {
  std::vector<FoundRepository> found;
  for (const std::string& user : folders_in(folder))
    for (const std::string& repository : folders_in(fmt::format("{}/{}", folder, user))) {
      if (!parse_hub_name(fmt::format("{}/{}", user, repository))) continue;
      FoundRepository one{.user = user,
                          .repository = repository,
                          .commit = {},
                          .folder = fmt::format("{}/{}/{}", folder, user, repository),
                          .paths = {}};
      one.paths = ggufs_below(one.folder);
      if (!one.paths.empty()) found.push_back(std::move(one));
    }
  return found;
}

std::vector<std::string> hub_cache_folders() {
  std::string folder = variable_of("HF_HUB_CACHE");
  if (folder.empty()) folder = variable_of("HUGGINGFACE_HUB_CACHE");  // its older name
  if (folder.empty())
    if (const std::string home = variable_of("HF_HOME"); !home.empty()) folder = home + "/hub";
  if (folder.empty())
    if (const std::string cache = variable_of("XDG_CACHE_HOME"); !cache.empty()) folder = cache + "/huggingface/hub";
  if (folder.empty())
    if (const std::string home = home_folder(); !home.empty()) folder = home + "/.cache/huggingface/hub";
  return !folder.empty() && is_folder(folder) ? std::vector<std::string>{folder} : std::vector<std::string>{};
}

std::vector<std::string> lm_studio_folders() {
  const std::string home = home_folder();
  if (home.empty()) return {};
  std::vector<std::string> roots;
  // Who moved LM Studio's folder has the way to it here.
  if (const auto pointer = read_text_file(home + "/.lmstudio-home-pointer", kRefBytesMax))
    roots.push_back(without_edges(*pointer));
  roots.push_back(home + "/.lmstudio");
  roots.push_back(home + "/.cache/lm-studio");
  std::vector<std::string> folders;
  const auto add = [&](const std::string& folder) {
    if (is_folder(folder) && std::find(folders.begin(), folders.end(), folder) == folders.end())
      folders.push_back(folder);
  };
  for (const std::string& root : roots) {
    if (const auto text = read_text_file(root + "/settings.json", kSettingsBytesMax)) {
      const auto settings = read_json(*text).value_or(nlohmann::ordered_json());
      const auto folder = settings.is_object() ? settings.find("downloadsFolder") : settings.end();
      if (settings.is_object() && folder != settings.end() && folder->is_string()) add(folder->get<std::string>());
    }
    add(root + "/models");
  }
  return folders;
}

}  // namespace spillway
