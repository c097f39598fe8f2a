// SPDX-License-Identifier: MIT
// Sequences that were computed once and may be wanted again: in memory, and on disk so that a restart does not lose
// them. What is kept is the token ids and the engine's own bytes for them.
//
// Threads: one at a time. Lifetime: independent of the engine; the model key says which engine's bytes these are.
//
// On disk an entry is two files of one name: NAME.kv, written by the engine, and NAME.meta, written last:
//     magic, version | model key | number of tokens, tokens | bytes and checksum of NAME.kv | checksum of this file
// A .kv without a .meta is what a crash left behind; it is removed when the cache is opened. An entry of another model,
// of another version of libllama, or that is damaged in any way is as good as none.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/engine.h"

namespace spillway {

struct PromptCacheOptions {
  std::string model_key;  // file identity, library, whatever changes the meaning of the bytes
  uint64_t memory_bytes_max = 0;
  std::string folder;  // empty: nothing on disk
  uint64_t disk_bytes_max = 0;
  size_t disk_tokens_min = 256;  // shorter ones are sooner computed than read
};

struct PromptCacheStats {
  uint64_t memory_bytes = 0, disk_bytes = 0;  // of this model
  size_t memory_entries = 0, disk_entries = 0;
  uint64_t restored = 0, stored = 0;
};

// How many tokens two sequences have in common at their beginning.
size_t common_prefix(std::span<const TokenId> a, std::span<const TokenId> b);

class PromptCache {
 public:
  // The folder is made when something is first written. Other models may use it too: the bound is for all of them, and
  // what was used longest ago makes room.
  static std::unique_ptr<PromptCache> open(PromptCacheOptions options);

  // The tokens of `prompt`, from its beginning, that an entry could bring. `whole`: only entries that are a prefix of
  // the prompt as a whole (a recurrent state cannot be cut).
  struct Match {
    size_t n_tokens = 0;  // usable: the common prefix
    size_t n_held = 0;    // tokens of the entry; what is more than usable is to be forgotten
    bool on_disk = false;
    uint64_t id = 0;
  };
  std::optional<Match> find(std::span<const TokenId> prompt, bool whole) const;

  // Puts an entry into `seq`. After an error `seq` is empty and the entry is gone.
  Result<void> restore(const Match& match, Engine& engine, int32_t seq);

  // Keeps what `seq` holds, `tokens`, in memory; entries that are a prefix of it are replaced, the least recently used
  // make room. Nothing happens when it is too large or known already.
  void keep(Engine& engine, int32_t seq, std::span<const TokenId> tokens);

  // The same on disk. false: nothing was written, because it is known already, short, too large, or the disk refused
  // (a notice says so).
  bool store(Engine& engine, int32_t seq, std::span<const TokenId> tokens);

  // The tokens of `tokens` that are on disk already.
  size_t stored_prefix(std::span<const TokenId> tokens) const;

  PromptCacheStats stats() const;

 private:
  struct Entry {
    uint64_t id = 0;
    std::vector<TokenId> tokens;
    uint64_t bytes = 0;
    std::string state;  // in memory
    std::string path;   // on disk, without .kv
    uint64_t checksum = 0;
  };
  using Entries = std::list<Entry>;  // the most recently used first

  explicit PromptCache(PromptCacheOptions options) : options_(std::move(options)) {}
  void load_index();
  Result<Entry> read_meta(const std::string& path) const;
  Result<void> write_meta(const Entry& entry) const;
  void remove_files(const std::string& path) const;
  bool make_room_on_disk(uint64_t room_bytes);

  const PromptCacheOptions options_;
  Entries memory_, disk_;
  uint64_t memory_bytes_ = 0;
  uint64_t next_id_ = 1;
  uint64_t restored_ = 0, stored_ = 0;
};

}  // namespace spillway
