// SPDX-License-Identifier: MIT
// Sequences that were computed once and may be wanted again: in memory, and on disk so that a restart does not lose
// them. What is kept is the token ids and the engine's own bytes for them: all that a sequence held, or a checkpoint,
// which is of use together with a sequence that holds the same tokens and more.
//
// Threads: one at a time. Lifetime: independent of the engine; the model key says which engine's bytes these are.
//
// On disk an entry is two files of one name: NAME.kv, the engine's bytes, and NAME.meta, written last:
//     magic, version | model key | number of tokens, tokens | part, tokens computed as a prompt |
//     bytes and checksum of NAME.kv | checksum of this file
// A .kv without a .meta is what a crash left behind, or is being written by another: of more than an hour it is removed
// when a cache is opened. An entry of another model,
// of another version of libllama, or that is damaged in any way is as good as none.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/engine.h"

namespace spillway {

struct PromptCacheOptions {
  std::string model_key;         // file identity, library, whatever changes the meaning of the bytes
  std::string context_key = {};  // what of that the size of the context decides (ModelInfo)
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

// What all entries on a disk may take, which now take `held_bytes` and leave `free_bytes` free: `bytes_max`, or less
// since others need the disk, too. Of what is free for entries a quarter stays, up to 1 GiB.
uint64_t considerate_disk_bytes(uint64_t bytes_max, uint64_t held_bytes, uint64_t free_bytes);

class PromptCache {
 public:
  // The folder is made when something is first written; one that another user owns is not used. Other models may use it
  // too: the bound is for all of them, and what was used longest ago makes room. Of the free disk a quarter stays free,
  // up to 1 GiB.
  static std::unique_ptr<PromptCache> open(PromptCacheOptions options);

  // What there is, until the next call that is not const; the ids are good for as long as the entry is there. In memory
  // first, then what was used last.
  struct Kept {
    uint64_t id = 0;
    StatePart part = StatePart::kWhole;
    std::span<const TokenId> tokens;
    size_t n_as_prompt = 0;  // see ServedSequence
    bool on_disk = false;
  };
  std::vector<Kept> kept() const;

  // Puts an entry into `seq`, which for a checkpoint holds its tokens already (Engine::restore_state). After an error
  // `seq` is empty and the entry is gone.
  //   NotFound   it is not there any more       Corrupt, Unavailable
  Result<void> restore(uint64_t id, Engine& engine, int32_t seq);

  // Keeps what `seq` holds, `tokens`, in memory. What is a part of it makes room first, then what was used longest ago;
  // a conversation's own checkpoints are thinned out where there are too many. Nothing happens when it is too large or
  // known already.
  void keep(Engine& engine, int32_t seq, std::span<const TokenId> tokens, size_t n_as_prompt, StatePart part);

  // All that `seq` holds on disk, and the checkpoints on the way to it that are in memory. false: nothing was written,
  // because it is known already, short, too large, has images, or the disk refused (a notice says so).
  bool store(Engine& engine, int32_t seq, std::span<const TokenId> tokens, size_t n_as_prompt);

  // The context is another: what other contexts computed is of no use in it, and stays on disk for them.
  void use_context(const std::string& context_key);

  // The tokens of `tokens` that are on disk already.
  size_t stored_prefix(std::span<const TokenId> tokens) const;

  PromptCacheStats stats() const;

 private:
  struct Entry {
    uint64_t id = 0;
    StatePart part = StatePart::kWhole;
    std::vector<TokenId> tokens;
    size_t n_as_prompt = 0;
    uint64_t bytes = 0;
    std::string state;  // in memory
    std::string path;   // on disk, without .kv
    uint64_t checksum = 0;
  };
  using Entries = std::list<Entry>;  // the most recently used first

  explicit PromptCache(PromptCacheOptions options) : options_(std::move(options)) {}
  bool has_folder();
  void load_index();
  Result<Entry> read_meta(const std::string& path) const;
  Result<void> write_meta(const Entry& entry) const;
  void remove_files(const std::string& path) const;
  std::string key() const;
  bool make_room_on_disk(uint64_t room_bytes, const std::vector<std::string>& staying_paths = {});
  bool make_room_in_memory(uint64_t room_bytes, std::span<const TokenId> tokens);
  Entries::iterator erase_from_memory(Entries::iterator entry);
  void replace_beginnings(Entries& entries, const Engine& engine, std::span<const TokenId> tokens);
  Entry new_entry_on_disk(std::span<const TokenId> tokens, size_t n_as_prompt, StatePart part);
  Result<void> finish_on_disk(Entry entry);
  void store_checkpoints(std::span<const TokenId> tokens, const std::string& whole_path);
  Result<void> restore_from_disk(const Entry& entry, Engine& engine, int32_t seq) const;

  PromptCacheOptions options_;
  Entries memory_, disk_;
  uint64_t memory_bytes_ = 0;
  uint64_t next_id_ = 1;
  uint64_t restored_ = 0, stored_ = 0;
};

}  // namespace spillway
