// SPDX-License-Identifier: MIT
#include "fetch/download.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/sha256.h"
#include "fetch/http.h"
#include "fetch/retry.h"
#include "os/draft_file.h"
#include "os/file.h"
#include "os/folder.h"

namespace spillway {
namespace {

constexpr double kOtherPull_s = 0.2, kProgressEvery_s = 0.1;
// A pull that hashes touches its file so often, and one that waits for it tells so often how far it is.
constexpr double kTouchEvery_s = 1, kWaitingEvery_s = 1;
// Asked for without a byte in between: one that another file got, which may have ended too, and one of its own.
constexpr int kTokensMax = 2;

std::string partial_path(const ModelStore& store, const std::string& digest) {
  return store.own_blob_path(digest) + "-partial";
}

// What follows `prefix` in "bytes 100-199/200" and the like; none when it is no number.
std::optional<uint64_t> number_of(std::string_view text) {
  uint64_t value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

class Download {
 public:
  Download(const BlobSource& source, const PullOptions& options, DraftFile draft)
      : source_(source),
        options_(options),
        draft_(std::move(draft)),
        retry_(options),
        bearer_token_(source.bearer_token) {}

  Result<void> run(const std::string& final_path) {
    // What an earlier pull left counts, unless it turns out to be wrong: then once more from the start.
    bool resumed = draft_.size_bytes() > 0;
    RETURN_IF_ERROR(hash_what_is_there());
    for (;;) {
      auto outcome = fetch_all();
      if (!outcome && outcome.error().code() == Code::kDiskFull) draft_.discard();
      if (!outcome) return outcome;
      const std::string found = "sha256:" + hash_.hex();
      if (found == source_.digest) return draft_.publish(final_path);
      if (!resumed) {
        draft_.discard();
        return error(Code::kCorrupt,
                     fmt::format("{}: digest mismatch: expected {}, what came has {}; it was deleted, try again",
                                 host_of_url(source_.url), source_.digest, found));
      }
      resumed = false;
      RETURN_IF_ERROR(start_over());
    }
  }

 private:
  Result<void> start_over() {
    hash_ = Sha256();
    etag_.clear();
    return draft_.truncate(0);
  }

  Result<void> hash_what_is_there() {
    if (draft_.size_bytes() > source_.size_bytes) return start_over();
    if (draft_.size_bytes() > 0) report_hashed(0);
    std::vector<char> piece(MiB);
    for (uint64_t at = 0; at < draft_.size_bytes();) {
      if (options_.cancelled && options_.cancelled()) return error(Code::kCancelled, "cancelled");
      ASSIGN_OR_RETURN(const uint64_t got, draft_.read_at(at, std::span(piece)));
      if (got == 0) return error(Code::kIo, fmt::format("{}: became shorter", draft_.path()));
      hash_.add(piece.data(), got);
      at += got;
      report_hashed(at);
    }
    return {};
  }

  // Until every byte is there.
  Result<void> fetch_all() {
    report(true);
    while (draft_.size_bytes() < source_.size_bytes) {
      const uint64_t before = draft_.size_bytes();
      server_asks_s_ = 0;
      challenge_.reset();
      auto outcome = fetch_some();
      // What came before and was given up does not count: a server could go on like that for ever.
      if (draft_.size_bytes() > std::max(before, furthest_bytes_)) {
        retry_.progressed();
        n_tokens_ = 0;
      }
      furthest_bytes_ = std::max(furthest_bytes_, draft_.size_bytes());
      report(true);  // a proxy in front of us may have the patience for one silence, and not for two
      if (!outcome && challenge_ && source_.another_token && n_tokens_ < kTokensMax) outcome = take_another_token();
      if (!outcome) RETURN_IF_ERROR(retry_.wait_after(outcome.error(), server_asks_s_));
    }
    return {};
  }

  Result<void> take_another_token() {
    ASSIGN_OR_RETURN(bearer_token_, source_.another_token(bearer_token_, *challenge_));
    ++n_tokens_;
    return {};
  }

  // One request, from where we are.
  Result<void> fetch_some() {
    HttpRequest request{.url = source_.url,
                        .accept = {},
                        .bearer_token = bearer_token_,
                        .range_from = draft_.size_bytes(),
                        .if_range = etag_,
                        .connect_timeout_s = options_.connect_timeout_s,
                        .stall_timeout_s = options_.stall_timeout_s,
                        .cancelled = options_.cancelled,
                        .from_outside = source_.from_outside};
    const HttpSink sink{.begin = [&](const HttpHead& head) { return begin(head); },
                        .data = [&](std::string_view piece) { return take(piece); }};
    RETURN_IF_ERROR(http_get(request, sink));
    if (draft_.size_bytes() < source_.size_bytes)
      return error(Code::kUnavailable,
                   fmt::format("{}: the answer ended after {} of {}", host_of_url(source_.url),
                               format_bytes(draft_.size_bytes()), format_bytes(source_.size_bytes)));
    return {};
  }

  Result<void> begin(const HttpHead& head) {
    server_asks_s_ = server_wait_s(head);
    std::optional<uint64_t> total;
    if (head.status == 206) {
      // "bytes FROM-TO/TOTAL"; TOTAL may be "*".
      const std::string range = head.header("content-range");
      const std::string from = fmt::format("bytes {}-", draft_.size_bytes());
      if (!range.starts_with(from)) {
        // Not what was asked for: all of it, then.
        RETURN_IF_ERROR(start_over());
        return error(Code::kUnavailable,
                     fmt::format("{}: sent another part than was asked for", host_of_url(source_.url)));
      }
      total = number_of(std::string_view(range).substr(range.rfind('/') + 1));
    } else if (head.status == 200) {
      if (const std::string length = head.header("content-length"); !length.empty()) total = number_of(length);
      // Nobody says how long it is: a page of a network that wants somebody to log in is none of a file's bytes.
      if (!total && head.header("content-type").starts_with("text/html")) {
        if (draft_.size_bytes() == 0) draft_.discard();
        return error(Code::kCorrupt,
                     fmt::format("{}: sent a page where a file was asked for", host_of_url(source_.url)));
      }
      // The server knows no ranges, or has another file than the one we have the start of.
      if (draft_.size_bytes() > 0 && total.value_or(source_.size_bytes) == source_.size_bytes)
        RETURN_IF_ERROR(start_over());
    } else if (head.status == 416) {
      RETURN_IF_ERROR(start_over());
      return error(Code::kUnavailable, fmt::format("{}: has no such part of the file", host_of_url(source_.url)));
    } else {
      // Not that of a host to which it redirects: that one has no token of ours.
      if (head.status == 401 && origin_of_url(head.url) == origin_of_url(source_.url))
        challenge_ = head.header("www-authenticate");
      return Failure(http_status_error(head, source_.url));
    }
    if (total && *total != source_.size_bytes) {
      // A page where the file was asked for, say: what came before is of the right one.
      if (draft_.size_bytes() == 0) draft_.discard();
      return error(Code::kCorrupt, fmt::format("{}: offers {} bytes where its list says {}", host_of_url(source_.url),
                                               *total, source_.size_bytes));
    }
    // A weak one does not promise the same bytes.
    const std::string etag = head.header("etag");
    etag_ = etag.starts_with('"') ? etag : "";
    return {};
  }

  Result<void> take(std::string_view piece) {
    if (piece.size() > source_.size_bytes - draft_.size_bytes()) {
      RETURN_IF_ERROR(start_over());
      return error(Code::kCorrupt, fmt::format("{}: sent more than the {} bytes its list says",
                                               host_of_url(source_.url), source_.size_bytes));
    }
    const uint64_t before = draft_.size_bytes();
    auto written = draft_.append(piece);
    hash_.add(piece.substr(0, draft_.size_bytes() - before));
    if (!written) return written;
    report(false);
    return {};
  }

  void report(bool always) { say("pulling", draft_.size_bytes(), always); }

  // Under a name of its own: its speed is that of the disk. The file does not grow meanwhile; who waits for it sees by
  // its time that it is worked on.
  void report_hashed(uint64_t bytes) {
    if (since_touch_.elapsed_s() >= kTouchEvery_s) {
      draft_.touch();
      since_touch_ = Stopwatch();
    }
    say("checking", bytes, bytes == 0 || bytes == draft_.size_bytes());
  }

  void say(const char* doing, uint64_t bytes, bool always) {
    if (!options_.progress || (!always && since_report_.elapsed_s() < kProgressEvery_s)) return;
    since_report_ = Stopwatch();
    options_.progress({.status = fmt::format("{} {}", doing, digest_hex(source_.digest).substr(0, 12)),
                       .digest = source_.digest,
                       .total_bytes = source_.size_bytes,
                       .completed_bytes = bytes});
  }

  const BlobSource& source_;
  const PullOptions& options_;
  DraftFile draft_;
  Retry retry_;
  Sha256 hash_;       // of what is in the draft
  std::string etag_;  // of what is in the draft, when we know it
  uint64_t furthest_bytes_ = 0;
  double server_asks_s_ = 0;
  Stopwatch since_report_, since_touch_;
  std::string bearer_token_;
  int n_tokens_ = 0;                      // asked for since the last byte came
  std::optional<std::string> challenge_;  // of the last answer, where it refused the token
};

bool has_size(const std::string& path, uint64_t bytes) {
  const auto identity = identify_file(path);
  return identity && identity->bytes == bytes;
}

bool is_whole(const ModelStore& store, const BlobSource& source) {
  return has_size(store.own_blob_path(source.digest), source.size_bytes);
}

// While somebody else has the file: until they stop making progress with it. One that hashes what it has adds no byte,
// and touches the file.
class OtherPull {
 public:
  OtherPull(std::string path, const BlobSource& source, const PullOptions& options)
      : path_(std::move(path)), source_(source), options_(options) {}

  //   Busy  Cancelled
  Result<void> wait(uint64_t bytes_now) {
    if (!since_said_ || since_said_->elapsed_s() >= kWaitingEvery_s) say(bytes_now);
    const auto file = identify_file(path_);
    const int64_t modified_ns = file ? file->modified_ns : 0;
    if (bytes_now != bytes_ || modified_ns != modified_ns_) since_progress_ = Stopwatch();
    bytes_ = bytes_now;
    modified_ns_ = modified_ns;
    if (since_progress_.elapsed_s() >= options_.other_pull_timeout_s)
      return error(Code::kBusy, fmt::format("{}: another process holds it, and adds nothing to it", path_));
    return sleep_unless_cancelled(kOtherPull_s, options_);
  }

 private:
  void say(uint64_t bytes_now) {
    since_said_ = Stopwatch();
    if (!options_.progress) return;
    options_.progress({.status = fmt::format("waiting for another pull, which holds {}", path_),
                       .digest = source_.digest,
                       .total_bytes = source_.size_bytes,
                       .completed_bytes = bytes_now});
  }

  const std::string path_;
  const BlobSource& source_;
  const PullOptions& options_;
  std::optional<Stopwatch> since_said_;
  uint64_t bytes_ = 0;
  int64_t modified_ns_ = 0;
  Stopwatch since_progress_;
};

}  // namespace

void link_from_elsewhere(const ModelStore& store, const BlobSource& source, const std::vector<std::string>& folders) {
  if (is_whole(store, source)) return;
  const std::string own = store.own_blob_path(source.digest);
  std::vector<std::string> others = source.maybe_at;
  for (const std::string& folder : folders)
    others.push_back(fmt::format("{}/blobs/{}", folder, blob_file_name(source.digest)));
  for (const std::string& other : others) {
    if (!has_size(other, source.size_bytes)) continue;
    std::error_code ec;
    std::filesystem::create_directories(std::filesystem::path(own).parent_path(), ec);
    if (try_hard_link(std::filesystem::canonical(other, ec).string(), own)) return;
  }
}

uint64_t bytes_present(const ModelStore& store, const BlobSource& source) {
  if (is_whole(store, source)) return source.size_bytes;
  const auto partial = identify_file(partial_path(store, source.digest));
  return partial && partial->bytes <= source.size_bytes ? partial->bytes : 0;
}

Result<void> download_blob(const ModelStore& store, const BlobSource& source, const PullOptions& options) {
  const std::string final_path = store.own_blob_path(source.digest);
  OtherPull other(partial_path(store, source.digest), source, options);
  for (;;) {
    if (is_whole(store, source)) {
      if (options.progress)
        options.progress({.status = fmt::format("pulling {}", digest_hex(source.digest).substr(0, 12)),
                          .digest = source.digest,
                          .total_bytes = source.size_bytes,
                          .completed_bytes = source.size_bytes});
      return {};
    }
    ASSIGN_OR_RETURN(std::optional<DraftFile> draft, DraftFile::try_open(partial_path(store, source.digest)));
    // Another pull may have given it its name in between, and this is a new file: what is whole may be in use.
    if (draft && is_whole(store, source)) {
      draft->discard();
      continue;
    }
    if (draft) return Download(source, options, std::move(*draft)).run(final_path);
    RETURN_IF_ERROR(other.wait(bytes_present(store, source)));
  }
}

}  // namespace spillway
