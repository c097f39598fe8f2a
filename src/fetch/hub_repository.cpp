// SPDX-License-Identifier: MIT
#include "fetch/hub_repository.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>

#include "base/bytes.h"
#include "base/json_reader.h"
#include "base/utf8.h"
#include "fetch/retry.h"
#include "model/manifest.h"
#include "model/projector_file.h"
#include "model/projector_search.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kListBytesMax = 64 * MiB;  // of all pages together
constexpr int kPagesMax = 100;                // of 1000 files
constexpr size_t kFilesMax = 5000;            // GGUF files
constexpr size_t kPathBytesMax = 4096;
// What files are is asked of so many at most, a request or a few for each.
constexpr size_t kAskedMax = 100;

const Json* member(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

const std::string* text_member(const Json& object, const char* key) {
  const Json* found = member(object, key);
  return found == nullptr ? nullptr : found->get_ptr<const std::string*>();
}

bool is_size(const Json* value) { return value != nullptr && value->is_number_unsigned(); }

bool is_gguf_name(std::string_view path) {
  constexpr std::string_view kEnding = ".gguf";
  return path.size() > kEnding.size() &&
         std::equal(kEnding.begin(), kEnding.end(), path.end() - kEnding.size(),
                    [](char a, char b) { return a == std::tolower(static_cast<unsigned char>(b)); });
}

// Names are shown: what would move a cursor, or end a line, is in none that somebody can ask for either.
bool is_printable(const std::string& path) {
  return printable(path) == path && path.find_first_of("\t\n") == std::string::npos;
}

// `<URL>; rel="next"` among the links; empty when there is none.
std::string next_page(const std::string& link) {
  const size_t rel = link.find("rel=\"next\"");
  if (rel == std::string::npos) return "";
  const size_t begin = link.rfind('<', rel), end = link.find('>', begin == std::string::npos ? 0 : begin);
  if (begin == std::string::npos || end == std::string::npos || end > rel) return "";
  return link.substr(begin + 1, end - begin - 1);
}

}  // namespace

Result<std::vector<HubFile>> parse_hub_files(std::string_view text) {
  const auto json = read_json(text);
  if (!json) return error(Code::kCorrupt, "the list of files is no JSON array: " + json.error().message());
  if (!json->is_array()) return error(Code::kCorrupt, "the list of files is no JSON array");
  std::vector<HubFile> files;
  for (const Json& one : *json) {
    if (!one.is_object() || one.value("type", Json()) != "file") continue;
    const std::string* path = text_member(one, "path");
    const Json* size = member(one, "size");
    if (path == nullptr || !is_size(size)) return error(Code::kCorrupt, "a file has no path or size");
    if (path->size() > kPathBytesMax)
      return error(Code::kCorrupt, fmt::format("a file's path is longer than {} bytes", kPathBytesMax));
    HubFile file{.path = valid_utf8(*path), .size_bytes = size->get<uint64_t>(), .sha256 = {}};
    if (const Json* lfs = member(one, "lfs"); lfs != nullptr && lfs->is_object()) {
      const std::string* oid = text_member(*lfs, "oid");
      const Json* lfs_size = member(*lfs, "size");
      const auto digest = oid != nullptr ? parse_digest("sha256:" + *oid) : std::nullopt;
      if (!digest) return error(Code::kCorrupt, "a large file has no sha256");
      file.sha256 = digest_hex(*digest);
      if (is_size(lfs_size)) file.size_bytes = lfs_size->get<uint64_t>();
    }
    if (is_printable(file.path)) files.push_back(std::move(file));
  }
  return files;
}

HubRepository::HubRepository(const ModelName& name, const PullOptions& options)
    : name_(name),
      reference_(hub_reference(name.tag)),
      repository_(fmt::format("{}/{}", name.name_space, name.model)),
      url_(options.hf_url),
      token_(options.hf_token),
      hub_cache_folders_(options.hub_cache_folders) {}

Result<HubRepository> HubRepository::list(const ModelName& name, const PullOptions& options) {
  if (options.hf_offline) return error(Code::kUnavailable, "HF_HUB_OFFLINE is set: nothing is asked of Hugging Face");
  HubRepository repository(name, options);
  const auto outcome = repository.fetch_list(options);
  if (!outcome) return Failure(repository.explained(outcome.error()));
  std::vector<std::string> paths;
  for (const HubFile& file : repository.files_) paths.push_back(file.path);
  repository.candidates_ = gguf_candidates(paths);
  return repository;
}

Result<void> HubRepository::fetch_list(const PullOptions& options) {
  HttpSession session;
  bool reached = true, ever_reached = false;
  uint64_t bytes_left = kListBytesMax;
  const auto get_page = [&](const std::string& url) -> Result<HttpText> {
    Retry retry(options);
    for (;;) {
      auto page = http_get_text(session,
                                {.url = url,
                                 .accept = "application/json",
                                 .bearer_token = token_,
                                 .if_range = {},
                                 .connect_timeout_s = std::min(options.connect_timeout_s, kFirstConnect_s),
                                 .stall_timeout_s = options.stall_timeout_s,
                                 .cancelled = options.cancelled,
                                 .reached = &reached,
                                 .from_outside = from_outside_},
                                bytes_left);
      if (page) ever_reached = true;
      if (page) from_outside_ = !page->head.in_own_network;
      if (page && page->head.status == 200) return page;
      if (page && page->head.status == 404 && page->head.header("x-error-code") == "RevisionNotFound")
        return error(Code::kNotFound, fmt::format("it has no revision '{}'", valid_utf8(reference_.revision)));
      const Status failure = page ? http_status_error(page->head, url) : page.error();
      RETURN_IF_ERROR(retry.wait_after(failure, page ? server_wait_s(page->head) : 0, reached || ever_reached));
    }
  };
  std::string url =
      fmt::format("{}/api/models/{}/tree/{}?recursive=true", url_, repository_, percent_encoded(reference_.revision));
  for (int page = 0; !url.empty() && page < kPagesMax; ++page) {
    // The token goes nowhere else.
    if (origin_of_url(url) != origin_of_url(url_)) return error(Code::kCorrupt, "the list goes on at another host");
    ASSIGN_OR_RETURN(const HttpText answer, get_page(url));
    bytes_left -= std::min<uint64_t>(bytes_left, answer.body.size());
    ASSIGN_OR_RETURN(std::vector<HubFile> some, parse_hub_files(answer.body));
    for (HubFile& file : some)
      if (is_gguf_name(file.path)) files_.push_back(std::move(file));
    if (files_.size() > kFilesMax)
      return error(Code::kUnsupported,
                   fmt::format("it has more than {} GGUF files, which are not looked through", kFilesMax));
    url = next_page(answer.head.header("link"));
  }
  return {};
}

Status HubRepository::explained(const Status& status) const {
  if (!is_access_denied(status)) return status.with_context("hf.co/" + repository_);
  return {
      Code::kPermissionDenied,
      fmt::format("hf.co/{}: no such repository, or not for everybody: what has terms to accept or an owner wants a "
                  "token of yours in HF_TOKEN ({})",
                  repository_, status.message())};
}

RemoteFile HubRepository::remote_file(const HubFile& file) const {
  std::vector<std::string> cached;
  for (const std::string& folder : hub_cache_folders_)
    if (!file.sha256.empty())
      cached.push_back(fmt::format("{}/models--{}--{}/blobs/{}", folder, name_.name_space, name_.model, file.sha256));
  return {.path = fmt::format("hf.co/{}/{}", repository_, file.path),
          .source = {.url = fmt::format("{}/{}/resolve/{}/{}", url_, repository_, percent_encoded(reference_.revision),
                                        percent_encode_path(file.path)),
                     .digest = file.sha256.empty() ? "" : "sha256:" + file.sha256,
                     .size_bytes = file.size_bytes,
                     .bearer_token = token_,
                     .maybe_at = std::move(cached),
                     .from_outside = from_outside_}};
}

Result<size_t> HubRepository::choose(HttpSession& session, const PullOptions& options) const {
  size_t n_asked = 0;
  const auto read_kind = [&](const GgufCandidate& candidate) -> Result<GgufKind> {
    if (++n_asked > kAskedMax)
      return error(Code::kInvalidArgument,
                   fmt::format("{} of the files that may be meant are no models, and no more are looked at: name the "
                               "file (hf.co/{}/FILE.gguf)",
                               kAskedMax, repository_));
    return RemoteHeader(remote_file(files_[candidate.files.front()]), session, options).kind();
  };
  auto chosen = choose_gguf(candidates_, reference_.wanted, read_kind);
  if (!chosen) return Failure(explained(chosen.error()));
  return chosen;
}

Result<std::optional<size_t>> HubRepository::projector_of(size_t model, HttpSession& session,
                                                          const PullOptions& options) const {
  const auto folder_of = [](const std::string& path) { return path.substr(0, path.rfind('/') + 1); };
  const std::string model_folder = folder_of(candidates_[model].path);
  std::vector<std::string> folders = {model_folder};
  if (!model_folder.empty()) folders.emplace_back();
  size_t n_asked = 0;
  for (const std::string& folder : folders) {
    std::map<std::string, size_t> by_name;
    std::vector<std::string> names;
    for (size_t i = 0; i < candidates_.size(); ++i) {
      const GgufCandidate& one = candidates_[i];
      if (folder_of(one.path) != folder) continue;
      by_name[one.name()] = i;
      names.push_back(one.name());
    }
    std::optional<Status> failure;
    const std::string found = spillway::projector_of(candidates_[model].name(), names, [&](const std::string& name) {
      const GgufCandidate& one = candidates_[by_name[name]];
      if (failure || !is_named_projector(name) || one.files.size() != 1) return false;
      if (++n_asked > kAskedMax) return false;  // the best come first
      const auto metadata = RemoteHeader(remote_file(files_[one.files.front()]), session, options).metadata();
      if (metadata) return is_vision_projector(*metadata);
      const Code code = metadata.error().code();
      if (code != Code::kCorrupt && code != Code::kUnsupported) failure = metadata.error();
      return false;
    });
    if (failure) return Failure(explained(*failure));
    if (!found.empty()) return by_name[found];
  }
  return std::nullopt;
}

Result<std::vector<RemoteFile>> HubRepository::files_of(size_t index) const {
  const GgufCandidate& candidate = candidates_[index];
  if (!candidate.missing_part.empty())
    return error(Code::kCorrupt, fmt::format("hf.co/{}: the part {} is missing", repository_, candidate.missing_part));
  std::vector<RemoteFile> remote;
  for (const size_t file : candidate.files) {
    if (files_[file].sha256.empty())
      return error(Code::kUnsupported,
                   fmt::format("hf.co/{}: {} has no sha256 to check it by", repository_, files_[file].path));
    remote.push_back(remote_file(files_[file]));
  }
  return remote;
}

uint64_t HubRepository::size_bytes_of(size_t index) const {
  uint64_t bytes = 0;
  for (const size_t file : candidates_[index].files) bytes += files_[file].size_bytes;
  return bytes;
}

ModelName HubRepository::name_of(size_t index) const {
  ModelName name = name_;
  name.tag = hub_tag({.wanted = wanted_for(candidates_, index), .revision = reference_.revision});
  return name;
}

}  // namespace spillway
