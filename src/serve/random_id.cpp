// SPDX-License-Identifier: MIT
#include "serve/random_id.h"

#include <chrono>
#include <exception>
#include <random>

namespace spillway {
namespace {

// A name, not a secret: where the system gives nothing random, the clock does.
uint64_t id_seed() {
  try {
    return std::random_device{}();
  } catch (const std::exception&) {
    return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  }
}

}  // namespace

std::string random_id(const std::string& prefix, size_t length) {
  thread_local std::mt19937_64 random{id_seed()};
  static constexpr char kDigits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
  std::string id = prefix;
  for (size_t i = 0; i < length; ++i) id += kDigits[random() % 36];
  return id;
}

}  // namespace spillway
