// SPDX-License-Identifier: MIT
// GGUF files that other programs downloaded and keep as plain files, by repository: Hugging Face's cache (which
// llama.cpp fills, too) and LM Studio's folder. Only read. Everything here is names; no file is opened.
//
//   <cache>/models--USER--REPO/refs/<revision>              text: the commit
//   <cache>/models--USER--REPO/snapshots/<commit>/<path>    a link to a blob, or the file itself
//   <LM Studio's folder>/USER/REPO/<path>
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace spillway {

struct FoundRepository {
  std::string user, repository;
  std::string revision = "main";   // "main" also of the newest snapshot where none is called so
  std::string commit;              // of a snapshot in the cache; else empty
  std::string folder;              // that `paths` are below
  std::vector<std::string> paths;  // of GGUF files that are whole, sorted

  // Whether `asked` means this one: its name, or the first 7 characters of its commit, or more.
  bool is_revision(std::string_view asked) const;
};

// A file that two revisions share is listed once, in the first of: main, named ones, others.
std::vector<FoundRepository> repositories_in_hub_cache(const std::string& folder);
std::vector<FoundRepository> repositories_in_lm_studio(const std::string& folder);

// Where they are by the environment: HF_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub or
// ~/.cache/huggingface/hub; the folder of LM Studio's settings, else its usual ones. Those that do not exist are
// left out.
std::vector<std::string> hub_cache_folders();
std::vector<std::string> lm_studio_folders();

}  // namespace spillway
