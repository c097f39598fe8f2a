// SPDX-License-Identifier: MIT
#include "serving/prompt_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/notice.h"
#include "os/file.h"
#include "os/folder.h"

namespace spillway {
namespace {

namespace fs = std::filesystem;

constexpr char kMagic[8] = {'s', 'p', 'i', 'l', 'l', 'k', 'v', '2'};
constexpr size_t kTokensMax = 64u << 20;
constexpr size_t kKeyBytesMax = 4096;
// Of the checkpoints on the way to a conversation's end, so many are written with it.
constexpr size_t kCheckpointsOnDisk = 4;
constexpr std::chrono::hours kDraftAgeMax{1};

// Eight bytes a step in four independent lanes: a checksum of gigabytes that costs less than reading them. FNV-1a takes
// one byte each five cycles.
class Checksum {
 public:
  void add(std::string_view bytes) {
    size_t at = 0;
    for (; at + 32 <= bytes.size(); at += 32)
      for (size_t lane = 0; lane < 4; ++lane) {
        uint64_t word = 0;
        std::memcpy(&word, bytes.data() + at + 8 * lane, 8);
        lanes_[lane] = mix(lanes_[lane] ^ word);
      }
    rest_.add(bytes.data() + at, bytes.size() - at);
    n_bytes_ += bytes.size();
  }
  uint64_t value() const {
    uint64_t hash = mix(rest_.value() ^ n_bytes_);
    for (const uint64_t lane : lanes_) hash = mix(hash ^ lane);
    return hash;
  }

 private:
  static uint64_t mix(uint64_t x) {
    x *= 0x9E3779B97F4A7C15ull;
    return x ^ (x >> 29);
  }
  std::array<uint64_t, 4> lanes_{1, 2, 3, 4};
  Fnv1a rest_;
  uint64_t n_bytes_ = 0;
};

// Pieces are whole multiples of 32 bytes but the last, so that the checksum does not depend on how a file is read.
Result<std::pair<uint64_t, uint64_t>> checksum_of_file(const std::string& path) {
  ASSIGN_OR_RETURN(const auto file, open_file(path, {.direct = false}));
  Checksum sum;
  std::string buffer(1 * MiB, '\0');
  uint64_t at = 0;
  while (at < file->size_bytes()) {
    const auto destination = std::as_writable_bytes(std::span(buffer.data(), buffer.size()));
    ASSIGN_OR_RETURN(const uint64_t n, file->read_at(at, destination));
    if (n == 0) break;
    sum.add(std::string_view(buffer).substr(0, n));
    at += n;
  }
  return std::pair{at, sum.value()};
}

void put_number(std::string& out, uint64_t number) { out.append(reinterpret_cast<const char*>(&number), 8); }

std::optional<uint64_t> take_number(std::string_view& in) {
  if (in.size() < 8) return std::nullopt;
  uint64_t number = 0;
  std::memcpy(&number, in.data(), 8);
  in.remove_prefix(8);
  return number;
}

// The folder is one that somebody named: what else is in it stays. An entry's files, and drafts of them, are called
//     0123456789abcdef-0123456789abcdef[-c].meta      .kv      .meta.PID.N.tmp
bool is_own_name(std::string_view name) {
  constexpr size_t kHex = 16;
  const auto is_hash = [](std::string_view text) {
    return text.size() == kHex && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  };
  const std::string_view stem = name.substr(0, name.find('.'));
  const std::string_view behind = stem.substr(std::min(stem.size(), 2 * kHex + 1));
  return stem.size() > 2 * kHex && is_hash(stem.substr(0, kHex)) && stem[kHex] == '-' &&
         is_hash(stem.substr(kHex + 1, kHex)) && (behind.empty() || behind == "-c");
}

// Files alone: nobody ever writes the other end of a pipe that is called like one.
bool is_own_file(const fs::directory_entry& item) {
  std::error_code gone;
  return is_own_name(item.path().filename().string()) && item.is_regular_file(gone);
}

// A draft, or what its index entry was not written of.
bool is_unfinished(const fs::path& path) {
  std::error_code failed;
  return path.extension() == ".tmp" ||
         (path.extension() == ".kv" && !fs::exists(fs::path(path).replace_extension(".meta"), failed));
}

// What a process left that ended while it wrote; of one that still writes it is newer.
bool is_left_behind(const fs::directory_entry& item) {
  if (!is_unfinished(item.path())) return false;
  std::error_code gone;
  const fs::file_time_type written = item.last_write_time(gone);
  return !gone && fs::file_time_type::clock::now() - kDraftAgeMax > written;
}

uint64_t hash_of(std::string_view bytes) {
  Fnv1a hash;
  hash.add(bytes.data(), bytes.size());
  return hash.value();
}

}  // namespace

size_t common_prefix(std::span<const TokenId> a, std::span<const TokenId> b) {
  const size_t n = std::min(a.size(), b.size());
  return static_cast<size_t>(std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(n), b.begin()).first -
                             a.begin());
}

uint64_t considerate_disk_bytes(uint64_t bytes_max, uint64_t held_bytes, uint64_t free_bytes) {
  const uint64_t for_us = held_bytes + free_bytes;
  return std::min(bytes_max, for_us - std::min<uint64_t>(for_us / 4, 1 * GiB));
}

std::unique_ptr<PromptCache> PromptCache::open(PromptCacheOptions options) {
  std::unique_ptr<PromptCache> cache(new PromptCache(std::move(options)));
  if (!cache->options_.folder.empty()) {
    std::error_code none;
    if (!fs::exists(cache->options_.folder, none) || cache->has_folder()) cache->load_index();
  }
  return cache;
}

// Makes it, for us alone. One that another user can write to holds states that are not ours, and prompts are not for
// others to read: nothing is on disk from then on.
bool PromptCache::has_folder() {
  const auto made = make_private_folder(options_.folder);
  if (made) return true;
  notice(fmt::format("the prompt cache on disk: {}", made.error().message()));
  if (made.error().code() == Code::kPermissionDenied) options_.folder.clear();
  return false;
}

void PromptCache::load_index() {
  make_room_on_disk(0);  // the bound may be a lower one than that of the run before
  std::vector<std::pair<fs::file_time_type, Entry>> found;
  for (const auto& item : folder_entries(options_.folder)) {
    const fs::path& path = item.path();
    std::error_code gone;
    if (!is_own_file(item)) continue;
    if (is_left_behind(item)) fs::remove(path, gone);
    if (path.extension() != ".meta") continue;
    auto entry = read_meta(path.string());
    if (!entry) {
      if (entry.error().code() == Code::kCorrupt) {
        fs::remove(path, gone);
        fs::remove(fs::path(path).replace_extension(".kv"), gone);
      }
      continue;
    }
    entry->id = next_id_++;
    found.emplace_back(fs::last_write_time(path, gone), std::move(*entry));
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  for (auto& [time, entry] : found) disk_.push_back(std::move(entry));
}

Result<PromptCache::Entry> PromptCache::read_meta(const std::string& path) const {
  const auto damaged = [&] { return error(Code::kCorrupt, fmt::format("{}: damaged", path)); };
  ASSIGN_OR_RETURN(const std::string text, read_text_file(path, kTokensMax * sizeof(TokenId) + 2 * kKeyBytesMax));
  std::string_view in = text;
  if (in.size() < sizeof kMagic + 8 || in.substr(0, sizeof kMagic) != std::string_view(kMagic, sizeof kMagic))
    return damaged();
  std::string_view end = in.substr(in.size() - 8);
  if (take_number(end) != hash_of(in.substr(0, in.size() - 8))) return damaged();
  in = in.substr(sizeof kMagic, in.size() - sizeof kMagic - 8);
  const auto key_bytes = take_number(in);
  if (!key_bytes || *key_bytes > kKeyBytesMax || in.size() < *key_bytes) return damaged();
  if (in.substr(0, *key_bytes) != key()) return error(Code::kNotFound, "another model's");
  in.remove_prefix(*key_bytes);
  const auto n_tokens = take_number(in);
  if (!n_tokens || *n_tokens > kTokensMax || in.size() < *n_tokens * sizeof(TokenId)) return damaged();
  Entry entry;
  entry.tokens.resize(*n_tokens);
  std::memcpy(entry.tokens.data(), in.data(), *n_tokens * sizeof(TokenId));
  in.remove_prefix(*n_tokens * sizeof(TokenId));
  const auto part = take_number(in), n_as_prompt = take_number(in);
  const auto bytes = take_number(in), checksum = take_number(in);
  entry.path = path.substr(0, path.size() - 5);
  std::error_code failed;
  if (!part || *part > 1 || !n_as_prompt || *n_as_prompt > *n_tokens) return damaged();
  entry.part = *part == 0 ? StatePart::kWhole : StatePart::kCheckpoint;
  entry.n_as_prompt = *n_as_prompt;
  if (!bytes || !checksum || fs::file_size(entry.path + ".kv", failed) != *bytes || failed) return damaged();
  entry.bytes = *bytes;
  entry.checksum = *checksum;
  return entry;
}

Result<void> PromptCache::write_meta(const Entry& entry) const {
  std::string out(kMagic, sizeof kMagic);
  put_number(out, key().size());
  out += key();
  put_number(out, entry.tokens.size());
  out.append(reinterpret_cast<const char*>(entry.tokens.data()), entry.tokens.size() * sizeof(TokenId));
  put_number(out, entry.part == StatePart::kWhole ? 0 : 1);
  put_number(out, entry.n_as_prompt);
  put_number(out, entry.bytes);
  put_number(out, entry.checksum);
  put_number(out, hash_of(out));
  return replace_file(entry.path + ".meta", out, Readers::kOwner);
}

void PromptCache::remove_files(const std::string& path) const {
  std::error_code ignored;
  fs::remove(path + ".meta", ignored);  // first: what is left then is no entry
  fs::remove(path + ".kv", ignored);
}

std::vector<PromptCache::Kept> PromptCache::kept() const {
  std::vector<Kept> all;
  const auto add = [&](const Entries& entries, bool on_disk) {
    for (const Entry& entry : entries)
      all.push_back({.id = entry.id,
                     .part = entry.part,
                     .tokens = entry.tokens,
                     .n_as_prompt = entry.n_as_prompt,
                     .on_disk = on_disk});
  };
  add(memory_, false);
  add(disk_, true);
  return all;
}

Result<void> PromptCache::restore_from_disk(const Entry& entry, Engine& engine, int32_t seq) const {
  const std::string path = entry.path + ".kv";
  const auto damaged = [&] {
    return error(Code::kCorrupt, fmt::format("{}: damaged; its tokens are computed anew", path));
  };
  if (entry.part == StatePart::kCheckpoint) {
    ASSIGN_OR_RETURN(const std::string state, read_text_file(path, entry.bytes));
    Checksum sum;
    sum.add(state);
    if (state.size() != entry.bytes || sum.value() != entry.checksum) return damaged();
    return engine.restore_state(seq, state, entry.part, entry.tokens.size());
  }
  ASSIGN_OR_RETURN(const auto now, checksum_of_file(path));
  if (now != std::pair{entry.bytes, entry.checksum}) return damaged();
  return engine.restore_state_file(seq, path, entry.tokens.size());
}

Result<void> PromptCache::restore(uint64_t id, Engine& engine, int32_t seq) {
  const auto is_it = [id](const Entry& entry) { return entry.id == id; };
  auto entry = std::find_if(memory_.begin(), memory_.end(), is_it);
  const bool on_disk = entry == memory_.end();
  Entries& entries = on_disk ? disk_ : memory_;
  if (on_disk) entry = std::find_if(disk_.begin(), disk_.end(), is_it);
  if (entry == entries.end()) {
    engine.cut(seq, 0);
    return error(Code::kNotFound, "not in the prompt cache any more");
  }
  auto outcome = on_disk ? restore_from_disk(*entry, engine, seq)
                         : engine.restore_state(seq, entry->state, entry->part, entry->tokens.size());
  if (!outcome) {
    engine.cut(seq, 0);
    if (outcome.error().code() == Code::kUnavailable) return outcome;  // no fault of what was kept
    if (on_disk) {
      remove_files(entry->path);
      disk_.erase(entry);
    } else {
      erase_from_memory(entry);
    }
    return outcome;
  }
  entries.splice(entries.begin(), entries, entry);
  if (on_disk) {
    std::error_code ignored;  // the order of use is a guess after a restart, then
    fs::last_write_time(entry->path + ".meta", fs::file_time_type::clock::now(), ignored);
  }
  ++restored_;
  return {};
}

PromptCache::Entries::iterator PromptCache::erase_from_memory(Entries::iterator entry) {
  memory_bytes_ -= entry->bytes;
  return memory_.erase(entry);
}

// An entry that holds a beginning of `tokens` and nothing else adds nothing; unless its state is all there is of it.
void PromptCache::replace_beginnings(Entries& entries, const Engine& engine, std::span<const TokenId> tokens) {
  if (engine.model().keeps_nothing_else) return;
  for (auto entry = entries.begin(); entry != entries.end();) {
    const bool replaced =
        entry->part == StatePart::kWhole && common_prefix(entry->tokens, tokens) == entry->tokens.size();
    if (replaced && &entries == &disk_) remove_files(entry->path);
    if (replaced && &entries == &memory_) memory_bytes_ -= entry->bytes;
    entry = replaced ? entries.erase(entry) : std::next(entry);
  }
}

void PromptCache::keep(Engine& engine, int32_t seq, std::span<const TokenId> tokens, size_t n_as_prompt,
                       StatePart part) {
  if (tokens.empty() || options_.memory_bytes_max == 0) return;
  const bool cuttable = part == StatePart::kWhole && !engine.model().needs_checkpoints;
  for (auto entry = memory_.begin(); entry != memory_.end(); ++entry)
    if (entry->part == part && (cuttable || entry->tokens.size() == tokens.size()) &&
        common_prefix(entry->tokens, tokens) == tokens.size())
      return memory_.splice(memory_.begin(), memory_, entry);
  const uint64_t bytes = engine.state_bytes(seq, part) + tokens.size() * sizeof(TokenId);
  if (bytes > options_.memory_bytes_max) return;
  if (part == StatePart::kWhole) replace_beginnings(memory_, engine, tokens);
  if (!make_room_in_memory(bytes, tokens)) return;
  Entry entry{.id = next_id_++,
              .part = part,
              .tokens = {tokens.begin(), tokens.end()},
              .n_as_prompt = n_as_prompt,
              .bytes = bytes,
              .state = engine.save_state(seq, part),
              .path = {}};
  if (entry.state.empty()) return;
  memory_bytes_ += bytes;
  memory_.push_front(std::move(entry));
}

bool PromptCache::make_room_in_memory(uint64_t room_bytes, std::span<const TokenId> tokens) {
  const auto is_ours = [&](const Entry& entry) {
    return entry.part == StatePart::kCheckpoint && common_prefix(entry.tokens, tokens) == entry.tokens.size();
  };
  while (memory_bytes_ + room_bytes > options_.memory_bytes_max) {
    // 1. What was used longest ago, of other conversations.
    auto victim = memory_.end();
    for (auto entry = memory_.begin(); entry != memory_.end(); ++entry)
      if (!is_ours(*entry)) victim = entry;
    // 2. Of this one, the checkpoint that leaves the least to compute again, for how far it is from the end: they
    // become sparser towards the beginning.
    if (victim == memory_.end()) {
      std::vector<Entries::iterator> ours;
      for (auto entry = memory_.begin(); entry != memory_.end(); ++entry) ours.push_back(entry);
      std::sort(ours.begin(), ours.end(), [](auto a, auto b) { return a->tokens.size() < b->tokens.size(); });
      double least = 2;
      for (size_t i = 0; i < ours.size(); ++i) {
        const size_t before = i > 0 ? ours[i - 1]->tokens.size() : 0;
        const size_t after = i + 1 < ours.size() ? ours[i + 1]->tokens.size() : tokens.size();
        const double share = static_cast<double>(after - before) / static_cast<double>(tokens.size() - before + 1);
        if (share < least) {
          least = share;
          victim = ours[i];
        }
      }
    }
    if (victim == memory_.end()) return false;
    erase_from_memory(victim);
  }
  return true;
}

size_t PromptCache::stored_prefix(std::span<const TokenId> tokens) const {
  size_t n = 0;
  for (const Entry& entry : disk_)
    if (entry.part == StatePart::kWhole) n = std::max(n, common_prefix(entry.tokens, tokens));
  return n;
}

std::string PromptCache::key() const {
  return options_.context_key.empty() ? options_.model_key : options_.model_key + " " + options_.context_key;
}

void PromptCache::use_context(const std::string& context_key) {
  if (context_key == options_.context_key) return;
  options_.context_key = context_key;
  memory_.clear();
  memory_bytes_ = 0;
  disk_.clear();
  if (!options_.folder.empty()) load_index();
}

// Whatever was used longest ago goes, of this model or another: the folder is shared by all, and looked at anew.
// Nothing goes for what has no room anyway.
bool PromptCache::make_room_on_disk(uint64_t room_bytes, const std::vector<std::string>& staying_paths) {
  struct OnDisk {
    fs::file_time_type used;
    std::string path;
    uint64_t bytes;
  };
  std::vector<OnDisk> all;
  uint64_t total_bytes = 0, staying_bytes = 0;
  for (const auto& item : folder_entries(options_.folder)) {
    if (!is_own_file(item) || item.path().extension() != ".meta") continue;
    std::string path = item.path().string();
    path.resize(path.size() - 5);
    std::error_code gone;
    const uint64_t bytes = fs::file_size(path + ".kv", gone);
    if (gone) continue;
    total_bytes += bytes;
    if (std::find(staying_paths.begin(), staying_paths.end(), path) != staying_paths.end())
      staying_bytes += bytes;
    else
      all.push_back({fs::last_write_time(item.path(), gone), std::move(path), bytes});
  }
  std::sort(all.begin(), all.end(), [](const OnDisk& a, const OnDisk& b) { return a.used < b.used; });
  const auto free_bytes = disk_bytes_free(options_.folder);
  const uint64_t bytes_max =
      free_bytes ? considerate_disk_bytes(options_.disk_bytes_max, total_bytes, *free_bytes) : options_.disk_bytes_max;
  if (staying_bytes + room_bytes > bytes_max && room_bytes > 0) return false;
  for (auto oldest = all.begin(); oldest != all.end() && total_bytes + room_bytes > bytes_max; ++oldest) {
    remove_files(oldest->path);
    total_bytes -= oldest->bytes;
    disk_.remove_if([&](const Entry& entry) { return entry.path == oldest->path; });
  }
  return total_bytes + room_bytes <= bytes_max;
}

PromptCache::Entry PromptCache::new_entry_on_disk(std::span<const TokenId> tokens, size_t n_as_prompt, StatePart part) {
  const std::string_view token_bytes(reinterpret_cast<const char*>(tokens.data()), tokens.size() * sizeof(TokenId));
  return {.id = next_id_++,
          .part = part,
          .tokens = {tokens.begin(), tokens.end()},
          .n_as_prompt = n_as_prompt,
          .state = {},
          .path = fmt::format("{}/{:016x}-{:016x}{}", options_.folder, hash_of(key()), hash_of(token_bytes),
                              part == StatePart::kCheckpoint ? "-c" : "")};
}

// Read back: the checksum is of what the disk has, not of what was meant. From then on it is an entry.
Result<void> PromptCache::finish_on_disk(Entry entry) {
  ASSIGN_OR_RETURN(const auto sum, checksum_of_file(entry.path + ".kv"));
  std::tie(entry.bytes, entry.checksum) = sum;
  RETURN_IF_ERROR(write_meta(entry));
  disk_.remove_if([&](const Entry& other) { return other.path == entry.path; });
  disk_.push_front(std::move(entry));
  return {};
}

bool PromptCache::store(Engine& engine, int32_t seq, std::span<const TokenId> tokens, size_t n_as_prompt) {
  if (options_.folder.empty() || tokens.size() < options_.disk_tokens_min) return false;
  // Places of images mean nothing to the next process.
  if (next_image(tokens, 0) < tokens.size()) return false;
  if (stored_prefix(tokens) == tokens.size()) return false;
  const uint64_t bytes = engine.state_bytes(seq, StatePart::kWhole) + tokens.size() * sizeof(TokenId);
  if (bytes > options_.disk_bytes_max || !has_folder() || !make_room_on_disk(bytes)) return false;
  Entry entry = new_entry_on_disk(tokens, n_as_prompt, StatePart::kWhole);
  const std::string path = entry.path;
  // Before the engine fills it: it would make one that everybody reads.
  auto written = make_private_file(path + ".kv");
  if (written) written = engine.save_state_file(seq, path + ".kv", tokens);
  if (written) written = finish_on_disk(std::move(entry));
  if (!written) {
    remove_files(path);
    notice(fmt::format("the prompt cache on disk: {}", written.error().message()));
    return false;
  }
  // The new one is in front.
  Entries newest;
  newest.splice(newest.begin(), disk_, disk_.begin());
  replace_beginnings(disk_, engine, tokens);
  disk_.splice(disk_.begin(), newest);
  ++stored_;
  store_checkpoints(tokens, path);
  return true;
}

// The last ones: who edits, or answers anew, does so near the end. None is of use without the whole that it stands on.
void PromptCache::store_checkpoints(std::span<const TokenId> tokens, const std::string& whole_path) {
  std::vector<std::string> staying_paths{whole_path};
  std::vector<const Entry*> on_the_way;
  for (const Entry& entry : memory_)
    if (entry.part == StatePart::kCheckpoint && entry.tokens.size() >= options_.disk_tokens_min &&
        common_prefix(entry.tokens, tokens) == entry.tokens.size())
      on_the_way.push_back(&entry);
  std::sort(on_the_way.begin(), on_the_way.end(),
            [](const Entry* a, const Entry* b) { return a->tokens.size() > b->tokens.size(); });
  if (on_the_way.size() > kCheckpointsOnDisk) on_the_way.resize(kCheckpointsOnDisk);
  for (const Entry* kept : on_the_way) {
    const bool known = std::any_of(disk_.begin(), disk_.end(), [&](const Entry& entry) {
      return entry.part == StatePart::kCheckpoint && entry.tokens == kept->tokens;
    });
    if (known || !make_room_on_disk(kept->bytes, staying_paths)) continue;
    Entry entry = new_entry_on_disk(kept->tokens, kept->n_as_prompt, StatePart::kCheckpoint);
    const std::string path = entry.path;
    auto written = replace_file(path + ".kv", kept->state, Readers::kOwner);
    if (written) written = finish_on_disk(std::move(entry));
    if (!written) return remove_files(path);
    staying_paths.push_back(path);
  }
}

PromptCacheStats PromptCache::stats() const {
  uint64_t disk_bytes = 0;
  for (const Entry& entry : disk_) disk_bytes += entry.bytes;
  return {.memory_bytes = memory_bytes_,
          .disk_bytes = disk_bytes,
          .memory_entries = memory_.size(),
          .disk_entries = disk_.size(),
          .restored = restored_,
          .stored = stored_};
}

}  // namespace spillway
