// SPDX-License-Identifier: MIT
// The metadata of a GGUF that is on a server, by asking for the beginning of the file alone: a few MB, however large
// the model is. A server that knows no ranges is left when enough has come.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "fetch/download.h"
#include "fetch/http.h"
#include "fetch/pull.h"
#include "model/gguf_kind.h"
#include "model/gguf_metadata.h"
#include "model/gguf_model.h"

namespace spillway {

struct RemoteFile {
  std::string path;  // for messages, and where parts of a split model find each other: "hf.co/me/it/it-Q4_K_M.gguf"
  BlobSource source;
};

// The keys that files of one repository have in common because they are one model, quantized differently: nearly all of
// the metadata's bytes are the vocabulary.
struct SharedKeys {
  std::string first;  // the first of them
  std::shared_ptr<const std::string> bytes;
};

// One thread; the session and the options outlive it.
class RemoteHeader {
 public:
  RemoteHeader(RemoteFile file, HttpSession& session, const PullOptions& options);

  const RemoteFile& file() const { return file_; }

  // What the file is. Mostly its first 64 KiB.
  //   Corrupt            not a GGUF, cut off, or another size than the list says
  //   Unsupported        a GGUF version of long ago
  //   NotFound  PermissionDenied  Unavailable  Cancelled      as pull()
  Result<GgufKind> kind();

  // All of the metadata, with what GgufMetadata does not keep. Errors as kind().
  Result<GgufMetadata> metadata();

  // As a file that has its true size, and no bytes behind the metadata.
  Result<std::unique_ptr<File>> open();

  // What another file's header may have in common with this one, which was read whole; none where it is not worth it.
  std::optional<SharedKeys> shared_keys();

  // Takes those keys for this file's, as far as it begins with them: they are not fetched. The caller checks the
  // result against the file's size, which it will not fit when they were others.
  Result<void> borrow(const SharedKeys& shared);

  // Forgets what came, and what was borrowed.
  void start_over() { bytes_ = std::make_shared<std::string>(); }

  uint64_t bytes_fetched() const { return bytes_fetched_; }

 private:
  Result<GgufMetadata> read(const GgufMetadataOptions& options);
  Result<void> fetch_to(uint64_t bytes);
  Result<void> fetch_once(uint64_t bytes, double& server_asks_s);
  std::unique_ptr<File> as_file() const;

  const RemoteFile file_;
  HttpSession& session_;
  const PullOptions& options_;
  std::shared_ptr<std::string> bytes_ = std::make_shared<std::string>();  // from the file's beginning on
  std::string redirected_;  // to where, by the last answer; empty: it was not, or to the same host
  uint64_t bytes_fetched_ = 0;
};

// A model whose files are on servers, in order. Its GgufModel::files have path and size and can not be read.
// `shared`: of another file of the same repository; when nothing is there yet, this one's are put there. May be null.
// Errors as open_gguf_model() and RemoteHeader::kind().
Result<GgufModel> open_remote_model(std::vector<RemoteHeader>& files, std::optional<SharedKeys>* shared = nullptr);

}  // namespace spillway
