// SPDX-License-Identifier: MIT
// Something to measure a disk with when nobody names a model: large files that exist already, since writing new ones
// would take long, wear the disk and fill it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "os/file.h"
#include "os/machine.h"

namespace spillway {

struct ProbeFiles {
  std::vector<std::unique_ptr<File>> files;  // on one volume, largest first
  Volume volume;
};

// Where programs of this kind keep models; those that exist come from the environment and the home folder.
std::vector<std::string> model_folders();

// Where every system keeps its libraries.
std::vector<std::string> library_folders();

// The readable files of at least 4 MiB below `folders`, on the volume `only_on` or, without one, on that which has most
// of them; up to about `bytes_enough`. Looks at a bounded number of files.
//   NotFound   fewer than `bytes_min` bytes in such files
Result<ProbeFiles> find_probe_files(const std::vector<std::string>& folders, uint64_t bytes_min, uint64_t bytes_enough,
                                    const std::optional<Volume>& only_on = {});

}  // namespace spillway
