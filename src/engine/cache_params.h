// SPDX-License-Identifier: MIT
// A cache's format as libllama takes it. Any thread.
#pragma once

#include <llama.h>

#include "plan/cache_format.h"

namespace spillway {

// `format` has passed check_cache_format().
void set_cache_format(const CacheFormat& format, llama_context_params& params);

}  // namespace spillway
