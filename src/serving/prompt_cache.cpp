// SPDX-License-Identifier: MIT
#include "serving/prompt_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
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

constexpr char kMagic[8] = {'s', 'p', 'i', 'l', 'l', 'k', 'v', '1'};
constexpr size_t kTokensMax = 64u << 20;
constexpr size_t kKeyBytesMax = 4096;

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

std::unique_ptr<PromptCache> PromptCache::open(PromptCacheOptions options) {
  std::unique_ptr<PromptCache> cache(new PromptCache(std::move(options)));
  if (!cache->options_.folder.empty()) {
    std::error_code none;
    if (fs::exists(cache->options_.folder, none)) (void)make_private_folder(cache->options_.folder);
    cache->load_index();
  }
  return cache;
}

void PromptCache::load_index() {
  make_room_on_disk(0);  // the bound may be a lower one than that of the run before
  std::error_code failed;
  std::vector<std::pair<fs::file_time_type, Entry>> found;
  for (const auto& item : fs::directory_iterator(options_.folder, failed)) {
    const fs::path& path = item.path();
    std::error_code gone;
    if (path.extension() == ".kv" && !fs::exists(fs::path(path).replace_extension(".meta"), gone)) {
      fs::remove(path, gone);
      continue;
    }
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
  if (in.substr(0, *key_bytes) != options_.model_key) return error(Code::kNotFound, "another model's");
  in.remove_prefix(*key_bytes);
  const auto n_tokens = take_number(in);
  if (!n_tokens || *n_tokens > kTokensMax || in.size() < *n_tokens * sizeof(TokenId)) return damaged();
  Entry entry;
  entry.tokens.resize(*n_tokens);
  std::memcpy(entry.tokens.data(), in.data(), *n_tokens * sizeof(TokenId));
  in.remove_prefix(*n_tokens * sizeof(TokenId));
  const auto bytes = take_number(in), checksum = take_number(in);
  entry.path = path.substr(0, path.size() - 5);
  std::error_code failed;
  if (!bytes || !checksum || fs::file_size(entry.path + ".kv", failed) != *bytes || failed) return damaged();
  entry.bytes = *bytes;
  entry.checksum = *checksum;
  return entry;
}

Result<void> PromptCache::write_meta(const Entry& entry) const {
  std::string out(kMagic, sizeof kMagic);
  put_number(out, options_.model_key.size());
  out += options_.model_key;
  put_number(out, entry.tokens.size());
  out.append(reinterpret_cast<const char*>(entry.tokens.data()), entry.tokens.size() * sizeof(TokenId));
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

std::optional<PromptCache::Match> PromptCache::find(std::span<const TokenId> prompt, bool whole) const {
  std::optional<Match> best;
  const auto consider = [&](const Entry& entry, bool on_disk) {
    const size_t n = common_prefix(entry.tokens, prompt);
    if (n == 0 || (whole && n < entry.tokens.size())) return;
    if (best && n <= best->n_tokens) return;
    best = Match{.n_tokens = n, .n_held = entry.tokens.size(), .on_disk = on_disk, .id = entry.id};
  };
  for (const Entry& entry : memory_) consider(entry, false);
  for (const Entry& entry : disk_) consider(entry, true);
  return best;
}

Result<void> PromptCache::restore(const Match& match, Engine& engine, int32_t seq) {
  Entries& entries = match.on_disk ? disk_ : memory_;
  const auto entry = std::find_if(entries.begin(), entries.end(), [&](const Entry& e) { return e.id == match.id; });
  if (entry == entries.end()) return error(Code::kNotFound, "not in the prompt cache any more");
  const auto outcome = [&]() -> Result<void> {
    if (!match.on_disk) return engine.restore_sequence(seq, entry->state);
    ASSIGN_OR_RETURN(const auto now, checksum_of_file(entry->path + ".kv"));
    if (now != std::pair{entry->bytes, entry->checksum})
      return error(Code::kCorrupt, fmt::format("{}.kv: damaged; its tokens are computed anew", entry->path));
    return engine.restore_sequence_file(seq, entry->path + ".kv", entry->tokens.size());
  }();
  if (!outcome) {
    (void)engine.forget(seq, 0);
    if (outcome.error().code() == Code::kUnavailable) return outcome;  // no fault of what was kept
    if (match.on_disk)
      remove_files(entry->path);
    else
      memory_bytes_ -= entry->bytes;
    entries.erase(entry);
    return outcome;
  }
  entries.splice(entries.begin(), entries, entry);
  if (match.on_disk) {
    std::error_code ignored;  // the order of use is a guess after a restart, then
    fs::last_write_time(entry->path + ".meta", fs::file_time_type::clock::now(), ignored);
  }
  ++restored_;
  return {};
}

void PromptCache::keep(Engine& engine, int32_t seq, std::span<const TokenId> tokens) {
  if (tokens.empty() || options_.memory_bytes_max == 0) return;
  for (auto entry = memory_.begin(); entry != memory_.end(); ++entry)
    if (common_prefix(entry->tokens, tokens) == tokens.size()) return memory_.splice(memory_.begin(), memory_, entry);
  const uint64_t bytes = engine.sequence_bytes(seq) + tokens.size() * sizeof(TokenId);
  if (bytes > options_.memory_bytes_max) return;
  // A prefix of what is kept now brings nothing more; unless it is a checkpoint, which only serves as a whole.
  const bool cuttable = engine.model().can_trim;
  for (auto entry = memory_.begin(); entry != memory_.end();) {
    const bool replaced = cuttable && common_prefix(entry->tokens, tokens) == entry->tokens.size();
    if (replaced) memory_bytes_ -= entry->bytes;
    entry = replaced ? memory_.erase(entry) : std::next(entry);
  }
  while (!memory_.empty() && memory_bytes_ + bytes > options_.memory_bytes_max) {
    memory_bytes_ -= memory_.back().bytes;
    memory_.pop_back();
  }
  Entry entry{.id = next_id_++,
              .tokens = {tokens.begin(), tokens.end()},
              .bytes = bytes,
              .state = engine.save_sequence(seq),
              .path = {}};
  if (entry.state.empty()) return;
  memory_bytes_ += bytes;
  memory_.push_front(std::move(entry));
}

size_t PromptCache::stored_prefix(std::span<const TokenId> tokens) const {
  size_t n = 0;
  for (const Entry& entry : disk_) n = std::max(n, common_prefix(entry.tokens, tokens));
  return n;
}

// Whatever was used longest ago goes, of this model or another: the folder is shared by all, and looked at anew.
bool PromptCache::make_room_on_disk(uint64_t room_bytes) {
  struct OnDisk {
    fs::file_time_type used;
    std::string path;
    uint64_t bytes;
  };
  std::vector<OnDisk> all;
  uint64_t total_bytes = 0;
  std::error_code failed;
  for (const auto& item : fs::directory_iterator(options_.folder, failed)) {
    if (item.path().extension() != ".meta") continue;
    std::string path = item.path().string();
    path.resize(path.size() - 5);
    std::error_code gone;
    const uint64_t bytes = fs::file_size(path + ".kv", gone);
    if (gone) continue;
    all.push_back({fs::last_write_time(item.path(), gone), std::move(path), bytes});
    total_bytes += bytes;
  }
  std::sort(all.begin(), all.end(), [](const OnDisk& a, const OnDisk& b) { return a.used < b.used; });
  for (auto oldest = all.begin(); oldest != all.end() && total_bytes + room_bytes > options_.disk_bytes_max; ++oldest) {
    remove_files(oldest->path);
    total_bytes -= oldest->bytes;
    disk_.remove_if([&](const Entry& entry) { return entry.path == oldest->path; });
  }
  return total_bytes + room_bytes <= options_.disk_bytes_max;
}

bool PromptCache::store(Engine& engine, int32_t seq, std::span<const TokenId> tokens) {
  if (options_.folder.empty() || tokens.size() < options_.disk_tokens_min) return false;
  if (stored_prefix(tokens) == tokens.size()) return false;
  const uint64_t bytes = engine.sequence_bytes(seq) + tokens.size() * sizeof(TokenId);
  if (bytes > options_.disk_bytes_max) return false;
  if (!make_room_on_disk(bytes)) return false;

  // 1. The engine's bytes, under a name that is not an entry yet.
  const auto folder = make_private_folder(options_.folder);
  const std::string_view token_bytes(reinterpret_cast<const char*>(tokens.data()), tokens.size() * sizeof(TokenId));
  Entry entry;
  entry.id = next_id_++;
  entry.tokens.assign(tokens.begin(), tokens.end());
  entry.path = fmt::format("{}/{:016x}-{:016x}", options_.folder, hash_of(options_.model_key), hash_of(token_bytes));
  const auto give_up = [&](const std::string& why) {
    remove_files(entry.path);
    notice(fmt::format("the prompt cache on disk: {}", why));
    return false;
  };
  if (!folder) return give_up(folder.error().message());
  // Before the engine fills it: it would make one that everybody reads.
  if (auto made = make_private_file(entry.path + ".kv"); !made) return give_up(made.error().message());
  if (auto saved = engine.save_sequence_file(seq, entry.path + ".kv", tokens); !saved)
    return give_up(saved.error().message());
  // 2. Read back: the checksum is of what the disk has, not of what was meant.
  const auto sum = checksum_of_file(entry.path + ".kv");
  if (!sum) return give_up(sum.error().message());
  std::tie(entry.bytes, entry.checksum) = *sum;
  // 3. From here on it is an entry.
  if (auto written = write_meta(entry); !written) return give_up(written.error().message());
  const bool cuttable = engine.model().can_trim;
  for (auto other = disk_.begin(); other != disk_.end();) {
    const bool replaced = cuttable && common_prefix(other->tokens, tokens) == other->tokens.size();
    if (replaced) remove_files(other->path);
    other = replaced ? disk_.erase(other) : std::next(other);
  }
  disk_.push_front(std::move(entry));
  ++stored_;
  return true;
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
