// SPDX-License-Identifier: MIT
#include "fetch/remote_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/bytes.h"
#include "base/utf8.h"
#include "fetch/retry.h"

namespace spillway {
namespace {

// Each request asks for twice as much as the one before, so that at most half of what comes is not needed.
constexpr uint64_t kFirstBytes = 64 * KiB, kMoreBytesMax = 8 * MiB;
// A vocabulary of a million tokens takes 50 MB.
constexpr uint64_t kHeaderBytesMax = 128 * MiB;
constexpr std::string_view kTokenizer = "tokenizer.";

// The beginning of a file that is elsewhere. Immutable.
class PrefixFile : public File {
 public:
  PrefixFile(std::string path, uint64_t file_bytes, std::shared_ptr<const std::string> bytes)
      : path_(std::move(path)), identity_{.bytes = file_bytes}, bytes_(std::move(bytes)) {}

  const std::string& path() const override { return path_; }
  const FileIdentity& identity() const override { return identity_; }
  bool is_direct() const override { return false; }
  ReadAlignment read_alignment() const override { return {1, 1}; }

  // What is there; nothing behind it.
  Result<uint64_t> read_at(uint64_t offset, std::span<std::byte> destination) const override {
    if (bytes_ == nullptr) return error(Code::kIo, fmt::format("{}: is not on this machine", path_));
    if (offset >= bytes_->size()) return 0;
    const uint64_t n = std::min<uint64_t>(destination.size(), bytes_->size() - offset);
    std::memcpy(destination.data(), bytes_->data() + offset, n);
    return n;
  }
  Result<void> check_unchanged() const override { return {}; }
  Result<void> check_in_place() const override { return {}; }
  int map_fd() const override { return -1; }
  int read_fd() const override { return -1; }

 private:
  const std::string path_;
  const FileIdentity identity_;
  const std::shared_ptr<const std::string> bytes_;  // null: path and size alone
};

}  // namespace

RemoteHeader::RemoteHeader(RemoteFile file, HttpSession& session, const PullOptions& options)
    : file_(std::move(file)), session_(session), options_(options) {}

std::unique_ptr<File> RemoteHeader::as_file() const {
  return std::make_unique<PrefixFile>(file_.path, file_.source.size_bytes, bytes_);
}

Result<GgufKind> RemoteHeader::kind() {
  ASSIGN_OR_RETURN(const GgufMetadata keys, read({.stop_before = std::string(kTokenizer)}));
  const GgufKind kind = kind_of_keys(keys);
  const std::string guessing = keys.text("general.architecture") + ".nextn_predict_layers";
  if (kind != GgufKind::kModel || keys.number(guessing) == 0) return kind;
  // Layers that guess are behind a model's others, or cut out of it: the list of tensors says which.
  ASSIGN_OR_RETURN(const GgufMetadata all, metadata());
  return kind_of(all);
}

Result<GgufMetadata> RemoteHeader::metadata() { return read({}); }

Result<std::unique_ptr<File>> RemoteHeader::open() {
  ASSIGN_OR_RETURN(const GgufMetadata all, metadata());
  return as_file();
}

Result<GgufMetadata> RemoteHeader::read(const GgufMetadataOptions& options) {
  const uint64_t file_bytes = file_.source.size_bytes;
  RETURN_IF_ERROR(fetch_to(std::min(kFirstBytes, file_bytes)));
  for (uint64_t more = kFirstBytes;; more = std::min(2 * more, kMoreBytesMax)) {
    auto metadata = read_gguf_metadata(*as_file(), options);
    // What comes last is passed over, and may end behind what is here.
    const bool is_cut = metadata && metadata->header_bytes > bytes_->size();
    const bool wants_more = is_cut || (!metadata && metadata.error().code() == Code::kChanged);
    if (!wants_more || bytes_->size() >= file_bytes) return metadata;
    if (bytes_->size() >= kHeaderBytesMax)
      return error(Code::kCorrupt,
                   fmt::format("{}: its metadata goes on behind {}", file_.path, format_bytes(kHeaderBytesMax)));
    RETURN_IF_ERROR(fetch_to(std::min(bytes_->size() + more, file_bytes)));
  }
}

Result<void> RemoteHeader::fetch_to(uint64_t bytes) {
  Retry retry(options_);
  while (bytes_->size() < bytes) {
    const uint64_t before = bytes_->size();
    double server_asks_s = 0;
    const auto outcome = fetch_once(bytes, server_asks_s);
    if (bytes_->size() > before) retry.progressed();
    if (!outcome) RETURN_IF_ERROR(retry.wait_after(outcome.error(), server_asks_s));
  }
  return {};
}

// One request, for what is missing. A part that was not asked for, or of another file, is never taken. Where a redirect
// led is asked directly from then on, without the token, until it says no.
Result<void> RemoteHeader::fetch_once(uint64_t bytes, double& server_asks_s) {
  const BlobSource& source = file_.source;
  const uint64_t from = bytes_->size();
  const std::string redirected = std::exchange(redirected_, "");
  const HttpRequest request{.url = redirected.empty() ? source.url : redirected,
                            .accept = {},
                            .bearer_token = redirected.empty() ? source.bearer_token : "",
                            .range_from = from,
                            .range_bytes = bytes - from,
                            .if_range = {},
                            .connect_timeout_s = options_.connect_timeout_s,
                            .stall_timeout_s = options_.stall_timeout_s,
                            .cancelled = options_.cancelled,
                            .from_outside = source.from_outside};
  uint64_t skip = 0;  // of what comes: we have it
  bool enough = false;
  const auto begin = [&](const HttpHead& head) -> Result<void> {
    server_asks_s = server_wait_s(head);
    uint64_t total = 0;
    if (head.status == 206) {
      const auto range = parse_content_range(head.header("content-range"));
      if (!range || range->from != from)
        return error(Code::kCorrupt,
                     fmt::format("{}: {} sent another part than was asked for", file_.path, host_of_url(source.url)));
      total = range->total_bytes;
    } else if (head.status == 200) {
      skip = from;
      if (const auto range = parse_content_range("bytes 0-/" + head.header("content-length")))
        total = range->total_bytes;
    } else if (!redirected.empty()) {
      return error(Code::kUnavailable,
                   fmt::format("{}: {} sends nothing more ({})", file_.path, host_of_url(redirected), head.status));
    } else {
      return Failure(http_status_error(head, source.url).with_context(file_.path));
    }
    if (origin_of_url(head.url) != origin_of_url(source.url)) redirected_ = head.url;
    if (total > 0 && total != source.size_bytes)
      return error(Code::kCorrupt, fmt::format("{}: {} offers {} bytes where its list says {}", file_.path,
                                               host_of_url(source.url), total, source.size_bytes));
    return {};
  };
  const auto take = [&](std::string_view piece) -> Result<void> {
    bytes_fetched_ += piece.size();
    const uint64_t known = std::min<uint64_t>(skip, piece.size());
    skip -= known;
    piece.remove_prefix(known);
    bytes_->append(piece.substr(0, bytes - bytes_->size()));
    if (bytes_->size() < bytes) return {};
    enough = true;
    return error(Code::kCancelled, "enough");
  };
  const auto outcome = session_.get(request, {.begin = begin, .data = take});
  if (enough) return {};
  if (!outcome) return Failure(outcome.error());
  return error(Code::kUnavailable, fmt::format("{}: the answer ended after {} of {}", file_.path,
                                               format_bytes(bytes_->size()), format_bytes(bytes)));
}

std::optional<SharedKeys> RemoteHeader::shared_keys() {
  const auto all = metadata();
  if (!all) return std::nullopt;
  // From the first long value to the last: what is between them is the tokenizer's, too.
  const std::vector<uint64_t>& offsets = all->key_offsets;
  size_t first = offsets.size(), last = 0;
  for (size_t i = 0; i + 1 < offsets.size(); ++i) {
    if (offsets[i + 1] - offsets[i] < kFirstBytes) continue;
    first = std::min(first, i);
    last = i;
  }
  if (first == offsets.size()) return std::nullopt;
  // Its name is in front of its value. It may be none of those that are kept: longer texts than there is room for are
  // not.
  const std::string_view key = std::string_view(*bytes_).substr(offsets[first]);
  uint64_t name_bytes = 0;
  if (key.size() < sizeof name_bytes) return std::nullopt;
  std::memcpy(&name_bytes, key.data(), sizeof name_bytes);
  return SharedKeys{
      .first = valid_utf8(key.substr(sizeof name_bytes, name_bytes)),
      .bytes = std::make_shared<const std::string>(bytes_->substr(offsets[first], offsets[last + 1] - offsets[first]))};
}

Result<void> RemoteHeader::borrow(const SharedKeys& shared) {
  const auto keys = read({.stop_before = shared.first});
  if (!keys) return Failure(keys.error());
  if (keys->is_whole || bytes_->size() >= file_.source.size_bytes) return {};
  const std::string_view begun = std::string_view(*bytes_).substr(keys->key_offsets.back());
  if (begun.size() >= shared.bytes->size() || !shared.bytes->starts_with(begun)) return {};
  bytes_->append(*shared.bytes, begun.size());
  return {};
}

namespace {

// Whether the tensors end where the file does: a list that was put together from other files' bytes would not.
bool fills_its_files(const GgufModel& model) {
  constexpr uint64_t kPaddingMax = 4096;
  std::vector<uint64_t> ends(model.files.size());
  for (const TensorInfo& tensor : model.tensors) ends[tensor.file] = std::max(ends[tensor.file], tensor.range.end());
  for (size_t i = 0; i < ends.size(); ++i)
    if (ends[i] > 0 && model.files[i]->size_bytes() - ends[i] > kPaddingMax) return false;
  return true;
}

}  // namespace

Result<GgufModel> open_remote_model(std::vector<RemoteHeader>& files, std::optional<SharedKeys>* shared) {
  const bool borrows = shared != nullptr && shared->has_value();
  const auto open = [&](const std::string& path) -> Result<std::unique_ptr<File>> {
    const auto file =
        std::find_if(files.begin(), files.end(), [&](const RemoteHeader& one) { return one.file().path == path; });
    if (file == files.end()) return error(Code::kNotFound, fmt::format("{}: no such file", path));
    if (borrows) RETURN_IF_ERROR(file->borrow(**shared));
    auto opened = file->open();
    if (opened && shared != nullptr && !shared->has_value()) *shared = file->shared_keys();
    return opened;
  };
  auto model = open_gguf_model(files.front().file().path, open);
  const bool doubtful = model ? !fills_its_files(*model) : model.error().code() == Code::kCorrupt;
  if (borrows && doubtful) {
    for (RemoteHeader& file : files) file.start_over();
    return open_remote_model(files);
  }
  if (!model) return model;
  // What was read is in the model now.
  for (auto& file : model->files)
    file = std::make_unique<PrefixFile>(file->path(), file->size_bytes(), std::shared_ptr<const std::string>());
  return model;
}

}  // namespace spillway
