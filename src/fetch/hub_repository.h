// SPDX-License-Identifier: MIT
// A repository on Hugging Face: its GGUF files at one revision, by the site's own API, and which of them is meant.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "fetch/http.h"
#include "fetch/pull.h"
#include "fetch/remote_header.h"
#include "model/gguf_choice.h"
#include "model/hub_name.h"
#include "model/model_name.h"

namespace spillway {

struct HubFile {
  std::string path;  // in the repository
  uint64_t size_bytes = 0;
  std::string sha256;  // 64 hex; empty for a file that is not in large-file storage
};

// One page of the answer to /api/models/USER/REPO/tree/REVISION; without files whose names have control characters.
// Pure.
//   Corrupt
Result<std::vector<HubFile>> parse_hub_files(std::string_view json);

// Constant; any thread.
class HubRepository {
 public:
  //   NotFound          no such repository or revision
  //   PermissionDenied  it wants a token, or refuses the one it got (the site says so of what does not exist, too)
  //   Unsupported       more than 5,000 GGUF files
  //   Unavailable  Corrupt  Cancelled      as pull()
  static Result<HubRepository> list(const ModelName& name, const PullOptions& options);

  const std::vector<GgufCandidate>& candidates() const { return candidates_; }

  // The model that the name's tag asks for, by names and headers: an index of candidates().
  //   InvalidArgument   100 files that may be meant are no models
  //   errors of choose_gguf() and RemoteHeader::kind()
  Result<size_t> choose(HttpSession& session, const PullOptions& options) const;

  // The projector that belongs to a model, by names and headers: the model's folder is looked through, then the
  // repository's own. Nothing where none is called so, or none shows whose it is. 100 headers are read at most.
  //   errors of RemoteHeader::kind(), but for those of a file that is no GGUF
  Result<std::optional<size_t>> projector_of(size_t model, HttpSession& session, const PullOptions& options) const;

  // A candidate's files, in order.
  //   Corrupt  a part is missing    Unsupported  a file has no sha256 to check it by
  Result<std::vector<RemoteFile>> files_of(size_t index) const;

  uint64_t size_bytes_of(size_t index) const;  // of the parts that are there
  ModelName name_of(size_t index) const;       // that asks for it and no other one

  // What went wrong with a file of this repository, and what to do.
  Status explained(const Status& status) const;

 private:
  HubRepository(const ModelName& name, const PullOptions& options);
  Result<void> fetch_list(const PullOptions& options);
  RemoteFile remote_file(const HubFile& file) const;

  ModelName name_;
  HubReference reference_;
  std::string repository_, url_, token_;  // "USER/REPO"; of the site
  std::vector<std::string> hub_cache_folders_;
  bool from_outside_ = false;              // what the list names: the site is not in our own network
  std::vector<HubFile> files_;             // GGUF files
  std::vector<GgufCandidate> candidates_;  // `files` are indices of files_
};

}  // namespace spillway
