// SPDX-License-Identifier: MIT
// JSON as the text that every client can read. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace spillway {

// One line without spaces. Bytes that are not UTF-8 become U+FFFD, so nothing throws; text beyond ASCII stays as it is.
template <typename Json>
std::string write_json(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace spillway
