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
      : source_(source), options_(options), draft_(std::move(draft)), retry_(options) {}

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
    std::vector<char> piece(MiB);
    for (uint64_t at = 0; at < draft_.size_bytes();) {
      if (options_.cancelled && options_.cancelled()) return error(Code::kCancelled, "cancelled");
      ASSIGN_OR_RETURN(const uint64_t got, draft_.read_at(at, std::span(piece)));
      if (got == 0) return error(Code::kIo, fmt::format("{}: became shorter", draft_.path()));
      hash_.add(piece.data(), got);
      at += got;
    }
    return {};
  }

  // Until every byte is there.
  Result<void> fetch_all() {
    report(true);
    while (draft_.size_bytes() < source_.size_bytes) {
      const uint64_t before = draft_.size_bytes();
      server_asks_s_ = 0;
      const auto outcome = fetch_some();
      // What came before and was given up does not count: a server could go on like that for ever.
      if (draft_.size_bytes() > std::max(before, furthest_bytes_)) retry_.progressed();
      furthest_bytes_ = std::max(furthest_bytes_, draft_.size_bytes());
      if (!outcome) RETURN_IF_ERROR(retry_.wait_after(outcome.error(), server_asks_s_));
    }
    report(true);
    return {};
  }

  // One request, from where we are.
  Result<void> fetch_some() {
    HttpRequest request{.url = source_.url,
                        .accept = {},
                        .bearer_token = source_.bearer_token,
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

  void report(bool always) {
    if (!options_.progress || (!always && since_report_.elapsed_s() < kProgressEvery_s)) return;
    since_report_ = Stopwatch();
    options_.progress({.status = fmt::format("pulling {}", digest_hex(source_.digest).substr(0, 12)),
                       .digest = source_.digest,
                       .total_bytes = source_.size_bytes,
                       .completed_bytes = draft_.size_bytes()});
  }

  const BlobSource& source_;
  const PullOptions& options_;
  DraftFile draft_;
  Retry retry_;
  Sha256 hash_;       // of what is in the draft
  std::string etag_;  // of what is in the draft, when we know it
  uint64_t furthest_bytes_ = 0;
  double server_asks_s_ = 0;
  Stopwatch since_report_;
};

bool has_size(const std::string& path, uint64_t bytes) {
  const auto identity = identify_file(path);
  return identity && identity->bytes == bytes;
}

bool is_whole(const ModelStore& store, const BlobSource& source) {
  return has_size(store.own_blob_path(source.digest), source.size_bytes);
}

// While somebody else has the file: until they stop making progress with it.
class OtherPull {
 public:
  OtherPull(std::string path, const PullOptions& options) : path_(std::move(path)), options_(options) {}

  //   Busy  Cancelled
  Result<void> wait(uint64_t bytes_now) {
    if (!said_ && options_.progress)
      options_.progress({.status = fmt::format("waiting for another pull, which holds {}", path_), .digest = {}});
    said_ = true;
    if (bytes_now != bytes_) since_progress_ = Stopwatch();
    bytes_ = bytes_now;
    if (since_progress_.elapsed_s() >= options_.other_pull_timeout_s)
      return error(Code::kBusy, fmt::format("{}: another process holds it, and adds nothing to it", path_));
    return sleep_unless_cancelled(kOtherPull_s, options_);
  }

 private:
  const std::string path_;
  const PullOptions& options_;
  bool said_ = false;
  uint64_t bytes_ = 0;
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
  OtherPull other(partial_path(store, source.digest), options);
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
    if (draft) return Download(source, options, std::move(*draft)).run(final_path);
    RETURN_IF_ERROR(other.wait(bytes_present(store, source)));
  }
}

}  // namespace spillway
