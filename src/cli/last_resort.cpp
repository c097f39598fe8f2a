// SPDX-License-Identifier: MIT
#include "cli/last_resort.h"

#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <stop_token>
#include <utility>

#include "cli/commands.h"

namespace spillway {

LastResort::LastResort(std::chrono::milliseconds patience, std::function<void()> say)
    : waiter_([patience, say = std::move(say)](const std::stop_token& ended) {
        std::mutex mutex;
        std::condition_variable_any changed;
        std::unique_lock lock(mutex);
        changed.wait_for(lock, ended, patience, [] { return false; });
        if (ended.stop_requested()) return;
        say();
        std::_Exit(kExitOk);
      }) {}

}  // namespace spillway
