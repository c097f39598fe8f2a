// SPDX-License-Identifier: MIT
#include "serve/random_id.h"

#include <random>

namespace spillway {

std::string random_id(const std::string& prefix, size_t length) {
  thread_local std::mt19937_64 random{std::random_device{}()};
  static constexpr char kDigits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
  std::string id = prefix;
  for (size_t i = 0; i < length; ++i) id += kDigits[random() % 36];
  return id;
}

}  // namespace spillway
