// SPDX-License-Identifier: MIT
// How content gets into our store.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace spillway {

// Receives a blob piece by piece. Unless finish() succeeds, nothing of it stays behind.
class BlobWriter {
 public:
  virtual ~BlobWriter() = default;

  //   DiskFull  Io
  virtual Result<void> write(std::string_view piece) = 0;

  // Gives the digest, "sha256:<hex>".
  //   InvalidArgument   the bytes do not have the promised one      DiskFull  Io
  virtual Result<std::string> finish() = 0;
};

}  // namespace spillway
