// SPDX-License-Identifier: MIT
// A model that somebody wants to run and that is not here: how large it is, what it would do on this machine, and
// whether to fetch it. Main thread.
#pragma once

#include <string>

#include "base/status.h"
#include "engine/engine.h"
#include "model/model_name.h"

namespace spillway {

// Fetches the model that `argument` means. Without `unasked` somebody at a terminal is shown size and prediction, and
// agrees first; `load` is how it would be run.
//   NotFound     nobody is there to ask, or said no: the message has both figures
//   OutOfBudget  it would not run: said before anything is fetched       DiskFull  there is no room for it
//   errors of inspect_remote() and pull()
Result<void> offer_pull(const std::string& argument, const ModelName& name, const LoadOptions& load, bool unasked);

}  // namespace spillway
