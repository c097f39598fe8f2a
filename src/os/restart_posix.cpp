// SPDX-License-Identifier: MIT
#include "os/restart.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "os/own_program.h"
#include "os/thread_limit.h"

namespace spillway {
namespace {

void start_again(char** argv) {
#if defined(__linux__)
  ::execv(own_program().c_str(), argv);
#else
  (void)argv;
#endif
}

}  // namespace

void restart_with(const char* name, const char* value, char** argv) {
  // A marker besides the variable itself, so that a system that drops one of them cannot make this a loop.
  if (std::getenv(name) != nullptr || std::getenv("SPILLWAY_RESTARTED") != nullptr) return;
  ::setenv(name, value, 1);
  ::setenv("SPILLWAY_RESTARTED", "1", 1);
  start_again(argv);
}

std::string bounded_thread_list(std::string_view list) {
  std::string bounded;
  for (size_t at = 0; at <= list.size();) {
    const size_t end = std::min(list.find(',', at), list.size());
    const std::string_view item = list.substr(at, end - at);
    const std::string_view number = item.substr(std::min(item.find_first_not_of(" \t+"), item.size()));
    unsigned n_threads = 0;
    const auto parsed = std::from_chars(number.data(), number.data() + number.size(), n_threads);
    const bool too_many = parsed.ec == std::errc::result_out_of_range || n_threads > kThreadsMax;
    bounded += too_many ? std::to_string(kThreadsMax) : std::string(item);
    if (end < list.size()) bounded += ',';
    at = end + 1;
  }
  return bounded;
}

void restart_with_bounded_threads(char** argv) {
  bool changed = false;
  for (const char* name : {"OMP_NUM_THREADS", "OMP_NUM_THREADS_ALL"}) {
    const char* list = std::getenv(name);
    if (list == nullptr) continue;
    const std::string bounded = bounded_thread_list(list);
    if (bounded == list) continue;
    ::setenv(name, bounded.c_str(), 1);
    changed = true;
  }
  if (changed) start_again(argv);  // which finds nothing to change
}

}  // namespace spillway
