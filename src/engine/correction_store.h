// SPDX-License-Identifier: MIT
// Corrections of predictions, kept between runs in the user's cache folder: one small file, replaced as a whole,
// ignored when it is damaged or of another version. Thread-safe within the rules of files: of two programs that
// remember at the same moment, one is forgotten.
#pragma once

#include <vector>

#include "base/status.h"
#include "plan/corrections.h"

namespace spillway {

// Empty when nothing was remembered, nothing can be read, or the user has no cache folder. What is older than a day is
// forgotten: a mode that is not chosen any more, since it was slow once, gets another chance.
std::vector<Correction> load_corrections();

// Remembers a run: kept when it contradicts its own uncorrected prediction, and otherwise takes back what an earlier
// run had said. Without a cache folder nothing is kept.
//   PermissionDenied  Io
Result<void> remember_run(const Correction& run);

}  // namespace spillway
