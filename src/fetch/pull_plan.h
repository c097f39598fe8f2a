// SPDX-License-Identifier: MIT
// What a pull consists of, as a server's list tells it: the seam between the two kinds of servers and what is the same
// for both.
#pragma once

#include <string>
#include <vector>

#include "fetch/download.h"
#include "model/model_name.h"

namespace spillway {

struct PullPlan {
  std::vector<BlobSource> blobs;
  std::string file;      // that was chosen in a repository; empty for a registry
  std::string manifest;  // as the registry has it; empty: to be made of the blobs, which are a model's files in order
  std::string projector_digest = {};  // of the last blob, where that is the model's projector
  std::string projector_file = {};    // in the repository
};

// With the site's address where none is given.
PullOptions with_defaults(PullOptions options);

//   InvalidArgument  NotFound  PermissionDenied  Unavailable  Corrupt  Unsupported  Cancelled
Result<PullPlan> plan_from_registry(const ModelName& name, const PullOptions& options);
Result<PullPlan> plan_from_hugging_face(const ModelName& name, const PullOptions& options);

}  // namespace spillway
