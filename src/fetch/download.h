// SPDX-License-Identifier: MIT
// One blob, from a URL into our store.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "fetch/pull.h"
#include "model/model_store.h"

namespace spillway {

struct BlobSource {
  std::string url;
  std::string digest;       // "sha256:<hex>"
  uint64_t size_bytes = 0;  // what the server's list says
  std::string bearer_token;
  std::vector<std::string> maybe_at = {};  // files of this machine that, if they are there, have that digest
  bool from_outside = false;               // as HttpRequest's: who named it is not in our network
  // Where the server takes `refused` no longer, and says so by `challenge` (WWW-Authenticate): another token. Called on
  // the thread that downloads. Empty: there is none.
  //   PermissionDenied  Unavailable  Cancelled
  std::function<Result<std::string>(const std::string& refused, const std::string& challenge)> another_token = {};
};

// Makes the blob ours by a link where another store among `folders`, or one of source.maybe_at, has it: a blob is named
// by what it holds. Across file systems there is no link, and it has to be downloaded.
void link_from_elsewhere(const ModelStore& store, const BlobSource& source, const std::vector<std::string>& folders);

// How much of it is on the disk already, whole or in part.
uint64_t bytes_present(const ModelStore& store, const BlobSource& source);

// Continues what an earlier call left, and leaves what a later one can continue, unless the disk is full or the bytes
// are wrong.
//   NotFound  PermissionDenied  Unavailable  Corrupt  DiskFull  Io  Busy  Cancelled   as pull()
Result<void> download_blob(const ModelStore& store, const BlobSource& source, const PullOptions& options);

}  // namespace spillway
