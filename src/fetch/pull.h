// SPDX-License-Identifier: MIT
// Fetches a model into our store: from Hugging Face (model/hub_name.h) or an Ollama registry (every other host). In a
// repository the model is chosen by names and, since names lie, by what the files' headers say they are.
//
// Each file is downloaded under a name of its own (sha256-<hex>-partial), checked against its sha256, and only then
// takes its final name; the model's manifest is written last. So a model is there whole or not at all. What was
// downloaded before a failure or cancellation is kept and continued by the next pull of the same file.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace spillway {

// One line of Ollama's /api/pull stream.
struct PullProgress {
  std::string status;        // "pulling manifest", "pulling 6a0746a1ec1a", "verifying sha256 digest", "success", ...
  std::string digest;        // "sha256:..." while a file is downloaded, looked at or waited for, else empty
  uint64_t total_bytes = 0;  // of that file
  uint64_t completed_bytes = 0;  // of that file
};

struct PullOptions {
  std::string own_folder;                  // where our store is (CatalogOptions::own_folder)
  std::vector<std::string> other_folders;  // stores (Ollama's) whose files are linked into ours instead of downloaded
  std::vector<std::string> hub_cache_folders;  // Hugging Face's caches, whose files are, too
  bool insecure = false;                       // plain http for names that begin with http://
  std::string registry_url;                    // instead of https://registry.ollama.ai; with its scheme
  std::string hf_url;                          // instead of https://huggingface.co
  std::string hf_token;                        // sent to hf_url alone
  bool hf_offline = false;                     // nothing is asked of hf_url
  bool projectors = true;                      // fetches the one that belongs to the model, too
  unsigned attempts = 6;                       // without a byte of progress between them
  double backoff_first_s = 0.5;                // doubles from attempt to attempt, up to 15 s
  double connect_timeout_s = 30;
  double stall_timeout_s = 30;  // no byte for so long ends an attempt
  // Another pull of a file may go without a byte, or a look at those it has: its attempts pass.
  double other_pull_timeout_s = 300;
  std::function<void(const PullProgress&)> progress;  // on the calling thread
  std::function<bool()> cancelled;                    // asked some times a second, on any thread; true stops

  // SPILLWAY_REGISTRY, HF_ENDPOINT, HF_HUB_OFFLINE, HF_TOKEN or what `hf auth login` kept (HF_TOKEN_PATH,
  // HF_HOME/token,
  // ~/.cache/huggingface/token). Proxies are libcurl's: https_proxy, all_proxy, no_proxy.
  static PullOptions from_environment();
};

// Blocks until the model is there. May run on any thread, also several times at once: a second pull of the same file
// waits for the first, and says so.
//   InvalidArgument    no model name; http:// without `insecure`
//   NotFound           the server has no such model, or no such quantization (the message names those it has)
//   Unsupported        what is called that is no model, or none that runs here: it says what it is
//   PermissionDenied   the server wants a token, or refuses the one it got
//   Unavailable        no connection, cut or stalled too often, too many requests, the server's own failure
//   Corrupt            what came does not have its digest, or is no whole GGUF model: it was deleted
//   DiskFull  Io       the disk; checked before the download begins
//   Busy               another process holds one of the files, or the store, and makes no progress
//   Cancelled
Result<void> pull(std::string_view name, const PullOptions& options);

}  // namespace spillway
