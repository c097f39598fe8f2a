// SPDX-License-Identifier: MIT
// What Ollama's variables say of a server, for where no option says it: people keep their unit files and shells.
//
//   OLLAMA_HOST             host, host:port, :port, [v6]:port, http://host:port
//   OLLAMA_CONTEXT_LENGTH   tokens of context; 0: as the server chooses
//   OLLAMA_NUM_PARALLEL     requests that one model answers together; 0: as the server chooses
//   OLLAMA_KEEP_ALIVE       5m, 300 (seconds), -1 (for ever)
//   OLLAMA_MAX_QUEUE        requests that may wait
//   OLLAMA_MAX_LOADED_MODELS   models loaded before an idle one makes room; 0: as the server chooses
//   OLLAMA_ORIGINS          a list with commas
//   OLLAMA_DEBUG            1, true: more is logged
//   OLLAMA_KV_CACHE_TYPE    f16, q8_0, q4_0, ...: of keys and values both
//   OLLAMA_FLASH_ATTENTION  1, true; 0, false
//
// OLLAMA_MODELS is read by the catalog. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "plan/cache_format.h"

namespace spillway {

struct ServeEnvironment {
  std::optional<std::string> host;
  std::optional<int> port;
  std::optional<uint32_t> n_ctx, n_parallel;
  std::optional<double> keep_alive_s;  // infinity: for ever
  std::optional<size_t> queue_max, models_max;
  std::vector<std::string> origins;
  bool debug = false;
  std::optional<std::string> kv_cache_type;  // one of kCacheTypeNames
  std::optional<FlashAttention> flash_attention;
};

// How long a model stays loaded, as Ollama's server is told: "5m", "300" (seconds, unlike a text in a request), "-1" or
// another negative one (infinity: for ever).
//   InvalidArgument
Result<double> parse_keep_alive_s(const std::string& text);

// `get`: as getenv().
// Of it, what a single run takes too: OLLAMA_CONTEXT_LENGTH.
//   InvalidArgument   the value is none
Result<std::optional<uint32_t>> read_context_environment(const std::function<const char*(const char*)>& get);

//   InvalidArgument   a value that is none; the message names the variable
Result<ServeEnvironment> read_serve_environment(const std::function<const char*(const char*)>& get);

// What Ollama's server would do otherwise because of a variable, and this one does not: a sentence for each that is
// set. `environment`: NAME=value, a null pointer at the end, as environ.
std::vector<std::string> unapplied_variables(const char* const* environment);

}  // namespace spillway
