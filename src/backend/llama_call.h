// SPDX-License-Identifier: MIT
// Calls into libllama with what a file says: it throws at some figures and ends the process at others, where an error
// would do.
#pragma once

#include <fmt/format.h>

#include <exception>
#include <new>

#include "base/status.h"
#include "model/ggml_abort.h"
#include "model/ggml_log.h"

namespace spillway {

// What `call` returns, which computes on this thread alone.
//   Unsupported   libllama threw, or would have ended the process, also where it has caught that itself
//   OutOfBudget   there was no memory
template <typename Call>
auto call_llama(const Call& call) -> Result<decltype(call())> {
  const GgmlAbortThrows throws;
  try {
    auto result = call();
    if (throws.why().empty()) return result;
  } catch (const GgmlAborted&) {
  } catch (const std::bad_alloc&) {
    return error(Code::kOutOfBudget, "there is no memory left for it");
  } catch (const std::exception& e) {
    return error(Code::kUnsupported, fmt::format("libllama does not take what the file says: {}", one_line(e.what())));
  }
  return error(Code::kUnsupported, fmt::format("libllama does not take what the file says: {}", throws.why()));
}

}  // namespace spillway
